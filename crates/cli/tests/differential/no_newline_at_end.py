print("no newline")
1/0