//! The sk_lookup program of a sandbox: which socket takes what the sandbox sends to an address (the kernel's
//! Documentation/bpf/prog_sk_lookup.rst). It runs for every connection to be, before the kernel looks for a listener.
//!
//! ```text
//! TCP to 127.0.0.0/8 or ::1   port 1: refused; else whoever listens inside
//! TCP to anywhere else        the gate's listener, while the gate is open; else refused
//! UDP to port 53              the gate's socket (the only one on that port), while the gate is open; else refused
//! other UDP                   whoever listens inside, which for the world outside is nobody
//! ```
//! Connections that exist never come here. Nothing is decided from what the sandbox sends but addresses and ports.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::{DNS_PORT, LISTENER_PORT};
use crate::sys::bpf::Instruction;

/// A register. `R0` holds results, `R1` to `R5` arguments, `R6` to `R9` outlive calls, `R10` is the end of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    R0,
    R1,
    R2,
    R3,
    R6,
    R7,
    R8,
    R10,
}
use Register::{R0, R1, R2, R3, R6, R7, R8, R10};

impl Register {
    fn number(self) -> u8 {
        match self {
            R0 => 0,
            R1 => 1,
            R2 => 2,
            R3 => 3,
            R6 => 6,
            R7 => 7,
            R8 => 8,
            R10 => 10,
        }
    }
}

/// A place that is jumped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    NotTcp,
    NotV4,
    Loopback,
    Outside,
    IfOpen,
    Refuse,
    Pass,
}

/// Where a field is in `struct bpf_sk_lookup` (linux/bpf.h). All are read as 32 bits; addresses are in network order, the
/// local port is in the host's.
mod field {
    pub(super) const FAMILY: i16 = 8;
    pub(super) const PROTOCOL: i16 = 12;
    pub(super) const LOCAL_IP4: i16 = 40;
    pub(super) const LOCAL_IP6: [i16; 4] = [44, 48, 52, 56];
    pub(super) const LOCAL_PORT: i16 = 60;
}

/// What is called (the enumeration of helpers in linux/bpf.h).
mod helper {
    pub(super) const MAP_LOOKUP_ELEM: i32 = 1;
    pub(super) const SK_RELEASE: i32 = 86;
    pub(super) const SK_ASSIGN: i32 = 124;
}

/// The program's answers.
const SK_DROP: i32 = 0;
const SK_PASS: i32 = 1;

/// What the constant of a 64-bit load is, in its source register.
const PSEUDO_MAP_FD: u8 = 1;
const PSEUDO_MAP_VALUE: u8 = 2;

#[derive(Debug, Default)]
struct Assembler {
    program: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    labels: Vec<(Label, usize)>,
}

impl Assembler {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        self.program.push(Instruction { code, registers: to | from << 4, offset, immediate });
    }

    /// `to = *(u32 *)(base + offset)`
    fn load(&mut self, to: Register, base: Register, offset: i16) {
        self.push(0x61, to.number(), base.number(), offset, 0);
    }

    /// `*(u32 *)(base + offset) = value`
    fn store(&mut self, base: Register, offset: i16, value: i32) {
        self.push(0x62, base.number(), 0, offset, value);
    }

    fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to.number(), from.number(), 0, 0);
    }

    fn set(&mut self, to: Register, value: i32) {
        self.push(0xb7, to.number(), 0, 0, value);
    }

    fn add(&mut self, to: Register, value: i32) {
        self.push(0x07, to.number(), 0, 0, value);
    }

    fn and(&mut self, to: Register, mask: i32) {
        self.push(0x57, to.number(), 0, 0, mask);
    }

    fn wide(&mut self, to: Register, what: u8, fd: BorrowedFd<'_>) {
        self.push(0x18, to.number(), what, 0, fd.as_raw_fd());
        self.push(0, 0, 0, 0, 0);
    }

    /// `to` = the map.
    fn load_map(&mut self, to: Register, map: BorrowedFd<'_>) {
        self.wide(to, PSEUDO_MAP_FD, map);
    }

    /// `to` = address of the first value of an array.
    fn load_value_of(&mut self, to: Register, map: BorrowedFd<'_>) {
        self.wide(to, PSEUDO_MAP_VALUE, map);
    }

    fn jump(&mut self, label: Label) {
        self.jumps.push((self.program.len(), label));
        self.push(0x05, 0, 0, 0, 0);
    }

    fn jump_if_equal(&mut self, register: Register, value: i32, label: Label) {
        self.jumps.push((self.program.len(), label));
        self.push(0x15, register.number(), 0, 0, value);
    }

    fn jump_if_other(&mut self, register: Register, value: i32, label: Label) {
        self.jumps.push((self.program.len(), label));
        self.push(0x55, register.number(), 0, 0, value);
    }

    fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    fn answer(&mut self, answer: i32) {
        self.set(R0, answer);
        self.push(0x95, 0, 0, 0, 0);
    }

    fn here(&mut self, label: Label) {
        self.labels.push((label, self.program.len()));
    }

    /// Fills in the jumps. An offset counts from the instruction after the jump.
    fn finish(mut self) -> io::Result<Vec<Instruction>> {
        let unknown = || io::Error::other("a jump without its place");
        for (at, label) in self.jumps {
            let (_, place) = self.labels.iter().find(|(l, _)| *l == label).ok_or_else(unknown)?;
            let offset = place.checked_sub(at + 1).ok_or_else(unknown)?;
            self.program[at].offset = i16::try_from(offset).map_err(|_| unknown())?;
        }
        Ok(self.program)
    }
}

