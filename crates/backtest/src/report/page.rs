//! The page: one file, everything in it.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{
    chart, heat,
    input::{Backtest, Figure, Input, Luck, Prices, Source, Sweep, Value},
    stretches,
    table::{Table, computed_by},
    thin,
    words::sentences,
    write::{counted, escaped, json_number, json_string, number, percent},
};
use crate::metrics::conventions;

const STYLE: &str = include_str!("assets/report.css");
const SCRIPT: &str = include_str!("assets/report.js");
/// TradingView Lightweight Charts 5.2.1; `assets/README.md` says where it is from.
const CHARTS: &str = include_str!("assets/lightweight-charts.standalone.production.js");
const CHARTS_LICENSE: &str = include_str!("assets/lightweight-charts.LICENSE");

/// Symbols whose prices are in the report.
const PRICES_MAX: usize = 20;
/// Lines of a log in the report.
const LOG_LINES_MAX: usize = 500;
/// Facts in the report.
const FACTS_MAX: usize = 200;
/// Points of the curve that the script knows when it says what is below the pointer.
const CURVE_POINTS_MAX: usize = 20_000;

/// A drawing for wide pages, and one for narrow ones.
const WIDE: (f64, f64) = (860.0, 370.0);
const NARROW: (f64, f64) = (360.0, 340.0);

/// The page.
pub(super) fn page(input: &Input) -> String {
    let run = &input.run;
    let mut main = String::with_capacity(64 * 1024);
    let mut sections: Vec<(&str, &str, String)> =
        vec![("figures", "Figures", figures(run)), ("equity", "Equity", equity(run))];
    let bars: Vec<(Prices, usize)> =
        run.prices.iter().take(PRICES_MAX).map(thin::merged).filter(|(p, _)| !p.dates.is_empty()).collect();
    if !bars.is_empty() {
        sections.push(("prices", "Prices and trades", prices(run, &bars)));
    }
    if !input.stretches.is_empty() {
        sections.push(("stretches", "Out of sample", stretches::section(&input.stretches)));
    }
    let runs = input.sweep.as_ref().map(|sweep| Table::runs(sweep, input.parts.as_ref()));
    let trades = Table::trades(run);
    if let (Some(sweep), Some(runs)) = (&input.sweep, &runs) {
        sections.push(("runs", "All runs", all_runs(sweep, runs)));
    }
    if let Some(luck) = &input.luck {
        sections.push(("luck", "How likely it was luck", luck_section(luck)));
    }
    if !run.calendar.is_empty() {
        sections.push(("months", "Months", months(run)));
    }
    sections.push((
        "trades-all",
        "Trades",
        if run.trades.is_empty() { "<p>There was no trade.</p>".into() } else { trades.html() },
    ));
    if !run.log.is_empty() {
        sections.push(("log", "Log", log(run)));
    }
    sections.push(("facts", "Where it comes from", facts(input)));
    if !run.figures.is_empty() {
        sections.push(("conventions", "What the figures mean", meanings()));
    }
    main.push_str(&head(input));
    main.push_str("<nav aria-label=\"Contents\"><ul>");
    for (id, heading, _) in &sections {
        let _ = write!(main, "<li><a href=\"#{id}-section\">{heading}</a></li>");
    }
    main.push_str("</ul></nav>");
    for (id, heading, content) in &sections {
        let _ = write!(main, "<section id=\"{id}-section\"><h2>{heading}</h2>{content}</section>");
    }
    let data = data(run, &bars, &trades, runs.as_ref());
    document(&input.title, &main, &data)
}

/// The document around it. Nothing may be fetched, and of scripts and styles only those in this program run: their hashes are in the
/// policy.
fn document(title: &str, main: &str, data: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src {} {}; style-src {}; img-src data:; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>{}</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>{main}</main>\n{}\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n<script>{CHARTS}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        hash(CHARTS),
        hash(SCRIPT),
        hash(STYLE),
        escaped(title),
        foot(),
    )
}

/// Names in a line; of more it is said how many.
const NAMES_MAX: usize = 16;

fn some_of<T>(all: &[T], write: impl Fn(&T) -> String) -> String {
    let mut shown: Vec<String> = all.iter().take(NAMES_MAX).map(write).collect();
    if all.len() > NAMES_MAX {
        shown.push(format!("{} more", number((all.len() - NAMES_MAX) as f64, 0)));
    }
    shown.join(", ")
}

