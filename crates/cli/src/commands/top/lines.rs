//! A frame as lines of a terminal: as wide as that is, and no wider.

use ringfence_model::api::TradeOrder;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::frame::{Frame, SandboxFrame};
use crate::numbers;

/// One line, without anything but text in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Shown inverted: a table's head.
    pub(super) is_head: bool,
}

/// Lines that orders have at most, beside their head: sandboxes are what this is about.
const ORDERS_SHOWN: usize = 8;

/// The frame in at most `height` lines.
pub(super) fn lines(frame: &Frame, width: usize, height: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = head(frame).iter().map(|text| plain(text, width)).collect();
    let orders = frame.orders.len().min(ORDERS_SHOWN);
    let more_orders = frame.orders.len() - orders;
    let for_orders = if orders > 0 { orders + 2 + usize::from(more_orders > 0) } else { 0 };
    // A blank line, the head, and one that says how many are left out.
    let room = height.saturating_sub(lines.len() + 3 + for_orders).max(1);
    lines.push(plain("", width));
    lines.extend(table(&SANDBOXES, &frame.sandboxes, room, width));
    if frame.sandboxes.len() > room {
        lines.push(plain(&format!("and {} more: `ringfence sandbox ls`", frame.sandboxes.len() - room), width));
    }
    if orders > 0 {
        lines.push(plain("", width));
        lines.extend(table(&ORDERS, &frame.orders, orders, width));
        if more_orders > 0 {
            lines.push(plain(&format!("and {more_orders} more: `ringfence trade orders`"), width));
        }
    }
    lines.truncate(height);
    lines
}

/// What went wrong, on a line above the frame.
pub(super) fn trouble(text: &str, width: usize) -> Line {
    plain(&format!("the daemon does not answer; below is what was last seen: {text}"), width)
}

fn plain(text: &str, width: usize) -> Line {
    Line { text: cut(text, width), is_head: false }
}

fn head(frame: &Frame) -> Vec<String> {
    let (daemon, machine, trading) = (&frame.daemon, &frame.machine, &frame.trading);
    let up = numbers::seconds(daemon.uptime_seconds);
    let clock = frame.at.get(11..19).unwrap_or(&frame.at);
    let mut lines = vec![format!("ringfence {}, {}, up {up}, {clock} UTC", daemon.version, daemon.status)];
    let busy = machine.cpu_percent.map(|percent| format!(" {percent:.0} % busy,")).unwrap_or_default();
    let [one, five, fifteen] = machine.load;
    let mut line = format!("machine   {} CPUs,{busy} load {one:.2} {five:.2} {fifteen:.2}", machine.cpus);
    if machine.memory_total_bytes > 0 {
        let used = machine.memory_total_bytes.saturating_sub(machine.memory_available_bytes);
        let [used, total] = [used, machine.memory_total_bytes].map(numbers::bytes);
        line.push_str(&format!("; memory {used} of {total}"));
    }
    if machine.disk_total_bytes > 0 {
        line.push_str(&format!("; disk {} free", numbers::bytes(machine.disk_free_bytes)));
    }
    lines.push(line);
    let shelf: Vec<String> = frame.shelf.iter().map(|shelf| format!("{} {}", shelf.template, shelf.ready)).collect();
    let shelf = if shelf.is_empty() { "no template is ready".to_owned() } else { shelf.join(", ") };
    lines.push(format!("shelf     {shelf}"));
    lines.push(format!("running   {} executions, {} trials", frame.executions_running, frame.trials_running));
    lines.push(match (&trading.mode, &trading.state, &trading.problem) {
        (Some(mode), Some(state), _) => {
            let holds = match trading.holds_waiting {
                Some(holds) if holds > 0 => format!("; {holds} wait for a person: `ringfence trade holds`"),
                _ => String::new(),
            };
            format!("trading   {mode}, {state}; {} orders open{holds}", trading.open_orders.unwrap_or(0))
        }
        (_, _, problem) => format!("trading   not known: {}", problem.as_deref().unwrap_or("nobody answers")),
    });
    lines.extend(daemon.problems.iter().map(|problem| format!("problem   {problem}")));
    lines
}

/// A column: its head, what stands in it, and how soon it is left out where room is scarce (0 never).
struct Column<T> {
    head: &'static str,
    is_number: bool,
    rank: u8,
    text: fn(&T) -> String,
}

const fn column<T>(head: &'static str, is_number: bool, rank: u8, text: fn(&T) -> String) -> Column<T> {
    Column { head, is_number, rank, text }
}

