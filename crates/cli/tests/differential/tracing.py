import sys
lines = []

def trace(frame, event, argument):
    lines.append((event, frame.f_code.co_name, frame.f_lineno))
    return trace

def work():
    x = 1
    return x

sys.settrace(trace)
work()
sys.settrace(None)
print(lines)
