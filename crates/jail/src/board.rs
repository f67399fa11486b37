//! Which roles run, and how often each was started: written by the supervisor, which alone knows, and read by `serve`, which shows it.
//! A file in memory, so that neither waits for the other and nothing has to be understood but numbers.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use rustix::fs::MemfdFlags;

/// What stands on the board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    /// The jailer.
    pub jailer: Role,
    /// `serve`.
    pub serve: Role,
    /// The gateway.
    pub gateway: Role,
    /// The venue.
    pub venue: Role,
}

/// One of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Role {
    /// How often it was started since the daemon was.
    pub starts: u64,
    /// Whether it runs.
    pub runs: bool,
}

impl Role {
    /// How often it was started anew.
    #[must_use]
    pub fn restarts(self) -> u64 {
        self.starts.saturating_sub(1)
    }

    pub(crate) fn started(&mut self) {
        *self = Self { starts: self.starts.saturating_add(1), runs: true };
    }

    pub(crate) fn ended(&mut self) {
        self.runs = false;
    }
}

/// Number of roles.
const ROLES: usize = 4;
/// Bytes of one: its starts, and whether it runs.
const ROLE_BYTES: usize = 16;

/// The board itself.
#[derive(Debug)]
pub struct Board(File);

impl Board {
    /// An empty one.
    ///
    /// # Errors
    /// memfd_create(2).
    pub fn new() -> io::Result<Self> {
        let board = Self::of(rustix::fs::memfd_create("ringfence-board", MemfdFlags::CLOEXEC)?);
        board.write(&Roles::default())?;
        Ok(board)
    }

    /// The one behind a descriptor.
    #[must_use]
    pub fn of(fd: OwnedFd) -> Self {
        Self(File::from(fd))
    }

    /// Puts this on it.
    ///
    /// # Errors
    /// pwrite(2).
    pub fn write(&self, roles: &Roles) -> io::Result<()> {
        let mut bytes = [0; ROLES * ROLE_BYTES];
        let all = [roles.jailer, roles.serve, roles.gateway, roles.venue];
        for (place, role) in bytes.chunks_exact_mut(ROLE_BYTES).zip(all) {
            place[..8].copy_from_slice(&role.starts.to_le_bytes());
            place[8] = u8::from(role.runs);
        }
        self.0.write_all_at(&bytes, 0)
    }

    /// What stands on it.
    ///
    /// # Errors
    /// pread(2).
    pub fn read(&self) -> io::Result<Roles> {
        let mut bytes = [0; ROLES * ROLE_BYTES];
        self.0.read_exact_at(&mut bytes, 0)?;
        let role = |number: usize| {
            let place = &bytes[number * ROLE_BYTES..][..ROLE_BYTES];
            let starts = u64::from_le_bytes(place[..8].try_into().expect("eight bytes"));
            Role { starts, runs: place[8] == 1 }
        };
        Ok(Roles { jailer: role(0), serve: role(1), gateway: role(2), venue: role(3) })
    }
}

impl AsFd for Board {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_on_it_is_read_through_another_descriptor() {
        let board = Board::new().expect("a board");
        let reader = Board::of(board.as_fd().try_clone_to_owned().expect("a descriptor"));
        assert_eq!(reader.read().expect("readable"), Roles::default());
        let mut roles = Roles::default();
        roles.venue.started();
        roles.venue.ended();
        roles.venue.started();
        roles.serve.started();
        roles.serve.ended();
        board.write(&roles).expect("writable");
        let read = reader.read().expect("readable");
        assert_eq!(read, roles);
        assert_eq!((read.venue.restarts(), read.venue.runs), (1, true));
        assert_eq!((read.serve.restarts(), read.serve.runs, read.jailer.restarts()), (0, false, 0));
    }
}
