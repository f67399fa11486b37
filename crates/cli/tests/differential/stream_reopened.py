import os, sys
with open("/dev/stdout", "w") as out, open("/dev/stderr", "w") as err:
    print("through /dev/stdout", file=out)
    print("through /dev/stderr", file=err)
os.write(1, b"raw\n")
