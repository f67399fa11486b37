//! The identity of one state directory: what its cgroups, uid ranges and mounts are named after, so that two
//! installations live side by side.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::host::INSTALLATIONS;

/// Contents of `$RINGFENCE_HOME/installation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installation {
    /// 8 hexadecimal digits.
    pub id: String,
    /// Which block of the host's uids it uses.
    pub uid_block: u32,
}

impl Installation {
    /// Reads the file.
    ///
    /// # Errors
    /// It is missing or broken.
    pub fn load(home: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(home.join("installation"))?;
        let installation: Self = serde_json::from_str(&text)?;
        let well_formed = installation.id.len() == 8
            && installation.id.bytes().all(|b| b.is_ascii_hexdigit())
            && installation.uid_block < INSTALLATIONS;
        if well_formed { Ok(installation) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Reads the file, or makes a new identity. The uid block is claimed for the life of the returned socket, so that
    /// no two live installations share one; a block that is taken is exchanged for another (ids on disk do not depend
    /// on it).
    ///
    /// # Errors
    /// The file is broken or cannot be written, or every block is taken.
    pub fn claim(home: &Path) -> io::Result<(Self, OwnedFd)> {
        let known = match Self::load(home) {
            Ok(known) => Some(known),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let id = known.as_ref().map_or_else(random_id, |k| k.id.clone());
        let first =
            known.as_ref().map_or_else(|| u32::from_str_radix(&id, 16).unwrap_or(0) % INSTALLATIONS, |k| k.uid_block);
        for offset in 0..INSTALLATIONS {
            let uid_block = (first + offset) % INSTALLATIONS;
            let Some(claim) = claim_block(uid_block)? else { continue };
            let installation = Self { id: id.clone(), uid_block };
            if known.as_ref() != Some(&installation) {
                let unfinished = home.join("installation.new");
                fs::write(&unfinished, serde_json::to_string(&installation)?)?;
                fs::rename(unfinished, home.join("installation"))?;
            }
            return Ok((installation, claim));
        }
        Err(io::Error::other(format!("all {INSTALLATIONS} uid ranges are in use by other running installations")))
    }
}

fn random_id() -> String {
    let mut bytes = [0_u8; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).expect("4 bytes never block after boot");
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An abstract unix socket's name is machine-wide (in one network namespace) and gone with its holder: unix(7).
fn claim_block(block: u32) -> io::Result<Option<OwnedFd>> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let name = SocketAddrUnix::new_abstract_name(format!("ringfence-uids-{block}").as_bytes())?;
    match bind(socket.as_fd(), &name) {
        Ok(()) => Ok(Some(socket)),
        Err(rustix::io::Errno::ADDRINUSE) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
