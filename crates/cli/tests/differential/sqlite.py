import sqlite3
db = sqlite3.connect(":memory:")
db.execute("create table jars (n)")
db.executemany("insert into jars values (?)", [(n,) for n in range(5)])
print(db.execute("select sum(n) from jars").fetchone())
db.execute("select nothing")
