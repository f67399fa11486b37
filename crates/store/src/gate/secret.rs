//! Secrets: sealed values with a name, where they may be used, and nothing else that can be seen.

use std::fmt;

use ringfence_model::{Project, SandboxId};
use rusqlite::{OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::{GateStore, GateTx, GateView, VALUE_BYTES_MAX, bind, check_json};
use crate::error::{Result, StoreError, doing};
use crate::seal::SecretValue;

/// Bytes that a name may have.
const NAME_BYTES_MAX: usize = 64;
/// Bytes that a binding may have.
const BINDING_BYTES_MAX: usize = 16 << 10;
/// Secrets of a project's operator, and apart from them of one sandbox.
const SECRETS_MAX: u64 = 1024;

/// The name of a secret: 1 to 64 of `A-Z`, `a-z`, `0-9`, `_`, `.` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`StoreError::Refused`].
    pub fn parse(text: &str) -> Result<Self> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(is_allowed) {
            let shown: String = text.chars().take(80).collect();
            return Err(StoreError::Refused(format!(
                "`{}` is not the name of a secret: 1 to {NAME_BYTES_MAX} letters, digits, `_`, `.` and `-`",
                shown.escape_debug()
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SecretName {
    type Error = StoreError;
    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

/// Who brought a secret, and with that who may use it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretOrigin {
    /// The operator of a project; every sandbox of that one may be given a placeholder of it.
    Operator(Project),
    /// A client, for this sandbox alone.
    Client(SandboxId),
}

impl SecretOrigin {
    /// The word as it is kept.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Operator(_) => "operator",
            Self::Client(_) => "client",
        }
    }

    /// The only sandbox that may use it, if there is such a bound.
    #[must_use]
    pub fn sandbox(&self) -> Option<&SandboxId> {
        match self {
            Self::Operator(_) => None,
            Self::Client(sandbox) => Some(sandbox),
        }
    }

    /// What its names begin with where they are kept, which no name has in it: the project and `/`, and nothing for the first one, as
    /// before there were others.
    fn prefix(&self) -> String {
        match self {
            Self::Operator(project) if *project != Project::default() => format!("{project}/"),
            _ => String::new(),
        }
    }
}

/// Which secret. The same name may stand for one of each project's operator and for one of each sandbox's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretId {
    /// Its name.
    pub name: SecretName,
    /// Who brought it.
    pub origin: SecretOrigin,
}

impl SecretId {
    /// The secret of this name that a project's operator has stored.
    #[must_use]
    pub fn of_operator(name: SecretName, project: &Project) -> Self {
        Self { name, origin: SecretOrigin::Operator(project.clone()) }
    }

    /// The secret of this name that a client gave for the sandbox.
    #[must_use]
    pub fn of_client(name: SecretName, sandbox: &SandboxId) -> Self {
        Self { name, origin: SecretOrigin::Client(sandbox.clone()) }
    }

    /// Its name where it is kept.
    pub(super) fn kept(&self) -> String {
        format!("{}{}", self.origin.prefix(), self.name)
    }

    /// The secret that is kept under this name; for `None` an operator's.
    pub(super) fn of_kept(kept: &str, sandbox: Option<SandboxId>) -> Option<Self> {
        let (origin, name) = match (sandbox, kept.split_once('/')) {
            (Some(sandbox), _) => (SecretOrigin::Client(sandbox), kept),
            (None, None) => (SecretOrigin::Operator(Project::default()), kept),
            (None, Some((project, name))) => (SecretOrigin::Operator(Project::parse(project).ok()?), name),
        };
        let id = Self { name: SecretName::parse(name).ok()?, origin };
        // One form each: the first project's names are kept without it.
        (id.kept() == kept).then_some(id)
    }

    fn sandbox_str(&self) -> Option<&str> {
        self.origin.sandbox().map(SandboxId::as_str)
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            SecretOrigin::Operator(_) => f.write_str(&self.kept()),
            SecretOrigin::Client(sandbox) => write!(f, "{} of sandbox {sandbox}", self.name),
        }
    }
}

/// What may be seen of a secret. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Which one.
    pub id: SecretId,
    /// 1, and one more with each rotation.
    pub version: u64,
    /// A short keyed fingerprint: the same value of the same name gives the same, and it tells nothing about the value.
    pub fingerprint: String,
    /// Where it may be used, as JSON that the gate understands.
    pub binding: String,
    /// When it was added.
    pub created_at_ms: u64,
    /// When its value was replaced last.
    pub rotated_at_ms: Option<u64>,
    /// When it was revoked. Then its value is gone.
    pub revoked_at_ms: Option<u64>,
}

