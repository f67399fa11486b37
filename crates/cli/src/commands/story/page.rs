//! A story as text, Markdown or a page. Much of it was written by sandboxes: names, hosts, paths, methods. Whatever it is, it stays on
//! its line and in its place.

use ringfence_model::credit::MilliCredits;
use ringfence_store::CostFacts;

use super::{
    gather::{Chain, Story},
    tell::told,
};
use crate::{commands::audit::evidence::shown, numbers};

/// The parts of a page, each text as it came.
struct Parts {
    title: String,
    about: Vec<(&'static str, String)>,
    /// Whether a chain does not hold, or contradicts a table.
    warnings: Vec<String>,
    chains: Vec<String>,
    /// Time, chain and number, actor, kind, sentence.
    rows: Vec<[String; 5]>,
    usage: Vec<String>,
}

fn parts(story: &Story) -> Parts {
    let mut about = vec![("id", story.sandbox.clone())];
    if let Some(row) = &story.row {
        about.push(("name", row.name.clone()));
        about.push(("template", row.template.clone()));
        about.push(("layers", row.layers.clone()));
        about.push(("created", shown(row.created_at_ms)));
        about.push(("state", row.status.clone()));
        if let Some(at_ms) = row.deleted_at_ms {
            about.push(("deleted", shown(at_ms)));
        }
        if let Some(failure) = &row.failure {
            about.push(("failure", failure.clone()));
        }
    }
    if !story.namesakes.is_empty() {
        about.push(("others of this name", story.namesakes.join(", ")));
    }
    let mut warnings: Vec<String> = story
        .chains
        .iter()
        .filter_map(|chain| chain.fault.as_ref().map(|why| format!("THE {} CHAIN IS BROKEN: {why}", upper(chain))))
        .collect();
    let edited = story.events.iter().filter(|event| !event.is_genuine);
    warnings.extend(edited.map(|event| {
        format!("ENTRY {} OF THE {} CHAIN IS NOT WHAT WAS WRITTEN: its hash is another", event.seq, event.chain)
    }));
    warnings.extend(story.contradictions.iter().map(|what| format!("CONTRADICTION: {what}")));
    let mut rows: Vec<[String; 5]> = story
        .events
        .iter()
        .map(|event| {
            let (what, sentence) = told(event);
            let sentence = if event.is_genuine { sentence } else { format!("NOT GENUINE: {sentence}") };
            let at = format!("{} {}", event.chain, event.seq);
            [event.timestamp.clone(), at, event.actor.clone(), what, sentence]
        })
        .collect();
    if story.requests_left_out > 0 {
        let count = story.requests_left_out;
        let more = format!("{count} more requests are not on this page: `ringfence audit query --sandbox` has them");
        rows.push([String::new(), String::new(), String::new(), "…".into(), more]);
    }
    if story.has_more {
        let more = "more happened than one page holds: `ringfence audit query --sandbox` has all of it".to_owned();
        rows.push([String::new(), String::new(), String::new(), "…".into(), more]);
    }
    let title = match &story.row {
        Some(row) => format!("Sandbox {}", row.name),
        None => format!("Sandbox {}", story.sandbox),
    };
    Parts { title, about, warnings, chains: story.chains.iter().map(stands).collect(), rows, usage: usage(story) }
}

fn upper(chain: &Chain) -> String {
    chain.chain.as_str().to_uppercase()
}

fn stands(chain: &Chain) -> String {
    let kind = chain.chain;
    let mut text = match &chain.fault {
        None => format!("the {kind}'s chain holds: {} entries", chain.entries),
        Some(_) => format!("the {kind}'s chain does not hold"),
    };
    if let Some(seq) = chain.signed_seq {
        text = format!("{text}, signed up to entry {seq}");
    }
    if let Some(pruned) = &chain.pruned {
        let (last, digest) = (pruned.cut.last.seq, pruned.cut.export_sha256);
        text = format!("{text}; up to entry {last} it was pruned, into the export with SHA-256 {digest}");
    }
    text
}

fn usage(story: &Story) -> Vec<String> {
    let usage = &story.usage;
    let seconds = |us: u64| numbers::seconds(us as f64 / 1e6);
    let traffic = &usage.traffic;
    vec![
        format!(
            "{}, {} CPU, {} of running, peak memory {}",
            numbers::counted(usage.executions, "program"),
            seconds(usage.cpu_time_us),
            seconds(usage.execution_time_us),
            numbers::bytes(usage.memory_peak_bytes)
        ),
        format!(
            "{} of the gate, {} refused, {} sent, {} received",
            numbers::counted(traffic.requests, "decision"),
            traffic.refused,
            numbers::bytes(traffic.bytes_up),
            numbers::bytes(traffic.bytes_down)
        ),
        format!("{} admitted, {}", numbers::counted(usage.orders, "order"), numbers::counted(usage.fills, "fill")),
        cost(&usage.cost),
    ]
}

fn cost(cost: &CostFacts) -> String {
    let running = match cost.running_ms {
        // Its time is added up when it is paused or ends, and now and then before.
        0 => "for the minutes that have begun".to_owned(),
        ms => format!("for {} of life by the started minute", numbers::seconds(ms as f64 / 1e3)),
    };
    let parts = [
        (cost.create, "to make it".to_owned()),
        (cost.running, running),
        (cost.storage, "for storage".to_owned()),
        (cost.refunds, "refunded".to_owned()),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(amount, _)| *amount != MilliCredits::default())
        .map(|(amount, what)| format!("{amount} {what}"))
        .collect();
    match &parts[..] {
        [] => "it cost nothing".into(),
        parts => format!("it cost {} credits: {}", cost.credits, parts.join(", ")),
    }
}

/// Without what moves a cursor, starts a line, or turns writing round.
fn plain(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if c.is_control() || turns {
            kept.extend(c.escape_unicode());
        } else {
            kept.push(c);
        }
    }
    kept
}

