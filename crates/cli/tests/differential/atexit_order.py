import atexit
for n in range(3):
    atexit.register(print, "handler", n)

class Named:
    """A callable whose name has no address in it."""
    def __init__(self, function): self.function = function
    def __call__(self, *arguments): return self.function(*arguments)
    def __repr__(self): return f"<{self.function.__name__}>"

def fails():
    raise ValueError("in a handler")

atexit.register(Named(fails))

print("body")
