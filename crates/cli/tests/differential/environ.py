import os
own = ("PWD", "OLDPWD", "SHLVL", "_")  # bash's
for name in sorted(os.environ):
    if name not in own:
        print(name, repr(os.environ[name]))
print(os.environb.get(b"HOME"), os.getenv("NOT_THERE"))
