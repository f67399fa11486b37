//! An export: chains as lines of JSON that hold everything by which somebody elsewhere can verify them.
//!
//! ```text
//! {"type":"export","version":1,"at_ms":…}
//! {"type":"chain","chain":"engine","after":{"seq":0,"hash":"00…"},"key":"…"}      one a chain; `after` is what its entries follow
//! {"type":"checkpoint",…}                                                        where `after` is what was pruned
//! {"type":"entry","chain":"engine","seq":1,…,"detail":{…},"prev_hash":"…","hash":"…"}
//! {"type":"head","head":"ringfence-head 1 …"}                                    after the entry that it is about
//! {"type":"end","entries":…,"sha256":"…"}                                        over every byte before this line
//! ```
//!
//! The bytes of `detail` are those that are hashed. Reading and writing need memory for one line.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::file::{ChainFile, RawEntry};
use super::sign::{AuditPublicKey, Checkpoint, SignedHead};
use super::verify::{BrokenLink, Fault};
use super::{AuditHash, AuditHead};
use crate::error::StoreError;
use crate::kind::DatabaseKind;

/// Bytes that a line may have: an entry's detail has 16 KiB at most.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Entries that are read from a database at once.
const PIECE: u32 = 1000;
const ENTRY: &str = "{\"type\":\"entry\",";

