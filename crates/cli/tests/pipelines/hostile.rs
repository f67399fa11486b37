//! What a stage may leave where its outputs should be, and what becomes of it.

use ringfence_model::api::{PipelineStatus, StageStatus};
use serde_json::json;

use crate::{common, common::client, run, scene::Scene, stage};

/// One stage in bash that leaves something at `out/x`, and what is said of it.
#[track_caller]
fn check(answer: &ringfence_model::api::PipelineAnswer, word: &str) {
    assert_eq!(answer.status, PipelineStatus::Failed, "{word}: {answer:#?}");
    let (first, next) = (stage(answer, "a"), stage(answer, "b"));
    assert_eq!((first.status, next.status), (StageStatus::Failed, StageStatus::Skipped), "{word}");
    assert!(first.outputs.is_empty(), "{word}");
    let error = answer.error.as_deref().expect("a word");
    assert!(error.starts_with("stage `a` failed: ") && error.contains(word), "{word}: {error}");
    assert!(!error.contains("root:"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_is_no_file_with_something_in_it_stops_the_rest() {
    let api = client().await;
    let cases = [
        ("true", "`out/x` was expected, and there is no such file"),
        ("echo trouble >&2", "no such file; it said last: trouble"),
        ("touch out/x", "`out/x` is empty"),
        ("ln -s /etc/shadow out/x", "it is a symbolic link, and no regular file"),
        ("ln -s /proc/self/environ out/x", "it is a symbolic link, and no regular file"),
        ("ln -s /proc/1/environ out/x", "it is a symbolic link, and no regular file"),
        ("ln -s x out/x", "it is a symbolic link, and no regular file"),
        ("echo hi > y; ln -s ../y out/x", "it is a symbolic link, and no regular file"),
        ("mkdir out/x", "it is a directory, and no regular file"),
        ("mkfifo out/x", "a device, a FIFO or a socket, and no regular file"),
        (
            "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"out/x\")'",
            "a device, a FIFO or a socket, and no regular file",
        ),
        ("truncate -s 10G out/x", "`out/x` is larger than 32 MiB"),
        ("head -c 33554433 /dev/zero > out/x", "`out/x` is larger than 32 MiB"),
        ("rmdir out; ln -s /nowhere out", "`out/x` was expected, and there is no such file"),
        ("rmdir out; echo hi > out", "its output `out/x`"),
        ("echo hi > out/x; chmod 000 out", "the sandbox's user may not touch that path"),
        ("echo hi > out/x; chmod 000 out/x", "the sandbox's user may not touch that path"),
        ("cd out; python3 -c 'for n in range(10050): open(f\"f{n}\", \"w\")'; echo hi > x", "more than 10000 files"),
        ("echo hi > $'out/x\\n'; echo hi > 'out/ x'; echo hi > 'out/x '", "there is no such file"),
        ("echo hi > out/x; echo broken >&2; exit 3", "ended with exit code 3; it said last: broken"),
        ("echo hi > out/x; kill -9 $$", "its program ended with exit code 137"),
        ("echo hi > out/x; sleep 60", "had not ended after 2s, and was ended"),
    ];
    for (code, word) in cases {
        let stages = json!([
            {"name": "a", "template": "python", "language": "bash", "code": format!("mkdir out\n{code}"), "outputs": ["out/x"],
                "timeout": if code.contains("sleep") { 2.0 } else { 30.0 }},
            {"name": "b", "template": "python", "code": "pass", "inputs": [{"from": "a", "path": "out/x"}]},
        ]);
        check(&run(&api, stages).await, word);
    }
    // Devices, and files of the kernel's, as outputs that are named.
    for (path, word) in [
        ("/dev/zero", "a device, a FIFO or a socket"),
        ("/dev/null", "a device, a FIFO or a socket"),
        ("/etc/shadow", "may not touch that path"),
        ("/proc/self", "its output `/proc/self`"),
        ("/proc/1/environ", "its output `/proc/1/environ`"),
    ] {
        let stages = json!([
            {"name": "a", "template": "python", "code": "pass", "outputs": [path]},
            {"name": "b", "template": "python", "code": "pass", "needs": ["a"]},
        ]);
        check(&run(&api, stages).await, word);
    }
}

/// Whatever a sandbox's own `/proc/self/environ` or a link in a directory on the way leads to is the sandbox's own: nothing of the host's
/// or of another process's environment comes out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_out_is_never_the_hosts() {
    let api = client().await;
    let host = std::fs::read_to_string("/etc/passwd").expect("a host");
    for (code, path) in [
        ("pass", "/proc/self/environ"),
        ("import os; os.symlink('/proc/self', 'out')", "out/environ"),
        ("import os; os.symlink('/etc', 'out')", "out/passwd"),
        ("import os; os.symlink('/proc/1/root/etc', 'out')", "out/passwd"),
    ] {
        let answer = run(&api, json!([{"name": "a", "template": "python", "code": code, "outputs": [path]}])).await;
        let Some(made) = stage(&answer, "a").outputs.first() else {
            assert_eq!(answer.status, PipelineStatus::Failed, "{path}: {answer:#?}");
            continue;
        };
        let text = crate::output(&api, &answer, "a", &made.path).await;
        assert_ne!(text, host, "{path}");
        for word in ["RINGFENCE", "CARGO", "/var/tmp/wt", "APCA"] {
            assert!(!text.contains(word), "{path}: {text}");
        }
    }
}

/// The values of a stage's environment are sealed in its row, and the key among them never enters the sandbox.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_values_of_an_environment_are_in_no_file() {
    const PLAIN: &str = "plainValueOfAVariable7391";
    const KEY: &str = "PKA1B2C3D4E5F6G7H8I9";
    let scene = Scene::new().await;
    let code =
        "import os\nprint(len(os.environ['SETTING']), os.environ['APCA_API_KEY_ID'] != os.environ['OTHER'][::-1])";
    let env = json!({"SETTING": PLAIN, "APCA_API_KEY_ID": KEY, "OTHER": KEY.chars().rev().collect::<String>()});
    let stages = json!([{"name": "a", "template": "python", "code": code, "env_vars": env}]);
    let answer = run(&scene.api, stages).await;
    assert_eq!(answer.status, PipelineStatus::Completed, "{answer:#?}");
    let printed = &stage(&answer, "a").execution.as_ref().expect("it ran").output_tail;
    assert_eq!(printed, &format!("{} True\n", PLAIN.len()));
    for value in [PLAIN, KEY] {
        assert_eq!(scene.files_with(value.as_bytes()), Vec::<String>::new(), "{value}");
        assert!(!serde_json::to_string(&answer).expect("JSON").contains(value));
    }
    let home = scene.home.clone();
    let verified = tokio::task::spawn_blocking(move || common::ringfence(&home, &["audit", "verify"])).await;
    assert!(verified.expect("it ends").status.success());
}
