//! Ends a role before one of its system calls. strace(1) delivers the signal, so that there is nothing for it in the product, which a program
//! could find and set.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use crate::patience::wait_for;

/// strace(1), attached to a role.
pub(crate) struct Tracer(Child);

impl Tracer {
    /// Which ends it before its `nth` call of this kind.
    pub(crate) fn attach(role: i32, call: &str, nth: u32) -> Self {
        let mut command = Command::new("strace");
        // Every thread of it, and no process that it starts: what follows at its fork would be children of the jailer too.
        let threads: Vec<i32> = fs::read_dir(format!("/proc/{role}/task"))
            .expect("root reads it")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        command.args(["--quiet=all", "--output=/dev/null", &format!("--trace={call}")]);
        command.arg(format!("--inject={call}:signal=SIGKILL:when={nth}"));
        threads.iter().for_each(|thread| {
            command.arg(format!("--attach={thread}"));
        });
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.expect("strace is there (apt-get install strace)");
        let tracer = i32::try_from(child.id()).expect("31 bits");
        let mut own = Self(child);
        wait_for("strace is attached", || {
            if let Some(status) = own.0.try_wait().expect("it is our child") {
                // With the role, which came to its point by itself before this was looked at.
                return if status.success() { Ok(()) } else { Err(format!("strace ended with {status}")) };
            }
            let not_yet = threads.iter().find(|thread| {
                let status = fs::read_to_string(format!("/proc/{role}/task/{thread}/status")).unwrap_or_default();
                let by = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
                // A thread may have ended meanwhile.
                by.is_some_and(|by| by.trim() != tracer.to_string())
            });
            not_yet.map_or(Ok(()), |thread| Err(format!("not to thread {thread}")))
        });
        own
    }
}

impl Drop for Tracer {
    /// Who is not dead goes on without it.
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.0.id()).expect("31 bits")).expect("not 0");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let _ = self.0.wait();
    }
}
