use std::process::{Command, Stdio};

use super::*;

/// A header as somebody writes it, with a right sum.
fn block(name: &[u8], kind: u8, size: u64, change: impl FnOnce(&mut [u8; BLOCK])) -> Vec<u8> {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[TYPE_AT] = kind;
    block[MODE].copy_from_slice(b"0000644\0");
    block[UID].copy_from_slice(b"0001750\0");
    block[GID].copy_from_slice(b"0001750\0");
    block[SIZE].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[TIME].copy_from_slice(b"00000000012\0");
    block[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut block);
    block[SUM].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

fn filled(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (1..).find(|digits| (rest + digits).to_string().len() == *digits).map(|d| rest + d).expect("one");
        text.push_str(&format!("{length} {key}={value}\n"));
    }
    [block(b"pax", b'x', text.len() as u64, |_| {}), filled(text.into_bytes())].concat()
}

fn all(bytes: &[u8]) -> Result<Vec<(Header, Vec<u8>)>, BadEntry> {
    let mut tar = Tar::new(bytes);
    let mut found = Vec::new();
    while let Some(header) = tar.entry()? {
        let mut content = Vec::new();
        tar.read_to_end(&mut content)?;
        found.push((header, content));
    }
    Ok(found)
}

#[track_caller]
fn one(bytes: &[u8]) -> Header {
    let mut found = all(bytes).expect("it is read");
    assert_eq!(found.len(), 1);
    found.remove(0).0
}

#[track_caller]
fn refuse(bytes: &[u8], why: &str) {
    let error = all(bytes).expect_err("refused").to_string();
    assert!(error.contains(why), "{error}");
}

const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// In every format that tar(1) writes, with names of every length around its fields.
#[test]
fn what_tar_writes_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut names = Vec::new();
    for length in [1, 99, 100, 101, 155, 156, 255] {
        let name = format!("d/{}", "n".repeat(length));
        std::fs::create_dir_all(dir.path().join("d")).expect("a directory");
        std::fs::write(dir.path().join(&name), &name).expect("a file");
        names.push(name);
    }
    let deep = format!("{0}/{0}/{0}/file", "e".repeat(90));
    std::fs::create_dir_all(dir.path().join(&deep).parent().expect("one")).expect("directories");
    std::fs::write(dir.path().join(&deep), "deep").expect("a file");
    std::fs::hard_link(dir.path().join(&names[3]), dir.path().join("d/hard")).expect("a link");
    std::os::unix::fs::symlink("t".repeat(200), dir.path().join("d/soft")).expect("a link");
    for format in ["v7", "ustar", "gnu", "oldgnu", "pax"] {
        let is_short = matches!(format, "v7" | "ustar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(dir.path()).args(["--format", format, "-cf", "-", "--sort=name"]);
        // Formats that cannot hold a long name leave it out.
        let output =
            tar.arg("d").arg(deep.split('/').next().expect("one")).stderr(Stdio::null()).output().expect("tar(1)");
        let found = all(&output.stdout).expect("it is read");
        let of = |path: &str| found.iter().find(|(header, _)| header.path == path.as_bytes());
        let mut read = 0;
        for name in names.iter().chain([&deep]) {
            let Some((header, content)) = of(name) else {
                assert!(is_short, "{format}: {name}");
                continue;
            };
            read += 1;
            let is_file = header.kind == Kind::File && (content == name.as_bytes() || content == b"deep");
            assert!(is_file || matches!(header.kind, Kind::HardLink(_)), "{format}: {header:?}");
        }
        assert!(read >= 1 && of("d/").is_some_and(|(header, _)| header.kind == Kind::Directory), "{format}");
        if !is_short {
            assert_eq!(of("d/soft").expect("there").0.kind, Kind::Link("t".repeat(200).into_bytes()), "{format}");
        }
    }
}

