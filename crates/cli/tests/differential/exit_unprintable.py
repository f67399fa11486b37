class Unprintable:
    def __str__(self):
        raise ValueError("no words")

raise SystemExit(Unprintable())
