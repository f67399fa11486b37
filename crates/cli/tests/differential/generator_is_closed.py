def numbers():
    try:
        yield 1
        yield 2
    finally:
        print("closed")

running = numbers()
print(next(running))
