# stdin: "p 6 * 7\nc\n"
x = 1
breakpoint()
print("after")
