import pickle

class Jar:
    def __init__(self, n): self.n = n
    def __eq__(self, other): return self.n == other.n
    def method(self): return self.n

jar = pickle.loads(pickle.dumps(Jar(3)))
print(jar == Jar(3), type(jar).__module__, pickle.loads(pickle.dumps(Jar(4).method))())
print(pickle.dumps(Jar)[:30])