/// Of the sandbox ?1, or without one of the project whose names begin with ?2.
const OF_AN_ORIGIN: &str = "sandbox_id IS ?1 AND \
    CASE ?2 WHEN '' THEN instr(name, '/') = 0 ELSE substr(name, 1, length(?2)) = ?2 END";

const COLUMNS: &str = "name, sandbox_id, version, fingerprint, binding, created_at_ms, rotated_at_ms, revoked_at_ms";

impl GateView<'_> {
    /// What may be seen of a secret.
    ///
    /// # Errors
    /// The database refuses, or holds something unreadable.
    pub fn secret(&self, id: &SecretId) -> Result<Option<SecretRow>> {
        Ok(self.sealed_secret(id)?.map(|(row, _)| row))
    }

    /// The secrets of a project's operator, or those that clients gave for one sandbox, in the order of names.
    ///
    /// # Errors
    /// As [`GateView::secret`].
    pub fn secrets(&self, origin: &SecretOrigin) -> Result<Vec<SecretRow>> {
        const WHAT: &str = "list secrets";
        let sql = format!("SELECT {COLUMNS} FROM secret WHERE {OF_AN_ORIGIN} ORDER BY name");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let of = params![origin.sandbox().map(SandboxId::as_str), origin.prefix()];
        let rows = statement.query_map(of, read).map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }

    /// The secrets of all projects' operators.
    ///
    /// # Errors
    /// As [`GateView::secret`].
    pub fn operators_secrets(&self) -> Result<Vec<SecretRow>> {
        const WHAT: &str = "list secrets";
        let sql = format!("SELECT {COLUMNS} FROM secret WHERE sandbox_id IS NULL ORDER BY name");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let rows = statement.query_map([], read).map_err(doing(WHAT))?;
        rows.map(|row| row.map_err(doing(WHAT))?).collect()
    }

    /// A secret and its value; none when there is no such secret or it was revoked.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`] when the row was tampered with, its binding included; or as [`GateView::secret`].
    pub fn open_secret(&self, id: &SecretId) -> Result<Option<(SecretRow, SecretValue)>> {
        let Some((row, Some(sealed))) = self.sealed_secret(id)? else { return Ok(None) };
        let value = self.sealer.open(&associated(&row), &sealed).ok_or_else(|| StoreError::Unsealable {
            owner: id.origin.sandbox().map_or_else(|| "the operator".into(), |sandbox| format!("sandbox {sandbox}")),
            name: id.kept(),
        })?;
        Ok(Some((row, value)))
    }

    fn sealed_secret(&self, id: &SecretId) -> Result<Option<(SecretRow, Option<Vec<u8>>)>> {
        const WHAT: &str = "read a secret";
        let sql = format!("SELECT {COLUMNS}, sealed FROM secret WHERE name = ?1 AND sandbox_id IS ?2");
        let mut statement = self.conn.prepare_cached(&sql).map_err(doing(WHAT))?;
        let found = statement
            .query_row(params![id.kept(), id.sandbox_str()], |row| Ok((read(row)?, row.get(8)?)))
            .optional()
            .map_err(doing(WHAT))?;
        found.map(|(row, sealed)| Ok((row?, sealed))).transpose()
    }
}

