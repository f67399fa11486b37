use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::{ApiError, Code};

fn parse<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the seed's shape is accepted")
}

#[track_caller]
fn refused<T: DeserializeOwned>(value: Value) -> String {
    match serde_json::from_value::<T>(value) {
        Ok(_) => panic!("accepted"),
        Err(e) => e.to_string(),
    }
}

#[track_caller]
fn check(result: Result<(), ApiError>, code: Code, word: &str) {
    let error = result.expect_err("it is out of bounds");
    assert_eq!(error.code, code);
    assert!(error.message.contains(word), "{}", error.message);
}

#[test]
fn the_calls_of_the_seed_are_accepted() {
    let create: CreateRequest = parse(json!({"template": "python", "name": "trading-backtest", "timeout": 3600}));
    assert_eq!((create.check(), create.lifetime_s()), (Ok(()), 3600));
    let configure: ConfigureRequest = parse(json!({
        "sandbox_id": "ifxkb9zwglaz0pk5dc3zb",
        "env_vars": {
            "ALPACA_API_KEY": "your_key_here",
            "ALPACA_SECRET": "your_secret_here",
            "ALPACA_BASE_URL": "https://paper-api.alpaca.markets"
        },
        "install_packages": ["alpaca-py", "pandas", "numpy"]
    }));
    assert_eq!(configure.check(), Ok(()));
    let execute: ExecuteRequest =
        parse(json!({"sandbox_id": "ifxkb9zwglaz0pk5dc3zb", "code": "print(1)", "language": "python"}));
    assert_eq!((execute.timeout_s(), execute.wait_s()), (60.0, 50.0));
    let _: ExecuteRequest = parse(json!({"sandbox_id": "x", "code": "# Analyze data from Stage 1"}));
    let _: SandboxRequest = parse(json!({"sandbox_id": "..."}));
}

#[test]
fn the_results_of_the_seed_are_part_of_ours() {
    let seed = json!({
        "success": true, "execution_id": "exec_1757371623056abcdef", "sandbox_id": "ifxkb9zwglaz0pk5dc3zb",
        "output": "{}\n", "error": null, "exit_code": 0, "status": "completed", "execution_time": 0.5
    });
    let mut ours = seed.as_object().expect("an object").clone();
    let more = json!({
        "stderr": "", "cpu_time": 0.1, "memory_peak_bytes": 1, "truncated": false, "output_bytes": 3,
        "language": "python", "interpreter": "parked", "artifacts": [], "denials": [], "warnings": []
    });
    ours.extend(more.as_object().expect("an object").clone());
    let answer: ExecutionAnswer = parse(Value::Object(ours));
    let back = serde_json::to_value(answer).expect("plain");
    for (name, value) in seed.as_object().expect("an object") {
        assert_eq!(&back[name], value, "{name}");
    }
}

#[test]
fn unknown_arguments_are_refused_by_name() {
    let message = refused::<CreateRequest>(json!({"template": "python", "templat": 1}));
    assert!(message.contains("`templat`") && message.contains("`env_vars`"), "{message}");
    assert!(refused::<ExecuteRequest>(json!({"sandbox_id": "x", "code": "", "kernel": 1})).contains("`kernel`"));
    assert!(refused::<HealthRequest>(json!({"verbose": true})).contains("`verbose`"));
    assert!(refused::<CreateRequest>(json!({"template": "python", "limits": {"gpu": 1}})).contains("`gpu`"));
}

#[test]
fn null_is_as_good_as_absent() {
    let request: CreateRequest = parse(json!({
        "template": "python", "name": null, "timeout": null, "env_vars": null, "secrets": null,
        "install_packages": null, "metadata": null, "network": null, "limits": null
    }));
    assert_eq!(request, CreateRequest { template: "python".into(), ..CreateRequest::default() });
    assert_eq!(request.check(), Ok(()));
}

#[test]
fn values_of_the_environment_are_texts_and_are_never_repeated() {
    let vars: EnvVars = parse(json!({"A": "x", "B": 5, "C": 1.5, "D": true}));
    let pairs: Vec<_> = vars.iter().collect();
    assert_eq!(pairs, [("A", "x"), ("B", "5"), ("C", "1.5"), ("D", "true")]);
    assert_eq!(format!("{:?}", EnvVars::new([("KEY".into(), "hunter2".into())].into())), "{\"KEY\"}");
    for value in [json!("KEY=hunter2"), json!({"KEY": ["hunter2"]}), json!({"KEY": {"a": "hunter2"}})] {
        let message = refused::<CreateRequest>(json!({"template": "python", "env_vars": value}));
        assert!(!message.contains("hunter2"), "{message}");
    }
    assert_eq!(format!("{:?}", Hidden::new("hunter2".into())), "(hidden)");
}

#[test]
fn what_is_meant_to_be_an_id_is_short() {
    for (name, value) in [("swarm_id", "s".repeat(200)), ("agent_id", "a".repeat(200))] {
        let request: CreateRequest = parse(json!({"template": "python", (name): value}));
        check(request.check(), Code::InvalidArgument, name);
    }
    let request: CreateRequest = parse(json!({"template": "python", "network": "none", "install_packages": []}));
    assert_eq!(request.check(), Ok(()));
}

