use std::collections::BTreeSet;
use std::net::IpAddr;

use proptest::prelude::*;
use serde_json::json;

use super::host;
use crate::SandboxId;
use crate::net::*;

fn sandbox() -> SandboxId {
    SandboxId::from_random([7; 20])
}

#[test]
fn a_denial_says_what_would_allow_it() {
    let denial = Denial::new(1_757_371_623_056, Protocol::Tls, DenialReason::HostNotAllowed)
        .with_host(&sandbox(), &host("API.example.com."), Some(8443))
        .with_address(IpAddr::from([8, 8, 8, 8]), 8443);
    assert_eq!(
        serde_json::to_value(&denial).expect("plain"),
        json!({
            "at_ms": 1_757_371_623_056_u64, "protocol": "tls", "host": "api.example.com", "address": "8.8.8.8", "port": 8443,
            "reason": "host_not_allowed", "message": "no rule of the sandbox's network policy allows this host",
            "allow": "ringfence sandbox configure ihhhhhhhhhhhhhhhhhhhh --allow api.example.com:8443"
        })
    );
    let back: Denial = serde_json::from_str(&serde_json::to_string(&denial).expect("plain")).expect("its own form");
    assert_eq!(back, denial);
    assert_eq!(denial.destination(), "api.example.com:8443");
    let question =
        Denial::new(0, Protocol::Dns, DenialReason::NetworkNone).with_host(&sandbox(), &host("a.test"), None);
    assert!(question.allow.ends_with("--allow a.test:443"), "{}", question.allow);
    assert_eq!(question.destination(), "a.test");
}

#[test]
fn what_no_rule_can_allow_has_no_command() {
    let denial = Denial::new(0, Protocol::Tcp, DenialReason::AddressRefused)
        .with_host(&sandbox(), &host("rebind.test"), Some(80))
        .with_address("fd00:ec2::254".parse().expect("an address"), 80);
    assert_eq!(denial.allow, "");
    assert_eq!(denial.message, "the address is not one of the public Internet: metadata");
    let raw = Denial::new(0, Protocol::Tcp, DenialReason::AddressNotGiven)
        .with_address("2606:4700::1".parse().expect("an address"), 443);
    assert_eq!((raw.destination().as_str(), raw.allow.as_str()), ("[2606:4700::1]:443", ""));
    assert_eq!(Denial::new(0, Protocol::Udp, DenialReason::UdpRefused).destination(), "(unknown)");
}

#[test]
fn codes_are_stable_and_each_has_a_sentence() {
    let codes: BTreeSet<&str> = DenialReason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes.len(), DenialReason::ALL.len());
    for reason in DenialReason::ALL {
        assert_eq!(serde_json::to_value(reason).expect("a word"), json!(reason.code()));
        assert!(reason.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", reason.code());
        assert_eq!(reason.to_string(), reason.sentence());
    }
}

#[test]
fn what_a_request_says_is_repeated_within_bounds() {
    let denial = Denial::new(0, Protocol::Http, DenialReason::PathNotAllowed)
        .with_request("GET\x1b[2J", "/it's/a?key=hunter2#x");
    assert_eq!(denial.path.as_deref(), Some("/it's/a"));
    assert_eq!(denial.method.as_deref(), Some("GET\\u{1b}[2J"));
    let long =
        Denial::new(0, Protocol::Http, DenialReason::PathNotAllowed).with_request("GET", &"/\x07".repeat(100_000));
    assert_eq!(long.path.map(|path| path.chars().count()), Some(256));
}

proptest! {
    #[test]
    fn a_command_has_nothing_that_a_shell_reads(text in "[-a-zA-Z0-9._$`;&|'\"() é]{1,30}", port in any::<Option<u16>>()) {
        if let Ok(name) = HostName::parse(&text) {
            let command = allow_command(&sandbox(), &name, port);
            prop_assert!(command.bytes().all(|b| b.is_ascii_alphanumeric() || b" -_.:".contains(&b)), "{}", command);
            prop_assert_eq!(command.split(' ').count(), 6);
            prop_assert_eq!(command.matches(" -").count(), 1);
        }
    }
}
