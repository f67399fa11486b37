import sys
names = ("look", "reseed", "warm", "zygote", "fresh")
print([name for name in (*names, "program") if name in sys.modules])
for name in names:
    try:
        __import__(name)
    except ImportError as error:
        print(error)
