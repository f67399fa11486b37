//! Executions as rows: ended once, bounded, their programs kept once.

mod support;

use ringfence_store::{
    CodeHash, ExecutionEnd, ExecutionOutput, ExecutionStatus, Interpreter, NewExecution, Store, StoreError,
};
use serde_json::json;
use support::{NOW_MS, Place, add_sandbox, execution_id, sandbox_id};

const OUTPUT_BYTES_MAX: usize = 1 << 20;

fn execution(number: u8, code: &[u8]) -> NewExecution {
    NewExecution {
        id: execution_id(number),
        sandbox: sandbox_id(1),
        number: u64::from(number),
        language: "python".into(),
        code: code.to_vec(),
        started_at_ms: NOW_MS,
        timeout_ms: 30_000,
        background: false,
        interpreter: Interpreter::Parked,
    }
}

fn end(status: ExecutionStatus, stdout: &[u8]) -> ExecutionEnd {
    ExecutionEnd {
        status,
        exit_code: Some(0),
        finished_at_ms: NOW_MS + 5,
        execution_time_us: Some(5000),
        cpu_time_us: Some(4000),
        memory_peak_bytes: Some(1 << 22),
        output: ExecutionOutput {
            stdout: stdout.to_vec(),
            stderr: b"err".to_vec(),
            stdout_seen_bytes: 7 << 20,
            stderr_seen_bytes: 3,
        },
        truncated: true,
        warnings: vec!["a sentence".into()],
        artifacts: json!([{"path": "a"}]),
        denials: json!([]),
    }
}

async fn begin(store: &Store, new: NewExecution) -> ringfence_store::Result<CodeHash> {
    store.write(move |tx| tx.insert_execution(&new)).await
}

#[tokio::test]
async fn an_execution_ends_once() {
    for first in ExecutionStatus::ALL.into_iter().filter(|status| *status != ExecutionStatus::Running) {
        let place = Place::new();
        let store = place.open();
        add_sandbox(&store, 1).await;
        begin(&store, execution(1, b"print(1)")).await.expect("it begins");
        let id = execution_id(1);
        assert_eq!(store.execution_output(&id).await.expect("it can be read"), None, "before its end");
        store.finish_execution(&id, end(first, b"1\n")).await.expect("it ends");
        let row = store.execution(&id).await.expect("it can be read").expect("it is there");
        assert_eq!((row.status, row.finished_at_ms, row.truncated), (first, Some(NOW_MS + 5), true));

        for second in ExecutionStatus::ALL {
            let error = store.finish_execution(&id, end(second, b"2\n")).await.expect_err("it has ended");
            match second {
                // Only a bug asks for that.
                ExecutionStatus::Running => assert!(matches!(error, StoreError::Panicked(_)), "{error}"),
                _ => assert!(matches!(error, StoreError::EndedAlready { .. }), "{error}"),
            }
        }
        assert_eq!(store.execution(&id).await.expect("it can be read"), Some(row), "the first end stands");
        let output = store.execution_output(&id).await.expect("it can be read").expect("it is there");
        assert_eq!((output.stdout.as_slice(), output.stdout_seen_bytes), (b"1\n".as_slice(), 7 << 20));
    }
}

#[tokio::test]
async fn an_execution_that_is_not_there_cannot_end() {
    let place = Place::new();
    let ended = place.open().finish_execution(&execution_id(1), end(ExecutionStatus::Killed, b"")).await;
    assert!(matches!(ended, Err(StoreError::NotFound { kind: "execution", .. })), "{ended:?}");
}

#[tokio::test]
async fn a_mebibyte_of_output_is_kept_and_a_byte_more_refused() {
    let place = Place::new();
    let store = place.open();
    add_sandbox(&store, 1).await;
    begin(&store, execution(1, b"print(1)")).await.expect("it begins");
    let id = execution_id(1);
    let stdout = vec![b'x'; OUTPUT_BYTES_MAX + 1];
    let mut in_stderr = end(ExecutionStatus::Completed, b"");
    in_stderr.output.stderr.clone_from(&stdout);
    for too_much in [end(ExecutionStatus::Completed, &stdout), in_stderr] {
        let error = store.finish_execution(&id, too_much).await.expect_err("it is refused");
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
    }
    let row = store.execution(&id).await.expect("it can be read").expect("it is there");
    assert_eq!(row.status, ExecutionStatus::Running, "a refused end ends nothing");

    store.finish_execution(&id, end(ExecutionStatus::Completed, &stdout[1..])).await.expect("it ends");
    let output = store.execution_output(&id).await.expect("it can be read").expect("it is there");
    assert_eq!(output.stdout.len(), OUTPUT_BYTES_MAX);
}

#[tokio::test]
async fn a_program_is_kept_once_however_often_it_runs() {
    let place = Place::new();
    let store = place.open();
    add_sandbox(&store, 1).await;
    let mut hashes = Vec::new();
    for (number, code) in [(1, b"print(1)"), (2, b"print(1)"), (3, b"print(2)")] {
        hashes.push(begin(&store, execution(number, code)).await.expect("it begins"));
    }
    assert_eq!(hashes, [CodeHash::of(b"print(1)"), CodeHash::of(b"print(1)"), CodeHash::of(b"print(2)")]);
    let count = |table: &str| -> u64 {
        let sql = format!("SELECT count(*) FROM {table}");
        place.behind_its_back().query_row(&sql, [], |row| row.get(0)).expect("they can be counted")
    };
    assert_eq!((count("execution"), count("code")), (3, 2));
    let hash = hashes[0];
    let code = store.read(move |view| view.code(&hash)).await.expect("it can be read");
    assert_eq!(code.as_deref(), Some(b"print(1)".as_slice()));

    place.behind_its_back().execute_batch("UPDATE code SET bytes = x'00'").expect("SQLite does it");
    let code = store.read(move |view| view.code(&hash)).await;
    assert!(matches!(code, Err(StoreError::Unreadable { .. })), "a program that was edited is not shown: {code:?}");
}

#[tokio::test]
async fn an_id_or_a_number_is_given_once_and_a_refused_execution_leaves_no_program() {
    let place = Place::new();
    let store = place.open();
    add_sandbox(&store, 1).await;
    begin(&store, execution(1, b"print(1)")).await.expect("it begins");
    let of_nobody = NewExecution { sandbox: sandbox_id(9), ..execution(3, b"print(3)") };
    for (new, kind) in [
        (NewExecution { number: 2, ..execution(1, b"print(3)") }, Some("execution")),
        (NewExecution { id: execution_id(2), ..execution(1, b"print(3)") }, Some("execution number")),
        (of_nobody, None),
    ] {
        match begin(&store, new).await.expect_err("it is refused") {
            StoreError::Exists { kind: found, .. } => assert_eq!(Some(found), kind),
            error => assert!(kind.is_none() && matches!(error, StoreError::Sql { .. }), "{error:?}"),
        }
    }
    let hash = CodeHash::of(b"print(3)");
    assert_eq!(store.read(move |view| view.code(&hash)).await.expect("it can be read"), None);
}
