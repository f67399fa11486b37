import zoneinfo, datetime, pathlib, shutil
print(datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("America/New_York")))
pathlib.Path("made_here").mkdir(exist_ok=True)
print(pathlib.Path("made_here").resolve(), shutil.which("python3"))