/// Why an export could not be written or does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It could not be read or written.
    #[error("could not read or write the export")]
    Io(#[from] io::Error),
    /// The database refuses.
    #[error("could not read the chain")]
    Store(#[from] StoreError),
    /// A line is not one of an export.
    #[error("line {line} is not what an export has there: {what}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// A chain does not hold.
    #[error("the {chain}'s chain is broken: {link}")]
    Broken {
        /// Whose.
        chain: DatabaseKind,
        /// Where.
        link: BrokenLink,
    },
    /// A signature does not hold.
    #[error("{0}")]
    Signature(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryLine<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    chain: DatabaseKind,
    seq: u64,
    at_ms: u64,
    actor: String,
    event: String,
    sandbox_id: Option<String>,
    execution_id: Option<String>,
    #[serde(borrow)]
    detail: &'a RawValue,
    prev_hash: AuditHash,
    hash: AuditHash,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Line {
    Export { version: u32, at_ms: u64 },
    Chain { chain: DatabaseKind, after: AuditHead, key: Option<AuditPublicKey> },
    Checkpoint { checkpoint: Checkpoint },
    Head { head: String },
    End { entries: u64, sha256: AuditHash },
}

/// Which part of each chain is exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportRange {
    /// From the first entry on that was written at or after this time; from the beginning without it.
    pub since_ms: Option<u64>,
    /// Up to the last before this time; to the end without it.
    pub until_ms: Option<u64>,
}

/// Writes chains as an export. How many entries it has.
///
/// # Errors
/// A chain cannot be read, does not link, or the output refuses.
pub fn export(
    chains: &[(ChainFile, Option<AuditPublicKey>)],
    range: ExportRange,
    at_ms: u64,
    out: impl Write,
) -> Result<u64, ExportError> {
    let mut out = Hashed { out, hasher: Sha256::new() };
    let mut entries = 0;
    out.line(&Line::Export { version: 1, at_ms })?;
    for (file, key) in chains {
        entries += export_chain(file, *key, range, &mut out)?;
    }
    let sha256 = AuditHash(out.hasher.clone().finalize().into());
    out.line(&Line::End { entries, sha256 })?;
    out.out.flush()?;
    Ok(entries)
}

fn export_chain(
    file: &ChainFile,
    key: Option<AuditPublicKey>,
    range: ExportRange,
    out: &mut Hashed<impl Write>,
) -> Result<u64, ExportError> {
    let chain = file.kind();
    let broken = |seq, fault| ExportError::Broken { chain, link: BrokenLink { seq, fault } };
    let end = file.head()?;
    let to = match range.until_ms {
        Some(until) => file.last_before(until)?.min(end.seq),
        None => end.seq,
    };
    let checkpoint = file.checkpoint()?;
    let beginning = checkpoint.map_or(AuditHead { seq: 0, hash: AuditHash::ZERO }, |checkpoint| checkpoint.cut.last);
    let mut last = beginning;
    let from = range.since_ms.map(|since| file.last_before(since)).transpose()?.unwrap_or(0);
    if from > beginning.seq {
        let entry = file.entries(from - 1, 1)?.pop().filter(|entry| entry.seq == from);
        last =
            entry.map(|entry| AuditHead { seq: from, hash: entry.hash }).ok_or_else(|| broken(from, Fault::Missing))?;
    }
    out.line(&Line::Chain { chain, after: last, key })?;
    if let Some(checkpoint) = checkpoint.filter(|_| last == beginning) {
        out.line(&Line::Checkpoint { checkpoint })?;
    }
    let mut entries = 0;
    while last.seq < to {
        let piece = file.entries(last.seq, PIECE)?;
        let first = last.seq + 1;
        let until = piece.last().map_or(to, |entry| entry.seq);
        let mut heads = file.signed_heads(first, until)?.into_iter().peekable();
        if piece.is_empty() {
            return Err(broken(last.seq, Fault::CutOff { head: end.seq }));
        }
        for entry in piece.into_iter().take_while(|entry| entry.seq <= to) {
            follow(&entry, last).map_err(|fault| broken(entry.seq, fault))?;
            last = AuditHead { seq: entry.seq, hash: entry.hash };
            let detail: &RawValue = match serde_json::from_str(&entry.detail) {
                Ok(detail) if !entry.detail.contains('\n') => detail,
                _ => return Err(broken(entry.seq, Fault::Edited)),
            };
            let RawEntry { seq, at_ms, actor, event, sandbox_id, execution_id, prev_hash, hash, .. } = entry;
            let line = EntryLine {
                kind: "entry",
                chain,
                seq,
                at_ms,
                actor,
                event,
                sandbox_id,
                execution_id,
                detail,
                prev_hash,
                hash,
            };
            out.line(&line)?;
            entries += 1;
            while let Some(head) = heads.next_if(|head| head.head.seq <= seq) {
                out.line(&Line::Head { head: head.to_string() })?;
            }
        }
    }
    Ok(entries)
}

/// Whether `entry` is what follows `last`.
fn follow(entry: &RawEntry, last: AuditHead) -> Result<(), Fault> {
    if entry.seq != last.seq + 1 {
        return Err(if entry.seq > last.seq { Fault::Missing } else { Fault::NotLinked });
    }
    if entry.computed() != entry.hash {
        return Err(Fault::Edited);
    }
    if entry.prev_hash != last.hash {
        return Err(Fault::NotLinked);
    }
    Ok(())
}

struct Hashed<W> {
    out: W,
    hasher: Sha256,
}

impl<W: Write> Hashed<W> {
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.hasher.update(&bytes);
        self.out.write_all(&bytes)
    }
}

/// What was found of one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportedChain {
    /// What its first entry follows: number 0 is the beginning of the chain.
    pub after: AuditHead,
    /// Its last entry.
    pub last: AuditHead,
    /// How many entries were checked.
    pub entries: u64,
    /// When the first of them was written.
    pub first_at_ms: Option<u64>,
    /// When the last of them was written.
    pub last_at_ms: Option<u64>,
    /// What stands in place of pruned entries before the first.
    pub checkpoint: Option<Checkpoint>,
    /// How many signed heads were checked.
    pub signed_heads: u64,
    /// The keys that they were signed with.
    pub keys: Vec<AuditPublicKey>,
}

/// Verifies exports, one after the other where they continue each other.
#[derive(Debug, Default)]
pub struct ExportCheck {
    chains: BTreeMap<DatabaseKind, ExportedChain>,
    /// What must be an entry, and was not yet.
    remembered: Vec<SignedHead>,
    /// Keys that signatures must be of, when there are any.
    trusted: Vec<AuditPublicKey>,
    /// Heads at which a cut would be made: what the entries were up to there.
    cuts: BTreeMap<DatabaseKind, u64>,
    found: BTreeMap<DatabaseKind, ExportedChain>,
}

