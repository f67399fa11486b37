import traceback
try:
    def f(secret): raise ValueError(secret)
    f("s")
except ValueError as error:
    summary = traceback.TracebackException.from_exception(error)
    print("".join(summary.format()).replace(__file__, "PROG"))
    print(len(summary.stack), error.__traceback__.tb_frame.f_code.co_name)
    print(len(list(traceback.walk_stack(error.__traceback__.tb_frame))))
