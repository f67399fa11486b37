//! A drawing as a list of marks. Of the same list the page is written (SVG, coloured by its style sheet) and the picture painted.

use std::fmt::Write as _;

use super::write::escaped;

/// What a mark is for. Its colour is decided by who draws: the style sheet, or [`super::paint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// The run.
    Own,
    /// Buy and hold.
    Hold,
    /// Below the high: the run's drawdown.
    Loss,
    /// A purchase.
    Buy,
    /// A sale.
    Sell,
    /// Lines behind everything.
    Grid,
    /// Words.
    Text,
    /// Words of less weight.
    Faint,
    /// A cell of a heat map, from the worst (0) to the best ([`STEPS`] less one).
    Step(u8),
    /// Words on the stronger of those cells.
    Pale,
    /// The frame around what is picked out.
    Frame,
}

/// Colours of a heat map.
pub(super) const STEPS: u8 = 9;

impl Ink {
    /// Its class in the style sheet.
    fn class(self) -> String {
        match self {
            Self::Own => "own".into(),
            Self::Hold => "hold".into(),
            Self::Loss => "loss".into(),
            Self::Buy => "buy".into(),
            Self::Sell => "sell".into(),
            Self::Grid => "grid".into(),
            Self::Text => "ink".into(),
            Self::Faint => "faint".into(),
            Self::Step(step) => format!("q{step}"),
            Self::Pale => "pale".into(),
            Self::Frame => "frame".into(),
        }
    }
}

/// Where a text is, seen from its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// One mark. Coordinates are in pixels from the upper left corner.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mark {
    /// A line through points.
    Line { points: Vec<(f64, f64)>, ink: Ink, width: f64 },
    /// What is between points, filled.
    Area { points: Vec<(f64, f64)>, ink: Ink },
    /// A rectangle, filled or (with [`Ink::Frame`]) around; `title` is said when it is pointed at.
    Cell { x: f64, y: f64, width: f64, height: f64, ink: Ink, title: String },
    /// Many rectangles of one size, by their upper left corners.
    Cells { corners: Vec<(f64, f64)>, side: (f64, f64), ink: Ink },
    /// Words, on one line; `y` is that of their base line.
    Words { x: f64, y: f64, text: String, anchor: Anchor, ink: Ink, size: f64 },
    /// A triangle whose tip is at the point: from below for [`Ink::Buy`], from above otherwise.
    Tip { x: f64, y: f64, ink: Ink },
}

/// A drawing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    pub(super) width: f64,
    pub(super) height: f64,
    /// What somebody is told who cannot see it.
    pub(super) label: String,
    /// Left and right end of its time axis, and the days that they are.
    pub(super) time: Option<[f64; 4]>,
    pub(super) marks: Vec<Mark>,
}

/// Half the width of a [`Mark::Tip`].
pub(super) const TIP: f64 = 4.0;

/// The corners of a [`Mark::Tip`].
pub(super) fn tip(x: f64, y: f64, ink: Ink) -> [(f64, f64); 3] {
    let base = if ink == Ink::Buy { y + TIP * 1.8 } else { y - TIP * 1.8 };
    [(x, y), (x - TIP, base), (x + TIP, base)]
}

impl Scene {
    /// As an element of a page.
    pub(super) fn svg(&self, class: &str) -> String {
        let (width, height) = (self.width, self.height);
        let time =
            self.time.map_or_else(String::new, |t| format!(r#" data-time="{} {} {} {}""#, t[0], t[1], t[2], t[3]));
        let mut out = format!(
            r#"<svg class="{class}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{}"{time}>"#,
            escaped(&self.label)
        );
        for mark in &self.marks {
            write_mark(&mut out, mark);
        }
        out.push_str("</svg>");
        out
    }
}

fn write_mark(out: &mut String, mark: &Mark) {
    let drawn = |points: &[(f64, f64)]| points.iter().any(|(x, y)| x.is_finite() && y.is_finite());
    match mark {
        Mark::Line { points, .. } | Mark::Area { points, .. } if !drawn(points) => return,
        Mark::Tip { x, y, .. } if !drawn(&[(*x, *y)]) => return,
        _ => {}
    }
    // Writing to a string cannot fail.
    let _ = match mark {
        Mark::Line { points, ink, width } => {
            write!(out, r#"<path class="l {}" stroke-width="{width}" d="{}"/>"#, ink.class(), path(points))
        }
        Mark::Area { points, ink } => write!(out, r#"<path class="a {}" d="{}z"/>"#, ink.class(), path(points)),
        Mark::Cell { x, y, width, height, ink, title } => {
            let (x, y, width, height) = (short(*x), short(*y), short(*width), short(*height));
            let said = if title.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(title)) };
            write!(
                out,
                r#"<rect class="{}" x="{x}" y="{y}" width="{width}" height="{height}">{said}</rect>"#,
                ink.class()
            )
        }
        Mark::Cells { corners, side, ink } => {
            let (width, height) = (short(side.0), short(side.1));
            let one = |(x, y): &(f64, f64)| format!("M{} {}h{width}v{height}h-{width}z", short(*x), short(*y));
            write!(out, r#"<path class="{}" d="{}"/>"#, ink.class(), corners.iter().map(one).collect::<String>())
        }
        Mark::Words { x, y, text, anchor, ink, size } => {
            let (x, y) = (short(*x), short(*y));
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => r#" text-anchor="middle""#,
                Anchor::End => r#" text-anchor="end""#,
            };
            let class = ink.class();
            write!(out, r#"<text class="{class}" x="{x}" y="{y}" font-size="{size}"{anchor}>{}</text>"#, escaped(text))
        }
        Mark::Tip { x, y, ink } => write!(out, r#"<path class="{}" d="{}z"/>"#, ink.class(), path(&tip(*x, *y, *ink))),
    };
}

/// One decimal is less than a pixel of any screen.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn path(points: &[(f64, f64)]) -> String {
    let mut out = String::with_capacity(points.len() * 12);
    let finite = points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
    for (at, (x, y)) in finite.enumerate() {
        let _ = write!(out, "{}{} {}", if at == 0 { 'M' } else { 'L' }, short(*x), short(*y));
    }
    out
}
