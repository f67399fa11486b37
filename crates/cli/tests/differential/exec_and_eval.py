exec("a = 1\nprint(a, __name__)")
print(eval("a + 1"), sorted(k for k in locals() if not k.startswith("__")))
exec("raise ValueError('from exec')")
