import random, secrets, uuid, os, tempfile
seen = {random.random(), random.random(), secrets.randbits(64), uuid.uuid4().int, int.from_bytes(os.urandom(8), "big")}
print(len(seen), random.Random(1).random())
random.seed(5)
print(random.random(), [random.randrange(100) for _ in range(5)])
print(tempfile.gettempdir(), tempfile.gettempprefix())
