import sys
for n in range(3000):
    print("out", n, "z" * 40)
    print("err", n, "z" * 40, file=sys.stderr)
