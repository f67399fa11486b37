jam = 3
assert jam == 4, f"jam is {jam}"
