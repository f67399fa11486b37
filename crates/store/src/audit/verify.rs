//! Verification: the chain is walked row by row, and the first link that does not hold is named.

use std::fmt;

use rusqlite::{Connection, Row, params, types::ValueRef};

use super::encoding::Fields;
use super::{AuditHash, AuditHead, chain, evidence};
use crate::error::{Result, StoreError, doing};
use crate::kind::DatabaseKind;

/// The answer to "is the chain whole?".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// Every link holds.
    Sound(Verified),
    /// One does not.
    Broken(BrokenLink),
}

/// A stretch of the chain in which every link holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// How many entries were checked.
    pub entries: u64,
    /// The last of them. Whoever keeps it elsewhere can prove later that nothing up to here was rewritten.
    pub head: AuditHead,
}

/// The first place where the chain does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenLink {
    /// The number of the entry concerned.
    pub seq: u64,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not there, though later ones are.
    Missing,
    /// Its hash is not the hash of what it says: it was edited.
    Edited,
    /// It does not follow the entry before it: entries were reordered, replaced or added.
    NotLinked,
    /// It is the last entry, but the head says that the chain ended later: the end was cut off.
    CutOff {
        /// The number of the entry that was last.
        head: u64,
    },
    /// It stands after the end of the chain: it was added by somebody else.
    Added,
    /// It is not the entry that was remembered as the head: the chain was written anew.
    NotAsRemembered,
    /// The signature over it is not one of the key that it names: it was forged.
    NotSigned,
}

impl fmt::Display for BrokenLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seq = self.seq;
        match self.fault {
            Fault::Missing => write!(f, "entry {seq} is missing"),
            Fault::Edited => write!(f, "entry {seq} was edited: its hash is not that of its content"),
            Fault::NotLinked => {
                write!(f, "entry {seq} does not follow the one before it: entries were reordered, replaced or added")
            }
            Fault::CutOff { head } => {
                write!(f, "the chain ends with entry {seq}, but it had {head} entries: the end was cut off")
            }
            Fault::Added => write!(f, "entry {seq} stands after the end of the chain: it was not written by the store"),
            Fault::NotAsRemembered => {
                write!(f, "entry {seq} is not the one that was remembered: the chain was written anew")
            }
            Fault::NotSigned => write!(f, "the signature over entry {seq} is not one of its key: it was forged"),
        }
    }
}