impl ExportCheck {
    /// One that demands these heads, and these keys of every signature when any are named.
    #[must_use]
    pub fn new(remembered: Vec<SignedHead>, trusted: Vec<AuditPublicKey>) -> Self {
        Self { remembered, trusted, ..Self::default() }
    }

    /// Notes what was found up to and with this entry.
    #[must_use]
    pub fn up_to(mut self, chain: DatabaseKind, seq: u64) -> Self {
        self.cuts.insert(chain, seq);
        self
    }

    /// Reads one export, whose SHA-256 is answered.
    ///
    /// # Errors
    /// It cannot be read, or does not hold.
    pub fn read(&mut self, mut input: impl BufRead) -> Result<AuditHash, ExportError> {
        let mut hasher = Sha256::new();
        let mut text = String::new();
        let (mut number, mut entries) = (0_u64, 0_u64);
        let mut chain: Option<DatabaseKind> = None;
        let mut is_over = false;
        loop {
            text.clear();
            number += 1;
            let wrong = |what: &str| ExportError::Line { line: number, what: what.to_owned() };
            let read = io::Read::take(&mut input, LINE_BYTES_MAX).read_line(&mut text)?;
            if read == 0 {
                break;
            }
            if !text.ends_with('\n') {
                return Err(wrong("it has no end, or is too long"));
            }
            if is_over {
                return Err(wrong("nothing may follow the end"));
            }
            let so_far = AuditHash(hasher.clone().finalize().into());
            hasher.update(&text);
            if text.starts_with(ENTRY) {
                let line: EntryLine<'_> = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
                if chain != Some(line.chain) {
                    return Err(wrong("it is an entry of another chain"));
                }
                self.entry(line)?;
                entries += 1;
                continue;
            }
            match serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))? {
                Line::Export { version: 1, .. } if number == 1 => {}
                _ if number == 1 => return Err(wrong("an export of version 1 begins otherwise")),
                Line::Export { .. } => return Err(wrong("an export begins once")),
                Line::Chain { chain: next, after, .. } => {
                    chain = Some(next);
                    self.begin(next, after)?;
                }
                Line::Checkpoint { checkpoint } => self.checkpoint(chain, checkpoint)?,
                Line::Head { head } => {
                    let head = SignedHead::parse(&head).ok_or_else(|| wrong("it is not a signed head"))?;
                    self.head(head)?;
                }
                Line::End { entries: said, sha256 } => {
                    if said != entries || sha256 != so_far {
                        return Err(wrong("the digest of what is before it is another: lines were changed"));
                    }
                    is_over = true;
                }
            }
        }
        if !is_over {
            return Err(ExportError::Line {
                line: number,
                what: "the export ends before its end: it was cut off".into(),
            });
        }
        Ok(AuditHash(hasher.finalize().into()))
    }

    /// What was found, once everything was read.
    ///
    /// # Errors
    /// A head that must be an entry was not.
    pub fn finish(self) -> Result<BTreeMap<DatabaseKind, ExportedChain>, ExportError> {
        match self.remembered.first() {
            None => Ok(self.chains),
            Some(head) => Err(ExportError::Signature(format!(
                "entry {} of the {}'s chain, which was signed and remembered, is not in what was read",
                head.head.seq, head.chain
            ))),
        }
    }

    /// What was found up to the entry that [`ExportCheck::up_to`] named.
    #[must_use]
    pub fn found(&self, chain: DatabaseKind) -> Option<&ExportedChain> {
        self.found.get(&chain)
    }

    fn begin(&mut self, chain: DatabaseKind, after: AuditHead) -> Result<(), ExportError> {
        match self.chains.get(&chain) {
            None if after.seq == 0 && after.hash != AuditHash::ZERO => {
                Err(ExportError::Broken { chain, link: BrokenLink { seq: 1, fault: Fault::NotLinked } })
            }
            None => {
                let found = ExportedChain {
                    after,
                    last: after,
                    entries: 0,
                    first_at_ms: None,
                    last_at_ms: None,
                    checkpoint: None,
                    signed_heads: 0,
                    keys: Vec::new(),
                };
                self.chains.insert(chain, found);
                Ok(())
            }
            Some(known) if known.last == after => Ok(()),
            Some(known) => {
                let fault = if after.seq > known.last.seq { Fault::Missing } else { Fault::NotLinked };
                Err(ExportError::Broken { chain, link: BrokenLink { seq: known.last.seq + 1, fault } })
            }
        }
    }

    fn entry(&mut self, line: EntryLine<'_>) -> Result<(), ExportError> {
        let chain = line.chain;
        let entry = RawEntry {
            seq: line.seq,
            at_ms: line.at_ms,
            actor: line.actor,
            event: line.event,
            sandbox_id: line.sandbox_id,
            execution_id: line.execution_id,
            detail: line.detail.get().to_owned(),
            prev_hash: line.prev_hash,
            hash: line.hash,
        };
        let found = self.chains.get_mut(&chain).expect("a chain that was begun");
        let broken = |seq, fault| ExportError::Broken { chain, link: BrokenLink { seq, fault } };
        follow(&entry, found.last).map_err(|fault| broken(entry.seq, fault))?;
        found.last = AuditHead { seq: entry.seq, hash: entry.hash };
        found.entries += 1;
        found.first_at_ms.get_or_insert(entry.at_ms);
        found.last_at_ms = Some(entry.at_ms);
        if self.cuts.get(&chain) == Some(&entry.seq) {
            self.found.insert(chain, found.clone());
        }
        let about = |head: &SignedHead| head.chain == chain && head.head.seq == entry.seq;
        if self.remembered.iter().any(|head| about(head) && head.head.hash != entry.hash) {
            return Err(broken(entry.seq, Fault::NotAsRemembered));
        }
        self.remembered.retain(|head| !about(head));
        Ok(())
    }

    fn head(&mut self, head: SignedHead) -> Result<(), ExportError> {
        self.trust(head.key, head.is_genuine(), head.chain)?;
        let found = self.chains.get_mut(&head.chain).filter(|found| found.last == head.head);
        let Some(found) = found else {
            let link = BrokenLink { seq: head.head.seq, fault: Fault::NotAsRemembered };
            return Err(ExportError::Broken { chain: head.chain, link });
        };
        found.signed_heads += 1;
        if !found.keys.contains(&head.key) {
            found.keys.push(head.key);
        }
        Ok(())
    }

    fn checkpoint(&mut self, chain: Option<DatabaseKind>, checkpoint: Checkpoint) -> Result<(), ExportError> {
        self.trust(checkpoint.key, checkpoint.is_genuine(), checkpoint.cut.chain)?;
        let cut = checkpoint.cut;
        let found = self.chains.get_mut(&cut.chain).filter(|found| Some(cut.chain) == chain && found.last == cut.last);
        match found {
            // Where what was pruned was read before, it is of no more use.
            Some(found) if found.entries == 0 => found.checkpoint = Some(checkpoint),
            Some(_) => {}
            None => {
                let link = BrokenLink { seq: cut.last.seq, fault: Fault::NotLinked };
                return Err(ExportError::Broken { chain: cut.chain, link });
            }
        }
        Ok(())
    }

    fn trust(&self, key: AuditPublicKey, is_genuine: bool, chain: DatabaseKind) -> Result<(), ExportError> {
        if !is_genuine {
            return Err(ExportError::Signature(format!("a signature over the {chain}'s chain is not one of its key")));
        }
        if !self.trusted.is_empty() && !self.trusted.contains(&key) {
            return Err(ExportError::Signature(format!(
                "the {chain}'s chain is signed with the key {key}, which is none that was named"
            )));
        }
        Ok(())
    }
}
