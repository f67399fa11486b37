import sys

def hook(kind, value, traceback):
    raise LookupError("the hook fails")

sys.excepthook = hook
1 / 0
