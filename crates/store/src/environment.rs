//! Environment values of a sandbox, sealed at rest.

use std::collections::BTreeMap;

use ringfence_model::SandboxId;
use rusqlite::params;

use crate::error::{Result, StoreError, doing};
use crate::sandbox;
use crate::seal::SecretValue;
use crate::store::Store;
use crate::tx::{Tx, View};

/// Variables that one sandbox may have.
const VARIABLES_MAX: usize = 1024;
/// Bytes of a name, and of a value: what `execve` takes for one string is 128 KiB (execve(2), MAX_ARG_STRLEN).
const NAME_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 96 << 10;

/// What becomes of the variables that a change does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvMode {
    /// They stay.
    Merge,
    /// They are removed.
    Replace,
}

/// What a change of the environment came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentChange {
    /// The new version, one higher than before.
    pub version: u64,
    /// Every variable that the sandbox has now, with a short keyed fingerprint of its value: the same value of the same
    /// name gives the same fingerprint, and it tells nothing about the value.
    pub fingerprints: BTreeMap<String, String>,
    /// Variables that were there before and are not now.
    pub removed: Vec<String>,
}

impl View<'_> {
    /// The environment of a sandbox, opened, in the order of names.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`] when a value was tampered with, or the database refuses.
    pub fn environment(&self, sandbox: &SandboxId) -> Result<Vec<(String, SecretValue)>> {
        self.sealed_environment(sandbox)?
            .into_iter()
            .map(|(name, sealed)| {
                let value = self.sealer.open(&aad(sandbox, &name), &sealed).ok_or_else(|| StoreError::Unsealable {
                    owner: format!("sandbox {sandbox}"),
                    name: name.clone(),
                })?;
                Ok((name, value))
            })
            .collect()
    }

    /// The fingerprint of each environment value of a sandbox.
    ///
    /// # Errors
    /// As [`View::environment`].
    pub fn environment_fingerprints(&self, sandbox: &SandboxId) -> Result<BTreeMap<String, String>> {
        let values = self.environment(sandbox)?;
        Ok(values
            .into_iter()
            .map(|(name, value)| {
                let fingerprint = self.sealer.fingerprint(&name, &value);
                (name, fingerprint)
            })
            .collect())
    }

    /// The names of a sandbox's environment variables, without opening anything.
    ///
    /// # Errors
    /// The database refuses.
    pub fn environment_names(&self, sandbox: &SandboxId) -> Result<Vec<String>> {
        self.conn
            .prepare_cached("SELECT name FROM environment WHERE sandbox_id = ?1 ORDER BY name")
            .and_then(|mut statement| {
                statement.query_map(params![sandbox.as_str()], |row| row.get(0))?.collect::<rusqlite::Result<Vec<_>>>()
            })
            .map_err(doing("list environment names"))
    }

    /// The names of a sandbox's variables whose values are exposed to it although they are keys ([`Tx::mark_exposed`]).
    ///
    /// # Errors
    /// The database refuses.
    pub fn exposed_names(&self, sandbox: &SandboxId) -> Result<Vec<String>> {
        self.conn
            .prepare_cached("SELECT name FROM environment WHERE sandbox_id = ?1 AND exposed = 1 ORDER BY name")
            .and_then(|mut statement| {
                statement.query_map(params![sandbox.as_str()], |row| row.get(0))?.collect::<rusqlite::Result<Vec<_>>>()
            })
            .map_err(doing("list exposed variables"))
    }

    fn sealed_environment(&self, sandbox: &SandboxId) -> Result<Vec<(String, Vec<u8>)>> {
        self.conn
            .prepare_cached("SELECT name, sealed FROM environment WHERE sandbox_id = ?1 ORDER BY name")
            .and_then(|mut statement| {
                statement
                    .query_map(params![sandbox.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .map_err(doing("read an environment"))
    }
}

impl Tx<'_> {
    /// Changes the environment of a sandbox at once: `unset` is removed first, then `values` are set; with
    /// [`EnvMode::Replace`] nothing else remains. The old sealed values are overwritten on disk.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Refused`] for a name or value that no environment can hold; or the
    /// database refuses.
    pub fn set_environment(
        &self,
        sandbox: &SandboxId,
        values: &[(String, SecretValue)],
        mode: EnvMode,
        unset: &[String],
    ) -> Result<EnvironmentChange> {
        const WHAT: &str = "set an environment";
        for (name, value) in values {
            check(name, value)?;
        }
        let version: u64 = self
            .conn
            .prepare_cached("UPDATE sandbox SET env_version = env_version + 1 WHERE id = ?1 RETURNING env_version")
            .and_then(|mut statement| statement.query_row(params![sandbox.as_str()], |row| row.get(0)))
            .map_err(|source| match source {
                rusqlite::Error::QueryReturnedNoRows => sandbox::not_found(sandbox),
                other => doing(WHAT)(other),
            })?;
        let before = self.environment_names(sandbox)?;
        let remove: Vec<&String> = match mode {
            EnvMode::Replace => before.iter().collect(),
            EnvMode::Merge => before.iter().filter(|name| unset.contains(name)).collect(),
        };
        // Rows that are to be overwritten are deleted too: secure_delete zeroes what a DELETE frees.
        let overwritten = values.iter().map(|(name, _)| name);
        let mut delete = self
            .conn
            .prepare_cached("DELETE FROM environment WHERE sandbox_id = ?1 AND name = ?2")
            .map_err(doing(WHAT))?;
        for name in remove.into_iter().chain(overwritten) {
            delete.execute(params![sandbox.as_str(), name]).map_err(doing(WHAT))?;
        }
        let mut insert = self
            .conn
            .prepare_cached(
                "INSERT INTO environment (sandbox_id, name, sealed, version) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (sandbox_id, name) DO UPDATE SET sealed = excluded.sealed",
            )
            .map_err(doing(WHAT))?;
        for (name, value) in values {
            let sealed = self.sealer.seal(&aad(sandbox, name), value.expose());
            insert.execute(params![sandbox.as_str(), name, sealed, version]).map_err(doing(WHAT))?;
        }
        self.erase.set(true);
        let fingerprints = self.environment_fingerprints(sandbox)?;
        if fingerprints.len() > VARIABLES_MAX {
            let count = fingerprints.len();
            return Err(StoreError::Refused(format!(
                "{count} environment variables: a sandbox has at most {VARIABLES_MAX}"
            )));
        }
        let removed = before.into_iter().filter(|name| !fingerprints.contains_key(name)).collect();
        Ok(EnvironmentChange { version, fingerprints, removed })
    }

    /// Notes that the values of these variables are exposed to the sandbox although they are keys. That lasts until they are
    /// set anew or removed. Names that it does not have are passed over.
    ///
    /// # Errors
    /// The database refuses.
    pub fn mark_exposed(&self, sandbox: &SandboxId, names: &[String]) -> Result<()> {
        for name in names {
            self.conn
                .prepare_cached("UPDATE environment SET exposed = 1 WHERE sandbox_id = ?1 AND name = ?2")
                .and_then(|mut statement| statement.execute(params![sandbox.as_str(), name]))
                .map_err(doing("mark exposed variables"))?;
        }
        Ok(())
    }

    /// Removes all environment values of a sandbox, as when it is deleted. The version stays.
    ///
    /// # Errors
    /// The database refuses.
    pub fn erase_environment(&self, sandbox: &SandboxId) -> Result<()> {
        let removed = self
            .conn
            .prepare_cached("DELETE FROM environment WHERE sandbox_id = ?1")
            .and_then(|mut statement| statement.execute(params![sandbox.as_str()]))
            .map_err(doing("erase an environment"))?;
        if removed > 0 {
            self.erase.set(true);
        }
        Ok(())
    }
}

impl Store {
    /// [`View::environment`].
    ///
    /// # Errors
    /// As there.
    pub async fn environment(&self, sandbox: &SandboxId) -> Result<Vec<(String, SecretValue)>> {
        let sandbox = sandbox.clone();
        self.read(move |view| view.environment(&sandbox)).await
    }

    /// [`Tx::set_environment`].
    ///
    /// # Errors
    /// As there.
    pub async fn set_environment(
        &self,
        sandbox: &SandboxId,
        values: Vec<(String, SecretValue)>,
        mode: EnvMode,
        unset: Vec<String>,
    ) -> Result<EnvironmentChange> {
        let sandbox = sandbox.clone();
        self.write(move |tx| tx.set_environment(&sandbox, &values, mode, &unset)).await
    }
}

/// Refuses what `execve` cannot pass. The sentence never holds the value.
fn check(name: &str, value: &SecretValue) -> Result<()> {
    let refuse = |why: &str| {
        let shown: String = name.chars().take(80).collect();
        Err(StoreError::Refused(format!("environment variable `{}` {why}", shown.escape_debug())))
    };
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(['=', '\0']) {
        return refuse("has no usable name: 1 to 256 bytes, without `=` and NUL");
    }
    if value.expose().len() > VALUE_BYTES_MAX {
        return refuse("has a value of more than 96 KiB");
    }
    if value.expose().contains(&0) {
        return refuse("has a NUL in its value");
    }
    Ok(())
}

/// Binds a sealed value to its place. A sandbox id has a fixed length, so that the two parts cannot shift.
fn aad(sandbox: &SandboxId, name: &str) -> Vec<u8> {
    [sandbox.as_str().as_bytes(), name.as_bytes()].concat()
}
