//! Finding many byte strings at once in a stream: Aho and Corasick's automaton, kept sparse.
//!
//! Written here because the strings are secrets: the tables hold their bytes, and are wiped when dropped.

use zeroize::Zeroize;

/// No node, no needle.
const NONE: u32 = u32::MAX;

/// Where a stream stands in the automaton. Opaque, and worth nothing in another automaton.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State(u32);

/// One node: a prefix of some needle.
struct Node {
    /// The byte that leads here.
    byte: u8,
    /// Length of the prefix.
    depth: u32,
    child: u32,
    sibling: u32,
    /// The longest proper suffix of this prefix that is a prefix too.
    fail: u32,
    /// The longest needle that ends here.
    needle: u32,
}

/// The automaton. Its size is that of its needles together.
pub struct Automaton {
    nodes: Vec<Node>,
    /// The children of the root: most bytes of ordinary text are decided here.
    root: [u32; 256],
    lengths: Vec<usize>,
}

impl Automaton {
    /// Of needles that are not empty. Of two equal ones the first counts.
    pub fn new<N: AsRef<[u8]>>(needles: &[N]) -> Self {
        // Room for everything at once: a vector that grows leaves copies of secrets behind.
        let room = 1 + needles.iter().map(|needle| needle.as_ref().len()).sum::<usize>();
        let mut nodes = Vec::with_capacity(room);
        nodes.push(Node { byte: 0, depth: 0, child: NONE, sibling: NONE, fail: 0, needle: NONE });
        let mut automaton =
            Self { nodes, root: [0; 256], lengths: needles.iter().map(|needle| needle.as_ref().len()).collect() };
        for (index, needle) in needles.iter().enumerate() {
            automaton.insert(index, needle.as_ref());
        }
        automaton.link();
        automaton
    }

    /// Length of a needle.
    pub fn length(&self, needle: usize) -> usize {
        self.lengths[needle]
    }

    /// The state after one more byte.
    pub fn step(&self, state: State, byte: u8) -> State {
        let mut at = state.0;
        loop {
            if at == 0 {
                return State(self.root[usize::from(byte)]);
            }
            if let Some(child) = self.child(at, byte) {
                return State(child);
            }
            at = self.nodes[at as usize].fail;
        }
    }

    /// The longest needle that ends at this state.
    pub fn needle(&self, state: State) -> Option<usize> {
        let needle = self.nodes[state.0 as usize].needle;
        (needle != NONE).then_some(needle as usize)
    }

    /// How many of the last bytes may still become part of a needle.
    pub fn depth(&self, state: State) -> usize {
        self.nodes[state.0 as usize].depth as usize
    }

    fn child(&self, node: u32, byte: u8) -> Option<u32> {
        let mut at = self.nodes[node as usize].child;
        while at != NONE {
            let node = &self.nodes[at as usize];
            if node.byte == byte {
                return Some(at);
            }
            at = node.sibling;
        }
        None
    }

    fn insert(&mut self, index: usize, needle: &[u8]) {
        assert!(!needle.is_empty(), "an empty needle would be found everywhere");
        let mut at = 0;
        for &byte in needle {
            at = match self.child(at, byte) {
                Some(child) => child,
                None => self.add(at, byte),
            };
        }
        let node = &mut self.nodes[at as usize];
        if node.needle == NONE {
            node.needle = u32::try_from(index).expect("needles are counted in hundreds");
        }
    }

    fn add(&mut self, parent: u32, byte: u8) -> u32 {
        let at = u32::try_from(self.nodes.len()).expect("needles are a few hundred KiB at most");
        let above = &mut self.nodes[parent as usize];
        let (depth, sibling) = (above.depth + 1, above.child);
        above.child = at;
        self.nodes.push(Node { byte, depth, child: NONE, sibling, fail: 0, needle: NONE });
        if parent == 0 {
            self.root[usize::from(byte)] = at;
        }
        at
    }

    /// Breadth first, so that what a node falls back to is finished before it.
    fn link(&mut self) {
        let mut queue = Vec::with_capacity(self.nodes.len());
        queue.push(0_u32);
        let mut next = 0;
        while let Some(&node) = queue.get(next) {
            next += 1;
            let mut child = self.nodes[node as usize].child;
            while child != NONE {
                queue.push(child);
                let byte = self.nodes[child as usize].byte;
                let fail = if node == 0 { 0 } else { self.step(State(self.nodes[node as usize].fail), byte).0 };
                let inherited = self.nodes[fail as usize].needle;
                let this = &mut self.nodes[child as usize];
                this.fail = fail;
                if this.needle == NONE {
                    this.needle = inherited;
                }
                child = this.sibling;
            }
        }
    }
}

impl Drop for Automaton {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.byte.zeroize();
        }
        self.root.zeroize();
    }
}

impl std::fmt::Debug for Automaton {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Automaton({} needles)", self.lengths.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the obvious way: for each position, the longest needle that ends there.
        #[test]
        fn it_finds_what_a_plain_search_finds(
            needles in proptest::collection::vec(proptest::collection::vec(0_u8..3, 1..6), 1..6),
            text in proptest::collection::vec(0_u8..3, 0..60),
        ) {
            let automaton = Automaton::new(&needles);
            let mut state = State::default();
            for end in 1..=text.len() {
                state = automaton.step(state, text[end - 1]);
                let longest = needles.iter().filter(|needle| text[..end].ends_with(needle)).map(Vec::len).max();
                prop_assert_eq!(automaton.needle(state).map(|needle| automaton.length(needle)), longest);
                let prefix = (0..=end).rev().find(|&length| {
                    length == 0 || needles.iter().any(|needle| needle.starts_with(&text[end - length..end]))
                });
                prop_assert_eq!(Some(automaton.depth(state)), prefix);
            }
        }
    }
}
