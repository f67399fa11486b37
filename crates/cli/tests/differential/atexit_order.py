import atexit
for n in range(3):
    atexit.register(print, "handler", n)

@atexit.register
def fails():
    raise ValueError("in a handler")

print("body")
