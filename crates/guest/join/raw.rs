//! System calls without libc (x86_64).

use core::arch::asm;

/// errno, positive.
#[derive(Clone, Copy)]
pub(crate) struct Errno(pub(crate) i64);

/// Numbers of system calls.
pub(crate) mod nr {
    pub(crate) const READ: usize = 0;
    pub(crate) const RT_SIGPROCMASK: usize = 14;
    pub(crate) const SENDTO: usize = 44;
    pub(crate) const CLONE: usize = 56;
    pub(crate) const UMASK: usize = 95;
    pub(crate) const SETSID: usize = 112;
    pub(crate) const SETGROUPS: usize = 116;
    pub(crate) const SETRESUID: usize = 117;
    pub(crate) const SETRESGID: usize = 119;
    pub(crate) const CAPSET: usize = 126;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const SETRLIMIT: usize = 160;
    pub(crate) const EXIT_GROUP: usize = 231;
    pub(crate) const SET_ROBUST_LIST: usize = 273;
    pub(crate) const GET_ROBUST_LIST: usize = 274;
    pub(crate) const DUP3: usize = 292;
    pub(crate) const SETNS: usize = 308;
    pub(crate) const SECCOMP: usize = 317;
    pub(crate) const RSEQ: usize = 334;
    pub(crate) const CLOSE_RANGE: usize = 436;
}

pub(crate) const PR_SET_DUMPABLE: usize = 4;
pub(crate) const PR_CAPBSET_DROP: usize = 24;
pub(crate) const PR_GET_TID_ADDRESS: usize = 40;
pub(crate) const PR_CAP_AMBIENT: usize = 47;
pub(crate) const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;

/// A system call of up to five arguments. Pointers among them are the caller's affair: every call site passes live
/// memory of the right size.
pub(crate) fn call(number: usize, args: [usize; 5]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the kernel changes rax, rcx and r11, and memory that the arguments point to. A clone without CLONE_VM
    // returns twice, the second time in another address space.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    if result < 0 { Err(Errno(-(result as i64))) } else { Ok(result as usize) }
}

/// _exit(2).
pub(crate) fn exit(code: i32) -> ! {
    loop {
        let _ = call(nr::EXIT_GROUP, [code as usize, 0, 0, 0, 0]);
    }
}

/// prctl(2) with one integer. The kernel demands that the rest is 0.
pub(crate) fn prctl(option: usize, value: usize) -> Result<usize, Errno> {
    call(nr::PRCTL, [option, value, 0, 0, 0])
}

/// prctl(2) that writes one word.
pub(crate) fn prctl_ptr(option: usize, value: *mut usize) -> Result<usize, Errno> {
    call(nr::PRCTL, [option, value as usize, 0, 0, 0])
}

const SIG_SETMASK: usize = 2;

/// Blocks every signal that can be blocked; `old` takes the former mask.
pub(crate) fn block_signals(old: &mut u64) -> Result<(), Errno> {
    let all = u64::MAX;
    call(nr::RT_SIGPROCMASK, [SIG_SETMASK, &raw const all as usize, &raw mut *old as usize, 8, 0]).map(drop)
}

/// Sets the mask back.
pub(crate) fn restore_signals(mask: &u64) {
    let _ = call(nr::RT_SIGPROCMASK, [SIG_SETMASK, &raw const *mask as usize, 0, 8, 0]);
}

/// The thread pointer: what `fs` points to starts with its own address (ELF TLS, x86_64).
pub(crate) fn thread_pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads the first word of the thread control block, which libc has set up.
    unsafe { asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly, preserves_flags)) };
    pointer
}
