"""What this is."""
import sys
main = sys.modules["__main__"]
print(main.__dict__ is globals(), main.__doc__, main.__name__, repr(main).startswith("<module '__main__' from"))
print(__file__ == sys.argv[0], __file__)
print(__loader__.path, __loader__.name, __loader__.get_source("__main__")[:22])
