//! One test a rule: the filter's program is interpreted as the kernel would, for a call that the rule allows and for its
//! nearest neighbours that it must not.

use super::*;

/// What the filter answers: `Ok` or an errno. A small interpreter of the instructions that the compiler emits.
fn verdict(program: &[Filter], nr: u32, arch: u32, args: [u64; 6]) -> Result<(), u32> {
    let mut data = [0_u32; 16];
    data[0] = nr;
    data[1] = arch;
    for (i, arg) in args.iter().enumerate() {
        data[4 + 2 * i] = *arg as u32;
        data[5 + 2 * i] = (*arg >> 32) as u32;
    }
    let (mut pc, mut acc) = (0_usize, 0_u32);
    loop {
        let i = &program[pc];
        pc += 1;
        match i.code {
            0x20 => acc = data[i.k as usize / 4],
            0x54 => acc &= i.k,
            0x05 => pc += i.k as usize,
            0x15 => pc += usize::from(if acc == i.k { i.jt } else { i.jf }),
            0x25 => pc += usize::from(if acc > i.k { i.jt } else { i.jf }),
            0x35 => pc += usize::from(if acc >= i.k { i.jt } else { i.jf }),
            0x45 => pc += usize::from(if acc & i.k != 0 { i.jt } else { i.jf }),
            0x06 if i.k == 0x7fff_0000 => return Ok(()),
            0x06 if i.k >> 16 == 5 => return Err(i.k & 0xffff),
            other => panic!("unexpected instruction {other:#x} k {:#x}", i.k),
        }
    }
}

fn ask(kind: Kind, name: &str, args: [u64; 6]) -> Result<(), u32> {
    verdict(&compile(kind), number(name) as u32, AUDIT_ARCH_X86_64, args)
}

/// Arguments for which all conditions of a rule hold.
fn satisfying(allow: &Allow) -> [u64; 6] {
    let mut args = [0_u64; 6];
    for when in &allow.when {
        args[usize::from(when.arg)] = match (when.eq, when.ne) {
            (Some(eq), _) => u64::from(eq),
            (None, Some(ne)) if args[usize::from(when.arg)] == u64::from(ne) => u64::from(ne) + 1,
            _ => args[usize::from(when.arg)],
        };
    }
    args
}

#[test]
fn every_rule_allows_what_it_names_and_is_needed() {
    let all = rules();
    for kind in [Kind::Zygote, Kind::Last] {
        let program = compile(kind);
        for (position, allow) in all.allow.iter().enumerate() {
            let args = satisfying(allow);
            for name in &allow.syscalls {
                let nr = number(name) as u32;
                let got = verdict(&program, nr, AUDIT_ARCH_X86_64, args);
                if allow.holds_for(kind) {
                    assert_eq!(got, Ok(()), "{kind:?} {name}");
                    // No rule is redundant: another unconditional rule for the same call would make this one idle.
                    let others = all.allow.iter().enumerate().filter(|(i, other)| {
                        *i != position
                            && other.holds_for(kind)
                            && other.when.is_empty()
                            && other.syscalls.contains(name)
                    });
                    assert_eq!(others.count(), 0, "{name} is allowed twice");
                }
            }
        }
    }
}

#[test]
fn every_condition_refuses_its_opposite() {
    for kind in [Kind::Zygote, Kind::Last] {
        let all = rules();
        let program = compile(kind);
        for allow in all.allow.iter().filter(|a| a.holds_for(kind)) {
            for when in &allow.when {
                let mut args = satisfying(allow);
                args[usize::from(when.arg)] = match (when.mask, when.eq, when.ne) {
                    (Some(mask), ..) => u64::from(mask),
                    (None, Some(eq), _) => u64::from(eq) ^ 0x0010_0000,
                    (None, None, Some(ne)) => u64::from(ne),
                    _ => unreachable!("the compiler refuses other conditions"),
                };
                let name = &allow.syscalls[0];
                let allowed_by_another =
                    all.allow.iter().filter(|a| a.holds_for(kind) && a.syscalls.contains(name)).any(|a| {
                        a.when.iter().all(|w| {
                            let value = args[usize::from(w.arg)] as u32;
                            let masked = value & w.mask.unwrap_or(u32::MAX);
                            w.eq.is_none_or(|eq| masked == eq) && w.ne.is_none_or(|ne| masked != ne)
                        })
                    });
                let got = verdict(&program, number(name) as u32, AUDIT_ARCH_X86_64, args);
                assert_eq!(got.is_ok(), allowed_by_another, "{kind:?} {name} {args:?}");
            }
        }
    }
}

