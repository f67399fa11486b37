größe = 3
def функция():
    return größe / 0
функция()
