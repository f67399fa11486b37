use serde_json::json;

use super::host;
use crate::net::*;

fn list(rules: serde_json::Value) -> Rulebook {
    let policy: Policy = serde_json::from_value(json!({"allow": rules})).expect("a policy");
    policy.rulebook(&[])
}

fn bound(text: &str, secrets: &[&str], paths: &[&str]) -> Rule {
    Rule {
        secrets: secrets.iter().map(ToString::to_string).collect(),
        paths: paths.iter().map(|path| PathPattern::parse(path).expect("a pattern")).collect(),
        ..Rule::host(host(text).into())
    }
}

#[test]
fn none_is_nothing() {
    let none = Policy::default().rulebook(&[]);
    assert_eq!(none.name(&host("example.com")), Err(DenialReason::NetworkNone));
    assert_eq!(none.connect(Some(&host("example.com")), 443), Verdict::Refuse(DenialReason::NetworkNone));
    assert_eq!(none.connect(None, 443), Verdict::Refuse(DenialReason::NetworkNone));
    assert_eq!(none.request(&host("example.com"), 443, "GET", "/"), Err(DenialReason::NetworkNone));
}

#[test]
fn open_passes_everything_but_what_is_bound() {
    let open = Policy::Open.rulebook(&[]);
    assert_eq!(open.name(&host("example.com")), Ok(None));
    assert_eq!(open.connect(Some(&host("example.com")), 22), Verdict::Pass { rule: None });
    assert_eq!(open.connect(None, 22), Verdict::Pass { rule: None });
    let open = open.with_binding(bound("example.com", &["KEY"], &["/v2/**"])).expect("within bounds");
    assert_eq!(open.connect(Some(&host("example.com")), 443), Verdict::Inspect { rule: 0 });
    assert_eq!(open.connect(Some(&host("example.com")), 80), Verdict::Pass { rule: None });
    let request = |path| open.request(&host("example.com"), 443, "GET", path);
    assert_eq!(request("/v2/a"), Ok(Allowed { rule: Some(0), secrets: vec!["KEY"] }));
    assert_eq!(request("/v1/a"), Ok(Allowed { rule: None, secrets: vec![] }));
    assert_eq!(request("/v2/../a"), Ok(Allowed { rule: None, secrets: vec![] }));
}

#[test]
fn packages_are_the_registries_and_the_operators_own() {
    let own =
        Rule { ports: vec![PortRange::new(3141, 3141).expect("a port")], ..Rule::host(host("pypi.corp.test").into()) };
    let packages = Policy::Packages.rulebook(&[own]);
    // What the gate keeps of their answers it has to see.
    for (name, port, seen) in [
        ("pypi.org", 443, true),
        ("files.pythonhosted.org", 443, true),
        ("registry.npmjs.org", 443, true),
        ("deb.debian.org", 80, false),
        ("security.debian.org", 443, false),
        ("pypi.corp.test", 3141, false),
    ] {
        assert!(packages.name(&host(name)).is_ok(), "{name}");
        let verdict = packages.connect(Some(&host(name)), port);
        assert!(matches!(verdict, Verdict::Pass { rule: Some(_) } | Verdict::Inspect { .. }), "{name}");
        assert_eq!(matches!(verdict, Verdict::Inspect { .. }), seen, "{name}");
    }
    // Named in a list, they are the same; another name is not.
    let named = list(json!([{"host": "pypi.org"}, {"host": "pypi.test"}]));
    assert_eq!(named.connect(Some(&host("pypi.org")), 443), Verdict::Inspect { rule: 0 });
    assert_eq!(named.connect(Some(&host("pypi.test")), 443), Verdict::Pass { rule: Some(1) });
    assert_eq!(packages.connect(Some(&host("pypi.org")), 80), Verdict::Refuse(DenialReason::PortNotAllowed));
    assert_eq!(packages.connect(Some(&host("upload.pypi.org")), 443), Verdict::Refuse(DenialReason::HostNotAllowed));
    assert_eq!(packages.connect(None, 443), Verdict::Refuse(DenialReason::AddressNotGiven));
    for rule in packages.rules() {
        assert_eq!(rule.check(), Ok(()));
    }
}

