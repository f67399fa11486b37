//! The main chart as a picture: the marks of [`super::scene`], painted.

use std::{collections::BTreeMap, sync::LazyLock};

use tiny_skia::{Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform};
use ttf_parser::{Face, OutlineBuilder};

use super::{
    chart,
    input::{Input, Source},
    scene::{Anchor, Ink, Mark, Scene, tip},
    table::computed_by,
    write::plain,
};

/// DejaVu Sans Condensed; `assets/README.md` says where it is from.
const FONT: &[u8] = include_bytes!("assets/DejaVuSansCondensed.ttf");

static FACE: LazyLock<Face<'static>> =
    LazyLock::new(|| Face::parse(FONT, 0).expect("a test reads the font that is in this program"));

/// Widths and heights that are painted, in pixels.
const WIDTH: (u32, u32) = (320, 2_400);
const HEIGHT: (u32, u32) = (200, 1_600);
/// Above this width letters and lines grow with it.
const WIDTH_PLAIN: f32 = 1_000.0;

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// The size is out of bounds.
    #[error(
        "a picture of {width} × {height} pixels is not painted: choose a width from {} to {} and a height from {} to {}",
        WIDTH.0, WIDTH.1, HEIGHT.0, HEIGHT.1
    )]
    Size {
        /// What was asked for.
        width: u32,
        /// What was asked for.
        height: u32,
    },
    /// The encoder refused.
    #[error("the picture could not be written as PNG: {0}")]
    Encode(String),
}

/// The picture, as a file.
pub(super) fn picture(input: &Input, width: u32, height: u32) -> Result<Vec<u8>, PictureError> {
    let within = |value: u32, (low, high): (u32, u32)| (low..=high).contains(&value);
    let size = || PictureError::Size { width, height };
    if !within(width, WIDTH) || !within(height, HEIGHT) {
        return Err(size());
    }
    let scale = (width as f32 / WIDTH_PLAIN).max(1.0);
    let logical = |pixels: u32| f64::from(pixels as f32 / scale);
    let scene = chart::equity(&input.run, Some((&input.title, &below(input))), logical(width), logical(height));
    let mut canvas = Pixmap::new(width, height).ok_or_else(size)?;
    canvas.fill(Color::WHITE);
    paint(&mut canvas, &scene, Transform::from_scale(scale, scale));
    encoded(&canvas)
}

/// What stands below the heading.
fn below(input: &Input) -> String {
    let run = &input.run;
    let mut parts = vec![plain(&run.strategy)];
    parts.extend(run.parameters.iter().take(6).map(|(name, value)| format!("{} {}", plain(name), plain(value))));
    if !run.symbols.is_empty() {
        parts.push(run.symbols.iter().take(8).map(|symbol| plain(symbol)).collect::<Vec<_>>().join(", "));
    }
    if let (Some(first), Some(last)) = (run.curve.dates.first(), run.curve.dates.last()) {
        parts.push(format!("{first} to {last}"));
    }
    if run.source == Source::SelfReported {
        parts.push(computed_by(run.source).to_owned());
    }
    parts.join(" · ")
}

/// The colours of the page in the light.
fn colour(ink: Ink) -> Color {
    let (r, g, b) = match ink {
        Ink::Own => (0x0a, 0x5a, 0xb0),
        Ink::Hold => (0x7c, 0x85, 0x90),
        Ink::Loss | Ink::Sell => (0xb4, 0x23, 0x1a),
        Ink::Buy => (0x1b, 0x7a, 0x46),
        Ink::Grid => (0xd9, 0xdd, 0xe2),
        Ink::Faint => (0x5d, 0x66, 0x71),
        Ink::Text | Ink::Step(_) | Ink::Frame => (0x1b, 0x1f, 0x24),
        Ink::Pale => (0xff, 0xff, 0xff),
    };
    Color::from_rgba8(r, g, b, 0xff)
}

fn inked(ink: Ink, opacity: f32) -> Paint<'static> {
    let mut colour = colour(ink);
    colour.set_alpha(opacity);
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color(colour);
    paint
}

fn paint(canvas: &mut Pixmap, scene: &Scene, scale: Transform) {
    for mark in &scene.marks {
        match mark {
            Mark::Line { points, ink, width } => {
                let stroke = Stroke {
                    width: *width as f32,
                    line_cap: LineCap::Butt,
                    line_join: LineJoin::Round,
                    ..Stroke::default()
                };
                if let Some(path) = path(points, false) {
                    canvas.stroke_path(&path, &inked(*ink, 1.0), &stroke, scale, None);
                }
            }
            Mark::Area { points, ink } => fill(canvas, path(points, true), *ink, 0.16, scale),
            Mark::Cell { x, y, width, height, ink, .. } => {
                if let Some(rect) = Rect::from_xywh(*x as f32, *y as f32, *width as f32, *height as f32) {
                    canvas.fill_rect(rect, &inked(*ink, 1.0), scale, None);
                }
            }
            Mark::Cells { corners, side, ink } => {
                for (x, y) in corners {
                    if let Some(rect) = Rect::from_xywh(*x as f32, *y as f32, side.0 as f32, side.1 as f32) {
                        canvas.fill_rect(rect, &inked(*ink, 1.0), scale, None);
                    }
                }
            }
            Mark::Words { x, y, text, anchor, ink, size } => {
                let letters = letters(text, *size as f32, scene.width as f32 - 6.0);
                let x = match anchor {
                    Anchor::Start => *x as f32,
                    Anchor::Middle => *x as f32 - letters.width / 2.0,
                    Anchor::End => *x as f32 - letters.width,
                };
                let place = scale.pre_translate(x, *y as f32);
                fill(canvas, letters.path, *ink, 1.0, place);
            }
            Mark::Tip { x, y, ink } => fill(canvas, path(&tip(*x, *y, *ink), true), *ink, 1.0, scale),
        }
    }
}

