code = compile("def g():\n    1 / 0\ng()", "<made up>", "exec")
exec(code)
