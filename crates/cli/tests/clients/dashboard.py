"""Opens a dashboard in headless Chromium as somebody at a desk does, and prints what was seen as JSON.

dashboard.py URL PICTURE [COMMAND ...]: for each symbol the figures that the page shows, and the colours of the candles that are
on its canvas; then the picture, light (PICTURE.png) and dark (PICTURE-dark.png). With a command, which changes the heading in the
sources to `Trading board`: whether the page follows without being loaded anew. Whatever the page complains of is in `complaints`.
"""

import json
import subprocess
import sys

from playwright.sync_api import sync_playwright

FIGURES = ["return", "cagr", "sharpe", "drawdown", "trades", "bar"]

# The pixels of all canvases of the chart, counted by colour.
COLOURS = """() => {
    const found = {};
    for (const canvas of document.querySelectorAll(".price canvas")) {
        const { width, height } = canvas;
        if (width === 0 || height === 0) continue;
        const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
        for (let at = 0; at < data.length; at += 4) {
            if (data[at + 3] !== 255) continue;
            const colour = `#${[0, 1, 2].map((i) => data[at + i].toString(16).padStart(2, "0")).join("")}`;
            found[colour] = (found[colour] ?? 0) + 1;
        }
    }
    const style = getComputedStyle(document.documentElement);
    const named = {};
    for (const name of ["up", "down", "up-faint", "down-faint", "fast", "slow"]) {
        named[name] = found[style.getPropertyValue(`--${name}`).trim()] ?? 0;
    }
    return named;
}"""

GROUND = "getComputedStyle(document.body).backgroundColor"


def main(url: str, picture: str, *edit: str) -> None:
    complaints = []
    seen = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 960}, color_scheme="light")
        # Chromium says at "info" only what dev servers want to be read.
        page.on("console", lambda m: m.type in ("error", "warning") and complaints.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
        page.on("response", lambda r: r.status >= 400 and complaints.append(f"{r.status}: {r.url}"))
        page.on("requestfailed", lambda r: r.failure != "net::ERR_ABORTED" and complaints.append(f"{r.failure}: {r.url}"))
        page.goto(url, wait_until="load")
        names = page.get_by_role("group", name="Symbol").get_by_role("button")
        names.first.wait_for()
        for name in names.all_inner_texts():
            names.get_by_text(name, exact=True).click()
            with_bars = page.locator(f'button[aria-pressed="true"]:text-is("{name}")')
            with_bars.wait_for()
            page.locator(".price canvas").first.wait_for()
            page.wait_for_function("document.querySelectorAll('.recharts-surface path').length > 2")
            seen[name] = {figure: page.get_by_test_id(figure).inner_text() for figure in FIGURES}
            page.wait_for_timeout(300)
            seen[name]["pixels"] = page.evaluate(COLOURS)
            seen[name]["curves"] = page.evaluate(
                "[...document.querySelectorAll('path.recharts-curve')].map((p) => p.getAttribute('d').length)"
            )
        names.first.click()
        page.wait_for_timeout(500)
        page.screenshot(path=f"{picture}.png")
        grounds = [page.evaluate(GROUND)]
        # The user's choice, which is kept; and the system's.
        page.get_by_role("button", name="Dark").click()
        grounds.append(page.evaluate(GROUND))
        page.reload()
        page.get_by_role("button", name="Light").wait_for()
        page.locator(".price canvas").first.wait_for()
        grounds.append(page.evaluate(GROUND))
        page.evaluate("localStorage.clear(); delete document.documentElement.dataset.theme")
        page.emulate_media(color_scheme="dark")
        page.reload()
        page.get_by_role("button", name="Light").wait_for()
        page.locator(".price canvas").first.wait_for()
        page.wait_for_timeout(500)
        grounds.append(page.evaluate(GROUND))
        dark = page.evaluate(COLOURS)
        page.screenshot(path=f"{picture}-dark.png")
        follows = None
        if edit:
            page.evaluate("window.notLoadedAnew = true")
            subprocess.run(edit, check=True, stdout=sys.stderr)
            page.get_by_role("heading", name="Trading board").wait_for(timeout=60_000)
            follows = page.evaluate("window.notLoadedAnew === true")
        browser.close()
    print(json.dumps({"symbols": seen, "dark": dark, "grounds": grounds, "follows": follows, "complaints": complaints}))


main(*sys.argv[1:])
