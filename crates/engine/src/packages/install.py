"""Installs packages for the sandbox's user, and says as JSON on its last line what came of it.

Reads a list of requirements as JSON. It is run in the sandbox, as any program is, while the gate lets it reach the registries.
"""

import difflib
import importlib.metadata
import json
import re
import site
import subprocess
import sys

# What strategies are usually written with: names to be suggested, no more.
KNOWN = """aiohttp alpaca-py alpha-vantage anthropic arch backtesting backtrader beautifulsoup4 bokeh ccxt cvxpy dash duckdb
empyrical-reloaded exchange-calendars fastapi fastparquet ffn flask hmmlearn httpx jupyter keras lightgbm lxml matplotlib mplfinance
msgpack networkx numba numpy openai openpyxl optuna pandas pandas-datareader pandas-ta plotly polars polygon-api-client pyarrow pydantic
pyfolio-reloaded pymc pyportfolioopt pytest python-dateutil pytz quantlib quantstats redis requests riskfolio-lib scikit-learn scipy
seaborn skfolio sqlalchemy statsmodels streamlit ta ta-lib tensorflow torch tqdm transformers vectorbt websockets xgboost yfinance
yahooquery zipline-reloaded""".split()


def installed_version(name):
    """Of what pip has just installed: this interpreter looked for packages before there were any."""
    found = importlib.metadata.Distribution.discover(name=name, path=[site.getusersitepackages(), *sys.path])
    return next((each.version for each in found), None)


def main():
    wanted = json.load(sys.stdin)
    pip = [sys.executable, "-m", "pip", "install", "--user", "--no-input", "--disable-pip-version-check",
           "--break-system-packages", "--no-warn-script-location", "--prefer-binary", "--progress-bar", "off", "--quiet",
           # The gate has what is downloaded. What is imported is compiled then: that is a part of what was installed, as a rule.
           "--no-cache-dir", "--no-compile", *wanted]
    ran = subprocess.run(pip, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = ran.stdout.decode(errors="replace")
    names = [re.match(r"[A-Za-z0-9._-]+", each).group() for each in wanted]
    installed = []
    if ran.returncode == 0:
        versions = {name: installed_version(name) for name in names}
        installed = [{"name": name, "version": version} for name, version in versions.items() if version]
    missing = re.findall(r"No matching distribution found for ([A-Za-z0-9._-]+)", said)
    near = {name: difflib.get_close_matches(name.lower(), KNOWN, 3, 0.6) for name in missing if name.lower() not in KNOWN}
    last = [line for line in said.splitlines() if line.strip()][-12:]
    print(json.dumps({"exit_code": ran.returncode, "installed": installed, "near": near, "said": last}))


main()
