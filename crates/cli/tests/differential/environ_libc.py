import ctypes, os
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
print(libc.getenv(b"HOME"), libc.getenv(b"NOT_THERE"))
os.putenv("DIRECT", "1")
print(libc.getenv(b"DIRECT"), "DIRECT" in os.environ)
