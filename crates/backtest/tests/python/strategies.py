"""What the built-in strategies want, by the files that sandboxes have.

Input: JSON with `indicators` (name, panel, column, window), `module` (the directory that holds the package `ringfence`), `panels` (columns by name) and `cases` (panel,
strategy, parameters). Output: the bits of each indicator; for each case the weights that are a number, as [bar, weight] pairs, or what it refused.
"""

import importlib
import json
import sys

import numpy
import pandas

given = json.load(sys.stdin)
sys.path.insert(0, given["module"])
panels = [pandas.DataFrame(columns) for columns in given["panels"]]

# Whole numbers are the bits of the doubles.
bits = []
for asked in given["indicators"]:
    found = getattr(importlib.import_module("ringfence.indicators"), asked["name"])(
        panels[asked["panel"]][asked["column"]].to_numpy(), asked["window"])
    columns = found if isinstance(found, tuple) else (found,)
    bits.append([numpy.where(numpy.isnan(column), numpy.nan, column).view("<u8").tolist() for column in columns])
answers = []
for case in given["cases"]:
    strategy = importlib.import_module(f"ringfence.strategies.{case['strategy']}")
    missing = set(strategy.PARAMETERS) ^ set(case["parameters"])
    assert not missing, f"the parameters of {case['strategy']} differ by {missing}"
    try:
        weights = strategy.signals(panels[case["panel"]], **case["parameters"])
    except ValueError as refused:
        answers.append({"refused": str(refused)})
        continue
    assert len(weights) == len(panels[case["panel"]])
    answers.append({"events": [[bar, weight] for bar, weight in enumerate(weights.tolist()) if weight == weight]})
json.dump({"indicators": bits, "cases": answers}, sys.stdout)
