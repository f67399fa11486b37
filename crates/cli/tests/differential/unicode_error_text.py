raise ValueError("grüße ☃ \udcff \x1b[0m")
