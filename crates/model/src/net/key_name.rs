//! Which environment variables hold keys, told by their names.

/// Last words of names whose values are keys.
const LAST: &[&str] =
    &["APIKEY", "CREDENTIALS", "PASSPHRASE", "PASSWD", "PASSWORD", "PGPASSWORD", "SECRET", "SECRETKEY", "TOKEN"];
/// What stands before `KEY` where that is one to keep; a `SORT_KEY` is none.
const BEFORE_KEY: &[&str] =
    &["ACCESS", "ANTHROPIC", "API", "AUTH", "ENCRYPTION", "MASTER", "OPENAI", "PRIVATE", "SECRET", "SIGNING"];

/// Whether a variable of this name is understood to hold a key, a password or the like, so that its value does not enter a
/// sandbox unless that is asked for: its last words are those of one, however they are written (`MY_API_KEY`,
/// `APCA_API_KEY_ID`, `anthropic_key`, `GITHUB_TOKEN`, `db.password`).
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let mut words = upper.rsplit(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let last = words.next().unwrap_or_default();
    let mut before = || words.next().unwrap_or_default();
    match last {
        "ID" => before() == "KEY" && BEFORE_KEY.contains(&before()),
        "KEY" => BEFORE_KEY.contains(&before()),
        last => LAST.contains(&last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys_are_told_from_others() {
        for name in [
            "ALPACA_API_KEY",
            "ALPACA_SECRET",
            "ALPACA_SECRET_KEY",
            "APCA_API_KEY_ID",
            "APCA_API_SECRET_KEY",
            "ANTHROPIC_API_KEY",
            "anthropic_key",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "apiKey",
            "GITHUB_TOKEN",
            "db.password",
            "PGPASSWORD",
            "OKX_PASSPHRASE",
            "TOKEN",
            "SECRET",
            "SOME-API-KEY",
        ] {
            assert!(is_key_name(name), "{name}");
        }
        for name in [
            "",
            "KEY",
            "ID",
            "KEY_ID",
            "SORT_KEY",
            "ALPACA_BASE_URL",
            "MAX_TOKENS",
            "TOKENIZERS_PARALLELISM",
            "TOKEN_LIMIT",
            "SECRET_NAME",
            "PATH",
            "PASSWORD_FILE",
            "MONKEY",
            "_",
        ] {
            assert!(!is_key_name(name), "{name}");
        }
    }
}