fn or_none<T>(value: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), shown)
}

const SANDBOXES: [Column<SandboxFrame>; 9] = [
    column("SANDBOX", false, 0, |one| if one.name.is_empty() { one.sandbox_id.clone() } else { one.name.clone() }),
    column("STATE", false, 1, |one| one.status.as_str().to_owned()),
    column("CPU%", true, 0, |one| or_none(one.cpu_percent, |percent| format!("{percent:.1}"))),
    column("MEMORY", true, 2, |one| or_none(one.memory_bytes, numbers::bytes)),
    column("DISK", true, 4, |one| or_none(one.disk_bytes, numbers::bytes)),
    column("RUNS", true, 5, |one| or_none(one.executions_running, |runs| runs.to_string())),
    column("PROCS", true, 6, |one| or_none(one.processes, |count| count.to_string())),
    column("AGE", true, 3, |one| or_none(one.age_seconds, age)),
    column("TEMPLATE", false, 7, |one| one.template.clone()),
];

const ORDERS: [Column<TradeOrder>; 8] = [
    column("ORDER", true, 3, |order| order.number.to_string()),
    column("SIDE", false, 0, |order| order.side.clone()),
    column("SYMBOL", false, 0, |order| order.symbol.clone()),
    column("SIZE", true, 1, |order| {
        let in_usd = order.notional.as_ref().map(|notional| format!("{notional} USD"));
        order.qty.clone().or(in_usd).unwrap_or_default()
    }),
    column("FILLED", true, 4, |order| order.filled.clone()),
    column("STATE", false, 2, |order| order.state.clone()),
    column("SANDBOX", false, 5, |order| order.sandbox_id.clone()),
    column("ACCOUNT", false, 6, |order| order.account.clone()),
];

