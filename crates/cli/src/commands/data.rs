//! `ringfence data`: the bars that the simulated exchange replays. It works on the state directory itself, whether a
//! daemon runs or not; a venue that runs is told to read it again.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use ringfence_market::{
    Library, Symbol, action,
    import::{self, Bars, Dataset, FILE_BYTES_MAX, Interval, Options, Report, Weight, Zone},
    library::{Change, Entry, Holds},
    sample,
};
use serde_json::json;

use crate::{args::Global, daemon, failure, output};

/// Manages the market data that the simulated exchange replays
#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    Import(ImportArgs),
    List(ListArgs),
    Check(CheckArgs),
    Remove(RemoveArgs),
}

/// What a file does not say of itself.
#[derive(Debug, Args)]
struct About {
    /// Whose bars they are [default: by a column `symbol`, or by the file's name, such as AAPL.csv]
    #[arg(long, value_name = "SYMBOL", value_parser = symbol)]
    symbol: Option<Symbol>,
    /// `day` or `minute` [default: by the times in the file]
    #[arg(long, value_name = "INTERVAL", value_parser = interval)]
    interval: Option<Interval>,
    /// Where its clocks stand, when its times do not say
    #[arg(long, value_name = "ZONE", default_value = "America/New_York", value_parser = zone)]
    timezone: Zone,
}

/// Checks files of bars and adds them: all, or none when one is refused
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence data import AAPL.csv MSFT.parquet
  sudo ringfence data import prices.csv --symbol SPY --name 'SPDR S&P 500' --interval minute --timezone UTC
  sudo ringfence data import SPY.csv --actions splits.csv

Files are CSV or Parquet with a column for the time (date, datetime, timestamp or t), and open, high, low, close and volume \
(or o, h, l, c, v), in any case and order; further columns are not read. Prices are raw: as they were traded. \
--actions is CSV with the header symbol,ex_date,kind,value,source, kind `split` (shares for one) or `dividend` (dollars a share); it \
takes the place of all earlier actions of its symbols. Bars of a day or minute that is there already are replaced.")]
pub(crate) struct ImportArgs {
    /// CSV or Parquet
    #[arg(value_name = "FILE", required_unless_present = "actions")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    about: About,
    /// Name of the company
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Splits and dividends
    #[arg(long, value_name = "FILE")]
    actions: Option<PathBuf>,
}

/// Shows what there is
#[derive(Debug, Args)]
pub(crate) struct ListArgs {}

/// Checks files without adding them; without a file, everything that was imported
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// CSV or Parquet
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    about: About,
}

/// Removes what was imported
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Whose
    #[arg(value_name = "SYMBOL", required = true, value_parser = symbol)]
    symbols: Vec<Symbol>,
    /// Only bars of this length
    #[arg(long, value_name = "INTERVAL", value_parser = interval)]
    interval: Option<Interval>,
}

/// Longest wait for a venue that reads its bars again.
const REREAD_TIME: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 64 << 10;

fn symbol(text: &str) -> Result<Symbol, String> {
    Symbol::parse(text).map_err(|e| e.to_string())
}

fn interval(text: &str) -> Result<Interval, String> {
    [Interval::Day, Interval::Minute]
        .into_iter()
        .find(|i| i.as_str() == text)
        .ok_or_else(|| format!("`{text}` is not `day` or `minute`"))
}

fn zone(name: &str) -> Result<Zone, String> {
    Zone::parse(name).ok_or_else(|| format!("this host knows no time zone `{name}`; write America/New_York or UTC"))
}

pub(crate) fn run(global: &Global, command: DataCommand) -> anyhow::Result<i32> {
    let dir = daemon::home(global.home.as_deref()).join("market");
    match command {
        DataCommand::Import(args) => import(&dir, args, global.json),
        DataCommand::List(_) => list(&dir, global.json),
        DataCommand::Check(args) => check(&dir, args, global.json),
        DataCommand::Remove(args) => remove(&dir, &args, global.json),
    }
}

fn import(dir: &Path, args: ImportArgs, as_json: bool) -> anyhow::Result<i32> {
    let given = match &args.actions {
        None => Vec::new(),
        Some(path) => {
            let text = String::from_utf8(read(path)?).with_context(|| format!("reading {}", path.display()))?;
            action::actions(&path.display().to_string(), &text)?
        }
    };
    let held = lock(dir)?;
    let mut library = Library::open(dir)?;
    let known = known_actions(&library, &given)?;
    let (reports, sets) = read_all(&args.files, args.about, &known)?;
    let doubled = doubled(&sets);
    let is_refused = !doubled.is_empty() || reports.iter().any(Report::is_refused);
    let changes = if is_refused { Vec::new() } else { library.add(&sets, &given, args.name.as_deref())? };
    if as_json {
        output::json(&json!({
            "success": !is_refused, "reports": reports, "twice": doubled, "changes": changes,
        }))?;
    } else {
        tell(&reports);
        for (symbol, interval) in &doubled {
            output::note(&format!(
                "error: {symbol} ({interval}) is in two of these files, with bars of the same times"
            ));
        }
        if is_refused {
            output::note("Nothing was imported.");
        } else {
            show_changes(&changes)?;
        }
    }
    // Whoever reads the library waits until nobody changes it.
    drop(held);
    if !is_refused {
        reread(dir);
    }
    Ok(if is_refused { failure::FAILED } else { 0 })
}

