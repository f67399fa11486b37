//! Every cell of the table, asked of the daemon.

use serde_json::json;

use crate::{
    scene::{Answer, Daemon},
    table::{CALLS, Call, Documented, Of, ROUTES, Things},
};

/// What its own project may do, and what cannot be done when its turn comes in the table: with which code that is answered.
const EXCUSED: &[(&str, &str)] = &[
    // Of the second project only what ships is its own.
    ("template_delete", "INVALID_ARGUMENT"),
    // Of the first one a sandbox was made of it.
    ("template_delete", "TEMPLATE_IN_USE"),
    // They have ended well.
    ("pipeline_resume", "INVALID_ARGUMENT"),
];

/// Nothing of another project is in an answer.
fn check_silence(theirs: &Things, answer: &Answer, what: &str) {
    let Things { sandbox, execution, sweep, pipeline, swarm, task, .. } = theirs;
    for theirs in [sandbox, execution, sweep, pipeline, swarm, task, "rival"] {
        assert!(!answer.text.contains(theirs), "{what} tells of {theirs}");
    }
}

struct Caller<'a> {
    daemon: &'a Daemon,
    docs: &'a Documented,
    role: &'static str,
    project: &'static str,
    secret: String,
}

impl Caller<'_> {
    /// What the caller is for the table: over MCP an operator is an agent.
    fn column(&self, over_mcp: bool) -> &'static str {
        if over_mcp && self.role == "operator" { "agent" } else { self.role }
    }

    fn check_own(&self, things: &Things, theirs: &Things) {
        for Call { tool, of, arguments } in CALLS {
            let answer = self.daemon.call(&self.secret, tool, &arguments(things));
            let what = format!("{tool} by {} of {}: {answer:?}", self.role, self.project);
            if !self.docs.may(tool, self.column(true)) || self.docs.is_not_of(self.project, tool, *of) {
                assert_eq!(answer.code, "PERMISSION_DENIED", "{what}");
            } else {
                let is_excused = EXCUSED.contains(&(tool, answer.code.as_str()));
                assert!(answer.code.is_empty() || is_excused, "{what}");
            }
            check_silence(theirs, &answer, &what);
        }
        // Of the routes those that change nothing: lists of what the caller has.
        for route in ROUTES.iter().filter(|route| route.of == Of::Nothing && route.method == "GET") {
            let answer = self.daemon.rest(&self.secret, "GET", &route.target(things), &route.body(things));
            let what = format!("{} by {} of {}: {answer:?}", route.operation, self.role, self.project);
            let may = self.docs.may(route.operation, self.role);
            let is_refused = !may || self.docs.is_not_of(self.project, route.operation, route.of);
            assert_eq!(answer.code, if is_refused { "PERMISSION_DENIED" } else { "" }, "{what}");
            check_silence(theirs, &answer, &what);
        }
    }

    fn check_alike(&self, theirs: &Things, nobodys: &Things) {
        let check = |over_mcp: bool, operation: &str, of: Of, one: &Answer, other: &Answer| {
            let what = format!("{operation} by {} of {}: {one:?} and {other:?}", self.role, self.project);
            assert_eq!(one.code, other.code, "{what}");
            let text = theirs.as_others(&one.text, nobodys);
            assert_eq!(text, other.text, "{what}");
            assert!(!text.contains("rival"), "{what}");
            match self.docs.may(operation, self.column(over_mcp)) {
                false => assert_eq!(one.code, "PERMISSION_DENIED", "{what}"),
                true if self.docs.is_not_of(self.project, operation, of) => {
                    assert!([of.not_found(), "PERMISSION_DENIED"].contains(&one.code.as_str()), "{what}");
                }
                true => assert_eq!(one.code, of.not_found(), "{what}"),
            }
        };
        for Call { tool, of, arguments } in CALLS.iter().filter(|call| call.of.is_anothers(self.project)) {
            let one = self.daemon.call(&self.secret, tool, &arguments(theirs));
            let other = self.daemon.call(&self.secret, tool, &arguments(nobodys));
            check(true, tool, *of, &one, &other);
        }
        for route in ROUTES.iter().filter(|route| route.of.is_anothers(self.project)) {
            let ask = |things: &Things| {
                self.daemon.rest(&self.secret, route.method, &route.target(things), &route.body(things))
            };
            check(false, route.operation, route.of, &ask(theirs), &ask(nobodys));
        }
    }
}

#[test]
fn every_cell_is_as_documented() {
    let daemon = Daemon::start("matrix");
    let docs = Documented::read();
    let theirs = daemon.things("rival", 0);
    let house = daemon.things("default", 0).template;
    let mut number = 0;
    for project in ["default", "fund"] {
        // Who may end things comes last.
        for role in ["auditor", "operator", "agent"] {
            let secret = daemon.token(role, Some(project));
            let caller = Caller { daemon: &daemon, docs: &docs, role, project, secret };
            let nobodys = Things::nobodys();
            caller.check_alike(&theirs, &nobodys);
            if project != "default" {
                // The first project's are called as those of nobody in particular, and are its own all the same.
                caller.check_alike(&Things { template: house.clone(), ..theirs.clone() }, &nobodys);
            }
            let by_name =
                |sandbox: &str, swarm: &str, of: Things| Things { sandbox: sandbox.into(), swarm: swarm.into(), ..of };
            let (theirs_by_name, nobodys_by_name) = (
                by_name("rivals-lab-0", "rivals-swarm-0", theirs.clone()),
                by_name("nobodys-lab-0", "nobodys-swarm-0", nobodys),
            );
            caller.check_alike(&theirs_by_name, &nobodys_by_name);
            number += 1;
            caller.check_own(&daemon.things(project, number), &theirs);
        }
    }
    // Tokens have no row of their own above: nobody but an operator may ask for them, and he of his own project's.
    let (operator, tokens) = (daemon.token("operator", Some("fund")), daemon.said(&["token", "ls"]));
    let tokens = tokens["tokens"].as_array().expect("tokens").clone();
    let of_rival = tokens.iter().find(|token| token["project"] == "rival").expect("the one that made its things");
    let of_rival = of_rival["id"].as_str().expect("an id");
    let revoke = |id: &str| daemon.rest(&operator, "DELETE", &format!("/v1/tokens/{id}"), &serde_json::Value::Null);
    let (one, other) = (revoke(of_rival), revoke("tok_0000000000000000"));
    assert_eq!(one.code, "INVALID_ARGUMENT", "{one:?}");
    assert_eq!(one.text.replace(of_rival, "tok_0000000000000000"), other.text);
    // The control: whose they are finds all of them, unharmed by what was tried.
    let rival = daemon.token("agent", Some("rival"));
    for (tool, arguments) in [
        ("sandbox_status", json!({"sandbox_id": theirs.sandbox})),
        ("execution_status", json!({"execution_id": theirs.execution})),
        ("backtest_status", json!({"sweep_id": theirs.sweep})),
        ("pipeline_status", json!({"pipeline_id": theirs.pipeline})),
        ("swarm_status", json!({"swarm_id": theirs.swarm})),
        ("task_status", json!({"task_id": theirs.task})),
    ] {
        let answer = daemon.call(&rival, tool, &arguments);
        assert_eq!(answer.code, "", "{tool}: {answer:?}");
        assert!(!answer.text.contains("\"status\":\"destroyed\""), "{tool}: {answer:?}");
    }
    let running = daemon.call(&rival, "sandbox_status", &json!({"sandbox_id": "rivals-lab-0"}));
    assert!(running.text.contains("\"status\":\"running\""), "{running:?}");
}