fn head(input: &Input) -> String {
    let run = &input.run;
    let mut out = format!("<header><h1>{}</h1><p class=\"under\">", escaped(&input.title));
    let mut parts = vec![escaped(&run.strategy)];
    parts.push(some_of(&run.parameters, |(name, value)| format!("{} {}", escaped(name), escaped(value))));
    parts.push(some_of(&run.symbols, |symbol| escaped(symbol)));
    if let (Some(first), Some(last)) = (run.curve.dates.first(), run.curve.dates.last()) {
        parts.push(format!("{first} to {last}, {}", counted(run.curve.dates.len(), "bar")));
    }
    parts.push(computed_by(run.source).to_owned());
    out.push_str(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · "));
    out.push_str("</p>");
    if input.sweep.is_some() {
        let whole =
            if input.parts.is_some() { ", over the whole time, the bars included on which it was chosen" } else { "" };
        let _ = write!(
            out,
            "<p class=\"under\">Figures, charts and trades below are those of the best run of the sweep{whole}.</p>"
        );
    }
    out.push_str("<ul class=\"words\">");
    for sentence in sentences(input) {
        let class = if sentence.against { " class=\"against\"" } else { "" };
        let _ = write!(out, "<li{class}>{}</li>", escaped(&sentence.text));
    }
    out.push_str("</ul></header>");
    out
}

fn figures(run: &Backtest) -> String {
    if run.figures.is_empty() {
        return "<p>There are no figures.</p>".into();
    }
    let mut out = String::from("<div class=\"pair\">");
    let half = run.figures.len().div_ceil(2);
    for (at, figures) in run.figures.chunks(half).enumerate() {
        let caption = if at == 0 { "Figures of the run and of buy and hold" } else { "Figures, continued" };
        let _ = write!(
            out,
            "<table><caption class=\"said\">{caption}</caption><thead><tr><th scope=\"col\">Figure</th><th scope=\"col\" class=\"n\">Strategy</th>\
             <th scope=\"col\" class=\"n\">Buy and hold</th></tr></thead><tbody>"
        );
        for figure in figures {
            out.push_str(&figure_row(figure));
        }
        out.push_str("</tbody></table>");
    }
    out.push_str("</div>");
    out
}

fn figure_row(figure: &Figure) -> String {
    let name = escaped(&figure.name);
    let name = match conventions().iter().find(|convention| convention.title == figure.name) {
        Some(convention) => format!("<a href=\"#means-{}\">{name}</a>", convention.name),
        None => name,
    };
    // What buy and hold cannot have, such as a win rate, stays empty; what it could have and has not is n/a.
    let hold = if figure.benchmark == Value::None && figure.better.is_none() {
        String::new()
    } else {
        figure.benchmark.written()
    };
    format!(
        "<tr><th scope=\"row\">{name}</th><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        escaped(&figure.value.written()),
        escaped(&hold)
    )
}

fn equity(run: &Backtest) -> String {
    if run.curve.equity.is_empty() {
        return "<p>There is no equity: the run had no bar.</p>".into();
    }
    let drawn = |(width, height)| chart::equity(run, None, width, height);
    format!(
        "<figure id=\"curve\">{}{}<p class=\"readout\" id=\"curve-readout\" role=\"status\"></p><figcaption>Equity at the close of each bar, of the run and of \
         buy and hold, and how far each is below its highest so far. Where bars outnumber pixels, the first, lowest, highest and last of \
         each few bars are drawn; figures are of all bars. Where the highest is more than four times the lowest, equal ratios are equal \
         heights.</figcaption></figure>",
        drawn(WIDE).svg("wide"),
        drawn(NARROW).svg("narrow")
    )
}

fn prices(run: &Backtest, bars: &[(Prices, usize)]) -> String {
    let mut out = String::from(
        "<figure><div id=\"price-chart\"></div><p class=\"readout\" id=\"price-readout\" role=\"status\"></p>",
    );
    for (prices, _) in bars {
        let scene = chart::prices(prices, &run.trades, WIDE.0, 250.0);
        let _ = write!(out, "<div class=\"still\"><h3>{}</h3>{}</div>", escaped(&prices.symbol), scene.svg("price"));
    }
    out.push_str(
        "<figcaption>Adjusted prices; an arrow up where shares were bought, an arrow down where they were sold, at the bar of the fill. \
         Drag to move, turn the wheel or pinch to come nearer.",
    );
    if let Some(each) = bars.iter().map(|(_, each)| *each).max().filter(|each| *each > 1) {
        let _ = write!(out, " Of long series up to {each} bars are drawn as one, with their highest and lowest.");
    }
    if run.prices.len() > PRICES_MAX {
        let _ = write!(out, " The first {PRICES_MAX} of {} are drawn.", counted(run.prices.len(), "symbol"));
    }
    out.push_str("</figcaption></figure>");
    out
}

fn all_runs(sweep: &Sweep, runs: &Table) -> String {
    let mut out = String::new();
    let (maps, left_out) = heat::maps(sweep, 500.0);
    if !maps.is_empty() {
        let _ = write!(out, "<h3>{} over the grid</h3><div class=\"maps\">", escaped(&sweep.metric));
        for map in &maps {
            let _ = write!(
                out,
                "<figure><figcaption class=\"above\">{}</figcaption><div class=\"scroll\">{}</div><figcaption>{}</figcaption></figure>",
                escaped(&map.heading),
                map.scene.svg("map"),
                escaped(&map.note)
            );
        }
        out.push_str(
            "</div><p class=\"note\">Colours go from the lowest to the highest of each map; the best cell has a frame.",
        );
        if left_out > 0 {
            let _ = write!(out, " {} more are in the table only.", counted(left_out, "map"));
        }
        out.push_str("</p>");
    }
    out.push_str(&runs.html());
    out
}

fn luck_section(luck: &Luck) -> String {
    let mut out = format!("<p class=\"verdict\">{}</p>", escaped(&luck.verdict));
    if !luck.statements.is_empty() {
        out.push_str(
            "<table><caption class=\"said\">Statistics of luck</caption><thead><tr><th scope=\"col\">Statistic</th><th scope=\"col\" class=\"n\">Value</th>\
             <th scope=\"col\">What it says</th></tr></thead><tbody>",
        );
        for one in &luck.statements {
            let (name, value, meaning) = (escaped(&one.name), escaped(&one.value.written()), escaped(&one.meaning));
            let _ = write!(out, "<tr><th scope=\"row\">{name}</th><td class=\"n\">{value}</td><td>{meaning}</td></tr>");
        }
        out.push_str("</tbody></table>");
    }
    if !luck.intervals.is_empty() {
        out.push_str(
            "<table class=\"narrow-table\"><caption>Where figures may lie</caption><thead><tr><th scope=\"col\">Figure</th>\
             <th scope=\"col\" class=\"n\">Confidence</th><th scope=\"col\" class=\"n\">From</th><th scope=\"col\" class=\"n\">To</th></tr></thead><tbody>",
        );
        for one in &luck.intervals {
            let _ = write!(
                out,
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
                escaped(&one.name),
                percent(one.level, 0),
                escaped(&one.low.written()),
                escaped(&one.high.written())
            );
        }
        out.push_str("</tbody></table>");
    }
    out
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn months(run: &Backtest) -> String {
    let mut out = String::from(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Returns by month\"><table class=\"months\">\
         <caption>Returns by month, in percent</caption><thead><tr><th scope=\"col\">Year</th>",
    );
    for month in MONTHS {
        let _ = write!(out, "<th scope=\"col\" class=\"n\">{month}</th>");
    }
    out.push_str("<th scope=\"col\" class=\"n\">Year</th></tr></thead><tbody>");
    let cell = |value: Option<f64>| {
        let class = if value.is_some_and(|value| value < 0.0) { "n down" } else { "n" };
        format!("<td class=\"{class}\">{}</td>", value.map_or(String::new(), |value| number(value * 100.0, 1)))
    };
    for year in &run.calendar {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", year.year);
        for month in year.months {
            out.push_str(&cell(month));
        }
        out.push_str(&cell(Some(year.total)));
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

fn log(run: &Backtest) -> String {
    let lines: Vec<String> = run.log.iter().take(LOG_LINES_MAX).map(|line| escaped(line)).collect();
    let mut out = format!(
        "<p>What the strategy has said; nothing of it is checked.</p><pre tabindex=\"0\">{}</pre>",
        lines.join("\n")
    );
    if run.log.len() > LOG_LINES_MAX {
        let _ = write!(out, "<p>The first {LOG_LINES_MAX} of {}.</p>", counted(run.log.len(), "line"));
    }
    out
}

fn facts(input: &Input) -> String {
    let mut out = String::from("<dl>");
    let mut fact = |name: &str, value: &str| {
        let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(value));
    };
    let how = match input.run.source {
        Source::Sandbox => {
            "the strategy ran in a sandbox; fills, costs, equity and figures were computed outside of it"
        }
        Source::Native => "the native kernel ran the declared strategy; no code of a user ran",
        Source::SelfReported => {
            "a program in a sandbox has reported this itself; only the figures were computed outside of it"
        }
    };
    fact("Computed by", how);
    if let Some(ended) = input.ended {
        fact("Ended", &ended.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
    }
    for one in input.facts.iter().take(FACTS_MAX) {
        fact(&one.name, &one.value);
    }
    fact("Report by", concat!("ringfence ", env!("CARGO_PKG_VERSION")));
    out.push_str("</dl>");
    out
}

fn meanings() -> String {
    let mut out = String::from(
        "<table><caption class=\"said\">Conventions</caption><thead><tr><th scope=\"col\">Figure</th><th scope=\"col\">Unit</th><th scope=\"col\">Definition</th>\
         <th scope=\"col\">Source</th></tr></thead><tbody>",
    );
    for one in conventions() {
        let _ = write!(
            out,
            "<tr id=\"means-{}\"><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            one.name,
            escaped(one.title),
            one.unit.as_str(),
            escaped(one.definition),
            escaped(one.source)
        );
    }
    out.push_str("</tbody></table>");
    out
}

/// What Apache-2.0 and TradingView's notice ask for.
fn foot() -> String {
    let license: String = CHARTS_LICENSE.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<footer><p>The chart of prices is TradingView Lightweight Charts™ 5.2.1. Copyright (c) 2026 TradingView, Inc. \
         <a href=\"https://www.tradingview.com/\" rel=\"noreferrer noopener\">https://www.tradingview.com/</a></p>\
         <details><summary>Its licence</summary><pre tabindex=\"0\">{license}</pre></details></footer>"
    )
}

/// What the script draws and sorts.
fn data(run: &Backtest, bars: &[(Prices, usize)], trades: &Table, runs: Option<&Table>) -> String {
    let mut parts = vec![curve_json(run)];
    let bars: Vec<String> = bars.iter().map(|(prices, _)| bars_json(prices, run)).collect();
    parts.push(format!("\"bars\":[{}]", bars.join(",")));
    if !run.trades.is_empty() {
        parts.push(trades.json());
    }
    parts.extend(runs.map(Table::json));
    format!("{{{}}}", parts.join(","))
}

fn numbers(values: impl Iterator<Item = f64>, decimals: usize) -> String {
    values.map(|value| json_number(value, decimals)).collect::<Vec<_>>().join(",")
}

fn curve_json(run: &Backtest) -> String {
    let times = chart::times(&run.curve.dates);
    let kept = thin::extremes(&run.curve.equity[..times.len().min(run.curve.equity.len())], CURVE_POINTS_MAX / 4);
    let within_days = run.curve.dates.windows(2).any(|pair| pair[0] == pair[1]);
    let hold = run.benchmark.as_ref().map_or_else(String::new, |hold| {
        let at = chart::times(&hold.dates);
        let value = |time: f64| {
            let upto = at.partition_point(|own| *own <= time);
            upto.checked_sub(1).and_then(|at| hold.equity.get(at)).copied().unwrap_or(f64::NAN)
        };
        numbers(kept.iter().map(|index| value(times[*index])), 2)
    });
    format!(
        "\"curve\":{{\"capital\":{},\"day\":[{}],\"own\":[{}],\"hold\":[{hold}]}}",
        numbers(std::iter::once(run.curve.capital), 2),
        numbers(kept.iter().map(|at| times[*at]), if within_days { 5 } else { 0 }),
        numbers(kept.iter().map(|at| run.curve.equity[*at]), 2)
    )
}

fn bars_json(prices: &Prices, run: &Backtest) -> String {
    let lowest = prices.low.iter().fold(f64::INFINITY, |low, price| low.min(price.abs()));
    let decimals =
        if lowest > 0.0 && lowest < 1.0 { (3.0 - libm::floor(libm::log10(lowest))).min(8.0) as usize } else { 2 };
    let seconds = chart::times(&prices.dates).into_iter().map(|day| libm::floor(day * 86_400.0));
    let tips: Vec<String> =
        chart::tips(prices, &run.trades).into_iter().map(|(at, buys)| format!("[{at},{}]", u8::from(buys))).collect();
    format!(
        "{{\"symbol\":{},\"decimals\":{decimals},\"time\":[{}],\"open\":[{}],\"high\":[{}],\"low\":[{}],\"close\":[{}],\"tips\":[{}]}}",
        json_string(&prices.symbol),
        numbers(seconds, 0),
        numbers(prices.open.iter().copied(), decimals),
        numbers(prices.high.iter().copied(), decimals),
        numbers(prices.low.iter().copied(), decimals),
        numbers(prices.close.iter().copied(), decimals),
        tips.join(",")
    )
}
