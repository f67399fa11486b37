//! Files that jobs put into a sandbox and take out of it: bytes, and of what is taken out only what is a file itself.

use ringfence_guest::frames::ENTRIES_MAX;
use ringfence_model::{
    ApiError, Code, SandboxId,
    api::{Actor, TRANSFER_BYTES_MAX},
};
use sha2::{Digest, Sha256};

use crate::{
    engine::Engine,
    error::Failure,
    files::{audited, refusal},
    guest::{EntryKind, GuestError},
    run::absolute,
    service,
};

impl Engine {
    /// Writes a file in a sandbox, readable and writable to its user; missing directories are made.
    ///
    /// # Errors
    /// The sandbox does not run or refuses; TOO_LARGE above [`TRANSFER_BYTES_MAX`].
    pub async fn hand_in(&self, by: Actor, sandbox: &SandboxId, path: &str, bytes: &[u8]) -> Result<(), ApiError> {
        self.do_hand_in(by, sandbox, path, bytes).await.map_err(Failure::public)
    }

    /// Reads a regular file of a sandbox. A symbolic link is none, wherever it leads; that is for clarity, for what is read is
    /// only ever what the sandbox's user could read, and the name may be another file's a moment later.
    ///
    /// # Errors
    /// FILE_NOT_FOUND; INVALID_ARGUMENT for what is no regular file; TOO_LARGE above [`TRANSFER_BYTES_MAX`]; the sandbox does not run.
    pub async fn hand_out(&self, by: Actor, sandbox: &SandboxId, path: &str) -> Result<Vec<u8>, ApiError> {
        self.do_hand_out(by, sandbox, path).await.map_err(Failure::public)
    }

    async fn do_hand_in(&self, by: Actor, id: &SandboxId, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        let sandbox = self.find_live(id.as_str()).await?;
        let shell = self.shell(&sandbox).await?;
        if bytes.len() > TRANSFER_BYTES_MAX {
            return Err(refusal(GuestError::TooLarge).into());
        }
        let path = absolute(path);
        let detail = serde_json::json!({
            "path": audited(&path), "bytes": bytes.len(), "sha256": hex::encode(Sha256::digest(bytes)),
        });
        let entry = Self::entry(service::actor(by), "file.upload").sandbox(&sandbox.id).detail(detail);
        drop(self.inner.store.append(entry).await?);
        Ok(shell.guest.write(&path, 0o644, bytes).await.map_err(refusal)?)
    }

    async fn do_hand_out(&self, by: Actor, id: &SandboxId, path: &str) -> Result<Vec<u8>, Failure> {
        let sandbox = self.find_live(id.as_str()).await?;
        let shell = self.shell(&sandbox).await?;
        let path = absolute(path);
        let entry = Self::entry(service::actor(by), "file.download")
            .sandbox(&sandbox.id)
            .detail(serde_json::json!({"path": audited(&path)}));
        drop(self.inner.store.append(entry).await?);
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let dir = if dir.is_empty() { "/" } else { dir };
        let listed = shell.guest.list(dir, ENTRIES_MAX as usize).await.map_err(refusal)?;
        let kind = match listed.iter().find(|entry| entry.name == name) {
            Some(entry) => entry.kind,
            None if listed.len() < ENTRIES_MAX as usize => return Err(refusal(GuestError::NotFound).into()),
            None => {
                let message = format!(
                    "it lies in a directory of more than {ENTRIES_MAX} files, where it was not looked for; write it into another one"
                );
                return Err(ApiError::new(Code::InvalidArgument, message).into());
            }
        };
        let what = match kind {
            EntryKind::File => return Ok(shell.guest.read(&path, TRANSFER_BYTES_MAX as u64).await.map_err(refusal)?),
            EntryKind::Directory => "a directory",
            EntryKind::Symlink => "a symbolic link",
            EntryKind::Other => "a device, a FIFO or a socket",
        };
        Err(ApiError::new(Code::InvalidArgument, format!("it is {what}, and no regular file")).into())
    }
}