#[test]
fn names_with_versions_are_packages_and_nothing_else_is() {
    let create =
        |package: &str| -> CreateRequest { parse(json!({"template": "python", "install_packages": [package]})) };
    for good in ["numpy", "alpaca-py", "ta-lib==0.6.8", "scikit-learn>=1.5,<2", "httpx[http2]", "a ~= 1.0"] {
        assert_eq!(create(good).check(), Ok(()), "{good}");
    }
    // Of npm.
    for good in ["ws@8.18.0", "@alpacahq/alpaca-trade-api", "@types/ws@^8", "axios@latest", "a@>=1.0 <2"] {
        assert_eq!(create(good).check(), Ok(()), "{good}");
    }
    for bad in ["", "-r/etc/passwd", "--index-url=x", "git+https://x", "./here", "/abs", "a@", "x;y", "a\nb", "é"] {
        check(create(bad).check(), Code::InvalidArgument, "install_packages");
    }
    for bad in
        ["user/repository", "a@file:/etc", "a@npm:b@1", "a@https://x", "@scope", "@a/b/c", "@-a/b", "a@1 --global&"]
    {
        check(create(bad).check(), Code::InvalidArgument, "install_packages");
    }
}

#[test]
fn bounds_are_kept() {
    let create = |name: &str, value: Value| -> CreateRequest { parse(json!({"template": "python", (name): value})) };
    check(create("name", json!("x".repeat(129))).check(), Code::InvalidArgument, "name");
    check(create("name", json!("a\nb")).check(), Code::InvalidArgument, "name");
    check(create("name", json!("ifxkb9zwglaz0pk5dc3zb")).check(), Code::InvalidArgument, "id");
    check(create("timeout", json!(0)).check(), Code::InvalidArgument, "timeout");
    check(create("metadata", json!({"a": "x".repeat(17_000)})).check(), Code::TooLarge, "metadata");
    check(create("env_vars", json!({"A=B": "x"})).check(), Code::InvalidArgument, "A=B");
    check(create("env_vars", json!({"A": "x".repeat(140_000)})).check(), Code::TooLarge, "env_vars");
    check(create("limits", json!({"memory_mb": 1})).check(), Code::InvalidArgument, "limits.memory_mb");
    check(create("limits", json!({"cpu": -1})).check(), Code::InvalidArgument, "limits.cpu");

    let execute = |name: &str, value: Value| -> ExecuteRequest {
        let mut request = json!({"sandbox_id": "x", "code": ""});
        request[name] = value;
        parse(request)
    };
    check(execute("code", json!("x".repeat(CODE_BYTES_MAX + 1))).check(), Code::TooLarge, "code");
    check(execute("stdin", json!("x".repeat(STDIN_BYTES_MAX + 1))).check(), Code::TooLarge, "stdin");
    check(execute("timeout", json!(0)).check(), Code::InvalidArgument, "timeout");
    check(execute("wait", json!(-1)).check(), Code::InvalidArgument, "wait");
    assert_eq!(execute("wait", json!(500)).wait_s(), WAIT_S_MAX);
    assert_eq!(execute("background", json!(true)).wait_s(), 0.0);

    let upload: UploadRequest = parse(json!({"sandbox_id": "x", "file_path": "a"}));
    check(upload.check(), Code::InvalidArgument, "content");
    let upload: UploadRequest = parse(json!({"sandbox_id": "x", "file_path": "a", "content": ""}));
    assert_eq!(upload.check(), Ok(()));
}

#[test]
fn a_network_is_judged_with_the_rest() {
    let create = |network: Value| -> CreateRequest { parse(json!({"template": "python", "network": network})) };
    for network in
        [json!("none"), json!("packages"), json!("open"), json!({"allow": [{"host": "a.test", "ports": [80]}]})]
    {
        assert_eq!(create(network.clone()).check(), Ok(()));
        let configure: ConfigureRequest = parse(json!({"sandbox_id": "x", "network": network}));
        assert_eq!(configure.check(), Ok(()));
    }
    for (rule, word) in [
        (json!({"host": "*"}), "every host"),
        (json!({"host": "10.0.0.1"}), "`allow[0]`"),
        (json!({"host": "a.test", "ports": ["9-1"]}), "port"),
        (json!({"host": "a.test", "methods": ["CONNECT"]}), "tunnel"),
    ] {
        check(create(json!({"allow": [rule]})).check(), Code::InvalidArgument, word);
    }
    let open = create(json!("open")).network.expect("given");
    assert_eq!(open.check_actor(Actor::Operator), Ok(()));
    check(open.check_actor(Actor::Agent), Code::PermissionDenied, "operator");
    assert_eq!(create(json!("packages")).network.expect("given").check_actor(Actor::Agent), Ok(()));
    let names = |names: Value| -> ConfigureRequest { parse(json!({"sandbox_id": "x", "secrets": names})) };
    assert_eq!(names(json!(["ALPACA_API_KEY", "a.b-c"])).check(), Ok(()));
    check(names(json!(["KEY=hunter"])).check(), Code::InvalidArgument, "`secrets`");
    check(names(json!(vec!["x"; SECRETS_MAX + 1])).check(), Code::InvalidArgument, "`secrets`");
}

