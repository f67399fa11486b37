print("line ends")
if True:
    raise ValueError("of Windows")
