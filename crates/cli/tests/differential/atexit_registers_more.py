import atexit

def first():
    print("first")
    atexit.register(second)

def second():
    print("second")

atexit.register(first)
