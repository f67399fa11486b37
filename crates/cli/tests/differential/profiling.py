import cProfile, io, pstats
profile = cProfile.Profile()
profile.enable()
sorted(range(10), key=lambda n: -n)
profile.disable()
out = io.StringIO()
pstats.Stats(profile, stream=out).print_stats()
print(out.getvalue().split("\n")[0].split(" in ")[0].strip())
