//! How a warm interpreter makes a child that lives inside a sandbox.
//!
//! `zygote.py` loads this library and calls [`rf_join`] once for each child. Between the first `setns` and the last
//! filter the new process holds every capability in the sandbox's user namespace; in that time it runs what is written
//! here and nothing else: no interpreter, no libc, no handler of a library, no signal handler.
//!
//! ```text
//! zygote ──clone(VM|VFORK|PARENT)──▶ joiner ──setns × 7──clone(PARENT)──▶ interpreter: HELLO, G, drop, PARK, G
//!   ◀────────── resumes when the joiner has exited ─────────┘                 └──▶ returns 0 from rf_join
//! ```
//!
//! The joiner is a process of its own because `setns` cannot be undone, and it is gone before the zygote goes on: one
//! that waited would keep its capabilities, unseen by whoever checks the interpreter's posture. All of them are children
//! of the jailer, the zygote's parent. Everything here is freestanding: the template's libc may be any.
//!
//! Not done here: a session keyring for each child. `keyctl` is refused by the zygote's filter; the zygote's own keyring
//! is fresh and empty, and no process that inherits it can name it.
#![no_std]

mod inside;
mod leap;
mod raw;
mod run;

use core::ffi::c_void;

use raw::{Errno, nr};

/// Namespaces that one join may enter.
const NAMESPACES_MAX: u32 = 16;

/// Bytes of the joiner's stack. The interpreter's first steps run on its copy of it.
const STACK_BYTES: usize = 64 * 1024;

const CLONE_PARENT: usize = 0x8000;
const CLONE_CHILD_CLEARTID: usize = 0x0020_0000;
const CLONE_CHILD_SETTID: usize = 0x0100_0000;
const SIGCHLD: usize = 17;
const EINVAL: i64 = 22;
const ESRCH: i64 = 3;

/// What one join needs. Lives on the zygote's stack: the joiner shares it, and the interpreter has a copy.
#[repr(C)]
pub(crate) struct Join {
    pub(crate) saved: leap::Saved,
    pub(crate) control: i32,
    pub(crate) std: [i32; 3],
    namespaces: *const i32,
    namespace_count: u32,
    pub(crate) filter: *const u8,
    pub(crate) filter_len: u32,
    pub(crate) descriptors: u32,
    /// Where the kernel keeps the thread's id for libc: libc caches it, and would go on with the zygote's.
    tid_address: usize,
    pub(crate) robust_list: usize,
    pub(crate) signals: u64,
    /// Written by the joiner: pid of the interpreter, or minus errno.
    result: i64,
}

#[repr(C, align(16))]
struct Stack([u8; STACK_BYTES]);

static mut STACK: Stack = Stack([0; STACK_BYTES]);

/// Makes a child in other namespaces, without any privilege and under the last filter.
///
/// Returns the child's pid in the zygote, 0 in the child when it was told to go on, minus errno when there is no child.
/// A failure of the child itself is said on `control` (`E<step>: errno <n>`); it then exits with 111.
///
/// `descriptors` is the child's limit of open descriptors; 0 leaves the zygote's.
///
/// # Safety
/// `std` points to three descriptors, `namespaces` to `namespace_count` of them in the order in which to enter, and
/// `filter` to `filter_len` bytes of seccomp instructions. The caller has one thread, and makes one child at a time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rf_join(
    control: i32,
    std: *const i32,
    namespaces: *const i32,
    namespace_count: u32,
    filter: *const u8,
    filter_len: u32,
    descriptors: u32,
) -> i64 {
    // SAFETY: the caller passes three descriptors.
    let std = unsafe { [*std, *std.add(1), *std.add(2)] };
    // The child places its own at 0 to 3: a received descriptor there would be overwritten before it is copied.
    if control < 4 || std.iter().any(|fd| *fd < 4) || namespace_count > NAMESPACES_MAX || filter_len % 8 != 0 {
        return -EINVAL;
    }
    let mut join = Join {
        saved: leap::Saved::default(),
        control,
        std,
        namespaces,
        namespace_count,
        filter,
        filter_len,
        descriptors,
        tid_address: 0,
        robust_list: 0,
        signals: 0,
        result: -ESRCH,
    };
    // Either may fail on a kernel built without it; the child then does without.
    let _ = raw::prctl_ptr(raw::PR_GET_TID_ADDRESS, &raw mut join.tid_address);
    let mut robust_list_len = 0_usize;
    let (head, len) = (&raw mut join.robust_list as usize, &raw mut robust_list_len as usize);
    let _ = raw::call(nr::GET_ROBUST_LIST, [0, head, len, 0, 0]);

    // A handler that ran in the joiner would run on the zygote's memory.
    if let Err(e) = raw::block_signals(&mut join.signals) {
        return -e.0;
    }
    let top = (&raw mut STACK) as usize + STACK_BYTES;
    // SAFETY: the stack is large enough and used by nobody else, for the zygote waits until the joiner has exited
    // (CLONE_VFORK); `join` lives until then. In the interpreter this returns a second time, in its own copy of memory.
    let started = unsafe { leap::leap(&raw mut join.saved, top, joiner, (&raw mut join).cast()) };
    raw::restore_signals(&join.signals);
    if started <= 0 { started } else { join.result }
}

