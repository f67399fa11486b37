//! What `fuzz/` calls, and the test over its seeds: frames as a sandbox may write them.

use crate::frames::{FILE_BYTES_MAX, Frame, HEADER_BYTES, Header, PATH_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// A stream of frames: nothing longer than its bound is asked for, what is read is written as it stood, and no path or name
/// leads out.
///
/// # Panics
/// When it is not so.
pub fn fuzz_frames(bytes: &[u8]) {
    read(bytes);
}

/// How many frames were read.
fn read(mut bytes: &[u8]) -> usize {
    let mut frames = 0;
    while let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let Ok(header) = Header::parse(*head) else { return frames };
        assert!(header.len <= PAYLOAD_BYTES_MAX && (PAYLOAD_BYTES_MAX as u64) < FILE_BYTES_MAX);
        let Some((payload, rest)) = rest.split_at_checked(header.len) else { return frames };
        for cut in [0, header.len / 2, header.len.saturating_sub(1)] {
            assert!(cut == header.len || Frame::decode(header, &payload[..cut]).is_err(), "what is cut off is none");
        }
        if let Ok(frame) = Frame::decode(header, payload) {
            let is_text = |text: &str| !text.contains(char::REPLACEMENT_CHARACTER);
            // The text of an error is shown, and is made readable for that.
            if !matches!(&frame, Frame::Error { text, .. } if !is_text(text)) {
                assert_eq!(frame.encode(header.tag), [&head[..], payload].concat());
            }
            match &frame {
                Frame::Write { path, .. }
                | Frame::Read { path, .. }
                | Frame::Stat { path }
                | Frame::List { path, .. }
                | Frame::Remove { path } => {
                    assert!(path.starts_with(b"/") && path.len() <= PATH_BYTES_MAX && !path.contains(&0));
                }
                Frame::Entry(entry) => {
                    assert!(entry.name.len() <= 255 && !entry.name.iter().any(|byte| matches!(byte, 0 | b'/')));
                    assert!(entry.name != b"." && entry.name != b"..");
                }
                Frame::Data(_) | Frame::End { .. } | Frame::Error { .. } => {}
            }
            frames += 1;
        }
        bytes = rest;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_hold_their_properties_for_every_seed() {
        let directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/frames");
        let seeds = std::fs::read_dir(directory).expect("a directory of seeds");
        let frames: usize = seeds.map(|seed| read(&std::fs::read(seed.expect("a seed").path()).expect("a file"))).sum();
        assert!(frames >= 9, "{frames} frames: one of each kind at the least");
    }
}
