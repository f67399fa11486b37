import dis, types
code = compile("x = 1\ny = 2\n", "f", "exec")
print([line for _, line in dis.findlinestarts(code)], isinstance(code, types.CodeType))
