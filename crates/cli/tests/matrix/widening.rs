//! An agent cannot be allowed more than it was given by anything that it writes into the arguments of its tools. Each argument that the
//! tools list is tried; what is refused for the role is done by the operator with the same values, and what is bounded is bounded for
//! the operator too.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    scene::{Answer, Daemon},
    table::Things,
};

/// What becomes of an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It is refused so, and the operator does it.
    OperatorsAlone(&'static str),
    /// It is refused so, to the operator as well.
    Nobodys(&'static str),
    /// It is done, and gives nothing: what the sandbox may is as before.
    Nothing,
}
use Then::{Nobodys, Nothing, OperatorsAlone};

impl Then {
    /// The code that the agent reads; empty when it is done.
    fn code(self) -> &'static str {
        match self {
            OperatorsAlone(code) | Nobodys(code) => code,
            Nothing => "",
        }
    }

    /// The code that the operator reads for the same.
    fn operators_code(self) -> &'static str {
        match self {
            Nobodys(code) => code,
            OperatorsAlone(_) | Nothing => "",
        }
    }
}

struct Scene {
    daemon: Daemon,
    /// An agent of a project that is not the first one, and of the first.
    fund: String,
    first: String,
    operator: String,
    theirs: Things,
}

impl Scene {
    fn new() -> Self {
        let daemon = Daemon::start("matrix-widen");
        // What there is to be had: a stored secret, an exported template, another project's things, limits and budgets.
        let (theirs, _) = (daemon.things("rival", 0), daemon.things("default", 0));
        let operator = daemon.token("operator", None);
        let secret =
            json!({"value": "hunter2-of-the-operator", "hosts": ["api.example.com"], "placements": ["bearer"]});
        daemon.done(&operator, "PUT", "/v1/secrets/STORED", &secret);
        // An agent of a swarm without a sandbox, for who may have it.
        daemon.done(&operator, "POST", &format!("/v1/swarms/{}/agents", theirs.swarm), &json!({}));
        let (fund, first) = (daemon.token("agent", Some("fund")), daemon.token("agent", Some("default")));
        Self { daemon, fund, first, operator, theirs }
    }

    /// The arguments that a tool lists.
    fn arguments(&self, tool: &str) -> BTreeSet<String> {
        let tools = self.daemon.mcp(&self.fund, "tools/list", &json!({}))["tools"].clone();
        let tools = tools.as_array().expect("tools");
        let found = tools.iter().find(|listed| listed["name"] == tool).unwrap_or_else(|| panic!("no tool {tool}"));
        found["inputSchema"]["properties"].as_object().expect("arguments").keys().cloned().collect()
    }

    /// What a sandbox may, as the operator reads it.
    fn granted(&self, sandbox: &str) -> Value {
        let status = self.daemon.done(&self.operator, "GET", &format!("/v1/sandboxes/{sandbox}"), &Value::Null);
        let sandbox = &status["sandbox"];
        json!({
            "policy": sandbox["network"]["policy"], "secrets": sandbox["network"]["secrets"], "limits": sandbox["limits"],
            "timeout": sandbox["timeout"],
        })
    }

    /// Whether what the tool lists is what is tried, no argument more or less.
    #[track_caller]
    fn check_complete(&self, tool: &str, tried: &[(&str, Value, Then)], others: &[&str]) {
        let tried: BTreeSet<String> =
            tried.iter().map(|(name, ..)| *name).chain(others.iter().copied()).map(str::to_owned).collect();
        assert_eq!(self.arguments(tool), tried, "{tool}");
    }

    /// A sandbox of a project, with its defaults.
    fn sandbox(&self, secret: &str) -> String {
        let made = self.daemon.done(secret, "POST", "/v1/sandboxes", &json!({"template": "python"}));
        made["sandbox_id"].as_str().expect("an id").to_owned()
    }

    fn delete(&self, sandbox: &str) {
        self.daemon.done(&self.operator, "DELETE", &format!("/v1/sandboxes/{sandbox}"), &Value::Null);
    }
}

/// What both `sandbox_create` and `sandbox_configure` take, with the widest that can be written.
fn shared() -> Vec<(&'static str, Value, Then)> {
    vec![
        ("network", json!("open"), OperatorsAlone("PERMISSION_DENIED")),
        ("timeout", json!(604_801), Nobodys("INVALID_ARGUMENT")),
        ("install_packages", json!(["--index-url=http://evil.example/"]), Nobodys("INVALID_ARGUMENT")),
        ("env_vars", json!({"RINGFENCE_ROLE": "operator", "RINGFENCE_PROJECT": "rival"}), Nothing),
        ("expose", json!(true), Nothing),
        // What nobody has told it of.
        ("network", json!({"allow": [{"host": "169.254.169.254"}]}), Nobodys("INVALID_ARGUMENT")),
        ("network", json!({"allow": [{"host": "*"}]}), Nobodys("INVALID_ARGUMENT")),
    ]
}

