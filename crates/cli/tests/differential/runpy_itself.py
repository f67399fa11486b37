import runpy
if __name__ == "__main__":
    print(runpy.run_path(__file__, run_name="other")["kept"])
kept = __name__