impl GateTx<'_> {
    /// Adds a secret. One that was revoked may be added anew, and its versions go on.
    ///
    /// # Errors
    /// [`StoreError::Exists`]; [`StoreError::Refused`] for a value that is empty or too long, a binding that is not JSON
    /// or too long, or too many secrets; or the database refuses.
    pub fn add_secret(&self, at_ms: u64, id: &SecretId, value: &SecretValue, binding: &str) -> Result<SecretRow> {
        check_value(&id.name, value)?;
        check_json("binding", binding, BINDING_BYTES_MAX)?;
        let version = match self.secret(id)? {
            None => 1,
            Some(before) if before.revoked_at_ms.is_some() => before.version + 1,
            Some(_) => return Err(StoreError::Exists { kind: "secret", id: id.to_string() }),
        };
        let count: u64 = self
            .conn
            .prepare_cached(&format!("SELECT count(*) FROM secret WHERE {OF_AN_ORIGIN} AND name <> ?3"))
            .and_then(|mut statement| {
                statement.query_row(params![id.sandbox_str(), id.origin.prefix(), id.kept()], |row| row.get(0))
            })
            .map_err(doing("count secrets"))?;
        if count >= SECRETS_MAX {
            return Err(StoreError::Refused(format!("there are {count} secrets: at most {SECRETS_MAX} are kept")));
        }
        let row = SecretRow {
            id: id.clone(),
            version,
            fingerprint: self.sealer.fingerprint(&id.kept(), value),
            binding: binding.to_owned(),
            created_at_ms: at_ms,
            rotated_at_ms: None,
            revoked_at_ms: None,
        };
        self.put_secret(&row, Some(value))?;
        Ok(row)
    }

    /// Replaces the value of a secret. The old one is overwritten on disk.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such secret or it was revoked; [`StoreError::Refused`] for the value; or
    /// the database refuses.
    pub fn rotate_secret(&self, at_ms: u64, id: &SecretId, value: &SecretValue) -> Result<SecretRow> {
        check_value(&id.name, value)?;
        let mut row = self.usable_secret(id)?;
        row.version += 1;
        row.fingerprint = self.sealer.fingerprint(&id.kept(), value);
        row.rotated_at_ms = Some(at_ms);
        self.put_secret(&row, Some(value))?;
        Ok(row)
    }

    /// Changes where a secret may be used.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such secret or it was revoked; [`StoreError::Refused`] for the binding;
    /// or as [`GateView::open_secret`], because the value is sealed anew with its new binding.
    pub fn bind_secret(&self, id: &SecretId, binding: &str) -> Result<SecretRow> {
        check_json("binding", binding, BINDING_BYTES_MAX)?;
        let (mut row, value) = self.open_secret(id)?.ok_or_else(|| not_found(id))?;
        binding.clone_into(&mut row.binding);
        self.put_secret(&row, Some(&value))?;
        Ok(row)
    }

    /// Takes a secret out of use. Its value is overwritten on disk; that there was one is still seen.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such secret or it was revoked before; or the database refuses.
    pub fn revoke_secret(&self, at_ms: u64, id: &SecretId) -> Result<SecretRow> {
        let mut row = self.usable_secret(id)?;
        row.revoked_at_ms = Some(at_ms);
        self.put_secret(&row, None)?;
        Ok(row)
    }

    /// Removes a secret as if it had never been; its value is overwritten on disk. Returns whether there was one. Unlike
    /// after [`GateTx::revoke_secret`], one of this name that is added later begins with version 1.
    ///
    /// # Errors
    /// The database refuses.
    pub fn remove_secret(&self, id: &SecretId) -> Result<bool> {
        let removed = self
            .conn
            .prepare_cached("DELETE FROM secret WHERE name = ?1 AND sandbox_id IS ?2")
            .and_then(|mut statement| statement.execute(params![id.kept(), id.sandbox_str()]))
            .map_err(doing("remove a secret"))?;
        if removed > 0 {
            self.erase.set(true);
        }
        Ok(removed > 0)
    }

    pub(super) fn remove_secrets_of(&self, sandbox: &SandboxId) -> Result<()> {
        let removed = self
            .conn
            .prepare_cached("DELETE FROM secret WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.execute(params![sandbox.as_str()]))
            .map_err(doing("remove the secrets of a sandbox"))?;
        if removed > 0 {
            self.erase.set(true);
        }
        Ok(())
    }

    fn usable_secret(&self, id: &SecretId) -> Result<SecretRow> {
        self.secret(id)?.filter(|row| row.revoked_at_ms.is_none()).ok_or_else(|| not_found(id))
    }

    /// Writes a row in the place of what was there. That is deleted and not overwritten: secure_delete zeroes what a
    /// DELETE frees.
    fn put_secret(&self, row: &SecretRow, value: Option<&SecretValue>) -> Result<()> {
        self.remove_secret(&row.id)?;
        let sealed = value.map(|value| self.sealer.seal(&associated(row), value.expose()));
        self.conn
            .prepare_cached(
                "INSERT INTO secret (name, sandbox_id, version, fingerprint, binding, created_at_ms, rotated_at_ms, \
                 revoked_at_ms, origin, sealed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    row.id.kept(),
                    row.id.sandbox_str(),
                    row.version,
                    row.fingerprint,
                    row.binding,
                    row.created_at_ms,
                    row.rotated_at_ms,
                    row.revoked_at_ms,
                    row.id.origin.as_str(),
                    sealed,
                ])
            })
            .map(drop)
            .map_err(doing("write a secret"))
    }
}

