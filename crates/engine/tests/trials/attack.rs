//! What a program in a trial must not find, and what the same program finds in a sandbox.

use std::collections::BTreeMap;

use ringfence_engine::api::{Sandboxes, TrialRequest};
use ringfence_model::api::{Actor, CreateRequest, ExecuteRequest, ExecutionStatus, SandboxRequest};

use crate::inside::{Place, program};

const ATTACK: &str = include_str!("attack.py");

/// What was found, by the way on which it was.
type Found = BTreeMap<String, Vec<String>>;

/// What the attack is told: the digest of the layer with the bars, and some of their lines, inverted.
async fn told(place: &Place, sandbox: &str) -> Vec<u8> {
    let code = "print(''.join(open(f'/data/adjusted/{s}.csv').readlines()[n] for s, n in (('AAPL', 100), ('IBM', 2000), ('FB', 50))))";
    let request = ExecuteRequest { sandbox_id: sandbox.to_owned(), code: code.to_owned(), ..ExecuteRequest::default() };
    let answer = place.engine.execute(Actor::Operator, request).await.expect("it is run");
    let lines: Vec<&str> = answer.output.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.len() == 3 && lines.iter().all(|line| line.len() > 20 && line.len() < 200), "{answer:?}");
    let invert = |line: &&str| line.bytes().map(|byte| !byte).collect::<Vec<u8>>();
    let needles: Vec<Vec<u8>> = lines.iter().map(invert).collect();
    [place.data.clone().into_bytes()].into_iter().chain(needles).collect::<Vec<_>>().join(&b"\n\n\n"[..])
}

pub(crate) async fn a_trial_has_no_bars_and_a_sandbox_has_them(place: Place) {
    let request = CreateRequest { template: "python".to_owned(), ..CreateRequest::default() };
    let sandbox = place.engine.create(Actor::Operator, request, None).await.expect("made").sandbox_id.to_string();
    let input = told(&place, &sandbox).await;
    let request = TrialRequest { input: input.clone(), timeout: 120.0, ..program(ATTACK) };
    let answer = place.ask(request).await.expect("it is run");
    assert_eq!(answer.status, ExecutionStatus::Completed, "{}", answer.stderr);
    let found: Found = serde_json::from_slice(&answer.output).expect("JSON");
    assert_eq!(found, Found::new(), "a trial found something");
    // The same program where the bars are: each way that can lead to them does.
    let stdin = String::from_utf8_lossy(&input).into_owned();
    assert!(stdin.contains('\u{fffd}'), "inverted bytes are no text, so that they travel in the code instead");
    let literal: String = input.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let code = ATTACK.replace("sys.stdin.buffer.read()", &format!("b\"{literal}\""));
    let code = code.replace(
        "for search in (",
        "kept = open('/data/adjusted/AAPL.csv').read()\nlent = open('/data/adjusted/IBM.csv')\nfor search in (",
    );
    let request =
        ExecuteRequest { sandbox_id: sandbox.clone(), code, timeout: Some(120.0), ..ExecuteRequest::default() };
    let answer = place.engine.execute(Actor::Operator, request).await.expect("it is run");
    assert_eq!(answer.status, ExecutionStatus::Completed, "{}", answer.stderr);
    let found: Found = serde_json::from_str(&answer.output).expect("JSON");
    for way in ["data", "files", "descriptors", "descriptors that hold bars", "mounts", "memory"] {
        assert!(found.contains_key(way), "the control run did not find bars in {way}: {found:?}");
    }
    place.engine.delete(Actor::Operator, SandboxRequest { sandbox_id: sandbox }).await.expect("deleted");
}

pub(crate) async fn a_trial_has_no_network(place: Place) {
    let code = "import os, socket\nprint(sorted(os.listdir('/sys/class/net')) if os.path.isdir('/sys/class/net') else [])\n\
        for family, address in ((socket.AF_INET, ('1.1.1.1', 53)), (socket.AF_INET6, ('2606:4700:4700::1111', 443))):\n    \
        s = socket.socket(family)\n    s.settimeout(5)\n    try:\n        s.connect(address)\n        print('connected')\n    \
        except OSError as error: print('refused')\n\
        try:\n    socket.getaddrinfo('example.com', 80)\n    print('resolved')\nexcept OSError: print('unknown')";
    let answer = place.run(code, b"").await;
    let said = String::from_utf8(answer.output).expect("text");
    assert!(said.ends_with("refused\nrefused\nunknown\n"), "{said} {}", answer.stderr);
}