#[test]
fn a_list_is_what_its_rules_say() {
    let rules = list(json!([
        {"host": "plain.test"},
        {"host": "api.test", "methods": ["GET"], "paths": ["/v2/*"]},
        {"host": "api.test", "methods": ["POST"], "paths": ["/v2/orders"]},
        {"host": "*.web.test", "ports": ["8000-8010"]},
    ]));
    assert_eq!(rules.name(&host("PLAIN.test.")), Ok(Some(0)));
    assert_eq!(rules.name(&host("other.test")), Err(DenialReason::HostNotAllowed));
    assert_eq!(rules.connect(Some(&host("plain.test")), 443), Verdict::Pass { rule: Some(0) });
    assert_eq!(rules.connect(Some(&host("plain.test")), 80), Verdict::Refuse(DenialReason::PortNotAllowed));
    assert_eq!(rules.connect(Some(&host("api.test")), 443), Verdict::Inspect { rule: 1 });
    assert_eq!(rules.connect(Some(&host("a.web.test")), 8010), Verdict::Pass { rule: Some(3) });
    assert_eq!(rules.connect(Some(&host("a.web.test")), 8011), Verdict::Refuse(DenialReason::PortNotAllowed));
    assert_eq!(rules.connect(Some(&host("web.test")), 8000), Verdict::Refuse(DenialReason::HostNotAllowed));
    let request = |method, path| rules.request(&host("api.test"), 443, method, path).map(|allowed| allowed.rule);
    assert_eq!(request("GET", "/v2/account?x=1"), Ok(Some(1)));
    assert_eq!(request("POST", "/v2/orders"), Ok(Some(2)));
    assert_eq!(request("POST", "/v2/account"), Err(DenialReason::PathNotAllowed));
    assert_eq!(request("DELETE", "/v2/orders"), Err(DenialReason::MethodNotAllowed));
    assert_eq!(request("get", "/v2/orders"), Err(DenialReason::MethodNotAllowed));
    assert_eq!(request("GET", "/v2/%2e%2e"), Err(DenialReason::PathAmbiguous));
    assert_eq!(request("GET", "/v2/a%2fb"), Err(DenialReason::PathAmbiguous));
    assert_eq!(rules.request(&host("api.test"), 80, "GET", "/v2/a"), Err(DenialReason::PortNotAllowed));
    assert_eq!(rules.request(&host("b.test"), 443, "GET", "/v2/a"), Err(DenialReason::HostNotAllowed));
}

#[test]
fn a_rule_without_paths_takes_paths_of_any_shape() {
    let rules = list(json!([{"host": "api.test", "methods": ["GET"]}]));
    assert!(rules.request(&host("api.test"), 443, "GET", "/a%2f..//b").is_ok());
}

#[test]
fn tunnels_and_echoes_are_never_let_through() {
    let open = Policy::Open.rulebook(&[]);
    for method in ["CONNECT", "TRACE", "trace", "Connect"] {
        assert_eq!(open.request(&host("a.test"), 443, method, "/"), Err(DenialReason::MethodNotAllowed));
    }
}

#[test]
fn a_binding_opens_its_host_and_nothing_else() {
    let none =
        Policy::None.rulebook(&[]).with_binding(bound("api.test", &["KEY"], &["/v2/**"])).expect("within bounds");
    assert_eq!(none.name(&host("api.test")), Ok(Some(0)));
    assert_eq!(none.connect(Some(&host("api.test")), 443), Verdict::Inspect { rule: 0 });
    assert_eq!(none.connect(Some(&host("b.test")), 443), Verdict::Refuse(DenialReason::HostNotAllowed));
    assert_eq!(none.connect(None, 443), Verdict::Refuse(DenialReason::AddressNotGiven));
    assert_eq!(none.request(&host("api.test"), 443, "GET", "/v1"), Err(DenialReason::PathNotAllowed));
}

#[test]
fn secrets_go_only_where_their_own_rule_lets_them() {
    let rules = list(json!([{"host": "api.test"}]))
        .with_binding(bound("api.test", &["SECRET", "KEY"], &["/v2/**"]))
        .and_then(|rules| rules.with_binding(bound("api.test", &["KEY", "OTHER"], &["/v2/a"])))
        .expect("within bounds");
    assert_eq!(rules.connect(Some(&host("api.test")), 443), Verdict::Inspect { rule: 1 });
    let request = |path| rules.request(&host("api.test"), 443, "GET", path).expect("the list allows it");
    assert_eq!(request("/v1"), Allowed { rule: Some(0), secrets: vec![] });
    assert_eq!(request("/v2/b"), Allowed { rule: Some(1), secrets: vec!["KEY", "SECRET"] });
    assert_eq!(request("/v2/a"), Allowed { rule: Some(1), secrets: vec!["KEY", "OTHER", "SECRET"] });
    assert_eq!(request("/v2/%2e%2e/v1"), Allowed { rule: Some(0), secrets: vec![] });
}

#[test]
fn bindings_are_bounded() {
    let mut rules = Policy::None.rulebook(&[]);
    for _ in 0..BINDINGS_MAX {
        rules = rules.with_binding(bound("api.test", &["KEY"], &[])).expect("within bounds");
    }
    assert!(rules.clone().with_binding(bound("api.test", &["KEY"], &[])).is_err());
    let pass = Rule { tls: TlsMode::Pass, ..bound("api.test", &["KEY"], &[]) };
    assert_eq!(Policy::None.rulebook(&[]).with_binding(pass), Err(BadRule::PassNeedsInside));
}
