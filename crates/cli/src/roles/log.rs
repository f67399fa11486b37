//! What the daemon's processes write to its log: lines for people, or one JSON object a line for programs. Whatever the form, what
//! looks like something that opens a door is not in it.

use std::{
    fmt, io,
    io::Write,
    sync::{OnceLock, PoisonError, RwLock},
};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Tells a role in which form it writes.
pub(super) const FORMAT_VARIABLE: &str = "RINGFENCE_LOG_FORMAT";
/// How much, and of which targets: as tracing-subscriber's `EnvFilter` reads it. What a person sets comes before `config.toml`.
pub(super) const LEVEL_VARIABLE: &str = "RINGFENCE_LOG";

/// The form of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogLevel {
    /// What failed.
    Error,
    /// And what may need somebody.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And how.
    Debug,
    /// And everything else.
    Trace,
}

/// What a role is told of it.
pub(super) fn variables(format: LogFormat, level: LogLevel) -> Vec<(&'static str, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut told = vec![(FORMAT_VARIABLE, word(&json!(format)))];
    if std::env::var_os(LEVEL_VARIABLE).is_none() {
        told.push((LEVEL_VARIABLE, word(&json!(level))));
    }
    told
}

/// Of this process: which role it plays, and in which form it writes.
static OWN: OnceLock<(String, LogFormat)> = OnceLock::new();

fn own() -> (&'static str, LogFormat) {
    OWN.get().map_or(("ringfence", LogFormat::Text), |(role, format)| (role.as_str(), *format))
}

/// From now on this process, and the supervisor that it forks, write in that form.
pub(super) fn begin(format: LogFormat) {
    start("ringfence", format);
}

/// As a role that was told its form.
pub(super) fn begin_role(role: &str) {
    let is_json = std::env::var(FORMAT_VARIABLE).is_ok_and(|format| format == "json");
    start(role, if is_json { LogFormat::Json } else { LogFormat::Text });
}

fn start(role: &str, format: LogFormat) {
    let _ = OWN.set((role.to_owned(), format));
    ringfence_jail::say::through(say_of_the_jail);
    if format == LogFormat::Json {
        // What Rust prints of a panic is several lines.
        std::panic::set_hook(Box::new(|panic| {
            let fields = panic.location().map(|at| Map::from_iter([("at".to_owned(), json!(at.to_string()))]));
            let payload = panic.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic");
            write_line("ERROR", own().0, "panic", text, fields.unwrap_or_default());
        }));
    }
}

fn say_of_the_jail(role: &str, text: &str) {
    write_as("WARN", role, text);
}

/// Says something that is no event of tracing's, because the process may have no threads or no runtime yet.
pub(super) fn say(role: &str, text: &str) {
    write_as("INFO", role, text);
}

/// The same of something that failed.
pub(super) fn fail(role: &str, text: &str) {
    write_as("ERROR", role, text);
}

fn write_as(level: &str, role: &str, text: &str) {
    match own().1 {
        LogFormat::Text => {
            let _ = Masked.write_all(format!("{role}: {text}\n").as_bytes());
        }
        LogFormat::Json => write_line(level, role, "ringfence", text, Map::new()),
    }
}

fn write_line(level: &str, role: &str, target: &str, message: &str, fields: Map<String, Value>) {
    let _ = Masked.write_all(line(level, role, target, message, fields).as_bytes());
}

/// One line, with its end.
fn line(level: &str, role: &str, target: &str, message: &str, fields: Map<String, Value>) -> String {
    let role = role.strip_prefix("ringfence-").unwrap_or(role);
    let time = Timestamp::now().to_string();
    let object = json!({
        "time": time, "level": level, "role": role, "target": target, "message": message, "fields": fields,
    });
    format!("{object}\n")
}

/// Libraries that would say too much in `serve`: in finer words these print whole requests, with the values of environments in them.
pub(super) const QUIET_IN_SERVE: &[&str] = &["rmcp=warn"];

/// What is told of events and spans beside the log.
pub(super) type Beside = Box<dyn Layer<Registry> + Send + Sync>;

/// Prints what a role has to say; `quiet` are libraries that would say too much.
pub(super) fn init(quiet: &[&str]) -> anyhow::Result<()> {
    init_with(quiet, None)
}

/// [`init`], with somebody else who is told.
pub(super) fn init_with(quiet: &[&str], beside: Option<Beside>) -> anyhow::Result<()> {
    let filter = filter(quiet)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(MakeMasked).with_ansi(false);
    let registry = tracing_subscriber::registry().with(beside);
    match own().1 {
        LogFormat::Text => registry.with(lines.with_filter(filter)).init(),
        LogFormat::Json => registry.with(lines.event_format(Lines).with_filter(filter)).init(),
    }
    Ok(())
}

