//! Whether a placeholder stands somewhere in a stream of bytes, however it is written.

use std::sync::Arc;

use ringfence_model::mask::{Automaton, Base64, State};

use super::placeholder::Placeholder;

/// The placeholders of one sandbox, ready to be looked for.
///
/// Everything is looked for without regard to case, to white space and NUL (so that wrapped base64 and UTF-16 are found too),
/// and to which of the two base64 alphabets is used. With 128 random bits, that finds nothing which is not meant.
#[derive(Debug)]
pub(super) struct Finder {
    automaton: Automaton,
    /// For each needle, the index of its placeholder.
    owners: Vec<usize>,
}

impl Finder {
    pub(super) fn new<'p>(placeholders: impl IntoIterator<Item = &'p Placeholder>) -> Self {
        let (mut needles, mut owners) = (Vec::new(), Vec::new());
        for (owner, placeholder) in placeholders.into_iter().enumerate() {
            for needle in needles_of(placeholder.as_str()) {
                needles.push(needle);
                owners.push(owner);
            }
        }
        Self { automaton: Automaton::new(&needles), owners }
    }

    /// The placeholder that is found in `bytes`, by its index.
    pub(super) fn find(self: &Arc<Self>, bytes: &[u8]) -> Option<usize> {
        let mut search = Search::new(Arc::clone(self));
        search.feed(bytes);
        search.found()
    }
}

fn needles_of(text: &str) -> Vec<Vec<u8>> {
    // A search sees no white space.
    let mut needles = vec![text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect()];
    for spelling in [text.to_owned(), text.to_ascii_lowercase(), text.to_ascii_uppercase()] {
        needles.push(hex::encode(&spelling).into_bytes());
        needles.extend((0..3).map(|alignment| Base64::new(spelling.as_bytes(), alignment).inner.to_vec()));
    }
    for needle in &mut needles {
        for byte in needle {
            *byte = fold(*byte);
        }
    }
    needles
}

/// What is the same to a search: letters of either case, and the two base64 alphabets.
fn fold(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other.to_ascii_lowercase(),
    }
}

/// One search through a stream. Keeps a few words of state, whatever the stream.
pub(super) struct Search {
    finder: Arc<Finder>,
    plain: State,
    /// The stream decoded in several ways. They begin with the first escape: until then they say what the stream says.
    lanes: Option<[Lane; 5]>,
    found: Option<usize>,
}

impl Search {
    pub(super) fn new(finder: Arc<Finder>) -> Self {
        Self { finder, plain: State::default(), lanes: None, found: None }
    }

    pub(super) fn found(&self) -> Option<usize> {
        self.found
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.found.is_some() {
                return;
            }
            if self.lanes.is_none() && matches!(byte, b'%' | b'\\') {
                let lane = |decoders| Lane { decoders, state: self.plain };
                self.lanes = Some([
                    lane([Decoder::percent(), Decoder::None]),
                    lane([Decoder::percent(), Decoder::percent()]),
                    lane([Decoder::json(), Decoder::None]),
                    lane([Decoder::percent(), Decoder::json()]),
                    lane([Decoder::json(), Decoder::percent()]),
                ]);
            }
            self.found = advance(&self.finder, &mut self.plain, byte);
            for lane in self.lanes.iter_mut().flatten() {
                if let Some(owner) = lane.feed(&self.finder, byte) {
                    self.found = Some(owner);
                }
            }
        }
    }
}

/// One step of a search; the owner of a needle that ends here.
fn advance(finder: &Finder, state: &mut State, byte: u8) -> Option<usize> {
    if matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0) {
        return None;
    }
    *state = finder.automaton.step(*state, fold(byte));
    finder.automaton.needle(*state).and_then(|needle| finder.owners.get(needle).copied())
}

/// The stream through one or two decoders.
struct Lane {
    decoders: [Decoder; 2],
    state: State,
}

impl Lane {
    fn feed(&mut self, finder: &Finder, byte: u8) -> Option<usize> {
        let [first, second] = &mut self.decoders;
        let mut found = None;
        for byte in first.feed(byte).bytes() {
            for byte in second.feed(byte).bytes() {
                found = found.or(advance(finder, &mut self.state, byte));
            }
        }
        found
    }
}

/// What comes out of a decoder for one byte: at most three.
struct Decoded {
    bytes: [u8; 3],
    length: usize,
}

impl Decoded {
    fn of<const N: usize>(from: [u8; N]) -> Self {
        let mut bytes = [0; 3];
        bytes[..N].copy_from_slice(&from);
        Self { bytes, length: N }
    }

