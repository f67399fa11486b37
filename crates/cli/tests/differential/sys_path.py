import sys
print(sys.path[0])
print(sys.path[1:])
