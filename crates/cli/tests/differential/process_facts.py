import os, pwd
print(os.getcwd(), os.getuid(), os.geteuid(), os.getgid(), os.getgroups(), pwd.getpwuid(os.getuid()).pw_name)
mask = os.umask(0); os.umask(mask)
print(oct(mask), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.cpu_count(), len(os.sched_getaffinity(0)))
print(os.getpid() == os.getsid(0) or os.getsid(0) > 0, os.isatty(0), os.path.expanduser("~"))
