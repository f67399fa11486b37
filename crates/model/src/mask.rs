//! Putting something else in the place of secrets in a stream, in whatever form they are written there.
//!
//! The gate turns secrets in what comes back into their placeholders, so that an echo tells a sandbox nothing, and what it is
//! told agrees with what it sent. The engine hides values that were exposed to a sandbox in what its programs print.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

mod automaton;
mod forms;

pub use automaton::{Automaton, State};
pub use forms::{Base64, Edge, escaped, urlsafe};

/// The values of one sandbox's secrets in every form that is looked for, and what stands in their place.
#[derive(Debug)]
pub struct Masks {
    automaton: Automaton,
    replacements: Vec<Replacement>,
}

/// What stands in the place of one form of one value. In base64 the characters before and after are half the value's too.
#[derive(Debug, Clone)]
struct Replacement {
    text: Vec<u8>,
    /// The same, as long as what it stands for.
    even: Vec<u8>,
    before: Edge,
    after: Edge,
}

impl Masks {
    /// Of pairs: a value, and what is shown in its place. Values that are empty are left out.
    #[must_use]
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut forms = Vec::new();
        for (value, shown) in pairs.into_iter().filter(|(value, _)| !value.is_empty()) {
            forms_of(value, shown, &mut forms);
        }
        let (needles, replacements): (Vec<_>, Vec<_>) = forms.into_iter().unzip();
        Self { automaton: Automaton::new(&needles), replacements }
    }
}

/// Looks for values in a stream, in every form in which they would be masked, and changes nothing.
#[derive(Debug)]
pub struct Search {
    masks: Arc<Masks>,
    state: State,
}

impl Search {
    /// For a stream that begins.
    #[must_use]
    pub fn new(masks: Arc<Masks>) -> Self {
        Self { masks, state: State::default() }
    }

    /// Takes the next chunk; whether a value ends in it.
    #[must_use]
    pub fn feed(&mut self, chunk: &[u8]) -> bool {
        let automaton = &self.masks.automaton;
        for &byte in chunk {
            self.state = automaton.step(self.state, byte);
            if automaton.needle(self.state).is_some() {
                return true;
            }
        }
        false
    }
}

fn forms_of(value: &[u8], placeholder: &[u8], forms: &mut Vec<(Zeroizing<Vec<u8>>, Replacement)>) {
    let as_long = |text: &[u8], form: &[u8]| text.iter().copied().cycle().take(form.len()).collect::<Vec<u8>>();
    let mut plain = |form: Zeroizing<Vec<u8>>, text: &[u8]| {
        let even = as_long(text, &form);
        forms.push((form, Replacement { text: text.to_vec(), even, before: Edge::default(), after: Edge::default() }));
    };
    plain(Zeroizing::new(value.to_vec()), placeholder);
    for form in escaped(value) {
        plain(form, placeholder);
    }
    plain(Zeroizing::new(hex::encode(value).into_bytes()), hex::encode(placeholder).as_bytes());
    plain(Zeroizing::new(hex::encode_upper(value).into_bytes()), hex::encode_upper(placeholder).as_bytes());
    // What surrounds it in base64 depends on its length, so that one of the same length has to stand in.
    let stand_in = as_long(placeholder, value);
    for alignment in 0..3 {
        let real = Base64::new(value, alignment);
        let shown = Base64::new(&stand_in, alignment);
        let replacement = |text: &[u8]| Replacement {
            text: text.to_vec(),
            even: text.to_vec(),
            before: shown.before,
            after: shown.after,
        };
        forms.push((urlsafe(&real.inner), replacement(&urlsafe(&shown.inner))));
        forms.push((real.inner, replacement(&shown.inner)));
    }
}

/// A stretch of the stream that is not passed on.
struct Region {
    start: u64,
    end: u64,
    replacement: usize,
    /// Whether the end is that of the replacement's own form, so that its `after` applies.
    exact_end: bool,
}

/// Masks one stream: a body, or one message of a websocket. It must not be compressed. Lengths may change: a
/// `Content-Length` must be taken away or set anew by the caller.
///
/// It holds back what may become part of a value, at most as long as the longest form of one; a stream that ends its
/// messages with a brace or a new line has them at once.
pub struct Mask {
    masks: Arc<Masks>,
    is_even: bool,
    state: State,
    /// What came in and has not gone out, and where in the stream it begins.
    pending: Zeroizing<Vec<u8>>,
    base: u64,
    position: u64,
    /// In order, without overlaps.
    regions: VecDeque<Region>,
    /// Everything before this was replaced already.
    replaced_to: u64,
    /// Bits to put into the character at `replaced_to`.
    after: Edge,
}