/// What is said: as much as this role was told, of `quiet` less, and of spans of requests nothing.
pub(super) fn filter(quiet: &[&str]) -> anyhow::Result<EnvFilter> {
    let mut filter = EnvFilter::try_from_env(LEVEL_VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    filter = filter.add_directive(format!("{}=off", ringfence_server::TRACE_TARGET).parse()?);
    for directive in quiet {
        filter = filter.add_directive(directive.parse()?);
    }
    Ok(filter)
}

/// Events as objects.
struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (target, seen) = Seen::of(event);
        writer.write_str(&line(event.metadata().level().as_str(), own().0, &target, &seen.message, seen.fields))
    }
}

/// What is in an event.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) message: String,
    pub(super) fields: Map<String, Value>,
}

impl Seen {
    /// With where it comes from.
    pub(super) fn of(event: &Event<'_>) -> (String, Self) {
        let mut seen = Self::default();
        event.record(&mut seen);
        // Events of the crate `log` have their target in a field.
        let target = seen.fields.remove("log.target").and_then(|target| target.as_str().map(str::to_owned));
        seen.fields.retain(|name, _| !name.starts_with("log."));
        (target.unwrap_or_else(|| event.metadata().target().to_owned()), seen)
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, json!(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        self.put(field, json!(text));
    }
}

/// What never is in a line, whoever writes it.
static HIDDEN: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// From now on this text is in no line of this process.
pub(super) fn hide(secret: &str) {
    const SHORTEST: usize = 8;
    if secret.len() >= SHORTEST {
        HIDDEN.write().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
    }
}

/// In place of what is hidden.
const HIDING: &str = "[hidden]";

/// What comes before a token: in a header as clients send it, and as ours begin.
const BEFORE_TOKENS: [(&str, bool); 4] = [("Bearer ", false), ("bearer ", false), ("Basic ", false), ("rf_", true)];
/// Letters that a token has at least: less is a word that stands there by chance.
const TOKEN_LETTERS_MIN: usize = 16;

/// The text without what opens doors: what [`hide`] was told, tokens of ours, and what stands behind `Bearer` and `Basic`.
pub(super) fn masked(text: &str) -> String {
    let mut text = text.to_owned();
    for secret in HIDDEN.read().unwrap_or_else(PoisonError::into_inner).iter() {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), HIDING);
        }
    }
    for (before, is_part) in BEFORE_TOKENS {
        let mut from = 0;
        while let Some(at) = text[from..].find(before).map(|at| from + at) {
            let begin = at + before.len();
            let is_letter = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
            let length = text[begin..].find(|c| !is_letter(c)).unwrap_or(text.len() - begin);
            if length >= TOKEN_LETTERS_MIN {
                text.replace_range(if is_part { at } else { begin }..begin + length, HIDING);
                from = at + HIDING.len();
            } else {
                from = begin;
            }
        }
    }
    text
}

/// Standard error behind [`masked`]. An event comes in one piece.
struct Masked;

impl Write for Masked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(masked(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

struct MakeMasked;

impl<'a> MakeWriter<'a> for MakeMasked {
    type Writer = Masked;

    fn make_writer(&'a self) -> Masked {
        Masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_object_whatever_is_in_it() {
        let fields = Map::from_iter([("n".to_owned(), json!(3)), ("path".to_owned(), json!("a\"b\nc"))]);
        let line = line("WARN", "ringfence-serve", "x::y", "two\nlines \u{1b}[0m", fields);
        assert_eq!(line.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&line).expect("JSON");
        assert!(read["time"].as_str().expect("a time").parse::<Timestamp>().is_ok());
        assert_eq!((&read["level"], &read["role"], &read["target"]), (&json!("WARN"), &json!("serve"), &json!("x::y")));
        assert_eq!(read["message"], "two\nlines \u{1b}[0m");
        assert_eq!(read["fields"], json!({"n": 3, "path": "a\"b\nc"}));
        assert_eq!(read.as_object().expect("an object").len(), 6);
    }

    #[test]
    fn what_opens_doors_is_in_no_line() {
        hide("the-token-of-a-test");
        let token = "0123456789abcdef0123456789abcdef";
        for (text, shown) in [
            (format!("authorization: Bearer {token}\""), "authorization: Bearer [hidden]\"".to_owned()),
            (format!("bearer {token}"), "bearer [hidden]".into()),
            (format!("Basic {token}=="), "Basic [hidden]".into()),
            (format!("made rf_{token}, and rf_{token}."), "made [hidden], and [hidden]".into()),
            ("x the-token-of-a-test y".into(), "x [hidden] y".into()),
            // Words that stand there by chance.
            ("Bearer of news, rf_short, perf_counter".into(), "Bearer of news, rf_short, perf_counter".into()),
            ("Bearer ".into(), "Bearer ".into()),
            (format!("sha256 {token}"), format!("sha256 {token}")),
        ] {
            assert_eq!(masked(&text), shown);
        }
    }

    #[test]
    fn what_a_person_sets_comes_first() {
        let told = variables(LogFormat::Json, LogLevel::Debug);
        assert_eq!(told[0], (FORMAT_VARIABLE, "json".to_owned()));
        if std::env::var_os(LEVEL_VARIABLE).is_none() {
            assert_eq!(told[1], (LEVEL_VARIABLE, "debug".to_owned()));
        }
    }
}
