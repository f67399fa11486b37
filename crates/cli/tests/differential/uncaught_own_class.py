class Spoilt(Exception):
    def __str__(self):
        return f"spoilt: {self.args!r}"

raise Spoilt("milk", 3)