fn in_html(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => kept.push_str("&amp;"),
            '<' => kept.push_str("&lt;"),
            '>' => kept.push_str("&gt;"),
            '"' => kept.push_str("&quot;"),
            '\'' => kept.push_str("&#39;"),
            c => kept.push(c),
        }
    }
    kept
}

/// As characters alone: nothing of it is a link, a picture, a tag or a column.
fn in_markdown(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => kept.push_str("&amp;"),
            '<' => kept.push_str("&lt;"),
            '>' => kept.push_str("&gt;"),
            // No scheme, no host and no address is made a link by a reader that does so by itself.
            ':' => kept.push_str("&#58;"),
            '@' => kept.push_str("&#64;"),
            c if c.is_ascii_punctuation() && !matches!(c, ',' | '/' | '(' | ')' | ';' | '%') => {
                kept.push('\\');
                kept.push(c);
            }
            c => kept.push(c),
        }
    }
    kept
}

/// What is said of the tables beside the chains.
const ABOUT_TABLES: &str =
    "What was decided is in the chains. Results, bytes and fills are from tables that no hash is over.";

/// The story as text for a terminal.
pub(super) fn text(story: &Story) -> String {
    let parts = parts(story);
    let mut lines = vec![plain(&parts.title)];
    lines.extend(parts.warnings.iter().map(|warning| format!("!! {}", plain(warning))));
    lines.extend(parts.about.iter().map(|(key, value)| format!("  {key:<9}  {}", plain(value))));
    lines.extend(parts.chains.iter().map(|chain| format!("  {}", plain(chain))));
    lines.push(String::new());
    for row in &parts.rows {
        let [time, at, actor, what, sentence] = row.each_ref().map(|part| plain(part));
        lines.push(format!("{time:<30}  {at:<12}  {actor:<8}  {what:<10}  {sentence}"));
    }
    lines.push(String::new());
    lines.extend(parts.usage.iter().map(|line| plain(line)));
    lines.push(ABOUT_TABLES.into());
    lines.join("\n") + "\n"
}

/// The story as Markdown.
pub(super) fn markdown(story: &Story) -> String {
    let parts = parts(story);
    let mut lines = vec![format!("# {}", in_markdown(&parts.title)), String::new()];
    for warning in &parts.warnings {
        lines.extend([format!("**{}**", in_markdown(warning)), String::new()]);
    }
    lines.extend(parts.about.iter().map(|(key, value)| format!("- {key}: {}", in_markdown(value))));
    lines.extend(parts.chains.iter().map(|chain| format!("- {}", in_markdown(chain))));
    lines.extend(["", "| when | entry | by | what | |", "|---|---|---|---|---|"].map(str::to_owned));
    lines.extend(
        parts.rows.iter().map(|row| format!("| {} |", row.each_ref().map(|part| in_markdown(part)).join(" | "))),
    );
    lines.push(String::new());
    lines.extend(parts.usage.iter().map(|line| format!("- {}", in_markdown(line))));
    lines.extend([String::new(), ABOUT_TABLES.to_owned()]);
    lines.join("\n") + "\n"
}

