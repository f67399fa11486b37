//! Leaving things behind that are hard to read, list or delete, and saying things that are hard to show.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{Actor, DownloadRequest, ExecuteRequest, ExecutionStatus},
};

use super::stage::{all_is_well, with_deadline};
use crate::common::Sandbox;

/// Deleting answers soon, whatever is inside.
async fn delete_soon(sandbox: Sandbox) {
    let begun = Instant::now();
    sandbox.delete().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_tree_of_any_depth_and_size_is_deleted() {
    let (sandbox, neighbour) = (Sandbox::new().await, Sandbox::new().await);
    let deep =
        "import os\nfor _ in range(10_000): os.mkdir('d'); os.chdir('d')\nopen('bottom', 'w').close(); print('dug')";
    let run = with_deadline(&sandbox, deep, 60.0).await;
    assert_eq!(run.output, "dug\n", "{run:?}");
    let wide = "import os\nos.mkdir('w'); os.chdir('w')\nfor n in range(100_000): os.close(os.open(str(n), os.O_CREAT | os.O_WRONLY))\nprint('made')";
    let run = with_deadline(&sandbox, wide, 60.0).await;
    assert_eq!(run.output, "made\n", "{run:?}");
    assert_eq!(neighbour.python("print(1)").await.output, "1\n");
    delete_soon(sandbox).await;
    all_is_well(&neighbour).await;
}

#[tokio::test]
async fn closed_directories_sparse_files_and_odd_names_are_deleted() {
    let sandbox = Sandbox::new().await;
    let code = "import os\n\
        for name in (b'\\xff\\xfe', b'new\\nline', b'x' * 255, b'-rf', b' '):\n    os.mkdir(name); open(os.path.join(name, b'f'), 'w').close(); os.chmod(os.path.join(name, b'f'), 0); os.chmod(name, 0)\n\
        f = open('sparse', 'w'); f.truncate(1 << 42)\n\
        os.symlink('loop', 'loop'); os.mkfifo('fifo'); os.link('sparse', 'hard')\n\
        print('made')";
    assert_eq!(sandbox.python(code).await.output, "made\n");
    // While a program holds them open.
    assert!(sandbox.bash("sleep 300 < sparse >/dev/null 2>&1 &").await.success);
    let neighbour = Sandbox::new().await;
    delete_soon(sandbox).await;
    all_is_well(&neighbour).await;
}

#[tokio::test]
async fn what_stands_for_the_artifacts_directory_is_never_followed_outside() {
    for (what, code) in [
        ("a link to /etc", "os.symlink('/etc', 'artifacts')"),
        ("a link to itself", "os.symlink('artifacts', 'artifacts')"),
        ("a FIFO", "os.mkfifo('artifacts')"),
        ("a file", "open('artifacts', 'w').close()"),
        ("closed", "os.mkdir('artifacts'); os.chmod('artifacts', 0)"),
        (
            "FIFOs and links",
            "os.mkdir('artifacts'); os.mkfifo('artifacts/f'); os.symlink('/etc/passwd', 'artifacts/l'); os.symlink('/proc/self/mem', 'artifacts/m')",
        ),
    ] {
        let sandbox = Sandbox::new().await;
        let run = sandbox.python(&format!("import os\n{code}\nprint('done')")).await;
        assert_eq!((run.output.as_str(), run.exit_code), ("done\n", Some(0)), "{what}: {run:?}");
        for artifact in &run.artifacts {
            assert!(artifact.content_base64.is_none(), "{what}: {artifact:?}");
        }
        assert!(run.execution_time < 5.0, "{what}");
        assert_eq!(sandbox.bash("echo well").await.output, "well\n", "{what}");
    }
}

#[tokio::test]
async fn artifacts_with_odd_names_are_listed_or_left_out_but_harm_nothing() {
    let sandbox = Sandbox::new().await;
    let code = "import os\nos.mkdir('artifacts')\nfor name in (b'new\\nline.txt', b'\\xff\\xfe.txt', b'\\x1b[31mred', b'..a', b'\"quoted\".csv', 'é.csv'.encode()):\n\
        \x20   open(os.path.join(b'artifacts', name), 'w').write('x')\nfor n in range(200): open(f'artifacts/{n}', 'w').close()";
    let run = sandbox.python(code).await;
    assert_eq!(run.exit_code, Some(0), "{run:?}");
    assert!(run.artifacts.len() <= 64, "{}", run.artifacts.len());
    for artifact in &run.artifacts {
        assert!(artifact.path.starts_with("/home/user/artifacts/") && !artifact.path.contains("/../"), "{artifact:?}");
    }
    let got = sandbox
        .api
        .download(
            Actor::Agent,
            DownloadRequest { sandbox_id: sandbox.id.clone(), file_path: "artifacts/new\nline.txt".into() },
        )
        .await;
    assert_eq!(got.expect("a name like any other").content.as_deref(), Some("x"));
}

#[tokio::test]
async fn any_byte_may_be_printed() {
    let sandbox = Sandbox::new().await;
    let code = "import sys\nsys.stdout.buffer.write(bytes(range(256)) + b'\\x1b]0;title\\x07\\x1b[2J\\xf0\\x9f\\nend\\n')\nsys.stderr.buffer.write(b'\\0\\xff')";
    let run = sandbox.python(code).await;
    assert_eq!((run.exit_code, run.output_bytes), (Some(0), 279), "{run:?}");
    assert!(run.output.ends_with("end\n") && run.output.contains('\0') && run.output.contains('\u{fffd}'), "{run:?}");
    let logs = sandbox
        .api
        .logs(Actor::Agent, ringfence_model::api::LogsRequest { sandbox_id: sandbox.id.clone(), ..Default::default() })
        .await;
    assert!(logs.is_ok(), "{logs:?}");
}

#[tokio::test]
async fn streams_may_be_closed_or_handed_on() {
    let sandbox = Sandbox::new().await;
    for code in [
        "import os; os.close(1); os.close(2); os.close(0)",
        "import sys; sys.stdout.close(); sys.stderr.close()",
        "import os; os.closerange(0, 1024)",
    ] {
        let run = sandbox.python(code).await;
        assert_eq!((run.status, run.output.as_str()), (ExecutionStatus::Completed, ""), "{code}: {run:?}");
    }
    // A line without an end, of 64 MiB.
    let run = sandbox.python("import sys\nfor _ in range(64): sys.stdout.write('x' * (1 << 20))").await;
    assert_eq!((run.output_bytes, run.truncated, run.output.len()), (64 << 20, true, 1 << 20));
    // A child that keeps the stream open after its parent has gone.
    let begun = Instant::now();
    let run = sandbox.python("import os, time\nif os.fork() == 0:\n    time.sleep(287)\nprint('done')").await;
    assert_eq!((run.status, run.output.as_str()), (ExecutionStatus::Completed, "done\n"), "{run:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn every_exit_code_is_told() {
    let sandbox = Sandbox::new().await;
    for code in [0, 1, 2, 42, 126, 127, 255] {
        assert_eq!(sandbox.python(&format!("import os; os._exit({code})")).await.exit_code, Some(code));
    }
    for (signal, expected) in [("SIGKILL", 137), ("SIGSEGV", 139), ("SIGTERM", 143), ("SIGABRT", 134)] {
        let run = sandbox.python(&format!("import os, signal; os.kill(os.getpid(), signal.{signal})")).await;
        assert_eq!((run.exit_code, run.success), (Some(expected), false), "{signal}: {run:?}");
    }
    // What only the engine says of a timeout can be said by a program too, and is not taken for one.
    let run = sandbox.python("import os; os._exit(124)").await;
    assert_eq!((run.exit_code, run.status), (Some(124), ExecutionStatus::Failed));
}

#[tokio::test]
async fn arguments_and_environments_of_any_size_are_the_program_s_own_trouble() {
    let sandbox = Sandbox::new().await;
    let code = "import subprocess, os\n\
        for arguments, env in ((['x' * (1 << 17)] * 4, None), (['x' * 1000] * 100_000, None), ([], {'A': 'x' * (1 << 22)})):\n\
        \x20   try: subprocess.run(['/bin/true', *arguments], env=env)\n    except OSError as error: print(error.strerror)";
    let run = sandbox.python(code).await;
    assert_eq!(run.output, "Argument list too long\n".repeat(3), "{run:?}");
    let mut long = String::from("x = '");
    for n in 0..300_000 {
        write!(long, "{:05x}", n % 0xfffff).expect("a string takes everything");
    }
    long.truncate((1 << 20) - 20);
    long.push_str("'; print(len(x))");
    assert_eq!(sandbox.python(&long).await.exit_code, Some(0));
    long.push_str(&" ".repeat(1000));
    let refused = sandbox
        .api
        .execute(
            Actor::Agent,
            ExecuteRequest { sandbox_id: sandbox.id.clone(), code: long, ..ExecuteRequest::default() },
        )
        .await;
    assert_eq!(refused.expect_err("more than a MiB").code, Code::TooLarge);
}

#[tokio::test]
async fn a_full_run_directory_is_named_and_can_be_emptied() {
    let sandbox = Sandbox::new().await;
    let fill = "import os\nn = 0\ntry:\n    while True:\n        open(f'/run/ringfence/{n}', 'wb', buffering=0).write(b'x' * 65536); n += 1\nexcept OSError as error: print(error.strerror)";
    assert_eq!(sandbox.python(fill).await.output, "No space left on device\n");
    let run = sandbox.python("print('never')").await;
    assert_eq!((run.exit_code, run.output.as_str()), (Some(126), ""), "{run:?}");
    assert!(run.stderr.contains("No space left on device"), "{run:?}");
    // What makes room must be runnable all the same.
    assert_eq!(sandbox.bash("rm /run/ringfence/[0-9]*; echo room").await.output, "room\n");
    assert_eq!(sandbox.python("print('again')").await.output, "again\n");
    let neighbour = Sandbox::new().await;
    delete_soon(sandbox).await;
    all_is_well(&neighbour).await;
}
