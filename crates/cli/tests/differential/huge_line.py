print("y" * 700_000)
print("after")
