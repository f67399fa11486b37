//! The real `ringfence-init`, over a socket, outside any sandbox: its file workers become user 1000 of this machine.
//! Needs root, and says so when it is missing.

use std::{
    fs,
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, PermissionsExt, chown, symlink},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ringfence_guest::frames::{Entry, EntryKind, Frame, HEADER_BYTES, Header};

const USER: u32 = 1000;

struct Init {
    process: Child,
    socket: UnixStream,
    dir: PathBuf,
    tag: u16,
}

impl Init {
    /// Starts it with a directory that belongs to the user. `None` without root.
    fn start(name: &str) -> Option<Self> {
        if fs::metadata("/proc/self").map(|m| m.uid()).ok() != Some(0) {
            eprintln!("SKIPPED: {name} needs root");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("ringfence-init-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        chown(&dir, Some(USER), Some(USER)).unwrap();
        let (socket, theirs) = UnixStream::pair().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let process = Command::new("sh")
            .args(["-c", "exec \"$0\" 3<&0 </dev/null", env!("CARGO_BIN_EXE_ringfence-init")])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        Some(Self { process, socket, dir, tag: 0 })
    }

    fn path(&self, name: &str) -> Vec<u8> {
        self.dir.join(name).into_os_string().into_encoded_bytes()
    }

    fn send(&mut self, frame: &Frame) {
        self.socket.write_all(&frame.encode(self.tag)).unwrap();
    }

    fn receive(&mut self) -> Frame {
        let mut header = [0; HEADER_BYTES];
        self.socket.read_exact(&mut header).unwrap();
        let header = Header::parse(header).unwrap();
        assert_eq!(header.tag, self.tag);
        let mut payload = vec![0; header.len];
        self.socket.read_exact(&mut payload).unwrap();
        Frame::decode(header, &payload).unwrap()
    }

    /// The answer up to its last frame.
    fn ask(&mut self, request: &Frame, content: &[u8]) -> Vec<Frame> {
        self.tag += 1;
        self.send(request);
        for part in content.chunks(10_000) {
            self.send(&Frame::Data(part.to_vec()));
        }
        let mut answer = Vec::new();
        loop {
            answer.push(self.receive());
            if matches!(answer.last(), Some(Frame::End { .. } | Frame::Error { .. })) {
                return answer;
            }
        }
    }

    fn write(&mut self, name: &str, content: &[u8]) -> Vec<Frame> {
        let path = self.path(name);
        self.ask(&Frame::Write { mode: 0o4755, size: content.len() as u64, path }, content)
    }

    fn read(&mut self, name: &str, max: u64) -> Result<Vec<u8>, u32> {
        let path = self.path(name);
        let mut content = Vec::new();
        for frame in self.ask(&Frame::Read { max, path }, &[]) {
            match frame {
                Frame::Data(data) => content.extend(data),
                Frame::Error { errno, .. } => return Err(errno),
                Frame::End { .. } => return Ok(content),
                other => panic!("{other:?}"),
            }
        }
        unreachable!("an answer ends")
    }

    /// Pid of the file worker that is at work.
    fn worker(&self) -> String {
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let text = fs::read_to_string(&children).unwrap();
            if let Some(pid) = text.split_whitespace().next() {
                return pid.to_owned();
            }
            assert!(Instant::now() < deadline, "no worker was started");
            std::thread::yield_now();
        }
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

const DONE: [Frame; 1] = [Frame::End { complete: true }];

fn errno(answer: &[Frame]) -> Option<u32> {
    answer.iter().find_map(|frame| if let Frame::Error { errno, .. } = frame { Some(*errno) } else { None })
}

fn errno_of(number: i32) -> Option<u32> {
    Some(number.cast_unsigned())
}

#[test]
fn what_is_written_is_read() {
    let Some(mut init) = Init::start("round") else { return };
    for size in [0, 1, 65_536, 3_000_000] {
        let content: Vec<u8> = (0..size).map(|i: u32| (i * 7 % 251) as u8).collect();
        assert_eq!(init.write("a/b/file", &content), DONE);
        assert_eq!(init.read("a/b/file", 4_000_000), Ok(content));
    }
    let metadata = fs::metadata(init.dir.join("a/b/file")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o7777), (USER, USER, 0o755));
    assert_eq!(fs::read_dir(init.dir.join("a/b")).unwrap().count(), 1, "nothing is left beside it");
    assert_eq!(init.read("a/b/file", 2_999_999), Err(27));
}

#[test]
fn only_what_the_user_may_is_done() {
    let Some(mut init) = Init::start("denied") else { return };
    fs::write(init.dir.join("secret"), "x").unwrap();
    fs::set_permissions(init.dir.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(init.read("secret", 10), Err(13));
    symlink("/etc/shadow", init.dir.join("link")).unwrap();
    assert_eq!(init.read("link", 10_000), Err(13));
    assert_eq!(
        errno(&init.ask(&Frame::Write { mode: 0o644, size: 1, path: b"/etc/ringfence-test".to_vec() }, b"x")),
        errno_of(13)
    );
    // The link is replaced, and what it led to is as it was.
    assert_eq!(init.write("link", b"mine"), DONE);
    assert_eq!(init.read("link", 10), Ok(b"mine".to_vec()));
    assert!(!fs::symlink_metadata(init.dir.join("link")).unwrap().is_symlink());
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let Some(mut init) = Init::start("kinds") else { return };
    let fifo = init.dir.join("fifo");
    assert!(Command::new("mkfifo").args(["-m", "666"]).arg(&fifo).status().unwrap().success());
    assert_eq!(init.read("fifo", 10), Err(22));
    assert_eq!(init.read(".", 10), Err(21));
    assert_eq!(init.read("nothing", 10), Err(2));
    let path = b"/dev/zero".to_vec();
    assert_eq!(errno(&init.ask(&Frame::Read { max: 10, path }, &[])), errno_of(22));
}

#[test]
fn directories_are_listed_and_removed() {
    let Some(mut init) = Init::start("list") else { return };
    for name in ["d/one", "d/two", "d/sub/three"] {
        assert_eq!(init.write(name, name.as_bytes()), DONE);
    }
    let path = init.path("d");
    let mut answer = init.ask(&Frame::List { max: 10, path: path.clone() }, &[]);
    assert_eq!(answer.pop(), Some(Frame::End { complete: true }));
    let mut names: Vec<_> = answer
        .into_iter()
        .map(|frame| match frame {
            Frame::Entry(Entry { kind, size, name, .. }) => {
                (String::from_utf8(name).unwrap(), kind, if kind == EntryKind::File { size } else { 0 })
            }
            other => panic!("{other:?}"),
        })
        .collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    let entry = |name: &str, kind, size| (name.to_owned(), kind, size);
    let expected =
        [entry("one", EntryKind::File, 5), entry("sub", EntryKind::Directory, 0), entry("two", EntryKind::File, 5)];
    assert_eq!(names, expected);
    let cut = init.ask(&Frame::List { max: 2, path: path.clone() }, &[]);
    assert_eq!(cut.last(), Some(&Frame::End { complete: false }));
    assert_eq!(init.ask(&Frame::Remove { path: path.clone() }, &[]), DONE);
    assert_eq!(errno(&init.ask(&Frame::Stat { path }, &[])), errno_of(2));
}

#[test]
fn a_worker_that_is_killed_costs_its_request_only() {
    let Some(mut init) = Init::start("killed") else { return };
    let path = init.path("file");
    init.tag += 1;
    init.send(&Frame::Write { mode: 0o644, size: 300_000, path });
    init.send(&Frame::Data(vec![1; 10]));
    let worker = init.worker();
    assert!(Command::new("kill").args(["-9", &worker]).status().unwrap().success());
    for _ in 0..5 {
        init.send(&Frame::Data(vec![1; 59_998]));
    }
    assert_eq!(errno(&[init.receive()]), errno_of(5));
    assert_eq!(init.write("file", b"next"), DONE);
    assert!(!Path::new(&format!("/proc/{worker}")).exists(), "it was reaped");
}

#[test]
fn content_without_a_worker_is_dropped() {
    let Some(mut init) = Init::start("dropped") else { return };
    fs::create_dir(init.dir.join("closed")).unwrap();
    assert_eq!(errno(&init.write("closed/file", &[0; 500_000])), errno_of(13));
    assert_eq!(init.write("file", b"next"), DONE);
}

#[test]
fn it_ends_with_its_socket() {
    let Some(mut init) = Init::start("ends") else { return };
    init.socket.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(init.process.wait().unwrap().code(), Some(0));
}
