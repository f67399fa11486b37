//! Heads of frames, and masks (RFC 6455 5.2, 5.3).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

const CONTROL_BYTES_MAX: u64 = 125;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
/// Opcodes from here on are of control frames.
pub(super) const CONTROL: u8 = 8;

/// Puts the mask on, or takes it off; `at` is how far into the frame the bytes are.
pub(super) fn unmask(bytes: &mut [u8], key: [u8; 4], at: usize) {
    for (byte, mask) in bytes.iter_mut().zip(key.iter().cycle().skip(at % key.len())) {
        *byte ^= mask;
    }
}

/// The head of a frame (RFC 6455 5.2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) fin: bool,
    pub(super) opcode: u8,
    pub(super) length: u64,
    pub(super) key: Option<[u8; 4]>,
    /// As it was read.
    pub(super) raw: Vec<u8>,
}

impl Head {
    /// Nothing at the end of the stream.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut start = [0; 2];
        if from.read(start.split_at_mut(1).0).await? == 0 {
            return Ok(None);
        }
        from.read_exact(start.split_at_mut(1).1).await?;
        let [flags, short] = start;
        let mut raw = start.to_vec();
        let length = match short & 0x7f {
            126 => u64::from(from.read_u16().await?),
            127 => from.read_u64().await?,
            short => u64::from(short),
        };
        match short & 0x7f {
            126 => raw.extend_from_slice(&u16::try_from(length).unwrap_or_default().to_be_bytes()),
            127 => raw.extend_from_slice(&length.to_be_bytes()),
            _ => {}
        }
        let mut key = None;
        if short & 0x80 != 0 {
            let mut bytes = [0; 4];
            from.read_exact(&mut bytes).await?;
            raw.extend_from_slice(&bytes);
            key = Some(bytes);
        }
        let (fin, opcode) = (flags & 0x80 != 0, flags & 0x0f);
        // No extension was agreed on, so that nobody may use the bits which they have.
        let is_odd = flags & 0x70 != 0 || length > u64::MAX >> 1;
        if is_odd || opcode >= CONTROL && (!fin || length > CONTROL_BYTES_MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that is none"));
        }
        Ok(Some(Self { fin, opcode, length, key, raw }))
    }

    pub(super) fn write(out: &mut Vec<u8>, fin: bool, opcode: u8, length: u64, key: Option<[u8; 4]>) {
        out.push(u8::from(fin) << 7 | opcode);
        let masked = u8::from(key.is_some()) << 7;
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => out.push(masked | short),
            (_, Ok(length)) => {
                out.push(masked | 126);
                out.extend_from_slice(&length.to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&length.to_be_bytes());
            }
        }
        out.extend_from_slice(&key.unwrap_or_default()[..if key.is_some() { 4 } else { 0 }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn heads_of_every_length_are_read_as_they_were_written() {
        for length in [0, 125, 126, 65535, 65536, 1 << 40] {
            for key in [None, Some([1, 2, 3, 4])] {
                let mut raw = Vec::new();
                Head::write(&mut raw, true, BINARY, length, key);
                let head = Head::read(&mut raw.as_slice()).await.unwrap().unwrap();
                assert_eq!(head, Head { fin: true, opcode: BINARY, length, key, raw });
            }
        }
        assert_eq!(Head::read(&mut &b""[..]).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused() {
        for bytes in [&[0xc1, 0][..], &[0x08, 0], &[0x89, 126, 1, 0], &[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0], &[0x81]] {
            assert!(Head::read(&mut &*bytes).await.is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_mask_goes_on_where_it_stopped() {
        let mut whole = *b"hello world";
        unmask(&mut whole, [1, 2, 3, 4], 0);
        let mut parts = *b"hello world";
        let (first, second) = parts.split_at_mut(7);
        unmask(first, [1, 2, 3, 4], 0);
        unmask(second, [1, 2, 3, 4], 7);
        assert_eq!(whole, parts);
    }
}