fn age(seconds: u64) -> String {
    match seconds {
        s if s < 100 => format!("{s}s"),
        s if s < 100 * 60 => format!("{}m", s / 60),
        s if s < 48 * 3600 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// Columns divide the room: the least needed are left out until the rest fits, and the first is cut when that is not enough.
fn table<T>(columns: &[Column<T>], rows: &[T], rows_max: usize, width: usize) -> Vec<Line> {
    const GAP: usize = 2;
    const NAME_MAX: usize = 28;
    let shown = &rows[..rows.len().min(rows_max)];
    let cells = |column: &Column<T>| -> Vec<String> {
        let texts = shown.iter().map(|row| cut(&(column.text)(row), NAME_MAX));
        std::iter::once(column.head.to_owned()).chain(texts).collect()
    };
    let mut kept: Vec<(&Column<T>, Vec<String>, usize)> = columns
        .iter()
        .map(|column| {
            let cells = cells(column);
            let widest = cells.iter().map(|cell| cell.width()).max().unwrap_or(0);
            (column, cells, widest)
        })
        .collect();
    let needed = |kept: &[(&Column<T>, Vec<String>, usize)]| {
        kept.iter().map(|(_, _, widest)| widest + GAP).sum::<usize>().saturating_sub(GAP)
    };
    while needed(&kept) > width {
        let least = kept
            .iter()
            .enumerate()
            .max_by_key(|(_, (column, ..))| column.rank)
            .map(|(at, (column, ..))| (at, column.rank));
        match least {
            Some((at, rank)) if rank > 0 => drop(kept.remove(at)),
            _ => break,
        }
    }
    (0..=shown.len())
        .map(|row| {
            let mut text = String::new();
            for (at, (column, cells, widest)) in kept.iter().enumerate() {
                let blank = " ".repeat(widest - cells[row].width());
                let gap = if at > 0 { " ".repeat(GAP) } else { String::new() };
                let (before, after) = if column.is_number { (blank, String::new()) } else { (String::new(), blank) };
                text.push_str(&format!("{gap}{before}{}{after}", cells[row]));
            }
            Line { text: cut(text.trim_end(), width), is_head: row == 0 }
        })
        .collect()
}

/// At most so many columns of a terminal, and nothing that could move its cursor: names are the choice of whoever made a sandbox.
fn cut(text: &str, width: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.width() <= width {
        return clean;
    }
    let (mut kept, mut used) = (String::new(), 1);
    for c in clean.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        kept.push(c);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::top::frame::tests::{example, full};

    fn texts(frame: &Frame, width: usize, height: usize) -> Vec<String> {
        lines(frame, width, height).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_frame_has_machine_shelf_executions_orders_and_sandboxes() {
        let mut frame = example();
        frame.orders = vec![TradeOrder {
            number: 7,
            side: "buy".into(),
            symbol: "AAPL".into(),
            qty: Some("3".into()),
            state: "working".into(),
            ..TradeOrder::default()
        }];
        let text = texts(&frame, 120, usize::MAX).join("\n");
        for words in [
            "ringfence 0.1.0, ok, up 90.0 s, 03:05:05 UTC",
            "machine   2 CPUs, 75 % busy, load 0.50 0.40 0.30",
            "shelf     python 6",
            "running   2 executions, 0 trials",
            "trading   not known: the gateway does not answer",
            "SANDBOX  STATE     CPU%   MEMORY     DISK  RUNS  PROCS  AGE  TEMPLATE",
            "lab-2    running  150.0  5.0 MiB  1.0 MiB     1      2  60s  python",
            "lab-3    stopped      -        -  4.0 KiB     -      -  60s  python",
            "    7  buy   AAPL       3          working",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }

    #[test]
    fn no_line_is_wider_and_no_frame_is_higher_than_the_terminal() {
        let mut frame = example();
        frame.sandboxes[0].name = "模擬模擬模擬模擬 \u{1b}[2J\n".into();
        for width in [0, 1, 5, 12, 20, 33, 40, 57, 80, 200] {
            for height in [1, 3, 8, 10, 24] {
                let texts = texts(&frame, width, height);
                assert!(texts.len() <= height, "{width}x{height}: {texts:#?}");
                for text in &texts {
                    assert!(text.width() <= width, "{width}: {text:?}");
                    assert!(!text.chars().any(char::is_control), "{text:?}");
                }
            }
        }
        let narrow = texts(&example(), 24, 24).join("\n");
        assert!(narrow.contains("CPU%") && !narrow.contains("TEMPLATE") && !narrow.contains("DISK"), "{narrow}");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut frame = example();
        let one = frame.sandboxes[2].clone();
        frame.sandboxes.extend(std::iter::repeat_n(one, 30));
        let texts = texts(&frame, 80, 20);
        assert_eq!(texts.len(), 20, "{texts:#?}");
        assert_eq!(texts.last().map(String::as_str), Some("and 21 more: `ringfence sandbox ls`"), "{texts:#?}");
    }

    #[test]
    fn sixty_four_sandboxes_fill_a_terminal_and_the_rest_is_counted() {
        let order = |number| TradeOrder {
            number,
            side: "buy".into(),
            symbol: "AAPL".into(),
            qty: Some("3".into()),
            state: "working".into(),
            sandbox_id: "sbx_of_somebody".into(),
            ..TradeOrder::default()
        };
        for (width, height, orders) in [(80, 24, 0), (80, 24, 12), (200, 60, 0), (200, 60, 12)] {
            let mut frame = full();
            frame.orders = (0..orders).map(order).collect();
            let texts = texts(&frame, width, height);
            assert_eq!(texts.len(), height, "every line is used: {texts:#?}");
            assert!(texts.iter().all(|text| text.width() <= width), "{texts:#?}");
            let shown = texts.iter().filter(|text| text.starts_with("lab-")).count();
            let left_out = format!("and {} more: `ringfence sandbox ls`", 64 - shown);
            assert!(shown >= 5 && texts.contains(&left_out), "{shown} {texts:#?}");
            // What uses most is what is shown: 62 % of a processor, and none of those that are paused.
            let first = texts.iter().find(|text| text.starts_with("lab-")).expect("one");
            assert!(first.starts_with("lab-62 ") && first.contains("62.0"), "{first}");
            let told = texts.iter().filter(|text| text.contains("AAPL")).count();
            assert_eq!(told, orders.min(8) as usize, "{texts:#?}");
            if orders > 8 {
                assert!(texts.contains(&format!("and {} more: `ringfence trade orders`", orders - 8)), "{texts:#?}");
            }
        }
        // All of them, where there is room.
        let all = texts(&full(), 200, 200);
        assert!(all.iter().filter(|text| text.starts_with("lab-")).count() == 64, "{all:#?}");
        assert!(!all.iter().any(|text| text.contains("more:")), "{all:#?}");
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [(0, "0s"), (99, "99s"), (100, "1m"), (5999, "99m"), (6000, "1h"), (200_000, "2d")] {
            assert_eq!(age(seconds), text);
        }
    }
}
