print("a byte order mark goes before")
raise ValueError("after a mark")
