use proptest::prelude::*;
use serde_json::{Value, json};

use super::host;
use crate::net::*;

fn parse(value: Value) -> Policy {
    serde_json::from_value(value).expect("a policy")
}

#[track_caller]
fn refused(value: Value, word: &str) {
    let error = serde_json::from_value::<Policy>(value).expect_err("it is out of bounds").to_string();
    assert!(error.contains(word), "{error}");
}

#[test]
fn the_contract_is_read_and_written() {
    for (value, policy) in
        [(json!("none"), Policy::None), (json!("packages"), Policy::Packages), (json!("open"), Policy::Open)]
    {
        assert_eq!(parse(value.clone()), policy);
        assert_eq!(serde_json::to_value(&policy).expect("a word"), value);
    }
    let value = json!({"allow": [
        {"host": "*.Example.com", "ports": [443, "8000-8010"], "methods": ["get", "POST"], "paths": ["/v2/**"]},
        {"host": "example.org", "ports": null},
    ]});
    let policy = parse(value);
    let written = serde_json::to_value(&policy).expect("plain");
    assert_eq!(
        written,
        json!({"allow": [
            {"host": "*.example.com", "ports": [443, "8000-8010"], "methods": ["GET", "POST"], "paths": ["/v2/**"]},
            {"host": "example.org", "ports": [443]},
        ]})
    );
    assert_eq!(parse(written), policy);
    assert_eq!(parse(json!({"allow": []})), Policy::List(vec![]));
    assert_eq!(Policy::default(), Policy::None);
}

#[test]
fn unknown_keys_are_refused_by_name() {
    refused(json!({"allow": [{"host": "example.com", "secrets": ["KEY"]}]}), "`secrets`");
    refused(json!({"allow": [{"host": "example.com", "tls": "pass"}]}), "`tls`");
    refused(json!({"allow": [], "deny": []}), "`deny`");
    refused(json!({"allow": [{"ports": [1]}]}), "`host`");
    refused(json!({}), "`allow`");
    refused(json!("None"), "`None`");
    refused(json!("any"), "`packages`");
    for other in [json!(null), json!(1), json!(true), json!(["none"]), json!({"none": null})] {
        assert!(serde_json::from_value::<Policy>(other.clone()).is_err(), "{other}");
    }
}

#[test]
fn bounds_are_kept() {
    let rule = |key: &str, value: Value| json!({"allow": [{"host": "a.test"}, {"host": "b.test", (key): value}]});
    refused(rule("ports", json!([0])), "`allow[1]`: `0` is not a port");
    refused(rule("ports", json!([65536])), "8000-8010");
    refused(rule("ports", json!(["5-4"])), "`5-4`");
    refused(rule("ports", json!(["+5"])), "`+5`");
    refused(rule("ports", json!([""])), "is not a port");
    refused(rule("ports", json!(["1-2-3"])), "is not a port");
    refused(rule("ports", json!(vec![1; PORTS_MAX + 1])), "`ports` has 33");
    refused(rule("methods", json!(["CONNECT"])), "tunnel");
    refused(rule("methods", json!(["trace"])), "repeats the request");
    refused(rule("methods", json!([""])), "GET");
    refused(rule("methods", json!(["GET\r\n"])), "GET");
    refused(rule("methods", json!(vec!["GET"; METHODS_MAX + 1])), "`methods` has 17");
    refused(rule("paths", json!(["v2"])), "begin with `/`");
    refused(rule("paths", json!(vec!["/"; PATHS_MAX + 1])), "`paths` has 65");
    refused(json!({"allow": [{"host": "127.1"}]}), "`allow[0]`: `127.1`");
    let rules = |count: usize, paths: usize| json!({"allow": vec![json!({"host": "a.test", "paths": vec!["/"; paths]}); count]});
    parse(rules(RULES_MAX, 8));
    refused(rules(RULES_MAX + 1, 0), "257 rules");
    refused(rules(RULES_MAX, 9), "2304 paths");
}

