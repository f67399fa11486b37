"""What is installed in a home, said as JSON on the last line; and its bytecode is made again.

It is run isolated (`-I`): nothing of the home is imported or executed. Bytecode is checked by its source's hash, so that it holds
wherever the template is unpacked, and what a program had left in the place of it is gone.
"""

import compileall
import importlib.metadata
import json
import os
import py_compile
import re
import sys

PACKAGES = "/home/user/.local/lib/python%d.%d/site-packages" % sys.version_info[:2]

found = {}
for path in (PACKAGES, *sys.path):
    for each in importlib.metadata.distributions(path=[path]):
        try:
            name, version = each.metadata["Name"], each.version
        except Exception:
            continue
        if isinstance(name, str) and isinstance(version, str):
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), {"name": name, "version": version})
print(json.dumps([found[name] for name in sorted(found)]), flush=True)

if os.path.isdir(PACKAGES):
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    try:
        compileall.compile_dir(PACKAGES, quiet=2, force=True, workers=2, invalidation_mode=mode)
    except Exception as error:
        print(error, file=sys.stderr)
