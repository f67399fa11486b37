//! Values that a job's request holds sealed: those of environment variables.

use ringfence_model::JobId;

use crate::error::{Result, StoreError};
use crate::seal::SecretValue;
use crate::tx::View;

impl<K> View<'_, K> {
    /// Seals a value of a job, for its request. It opens for that job and under that name alone.
    #[must_use]
    pub fn seal_for_job(&self, job: &JobId, name: &str, value: &SecretValue) -> Vec<u8> {
        self.sealer.seal(&aad(job, name), value.expose())
    }

    /// Opens what [`View::seal_for_job`] has sealed.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`] when it was tampered with, or is another job's or another name's.
    pub fn open_for_job(&self, job: &JobId, name: &str, sealed: &[u8]) -> Result<SecretValue> {
        self.sealer
            .open(&aad(job, name), sealed)
            .ok_or_else(|| StoreError::Unsealable { owner: format!("job {job}"), name: name.to_owned() })
    }
}

/// Binds a sealed value to its place. No id of a job contains the byte between the two parts.
fn aad(job: &JobId, name: &str) -> Vec<u8> {
    [job.as_str().as_bytes(), b"\0", name.as_bytes()].concat()
}
