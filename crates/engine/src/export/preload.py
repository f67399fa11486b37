"""Which of the modules that the template's warm interpreters import can be imported with the home's packages, as JSON on the last
line. It runs what is installed there, as any program of the sandbox does: its word is believed for speed only."""

import importlib
import json
import os
import sys

said = os.dup(1)
os.dup2(2, 1)
works = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        works.append(name)
    except BaseException:
        pass
os.write(said, json.dumps(works).encode() + b"\n")
os._exit(0)