/// A constant that is compared with four bytes in network order.
const fn bytes(bytes: [u8; 4]) -> i32 {
    i32::from_ne_bytes(bytes)
}

/// The program. `sockets` has the listener at index 0; the first value of `open` is not 0 while a gateway reads.
///
/// # Errors
/// None that a test of ours would not have found.
pub(super) fn assemble(sockets: BorrowedFd<'_>, open: BorrowedFd<'_>) -> io::Result<Vec<Instruction>> {
    let mut a = Assembler::default();
    a.copy(R6, R1); // the context
    a.load(R2, R6, field::PROTOCOL);
    a.jump_if_other(R2, libc::IPPROTO_TCP, Label::NotTcp);
    a.load(R2, R6, field::FAMILY);
    a.jump_if_other(R2, libc::AF_INET, Label::NotV4);
    a.load(R2, R6, field::LOCAL_IP4);
    a.and(R2, bytes([255, 0, 0, 0]));
    a.jump_if_equal(R2, bytes([127, 0, 0, 0]), Label::Loopback);
    a.jump(Label::Outside);

    // Mapped addresses are IPv4 on the wire and come as such.
    a.here(Label::NotV4);
    for (word, value) in field::LOCAL_IP6.into_iter().zip([[0; 4], [0; 4], [0; 4], [0, 0, 0, 1]]) {
        a.load(R2, R6, word);
        a.jump_if_other(R2, bytes(value), Label::Outside);
    }

    // The gate's listener has this port: who connects to it here would look as if it wanted to go to itself.
    a.here(Label::Loopback);
    a.load(R2, R6, field::LOCAL_PORT);
    a.jump_if_equal(R2, i32::from(LISTENER_PORT), Label::Refuse);
    a.jump(Label::Pass);

    a.here(Label::Outside);
    a.load_value_of(R1, open);
    a.load(R2, R1, 0);
    a.jump_if_equal(R2, 0, Label::Refuse);
    a.store(R10, -4, 0); // the index
    a.load_map(R1, sockets);
    a.copy(R2, R10);
    a.add(R2, -4);
    a.call(helper::MAP_LOOKUP_ELEM);
    a.jump_if_equal(R0, 0, Label::Refuse);
    a.copy(R7, R0); // the listener, with a reference that must be given back
    a.copy(R1, R6);
    a.copy(R2, R7);
    a.set(R3, 0);
    a.call(helper::SK_ASSIGN);
    a.copy(R8, R0);
    a.copy(R1, R7);
    a.call(helper::SK_RELEASE);
    a.jump_if_other(R8, 0, Label::Refuse);
    a.jump(Label::Pass);

    a.here(Label::NotTcp);
    a.load(R2, R6, field::LOCAL_PORT);
    a.jump_if_equal(R2, i32::from(DNS_PORT), Label::IfOpen);
    a.jump(Label::Pass);

    a.here(Label::IfOpen);
    a.load_value_of(R1, open);
    a.load(R2, R1, 0);
    a.jump_if_other(R2, 0, Label::Pass);

    a.here(Label::Refuse);
    a.answer(SK_DROP);

    a.here(Label::Pass);
    a.answer(SK_PASS);
    a.finish()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// What the program does is tested with real connections (tests/capture.rs); that it can be put together, here.
    #[test]
    fn every_jump_of_the_program_leads_into_it() {
        let null = std::fs::File::open("/dev/null").expect("/dev/null");
        let program = assemble(null.as_fd(), null.as_fd()).expect("every label has its place");
        for (at, instruction) in program.iter().enumerate() {
            if matches!(instruction.code, 0x05 | 0x15 | 0x55) {
                let target = at + 1 + usize::try_from(instruction.offset).expect("jumps go forward");
                assert!(target < program.len(), "{at}: {instruction:?}");
                assert_ne!(program[target].code, 0, "{at} leads into the middle of a 64-bit load");
            }
        }
        assert_eq!(program.last().map(|i| i.code), Some(0x95), "it ends with an answer");
    }

    #[test]
    fn a_jump_to_nowhere_is_an_error() {
        let mut a = Assembler::default();
        a.jump(Label::Pass);
        assert!(a.finish().is_err());
        let mut a = Assembler::default();
        a.here(Label::Pass);
        a.jump(Label::Pass);
        assert!(a.finish().is_err(), "backwards");
    }
}
