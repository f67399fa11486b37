//! What `fuzz/` calls, and the tests over its seeds: rules as somebody outside writes them, and the lines between `serve` and the
//! gateway. What is allowed is compared with a second reading of the same rules that shares nothing with the first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Serialize, de::DeserializeOwned};

use crate::api::{Network, NetworkRule, NetworkRules, PortSpec};
use crate::net::control::{Call, FromGate};
use crate::net::{
    AddressClass, CanonicalPath, DenialReason, Destination, HostName, HostPattern, Policy, Rule, Verdict, classify,
};

/// A policy in JSON, then requests in lines of `METHOD HOST PORT TARGET`; anything else as rules of the command line, one a
/// line. The bytes are also taken for addresses.
///
/// # Panics
/// When a property does not hold.
pub fn fuzz_policy(bytes: &[u8]) {
    addresses(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Network>();
    match documents.next() {
        Some(Ok(network)) => policy(&network, text.get(documents.byte_offset()..).unwrap_or_default()),
        _ => text.lines().take(16).for_each(line),
    }
}

/// A line that `serve` and the gateway say to each other: what is read is written as what is read again.
///
/// # Panics
/// When it is not.
pub fn fuzz_control(bytes: &[u8]) {
    again::<Call>(bytes);
    again::<FromGate>(bytes);
}

fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&read).expect("what was read can be written");
    assert!(!written.contains(&b'\n'), "one line stays one");
    assert_eq!(serde_json::from_slice::<T>(&written).expect("what was written can be read"), read);
}

fn policy(network: &Network, requests: &str) {
    let printed = serde_json::to_string(network).expect("a policy can be written");
    assert_eq!(serde_json::from_str::<Network>(&printed).expect("and read"), *network);
    let Ok(policy) = Policy::try_from(network.clone()) else {
        assert!(network.check().is_err());
        return;
    };
    let shown = Network::from(&policy);
    assert_eq!(Policy::try_from(shown.clone()).as_ref(), Ok(&policy), "what is shown means the same");
    assert_eq!(Network::from(&Policy::try_from(shown.clone()).expect("as above")), shown);
    if let Policy::List(rules) = &policy {
        rules.iter().for_each(rule);
    }
    let book = policy.rulebook(&[]);
    if policy != Policy::Open {
        for port in [53, 80, 443, 8000] {
            assert!(matches!(book.connect(None, port), Verdict::Refuse(_)), "an address that has no name");
        }
    }
    for request in requests.lines().take(16) {
        let words: Vec<&str> = request.splitn(4, ' ').collect();
        let [method, host, port, target] = words[..] else { continue };
        let (Ok(host), Ok(port)) = (HostName::parse(host), port.parse()) else { continue };
        let allowed = book.request(&host, port, method, target);
        let tunnel = ["CONNECT", "TRACE"].iter().any(|never| method.eq_ignore_ascii_case(never));
        let expected = match network {
            _ if tunnel => false,
            _ if policy == Policy::Open => true,
            Network::Rules(NetworkRules { allow }) => allow.iter().any(|rule| reads(rule, &host, port, method, target)),
            Network::Named(_) => continue,
        };
        assert_eq!(allowed.is_ok(), expected, "{request:?} under {printed}");
        match allowed {
            Ok(allowed) => assert!(allowed.secrets.is_empty(), "no rule of an agent's has secrets"),
            Err(reason) => assert!(!tunnel || reason == DenialReason::MethodNotAllowed),
        }
    }
}

/// One rule as the command line has it, and as a host name.
fn line(text: &str) {
    if let Ok(read) = text.parse::<Rule>() {
        rule(&read);
        for port in &read.ports {
            let printed = format!("{}:{port}", read.host);
            assert_eq!(printed.parse::<Rule>().as_ref(), Ok(&read), "{printed}");
        }
        let json = serde_json::to_string(&read).expect("a rule can be written");
        assert_eq!(serde_json::from_str::<Rule>(&json).expect("and read"), read);
    }
    if let Ok(host) = HostName::parse(text) {
        name(&host);
        assert!(host.as_str().len() <= text.len() * 8);
    }
    if let Ok(host) = HostName::from_wire(text.as_bytes()) {
        assert!(text.eq_ignore_ascii_case(host.as_str()) || text.eq_ignore_ascii_case(&format!("{host}.")), "{text}");
    }
    if let Ok(destination) = Destination::parse(text) {
        assert_eq!(Destination::parse(&destination.to_string()).as_ref(), Ok(&destination));
    }
    if let Ok(path) = CanonicalPath::parse(text) {
        let path = path.as_str();
        assert_eq!(decoded(text).as_deref(), Some(path), "{text}");
        assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\\') && !path.contains('\0'));
        assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{text}");
    }
}

