import multiprocessing

if __name__ == "__main__":
    with multiprocessing.Manager() as manager:
        table = manager.dict(jam=3)
        table["tea"] = 4
        print(sorted(table.items()))
