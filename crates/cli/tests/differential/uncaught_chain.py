try:
    {}["jam"]
except KeyError as missing:
    raise RuntimeError("no jam") from missing
