//! `/etc/hosts`, which getaddrinfo does not look into for a name that ends with a dot.

use std::net::IpAddr;

/// The file.
pub(super) const PATH: &str = "/etc/hosts";
/// Longest file that is read.
pub(super) const BYTES_MAX: u64 = 1024 * 1024;

/// The addresses that `text` has for `name` (hosts(5)).
pub(super) fn addresses(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        // An address with a zone (`fe80::1%eth0`) is link-local, and never let through.
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_addresses_of_all_its_lines() {
        let text =
            "# comment\n127.0.0.1 localhost\n::1\tlocalhost ip6-localhost # v6\n10.1.2.3 db DB.corp\nnonsense db\n";
        let check = |name: &str, expected: &[&str]| {
            let expected: Vec<IpAddr> = expected.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(addresses(text, name), expected, "{name}");
        };
        check("localhost", &["127.0.0.1", "::1"]);
        check("db.corp", &["10.1.2.3"]);
        check("v6", &[]);
        check("comment", &[]);
        check("10.1.2.3", &[]);
    }
}
