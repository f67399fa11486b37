//! Descriptors that connections of programs may not take: without them a new sandbox's sockets would be lost on their way here, and
//! with them the gateway, for every sandbox.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, getrlimit};

/// At most as many are kept free: the sockets of new sandboxes (two each), what the gate itself asks of venues, files.
const KEPT_MAX: u64 = 256;
/// Of a low limit that part is kept.
const KEPT_PART: u64 = 8;

/// What is said of a connection that is refused.
pub(super) const SCARCE: &str = "the gateway has no file descriptors left for connections; try again later, or have the daemon started \
     with a higher limit (`LimitNOFILE=` in its unit, `ulimit -n` in a shell)";

/// Whether a descriptor that has just been made is one of those that are kept free.
pub(super) fn are_scarce(made: &impl AsFd) -> bool {
    // open(2): the kernel gives out the lowest number that is free, so at least as many are in use.
    let in_use = u64::try_from(made.as_fd().as_raw_fd()).expect("descriptors are not negative");
    getrlimit(Resource::Nofile).current.is_some_and(|limit| in_use >= most(limit))
}

/// [`are_scarce`] as the refusal of a connection upstream.
///
/// # Errors
/// `EMFILE`, when they are.
pub(super) fn spare(made: &impl AsFd) -> io::Result<()> {
    if are_scarce(made) { Err(rustix::io::Errno::MFILE.into()) } else { Ok(()) }
}

/// Of so many, how many connections may take.
fn most(limit: u64) -> u64 {
    limit - KEPT_MAX.min(limit / KEPT_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_kept_free_of_a_low_limit_and_no_more_than_is_needed_of_a_high_one() {
        assert_eq!([0, 8, 64, 1024, 4096, 524_288].map(most), [0, 7, 56, 896, 3840, 524_032]);
    }

    #[test]
    fn the_number_of_a_descriptor_says_how_many_there_are() {
        let limit = getrlimit(Resource::Nofile).current.expect("a test has a limit");
        let file = std::fs::File::open("/dev/null").expect("there");
        assert!(!are_scarce(&file) && spare(&file).is_ok());
        // One of the last: a copy at a number of our choice.
        let last = i32::try_from(limit - 1).expect("a limit of this host");
        let high = rustix::io::fcntl_dupfd_cloexec(&file, last).expect("the last one is free");
        assert!(are_scarce(&high));
        assert_eq!(spare(&high).expect_err("refused").raw_os_error(), Some(rustix::io::Errno::MFILE.raw_os_error()));
    }
}
