import os

class Thing:
    def __del__(self):
        print("in __del__", os is not None and os.sep, helper())

def helper():
    return "helped"

thing = Thing()