#[test]
fn a_rule_of_the_gate_is_not_written_as_an_agents() {
    let secret = Rule { secrets: vec!["KEY".into()], ..Rule::host(host("a.test").into()) };
    let pass = Rule { tls: TlsMode::Pass, ..Rule::host(host("a.test").into()) };
    for rule in [secret, pass] {
        let policy = Policy::List(vec![rule.clone()]);
        assert!(serde_json::to_value(&policy).is_err());
        let shown = serde_json::to_string(&crate::api::Network::from(&policy)).expect("plain");
        assert_eq!(shown, r#"{"allow":[{"host":"a.test","ports":[443]}]}"#);
        let whole = serde_json::to_value(&rule).expect("plain");
        assert_eq!(serde_json::from_value::<Rule>(whole).ok(), Some(rule));
    }
    let rule: Rule = serde_json::from_value(json!({"host": "a.test"})).expect("the rest has defaults");
    assert_eq!(rule, Rule::host(host("a.test").into()));
    assert!(serde_json::from_value::<Rule>(json!({"host": "a.test", "extra": 1})).is_err());
}

#[test]
fn what_needs_the_inside_is_not_passed_through() {
    let plain = Rule::host(host("a.test").into());
    assert!(!plain.needs_inside() && !plain.inspects());
    let with_method = Rule { methods: vec![Method::parse("GET").expect("a method")], ..plain.clone() };
    let with_path = Rule { paths: vec![PathPattern::parse("/**").expect("a pattern")], ..plain.clone() };
    let with_secret = Rule { secrets: vec!["KEY".into()], ..plain.clone() };
    for rule in [with_method, with_path, with_secret] {
        assert!(rule.needs_inside() && rule.check().is_ok());
        assert_eq!(Rule { tls: TlsMode::Pass, ..rule }.check(), Err(BadRule::PassNeedsInside));
    }
    assert_eq!(Rule { tls: TlsMode::Pass, ..plain.clone() }.check(), Ok(()));
    assert_eq!(Rule { ports: vec![], ..plain.clone() }.check(), Err(BadRule::NoPort));
    assert!(Rule { secrets: vec![String::new(); SECRETS_MAX + 1], ..plain.clone() }.check().is_err());
    assert!(Rule { tls: TlsMode::Intercept, ..plain }.inspects());
}

proptest! {
    #[test]
    fn a_policy_survives_being_written(
        hosts in prop::collection::vec("(\\*\\.)?[a-z]{1,4}\\.[a-z]{3}\\.test", 0..5),
        first in 1_u16..,
        length in 0_u16..20,
        paths in prop::collection::vec("/[a-z]{1,4}\\*?(/\\*\\*)?", 0..3),
    ) {
        let ports = json!([first, format!("{first}-{}", first.saturating_add(length))]);
        let rule = |host: &String| json!({"host": host, "ports": ports, "paths": paths});
        let policy = parse(json!({"allow": hosts.iter().map(rule).collect::<Vec<_>>()}));
        prop_assert_eq!(policy.check(), Ok(()));
        let written = serde_json::to_value(&policy).expect("it came from an agent");
        prop_assert_eq!(parse(written), policy);
    }

    #[test]
    fn no_text_panics(text in ".{0,80}", shape in 0..4) {
        let json = match shape {
            0 => text,
            1 => json!(text).to_string(),
            2 => json!({"allow": [{"host": text}]}).to_string(),
            _ => json!({"allow": [{"host": "a.test", "ports": [text], "methods": [text], "paths": [text]}]}).to_string(),
        };
        let _ = serde_json::from_str::<Policy>(&json);
    }
}

#[test]
fn what_is_added_is_beside_what_was_allowed() {
    let policy = |rules: Value| parse(json!({"allow": rules}));
    let more = |rules: Value| match policy(rules) {
        Policy::List(rules) => rules,
        other => panic!("a list, not {other:?}"),
    };
    let check = |before: Policy, added: Value, after: Policy| assert_eq!(before.and(more(added)), after);
    check(Policy::None, json!([{"host": "a.test"}]), policy(json!([{"host": "a.test"}])));
    check(Policy::Open, json!([{"host": "a.test"}]), Policy::Open);
    let a = || policy(json!([{"host": "a.test"}]));
    check(a(), json!([{"host": "A.test."}]), a());
    check(
        a(),
        json!([{"host": "a.test", "ports": [80, 443]}]),
        policy(json!([{"host": "a.test", "ports": [443, 80]}])),
    );
    check(a(), json!([{"host": "*.a.test"}]), policy(json!([{"host": "a.test"}, {"host": "*.a.test"}])));
    // A rule that allows less than the host is not widened, but stands beside the new one.
    let narrow = json!({"host": "a.test", "methods": ["GET"]});
    check(policy(json!([narrow])), json!([{"host": "a.test"}]), policy(json!([narrow, {"host": "a.test"}])));
    check(policy(json!([narrow])), json!([narrow]), policy(json!([narrow])));
    let packages = Policy::Packages.and(more(json!([{"host": "a.test"}])));
    for (name, port) in [("pypi.org", 443), ("deb.debian.org", 80), ("a.test", 443)] {
        assert!(!matches!(packages.rulebook(&[]).connect(Some(&host(name)), port), Verdict::Refuse(_)), "{name}");
    }
    assert!(packages.check().is_ok());
}
