class Door:
    def __enter__(self): print("open"); return self
    def __exit__(self, *error): print("shut", error[0])

with Door():
    raise SystemExit(2)
