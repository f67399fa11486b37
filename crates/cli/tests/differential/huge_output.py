import sys
for n in range(20_000):
    print(n, "x" * 20)
print("end", file=sys.stderr)
