import atexit
atexit.register(print, "at exit")
print("before")
raise KeyboardInterrupt
