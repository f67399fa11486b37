import sys
print(sys.exc_info())
try:
    raise ValueError
except ValueError as error:
    print(error.__context__, sys.exc_info()[0])
print(sys.exc_info())
