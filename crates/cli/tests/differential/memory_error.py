try:
    b"x" * (1 << 60)
except MemoryError as error:
    print("refused", error)
"x" * (1 << 62)
