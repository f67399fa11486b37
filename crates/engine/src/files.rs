//! Files in and out, always through the guest: whatever a path means, it means it inside.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ringfence_model::{
    ApiError, Code,
    api::{DownloadAnswer, DownloadRequest, TRANSFER_BYTES_MAX, UploadAnswer, UploadRequest},
};
use ringfence_store::{Actor, SandboxStatus};
use sha2::{Digest, Sha256};

use crate::{
    engine::Engine, error::Failure, guest::GuestError, lookup::not_running, machine::SharedShell, run::absolute,
    sandbox::Sandbox,
};

/// What the guest refused, as a client reads it.
pub(crate) fn refusal(error: GuestError) -> ApiError {
    match error {
        GuestError::NotFound => ApiError::new(Code::FileNotFound, "there is no such file in the sandbox"),
        GuestError::TooLarge => ApiError::new(
            Code::TooLarge,
            format!("the file is larger than {TRANSFER_BYTES_MAX} bytes; take it in parts"),
        ),
        GuestError::NotAFile => ApiError::new(Code::InvalidArgument, "the path is no regular file"),
        GuestError::Denied => ApiError::new(
            Code::PermissionDenied,
            "the sandbox's user may not touch that path; use one below /home/user or /tmp",
        ),
        GuestError::Io(why) => ApiError::new(Code::InvalidArgument, format!("the sandbox could not do that: {why}")),
        GuestError::Stopped => ApiError::new(
            Code::SandboxNotRunning,
            "the sandbox does not let that be done (it took too long); `sandbox_stop` and `sandbox_resume` end what is in the way",
        ),
        GuestError::Broken => ApiError::new(
            Code::SandboxNotRunning,
            "the sandbox does not answer; `sandbox_stop` and `sandbox_resume` start it anew with its files",
        ),
    }
}

pub(crate) async fn read_base64(shell: &SharedShell, path: &str, max: u64) -> Option<String> {
    shell.guest.read(path, max).await.ok().map(|bytes| BASE64.encode(bytes))
}

fn checksum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Engine {
    /// The shell of a sandbox that runs.
    ///
    /// # Errors
    /// It does not.
    pub(crate) async fn shell(&self, sandbox: &Sandbox) -> Result<SharedShell, ApiError> {
        let state = sandbox.state.lock().await;
        match (state.status, &state.shell) {
            (SandboxStatus::Running, Some(shell)) => Ok(SharedShell::clone(shell)),
            (status, _) => Err(not_running(&sandbox.id, status)),
        }
    }

    pub(crate) async fn do_upload(&self, actor: Actor, request: UploadRequest) -> Result<UploadAnswer, Failure> {
        let sandbox = self.find_live(&request.sandbox_id).await?;
        request.check()?;
        let shell = self.shell(&sandbox).await?;
        let bytes = match (request.content, request.content_base64) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(encoded)) => BASE64
                .decode(encoded.trim())
                .map_err(|e| ApiError::new(Code::InvalidArgument, format!("`content_base64` is not base64: {e}")))?,
            (None, None) => Vec::new(),
        };
        if bytes.len() > TRANSFER_BYTES_MAX {
            return Err(refusal(GuestError::TooLarge).into());
        }
        let path = absolute(&request.file_path);
        let (size, checksum) = (bytes.len() as u64, checksum(&bytes));
        let detail = serde_json::json!({"path": audited(&path), "bytes": size, "sha256": checksum});
        let entry = Self::entry(actor, "file.upload").sandbox(&sandbox.id).detail(detail);
        let receipt = self.inner.store.append(entry).await?;
        drop(receipt);
        shell.guest.write(&path, 0o644, &bytes).await.map_err(refusal)?;
        Ok(UploadAnswer { success: true, sandbox_id: sandbox.id.clone(), file_path: path, size, checksum })
    }

    pub(crate) async fn do_download(&self, actor: Actor, request: DownloadRequest) -> Result<DownloadAnswer, Failure> {
        let sandbox = self.find_live(&request.sandbox_id).await?;
        request.check()?;
        let shell = self.shell(&sandbox).await?;
        let path = absolute(&request.file_path);
        let entry = Self::entry(actor, "file.download")
            .sandbox(&sandbox.id)
            .detail(serde_json::json!({"path": audited(&path)}));
        let receipt = self.inner.store.append(entry).await?;
        drop(receipt);
        let bytes = shell.guest.read(&path, TRANSFER_BYTES_MAX as u64).await.map_err(|error| {
            let mut refused = refusal(error);
            if refused.code == Code::FileNotFound {
                refused.message = format!("there is no file {} in the sandbox", path.escape_debug());
            }
            refused
        })?;
        let (size, checksum) = (bytes.len() as u64, checksum(&bytes));
        let (content, content_base64) = match String::from_utf8(bytes) {
            Ok(text) => (Some(text), None),
            Err(bytes) => (None, Some(BASE64.encode(bytes.as_bytes()))),
        };
        Ok(DownloadAnswer {
            success: true,
            sandbox_id: sandbox.id.clone(),
            file_path: path,
            size,
            checksum,
            content,
            content_base64,
        })
    }
}

/// A path as the audit chain keeps it: cut, for an entry is bounded.
pub(crate) fn audited(path: &str) -> String {
    const CHARS_MAX: usize = 512;
    path.chars().take(CHARS_MAX).collect()
}
