//! bpf(2): maps, programs and links, as far as the capture of a sandbox's connections needs them. Layouts: the uapi
//! header linux/bpf.h, `union bpf_attr`; the kernel takes every attribute that is not given as zero.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use libc::{c_int, c_long, c_void};

use super::{check, owned};

/// One instruction of an eBPF program (Documentation/bpf/standardization/instruction-set.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Class, operation and kind of operand.
    pub code: u8,
    /// Destination register in the low half, source in the high one.
    pub registers: u8,
    /// Offset of a jump or a memory access.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}

/// Kinds of maps that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// Plain values.
    Array,
    /// Sockets; a value is a descriptor when written.
    Sockets,
}

/// What a network namespace's link is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkInfo {
    /// Inode of the network namespace; 0 once that is gone.
    pub namespace: u64,
    /// It is a link of an sk_lookup program.
    pub is_sk_lookup: bool,
}

const MAP_CREATE: c_int = 0;
const MAP_UPDATE_ELEM: c_int = 2;
const PROG_LOAD: c_int = 5;
const OBJ_GET_INFO_BY_FD: c_int = 15;
const LINK_CREATE: c_int = 28;

const PROG_TYPE_SK_LOOKUP: u32 = 30;
const ATTACH_SK_LOOKUP: u32 = 36;
const LINK_TYPE_NETNS: u32 = 5;

fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("descriptors are not negative")
}

fn bpf<T>(command: c_int, attr: &mut T) -> io::Result<c_long> {
    // SAFETY: every caller gives the leading part of `union bpf_attr` that its command reads, without padding, as a live
    // struct of that size; pointers in it are to values that outlive the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr).cast::<c_void>(), size_of::<T>()) })
}

/// Makes a map of `entries` whose keys are 32-bit indices and whose values are eight bytes long.
///
/// # Errors
/// errno of `BPF_MAP_CREATE`.
pub fn map_create(kind: MapKind, entries: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    }
    let map_type = match kind {
        MapKind::Array => 2,
        MapKind::Sockets => 15,
    };
    let mut attr = Attr { map_type, key_size: 4, value_size: 8, max_entries: entries };
    bpf(MAP_CREATE, &mut attr).map(owned)
}

/// Writes a value at an index of a map that was made by [`map_create`].
///
/// # Errors
/// errno of `BPF_MAP_UPDATE_ELEM`.
pub fn map_set(map: BorrowedFd<'_>, index: u32, value: u64) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        map_fd: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let (key, value) = (std::ptr::from_ref(&index) as u64, std::ptr::from_ref(&value) as u64);
    let mut attr = Attr { map_fd: number(map), padding: 0, key, value, flags: 0 };
    bpf(MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Loads an sk_lookup program.
///
/// # Errors
/// errno of `BPF_PROG_LOAD`; `EINVAL` or `EACCES` when the verifier refuses it.
pub fn load_sk_lookup(program: &[Instruction]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    let mut attr = Attr {
        prog_type: PROG_TYPE_SK_LOOKUP,
        insn_cnt: u32::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        insns: program.as_ptr() as u64,
        // Every helper that the program calls is open to any licence; ours is the crate's.
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"ringfence_gate\0\0",
        prog_ifindex: 0,
        expected_attach_type: ATTACH_SK_LOOKUP,
    };
    bpf(PROG_LOAD, &mut attr).map(owned)
}

/// Attaches an sk_lookup program to a network namespace, for as long as the link is open.
///
/// # Errors
/// errno of `BPF_LINK_CREATE`.
pub fn link_sk_lookup(program: BorrowedFd<'_>, network_namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr {
        prog_fd: number(program),
        target_fd: number(network_namespace),
        attach_type: ATTACH_SK_LOOKUP,
        flags: 0,
    };
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// What the kernel says of a link.
///
/// # Errors
/// errno of `BPF_OBJ_GET_INFO_BY_FD`; `InvalidData` when it is no link to a network namespace.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    /// `struct bpf_link_info`, up to the fields of a network namespace's link.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        prog_id: u32,
        padding: u32,
        netns_ino: u32,
        attach_type: u32,
    }
    #[repr(C)]
    struct Attr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = Info::default();
    let mut attr = Attr {
        bpf_fd: number(link),
        info_len: u32::try_from(size_of::<Info>()).expect("24"),
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    if info.kind != LINK_TYPE_NETNS {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(LinkInfo { namespace: u64::from(info.netns_ino), is_sk_lookup: info.attach_type == ATTACH_SK_LOOKUP })
}
