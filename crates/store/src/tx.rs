//! The two handles that SQL is reached through: a consistent view, and a change.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Deref;

use rusqlite::Connection;

use crate::audit::{self, AuditEntry, AuditReceipt, ChainEnd};
use crate::error::{Result, StoreError};
use crate::kind::{EngineKind, Kind};
use crate::seal::Sealer;

/// A consistent state of a database of kind `K`. All reads through one view see the same state.
pub struct View<'c, K = EngineKind> {
    pub(crate) conn: &'c Connection,
    pub(crate) sealer: &'c Sealer,
    pub(crate) kind: PhantomData<K>,
}

/// A change of a database of kind `K`, all of it or nothing.
///
/// It shares a transaction with other changes, each in a savepoint of its own, so that an error returned from the
/// closure undoes this change alone. Nothing may leave the closure but by its return value: until
/// [`write`](crate::Database::write) has returned, nothing is on disk.
pub struct Tx<'c, K = EngineKind> {
    pub(crate) view: View<'c, K>,
    pub(crate) chain: &'c RefCell<ChainEnd>,
    /// Set when a secret was replaced: its old form must leave the write-ahead log too.
    pub(crate) erase: &'c Cell<bool>,
    /// Whether whoever asked waits until it is on disk.
    pub(crate) lasting: bool,
}

impl<'c, K> Deref for Tx<'c, K> {
    type Target = View<'c, K>;
    fn deref(&self) -> &View<'c, K> {
        &self.view
    }
}

impl<K: Kind> Tx<'_, K> {
    /// Appends an entry to the audit chain in this transaction.
    ///
    /// # Errors
    /// The entry is out of bounds ([`AuditEntry`]), the change need not last, or the database refuses.
    pub fn audit(&self, entry: &AuditEntry) -> Result<AuditReceipt> {
        if !self.lasting {
            return Err(StoreError::NotLasting);
        }
        audit::append(self.conn, &mut self.chain.borrow_mut(), entry)
    }
}
