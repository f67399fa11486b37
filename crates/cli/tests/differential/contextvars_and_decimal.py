import contextvars, decimal
v = contextvars.ContextVar("v", default=1)
print(v.get(), len(contextvars.copy_context()), decimal.getcontext())
