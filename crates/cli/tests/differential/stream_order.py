import sys
print("one")
print("two", file=sys.stderr)
sys.stdout.write("three")
sys.stderr.write("four")