/// Checks the entries `from..=to` (to the end when `to` is none) against each other, against the head, and against
/// `remembered`, a head that was noted elsewhere *before* this snapshot began.
pub(crate) fn verify(
    conn: &Connection,
    kind: DatabaseKind,
    from: u64,
    to: Option<u64>,
    remembered: Option<AuditHead>,
) -> Result<Verification> {
    const WHAT: &str = "walk the audit chain";
    let head = chain::load_head(conn).map_err(doing(WHAT))?;
    let checkpoint = evidence::newest_checkpoint(conn, kind).map_err(doing(WHAT))?;
    if let Some(checkpoint) = checkpoint.filter(|checkpoint| !checkpoint.is_genuine()) {
        let link = BrokenLink { seq: checkpoint.cut.last.seq, fault: Fault::NotSigned };
        return Ok(Verification::Broken(link));
    }
    let beginning = checkpoint.map_or(AuditHead { seq: 0, hash: AuditHash::ZERO }, |checkpoint| checkpoint.cut.last);
    let from = from.max(beginning.seq + 1);
    let known_end = remembered.map_or(head.seq, |known| known.seq.max(head.seq));
    if to.is_some_and(|to| to < from) || (from > beginning.seq + 1 && from > known_end) {
        return Err(StoreError::Refused(format!(
            "the audit chain has entries {} to {known_end}: choose a range of them",
            beginning.seq + 1
        )));
    }
    if conn
        .prepare("SELECT 1 FROM audit WHERE seq <= ?1")
        .and_then(|mut query| query.exists(params![beginning.seq]))
        .map_err(doing(WHAT))?
    {
        return Ok(Verification::Broken(BrokenLink { seq: beginning.seq, fault: Fault::Added }));
    }
    let mut statement = conn
        .prepare(
            "SELECT seq, at_ms, actor, event, sandbox_id, execution_id, detail, prev_hash, hash FROM audit \
             WHERE seq >= ?1 AND seq <= ?2 ORDER BY seq",
        )
        .map_err(doing(WHAT))?;
    let to_seq = to.unwrap_or(i64::MAX.cast_unsigned());
    // One row earlier than asked for: it says what the first entry must link to.
    let mut rows = statement.query(params![from - 1, to_seq]).map_err(doing(WHAT))?;
    let mut last = beginning;
    let mut entries = 0;
    let is_inside = from > beginning.seq + 1;
    if is_inside {
        last.seq = from - 2;
    }
    while let Some(row) = rows.next().map_err(doing(WHAT))? {
        let seq: u64 = row.get(0).map_err(doing(WHAT))?;
        let anchor = is_inside && seq == from - 1;
        let broken = |seq, fault| Ok(Verification::Broken(BrokenLink { seq, fault }));
        if seq != last.seq + 1 {
            return broken(last.seq + 1, Fault::Missing);
        }
        let Some(link) = read(row).map_err(doing(WHAT))? else {
            return broken(seq, Fault::Edited);
        };
        if seq > head.seq {
            return broken(seq, Fault::Added);
        }
        if link.computed != link.hash {
            return broken(seq, Fault::Edited);
        }
        if !anchor && link.prev_hash != last.hash {
            return broken(seq, Fault::NotLinked);
        }
        last = AuditHead { seq, hash: link.hash };
        if remembered.iter().chain([&head]).any(|known| known.seq == seq && known.hash != link.hash) {
            return broken(seq, Fault::NotAsRemembered);
        }
        entries += u64::from(!anchor);
    }
    // Nothing was found where the chain goes on: the end was cut off, or everything.
    if last.seq < known_end.min(to_seq) {
        let cut = BrokenLink { seq: last.seq, fault: Fault::CutOff { head: known_end } };
        return Ok(Verification::Broken(cut));
    }
    if let Some(signed) = evidence::newest_signed_head(conn, kind).map_err(doing(WHAT))? {
        let broken = |fault| Ok(Verification::Broken(BrokenLink { seq: signed.head.seq, fault }));
        if !signed.is_genuine() {
            return broken(Fault::NotSigned);
        }
        let is_walked = (from..=last.seq).contains(&signed.head.seq);
        if is_walked && !chain::holds(conn, signed.head).map_err(doing(WHAT))? {
            return broken(Fault::NotAsRemembered);
        }
    }
    Ok(Verification::Sound(Verified { entries, head: last }))
}

struct Link {
    prev_hash: AuditHash,
    hash: AuditHash,
    computed: AuditHash,
}

/// A row as it is hashed. None when a column has not even the type that the store writes.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<Link>> {
    let text = |column| match row.get_ref(column)? {
        ValueRef::Text(text) => Ok(std::str::from_utf8(text).ok()),
        _ => Ok::<_, rusqlite::Error>(None),
    };
    let id = |column| match row.get_ref(column)? {
        ValueRef::Null => Ok(Some(None)),
        _ => Ok::<_, rusqlite::Error>(text(column)?.map(Some)),
    };
    let hash = |column| match row.get_ref(column)? {
        ValueRef::Blob(bytes) => Ok(bytes.try_into().ok().map(AuditHash)),
        _ => Ok::<_, rusqlite::Error>(None),
    };
    let number = |column| match row.get_ref(column)? {
        ValueRef::Integer(number) => Ok(u64::try_from(number).ok()),
        _ => Ok::<_, rusqlite::Error>(None),
    };
    let (Some(seq), Some(at_ms)) = (number(0)?, number(1)?) else { return Ok(None) };
    let (Some(actor), Some(event), Some(detail)) = (text(2)?, text(3)?, text(6)?) else { return Ok(None) };
    let (Some(sandbox_id), Some(execution_id)) = (id(4)?, id(5)?) else { return Ok(None) };
    let (Some(prev_hash), Some(hash)) = (hash(7)?, hash(8)?) else { return Ok(None) };
    let fields = Fields { seq, at_ms, actor, event, sandbox_id, execution_id, detail, prev_hash };
    Ok(Some(Link { prev_hash, hash, computed: fields.hash() }))
}