fn fill(canvas: &mut Pixmap, path: Option<Path>, ink: Ink, opacity: f32, place: Transform) {
    if let Some(path) = path {
        canvas.fill_path(&path, &inked(ink, opacity), FillRule::Winding, place, None);
    }
}

fn path(points: &[(f64, f64)], closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (at, (x, y)) in points.iter().enumerate() {
        if at == 0 {
            builder.move_to(*x as f32, *y as f32);
        } else {
            builder.line_to(*x as f32, *y as f32);
        }
    }
    if closed {
        builder.close();
    }
    builder.finish()
}

/// The shapes of a text, begun at the origin.
struct Letters {
    path: Option<Path>,
    width: f32,
}

/// Writes `text`, and an ellipsis where it would be wider than `most`. What the font has not is a box.
fn letters(text: &str, size: f32, most: f32) -> Letters {
    let face = &*FACE;
    let scale = size / f32::from(face.units_per_em());
    let glyph = |c: char| face.glyph_index(c).unwrap_or_default();
    let step = |c: char| f32::from(face.glyph_hor_advance(glyph(c)).unwrap_or_default()) * scale;
    let mut pen = Pen { builder: PathBuilder::new(), x: 0.0, scale };
    for c in text.chars() {
        let next = step(c);
        let last = pen.x + next + step('…') > most;
        let c = if last { '…' } else { c };
        face.outline_glyph(glyph(c), &mut pen);
        pen.x += step(c);
        if last {
            break;
        }
    }
    Letters { width: pen.x, path: pen.builder.finish() }
}

struct Pen {
    builder: PathBuilder,
    x: f32,
    scale: f32,
}

impl Pen {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.builder.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.builder.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.builder.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.builder.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.builder.close();
    }
}

/// Colours of a picture; a byte says which of them a pixel has.
const COLOURS_MAX: usize = 256;

/// As PNG without transparency, of few colours: the blends at the edges of lines are rounded until there are so few.
fn encoded(canvas: &Pixmap) -> Result<Vec<u8>, PictureError> {
    // Opaque: everything was painted over white.
    let pixels: Vec<[u8; 3]> = canvas.pixels().iter().map(|p| [p.red(), p.green(), p.blue()]).collect();
    let (palette, indices) = (3..7)
        .find_map(|bits| few_colours(&pixels, bits))
        .ok_or_else(|| PictureError::Encode("it has too many colours".into()))?;
    let mut file = Vec::new();
    let refused = |error: png::EncodingError| PictureError::Encode(error.to_string());
    let mut encoder = png::Encoder::new(&mut file, canvas.width(), canvas.height());
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette);
    encoder.set_compression(png::Compression::High);
    encoder.set_filter(png::Filter::NoFilter);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&indices)).map_err(refused)?;
    Ok(file)
}

/// Colours that differ in their last `bits` bits alone become the one of them that most pixels have. None if there are too many still.
fn few_colours(pixels: &[[u8; 3]], bits: u32) -> Option<(Vec<u8>, Vec<u8>)> {
    let group = |pixel: &[u8; 3]| pixel.map(|channel| channel >> bits);
    let mut counts: BTreeMap<[u8; 3], usize> = BTreeMap::new();
    for pixel in pixels {
        *counts.entry(*pixel).or_default() += 1;
    }
    let mut groups: BTreeMap<[u8; 3], ([u8; 3], usize)> = BTreeMap::new();
    for (colour, count) in &counts {
        let most = groups.entry(group(colour)).or_insert((*colour, 0));
        if *count > most.1 {
            *most = (*colour, *count);
        }
    }
    if groups.len() > COLOURS_MAX {
        return None;
    }
    let places: BTreeMap<[u8; 3], u8> = groups.keys().copied().zip(0..=u8::MAX).collect();
    let indices = pixels.iter().map(|pixel| places[&group(pixel)]).collect();
    Some((groups.values().flat_map(|(colour, _)| *colour).collect(), indices))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_what_is_written() {
        for c in "Strategy Buy and hold Below the highest so far 0123456789,.%()+−·…äé€→".chars() {
            assert!(FACE.glyph_index(c).is_some(), "{c}");
        }
        assert!(letters("長い", 11.0, 500.0).path.is_some(), "a box for what it has not");
    }

    #[test]
    fn a_long_text_ends_within_the_picture() {
        let long = letters(&"W".repeat(400), 16.0, 500.0);
        assert!(long.width <= 500.0 && long.width > 450.0, "{}", long.width);
    }
}
