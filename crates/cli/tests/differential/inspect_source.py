import inspect, linecache

def documented():
    """What it does."""
    return 1  # a comment

print(inspect.getsource(documented))
print(inspect.getsourcefile(documented) == __file__, inspect.getmodule(documented).__name__)
print(linecache.getline(__file__, 3).strip())