impl GateStore {
    /// [`GateView::open_secret`].
    ///
    /// # Errors
    /// As there.
    pub async fn open_secret(&self, id: &SecretId) -> Result<Option<(SecretRow, SecretValue)>> {
        let id = id.clone();
        self.read(move |view| view.open_secret(&id)).await
    }

    /// [`GateView::secrets`].
    ///
    /// # Errors
    /// As there.
    pub async fn secrets(&self, origin: SecretOrigin) -> Result<Vec<SecretRow>> {
        self.read(move |view| view.secrets(&origin)).await
    }
}

/// The sentence never holds the value.
fn check_value(name: &SecretName, value: &SecretValue) -> Result<()> {
    let len = value.expose().len();
    match len {
        0 => Err(StoreError::Refused(format!("the value of secret `{name}` is empty"))),
        1..=VALUE_BYTES_MAX => Ok(()),
        _ => Err(StoreError::Refused(format!(
            "the value of secret `{name}` has {len} bytes: at most {VALUE_BYTES_MAX} are kept"
        ))),
    }
}

/// Binds a value to its row. The binding is in it: who edits the hosts of a secret makes it useless.
fn associated(row: &SecretRow) -> Vec<u8> {
    let owner = row.id.sandbox_str().unwrap_or_default();
    let version = row.version.to_be_bytes();
    bind("ringfence secret 1\0", &[owner.as_bytes(), row.id.kept().as_bytes(), &version, row.binding.as_bytes()])
}

pub(super) fn not_found(id: &SecretId) -> StoreError {
    StoreError::NotFound { kind: "secret", id: id.to_string() }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<SecretRow>> {
    let (name, sandbox): (String, Option<String>) = (row.get(0)?, row.get(1)?);
    let (version, fingerprint, binding) = (row.get(2)?, row.get(3)?, row.get(4)?);
    let (created_at_ms, rotated_at_ms, revoked_at_ms) = (row.get(5)?, row.get(6)?, row.get(7)?);
    let unreadable = |column| StoreError::Unreadable { column, row: format!("secret `{}`", name.escape_debug()) };
    Ok((|| {
        let sandbox = sandbox.map(SandboxId::try_from).transpose().map_err(|_| unreadable("sandbox_id"))?;
        let id = SecretId::of_kept(&name, sandbox).ok_or_else(|| unreadable("name"))?;
        Ok(SecretRow { id, version, fingerprint, binding, created_at_ms, rotated_at_ms, revoked_at_ms })
    })())
}
