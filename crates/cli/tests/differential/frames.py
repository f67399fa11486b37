import inspect, sys
frame = sys._getframe()
print(frame.f_back, frame.f_code.co_name, frame.f_lineno)
print(len(inspect.stack()))
try:
    sys._getframe(1)
except ValueError as error:
    print(error)
