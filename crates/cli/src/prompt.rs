//! A value that nobody must see: from a pipe, or typed without an echo.

use std::{
    fmt,
    io::{self, IsTerminal, Read, Write},
};

use anyhow::{Context, bail};
use ringfence_model::api::{Hidden, SECRET_BYTES_MAX};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::failure;

/// Ctrl-C while something was asked.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted: nothing was stored")
    }
}

impl std::error::Error for Interrupted {}

/// The value of `what` from standard input: asked for on a terminal, else read to its end. One newline at its end is not a
/// part of it.
///
/// # Errors
/// It is empty, too long or no text, or cannot be read.
pub(crate) fn value(what: &str) -> anyhow::Result<Hidden> {
    let stdin = io::stdin();
    let bytes = if stdin.is_terminal() {
        ask(what)?
    } else {
        // Room for the newline.
        let max = SECRET_BYTES_MAX as u64 + 2;
        let mut bytes = Vec::new();
        stdin.lock().take(max + 1).read_to_end(&mut bytes).context("reading the value from standard input")?;
        bytes
    };
    text(bytes).map(Hidden::new)
}

fn text(mut bytes: Vec<u8>) -> anyhow::Result<String> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return failure::usage("the value is empty: type it, or pipe it in as in `ringfence secret set NAME < file`");
    }
    if bytes.len() > SECRET_BYTES_MAX {
        return failure::usage(format!("the value has more than {SECRET_BYTES_MAX} bytes"));
    }
    // The error of the conversion would carry the bytes along.
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => failure::usage("the value is not UTF-8: encode it, for example as base64"),
    }
}

/// A terminal that hands over each key and shows none, until this is dropped. Keys that would stop the process arrive as
/// well: it must not end while nothing is shown.
struct Silent(Termios);

impl Silent {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn ask(what: &str) -> anyhow::Result<Vec<u8>> {
    let mut err = io::stderr();
    let typed = {
        // Before it asks: what is typed at once is neither shown nor thrown away.
        let _silent = Silent::begin().context("silencing the terminal")?;
        write!(err, "{what} (not shown): ").and_then(|()| err.flush()).context("asking on standard error")?;
        // Without a buffer of the library's, in which the value would stay.
        type_in(|| {
            let mut key = [0];
            match rustix::io::read(io::stdin(), &mut key) {
                Ok(0) => Ok(None),
                Ok(_) => Ok(Some(key[0])),
                Err(error) => Err(error.into()),
            }
        })
    };
    let _ = writeln!(err);
    match typed? {
        Some(typed) => Ok(typed),
        None => bail!(Interrupted),
    }
}

/// What the keys make: none after Ctrl-C.
fn type_in(mut key: impl FnMut() -> io::Result<Option<u8>>) -> io::Result<Option<Vec<u8>>> {
    const CTRL_C: u8 = 0x03;
    const CTRL_D: u8 = 0x04;
    const CTRL_U: u8 = 0x15;
    const BACKSPACE: [u8; 2] = [0x08, 0x7f];
    let mut typed: Vec<u8> = Vec::with_capacity(256);
    loop {
        match key() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(None | Some(CTRL_D | b'\n' | b'\r')) => return Ok(Some(typed)),
            Ok(Some(CTRL_C)) => return Ok(None),
            Ok(Some(CTRL_U)) => typed.clear(),
            Ok(Some(byte)) if BACKSPACE.contains(&byte) => {
                // A character, which may be several bytes.
                while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            Ok(Some(byte)) if byte < 0x20 => {}
            Ok(Some(byte)) if typed.len() <= SECRET_BYTES_MAX => typed.push(byte),
            Ok(Some(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_is_not_a_part_of_it() {
        for (bytes, expected) in [("a b\n", "a b"), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            assert_eq!(text(bytes.into()).expect("a value"), expected);
        }
        for bytes in [&b""[..], b"\n", b"\r\n", b"hunter2\xff", &[b'x'; SECRET_BYTES_MAX + 1]] {
            let error = text(bytes.to_vec()).expect_err("refused");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[track_caller]
    fn check(keys: &[u8], expected: Option<&str>) {
        let mut keys = keys.iter();
        let typed = type_in(|| Ok(keys.next().copied())).expect("no key fails");
        assert_eq!(typed.map(|typed| String::from_utf8(typed).expect("whole characters")).as_deref(), expected);
    }

    #[test]
    fn keys_make_a_value() {
        check(b"abc\rd", Some("abc"));
        check(b"abc\x04", Some("abc"));
        check(b"abc", Some("abc"));
        check("aé\x7fb\n".as_bytes(), Some("ab"));
        check(b"\x7fa\n", Some("a"));
        check(b"wrong\x15right\n", Some("right"));
        check(b"a\x1b\x1ab\n", Some("ab"));
        check(b"abc\x03", None);
    }
}
