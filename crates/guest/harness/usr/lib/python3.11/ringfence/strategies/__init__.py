"""The built-in strategies, each one file to be read, copied and changed.

`PARAMETERS` of each is the one place where names, types, defaults and bounds are written: Python checks what it is given
by it, and ringfence reads the same text. `SYMBOLS` is how many symbols it takes.
"""
