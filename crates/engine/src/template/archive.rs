//! What a step takes in: files as a tar archive, the same bytes for the same files.

/// Time of every entry: 2020-01-01 UTC. Sealing a layer keeps times.
const TIME: u64 = 1_577_836_800;

const BLOCK: usize = 512;

/// Writes entries (POSIX.1-1988 ustar, with GNU's long names).
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// Adds a directory.
    pub(super) fn directory(&mut self, path: &str, owner: u32) {
        self.entry(&format!("{path}/"), b'5', 0o755, owner, &[]);
    }

    /// Adds a file.
    pub(super) fn file(&mut self, path: &str, mode: u32, owner: u32, content: &[u8]) {
        self.entry(path, b'0', mode, owner, content);
    }

    /// All of it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn entry(&mut self, path: &str, kind: u8, mode: u32, owner: u32, content: &[u8]) {
        const NAME_BYTES_MAX: usize = 100;
        if path.len() > NAME_BYTES_MAX {
            let name = format!("{path}\0");
            self.header("././@LongLink", b'L', 0o644, 0, name.len());
            self.content(name.as_bytes());
        }
        let end = (0..=path.len().min(NAME_BYTES_MAX)).rev().find(|end| path.is_char_boundary(*end)).unwrap_or(0);
        self.header(&path[..end], kind, mode, owner, content.len());
        self.content(content);
    }

    fn header(&mut self, name: &str, kind: u8, mode: u32, owner: u32, length: usize) {
        let mut header = [0_u8; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let mut number = |at: usize, digits: usize, value: u64| {
            header[at..at + digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
        };
        number(100, 7, u64::from(mode));
        number(108, 7, u64::from(owner));
        number(116, 7, u64::from(owner));
        number(124, 11, length as u64);
        number(136, 11, TIME);
        header[148..156].fill(b' ');
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar  \0");
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend_from_slice(&header);
    }

    fn content(&mut self, content: &[u8]) {
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn tar_reads_it() {
        let mut archive = Archive::default();
        let long = format!("srv/{}/[id].js", "d".repeat(120));
        archive.directory("srv/app", 1000);
        archive.file("srv/app/a b", 0o640, 1000, b"one");
        archive.file(&long, 0o755, 0, &[0; 600]);
        let mut tar = Command::new("tar")
            .args(["-tvf", "-", "--numeric-owner", "--quoting-style=literal", "--utc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar(1)");
        tar.stdin.take().expect("piped").write_all(&archive.finish()).expect("it reads");
        let listed = tar.wait_with_output().expect("it ends");
        assert!(listed.status.success());
        let text = String::from_utf8(listed.stdout).expect("names");
        let words: Vec<Vec<&str>> = text.lines().map(|line| line.splitn(6, ' ').collect()).collect();
        let lines: Vec<String> = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(words.len(), 3, "{text}");
        assert_eq!(lines[0], "drwxr-xr-x 1000/1000 0 2020-01-01 00:00 srv/app/");
        assert_eq!(lines[1], "-rw-r----- 1000/1000 3 2020-01-01 00:00 srv/app/a b");
        assert_eq!(lines[2], format!("-rwxr-xr-x 0/0 600 2020-01-01 00:00 {long}"));
    }
}
