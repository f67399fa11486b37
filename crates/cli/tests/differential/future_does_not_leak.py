def f(x: undefined_name if False else int): pass
print(f.__annotations__)
print(__builtins__.__dict__.get("_"))
