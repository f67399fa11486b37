//! The two handles that SQL is reached through: a consistent view, and a change.

use std::cell::{Cell, RefCell};
use std::ops::Deref;

use rusqlite::Connection;

use crate::audit::{self, AuditEntry, AuditReceipt, ChainEnd};
use crate::error::{Result, StoreError};
use crate::seal::Sealer;

/// A consistent state of the database. All reads through one view see the same state.
pub struct View<'c> {
    pub(crate) conn: &'c Connection,
    pub(crate) sealer: &'c Sealer,
}

/// A change of the database, all of it or nothing.
///
/// It shares a transaction with other changes, each in a savepoint of its own, so that an error returned from the
/// closure undoes this change alone. Nothing may leave the closure but by its return value: until
/// [`Store::write`](crate::Store::write) has returned, nothing is on disk.
pub struct Tx<'c> {
    pub(crate) view: View<'c>,
    pub(crate) chain: &'c RefCell<ChainEnd>,
    /// Set when a secret was replaced: its old form must leave the write-ahead log too.
    pub(crate) erase: &'c Cell<bool>,
    /// Whether whoever asked waits until it is on disk.
    pub(crate) lasting: bool,
}

impl<'c> Deref for Tx<'c> {
    type Target = View<'c>;
    fn deref(&self) -> &View<'c> {
        &self.view
    }
}

impl Tx<'_> {
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
