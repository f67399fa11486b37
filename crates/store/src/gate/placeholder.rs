//! Placeholders: what a sandbox sees in the place of a secret, and by what the gate recognises it.

use ringfence_model::SandboxId;
use rusqlite::{OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::secret::{SecretId, not_found};
use super::{GateStore, GateTx, GateView, bind};
use crate::error::{Result, StoreError, doing};
use crate::seal::SecretValue;

/// Bytes of a placeholder. A shorter one would be met by chance.
const TEXT_BYTES_MIN: usize = 16;
const TEXT_BYTES_MAX: usize = 512;
/// Placeholders that one sandbox may have.
const PLACEHOLDERS_MAX: u64 = 1024;

/// Whose placeholder it is, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceholderRow {
    /// The sandbox that it was made for.
    pub sandbox: SandboxId,
    /// The secret that it stands for, whatever version that has.
    pub secret: SecretId,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

impl GateView<'_> {
    /// Whose placeholder this exact text is.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`] when the row was tampered with; or the database refuses, or holds something unreadable.
    pub fn placeholder(&self, text: &[u8]) -> Result<Option<PlaceholderRow>> {
        const WHAT: &str = "look for a placeholder";
        let hash = Sha256::digest(text);
        let mut statement = self
            .conn
            .prepare_cached(
                "SELECT sandbox_id, secret, secret_origin, created_at_ms, sealed FROM placeholder WHERE text_sha256 = ?1",
            )
            .map_err(doing(WHAT))?;
        let found = statement.query_row(params![hash.as_slice()], read).optional().map_err(doing(WHAT))?;
        let Some(sealed) = found.transpose()? else { return Ok(None) };
        // Opened although the text is known: the seal is what binds it to its sandbox and secret.
        let (row, sealed_text) = self.open_placeholder(sealed)?;
        if sealed_text.expose() == text { Ok(Some(row)) } else { Err(unsealable(&row)) }
    }

    /// The placeholders of a sandbox, or of all, with their texts.
    ///
    /// # Errors
    /// As [`GateView::placeholder`].
    pub fn placeholders(&self, sandbox: Option<&SandboxId>) -> Result<Vec<(PlaceholderRow, SecretValue)>> {
        const WHAT: &str = "list placeholders";
        let about = if sandbox.is_some() { "sandbox_id = ?1" } else { "?1 IS NULL" };
        let sql = format!(
            "SELECT sandbox_id, secret, secret_origin, created_at_ms, sealed FROM placeholder WHERE {about} \
             ORDER BY sandbox_id, secret, secret_origin"
        );
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let rows = statement.query_map(params![sandbox.map(SandboxId::as_str)], read).map_err(doing(WHAT))?;
        rows.map(|row| self.open_placeholder(row.map_err(doing(WHAT))??)).collect()
    }

    fn open_placeholder(&self, (row, sealed): (PlaceholderRow, Vec<u8>)) -> Result<(PlaceholderRow, SecretValue)> {
        let text = self.sealer.open(&associated(&row), &sealed).ok_or_else(|| unsealable(&row))?;
        Ok((row, text))
    }
}