/// Has the daemon's venue read the bars again, if one runs.
fn reread(dir: &Path) {
    let Some(home) = dir.parent() else { return };
    let Ok(stream) = UnixStream::connect(home.join("run/venue/api.sock")) else { return };
    match ask_to_reread(stream) {
        Ok(true) => output::note("The exchange of the daemon that runs has read them."),
        Ok(false) => {
            output::note("The exchange of the daemon that runs did not take them; it reads them when it starts anew.")
        }
        Err(error) => output::note(&format!("The exchange of the daemon that runs was not told: {error}")),
    }
}

fn ask_to_reread(mut stream: UnixStream) -> std::io::Result<bool> {
    const ASKED: &str = "POST /ringfence/v1/data/reload HTTP/1.1\r\nHost: paper-api.alpaca.markets\r\n\
        APCA-API-KEY-ID: operator\r\nAPCA-API-SECRET-KEY: operator\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    stream.set_read_timeout(Some(REREAD_TIME))?;
    stream.write_all(ASKED.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

fn list(dir: &Path, as_json: bool) -> anyhow::Result<i32> {
    let library = Library::open(dir)?;
    let sample = built_in(&library)?;
    if as_json {
        output::json(&json!({"success": true, "imported": library.entries(), "built_in": sample}))?;
        return Ok(0);
    }
    let mut table = output::table(&["symbol", "holds", "rows", "first", "last", "from", "name"]);
    let rows = library.entries().iter().map(|e| (e, "import")).chain(sample.iter().map(|e| (e, "built-in")));
    for (e, from) in rows {
        let name = e.name.clone().unwrap_or_default();
        let rows = e.rows.to_string();
        table.add_row([e.symbol.as_str(), holds(e.holds), &rows, &e.first, &e.last, from, &name]);
    }
    output::show(table)?;
    Ok(0)
}

fn check(dir: &Path, args: CheckArgs, as_json: bool) -> anyhow::Result<i32> {
    let library = Library::open(dir)?;
    let reports = if args.files.is_empty() {
        let (sets, actions) = library.datasets()?;
        sets.iter().map(|set| stored(set, &actions)).collect()
    } else {
        read_all(&args.files, args.about, &known_actions(&library, &[])?)?.0
    };
    let is_refused = reports.iter().any(Report::is_refused);
    if as_json {
        output::json(&json!({"success": !is_refused, "reports": reports}))?;
    } else {
        tell(&reports);
        if reports.is_empty() {
            output::note("Nothing was imported yet; the built-in bars are checked by ringfence's own tests.");
        }
    }
    Ok(if is_refused { failure::FAILED } else { 0 })
}

/// What is odd about something that is in the library.
fn stored(set: &Dataset, actions: &[ringfence_market::Action]) -> Report {
    let rows = u64::try_from(set.bars.len()).unwrap_or(u64::MAX);
    let file = format!("{} ({})", set.symbol, set.bars.interval().as_str());
    let mut report = Report { file, rows, findings: Vec::new() };
    import::examine(set, actions, &mut report);
    report
}

fn remove(dir: &Path, args: &RemoveArgs, as_json: bool) -> anyhow::Result<i32> {
    let held = lock(dir)?;
    let mut library = Library::open(dir)?;
    let wanted = args.interval.map(Holds::from);
    let has =
        |s: &Symbol| library.entries().iter().any(|e| e.symbol == s.as_str() && wanted.is_none_or(|w| w == e.holds));
    if let Some(missing) = args.symbols.iter().find(|s| !has(s)) {
        bail!("nothing of {missing} was imported; `ringfence data list` shows what was (the built-in bars stay)");
    }
    let mut removed = 0;
    for symbol in &args.symbols {
        removed += library.remove(symbol, wanted)?;
    }
    if as_json {
        output::json(&json!({"success": true, "removed": removed}))?;
    } else {
        output::line(&format!("Removed {removed} of {} symbols.", args.symbols.len()))?;
    }
    drop(held);
    reread(dir);
    Ok(0)
}

fn read_all(
    files: &[PathBuf],
    about: About,
    actions: &[ringfence_market::Action],
) -> anyhow::Result<(Vec<Report>, Vec<Dataset>)> {
    let options = Options { symbol: about.symbol, interval: about.interval, zone: about.timezone };
    let (mut reports, mut sets) = (Vec::new(), Vec::new());
    for path in files {
        let (report, found) = import::read(&path.display().to_string(), read(path)?, &options, actions);
        reports.push(report);
        sets.extend(found);
    }
    Ok((reports, sets))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
    if bytes > FILE_BYTES_MAX {
        bail!("{} has {bytes} bytes; a file of bars has at most {FILE_BYTES_MAX}: cut it into several", path.display());
    }
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Symbols and lengths that two of the files hold with bars of the same time.
fn doubled(sets: &[Dataset]) -> BTreeSet<(String, &'static str)> {
    let mut found = BTreeSet::new();
    for (at, set) in sets.iter().enumerate() {
        let interval = set.bars.interval();
        let is_same = |other: &&Dataset| other.symbol == set.symbol && other.bars.interval() == interval;
        for other in sets[at + 1..].iter().filter(is_same) {
            let before: BTreeSet<i64> = times(&set.bars).collect();
            if times(&other.bars).any(|time| before.contains(&time)) {
                found.insert((set.symbol.to_string(), interval.as_str()));
            }
        }
    }
    found
}

/// A number for each bar's time, ascending.
fn times(bars: &Bars) -> Box<dyn Iterator<Item = i64> + '_> {
    match bars {
        Bars::Day(bars) => {
            Box::new(bars.iter().map(|b| i64::from(b.date.year()) * 400 + i64::from(b.date.day_of_year())))
        }
        Bars::Minute(bars) => Box::new(bars.iter().map(|m| m.at.as_second())),
    }
}

/// Splits that are known, so that they are not suspected: those given now, of the library, and the built-in ones.
fn known_actions(
    library: &Library,
    given: &[ringfence_market::Action],
) -> anyhow::Result<Vec<ringfence_market::Action>> {
    let mut known = given.to_vec();
    known.extend(library.datasets()?.1);
    known.extend(sample::actions()?);
    Ok(known)
}

/// The built-in bars that nothing imported hides.
fn built_in(library: &Library) -> anyhow::Result<Vec<Entry>> {
    let hidden = |symbol: &str| library.entries().iter().any(|e| e.symbol == symbol && e.holds == Holds::Day);
    let entry = |series: ringfence_market::Series| Entry {
        symbol: series.symbol().to_string(),
        holds: Holds::Day,
        name: sample::name(series.symbol().as_str()).map(str::to_owned),
        rows: series.bars().len(),
        first: series.first().to_string(),
        last: series.last().to_string(),
        sha256: String::new(),
    };
    Ok(sample::raw()?.into_iter().filter(|s| !hidden(s.symbol().as_str())).map(entry).collect())
}

/// Held while the library is changed.
fn lock(dir: &Path) -> anyhow::Result<File> {
    let open = || {
        fs::create_dir_all(dir)?;
        File::create(dir.join("lock"))
    };
    let file = match open() {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            bail!("{} is root's: run this with sudo", dir.display())
        }
        other => other.with_context(|| format!("opening {}", dir.display()))?,
    };
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).context("waiting for another import")?;
    Ok(file)
}