/// The process between: enters the namespaces, makes the interpreter there, and is gone.
unsafe extern "C" fn joiner(join: *mut c_void) -> ! {
    // SAFETY: `rf_join` passes its own `Join`, and does not touch it while this process lives.
    let join = unsafe { &mut *join.cast::<Join>() };
    match enter(join) {
        // The interpreter, on its copy of this stack and of everything else.
        Ok(0) => inside::become_interpreter(join),
        Ok(pid) => {
            join.result = pid as i64;
            raw::exit(0)
        }
        Err(Errno(errno)) => {
            join.result = -errno;
            raw::exit(errno as i32)
        }
    }
}

fn enter(join: &Join) -> Result<usize, Errno> {
    for i in 0..join.namespace_count as usize {
        // SAFETY: `rf_join`'s caller passes that many descriptors.
        let fd = unsafe { *join.namespaces.add(i) };
        raw::call(nr::SETNS, [fd as usize, 0, 0, 0, 0])?;
    }
    // Entering a user namespace made this memory undumpable, unless the host's `fs.suid_dumpable` says otherwise. Set
    // before the interpreter exists, so that no neighbour ever sees it readable while it is capable.
    raw::prctl(raw::PR_SET_DUMPABLE, 0)?;
    let tid = if join.tid_address == 0 { 0 } else { CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID };
    raw::call(nr::CLONE, [CLONE_PARENT | tid | SIGCHLD, 0, 0, join.tid_address, 0])
}

/// Registers the thread's restartable-sequence area anew: a clone that shares memory loses the registration, and so
/// has the interpreter, which is cloned from one. `offset` and `size` are glibc's `__rseq_offset` and `__rseq_size`.
/// Returns 0 or minus errno; after a failure libc no longer reads the area.
///
/// # Safety
/// The area is glibc's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rf_rseq(offset: isize, size: u32) -> i64 {
    const SIGNATURE: usize = 0x5305_3053;
    const CPU_ID: usize = 4;
    const REGISTRATION_FAILED: i32 = -2;
    if size == 0 {
        return -EINVAL; // glibc itself has not registered it
    }
    let area = raw::thread_pointer().wrapping_add_signed(offset);
    // From glibc 2.40 on `__rseq_size` counts the features in use; what is registered is a multiple of 32 bytes.
    let len = size.next_multiple_of(32) as usize;
    match raw::call(nr::RSEQ, [area, len, 0, SIGNATURE, 0]) {
        Ok(_) => 0,
        Err(Errno(errno)) => {
            // SAFETY: the field `cpu_id` of struct rseq, in glibc's own area; the value is what glibc itself writes.
            unsafe { ((area + CPU_ID) as *mut i32).write_volatile(REGISTRATION_FAILED) };
            -errno
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    raw::exit(111)
}