#[test]
fn numbers_are_octal_or_those_of_gnu() {
    let file = one(&[block(b"a", b'0', 0, |_| {}), END.to_vec()].concat());
    assert_eq!((file.mode, file.ids, file.time), (0o644, (1000, 1000), 10));
    let with = |change: fn(&mut [u8; BLOCK])| one(&[block(b"a", b'0', 0, change), END.to_vec()].concat());
    assert_eq!(with(|b| b[UID].copy_from_slice(&[0x80, 0, 0, 0, 0, 3, 4, 5])).ids.0, 0x03_04_05);
    assert_eq!(with(|b| b[TIME].copy_from_slice(&[0xff; 12])).time, 0, "before 1970");
    assert_eq!(with(|b| b[MODE].copy_from_slice(b"   755 \0")).mode, 0o755);
    let large = |b: &mut [u8; BLOCK]| b[SIZE].copy_from_slice(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    refuse(&block(b"a", b'0', 0, large), "too large");
    let endless =
        |b: &mut [u8; BLOCK]| b[SIZE].copy_from_slice(&[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    refuse(&block(b"a", b'0', 0, endless), "too large");
    refuse(&block(b"a", b'0', 0, |b| b[SIZE].copy_from_slice(b"0000000009x\0")), "none");
}

#[test]
fn what_two_programs_would_read_in_two_ways_is_refused() {
    let file = || block(b"a", b'0', 0, |_| {});
    let with = |before: Vec<u8>| [before, file(), END.to_vec()].concat();
    assert_eq!(one(&with(pax(&[("path", "long"), ("SCHILY.xattr.user.x", "y")]))).path, b"long", "the control");
    refuse(&with(pax(&[("GNU.sparse.major", "1")])), "sparse");
    refuse(&with(pax(&[("size", "-1")])), "number");
    refuse(&with(pax(&[("path", "a\0b")])), "path");
    refuse(&with([pax(&[("path", "b")]), pax(&[("path", "c")])].concat()), "two pax");
    let global = |key| {
        let mut bytes = pax(&[(key, "1")]);
        bytes[TYPE_AT] = b'g';
        bytes[SUM].fill(b' ');
        let sum: u64 = bytes[..BLOCK].iter().map(|byte| u64::from(*byte)).sum();
        bytes[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    };
    assert_eq!(one(&with(global("comment"))).path, b"a", "the control");
    refuse(&with(global("size")), "all entries");
    for record in ["4 a=\n", "99 a=b\n", "x a=b\n", "6 a=b", "", " a=b\n"].into_iter().filter(|r| !r.is_empty()) {
        let bytes = [block(b"pax", b'x', record.len() as u64, |_| {}), filled(record.into())].concat();
        refuse(&with(bytes), "pax header");
    }
    refuse(&block(b"a", b'S', 0, |_| {}), "sparse");
    refuse(&block(b"a", b'M', 0, |_| {}), "type");
    refuse(&with(block(b"n", b'L', 1 << 30, |_| {})), "too long");
    refuse(&[END.to_vec(), file()].concat(), "follows");
    refuse(&pax(&[("path", "b")]), "ends behind");
    let mut wrong = file();
    wrong[0] = b'b';
    refuse(&wrong, "sum");
    refuse(&file()[..100], "cannot be read");
    refuse(&block(b"a", b'0', 10, |_| {}), "cannot be read");
    let before: Vec<u8> = (0..BEFORE_MAX + 1).flat_map(|_| global("comment")).collect();
    refuse(&with(before), "too many");
}

#[test]
fn paths_mean_what_lies_below_the_root() {
    let path = |text: &str| clean(text.as_bytes(), 4).map(|parts| parts.join(&b'/'));
    for (text, meant) in [("./a//b/", "a/b"), ("/etc/x", "etc/x"), ("./", ""), ("...", "...")] {
        assert_eq!(path(text).expect("plain"), meant.as_bytes());
    }
    for text in ["../x", "a/../b", "a/..", "1/2/3/4/5", "a\0b"] {
        assert!(path(text).is_err(), "{text}");
    }
    assert!(path(&"n".repeat(256)).is_err() && path(&"n".repeat(255)).is_ok());
}
