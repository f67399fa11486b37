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

/// Paths from the home, and below them. Elsewhere these names mean nothing, or are a project's own.
const OF_A_HOME: &[(&str, Reason)] = &[
    (".cache", Reason::Cache),
    (".npm", Reason::Cache),
    (".node-gyp", Reason::Cache),
    (".yarn/cache", Reason::Cache),
    (".local/share/pnpm", Reason::Cache),
    (".local/share/Trash", Reason::Cache),
    (".local/state", Reason::History),
    (".docker", Reason::Key),
    (".claude", Reason::Key),
    ("artifacts", Reason::Result),
];

/// Ends of paths, at any depth and below them, anywhere but in packages: a home is copied into a project, a project has a home of its own.
const ANYWHERE: &[(&str, Reason)] = &[
    (".ipython", Reason::History),
    (".local/share/jupyter", Reason::History),
    (".lesshst", Reason::History),
    (".viminfo", Reason::History),
    (".wget-hsts", Reason::History),
    ("fish_history", Reason::History),
    (".ssh", Reason::Key),
    (".gnupg", Reason::Key),
    (".password-store", Reason::Key),
    (".local/share/keyrings", Reason::Key),
    (".aws", Reason::Key),
    (".azure", Reason::Key),
    (".oci", Reason::Key),
    (".kube", Reason::Key),
    (".kaggle", Reason::Key),
    (".huggingface", Reason::Key),
    (".docker/config.json", Reason::Key),
    (".dockercfg", Reason::Key),
    (".claude/.credentials.json", Reason::Key),
    (".claude.json", Reason::Key),
    (".cargo/credentials", Reason::Key),
    (".cargo/credentials.toml", Reason::Key),
    (".gem/credentials", Reason::Key),
    (".terraform.d/credentials.tfrc.json", Reason::Key),
    (".streamlit/secrets.toml", Reason::Key),
    (".config/gcloud", Reason::Key),
    (".config/gh", Reason::Key),
    (".config/git/credentials", Reason::Key),
    (".config/pip", Reason::Key),
    (".config/pypoetry", Reason::Key),
    (".config/uv", Reason::Key),
    (".config/anthropic", Reason::Key),
    (".config/alpaca", Reason::Key),
    (".config/rclone", Reason::Key),
    (".config/solana", Reason::Key),
    (".pip", Reason::Key),
    (".pypirc", Reason::Key),
    (".npmrc", Reason::Key),
    (".yarnrc", Reason::Key),
    (".yarnrc.yml", Reason::Key),
    (".netrc", Reason::Key),
    ("_netrc", Reason::Key),
    (".git-credentials", Reason::Key),
    (".vault-token", Reason::Key),
    (".pgpass", Reason::Key),
    (".my.cnf", Reason::Key),
    (".mylogin.cnf", Reason::Key),
    (".boto", Reason::Key),
    (".s3cfg", Reason::Key),
    (".envrc", Reason::Key),
    ("id_rsa", Reason::Key),
    ("id_dsa", Reason::Key),
    ("id_ecdsa", Reason::Key),
    ("id_ecdsa_sk", Reason::Key),
    ("id_ed25519", Reason::Key),
    ("id_ed25519_sk", Reason::Key),
    ("credentials.json", Reason::Key),
    ("rclone.conf", Reason::Key),
];

/// Ends of names of files with private keys, anywhere but in packages.
const KEY_ENDS: [&[u8]; 5] = [b".pem", b".key", b".p12", b".pfx", b".keystore"];

/// Whether a path, from the home, is that of a package's file: what it ships is not the user's.
#[must_use]
pub fn is_in_package(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/');
    parts.any(|part| matches!(part, b"site-packages" | b"dist-packages" | b"node_modules"))
}

/// Whether a path is this one, or ends with it.
fn ends_with(path: &[u8], known: &str) -> bool {
    path.strip_suffix(known.as_bytes()).is_some_and(|before| before.is_empty() || before.ends_with(b"/"))
}

/// Whether what is at this path from the home, and all below it, is left out, by its name.
#[must_use]
pub fn left_out(path: &[u8]) -> Option<Reason> {
    if let Some((_, reason)) = OF_A_HOME.iter().find(|(known, _)| known.as_bytes() == path) {
        return Some(*reason);
    }
    anywhere(path)
}

/// [`left_out`] for a path that does not lie in a home.
#[must_use]
pub fn anywhere(path: &[u8]) -> Option<Reason> {
    if is_in_package(path) {
        return None;
    }
    if let Some((_, reason)) = ANYWHERE.iter().find(|(known, _)| ends_with(path, known)) {
        return Some(*reason);
    }
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    if name.starts_with(b".") && (name.ends_with(b"_history") || name.ends_with(b".history")) {
        return Some(Reason::History);
    }
    if matches!(name, b"__pycache__" | b".pytest_cache" | b".mypy_cache" | b".ruff_cache" | b".ipynb_checkpoints") {
        return Some(Reason::Cache);
    }
    let is_key = name == b".env"
        || name.starts_with(b".env.")
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
        check(".docker", Some(Reason::Key));
    }

    #[test]
    fn keys_and_histories_are_known_at_any_depth() {
        for path in [
            "bot/.npmrc",
            "bot/.netrc",
            "bot/.pypirc",
            "a/b/c/.ssh",
            "bot/.docker/config.json",
            ".vault-token",
            "ops/.vault-token",
            ".cargo/credentials",
            ".cargo/credentials.toml",
            "build/.cargo/credentials.toml",
            ".kaggle",
            "bot/.kaggle",
            ".config/rclone",
            ".config/solana",
            "backup/.config/solana",
            "backup/.config/gcloud",
            "keys/id_ed25519",
            "bot/.envrc",
        ] {
            check(path, Some(Reason::Key));
            assert_eq!(anywhere(path.as_bytes()), Some(Reason::Key), "{path}");
        }
        check(".local/share/fish/fish_history", Some(Reason::History));
        check("bot/.python_history", Some(Reason::History));
        check("backup/.ipython", Some(Reason::History));
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
        check("node_modules/ws/.npmrc", None);
        // A longer name is another one, and what a project keeps beside its code is its own.
        check("my.npmrc", None);
        check("bot/x.ssh", None);
        check(".cargo", None);
        check(".cargo/config.toml", None);
        check("bot/.docker", None);
        check("bot/.cache", None);
        assert_eq!(anywhere(b"srv/app/artifacts"), None);
    }
}
