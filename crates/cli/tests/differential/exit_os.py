import atexit, os
atexit.register(print, "never said")
print("never flushed")
os._exit(9)
