# What a program sees to be imported already differs by decision: preloaded modules are there.
import sys
print([name for name in ("site", "encodings.utf_8", "io", "abc", "os", "__main__") if name not in sys.modules])
