//! Compiles `seccomp.toml`, the list of what a program in a sandbox may ask of the kernel, into the two filters that are
//! installed: the warm interpreter's first one and everybody's last one.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use serde::Deserialize;
use syscalls::Sysno;

use crate::sys::Filter;

const RULES: &str = include_str!("../seccomp.toml");

/// Which filter to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Installed before a warm interpreter is executed: the list plus `setns`.
    Zygote,
    /// Installed last, on everything that runs in a sandbox.
    Last,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    answer: Vec<Answer>,
    allow: Vec<Allow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    errno: String,
    #[allow(dead_code, reason = "for the reader of the file; the parser demands it")]
    why: String,
    syscalls: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    #[allow(dead_code, reason = "for the reader of the file; the parser demands it")]
    why: String,
    syscalls: Vec<String>,
    zygote: Option<bool>,
    #[serde(default)]
    when: Vec<When>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    arg: u8,
    mask: Option<u32>,
    eq: Option<u32>,
    ne: Option<u32>,
}

fn rules() -> Rules {
    toml::from_str(RULES).expect("seccomp.toml is compiled in and tested")
}

fn number(name: &str) -> i64 {
    let sysno: Sysno = name.parse().unwrap_or_else(|()| panic!("seccomp.toml: `{name}` is no system call of x86_64"));
    i64::from(sysno.id())
}

impl Allow {
    fn holds_for(&self, kind: Kind) -> bool {
        self.zygote.is_none_or(|zygote| zygote == (kind == Kind::Zygote))
    }

    fn conditions(&self) -> Vec<SeccompCondition> {
        self.when
            .iter()
            .map(|when| {
                let (op, value) = match (when.mask, when.eq, when.ne) {
                    (Some(mask), Some(eq), None) => (SeccompCmpOp::MaskedEq(u64::from(mask)), eq),
                    (None, Some(eq), None) => (SeccompCmpOp::Eq, eq),
                    (None, None, Some(ne)) => (SeccompCmpOp::Ne, ne),
                    _ => panic!("seccomp.toml: a condition has `eq` (with or without `mask`) or `ne`"),
                };
                SeccompCondition::new(when.arg, SeccompCmpArgLen::Dword, op, u64::from(value))
                    .expect("argument numbers in seccomp.toml are 0 to 5")
            })
            .collect()
    }
}

/// The filter's program, as seccomp(2) takes it.
#[must_use]
pub fn compile(kind: Kind) -> Vec<Filter> {
    let rules = rules();
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for allow in rules.allow.iter().filter(|allow| allow.holds_for(kind)) {
        for name in &allow.syscalls {
            let entry = allowed.entry(number(name)).or_default();
            if !allow.when.is_empty() {
                entry.push(SeccompRule::new(allow.conditions()).expect("conditions are not empty"));
            }
        }
    }
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(allowed, refuse, SeccompAction::Allow, TargetArch::x86_64)
        .expect("both actions differ, and the list is short enough");
    let list: BpfProgram = filter.try_into().expect("the list compiles");

    // seccompiler kills on a foreign architecture and knows one refusal only, so what comes first is ours: another
    // architecture (int 0x80) and the calls of [[answer]] get their errno.
    let mut program = vec![
        load(4), // offsetof(struct seccomp_data, arch)
        jump_if_equal(AUDIT_ARCH_X86_64, 1, 0),
        errno(libc::ENOSYS as u32),
        load(0), // offsetof(struct seccomp_data, nr)
    ];
    for answer in &rules.answer {
        let value = match answer.errno.as_str() {
            "ENOSYS" => libc::ENOSYS as u32,
            other => panic!("seccomp.toml: unknown errno `{other}`"),
        };
        for name in &answer.syscalls {
            let nr = u32::try_from(number(name)).expect("numbers of system calls are small");
            program.push(jump_if_equal(nr, 0, 1));
            program.push(errno(value));
        }
    }
    program.extend(list.iter().map(|i| Filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }));
    program
}

const AUDIT_ARCH_X86_64: u32 = 0xC000_003E;

fn load(offset: u32) -> Filter {
    Filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn jump_if_equal(value: u32, then: u8, otherwise: u8) -> Filter {
    Filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt: then, jf: otherwise, k: value }
}

fn errno(value: u32) -> Filter {
    const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
    Filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: SECCOMP_RET_ERRNO | value }
}

/// A program as the bytes that a warm interpreter maps.
#[must_use]
pub fn to_bytes(program: &[Filter]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        bytes.extend_from_slice(&instruction.code.to_ne_bytes());
        bytes.push(instruction.jt);
        bytes.push(instruction.jf);
        bytes.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests;
