import atexit
table = {"jam": 3}
atexit.register(lambda: print(table, __name__))