    fn bytes(&self) -> impl Iterator<Item = u8> + use<> {
        self.bytes.into_iter().take(self.length)
    }
}

/// Undoes one kind of escape in a stream, leniently: what is no escape comes out as it is.
enum Decoder {
    None,
    /// `%41` (RFC 3986, section 2.1). What was seen of an escape.
    Percent {
        seen: [u8; 2],
        length: usize,
    },
    /// `\u0041`, `\x41`, `\/`: strings of JSON and of programming languages.
    Json(Escape),
}

enum Escape {
    Outside,
    Backslash,
    Digits { left: u8, value: u16 },
}

impl Decoder {
    const fn percent() -> Self {
        Self::Percent { seen: [0; 2], length: 0 }
    }

    const fn json() -> Self {
        Self::Json(Escape::Outside)
    }

    fn feed(&mut self, byte: u8) -> Decoded {
        match self {
            Self::None => Decoded::of([byte]),
            Self::Percent { seen, length } => percent(seen, length, byte),
            Self::Json(escape) => json(escape, byte),
        }
    }
}

fn percent(seen: &mut [u8; 2], length: &mut usize, byte: u8) -> Decoded {
    let digit = hex_digit(byte);
    match (*length, digit) {
        (0, _) if byte == b'%' => {
            (*seen, *length) = ([byte, 0], 1);
            Decoded::of([])
        }
        (0, _) => Decoded::of([byte]),
        (1, Some(_)) => {
            (*seen, *length) = ([b'%', byte], 2);
            Decoded::of([])
        }
        (2, Some(low)) => {
            *length = 0;
            let high = hex_digit(seen[1]).unwrap_or_default();
            Decoded::of([high << 4 | low])
        }
        // No escape after all; this byte may begin one.
        (held, _) => {
            let before = *seen;
            let again = byte == b'%';
            (*seen, *length) = ([b'%', 0], usize::from(again));
            match (held, again) {
                (1, true) => Decoded::of([before[0]]),
                (1, false) => Decoded::of([before[0], byte]),
                (_, true) => Decoded::of(before),
                (_, false) => Decoded::of([before[0], before[1], byte]),
            }
        }
    }
}

fn json(escape: &mut Escape, byte: u8) -> Decoded {
    match escape {
        Escape::Outside if byte == b'\\' => {
            *escape = Escape::Backslash;
            Decoded::of([])
        }
        Escape::Outside => Decoded::of([byte]),
        Escape::Backslash => {
            *escape = match byte {
                b'u' => Escape::Digits { left: 4, value: 0 },
                b'x' => Escape::Digits { left: 2, value: 0 },
                _ => Escape::Outside,
            };
            match byte {
                b'u' | b'x' => Decoded::of([]),
                b'n' | b'r' | b't' => Decoded::of([b' ']),
                other => Decoded::of([other]),
            }
        }
        Escape::Digits { left, value } => match hex_digit(byte) {
            Some(digit) => {
                *value = *value << 4 | u16::from(digit);
                *left -= 1;
                if *left > 0 {
                    return Decoded::of([]);
                }
                // Beyond ASCII there is nothing of a placeholder: any byte that is not of one will do.
                let decoded = u8::try_from(*value).unwrap_or(u8::MAX);
                *escape = Escape::Outside;
                Decoded::of([decoded])
            }
            None => {
                *escape = if byte == b'\\' { Escape::Backslash } else { Escape::Outside };
                Decoded::of([u8::MAX, byte])
            }
        },
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Looks for the placeholders of a sandbox in a body, chunk by chunk. Bodies are never a place for a placeholder: once it
/// has found one, the chunk that it ended in must not be sent.
pub struct Scanner {
    search: Search,
    names: Arc<[String]>,
}

impl Scanner {
    pub(super) fn new(finder: Arc<Finder>, names: Arc<[String]>) -> Self {
        Self { search: Search::new(finder), names }
    }

    /// Takes the next chunk. Once a placeholder was found, the name of its secret, now and ever after.
    pub fn feed(&mut self, chunk: &[u8]) -> Option<&str> {
        self.search.feed(chunk);
        self.found()
    }

    /// The secret whose placeholder was found.
    #[must_use]
    pub fn found(&self) -> Option<&str> {
        self.search.found().and_then(|owner| self.names.get(owner)).map(String::as_str)
    }
}

impl std::fmt::Debug for Scanner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scanner").field("found", &self.found()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
