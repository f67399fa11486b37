//! Another reading of HTTP/1.1 (RFC 9112), which shares nothing with hyper's: what has two readings is none.

/// A request, and where it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A request of so many bytes.
    Whole(Request, usize),
    /// The beginning of one.
    Partial,
    /// None.
    Bad(&'static str),
}

impl Request {
    pub(super) fn all(&self, name: &str) -> Vec<&[u8]> {
        self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_slice()).collect()
    }
}

/// Reads one request.
pub(super) fn parse(bytes: &[u8]) -> Parsed {
    match read(bytes) {
        Ok(Some((request, length))) => Parsed::Whole(request, length),
        Ok(None) => Parsed::Partial,
        Err(why) => Parsed::Bad(why),
    }
}

type Read<T> = Result<Option<T>, &'static str>;

fn read(bytes: &[u8]) -> Read<(Request, usize)> {
    let Some((first, mut at)) = line(bytes, 0)? else { return Ok(None) };
    let words: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { return Err("a request line of other than three words") };
    if version != b"HTTP/1.1" {
        return Err("another version");
    }
    if method.is_empty() || !method.iter().all(is_token) {
        return Err("a method that is none");
    }
    // Bytes beyond ASCII do not belong there either, but several clients send letters as they are, and no framing hangs on them.
    if target.is_empty() || !target.iter().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii()) {
        return Err("a target with what does not belong there");
    }
    let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
    loop {
        let Some((header, next)) = line(bytes, at)? else { return Ok(None) };
        at = next;
        if header.is_empty() {
            break;
        }
        let colon = header.iter().position(|byte| *byte == b':').ok_or("a header without a colon")?;
        let (name, value) = header.split_at(colon);
        if name.is_empty() || !name.iter().all(is_token) {
            return Err("the name of a header is none");
        }
        let value = value[1..].trim_ascii();
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err("a control character in a header");
        }
        headers.push((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()));
    }
    let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut request = Request { method: word(method), target: word(target), headers, body: Vec::new() };
    let (codings, lengths) = (request.all("transfer-encoding"), request.all("content-length"));
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(Some((request, at))),
        ([], [length]) => {
            let digits = !length.is_empty() && length.len() < 10 && length.iter().all(u8::is_ascii_digit);
            let length: usize = digits.then(|| word(length).parse().ok()).flatten().ok_or("a length that is none")?;
            let Some(body) = bytes.get(at..at + length) else { return Ok(None) };
            request.body = body.to_vec();
            Ok(Some((request, at + length)))
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => {
            let Some((body, end)) = chunks(bytes, at)? else { return Ok(None) };
            request.body = body;
            Ok(Some((request, end)))
        }
        _ => Err("two readings of where the body ends"),
    }
}

/// Chunks without extensions and trailers.
fn chunks(bytes: &[u8], mut at: usize) -> Read<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    loop {
        let Some((size, next)) = line(bytes, at)? else { return Ok(None) };
        if size.is_empty() || size.len() > 7 || !size.iter().all(u8::is_ascii_hexdigit) {
            return Err("the size of a chunk is none");
        }
        let size =
            usize::from_str_radix(&String::from_utf8_lossy(size), 16).map_err(|_| "the size of a chunk is none")?;
        if size == 0 {
            let Some((end, next)) = line(bytes, next)? else { return Ok(None) };
            return if end.is_empty() { Ok(Some((body, next))) } else { Err("a trailer") };
        }
        let Some(chunk) = bytes.get(next..next + size) else { return Ok(None) };
        body.extend_from_slice(chunk);
        at = match line(bytes, next + size)? {
            Some((b"", next)) => next,
            Some(_) => return Err("a chunk that is longer than its size"),
            None => return Ok(None),
        };
    }
}

/// A line that ends in CRLF, and where the next one begins.
fn line(bytes: &[u8], at: usize) -> Read<(&[u8], usize)> {
    let rest = bytes.get(at..).unwrap_or_default();
    let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else { return Ok(None) };
    match rest.get(end..end + 2) {
        Some(b"\r\n") => Ok(Some((&rest[..end], at + end + 2))),
        None if rest[end] == b'\r' => Ok(None),
        _ => Err("a line that does not end in CRLF"),
    }
}

fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reading_or_none() {
        let whole = |text: &str| matches!(parse(text.as_bytes()), Parsed::Whole(_, length) if length == text.len());
        assert!(whole("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(whole("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab"));
        assert!(whole("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"));
        for partial in ["", "GET / HT", "GET / HTTP/1.1\r", "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na"] {
            assert_eq!(parse(partial.as_bytes()), Parsed::Partial, "{partial:?}");
        }
        for bad in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
        ] {
            assert!(matches!(parse(bad.as_bytes()), Parsed::Bad(_)), "{bad:?}");
        }
    }
}
