//! The request that a parked interpreter takes, and how a zygote must be started so that its children can pass for
//! `python3 program.py`.
//!
//! The request travels once over the interpreter's control stream and is not answered: the outcome is the process's
//! exit. `harness/usr/lib/ringfence/program.py` decodes it. All numbers are little-endian:
//!
//! ```text
//! "RFRUN" version=1 0 0 | u32 bytes of the rest | u32 flags | text path | text cwd | text code | list argv | list env
//! text: u32 bytes, bytes        list: u32 texts, texts
//! ```
//!
//! [`WARM`] may come before it.

/// The interpreter, inside. The only one that the harness knows.
pub const PYTHON: &str = "/usr/bin/python3";

/// Directory of the harness, inside.
pub const HARNESS: &str = "/usr/lib/ringfence";

/// A tmpfs that belongs to the user: programs, and the figures that they leave.
pub const RUN_DIR: &str = "/run/ringfence";

/// Runs a program in an interpreter that is executed anew: `PYTHON FRESH_SCRIPT <program path>`.
pub const FRESH_SCRIPT: &str = "/usr/lib/ringfence/fresh.py";

/// Names the modules that a zygote imports, separated by commas.
pub const PRELOAD_VARIABLE: &str = "RINGFENCE_PRELOAD";

/// Makes room for a program's environment where a zygote's own was.
pub const PAD_VARIABLE: &str = "_RINGFENCE_PAD";

/// Bytes of padding. A larger environment is kept elsewhere, where the kernel allows it.
pub const PAD_BYTES: usize = 8192;

/// Largest request after its header, in bytes.
pub const REQUEST_BYTES_MAX: usize = 8 << 20;

/// Largest program, in bytes.
pub const CODE_BYTES_MAX: usize = 1 << 20;

/// Set in [`Request::flags`]: execute an interpreter anew instead of running in the parked one.
pub const FLAG_FRESH: u32 = 1;

/// Sent before the request, any number of times: the interpreter makes the memory its own that numpy and pandas write
/// to. Such programs then start in half the time, and the interpreter costs 9 MiB instead of 3: for those that are
/// likely to be used soon.
pub const WARM: [u8; 12] = *b"RFWARM\x01\0\0\0\0\0";

const HEADER: [u8; 8] = *b"RFRUN\x01\0\0";

/// What a parked interpreter is to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// [`FLAG_FRESH`], or 0.
    pub flags: u32,
    /// Where the program is written, see [`program_path`]. All have the same length.
    pub path: String,
    /// Working directory; the first entry of `sys.path`.
    pub cwd: String,
    /// The program's source, in whatever encoding it declares.
    pub code: Vec<u8>,
    /// `sys.argv[1:]`.
    pub argv: Vec<String>,
    /// `NAME=value`, complete.
    pub env: Vec<String>,
}

/// The request is outside its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRequest {
    /// The program is larger than [`CODE_BYTES_MAX`].
    Code,
    /// All of it is larger than [`REQUEST_BYTES_MAX`].
    Size,
    /// A path, argument or variable holds a NUL, or a variable no name.
    Text,
}

impl std::fmt::Display for BadRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code => write!(f, "the program is larger than {CODE_BYTES_MAX} bytes"),
            Self::Size => write!(f, "program and environment are larger than {REQUEST_BYTES_MAX} bytes"),
            Self::Text => f.write_str("a path, argument or variable holds a NUL byte, or a variable has no name"),
        }
    }
}

impl std::error::Error for BadRequest {}

/// The request as bytes.
///
/// # Errors
/// It is outside its bounds.
pub fn encode(request: &Request) -> Result<Vec<u8>, BadRequest> {
    if request.code.len() > CODE_BYTES_MAX {
        return Err(BadRequest::Code);
    }
    let texts = [&request.path, &request.cwd].into_iter().chain(&request.argv).chain(&request.env);
    let named = |variable: &String| variable.find('=').is_some_and(|at| at > 0);
    if texts.into_iter().any(|text| text.contains('\0')) || !request.env.iter().all(named) {
        return Err(BadRequest::Text);
    }
    let mut rest = Vec::with_capacity(request.code.len() + 4096);
    rest.extend_from_slice(&request.flags.to_le_bytes());
    put(&mut rest, request.path.as_bytes())?;
    put(&mut rest, request.cwd.as_bytes())?;
    put(&mut rest, &request.code)?;
    for list in [&request.argv, &request.env] {
        rest.extend_from_slice(&length(list.len())?);
        for text in list {
            put(&mut rest, text.as_bytes())?;
        }
    }
    let mut bytes = HEADER.to_vec();
    bytes.extend_from_slice(&length(rest.len())?);
    bytes.append(&mut rest);
    Ok(bytes)
}

fn length(len: usize) -> Result<[u8; 4], BadRequest> {
    if len > REQUEST_BYTES_MAX {
        return Err(BadRequest::Size);
    }
    u32::try_from(len).map(u32::to_le_bytes).map_err(|_| BadRequest::Size)
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) -> Result<(), BadRequest> {
    bytes.extend_from_slice(&length(text.len())?);
    if bytes.len() + text.len() > REQUEST_BYTES_MAX {
        return Err(BadRequest::Size);
    }
    bytes.extend_from_slice(text);
    Ok(())
}