impl GateTx<'_> {
    /// Notes which text stands for a secret in a sandbox. The text is kept sealed, and found by its hash.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such secret; [`StoreError::Exists`] when the text is taken, or the
    /// sandbox has a placeholder of that secret; [`StoreError::Refused`] for a text of another length than 16 to 512
    /// bytes, for a secret of another sandbox, or for too many; or the database refuses.
    pub fn add_placeholder(&self, row: &PlaceholderRow, text: &SecretValue) -> Result<()> {
        const WHAT: &str = "add a placeholder";
        let len = text.expose().len();
        if !(TEXT_BYTES_MIN..=TEXT_BYTES_MAX).contains(&len) {
            return Err(StoreError::Refused(format!(
                "a placeholder of {len} bytes: it has {TEXT_BYTES_MIN} to {TEXT_BYTES_MAX}"
            )));
        }
        if row.secret.origin.sandbox().is_some_and(|owner| *owner != row.sandbox) {
            return Err(StoreError::Refused(format!("sandbox {} may not use secret {}", row.sandbox, row.secret)));
        }
        if self.secret(&row.secret)?.is_none() {
            return Err(not_found(&row.secret));
        }
        let count: u64 = self
            .conn
            .prepare_cached("SELECT count(*) FROM placeholder WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.query_row(params![row.sandbox.as_str()], |row| row.get(0)))
            .map_err(doing(WHAT))?;
        if count >= PLACEHOLDERS_MAX {
            return Err(StoreError::Refused(format!("sandbox {} has {count} placeholders: no more", row.sandbox)));
        }
        let added = self
            .conn
            .prepare_cached(
                "INSERT INTO placeholder (text_sha256, sandbox_id, secret, secret_origin, sealed, created_at_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    Sha256::digest(text.expose()).as_slice(),
                    row.sandbox.as_str(),
                    row.secret.kept(),
                    row.secret.origin.as_str(),
                    self.sealer.seal(&associated(row), text.expose()),
                    row.created_at_ms,
                ])
            })
            .map_err(doing(WHAT))?;
        if added == 0 {
            let id = format!("of {} in sandbox {}", row.secret.name, row.sandbox);
            return Err(StoreError::Exists { kind: "placeholder", id });
        }
        Ok(())
    }

    /// Takes the placeholder of a secret from a sandbox; the text means nothing any more. Returns whether it had one.
    ///
    /// # Errors
    /// The database refuses.
    pub fn remove_placeholder(&self, sandbox: &SandboxId, secret: &SecretId) -> Result<bool> {
        let removed = self
            .conn
            .prepare_cached("DELETE FROM placeholder WHERE sandbox_id = ?1 AND secret = ?2 AND secret_origin = ?3")
            .and_then(|mut statement| {
                statement.execute(params![sandbox.as_str(), secret.kept(), secret.origin.as_str()])
            })
            .map_err(doing("remove a placeholder"))?;
        Ok(removed > 0)
    }

    pub(super) fn remove_placeholders(&self, sandbox: &SandboxId) -> Result<()> {
        self.conn
            .prepare_cached("DELETE FROM placeholder WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.execute(params![sandbox.as_str()]))
            .map(drop)
            .map_err(doing("remove placeholders"))
    }
}

impl GateStore {
    /// [`GateView::placeholders`] of all sandboxes.
    ///
    /// # Errors
    /// As there.
    pub async fn placeholders(&self) -> Result<Vec<(PlaceholderRow, SecretValue)>> {
        self.read(|view| view.placeholders(None)).await
    }
}

fn unsealable(row: &PlaceholderRow) -> StoreError {
    StoreError::Unsealable {
        owner: format!("sandbox {}", row.sandbox),
        name: format!("placeholder of {}", row.secret.name),
    }
}

fn associated(row: &PlaceholderRow) -> Vec<u8> {
    let secret = &row.secret;
    bind(
        "ringfence placeholder 1\0",
        &[row.sandbox.as_str().as_bytes(), secret.kept().as_bytes(), secret.origin.as_str().as_bytes()],
    )
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<(PlaceholderRow, Vec<u8>)>> {
    let (sandbox, name, origin): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (created_at_ms, sealed) = (row.get(3)?, row.get(4)?);
    let unreadable = |column| StoreError::Unreadable {
        column,
        row: format!("placeholder of `{}` in sandbox `{}`", name.escape_debug(), sandbox.escape_debug()),
    };
    Ok((|| {
        let sandbox = SandboxId::parse(&sandbox).map_err(|_| unreadable("sandbox_id"))?;
        let owner = match origin.as_str() {
            "operator" => None,
            "client" => Some(sandbox.clone()),
            _ => return Err(unreadable("secret_origin")),
        };
        let secret = SecretId::of_kept(&name, owner).ok_or_else(|| unreadable("secret"))?;
        Ok((PlaceholderRow { sandbox, secret, created_at_ms }, sealed))
    })())
}
