//! Ids are types: checked once, where they enter, and trusted after that.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: {expected}")]
pub struct BadId {
    /// What was offered, cut to 80 characters.
    pub text: String,
    /// Which id was wanted.
    pub kind: &'static str,
    /// The shape that it should have had.
    pub expected: &'static str,
}

fn bad(text: &str, kind: &'static str, expected: &'static str) -> BadId {
    BadId { text: text.chars().take(80).collect(), kind, expected }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the shape of `text`.
            ///
            /// # Errors
            /// [`BadId`] when the shape is another one.
            pub fn parse(text: &str) -> Result<Self, BadId> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(bad(text, $kind, $expected)) }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                Self::parse(text)
            }
        }
    };
}

fn lower_alnum(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

text_id!(
    /// A sandbox: `i` and 20 characters of `[a-z0-9]`, as the seed document shows them.
    SandboxId, "sandbox id", "`i` followed by 20 characters a-z or 0-9",
    |t| t.len() == 21 && t.starts_with('i') && lower_alnum(t)
);

text_id!(
    /// One run of code: `exec_`, the epoch in milliseconds, and a suffix of 6 characters of `[a-z0-9]`.
    ExecutionId, "execution id", "`exec_`, 13 digits, and 6 characters a-z or 0-9",
    |t| t.len() == 24
        && t.starts_with("exec_")
        && t.as_bytes()[5..18].iter().all(u8::is_ascii_digit)
        && lower_alnum(&t[18..])
);

text_id!(
    /// A job that outlives its request: a word that says what it is (`sweep`, `pipeline`, `swarm`, `task`), `_`, and 16 characters
    /// of `[a-z0-9]`.
    JobId, "job id", "`sweep_`, `pipeline_`, `swarm_` or `task_`, and 16 characters a-z or 0-9",
    |t| t.split_once('_').is_some_and(|(kind, rest)| {
        ["sweep", "pipeline", "swarm", "task"].contains(&kind) && rest.len() == 16 && lower_alnum(rest)
    })
);

text_id!(
    /// An agent of a swarm: `a` and 11 characters of `[a-z0-9]`. Unique among all swarms.
    AgentId, "agent id", "`a` followed by 11 characters a-z or 0-9",
    |t| t.len() == 12 && t.starts_with('a') && lower_alnum(t)
);

text_id!(
    /// The SHA-256 of a layer's canonical listing, 64 hexadecimal digits in lower case. Also its directory's name.
    LayerDigest, "layer digest", "64 hexadecimal digits in lower case",
    |t| t.len() == 64 && t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);

impl SandboxId {
    /// Makes an id from 20 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 20]) -> Self {
        Self(format!("i{}", letters(&bytes)))
    }
}

impl ExecutionId {
    /// Makes an id from the time and 6 random bytes.
    #[must_use]
    pub fn from_parts(epoch_ms: u64, random: [u8; 6]) -> Self {
        Self(format!("exec_{:013}{}", epoch_ms % 10_000_000_000_000, letters(&random)))
    }
}

impl JobId {
    /// Makes an id from what it is (`sweep`, `pipeline`, `swarm`, `task`) and 16 random bytes.
    #[must_use]
    pub fn from_random(kind: &str, bytes: [u8; 16]) -> Self {
        Self(format!("{kind}_{}", letters(&bytes)))
    }

    /// What it is the id of.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.0.split_once('_').map_or("", |(kind, _)| kind)
    }
}

impl AgentId {
    /// Makes an id from 11 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 11]) -> Self {
        Self(format!("a{}", letters(&bytes)))
    }
}

/// Maps each byte to one of 36 characters. The bias (256 is no multiple of 36) costs under 0.1 bit a character.
fn letters(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    bytes.iter().map(|b| ALPHABET[usize::from(*b) % 36] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_here_are_ids() {
        let s = SandboxId::from_random([255; 20]);
        assert_eq!(SandboxId::parse(s.as_str()), Ok(s));
        let e = ExecutionId::from_parts(1_757_371_623_056, [7; 6]);
        assert_eq!(ExecutionId::parse(e.as_str()), Ok(e));
        let a = AgentId::from_random([9; 11]);
        assert_eq!(AgentId::parse(a.as_str()), Ok(a));
        for kind in ["sweep", "pipeline", "swarm", "task"] {
            let j = JobId::from_random(kind, [200; 16]);
            assert_eq!((j.kind(), JobId::parse(j.as_str())), (kind, Ok(j.clone())));
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "",
            "i",
            "ifxkb9zwglaz0pk5dc3z",
            "ifxkb9zwglaz0pk5dc3zbb",
            "xfxkb9zwglaz0pk5dc3zb",
            "iFXKB9zwglaz0pk5dc3zb",
            "i../../../etc/passwdx",
        ] {
            assert!(SandboxId::parse(text).is_err(), "{text}");
        }
        for text in ["exec_", "exec_1757371623056", "exec_1757371623056../../", "exec_175737162305xabcdef"] {
            assert!(ExecutionId::parse(text).is_err(), "{text}");
        }
        for text in
            ["sweep_", "sweeps_aaaaaaaaaaaaaaaa", "task_AAAAAAAAAAAAAAAA", "task_aaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa"]
        {
            assert!(JobId::parse(text).is_err(), "{text}");
        }
        assert!(LayerDigest::parse(&"A".repeat(64)).is_err());
        assert!(LayerDigest::parse(&"a".repeat(64)).is_ok());
    }
}