/// Where the program of an execution is written, inside.
#[must_use]
pub fn program_path(execution: &str) -> String {
    format!("{RUN_DIR}/{execution}.py")
}

/// Where a program puts files for its caller, inside.
pub const ARTIFACTS_DIR: &str = "/home/user/artifacts";

/// Where the figures of all executions are, inside; it exists only when a program left some.
pub const FIGURES_DIR: &str = "/run/ringfence/figures";

/// Where the figures of an execution are, inside; it exists only when the program left some.
#[must_use]
pub fn figures_dir(execution: &str) -> String {
    format!("{FIGURES_DIR}/{execution}")
}

/// argv of a zygote whose programs have paths of `path_len` bytes: the script's path is as long, so that a child can
/// write its program's over it.
///
/// # Panics
/// When a program's path is shorter than the script's: program paths are made by [`program_path`] from ids that are
/// long enough.
#[must_use]
pub fn zygote_argv(path_len: usize) -> Vec<String> {
    const NAME: &str = "zygote.py";
    let slashes =
        path_len.checked_sub(HARNESS.len() + NAME.len()).filter(|n| *n > 0).expect("program paths are longer");
    vec![PYTHON.to_owned(), format!("{HARNESS}{}{NAME}", "/".repeat(slashes))]
}

/// Environment of a zygote: the one that programs will have (locale and home are read when an interpreter starts), what
/// to import, and padding.
#[must_use]
pub fn zygote_env(program_env: &[String], preload: &[&str]) -> Vec<String> {
    let mut env = program_env.to_vec();
    env.push(format!("{PRELOAD_VARIABLE}={}", preload.join(",")));
    env.push(format!("{PAD_VARIABLE}={}", "x".repeat(PAD_BYTES)));
    env
}

/// argv of a program that is executed anew. The program must be at its path, in any encoding that it declares.
#[must_use]
pub fn fresh_argv(program_path: &str, argv: &[String]) -> Vec<String> {
    let mut all = vec![PYTHON.to_owned(), FRESH_SCRIPT.to_owned(), program_path.to_owned()];
    all.extend_from_slice(argv);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            flags: FLAG_FRESH,
            path: program_path("exec_1757371623056abcdef"),
            cwd: "/home/user".into(),
            code: b"# coding: latin-1\nprint('\xe4')".to_vec(),
            argv: vec!["a b".into()],
            env: vec!["PATH=/usr/bin".into(), "EMPTY=".into()],
        }
    }

    #[test]
    fn the_layout_is_as_documented() {
        let request =
            Request { path: "/p".into(), cwd: "/".into(), code: b"1".to_vec(), env: vec!["A=b".into()], ..request() };
        let request = Request { flags: 0, argv: Vec::new(), ..request };
        let expected =
            b"RFRUN\x01\0\0\x23\0\0\0\0\0\0\0\x02\0\0\0/p\x01\0\0\0/\x01\0\0\x001\0\0\0\0\x01\0\0\0\x03\0\0\0A=b";
        assert_eq!(encode(&request).unwrap(), expected);
    }

    /// Needs python3; says so when it is missing.
    #[test]
    fn the_harness_decodes_what_is_encoded() {
        use std::{io::Write, process};
        let harness = concat!(env!("CARGO_MANIFEST_DIR"), "/harness/usr/lib/ringfence");
        let script = "import os,sys; sys.path.insert(0, sys.argv[1]); import program; r, w = os.pipe(); \
            os.write(w, sys.stdin.buffer.read()); os.close(w); q = program.read_request(r, lambda: None); \
            print(ascii([q.flags, q.path, q.cwd, q.code, q.argv, q.env]), end='')";
        let python = process::Command::new("python3")
            .args(["-B", "-c", script, harness])
            .stdin(process::Stdio::piped())
            .stdout(process::Stdio::piped())
            .spawn();
        let Ok(mut python) = python else {
            eprintln!("SKIPPED: python3 is needed");
            return;
        };
        python.stdin.take().unwrap().write_all(&[&WARM[..], &encode(&request()).unwrap()].concat()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            r##"[1, b'/run/ringfence/exec_1757371623056abcdef.py', b'/home/user', b"# coding: latin-1\nprint('\xe4')", [b'a b'], [b'PATH=/usr/bin', b'EMPTY=']]"##
        );
    }

    #[test]
    fn bounds_are_kept() {
        let too_long = Request { code: vec![b'#'; CODE_BYTES_MAX + 1], ..request() };
        assert_eq!(encode(&too_long), Err(BadRequest::Code));
        let too_large = Request { env: vec![format!("A={}", "x".repeat(1 << 20)); 8], ..request() };
        assert_eq!(encode(&too_large), Err(BadRequest::Size));
        for env in ["A=\0", "=b", "A"] {
            assert_eq!(encode(&Request { env: vec![env.into()], ..request() }), Err(BadRequest::Text), "{env:?}");
        }
    }

    #[test]
    fn a_zygote_s_script_has_a_path_as_long_as_a_program_s() {
        let path = program_path("exec_1757371623056abcdef");
        let argv = zygote_argv(path.len());
        assert_eq!(argv[1].len(), path.len());
        assert!(argv[1].starts_with("/usr/lib/ringfence//"));
        assert!(argv[1].ends_with("/zygote.py"));
    }
}
