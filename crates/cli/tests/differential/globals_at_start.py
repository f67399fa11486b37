print(sorted(globals()))
print(__name__, __doc__, __package__, __spec__, __annotations__)
print(type(__loader__).__name__, __builtins__.__name__)
