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


# pip itself. Of an index page it builds and examines an object for each file, and most files of a package are wheels for other
# systems, which it then turns down: half of the time of an installation went there. They are left out before, by the tags in
# their names, as pip does it. Whatever is not as in the template's pip is left as it is.
PIP = """
import sys

def leave_out_other_systems():
    import json
    from pip._internal.index import collector
    from pip._internal.utils.compatibility_tags import get_supported
    supported = {str(tag) for tag in get_supported()}
    systems = {tag.platform for tag in get_supported()}

    def fits(file):
        name = file["filename"].lower()
        parts = name.removesuffix(".whl").rsplit("-", 3)
        if not name.endswith(".whl") or len(parts) != 4:
            return True
        pythons, abis, platforms = (part.split(".") for part in parts[1:])
        return any(f"{python}-{abi}-{platform}" in supported
                   for platform in platforms if platform in systems for python in pythons for abi in abis)

    class Pages:
        @staticmethod
        def loads(text):
            page = json.loads(text)
            try:
                return dict(page, files=[file for file in page["files"] if fits(file)])
            except (AttributeError, KeyError, TypeError):
                return page

    assert collector.json is json
    collector.json = Pages

try:
    leave_out_other_systems()
except Exception:
    pass
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def installed_version(name):
    """Of what pip has just installed: this interpreter looked for packages before there were any."""
    found = importlib.metadata.Distribution.discover(name=name, path=[site.getusersitepackages(), *sys.path])
    return next((each.version for each in found), None)


def main():
    wanted = json.load(sys.stdin)
    pip = [sys.executable, "-c", PIP, "install", "--user", "--no-input", "--disable-pip-version-check",
           "--break-system-packages", "--no-warn-script-location", "--prefer-binary", "--progress-bar", "off", "--quiet",
           # The gate has what is downloaded. What is imported is compiled then: that is a part of what was installed, as a rule.
           "--no-cache-dir", "--no-compile",
           # The system's list of authorities is read once, and not for each of two ways to verify.
           "--use-deprecated", "legacy-certs", *wanted]
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
