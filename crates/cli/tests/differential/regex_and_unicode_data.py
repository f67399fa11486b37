import re, unicodedata
print(re.findall(r"\w+", "grüße, 日本!"), unicodedata.name("☃"), re.compile("a|b", re.I))