impl Mask {
    /// For a stream that begins.
    #[must_use]
    pub fn new(masks: Arc<Masks>) -> Self {
        Self {
            masks,
            is_even: false,
            state: State::default(),
            pending: Zeroizing::new(Vec::new()),
            base: 0,
            position: 0,
            regions: VecDeque::new(),
            replaced_to: 0,
            after: Edge::default(),
        }
    }

    /// Puts in what is as long as the value, cut or repeated if need be: for formats that say how long their texts are, as
    /// MessagePack does.
    #[must_use]
    pub fn of_equal_length(mut self) -> Self {
        self.is_even = true;
        self
    }

    /// Takes the next chunk; gives what can be passed on.
    #[must_use]
    pub fn feed(&mut self, chunk: Bytes) -> Bytes {
        let Some(&last) = chunk.last() else { return chunk };
        for &byte in &chunk {
            self.position += 1;
            self.state = self.masks.automaton.step(self.state, byte);
            if let Some(needle) = self.masks.automaton.needle(self.state) {
                self.found(needle);
            }
        }
        let undecided = self.masks.automaton.depth(self.state) as u64;
        // The character before a value in base64 may have to change too.
        let held = undecided + u64::from(undecided > 0 || is_base64(last));
        let nothing_to_do = self.pending.is_empty() && self.regions.is_empty() && self.after == Edge::default();
        if nothing_to_do && held == 0 && self.replaced_to <= self.base {
            self.base = self.position;
            return chunk;
        }
        // Not grown in place: that would leave what was pending behind, unwiped.
        let mut pending = Zeroizing::new(Vec::with_capacity(self.pending.len() + chunk.len()));
        pending.extend_from_slice(&self.pending);
        pending.extend_from_slice(&chunk);
        self.pending = pending;
        let mut out = Vec::with_capacity(self.pending.len() + 64);
        self.pass(self.position - undecided, self.position.saturating_sub(held), &mut out);
        Bytes::from(out)
    }

    /// Gives the rest.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        let mut out = Vec::with_capacity(self.pending.len() + 64);
        self.pass(self.position.saturating_add(1), self.position, &mut out);
        Bytes::from(out)
    }

    /// Masks something that is there as a whole.
    #[must_use]
    pub fn whole(mut self, bytes: Bytes) -> Bytes {
        let mut out = Vec::from(self.feed(bytes));
        out.extend_from_slice(&self.finish());
        Bytes::from(out)
    }

    /// A value ends here. Where values overlap, all of them are replaced, by the placeholder of the one that begins first.
    fn found(&mut self, needle: usize) {
        let end = self.position;
        let start = end - self.masks.automaton.length(needle) as u64;
        let mut region = Region { start, end, replacement: needle, exact_end: true };
        while let Some(last) = self.regions.back().filter(|last| last.end > start) {
            if last.start < region.start {
                // Every match ends later than the ones before it.
                region = Region { start: last.start, end, replacement: last.replacement, exact_end: false };
            }
            self.regions.pop_back();
        }
        if region.start < self.replaced_to {
            self.replaced_to = end;
            self.after = Edge::default();
        } else {
            self.regions.push_back(region);
        }
    }

    /// Passes on what is before `to`, with the regions that begin before `decided`: nothing that begins there can be part
    /// of a longer value any more.
    fn pass(&mut self, decided: u64, to: u64, out: &mut Vec<u8>) {
        while self.regions.front().is_some_and(|region| region.start < decided) {
            let Some(region) = self.regions.pop_front() else { break };
            let replacement = self.masks.replacements[region.replacement].clone();
            let touches = region.start > self.replaced_to;
            self.emit(region.start, out);
            if touches && let Some(last) = out.last_mut() {
                *last = replacement.before.apply(*last);
            }
            out.extend_from_slice(if self.is_even { &replacement.even } else { &replacement.text });
            self.replaced_to = region.end;
            self.after = if region.exact_end { replacement.after } else { Edge::default() };
        }
        self.emit(to, out);
    }

    /// Moves what is pending before `to` out, without what was replaced.
    fn emit(&mut self, to: u64, out: &mut Vec<u8>) {
        let length = |until: u64| usize::try_from(until.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let taken = length(to).min(self.pending.len());
        let skipped = length(self.replaced_to).min(taken);
        let first = out.len();
        out.extend_from_slice(&self.pending[skipped..taken]);
        if let Some(next) = out.get_mut(first) {
            if self.base + skipped as u64 == self.replaced_to {
                *next = self.after.apply(*next);
            }
            self.after = Edge::default();
        }
        self.pending = Zeroizing::new(self.pending[taken..].to_vec());
        self.base += taken as u64;
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask").field("position", &self.position).finish_non_exhaustive()
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}
