//! The first steps of the interpreter in its sandbox: everything is dropped before it may run a line of Python.

use crate::{
    Join, leap,
    raw::{self, Errno, nr},
};

/// Words of the handshake, as the jailer's `spawn.rs` has them.
const HELLO: &[u8; 8] = b"RFHELLO1";
const PARKED: &[u8; 8] = b"RFPARK_1";
const GO: u8 = b'G';

/// The user that programs are, inside.
const USER: usize = 1000;

/// Where the control socket is from here on.
const CONTROL: usize = 3;

const O_CLOEXEC: usize = 0o2_000_000;
const RLIMIT_NOFILE: usize = 7;
const MSG_NOSIGNAL: usize = 0x4000;
const EINTR: i64 = 4;
const EPIPE: i64 = 32;

/// A step that failed.
struct Failed(&'static str, Errno);

fn step(what: &'static str) -> impl FnOnce(Errno) -> Failed {
    move |errno| Failed(what, errno)
}

/// Says HELLO, drops everything, parks, and returns to Python.
pub(crate) fn become_interpreter(join: &Join) -> ! {
    // Until they are moved, descriptors are where the zygote received them.
    let mut control = join.control as usize;
    match drop_everything(join, &mut control) {
        Ok(()) => {
            // SAFETY: this process has its own copy of the zygote's stack, which stood still in `leap`.
            unsafe { leap::leap_back(&raw const join.saved) }
        }
        Err(Failed(what, Errno(errno))) => {
            say_failure(control, what, errno);
            raw::exit(111)
        }
    }
}

fn drop_everything(join: &Join, control: &mut usize) -> Result<(), Failed> {
    say(*control, HELLO).map_err(step("saying hello"))?;
    wait_for_go(*control).map_err(step("waiting for the jailer"))?;
    raw::call(nr::SETSID, [0; 5]).map_err(step("starting a session"))?;
    place_descriptors(join).map_err(step("placing descriptors"))?;
    *control = CONTROL;
    raw::call(nr::CLOSE_RANGE, [CONTROL + 1, u32::MAX as usize, 0, 0, 0]).map_err(step("closing descriptors"))?;
    raw::call(nr::UMASK, [0o022, 0, 0, 0, 0]).map_err(step("setting the umask"))?;
    if join.descriptors != 0 {
        let limit = [u64::from(join.descriptors); 2];
        raw::call(nr::SETRLIMIT, [RLIMIT_NOFILE, &raw const limit as usize, 0, 0, 0])
            .map_err(step("limiting descriptors"))?;
    }
    drop_privileges()?;
    load_filter(join).map_err(step("installing the filter"))?;
    // Only now may neighbours look at it, as at any process of their own: its /proc/self/environ and /dev/stdout are
    // its own. Before the filter, they could have stopped it from being loaded.
    raw::prctl(raw::PR_SET_DUMPABLE, 1).map_err(step("becoming visible"))?;
    if join.robust_list != 0 {
        const LIST_HEAD_BYTES: usize = 24;
        raw::call(nr::SET_ROBUST_LIST, [join.robust_list, LIST_HEAD_BYTES, 0, 0, 0])
            .map_err(step("registering robust mutexes"))?;
    }
    say(CONTROL, PARKED).map_err(step("saying that it is parked"))?;
    wait_for_go(CONTROL).map_err(step("waiting for the jailer's check"))
}

fn place_descriptors(join: &Join) -> Result<(), Errno> {
    for (number, fd) in join.std.iter().enumerate() {
        raw::call(nr::DUP3, [*fd as usize, number, 0, 0, 0])?;
    }
    raw::call(nr::DUP3, [join.control as usize, CONTROL, O_CLOEXEC, 0, 0]).map(drop)
}

/// The five capability sets, the supplementary groups and the ids. The ids change while the capabilities are there, so
/// the permitted and effective sets are the last to go: none of the ids involved is 0, so nothing clears them earlier.
fn drop_privileges() -> Result<(), Failed> {
    const LAST_POSSIBLE: usize = 63;
    for capability in 0..=LAST_POSSIBLE {
        // EINVAL: the kernel has no capability of that number.
        if raw::prctl(raw::PR_CAPBSET_DROP, capability).is_err() {
            if capability == 0 {
                return Err(Failed("emptying the bounding set", Errno(1)));
            }
            break;
        }
    }
    raw::prctl(raw::PR_CAP_AMBIENT, raw::PR_CAP_AMBIENT_CLEAR_ALL).map_err(step("emptying the ambient set"))?;
    raw::call(nr::SETGROUPS, [0; 5]).map_err(step("leaving all groups"))?;
    raw::call(nr::SETRESGID, [USER, USER, USER, 0, 0]).map_err(step("becoming the user's group"))?;
    raw::call(nr::SETRESUID, [USER, USER, USER, 0, 0]).map_err(step("becoming the user"))?;
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let sets = [0_u32; 6]; // effective, permitted, inheritable; twice
    raw::call(nr::CAPSET, [&raw const header as usize, &raw const sets as usize, 0, 0, 0])
        .map_err(step("dropping capabilities"))?;
    Ok(())
}

fn load_filter(join: &Join) -> Result<(), Errno> {
    const SET_MODE_FILTER: usize = 1;
    #[repr(C)]
    struct Program {
        instructions: u16,
        first: *const u8,
    }
    let Ok(instructions) = u16::try_from(join.filter_len / 8) else { return Err(Errno(7)) };
    let program = Program { instructions, first: join.filter };
    raw::call(nr::SECCOMP, [SET_MODE_FILTER, 0, &raw const program as usize, 0, 0]).map(drop)
}

fn say(control: usize, word: &[u8]) -> Result<(), Errno> {
    loop {
        match raw::call(nr::SENDTO, [control, word.as_ptr() as usize, word.len(), MSG_NOSIGNAL, 0]) {
            Ok(sent) if sent == word.len() => return Ok(()),
            Ok(_) => return Err(Errno(EPIPE)),
            Err(Errno(EINTR)) => {}
            Err(e) => return Err(e),
        }
    }
}

fn wait_for_go(control: usize) -> Result<(), Errno> {
    let mut word = 0_u8;
    loop {
        match raw::call(nr::READ, [control, &raw mut word as usize, 1, 0, 0]) {
            Ok(1) if word == GO => return Ok(()),
            Ok(_) => return Err(Errno(EPIPE)),
            Err(Errno(EINTR)) => {}
            Err(e) => return Err(e),
        }
    }
}

/// `E<what>: errno <n>`.
fn say_failure(control: usize, what: &str, errno: i64) {
    let mut text = [0_u8; 96];
    let mut len = 0;
    let mut put = |bytes: &[u8]| {
        for byte in bytes {
            if let Some(place) = text.get_mut(len) {
                *place = *byte;
                len += 1;
            }
        }
    };
    put(b"E");
    put(what.as_bytes());
    put(b": errno ");
    let errno = errno as u32;
    for digit in [errno / 100 % 10, errno / 10 % 10, errno % 10] {
        put(&[b'0' + digit as u8]);
    }
    let text = text.get(..len).unwrap_or(b"E");
    let _ = say(control, text);
}
