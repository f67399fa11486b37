//! Limits of a process that runs (prlimit(2)), set as its own user does: root may not where it has no `CAP_SYS_RESOURCE`, as in containers.

use std::{fs, process::Command};

use super::process::Process;
use crate::common::succeeded;

/// Sets a soft limit alone, which can be raised again: `nofile`, `data` (in bytes) of prlimit(1), to a number or `unlimited`.
pub(crate) fn limit(process: Process, name: &str, soft: &str) {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).expect("root reads it");
    let id = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a line");
        line.split_whitespace().next().expect("a number").to_owned()
    };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id("Uid:"), "--regid", &id("Gid:"), "--clear-groups", "prlimit"]);
    command.args(["--pid", &process.pid.to_string(), &format!("--{name}={soft}:")]);
    succeeded(&mut command, "a limit could not be set (setpriv and prlimit are of util-linux)");
}
