"""Opens reports in headless Chromium and says as JSON what was seen.

The input is JSON: `pages` maps names to files, `pictures` is a directory for screenshots and the printed page.
"""

import json
import pathlib
import sys

from playwright.sync_api import sync_playwright

# Opaque pixels of the price chart that are not its background.
INKED = """() => {
    let inked = 0;
    for (const canvas of document.querySelectorAll("#price-chart canvas")) {
        if (canvas.width === 0 || canvas.height === 0) continue;
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const ground = data.slice(0, 4).join();
        for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 0 && data.slice(at, at + 4).join() !== ground) inked += 1;
    }
    return inked;
}"""

COLUMN = """([id, at]) => [...document.querySelectorAll(`#${id} tbody tr`)].map((row) => row.cells[at].textContent)"""

FAINT = """() => {
    const shade = (text) => {
        const parts = text.match(/[\\d.]+/g).map(Number).slice(0, 3).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const ground = shade(getComputedStyle(document.documentElement).backgroundColor);
    const found = [];
    for (const element of document.querySelectorAll("p, td, th, li, dt, dd, a, figcaption, h1, h2, svg text.faint, svg text.ink")) {
        const style = getComputedStyle(element);
        if (element.closest(".map") || !element.getClientRects().length) continue;
        const own = shade(element instanceof SVGElement ? style.fill : style.color);
        const contrast = (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
        if (contrast < 4.5) found.push(`${element.tagName} ${element.className.baseVal ?? element.className} ${contrast.toFixed(2)}`);
    }
    return [...new Set(found)];
}"""

OPENED = """() => {
    const { domInteractive, loadEventEnd } = performance.getEntriesByType("navigation")[0];
    return { parsed: domInteractive, loaded: loadEventEnd };
}"""


def main() -> None:
    asked = json.load(sys.stdin)
    pictures = pathlib.Path(asked["pictures"])
    pictures.mkdir(parents=True, exist_ok=True)
    seen = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, file in asked["pages"].items():
            seen[name] = look(browser, name, file, pictures)
        browser.close()
    print(json.dumps(seen))


def watched(browser, complaints, requests, **options):
    page = browser.new_page(**options)
    # What reads the canvas back again and again is this program.
    page.on("console", lambda m: "willReadFrequently" in m.text or complaints.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda r: requests.append(r.url) if not r.url.startswith("data:") else None)
    return page


def look(browser, name, file, pictures):
    complaints, requests = [], []
    url = pathlib.Path(file).resolve().as_uri()
    page = watched(browser, complaints, requests, viewport={"width": 1280, "height": 900}, color_scheme="light")
    page.goto(url, wait_until="load")
    found = {"opened": page.evaluate(OPENED), "faint": page.evaluate(FAINT)}
    if page.locator("#price-chart").count():
        page.wait_for_function(f"({INKED})() > 0")
        found["inked"] = page.evaluate(INKED)
    found["curves"] = page.eval_on_selector_all(
        "#curve svg.wide path.l.own, #curve svg.wide path.l.hold", "(paths) => paths.map((p) => p.getBoundingClientRect().width)"
    )
    found["tables"] = {id: sorts(page, id) for id in ("runs", "trades") if page.locator(f"#{id}").count()}
    found["readout"] = reads_out(page)
    page.screenshot(path=pictures / f"{name}.png", full_page=True)
    page.pdf(path=pictures / f"{name}.pdf", format="A4", print_background=True)
    page.emulate_media(media="print")
    found["printed"] = page.evaluate(
        "[...document.querySelectorAll('.still svg, #price-chart, nav')].map((e) => e.getClientRects().length > 0)"
    )
    page.close()

    dark = watched(browser, complaints, requests, viewport={"width": 1280, "height": 900}, color_scheme="dark")
    dark.goto(url, wait_until="load")
    found["grounds"] = dark.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    found["faint"] += dark.evaluate(FAINT)
    dark.wait_for_timeout(300)
    dark.screenshot(path=pictures / f"{name}-dark.png", full_page=True)
    dark.close()

    phone = watched(browser, complaints, requests, viewport={"width": 390, "height": 844}, color_scheme="light")
    phone.goto(url, wait_until="load")
    found["overflows"] = phone.evaluate("document.documentElement.scrollWidth > innerWidth")
    phone.wait_for_timeout(300)
    phone.screenshot(path=pictures / f"{name}-phone.png", full_page=True)
    phone.close()

    # Without scripts the page still shows everything but what moves.
    context = browser.new_context(java_script_enabled=False)
    still = context.new_page()
    still.goto(url, wait_until="load")
    found["without_script"] = {"stills": still.locator(".still svg:visible").count(), "rows": still.locator("#runs tbody tr").count()}
    context.close()

    found |= {"complaints": complaints, "requests": sorted(set(requests) - {url})}
    return found


def sorts(page, id):
    """What the columns hold after they were pressed, by keyboard: once and twice; the next page; what a filter leaves."""
    headings = page.locator(f"#{id} th button")
    found = {"headings": headings.all_inner_texts(), "pressed": []}
    for at in range(headings.count()):
        headings.nth(at).focus()
        columns = []
        for _ in range(2):
            page.keyboard.press("Enter")
            columns.append({
                "sort": page.locator(f"#{id} th").nth(at).get_attribute("aria-sort"),
                "first": page.evaluate(COLUMN, [id, at]),
            })
        found["pressed"].append(columns)
    after = page.locator(f"#{id}-pages").get_by_role("button", name="Next")
    if after.is_visible():
        after.click()
        found["next"] = page.locator(f"#{id}-pages [role=status]").inner_text()
        page.get_by_label("Only rows with").first.fill("aapl 5")
        found["filtered"] = page.locator(f"#{id}-pages [role=status]").inner_text()
    return found


def reads_out(page):
    chart = page.locator("#curve svg.wide")
    if not chart.count():
        return None
    chart.focus()
    page.keyboard.press("Home")
    first = page.locator("#curve-readout").inner_text()
    page.keyboard.press("End")
    return [first, page.locator("#curve-readout").inner_text()]


main()
