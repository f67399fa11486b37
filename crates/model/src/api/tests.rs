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
    check(configure.check(), Code::NotSupported, "install_packages");
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
fn what_is_not_built_is_said() {
    for (name, value) in [
        ("secrets", json!(["KEY"])),
        ("install_packages", json!(["numpy"])),
        ("network", json!("open")),
        ("network", json!({"allow": [{"host": "example.com"}]})),
        ("swarm_id", json!("s")),
        ("agent_id", json!("a")),
        ("anthropic_key", json!("k")),
    ] {
        let request: CreateRequest = parse(json!({"template": "python", (name): value}));
        check(request.check(), Code::NotSupported, name);
    }
    let request: CreateRequest = parse(json!({"template": "python", "network": "none", "install_packages": []}));
    assert_eq!(request.check(), Ok(()));
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
