//! Processes as the host sees them in procfs.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// A process, and not another that got its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) started: u64,
}

/// What of proc_pid_stat(5) is needed.
pub(crate) struct Stat {
    pub(crate) parent: i32,
    pub(crate) state: char,
    pub(crate) started: u64,
}

pub(crate) fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    // Numbered from 3 in the manual.
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

impl Process {
    pub(crate) fn of(pid: i32) -> Option<Self> {
        stat(pid).filter(|s| s.state != 'Z').map(|s| Self { pid, started: s.started })
    }

    pub(crate) fn lives(self) -> bool {
        stat(self.pid).is_some_and(|s| s.started == self.started && s.state != 'Z')
    }

    pub(crate) fn kill(self) {
        if self.lives() {
            let _ = kill_process(Pid::from_raw(self.pid).expect("not 0"), Signal::KILL);
        }
    }

    pub(crate) fn command(self) -> String {
        fs::read(format!("/proc/{}/cmdline", self.pid))
            .map(|b| String::from_utf8_lossy(&b).replace('\0', " "))
            .unwrap_or_default()
    }

    /// In how many pid namespaces it has a number: 2 for the roles and zygotes, 3 in a sandbox.
    pub(crate) fn depth(self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        status.lines().find_map(|l| l.strip_prefix("NSpid:")).map_or(0, |l| l.split_whitespace().count())
    }
}

pub(crate) fn numbers_in_proc() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("procfs");
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}
