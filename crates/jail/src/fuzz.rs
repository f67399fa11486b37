//! What `fuzz/` calls, and the tests over its seeds: archives as anybody may write them, and plans.

mod plan;

use std::io::Read;

use ringfence_model::LayerDigest;

pub use plan::fuzz_plan;

use crate::layer::{
    DEPTH_MAX, archive,
    entry::{self, BLOCK, Kind as OwnKind},
    image::{
        blob::Layer,
        manifest,
        outer::Outer,
        tar::{Kind, PATH_BYTES_MAX, Tar, clean},
    },
    unpack,
};

/// Bytes of the content of a layer that are read: a few kilobytes may become many.
const CONTENT_BYTES_MAX: u64 = 16 << 20;

/// An archive of an image: whatever is taken of it has the digests that name it, and no path of it leads out.
///
/// # Panics
/// When it is not so.
pub fn fuzz_image(bytes: &[u8]) {
    image(bytes);
}

/// An archive of a template: what is read would be written so, and nothing of it leads out.
///
/// # Panics
/// When it is not so.
pub fn fuzz_archive(bytes: &[u8]) {
    own(bytes);
}

/// How far an image was read: not at all, as a tar, as an image, or all of its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    No,
    Tar,
    Image,
    Layers,
}

fn image(bytes: &[u8]) -> Extent {
    // By itself, as a layer would be.
    let is_tar = entries(&mut Tar::new(bytes), bytes.len() as u64);
    let Ok(outer) = Outer::open(bytes.to_vec()) else { return Extent::No };
    let Ok(report) = manifest::read(&outer, None, "amd64") else {
        return if is_tar.is_some() { Extent::Tar } else { Extent::No };
    };
    assert_eq!(report.platform, "linux/amd64");
    assert!((1..=manifest::LAYERS_MAX).contains(&report.layers.len()));
    assert!(report.digest.strip_prefix("sha256:").is_some_and(crate::layer::image::blob::is_hash));
    let mut is_whole = true;
    for blob in &report.layers {
        assert!(outer.file(&blob.name).is_some_and(|(_, length)| length == blob.size && length <= bytes.len() as u64));
        let mut layer = Layer::open(&outer, blob).expect("it was looked at");
        let read = entries(&mut Tar::new(&mut layer), CONTENT_BYTES_MAX);
        is_whole &= read.is_some() && layer.finish().is_ok();
    }
    if is_whole { Extent::Layers } else { Extent::Image }
}

/// How many entries a tar has; `None` when it is none.
fn entries(tar: &mut Tar<impl crate::layer::image::tar::Source>, most: u64) -> Option<usize> {
    let (mut count, mut read) = (0, 0);
    while let Some(header) = tar.entry().ok()? {
        assert!(header.path.len() <= PATH_BYTES_MAX && (header.size == 0 || header.kind == Kind::File));
        if let Kind::Link(target) | Kind::HardLink(target) = &header.kind {
            assert!(target.len() <= PATH_BYTES_MAX);
        }
        if let Ok(parts) = clean(&header.path, DEPTH_MAX) {
            assert!(parts.len() <= DEPTH_MAX);
            let is_name = |part: &Vec<u8>| !matches!(&part[..], b"" | b"." | b"..") && !part.contains(&b'/');
            assert!(parts.iter().all(|part| is_name(part) && part.len() <= 255 && !part.contains(&0)));
        }
        let mut content = Vec::new();
        tar.by_ref().take(most.saturating_sub(read)).read_to_end(&mut content).ok()?;
        assert!(content.len() as u64 <= header.size);
        read += content.len() as u64;
        count += 1;
        if read >= most {
            return None;
        }
    }
    Some(count)
}

/// How many entries of an archive of ours were read.
fn own(bytes: &[u8]) -> usize {
    // As it is, and as if it were compressed.
    let (mut from, mut count) = (bytes, 0);
    loop {
        let before = from;
        let Ok(Some(read)) = entry::read(&mut from) else { break };
        count += 1;
        assert_eq!(entry::encode(&read).expect("it was read"), before[..before.len() - from.len()]);
        assert!(!read.path.is_empty() && read.path.len() <= entry::TEXT_BYTES_MAX);
        assert!(read.path.split(|byte| *byte == b'/').all(|part| !matches!(part, b"" | b"." | b"..")));
        let OwnKind::File(size) = read.kind else { continue };
        let whole = size.next_multiple_of(BLOCK as u64);
        match usize::try_from(whole).ok().and_then(|whole| from.get(whole..)) {
            Some(rest) => from = rest,
            None => break,
        }
    }
    let _ = unpack::manifest(&mut &bytes[..]);
    // With layers of the digests that it names itself, the second of which is a home. Nothing is made.
    let named = bytes.windows(71).filter_map(|window| {
        let digest = window.strip_prefix(b"layers/")?;
        LayerDigest::parse(std::str::from_utf8(digest).ok()?).ok()
    });
    let mut wanted: Vec<unpack::Wanted> = Vec::new();
    for digest in named {
        if wanted.iter().all(|(other, ..)| *other != digest) && wanted.len() < 2 {
            wanted.push((digest, !wanted.is_empty(), None));
        }
    }
    let whole: Vec<_> = wanted.iter().map(|(digest, is_home, _)| (digest.clone(), *is_home, None)).collect();
    if unpack::unpack(&mut &bytes[..], whole, 1 << 30).is_ok() {
        assert!(bytes.starts_with(archive::MANIFEST) && bytes.ends_with(&entry::END));
    }
    if let Ok(from) = unpack::decoder(bytes) {
        let _ = unpack::unpack(&mut from.take(CONTENT_BYTES_MAX), wanted, 1 << 30);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
        let directory = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let seeds = std::fs::read_dir(directory).expect("a directory of seeds");
        let seed = |path: std::path::PathBuf| {
            (path.file_name().expect("a name").to_string_lossy().into_owned(), std::fs::read(&path).expect("a file"))
        };
        seeds.map(|entry| seed(entry.expect("a seed").path())).collect()
    }

    /// The name of a seed says how far it is read.
    #[test]
    fn images_hold_their_properties_for_every_seed() {
        let seeds = seeds("image");
        for (name, bytes) in &seeds {
            let read = image(bytes);
            let expected = match name.split('-').next() {
                Some("layers") => Extent::Layers,
                Some("image") => Extent::Image,
                Some("tar") => Extent::Tar,
                _ => Extent::No,
            };
            assert_eq!(read, expected, "{name}");
        }
        let of = |kind: &str| seeds.iter().filter(|(name, _)| name.starts_with(kind)).count();
        assert!(of("layers-") >= 4 && of("image-") >= 2 && of("tar-") >= 4 && of("none-") >= 2);
    }

    #[test]
    fn archives_of_templates_hold_their_properties_for_every_seed() {
        let seeds = seeds("archive");
        let entries: usize = seeds.iter().map(|(_, bytes)| own(bytes)).sum();
        assert!(seeds.len() >= 4 && entries >= 12, "{entries} entries of {}", seeds.len());
    }
}
