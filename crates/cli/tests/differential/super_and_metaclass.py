class Meta(type):
    def __new__(m, name, bases, names): 
        print(name, names.get("__module__"), names.get("__qualname__"))
        return super().__new__(m, name, bases, names)
class A(metaclass=Meta):
    class B(metaclass=Meta): pass
print(A, A.B)
