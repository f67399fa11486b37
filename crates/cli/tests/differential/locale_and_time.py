import locale, time, datetime
print(locale.getpreferredencoding(), locale.getlocale(), locale.setlocale(locale.LC_ALL))
print(time.tzname, time.timezone, datetime.datetime.fromtimestamp(0))
print(f"{1234567.891:n}", time.process_time() < 60)
