import ctypes, faulthandler
print("before", flush=True)
ctypes.string_at(0)
