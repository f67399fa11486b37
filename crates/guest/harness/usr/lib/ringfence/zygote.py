"""The warm interpreter of a template: `python3 zygote.py`. What it does is in `children.py`.

This file is short for a reason. CPython keeps the syntax tree of a script until the script ends, here after the fork: each
child paid for giving back 90 pages of it before its program's first instruction. That of an imported module is gone at once.
"""

MAIN_NAMES = list(globals())

import sys

STARTED_WITH = set(sys.modules)
sys.path[0] = "/usr/lib/ringfence"
import children

del sys.modules["children"]  # a program may have a module of this name
children.main(MAIN_NAMES, STARTED_WITH)
