class Fails:
    pass

class Failing:
    """Called as `__del__`; its name has no address in it."""
    def __get__(self, instance, owner): return self
    def __call__(self): raise ValueError("in __del__")
    def __repr__(self): return "<the finaliser>"

Fails.__del__ = Failing()
thing = Fails()
del thing
print("goes on")