/// The story as one page that loads nothing and runs nothing.
pub(super) fn html(story: &Story) -> String {
    let parts = parts(story);
    let title = in_html(&parts.title);
    let item = |line: &String| format!("<li>{}</li>\n", in_html(line));
    let warnings: String =
        parts.warnings.iter().map(|warning| format!("<p class=bad>{}</p>\n", in_html(warning))).collect();
    let about: String = parts
        .about
        .iter()
        .map(|(key, value)| format!("<tr><th>{key}</th><td>{}</td></tr>\n", in_html(value)))
        .collect();
    let rows: String = parts
        .rows
        .iter()
        .map(|row| format!("<tr><td>{}</td></tr>\n", row.each_ref().map(|part| in_html(part)).join("</td><td>")))
        .collect();
    let chains: String = parts.chains.iter().map(item).collect();
    let usage: String = parts.usage.iter().map(item).collect();
    format!(
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\nbody {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em; }}\n\
         table {{ border-collapse: collapse; }} td, th {{ padding: .2em .7em; text-align: left; vertical-align: top; \
         border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }}\n.bad {{ color: #fff; background: #b00020; padding: .5em; }}\n\
         </style>\n<h1>{title}</h1>\n{warnings}<table>\n{about}</table>\n<ul>\n{chains}</ul>\n\
         <table>\n<tr><th>when</th><th>entry</th><th>by</th><th>what</th><th></th></tr>\n{rows}</table>\n\
         <ul>\n{usage}</ul>\n<p>{ABOUT_TABLES}</p>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use ringfence_store::DatabaseKind;
    use serde_json::json;

    use super::super::gather::{Event, Story, Usage};
    use super::*;

    /// What a sandbox may write where it names something.
    const HOSTILE: &str =
        "\u{1b}[2J\r\nforged line <script>alert(1)</script> | ![x](http://evil/) \u{202e}gnp \"' `x` [a](b) **b**";

    fn hostile() -> Story {
        let event = Event {
            chain: DatabaseKind::Gate,
            seq: 1,
            at_ms: 0,
            timestamp: HOSTILE.into(),
            actor: HOSTILE.into(),
            event: HOSTILE.into(),
            execution_id: Some(HOSTILE.into()),
            detail: json!({HOSTILE: HOSTILE, "host": HOSTILE, "path": [HOSTILE]}),
            is_genuine: false,
            execution: None,
            settled: None,
            order: None,
        };
        Story {
            sandbox: HOSTILE.into(),
            row: None,
            namesakes: vec![HOSTILE.into()],
            chains: Vec::new(),
            events: vec![event],
            requests_left_out: 0,
            has_more: false,
            usage: Usage::default(),
            contradictions: vec![HOSTILE.into()],
        }
    }

    #[test]
    fn what_a_sandbox_wrote_stays_in_its_place() {
        let story = hostile();
        let pages = [text(&story), markdown(&story), html(&story)];
        for page in &pages {
            assert!(page.contains("forged line"), "the control: it is told: {page}");
            assert!(!page.contains('\u{1b}') && !page.contains('\r') && !page.contains('\u{202e}'), "{page}");
            assert!(!page.lines().any(|line| line.trim_start().starts_with("forged line")), "{page}");
        }
        let [_, markdown, html] = &pages;
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"), "{html}");
        assert!(!markdown.contains("<script") && !markdown.contains("![") && !markdown.contains("http:"), "{markdown}");
        let rows: Vec<&str> = markdown.lines().filter(|line| line.starts_with("| ")).collect();
        for row in rows {
            let columns = row.replace("\\|", "").matches('|').count();
            assert_eq!(columns, 6, "{row}");
        }
    }

    #[test]
    fn the_cost_is_told_by_what_it_was_for() {
        assert_eq!(cost(&CostFacts::default()), "it cost nothing");
        let whole = MilliCredits::whole;
        let half_an_hour = CostFacts {
            credits: whole(32),
            create: whole(2),
            running: whole(30),
            running_ms: 1_790_000,
            ..CostFacts::default()
        };
        let ran = numbers::seconds(1790.0);
        let told = format!("it cost 32 credits: 2 to make it, 30 for {ran} of life by the started minute");
        assert_eq!(cost(&half_an_hour), told);
        let failed = CostFacts { create: whole(2), refunds: whole(-2), ..CostFacts::default() };
        assert_eq!(cost(&failed), "it cost 0 credits: 2 to make it, -2 refunded");
    }

    #[test]
    fn a_story_with_a_changed_entry_does_not_hold() {
        let mut story = hostile();
        story.contradictions.clear();
        assert!(!story.holds());
        story.events[0].is_genuine = true;
        assert!(story.holds(), "the control");
        assert!(!text(&story).contains("NOT GENUINE"));
    }
}
