import warnings
warnings.warn("level one")
warnings.warn("level two", stacklevel=2)
warnings.warn("level nine", DeprecationWarning, stacklevel=9)

def old():
    warnings.warn("old is old", DeprecationWarning, stacklevel=2)

old()
