import atexit
atexit.register(print, "gone")
atexit.unregister(print)
print("only this")
