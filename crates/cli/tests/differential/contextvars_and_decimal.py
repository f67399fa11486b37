import contextvars
print(len(contextvars.copy_context()))
v = contextvars.ContextVar("v", default=1)
print(v.get(), len(contextvars.copy_context()))
import decimal
print(decimal.getcontext(), decimal.Decimal(1) / 7)