/// What every rule keeps.
fn rule(rule: &Rule) {
    assert_eq!(rule.check(), Ok(()), "{rule:?}");
    let printed = rule.host.to_string();
    assert_eq!(HostPattern::parse(&printed).as_ref(), Ok(&rule.host), "{printed}");
    let host = HostName::parse(printed.trim_start_matches("*.")).expect("without a star it is a name");
    name(&host);
    assert_eq!(rule.host.matches(&host), !printed.starts_with('*'));
    if let Ok(below) = HostName::parse(&format!("x.{host}")) {
        assert_eq!(rule.host.matches(&below), printed.starts_with('*'));
    }
    if let Ok(beside) = HostName::parse(&format!("x{host}")) {
        assert!(!rule.host.matches(&beside));
    }
    assert!(!rule.ports.iter().any(|range| range.contains(0)));
}

/// A canonical name is its own canonical form, and no program reads it as an address.
fn name(host: &HostName) {
    let text = host.as_str();
    assert_eq!(HostName::parse(text).as_ref(), Ok(host), "{text}");
    assert_eq!(HostName::from_wire(text.as_bytes()).as_ref(), Ok(host), "{text}");
    assert_eq!(HostName::from_wire(text.to_ascii_uppercase().as_bytes()).as_ref(), Ok(host), "{text}");
    assert_eq!(HostName::from_wire(format!("{text}.").as_bytes()).as_ref(), Ok(host), "{text}");
    assert_eq!(HostName::from_labels(text.split('.').map(str::as_bytes)).as_ref(), Ok(host), "{text}");
    assert!(text.len() <= 253 && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')));
    assert!(text.parse::<IpAddr>().is_err() && inet_aton(text).is_none(), "{text} is an address");
}

/// What the gate connects to is of the public Internet, by the standard library's reckoning too, and by whatever form.
fn addresses(bytes: &[u8]) {
    if let Some(first) = bytes.first_chunk::<4>() {
        let address = Ipv4Addr::from(*first);
        let class = classify(address.into());
        let special = address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_multicast()
            || address.is_broadcast()
            || address.is_documentation()
            || address.is_unspecified()
            || first[0] == 0
            || first[0] >= 240
            || (first[0] == 100 && first[1] & 0xc0 == 64);
        assert!(!special || class != AddressClass::Public, "{address}");
        assert_eq!(classify(address.to_ipv6_mapped().into()), class, "{address}, mapped");
        let [a, b] = [u16::from_be_bytes([first[0], first[1]]), u16::from_be_bytes([first[2], first[3]])];
        assert_eq!(classify(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b).into()), class, "{address}, translated");
        assert_ne!(
            classify(Ipv6Addr::new(0x2002, a, b, 0, 0, 0, 0, 1).into()),
            AddressClass::Public,
            "{address}, 6to4"
        );
    }
    if let Some(first) = bytes.first_chunk::<16>() {
        let address = Ipv6Addr::from(*first);
        let special = address.is_loopback()
            || address.is_unspecified()
            || address.is_multicast()
            || address.is_unique_local()
            || address.is_unicast_link_local();
        let stands_for =
            address.to_ipv4_mapped().is_some() || first[..12] == [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
        if classify(address.into()) == AddressClass::Public {
            assert!(!special && (stands_for || first[0] >> 5 == 1), "{address}");
        }
    }
}

/// Whether a rule, as it was written, lets a request through: read plainly, without the types of [`crate::net`].
fn reads(rule: &NetworkRule, host: &HostName, port: u16, method: &str, target: &str) -> bool {
    // International letters are the one thing that is taken over: what they are in ASCII is for UTS #46 to say.
    let ascii = |text: &str| HostName::parse(text).expect("the policy was read").to_string();
    let host_fits = match rule.host.strip_prefix("*.") {
        Some(parent) => host.as_str().ends_with(&format!(".{}", ascii(parent))),
        None => host.as_str() == ascii(&rule.host),
    };
    let in_range = |spec: &PortSpec| match spec {
        PortSpec::One(one) => *one == port,
        PortSpec::Range(text) => {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let number = |text: &str| text.parse::<u16>().expect("the policy was read");
            number(first) <= port && port <= number(last)
        }
    };
    let port_fits = if rule.ports.is_empty() { port == 443 } else { rule.ports.iter().any(in_range) };
    let method_fits = rule.methods.is_empty() || rule.methods.iter().any(|name| name.to_ascii_uppercase() == method);
    let path_fits = rule.paths.is_empty()
        || decoded(target).is_some_and(|path| rule.paths.iter().any(|pattern| covers(pattern, &path)));
    host_fits && port_fits && method_fits && path_fits
}

/// The one reading of a path, none when a server might have another.
fn decoded(target: &str) -> Option<String> {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let mut out = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        let mut byte = *first;
        if !(0x21..0x7f).contains(&byte) || byte == b'\\' || byte == b'#' {
            return None;
        }
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok().filter(|two| !two.contains('+'))?;
            byte = u8::from_str_radix(digits, 16).ok()?;
            rest = &rest[2..];
            if byte < 0x20 || byte == 0x7f || byte == b'/' || byte == b'\\' {
                return None;
            }
        }
        out.push(byte);
    }
    let text = String::from_utf8(out).ok()?;
    let segments: Vec<&str> = text.strip_prefix('/')?.split('/').collect();
    let (_, inner) = segments.split_last()?;
    let dots = segments.iter().any(|segment| matches!(segment.split(';').next(), Some("." | "..")));
    let twice = text.as_bytes().windows(3).any(|w| w[0] == b'%' && w[1..].iter().all(u8::is_ascii_hexdigit));
    (path.len() <= 8192 && !inner.contains(&"") && !dots && !twice).then_some(text)
}

