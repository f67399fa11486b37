def inner(n):
    return 1 / n

def outer(n):
    return inner(n)

print("before")
outer(0)