#[test]
fn every_answer_has_its_errno() {
    for kind in [Kind::Zygote, Kind::Last] {
        for answer in &rules().answer {
            for name in &answer.syscalls {
                assert_eq!(ask(kind, name, [0; 6]), Err(libc::ENOSYS as u32), "{name}");
            }
        }
    }
}

#[test]
fn whatever_is_not_listed_is_refused() {
    let all = rules();
    for kind in [Kind::Zygote, Kind::Last] {
        let program = compile(kind);
        let listed: Vec<&String> = all
            .allow
            .iter()
            .filter(|a| a.holds_for(kind))
            .flat_map(|a| &a.syscalls)
            .chain(all.answer.iter().flat_map(|a| &a.syscalls))
            .collect();
        for sysno in Sysno::iter() {
            if !listed.iter().any(|name| *name == sysno.name()) {
                let got = verdict(&program, sysno.id() as u32, AUDIT_ARCH_X86_64, [0; 6]);
                assert_eq!(got, Err(libc::EPERM as u32), "{kind:?} {sysno}");
            }
        }
    }
}

#[track_caller]
fn refused(name: &str, args: [u64; 6]) {
    for kind in [Kind::Zygote, Kind::Last] {
        assert!(ask(kind, name, args).is_err(), "{kind:?} {name} {args:?}");
    }
}

#[test]
fn the_dangerous_are_refused_in_both() {
    for name in [
        "mount",
        "umount2",
        "pivot_root",
        "unshare",
        "ptrace",
        "bpf",
        "keyctl",
        "add_key",
        "request_key",
        "perf_event_open",
        "userfaultfd",
        "process_vm_readv",
        "process_vm_writev",
        "kcmp",
        "open_tree",
        "move_mount",
        "fsopen",
        "fsconfig",
        "fsmount",
        "mount_setattr",
        "name_to_handle_at",
        "open_by_handle_at",
        "init_module",
        "kexec_load",
        "reboot",
        "swapon",
        "settimeofday",
        "clock_settime",
        "acct",
        "quotactl",
        "syslog",
        "chroot",
        "modify_ldt",
        "iopl",
        "vmsplice",
        "fanotify_init",
        "io_uring_setup",
        "pidfd_getfd",
        "process_madvise",
        "lookup_dcookie",
    ] {
        refused(name, [0; 6]);
    }
    // AF_ALG, AF_VSOCK, AF_PACKET, raw IP, MPTCP, UDP-Lite, SCTP, netlink audit (9) and netfilter (12).
    for (domain, kind, protocol) in [
        (38, 5, 0),
        (40, 1, 0),
        (17, 3, 0x300),
        (2, 3, 1),
        (2, 1, 262),
        (2, 2, 136),
        (2, 1, 132),
        (16, 3, 9),
        (16, 3, 12),
    ] {
        refused("socket", [domain, kind, protocol, 0, 0, 0]);
    }
    for flag in [0x20000_u64, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        refused("clone", [flag | 17, 0, 0, 0, 0, 0]);
    }
    refused("prlimit64", [0, 4, 1, 0, 0, 0]);
    refused("setsockopt", [3, 6, 31, 0, 0, 0]);
    refused("ioctl", [0, 0x5412, 0, 0, 0, 0]);
    // The kernel looks at 32 bits of these arguments: high bits must not smuggle a refused value past the filter.
    refused("ioctl", [0, 0xFFFF_FFFF_0000_5412, 0, 0, 0, 0]);
    refused("socket", [0x1_0000_0026, 5, 0, 0, 0, 0]);
}

#[test]
fn setns_and_siblings_are_for_the_zygote_alone() {
    let sibling = [0x8000 | 17, 0, 0, 0, 0, 0];
    assert_eq!(ask(Kind::Zygote, "setns", [0; 6]), Ok(()));
    assert_eq!(ask(Kind::Zygote, "clone", sibling), Ok(()));
    assert_eq!(ask(Kind::Last, "setns", [0; 6]), Err(libc::EPERM as u32));
    assert_eq!(ask(Kind::Last, "clone", sibling), Err(libc::EPERM as u32));
}

#[test]
fn other_architectures_are_answered_not_killed() {
    for kind in [Kind::Zygote, Kind::Last] {
        let program = compile(kind);
        assert_eq!(verdict(&program, 1, 0x4000_0003, [0; 6]), Err(libc::ENOSYS as u32), "i386 numbers");
        assert_eq!(verdict(&program, 0x4000_0001, AUDIT_ARCH_X86_64, [0; 6]), Err(libc::EPERM as u32), "x32 numbers");
    }
}
