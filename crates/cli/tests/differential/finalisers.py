import weakref

class Thing:
    def __init__(self, name):
        self.name = name
    def __del__(self):
        print("deleted", self.name)

plain = Thing("plain")
cycle = Thing("cycle")
cycle.itself = cycle
watched = Thing("watched")
weakref.finalize(watched, print, "finalised watched")
