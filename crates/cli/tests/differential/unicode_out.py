print("grüße ☃ 日本 🚀", ascii("ü"), "\N{SNOWMAN}")
print("\x1b[31mred\x1b[0m\ttab\x07bell\x00nul")
