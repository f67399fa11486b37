import sys
names = ("look", "program", "reseed", "warm", "zygote", "fresh")
print([name for name in names if name in sys.modules])
for name in names:
    try:
        __import__(name)
    except ImportError as error:
        print(error)