fn tell(reports: &[Report]) {
    for report in reports {
        for finding in &report.findings {
            let weight = match finding.weight {
                Weight::Error => "error",
                Weight::Warning => "warning",
                Weight::Note => "note",
            };
            let line = finding.line.map(|l| format!(":{l}")).unwrap_or_default();
            output::note(&format!("{}{line}: {weight}: {}", report.file, finding.text));
        }
        let errors = report.findings.iter().filter(|f| f.weight == Weight::Error).count();
        let ended = if errors == 0 { "sound" } else { "refused" };
        output::note(&format!("{}: {} rows, {ended}", report.file, report.rows));
    }
}

fn show_changes(changes: &[Change]) -> anyhow::Result<()> {
    let mut table = output::table(&["symbol", "holds", "added", "replaced", "rows", "first", "last"]);
    for Change { entry: e, added, replaced } in changes {
        let [added, replaced, rows] = [*added, *replaced, e.rows].map(|n| n.to_string());
        table.add_row([e.symbol.as_str(), holds(e.holds), &added, &replaced, &rows, &e.first, &e.last]);
    }
    Ok(output::show(table)?)
}

fn holds(holds: Holds) -> &'static str {
    match holds {
        Holds::Day => "days",
        Holds::Minute => "minutes",
        Holds::Actions => "actions",
    }
}
