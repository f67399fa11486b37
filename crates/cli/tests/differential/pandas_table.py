import pandas as pd
table = pd.DataFrame({"a": [1, 2, 3], "b": [1.5, None, 2.5]}, index=list("xyz"))
print(table.describe())
print(table.groupby("a").sum())
table["missing"]
