//! Tokens, roles and projects through the real daemon: what comes in over TCP with a token finds its own project's things, and
//! nobody else's.

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use common::ringfence;

const UNKNOWN: &str = "i00000000000000000000";

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// What a program that knows nothing of us sends.
fn ask(secret: Option<&str>, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    // Of 1.0, so that no answer comes in chunks.
    let mut request = format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\n");
    if let Some(secret) = secret {
        request += &format!("authorization: Bearer {secret}\r\n");
    }
    let request = format!("{request}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(common::tcp()).expect("the daemon listens");
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout can be set");
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer of HTTP: {answer}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

#[track_caller]
fn said(home: &Path, args: &[&str]) -> Value {
    let output = ringfence(home, args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
}

/// Id and secret of a new token.
fn token(home: &Path, role: &str, project: &str, more: &[&str]) -> (String, String) {
    let mut args = vec!["token", "create", "--role", role, "--project", project, "--name", "access-test", "--json"];
    args.extend(more);
    let made = said(home, &args);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&made["token"]["id"]), text(&made["secret"]))
}

#[test]
fn a_token_finds_what_is_of_its_project_and_nothing_else() {
    let home = common::shared();
    let (fund_id, fund) = token(home, "agent", "fund", &[]);
    let (rival_id, rival) = token(home, "agent", "rival", &[]);
    let (auditor_id, auditor) = token(home, "auditor", "fund", &[]);
    assert!(fund.starts_with("rf_") && fund.len() == 67, "64 digits of 32 random bytes");

    let body = json!({"template": "python", "name": "lab", "timeout": 300});
    let made = ask(Some(&fund), "POST", "/v1/sandboxes", &body);
    assert_eq!(made.status, 201, "{}", made.body);
    let id = made.json()["sandbox_id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/sandboxes/{id}");
    let run = json!({"code": "print(6 * 7)"});
    let ran = ask(Some(&fund), "POST", &format!("{path}/execute"), &run);
    assert_eq!((ran.status, ran.json()["output"].as_str()), (200, Some("42\n")), "{}", ran.body);
    let execution = format!("/v1/executions/{}", ran.json()["execution_id"].as_str().expect("an id"));

    // Another project's agent, and the installation's own token, get what they get for an id that nobody has.
    let own = std::fs::read_to_string(home.join("run/token")).expect("the installation's token");
    for other in [rival.as_str(), own.trim()] {
        for (method, rest, body) in [
            ("GET", "", Value::Null),
            ("GET", "/logs", Value::Null),
            ("POST", "/execute", run.clone()),
            ("POST", "/pause", json!({})),
            ("GET", "/files?path=a", Value::Null),
            ("PUT", "/files", json!({"file_path": "a", "content": "b"})),
            ("POST", "/clone", json!({})),
            ("DELETE", "", Value::Null),
        ] {
            let theirs = ask(Some(other), method, &format!("{path}{rest}"), &body);
            let nobodys = ask(Some(other), method, &format!("/v1/sandboxes/{UNKNOWN}{rest}"), &body);
            assert_eq!(theirs.status, 404, "{method} {rest}: {}", theirs.body);
            assert_eq!((theirs.status, theirs.body.replace(&id, UNKNOWN)), (nobodys.status, nobodys.body));
        }
        assert_eq!(ask(Some(other), "GET", "/v1/sandboxes/lab", &Value::Null).status, 404, "nor by name");
        assert_eq!(ask(Some(other), "GET", &execution, &Value::Null).status, 404);
        for list in ["/v1/sandboxes", "/v1/audit", "/v1/egress"] {
            let listed = ask(Some(other), "GET", list, &Value::Null);
            assert!(listed.status == 200 && !listed.body.contains(&id), "{list}: {}", listed.body);
        }
    }
    // The control: its own project finds it in all of them.
    assert_eq!(ask(Some(&fund), "GET", &execution, &Value::Null).status, 200);
    for list in ["/v1/sandboxes", "/v1/audit"] {
        assert!(ask(Some(&fund), "GET", list, &Value::Null).body.contains(&id), "{list}");
    }

    // An auditor reads, and changes nothing.
    assert_eq!(ask(Some(&auditor), "GET", &path, &Value::Null).status, 200);
    assert_eq!(ask(Some(&auditor), "GET", &format!("{path}/logs"), &Value::Null).status, 200);
    for (method, path, body) in [
        ("POST", format!("{path}/execute"), run.clone()),
        ("DELETE", path.clone(), Value::Null),
        ("POST", "/v1/sandboxes".to_owned(), json!({"template": "python"})),
    ] {
        assert_eq!(ask(Some(&auditor), method, &path, &body).status, 403, "{method} {path}");
    }
    // No agent makes tokens, or widens what it was given.
    let wish = json!({"name": "more", "role": "operator"});
    assert_eq!(ask(Some(&fund), "POST", "/v1/tokens", &wish).status, 403);
    let open = json!({"template": "python", "network": "open"});
    assert_eq!(ask(Some(&fund), "POST", "/v1/sandboxes", &open).status, 403);

    // The command line knows the same projects.
    let listed = said(home, &["sandbox", "ls", "--project", "fund", "--json"]);
    assert!(listed.to_string().contains(&id), "{listed}");
    assert!(!said(home, &["sandbox", "ls", "--project", "rival", "--json"]).to_string().contains(&id));
    let projects = said(home, &["project", "ls", "--json"]).to_string();
    assert!(projects.contains("\"fund\"") && projects.contains("\"rival\""), "{projects}");
    let tokens = said(home, &["token", "ls", "--json"]).to_string();
    assert!(tokens.contains(&fund_id) && !tokens.contains(&fund), "ids are listed, secrets are not");
    let audit = said(home, &["audit", "tail", "-n", "1000", "--json"]).to_string();
    assert!(audit.contains("token.create") && !audit.contains(&fund), "audited without the secret");

    assert_eq!(ask(Some(&fund), "DELETE", &path, &Value::Null).status, 200);
    for token in [&rival_id, &auditor_id, &fund_id] {
        said(home, &["token", "revoke", token, "--json"]);
    }
    for secret in [&fund, &rival, &auditor] {
        let refused = ask(Some(secret), "GET", "/v1/sandboxes", &Value::Null);
        assert_eq!(refused.status, 401, "{}", refused.body);
        assert!(refused.head.contains("www-authenticate: bearer resource_metadata="), "{}", refused.head);
    }
}

/// Sandboxes of every project are made from it.
#[test]
fn what_an_operator_built_is_no_other_projects_to_delete() {
    let home = common::shared();
    let recipe = tempfile::tempdir().expect("a directory");
    let text = "name = \"access-house\"\ndescription = \"Ours\"\nlanguage = \"bash\"\ndebian = \"bookworm\"\n";
    std::fs::write(recipe.path().join("template.toml"), text).expect("a recipe");
    said(home, &["template", "build", recipe.path().to_str().expect("plain"), "--json"]);
    const PATH: &str = "/v1/templates/access-house";
    for (role, project) in [("agent", "rival"), ("operator", "rival"), ("agent", "default")] {
        let (id, secret) = token(home, role, project, &[]);
        let refused = ask(Some(&secret), "DELETE", PATH, &Value::Null);
        assert_eq!(refused.status, 403, "{role} of {project}: {}", refused.body);
        assert_eq!(ask(Some(&secret), "GET", PATH, &Value::Null).status, 200, "{role} of {project}");
        said(home, &["token", "revoke", &id, "--json"]);
    }
    said(home, &["template", "rm", "access-house", "--json"]);
}

#[test]
fn jobs_are_of_the_project_that_began_them() {
    let home = common::shared();
    let (fund_id, fund) = token(home, "agent", "fund", &[]);
    let (rival_id, rival) = token(home, "agent", "rival", &[]);
    let begin = |secret: &str, path: &str, body: Value, id: &str| {
        let made = ask(Some(secret), "POST", path, &body);
        assert!(matches!(made.status, 200 | 201), "{path}: {} {}", made.status, made.body);
        made.json()[id].as_str().expect("an id").to_owned()
    };
    let asked = json!({"topology": "mesh", "name": "desk", "maxAgents": 1});
    let swarm = begin(&fund, "/v1/swarms", asked.clone(), "swarm_id");
    // A name is taken for its own project alone.
    let theirs = begin(&rival, "/v1/swarms", asked.clone(), "swarm_id");
    assert_eq!(ask(Some(&fund), "POST", "/v1/swarms", &asked).status, 400, "taken");
    let code = json!({"task": "say", "swarm_id": swarm, "code": "print(1)", "wait": 60});
    let task = begin(&fund, "/v1/tasks", code, "task_id");
    let stage = json!({"name": "a", "template": "python", "code": "open('a', 'w').write('x')", "outputs": ["a"]});
    let pipeline = begin(&fund, "/v1/pipelines", json!({"stages": [stage.clone()], "wait": 60}), "pipeline_id");
    let grid = json!({"strategies": ["buy_and_hold"], "symbols": ["AAPL"], "wait": 120});
    let sweep = begin(&fund, "/v1/sweeps", grid, "sweep_id");

    let jobs = [
        ("/v1/swarms", &swarm, vec![("GET", ""), ("POST", "/agents"), ("POST", "/scale"), ("DELETE", "")]),
        ("/v1/tasks", &task, vec![("GET", ""), ("DELETE", "")]),
        (
            "/v1/pipelines",
            &pipeline,
            vec![("GET", ""), ("POST", "/resume"), ("POST", "/cancel"), ("GET", "/output?stage=a&path=a")],
        ),
        ("/v1/sweeps", &sweep, vec![("GET", ""), ("POST", "/cancel"), ("GET", "/results"), ("GET", "/report")]),
    ];
    for (path, id, routes) in &jobs {
        // An id of the same kind that nobody has.
        let (kind, digits) = id.split_once('_').expect("a kind and digits");
        let unknown = format!("{kind}_{}", "0".repeat(digits.len()));
        for (method, rest) in routes {
            let body = if *rest == "/scale" { json!({"max_agents": 2}) } else { json!({}) };
            let body = if *method == "POST" { body } else { Value::Null };
            let of = |secret: &str, id: &str| ask(Some(secret), method, &format!("{path}/{id}{rest}"), &body);
            let (theirs, nobodys) = (of(&rival, id), of(&rival, &unknown));
            assert_eq!(theirs.status, 404, "{method} {path}{rest}: {}", theirs.body);
            assert_eq!((theirs.status, theirs.body.replace(*id, &unknown)), (nobodys.status, nobodys.body));
        }
        // The control: whose they are finds them.
        assert_eq!(ask(Some(&fund), "GET", &format!("{path}/{id}"), &Value::Null).status, 200, "{path}");
        if *path != "/v1/tasks" {
            assert!(ask(Some(&fund), "GET", path, &Value::Null).body.contains(id.as_str()), "{path}");
            assert!(!ask(Some(&rival), "GET", path, &Value::Null).body.contains(id.as_str()), "{path}");
        }
    }
    let named = |secret: &str, reference: &str| {
        let answer = ask(Some(secret), "GET", &format!("/v1/swarms/{reference}"), &Value::Null);
        answer.json()["swarm_id"].as_str().expect("an id").to_owned()
    };
    assert_eq!((named(&fund, "desk"), named(&rival, "desk")), (swarm.clone(), theirs.clone()));
    assert_eq!((named(&fund, "newest"), named(&rival, "newest")), (swarm.clone(), theirs.clone()));
    // No sandbox gets into another project's swarm, and none of its jobs was one of another project.
    let joined = ask(Some(&rival), "POST", "/v1/sandboxes", &json!({"template": "python", "swarm_id": swarm}));
    assert_eq!(joined.status, 404, "{}", joined.body);
    let executed = ask(Some(&fund), "GET", &format!("/v1/tasks/{task}"), &Value::Null).json();
    let execution = executed["results"][0]["execution_id"].as_str().expect("it ran").to_owned();
    let path = format!("/v1/executions/{execution}");
    assert_eq!(ask(Some(&fund), "GET", &path, &Value::Null).status, 200);
    assert_eq!(ask(Some(&rival), "GET", &path, &Value::Null).status, 404);
    // A stage has the stored secrets of its own project: another's is answered as one that there is not.
    let (first_id, first) = token(home, "operator", "default", &[]);
    let key = json!({"value": "a-value-of-it", "hosts": ["api.example.com"], "placements": ["bearer"]});
    assert_eq!(ask(Some(&first), "PUT", "/v1/secrets/FIRSTS_KEY", &key).status, 200);
    let with_secret = |secret: &str, name: &str| {
        let mut stage = stage.clone();
        stage["secrets"] = json!([name]);
        let ran = ask(Some(secret), "POST", "/v1/pipelines", &json!({"stages": [stage], "wait": 50})).json();
        ran["error"].as_str().map(str::to_owned)
    };
    let refused = with_secret(&fund, "FIRSTS_KEY").expect("it is the first project's");
    assert!(refused.contains("there is no secret"), "{refused}");
    assert_eq!(Some(refused.replace("FIRSTS_KEY", "NOBODYS_KEY")), with_secret(&fund, "NOBODYS_KEY"));
    assert_eq!(with_secret(&first, "FIRSTS_KEY"), None, "the control");
    assert_eq!(ask(Some(&first), "DELETE", "/v1/secrets/FIRSTS_KEY", &Value::Null).status, 200);
    said(home, &["token", "revoke", &first_id, "--json"]);

    for (secret, swarm) in [(&fund, &swarm), (&rival, &theirs)] {
        assert_eq!(ask(Some(secret), "DELETE", &format!("/v1/swarms/{swarm}"), &Value::Null).status, 200);
    }
    for token in [&rival_id, &fund_id] {
        said(home, &["token", "revoke", token, "--json"]);
    }
}

#[test]
fn a_token_that_ends_by_itself_lets_nobody_in_after_that() {
    let home = common::shared();
    let (_, secret) = token(home, "auditor", "fund", &["--expires", "2s"]);
    let end = Instant::now() + Duration::from_secs(20);
    assert_eq!(ask(Some(&secret), "GET", "/v1/health", &Value::Null).status, 200);
    while ask(Some(&secret), "GET", "/v1/health", &Value::Null).status != 401 {
        assert!(Instant::now() < end, "it still lets in");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(ask(None, "GET", "/v1/health", &Value::Null).status, 401);
}
