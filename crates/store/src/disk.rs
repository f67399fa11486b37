//! Writable disks by number. A number is never given twice, so that a path on disk never changes its meaning.

use std::collections::HashMap;

use ringfence_model::SandboxId;
use rusqlite::{OptionalExtension, Row, params};

use crate::error::{Result, StoreError, doing};
use crate::store::Store;
use crate::tx::{Tx, View};

/// A writable disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskRow {
    /// Its number, never used again.
    pub number: u64,
    /// The sandbox that it belongs to; none while it waits to be given out.
    pub sandbox: Option<SandboxId>,
    /// Its limit in MiB.
    pub size_mib: u32,
    /// Bytes that it shares with the disk that it was copied from. They count for its limit.
    pub inherited_bytes: u64,
}

impl View<'_> {
    /// The disk of this number.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn disk(&self, number: u64) -> Result<Option<DiskRow>> {
        self.conn
            .prepare_cached("SELECT number, sandbox_id, size_mib, inherited_bytes FROM disk WHERE number = ?1")
            .and_then(|mut statement| statement.query_row(params![number], read).optional())
            .map_err(doing("read a disk"))?
            .map(check)
            .transpose()
    }

    /// All disks in the order of their numbers.
    ///
    /// # Errors
    /// As [`View::disk`].
    pub fn disks(&self) -> Result<Vec<DiskRow>> {
        self.conn
            .prepare_cached("SELECT number, sandbox_id, size_mib, inherited_bytes FROM disk ORDER BY number")
            .and_then(|mut statement| statement.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>())
            .map_err(doing("list the disks"))?
            .into_iter()
            .map(check)
            .collect()
    }

    /// What disks share with those that they were copied from, in bytes by number. Those that share nothing are left out.
    ///
    /// # Errors
    /// As [`View::disk`].
    pub fn inherited_bytes(&self) -> Result<HashMap<u64, u64>> {
        self.conn
            .prepare_cached("SELECT number, inherited_bytes FROM disk WHERE inherited_bytes > 0")
            .and_then(|mut statement| {
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()
            })
            .map_err(doing("list what disks share"))
    }
}

impl Tx<'_> {
    /// Takes a new disk number.
    ///
    /// # Errors
    /// The database refuses.
    pub fn insert_disk(&self, sandbox: Option<&SandboxId>, size_mib: u32) -> Result<u64> {
        self.conn
            .prepare_cached("INSERT INTO disk (sandbox_id, size_mib) VALUES (?1, ?2) RETURNING number")
            .and_then(|mut statement| {
                statement.query_row(params![sandbox.map(SandboxId::as_str), size_mib], |row| row.get(0))
            })
            .map_err(doing("add a disk"))
    }

    /// Gives a disk to a sandbox, or takes it back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the database refuses.
    pub fn assign_disk(&self, number: u64, sandbox: Option<&SandboxId>) -> Result<()> {
        let changed = self
            .conn
            .prepare_cached("UPDATE disk SET sandbox_id = ?2 WHERE number = ?1")
            .and_then(|mut statement| statement.execute(params![number, sandbox.map(SandboxId::as_str)]))
            .map_err(doing("assign a disk"))?;
        if changed == 0 { Err(StoreError::NotFound { kind: "disk", id: number.to_string() }) } else { Ok(()) }
    }

    /// Says how many bytes a disk shares with the one that it was copied from.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or the database refuses.
    pub fn set_inherited_bytes(&self, number: u64, bytes: u64) -> Result<()> {
        let changed = self
            .conn
            .prepare_cached("UPDATE disk SET inherited_bytes = ?2 WHERE number = ?1")
            .and_then(|mut statement| statement.execute(params![number, bytes]))
            .map_err(doing("say what a disk shares"))?;
        if changed == 0 { Err(StoreError::NotFound { kind: "disk", id: number.to_string() }) } else { Ok(()) }
    }

    /// Forgets a disk. Returns whether there was one.
    ///
    /// # Errors
    /// The database refuses.
    pub fn delete_disk(&self, number: u64) -> Result<bool> {
        self.conn
            .prepare_cached("DELETE FROM disk WHERE number = ?1")
            .and_then(|mut statement| statement.execute(params![number]))
            .map(|changed| changed > 0)
            .map_err(doing("delete a disk"))
    }
}

impl Store {
    /// [`View::disks`].
    ///
    /// # Errors
    /// As there.
    pub async fn disks(&self) -> Result<Vec<DiskRow>> {
        self.read(|view| view.disks()).await
    }
}

/// Number, sandbox, size in MiB, inherited bytes.
type RawDisk = (u64, Option<String>, u32, u64);

fn read(row: &Row<'_>) -> rusqlite::Result<RawDisk> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn check((number, sandbox, size_mib, inherited_bytes): RawDisk) -> Result<DiskRow> {
    let sandbox = sandbox
        .map(|text| SandboxId::parse(&text))
        .transpose()
        .map_err(|_| StoreError::Unreadable { column: "sandbox_id", row: format!("disk {number}") })?;
    Ok(DiskRow { number, sandbox, size_mib, inherited_bytes })
}
