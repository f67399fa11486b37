"""Runs a program in an interpreter of its own: `python3 fresh.py <path of the program> [arguments]`.

For programs that a warm interpreter cannot run: they bring modules that would stand in for preloaded ones, change how
Python starts, or ask for it.
"""

MAIN_NAMES = list(globals())

import os
import sys

del sys.path[0]  # the harness's own directory
IMPORTED = set(sys.modules)

sys.path.insert(0, "/usr/lib/ringfence")
import look
import program

for name in ("look", "program"):
    del sys.modules[name]
del sys.path[0]
sys.path_importer_cache.pop("/usr/lib/ringfence", None)

path = sys.argv[1]
try:
    with open(path, "rb") as file:
        source = file.read()
except OSError as error:
    print(f"{sys.executable}: can't open file {path!r}: {error}", file=sys.stderr)
    sys.exit(2)
env = [name + b"=" + value for name, value in os.environb.items()]
look.show([os.fsencode(sys.executable), *map(os.fsencode, sys.argv[1:])], env)
program.run(path, source, sys.argv[2:], MAIN_NAMES, IMPORTED, True)
