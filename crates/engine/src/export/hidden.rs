//! Which of a sandbox's values are looked for in its files before they become a template. Pure.
//!
//! Programs have keys under any name (`DATABASE_URL`), so that names decide only in one direction: a value whose name is a key's is always
//! looked for. Of the others those are not that are no secret by their looks, and stand in files for other reasons: a file in which
//! `https://paper-api.alpaca.markets` stands is not to be left out.

/// Shortest value that is looked for in files.
pub(super) const BYTES_MIN: usize = 8;

/// Of a value that no key's name stands before this much is looked for, from its beginning: where the whole stands, that does.
pub(super) const BYTES_MAX: usize = 1024;

/// Letters of a word.
const WORD_MAX: usize = 16;

/// Words that hyphens join, numbers aside. More of them are a passphrase.
const JOINED_MAX: usize = 3;

/// Whether a value is so plain that it is no secret: a number, a word or a few, symbols separated by commas, a path or an address that
/// consists of words and has nobody's name and password in it.
pub(super) fn is_trivial(value: &str) -> bool {
    let value = value.trim();
    let after_scheme = match value.split_once("://") {
        Some((scheme, rest)) if !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_lowercase()) => rest,
        Some(_) => return false,
        None => value,
    };
    if after_scheme.parse::<f64>().is_ok() {
        return true;
    }
    after_scheme.split(['/', ',']).all(|part| {
        // A port, and nothing else, comes after a colon.
        let part = match part.split_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => host,
            Some(_) => return false,
            None => part,
        };
        part.split(['.', '_']).all(|part| {
            let words: Vec<&str> = part.split('-').collect();
            let of_letters = words.iter().filter(|word| word.bytes().any(|b| b.is_ascii_alphabetic())).count();
            of_letters <= JOINED_MAX && words.into_iter().all(is_word)
        })
    })
}

/// Letters of one case, or with the first one large; up to three digits may stand before or after them. A short number is a word too.
fn is_word(text: &str) -> bool {
    const DIGITS_MAX: usize = 3;
    const NUMBER_MAX: usize = 4;
    let is_digit = |c: char| c.is_ascii_digit();
    let letters = match text.starts_with(is_digit) {
        true => text.trim_start_matches(is_digit),
        false => text.trim_end_matches(is_digit),
    };
    let digits = text.len() - letters.len();
    let rest = letters.get(1..).unwrap_or_default();
    let is_of_letters = letters.bytes().all(|b| b.is_ascii_alphabetic());
    let is_of_one_case =
        letters.bytes().all(|b| b.is_ascii_uppercase()) || rest.bytes().all(|b| b.is_ascii_lowercase());
    let digits_max = if letters.is_empty() { NUMBER_MAX } else { DIGITS_MAX };
    is_of_letters && is_of_one_case && letters.len() <= WORD_MAX && digits <= digits_max
}

/// As much of a value as is looked for.
pub(super) fn beginning(value: &str) -> &[u8] {
    &value.as_bytes()[..value.len().min(BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_looked_for_whatever_they_are_called() {
        for value in [
            "postgres://u:p@h/db",
            "postgres://trader@db.internal/prices",
            "https://hooks.slack.com/services/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",
            "https://api.example.com/bars?token=abcdefgh",
            "PKTESTTESTTESTTESTTESTTEST1",
            "/XU/wQyJ0zVZx8mFq5Lr2sT9uKo3NbEiAaPcYdGh",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
            "550e8400-e29b-41d4-a716-446655440000",
            "correct-horse-battery-staple",
            "hunter2hunter2",
            "alice:swordfish",
            "host=db password=swordfish",
            "{\"type\":\"service_account\"}",
            "Tr0ub4dor&3",
            "aGVsbG8gd29ybGQ=",
        ] {
            assert!(!is_trivial(value), "{value}");
        }
    }

    #[test]
    fn what_is_plain_is_left_in_files() {
        for value in [
            "12345678",
            "-1234.5678",
            "1e-12345",
            "production",
            "paper-trading",
            "PAPER_TRADING",
            "AAPL,MSFT,BRK.B",
            "BTC/USD,ETH/USD",
            "/home/user/data/prices.csv",
            "/usr/lib/python3.11",
            "/data/bars_1d.parquet",
            "https://paper-api.alpaca.markets",
            "https://data.alpaca.markets/v2/stocks",
            "wss://stream.data.alpaca.markets/v2/iex",
            "redis://cache.internal:6379/0",
            "localhost:8080",
            "127.0.0.1:5432",
            "2024-01-15",
            "America/New_York",
            "mean_reversion_v2_fast",
            "claude-sonnet-4-5",
        ] {
            assert!(is_trivial(value), "{value}");
        }
    }

    #[test]
    fn of_a_long_value_the_beginning_is_looked_for() {
        assert_eq!(beginning("plain"), b"plain");
        assert_eq!(beginning(&"x".repeat(5000)).len(), BYTES_MAX);
    }
}
