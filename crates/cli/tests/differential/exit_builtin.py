print("with the builtin")
exit(3)