/// Whether a pattern stands for a path, segment by segment.
fn covers(pattern: &str, path: &str) -> bool {
    let (wanted, found): (Vec<&str>, Vec<&str>) = (pattern.split('/').collect(), path.split('/').collect());
    let (fixed, open) = match wanted.split_last() {
        Some((&"**", fixed)) => (fixed, true),
        _ => (&wanted[..], false),
    };
    let length_fits = if open { found.len() > fixed.len() } else { found.len() == fixed.len() };
    length_fits && fixed.iter().zip(&found).all(|(pattern, segment)| glob(pattern, segment))
}

/// `*` for any bytes, by filling the whole table.
fn glob(pattern: &str, text: &str) -> bool {
    if text.is_empty() && !pattern.is_empty() {
        return false;
    }
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let mut row = vec![false; text.len() + 1];
    row[0] = true;
    for &wanted in pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = match wanted {
                b'*' => row[at] || (at > 0 && next[at - 1]),
                _ => at > 0 && row[at - 1] && text[at - 1] == wanted,
            };
        }
        row = next;
    }
    row[text.len()]
}

/// inet_aton(3): one to four numbers, each decimal, octal or hexadecimal, the last one filling what is left.
fn inet_aton(text: &str) -> Option<u32> {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &str| match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some("") => Some(0),
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if part.len() > 1 && part.starts_with('0') => u64::from_str_radix(part, 8).ok(),
        None => part.parse().ok(),
    };
    let numbers: Vec<u64> = parts.iter().map(|part| number(part)).collect::<Option<_>>()?;
    let (last, first) = numbers.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) || *last >= 1 << (8 * (4 - first.len())) {
        return None;
    }
    let high: u64 = first.iter().enumerate().map(|(at, part)| part << (8 * (3 - at))).sum();
    u32::try_from(high | last).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(target: &str, check: fn(&[u8])) -> Vec<Vec<u8>> {
        let directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let seeds: Vec<Vec<u8>> = std::fs::read_dir(directory)
            .expect("a directory of seeds")
            .map(|entry| std::fs::read(entry.expect("a seed").path()).expect("a file"))
            .collect();
        seeds.iter().for_each(|seed| check(seed));
        seeds
    }

    #[test]
    fn rules_hold_their_properties_for_every_seed() {
        let seeds = seeds("policy", fuzz_policy);
        // That the seeds are of use: some are policies under which a request is let through, and some are rules of a line.
        let text = |seed: &Vec<u8>| String::from_utf8_lossy(seed).into_owned();
        let lines = seeds.iter().filter(|seed| text(seed).lines().any(|line| line.parse::<Rule>().is_ok())).count();
        let policies = seeds.iter().filter(|seed| {
            let text = text(seed);
            let network = serde_json::Deserializer::from_str(&text).into_iter::<Network>().next();
            network.is_some_and(|network| network.is_ok_and(|network| network.check().is_ok()))
        });
        let policies = policies.count();
        assert!(lines >= 3 && policies >= 5, "{lines} and {policies} of {} seeds", seeds.len());
    }

    #[test]
    fn lines_of_the_gateway_hold_theirs() {
        let seeds = seeds("control", fuzz_control);
        let read = |seed: &&Vec<u8>| {
            serde_json::from_slice::<Call>(seed).is_ok() || serde_json::from_slice::<FromGate>(seed).is_ok()
        };
        assert!(seeds.iter().filter(read).count() >= 10, "{} seeds", seeds.len());
    }

    #[test]
    fn the_second_reading_is_one() {
        for (text, address) in [
            ("127.0.0.1", 0x7f00_0001),
            ("0x7f.1", 0x7f00_0001),
            ("017700000001", 0x7f00_0001),
            ("2130706433", 0x7f00_0001),
        ] {
            assert_eq!(inet_aton(text), Some(address), "{text}");
        }
        for text in ["example.com", "1.2.3.4.5", "256.1", "0x", "08"] {
            assert!(inet_aton(text).is_none_or(|address| address == 0), "{text}");
        }
        assert!(glob("a*b*c", "aXbYc") && !glob("a*b*c", "aXcYb") && !glob("*", "") && glob("", ""));
        assert!(covers("/v2/**", "/v2/") && covers("/v2/**", "/v2/a/b") && !covers("/v2/**", "/v2"));
        assert_eq!(decoded("/a%20b?c").as_deref(), Some("/a b"));
        for path in ["/a/../b", "/a/%2e%2e/b", "/a//b", "/a%2fb", "/%252e", "a", "/a\\b", "/..;x/"] {
            assert_eq!(decoded(path), None, "{path}");
        }
    }
}
