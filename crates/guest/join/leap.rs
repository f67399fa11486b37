//! A clone that shares memory and runs on a stack of its own, and the way back from it.
//!
//! The interpreter is made by the joiner, far from the frame that Python called. It gets back there as longjmp would:
//! the zygote stands still in [`leap`] meanwhile, so that the copy of its stack is as it was.

use core::{arch::naked_asm, ffi::c_void};

/// What a called function must preserve (System V ABI, x86_64), and the stack.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Saved {
    rbx: u64,
    rbp: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rsp: u64,
}

/// `CLONE_VM | CLONE_VFORK | CLONE_PARENT | SIGCHLD`.
const FLAGS: u32 = 0x0000_0100 | 0x0000_4000 | 0x0000_8000 | 17;

/// clone(2): calls `entry(argument)` in a process that shares this memory, on the stack that ends at `top`. Returns its
/// pid when it has exited, or minus errno. Returns 0 in a process that called [`leap_back`].
///
/// # Safety
/// `top` is the 16-aligned end of a stack that nobody uses. `entry` neither unwinds nor returns.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn leap(
    saved: *mut Saved,
    top: usize,
    entry: unsafe extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> i64 {
    naked_asm!(
        "mov [rdi], rbx",
        "mov [rdi + 8], rbp",
        "mov [rdi + 16], r12",
        "mov [rdi + 24], r13",
        "mov [rdi + 32], r14",
        "mov [rdi + 40], r15",
        "mov [rdi + 48], rsp",
        // The kernel keeps these three for both sides.
        "mov r12, rdx",
        "mov r13, rcx",
        "mov r14, rdi",
        "mov edi, {flags}",
        "xor edx, edx",
        "xor r10d, r10d",
        "xor r8d, r8d",
        "mov eax, 56",
        "syscall",
        "test rax, rax",
        "jz 2f",
        "mov r12, [r14 + 16]",
        "mov r13, [r14 + 24]",
        "mov r14, [r14 + 32]",
        "ret",
        "2:",
        "xor ebp, ebp",
        "mov rdi, r13",
        "call r12",
        "ud2",
        flags = const FLAGS,
    )
}

/// Returns 0 from the [`leap`] that filled `saved`.
///
/// # Safety
/// The frame that called `leap` is still as it was: this is a process with a copy of that memory.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn leap_back(saved: *const Saved) -> ! {
    naked_asm!(
        "mov rbx, [rdi]",
        "mov rbp, [rdi + 8]",
        "mov r12, [rdi + 16]",
        "mov r13, [rdi + 24]",
        "mov r14, [rdi + 32]",
        "mov r15, [rdi + 40]",
        "mov rsp, [rdi + 48]",
        "xor eax, eax",
        "ret",
    )
}