/// What only `sandbox_create` takes.
fn of_create(theirs: &Things) -> Vec<(&'static str, Value, Then)> {
    vec![
        ("secrets", json!(["STORED"]), OperatorsAlone("INVALID_ARGUMENT")),
        ("template", json!("house-0"), OperatorsAlone("TEMPLATE_NOT_FOUND")),
        ("template", json!("rival/house-0"), OperatorsAlone("TEMPLATE_NOT_FOUND")),
        ("trading", json!({"account": "whole"}), OperatorsAlone("PERMISSION_DENIED")),
        ("swarm_id", json!(theirs.swarm), OperatorsAlone("SWARM_NOT_FOUND")),
        ("agent_id", json!("a00000000000"), Nobodys("SWARM_NOT_FOUND")),
        ("limits", json!({"memory_mb": 65_537}), Nobodys("INVALID_ARGUMENT")),
        ("limits", json!({"cpu": 65}), Nobodys("INVALID_ARGUMENT")),
        ("limits", json!({"disk_mb": 65_537}), Nobodys("INVALID_ARGUMENT")),
        ("limits", json!({"processes": 16_385}), Nobodys("INVALID_ARGUMENT")),
        ("limits", json!({"role": "operator"}), Nobodys("INVALID_ARGUMENT")),
        ("name", json!("operator"), Nothing),
        ("metadata", json!({"role": "operator", "project": "rival"}), Nothing),
        ("anthropic_key", json!("sk-ant-of-its-own"), Nothing),
        ("startup_script", json!("true"), Nothing),
    ]
}

