//! What package registries answered, kept for all sandboxes.
//!
//! A sandbox reads of it what the gate serves, and writes nothing into it. What is kept came from a server whose certificate
//! was verified for the name under which it is kept, as the answer to a request that the gate wrote itself: of what a program
//! sent, only what is a part of the key went out (`ask`). So one program cannot choose what another is answered.
//!
//! How long something may be served without asking again is in `fresh`, the files on disk are in `shelf`, and how they are
//! read and written while bytes go by in `body`.

pub(crate) mod ask;
pub(crate) mod body;
pub(crate) mod fresh;
pub(crate) mod shelf;

use std::io;
use std::path::Path;

use ringfence_model::net::{HostName, Rule, TlsMode, public_registries};

use shelf::Shelf;

/// Settings of the operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// Bytes of all files together; none are kept when it is 0.
    pub bytes_max: u64,
    /// How long an index page is served when the registry does not say, in milliseconds.
    pub index_ms: u64,
}

impl Default for CacheConfig {
    /// 4 GiB: what the usual packages take, and one or two of the largest. Ten minutes: what pypi.org itself says.
    fn default() -> Self {
        Self { bytes_max: 4 << 30, index_ms: 600_000 }
    }
}

/// The cache, or none.
#[derive(Debug)]
pub(crate) struct Cache {
    registries: Vec<Rule>,
    pub(crate) index_ms: u64,
    shelf: Option<Shelf>,
}

impl Cache {
    /// Opens what is in `dir`, or makes it. `own` are the operator's registries. One that cannot be opened is none: what it
    /// is for goes on without it.
    pub(crate) fn open(dir: &Path, config: CacheConfig, own: &[Rule]) -> Self {
        let shelf = (config.bytes_max > 0).then(|| Shelf::open(dir, config.bytes_max));
        let shelf = shelf.transpose().unwrap_or_else(|error: io::Error| {
            tracing::error!(dir = %dir.display(), %error, "the cache of package registries could not be opened; nothing is kept");
            None
        });
        let public = public_registries().filter(|rule| rule.tls == TlsMode::Intercept);
        Self { registries: public.chain(own.iter().cloned()).collect(), index_ms: config.index_ms, shelf }
    }

    /// Where its answers are kept, if `host` is a registry.
    pub(crate) fn of(&self, host: &HostName, port: u16) -> Option<&Shelf> {
        self.shelf.as_ref().filter(|_| self.registries.iter().any(|rule| rule.covers(host, port)))
    }
}
