import pickle, re
try:
    pickle.dumps(lambda: 0)
except pickle.PicklingError as error:
    print(re.sub("0x[0-9a-f]+", "ADDRESS", str(error)))
