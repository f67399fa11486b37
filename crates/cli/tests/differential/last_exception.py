import atexit, sys

def look():
    print(sys.last_type, sys.last_value, sys.last_traceback.tb_lineno, sys.last_traceback.tb_next)

atexit.register(look)
raise ValueError("kept")