#[test]
fn a_network_is_shown_in_a_line() {
    for (network, line) in [
        (json!("packages"), "packages"),
        (json!({"allow": []}), "none"),
        (
            json!({"allow": [{"host": "a.test"}, {"host": "*.b.test", "ports": [80, "8000-8010"]}]}),
            "a.test, *.b.test:80,8000-8010",
        ),
        (json!({"allow": [{"host": "a.test", "methods": ["GET"], "paths": ["/v2/**"]}]}), "a.test (GET /v2/**)"),
    ] {
        assert_eq!(parse::<Network>(network).to_string(), line);
    }
}

#[test]
fn equal_refusals_are_one_with_their_number() {
    use crate::{
        SandboxId,
        net::{self, DenialReason, HostName, Protocol},
    };
    let id = SandboxId::from_random([7; 20]);
    let host = HostName::parse("api.example.com").expect("a name");
    let asked = |at_ms: u64, method: &str| {
        net::Denial::new(at_ms, Protocol::Http, DenialReason::MethodNotAllowed)
            .with_host(&id, &host, Some(443))
            .with_request(method, "/v2/orders?key=hunter2")
    };
    let udp = net::Denial::new(1, Protocol::Udp, DenialReason::UdpRefused).with_address([8, 8, 8, 8].into(), 123);
    let merged = Denial::merge(&[asked(1, "POST"), udp, asked(2, "POST"), asked(3, "PUT"), asked(4, "POST")]);
    let shown: Vec<_> = merged.iter().map(|d| (d.destination.as_str(), d.method.as_deref(), d.count)).collect();
    let site = "api.example.com:443";
    assert_eq!(shown, [(site, Some("POST"), 3), ("8.8.8.8:123", None, 1), (site, Some("PUT"), 1)]);
    assert_eq!(merged[0].path.as_deref(), Some("/v2/orders"));
    assert_eq!(merged[0].allow_with, format!("ringfence sandbox configure {id} --allow api.example.com:443"));
    assert_eq!((merged[1].code, merged[1].allow_with.as_str()), (DenialReason::UdpRefused, ""));
    assert_eq!(serde_json::to_value(&merged[1]).expect("plain")["code"], "udp_refused");
    let many: Vec<_> = (0..1000).map(|port| asked(0, &format!("M{port}"))).collect();
    assert_eq!(Denial::merge(&many).len(), DENIALS_MAX);
    assert_eq!(Denial::merge(&[]), []);
}

#[test]
fn a_secret_says_where_it_may_go_or_nothing() {
    let set = |more: Value| -> SecretSetRequest {
        let mut request = json!({"name": "KEY", "value": "hunter2"});
        request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        parse(request)
    };
    assert_eq!(set(json!({})).checked(), Ok(None));
    let bound =
        set(json!({"hosts": ["API.example.com."], "ports": [8443], "placements": ["header:X-Api-Key", "basic:user"]}));
    let bound = bound.checked().expect("sound").expect("said");
    assert_eq!(bound.hosts[0].as_str(), "api.example.com");
    let there = json!(["bearer"]);
    for (more, word) in [
        (json!({"name": "A B"}), "A B"),
        (json!({"name": ""}), "name"),
        (json!({"value": ""}), "`value`"),
        (json!({"hosts": ["a.test"]}), "`placements`"),
        (json!({"placements": there}), "`hosts`"),
        (json!({"ports": [80]}), "`hosts`"),
        (json!({"hosts": ["*.a.test"], "placements": there}), "exact"),
        (json!({"hosts": ["1.2.3.4"], "placements": there}), "`hosts`"),
        (json!({"hosts": ["a.test"], "ports": [0], "placements": there}), "`ports`"),
        (json!({"hosts": vec!["a.test"; SECRET_HOSTS_MAX + 1], "placements": there}), "`hosts`"),
    ] {
        let error = set(more.clone()).checked().expect_err("out of bounds");
        assert_eq!(error.code, Code::InvalidArgument, "{more}");
        assert!(error.message.contains(word) && !error.message.contains("hunter2"), "{more}: {}", error.message);
    }
    for place in ["", "body", "bearer:x", "header:", "header:A B", "header:A\n", "basic:pass", "query:", "frame:\0"] {
        let error = set(json!({"hosts": ["a.test"], "placements": [place]})).checked().expect_err("no place");
        assert!(error.message.contains("basic:user"), "{place:?}");
    }
    check(set(json!({"value": "x".repeat(SECRET_BYTES_MAX + 1)})).checked().map(drop), Code::TooLarge, "value");
    assert!(!format!("{:?}", set(json!({}))).contains("hunter2"));
}
