//! What of a home is left out of a template. Pure.
//!
//! These are names: of caches, histories, and of files in which programs keep keys by custom. Beside them, files are left out for
//! what stands in them (see [`super::home`]).

/// Why something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It can be made again.
    Cache,
    /// What somebody typed.
    History,
    /// Programs keep keys there.
    Key,
    /// A result of a program, not a part of it.
    Result,
}

impl Reason {
    /// In a few words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "a cache",
            Self::History => "a history",
            Self::Key => "keys are kept there",
            Self::Result => "results of programs",
        }
    }
}

/// Paths from the home, and below them.
const PATHS: [(&str, Reason); 40] = [
    (".cache", Reason::Cache),
    (".npm", Reason::Cache),
    (".node-gyp", Reason::Cache),
    (".yarn/cache", Reason::Cache),
    (".local/share/pnpm", Reason::Cache),
    (".local/share/Trash", Reason::Cache),
    (".local/state", Reason::History),
    (".ipython", Reason::History),
    (".local/share/jupyter", Reason::History),
    (".lesshst", Reason::History),
    (".viminfo", Reason::History),
    (".wget-hsts", Reason::History),
    (".ssh", Reason::Key),
    (".gnupg", Reason::Key),
    (".aws", Reason::Key),
    (".azure", Reason::Key),
    (".oci", Reason::Key),
    (".docker", Reason::Key),
    (".kube", Reason::Key),
    (".config/gcloud", Reason::Key),
    (".config/gh", Reason::Key),
    (".config/git/credentials", Reason::Key),
    (".config/pip", Reason::Key),
    (".config/pypoetry", Reason::Key),
    (".config/uv", Reason::Key),
    (".config/anthropic", Reason::Key),
    (".config/alpaca", Reason::Key),
    (".claude", Reason::Key),
    (".pip", Reason::Key),
    (".pypirc", Reason::Key),
    (".npmrc", Reason::Key),
    (".yarnrc", Reason::Key),
    (".yarnrc.yml", Reason::Key),
    (".netrc", Reason::Key),
    (".git-credentials", Reason::Key),
    (".pgpass", Reason::Key),
    (".my.cnf", Reason::Key),
    (".boto", Reason::Key),
    (".local/share/keyrings", Reason::Key),
    ("artifacts", Reason::Result),
];

/// Names of files with private keys, anywhere but in packages.
const KEY_FILES: [&[u8]; 5] = [b"id_rsa", b"id_dsa", b"id_ecdsa", b"id_ed25519", b"credentials.json"];

/// Ends of names of files with private keys, anywhere but in packages.
const KEY_ENDS: [&[u8]; 5] = [b".pem", b".key", b".p12", b".pfx", b".keystore"];

/// Whether a path, from the home, is that of a package's file: what it ships is not the user's.
#[must_use]
pub fn is_in_package(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/');
    parts.any(|part| matches!(part, b"site-packages" | b"dist-packages" | b"node_modules"))
}

/// Whether what is at this path from the home, and all below it, is left out, by its name.
#[must_use]
pub fn left_out(path: &[u8]) -> Option<Reason> {
    if let Some((_, reason)) = PATHS.iter().find(|(known, _)| known.as_bytes() == path) {
        return Some(*reason);
    }
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    if !path.contains(&b'/') && name.starts_with(b".") && (name.ends_with(b"_history") || name.ends_with(b".history")) {
        return Some(Reason::History);
    }
    if is_in_package(path) {
        return None;
    }
    if matches!(name, b"__pycache__" | b".pytest_cache" | b".mypy_cache" | b".ruff_cache" | b".ipynb_checkpoints") {
        return Some(Reason::Cache);
    }
    let is_key = name == b".env"
        || name.starts_with(b".env.")
        || KEY_FILES.contains(&name)
        || KEY_ENDS.iter().any(|end| name.len() > end.len() && name.ends_with(end));
    is_key.then_some(Reason::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Option<Reason>) {
        assert_eq!(left_out(path.as_bytes()), expected, "{path}");
    }

    #[test]
    fn caches_histories_and_keys_stay_behind() {
        check(".cache", Some(Reason::Cache));
        check(".ssh", Some(Reason::Key));
        check(".bash_history", Some(Reason::History));
        check(".node_repl_history", Some(Reason::History));
        check(".env", Some(Reason::Key));
        check("bot/.env.production", Some(Reason::Key));
        check("bot/server.key", Some(Reason::Key));
        check("bot/__pycache__", Some(Reason::Cache));
        check("artifacts", Some(Reason::Result));
    }

    #[test]
    fn programs_and_packages_come_along() {
        check("strategy.py", None);
        check("bot/artifacts", None);
        check("history.csv", None);
        check(".local", None);
        check(".local/lib/python3.11/site-packages/certifi/cacert.pem", None);
        check(".local/lib/python3.11/site-packages/pandas/__pycache__", None);
        check("node_modules/ws/.env", None);
        check(".key", None);
    }
}
