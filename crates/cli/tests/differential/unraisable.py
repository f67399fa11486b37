class Fails:
    def __repr__(self):
        return "<Fails>"
    def __del__(self):
        raise ValueError("in __del__")

thing = Fails()
del thing
print("goes on")
