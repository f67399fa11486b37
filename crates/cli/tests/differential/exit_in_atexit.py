import atexit, sys

def late():
    print("late")
    sys.exit(4)

atexit.register(print, "registered first, said last")
atexit.register(late)
