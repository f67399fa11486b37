from json import load_all
