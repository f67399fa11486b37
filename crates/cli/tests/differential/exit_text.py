raise SystemExit("no more bread")
