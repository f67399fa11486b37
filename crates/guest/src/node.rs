//! How Node is started so that it can pass for `node program.js`, at once or to wait for a program.
//!
//! Node cannot fork. One that waits was started with [`argv`] of [`PARKED_PROGRAM`]: its harness
//! (`harness/usr/lib/ringfence/node.cjs`), which Node loads before the program, reads a [`Request`](crate::park::Request) from
//! standard input, and not a byte more; what follows there is the program's own. Then Node goes on as it would have, with the
//! program that was sent in place of the one that was named.

/// The interpreter, inside. The only one that the harness knows.
pub const NODE: &str = "/usr/local/bin/node";

/// What Node loads before a program.
pub const HARNESS: &str = "/usr/lib/ringfence/node.cjs";

/// The program of a Node that waits: nothing is there.
pub const PARKED_PROGRAM: &str = "/run/ringfence/node-waits-for-its-program.js";

/// Names the packages of the template that one that waits loads meanwhile, separated by commas. Its own affair: no program
/// sees it.
pub const PRELOAD_VARIABLE: &str = "RINGFENCE_PRELOAD";

/// argv of a program at that path.
#[must_use]
pub fn argv(path: &str) -> Vec<String> {
    [NODE, "--require", HARNESS, path].map(str::to_owned).into()
}

/// Whether a variable is read when Node starts, so that one that waits has read it before the program's was known.
#[must_use]
pub fn is_read_at_start(name: &str) -> bool {
    const NAMES: [&str; 3] = ["LANG", "LANGUAGE", "GLIBC_TUNABLES"];
    // NODE_ENV is a convention of packages; Node itself does not know it.
    const BEGINNINGS: [&str; 8] = ["NODE_", "LC_", "LD_", "MALLOC_", "SSL_", "OPENSSL_", "UV_", "ICU_"];
    name != "NODE_ENV" && (NAMES.contains(&name) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_node_reads_at_its_start_is_known() {
        for name in ["NODE_OPTIONS", "NODE_PATH", "LD_PRELOAD", "LANG", "LC_ALL", "SSL_CERT_FILE"] {
            assert!(is_read_at_start(name), "{name}");
        }
        for name in ["NODE_ENV", "HOME", "TZ", "ALPACA_API_KEY", "PATH"] {
            assert!(!is_read_at_start(name), "{name}");
        }
    }
}
