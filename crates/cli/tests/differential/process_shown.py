import os
command = open("/proc/self/cmdline", "rb").read().split(b"\0")
print(command[0].endswith(b"python3"), command[1:], open("/proc/self/comm").read().strip())
shown = dict(v.partition(b"=")[::2] for v in open("/proc/self/environ", "rb").read().split(b"\0") if v)
print(all(shown.get(k) == v for k, v in os.environb.items()), os.path.basename(os.readlink("/proc/self/exe")))