/// What no tool lists.
fn unlisted(names: &[&'static str]) -> Vec<(&'static str, Value, Then)> {
    names.iter().map(|name| (*name, json!("operator"), Nobodys("INVALID_ARGUMENT"))).collect()
}

#[test]
fn no_argument_of_an_agents_gives_a_sandbox_more() {
    let scene = Scene::new();
    let Scene { daemon, fund, first, operator, theirs } = &scene;
    let plain = scene.sandbox(fund);
    let granted = scene.granted(&plain);
    assert_eq!((&granted["policy"], &granted["secrets"]), (&json!("none"), &json!([])), "{granted}");
    scene.delete(&plain);
    let made_in = |answer: &Answer| {
        let after = answer.text.split_once(r#""sandbox_id":""#).expect("an id").1;
        after.split_once('"').expect("its end").0.to_owned()
    };

    let create = [shared(), of_create(theirs)].concat();
    scene.check_complete("sandbox_create", &create, &[]);
    let create = [create, unlisted(&["project", "role", "actor", "token", "credits", "budget"])].concat();
    for (name, value, then) in &create {
        let mut body = json!({"template": "python"});
        body[*name] = value.clone();
        let what = format!("sandbox_create {body}");
        let attempts = [daemon.call(fund, "sandbox_create", &body), daemon.rest(fund, "POST", "/v1/sandboxes", &body)];
        for answer in attempts {
            assert_eq!(answer.code, then.code(), "{what}: {answer:?}");
            if answer.code.is_empty() {
                let made = made_in(&answer);
                let mut now = scene.granted(&made);
                if *name == "anthropic_key" {
                    // A key of its own is sealed for its own host, which it does not reach without a policy.
                    assert_eq!(now["secrets"], json!(["ANTHROPIC_API_KEY"]), "{what}");
                    now["secrets"] = json!([]);
                }
                assert_eq!(now, granted, "{what}");
                scene.delete(&made);
            }
        }
        let by_operator = daemon.rest(operator, "POST", "/v1/sandboxes", &body);
        assert_eq!(by_operator.code, then.operators_code(), "the control, {what}: {by_operator:?}");
        if by_operator.code.is_empty() {
            scene.delete(&made_in(&by_operator));
        }
    }

    let of_configure = vec![
        ("sandbox_id", json!(theirs.sandbox), OperatorsAlone("SANDBOX_NOT_FOUND")),
        // The sandbox is of a project that has none of that name, whoever asks. The control comes below.
        ("secrets", json!(["STORED"]), Nobodys("INVALID_ARGUMENT")),
        ("env_mode", json!("replace"), Nothing),
        ("unset_env", json!(["PATH"]), Nothing),
        ("run_commands", json!(["true"]), Nothing),
    ];
    let configure = [shared(), of_configure].concat();
    scene.check_complete("sandbox_configure", &configure, &[]);
    let configure = [configure, unlisted(&["limits", "project", "role", "trading", "public", "egress"])].concat();
    for (name, value, then) in &configure {
        let own = scene.sandbox(fund);
        let mut body = json!({"sandbox_id": own});
        body[*name] = value.clone();
        let what = format!("sandbox_configure {body}");
        let path = format!("/v1/sandboxes/{}/configure", body["sandbox_id"].as_str().expect("an id"));
        let attempts = [daemon.call(fund, "sandbox_configure", &body), daemon.rest(fund, "POST", &path, &body)];
        for answer in attempts {
            assert_eq!(answer.code, then.code(), "{what}: {answer:?}");
            assert_eq!(scene.granted(&own), granted, "{what}");
        }
        let by_operator = daemon.rest(operator, "POST", &path, &body);
        assert_eq!(by_operator.code, then.operators_code(), "the control, {what}: {by_operator:?}");
        if matches!((*name, then), ("network", OperatorsAlone(_))) {
            assert_ne!(scene.granted(&own), granted, "the control has an effect, {what}");
        }
        scene.delete(&own);
    }
    // Who is of the project that the secret was stored in may have it used.
    let firsts = scene.sandbox(first);
    let body = json!({"sandbox_id": firsts, "secrets": ["STORED"]});
    assert_eq!(daemon.call(first, "sandbox_configure", &body).code, "", "the control");
    assert_eq!(scene.granted(&firsts)["secrets"], json!(["STORED"]), "the control has an effect");
    scene.delete(&firsts);
}

/// Each limit with a value that the operator sets, and one that lets more through.
const LIMITS: &[(&str, &str, &str)] = &[
    ("permitted_symbols", "AAPL", "AAPL,MSFT"),
    ("restricted_symbols", "AAPL,MSFT", "AAPL"),
    ("permitted_asset_classes", "us_equity", "us_equity,crypto"),
    ("permitted_order_types", "limit", "limit,market"),
    ("permitted_time_in_force", "day", "day,gtc"),
    ("permitted_order_classes", "simple", "simple,bracket"),
    ("no_advanced_instructions", "yes", "no"),
    ("max_order_qty", "5", "6"),
    ("max_notional_per_order", "500", "501"),
    ("price_collar_percent", "5", "6"),
    ("max_reference_age_s", "30", "31"),
    ("max_position_notional", "500", "501"),
    ("max_gross_notional", "500", "501"),
    ("no_shorting", "yes", "no"),
    ("max_concentration_percent", "5", "6"),
    ("max_open_orders", "5", "6"),
    ("max_daily_notional", "500", "501"),
    ("max_daily_orders", "5", "6"),
    ("max_daily_turnover", "500", "501"),
    ("max_rolling_notional", "500", "501"),
    ("max_rolling_orders", "5", "6"),
    ("max_rolling_turnover", "500", "501"),
    ("max_messages_per_s", "5", "6"),
    ("max_repeated_fills", "5", "6"),
    ("repeated_window_s", "60", "59"),
    ("duplicate_window_s", "60", "59"),
    ("no_self_trade", "yes", "no"),
    ("max_daily_loss_percent", "1", "2"),
    ("max_drawdown_percent", "5", "6"),
    ("max_refusals_in_a_row", "3", "4"),
    ("trading_hours", "regular", "any"),
    ("no_trade_windows", "09:30-10:00", "09:30-09:45"),
    ("cancel_on_disconnect", "yes", "no"),
    ("heartbeat_timeout_s", "30", "31"),
    ("two_step_above", "500", "501"),
];

#[test]
fn no_argument_of_an_agents_loosens_trading_or_gives_credits() {
    let scene = Scene::new();
    let Scene { daemon, fund, first, operator, theirs, .. } = &scene;
    let own = scene.sandbox(first);
    scene.check_complete("trading_limits", &[], &["sandbox_id", "tighten"]);
    let limits = daemon.done(operator, "GET", "/v1/trade/limits", &Value::Null)["limits"].clone();
    let names = limits.as_array().expect("limits").iter().map(|limit| limit["name"].as_str().expect("a name"));
    assert_eq!(names.collect::<Vec<_>>(), LIMITS.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
    let set = |name: &str, value: &str| {
        let mut body = json!({"limits": {}});
        body["limits"][name] = json!(value);
        daemon.rest(operator, "PUT", "/v1/trade/limits", &body)
    };
    for (name, value, _) in LIMITS {
        let answer = set(name, value);
        assert_eq!(answer.code, "", "{name}: {answer:?}");
    }
    let in_force =
        || daemon.done(first, "GET", &format!("/v1/trade/limits?sandbox_id={own}"), &Value::Null)["limits"].clone();
    let before = in_force();
    for (name, _, looser) in LIMITS {
        for value in [*looser, "none", "default"] {
            let mut tighten = json!({});
            tighten[*name] = json!(value);
            for arguments in [json!({"sandbox_id": own, "tighten": tighten}), json!({"tighten": tighten})] {
                let attempts = [
                    daemon.call(first, "trading_limits", &arguments),
                    daemon.rest(first, "POST", "/v1/trade/limits/tighten", &arguments),
                ];
                for answer in attempts {
                    // What the operator has set to its default may be said again; it changes nothing.
                    assert!(value == "default" || !answer.code.is_empty(), "{name}={value}: {answer:?}");
                }
            }
            let direct = daemon.rest(first, "PUT", "/v1/trade/limits", &json!({"sandbox_id": own, "limits": tighten}));
            assert_eq!(direct.code, "PERMISSION_DENIED", "{name}={value}: {direct:?}");
        }
        assert_eq!(in_force(), before, "{name}");
    }
    // The controls: it may tighten, and the operator loosens to each of those values.
    let tighter = json!({"sandbox_id": own, "tighten": {"max_order_qty": "4"}});
    assert_eq!(daemon.call(first, "trading_limits", &tighter).code, "");
    for (name, _, looser) in LIMITS {
        let answer = set(name, looser);
        assert_eq!(answer.code, "", "the control, {name}={looser}: {answer:?}");
    }
    assert_ne!(in_force(), before);

    scene.check_complete("trading_halt", &[], &["sandbox_id", "account", "reason", "cancel", "flatten"]);
    let flatten = json!({"flatten": true});
    for answer in [daemon.call(first, "trading_halt", &flatten), daemon.rest(first, "POST", "/v1/trade/halt", &flatten)]
    {
        assert_eq!(answer.code, "PERMISSION_DENIED", "{answer:?}");
    }
    // What widens, over the only face that has it; and budgets, whoever's they are.
    let widening = [
        ("PUT", "/v1/trade/mode", json!({"mode": "simulated"})),
        ("POST", "/v1/trade/reduce", json!({})),
        ("POST", "/v1/trade/resume", json!({})),
        ("POST", "/v1/trade/halt", flatten),
        ("POST", "/v1/credits/grant", json!({"credits": 5})),
        ("POST", "/v1/credits/grant", json!({"credits": 5, "project": "fund", "key": "again"})),
        ("PUT", "/v1/credits/budget", json!({"credits": 1_000_000})),
        ("PUT", "/v1/credits/budget", json!({"unlimited": true, "project": "fund"})),
        ("PUT", "/v1/secrets/MINE", json!({"value": "long-enough", "hosts": ["a.example"], "placements": ["bearer"]})),
        ("POST", "/v1/tokens", json!({"name": "more", "role": "operator"})),
    ];
    daemon.said(&["credits", "budget", "100", "--project", "fund"]);
    let balance = || daemon.said(&["credits", "balance", "--project", "fund"])["budget"].clone();
    let budget = balance();
    for (method, path, body) in &widening {
        for agent in [fund, first] {
            for head in [(*method).to_owned(), format!("{method}\nx-ringfence-actor: operator\r\n")] {
                let (status, said) = daemon.send(agent, &head, path, body);
                assert_eq!(status, 403, "{head:?} {path} {body}: {said}");
            }
        }
        assert_eq!(balance(), budget, "{path} {body}");
    }
    for (method, path, body) in &widening {
        let answer = daemon.rest(operator, method, path, body);
        assert_eq!(answer.code, "", "the control, {method} {path} {body}: {answer:?}");
    }
    assert_ne!(balance(), budget, "the control has an effect");

    // Of another project nobody is told what it has, whether there is one or not; nor of its sandboxes' use.
    scene.check_complete("check_balance", &[], &["project"]);
    scene.check_complete("usage", &[], &["by", "sandbox_id", "days", "limit", "project"]);
    for tool in ["check_balance", "usage"] {
        let [rival, nobody] = ["rival", "nobody"].map(|project| daemon.call(fund, tool, &json!({"project": project})));
        assert_eq!((rival.code.as_str(), &rival), ("PERMISSION_DENIED", &nobody), "{tool}");
    }
    let usage = daemon.call(fund, "usage", &json!({"by": "project"}));
    assert!(usage.code.is_empty() && !usage.text.contains("rival"), "{usage:?}");
    let usage = daemon.call(fund, "usage", &json!({"by": "sandbox", "sandbox_id": theirs.sandbox}));
    assert_eq!(usage.code, "SANDBOX_NOT_FOUND", "{usage:?}");

    // A port is opened to everybody by the operator alone.
    let sandbox = scene.sandbox(fund);
    let (path, public) = (format!("/v1/sandboxes/{sandbox}/preview"), json!({"port": 8000, "public": true}));
    assert_eq!(daemon.rest(fund, "POST", &path, &public).code, "PERMISSION_DENIED");
    assert_eq!(daemon.rest(operator, "POST", &path, &public).code, "", "the control");
}
