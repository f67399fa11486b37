def f():
	return "tab"

print(f())
