import traceback

def inner():
    traceback.print_stack()
    return traceback.format_stack()

print("".join(inner()))
