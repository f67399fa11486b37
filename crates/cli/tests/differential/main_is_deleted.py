import sys
del sys.modules["__main__"]
print("still here", __name__)
raise ValueError("still reported")
