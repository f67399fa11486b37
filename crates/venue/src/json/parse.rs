//! Reading JSON (RFC 8259), strictly: what two readers could understand differently is refused.

use super::Json;

/// Deepest nesting that is read. An order has two levels.
const DEPTH_MAX: usize = 16;

/// Longest number, in bytes.
const NUMBER_BYTES_MAX: usize = 64;

/// Most values of one document.
const VALUES_MAX: usize = 20_000;

/// Why a text is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's sentence is its documentation")]
pub enum NotJson {
    #[error("request body format is invalid")]
    Syntax,
    #[error("request body has the same key twice")]
    Twice,
    #[error("request body is nested too deeply")]
    Deep,
    #[error("request body is too large")]
    Large,
}

/// Reads one value that is the whole text.
///
/// # Errors
/// It is not JSON in UTF-8, has a key twice, or is beyond a bound.
pub fn json(bytes: &[u8]) -> Result<Json, NotJson> {
    let text = std::str::from_utf8(bytes).map_err(|_| NotJson::Syntax)?;
    let mut reader = Reader { text, at: 0, values: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at == text.len() { Ok(value) } else { Err(NotJson::Syntax) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn need(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.eat(byte) { Ok(()) } else { Err(NotJson::Syntax) }
    }

    fn value(&mut self, depth: usize) -> Result<Json, NotJson> {
        if depth > DEPTH_MAX {
            return Err(NotJson::Deep);
        }
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(NotJson::Large);
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))] {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(NotJson::Syntax)
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, NotJson> {
        self.at += 1;
        let mut fields: Vec<(String, Json)> = Vec::new();
        self.space();
        if self.eat(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(NotJson::Syntax);
            }
            let name = self.string()?;
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(NotJson::Twice);
            }
            self.space();
            self.need(b':')?;
            let value = self.value(depth + 1)?;
            fields.push((name, value));
            self.space();
            if self.eat(b'}') {
                return Ok(Json::Object(fields));
            }
            self.need(b',')?;
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, NotJson> {
        self.at += 1;
        let mut values = Vec::new();
        self.space();
        if self.eat(b']') {
            return Ok(Json::List(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.space();
            if self.eat(b']') {
                return Ok(Json::List(values));
            }
            self.need(b',')?;
        }
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > begin { Ok(()) } else { Err(NotJson::Syntax) }
    }

    fn number(&mut self) -> Result<Json, NotJson> {
        let begin = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        if self.at - begin > NUMBER_BYTES_MAX {
            return Err(NotJson::Large);
        }
        Ok(Json::Number(self.text[begin..self.at].to_owned()))
    }

    fn string(&mut self) -> Result<String, NotJson> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let c = rest.chars().next().ok_or(NotJson::Syntax)?;
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                c if u32::from(c) < 0x20 => return Err(NotJson::Syntax),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, NotJson> {
        let c = self.peek().ok_or(NotJson::Syntax)?;
        self.at += 1;
        Ok(match c {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.unit()?;
                let code = match high {
                    0xD800..=0xDBFF => {
                        self.need(b'\\')?;
                        self.need(b'u')?;
                        let low = self.unit()?;
                        if !(0xDC00..=0xDFFF).contains(&low) {
                            return Err(NotJson::Syntax);
                        }
                        0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)
                    }
                    code => code,
                };
                char::from_u32(code).ok_or(NotJson::Syntax)?
            }
            _ => return Err(NotJson::Syntax),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, NotJson> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(NotJson::Syntax)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(NotJson::Syntax);
        }
        let digits = std::str::from_utf8(digits).map_err(|_| NotJson::Syntax)?;
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| NotJson::Syntax)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, NotJson>) {
        assert_eq!(json(text.as_bytes()).map(|v| v.to_string()), expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        check(r#" {"a": [1.10, -2e3, "\u00e9\ud83d\ude00"], "b": null} "#, Ok(r#"{"a":[1.10,-2e3,"é😀"],"b":null}"#));
        check(r#"{"qty":1,"qty":2}"#, Err(NotJson::Twice));
        check(r#"{"qty":1,"q\u0074y":2}"#, Err(NotJson::Twice));
        check(&("[".repeat(40) + &"]".repeat(40)), Err(NotJson::Deep));
        check(&"[".repeat(1_000_000), Err(NotJson::Deep));
        check(&format!("[{}]", vec!["1"; 30_000].join(",")), Err(NotJson::Large));
        check(&format!("1{}", "0".repeat(100)), Err(NotJson::Large));
        for bad in [
            "",
            "{",
            "NaN",
            "[NaN]",
            "Infinity",
            "-",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "{a:1}",
            "{'a':1}",
            "[1,]",
            "{\"a\":1,}",
            "\"\u{1}\"",
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\x""#,
            "1 2",
            "tru",
            "\u{feff}{}",
            r#""\u+123""#,
        ] {
            check(bad, Err(NotJson::Syntax));
        }
        assert_eq!(json(b"\"\xff\""), Err(NotJson::Syntax));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_read_another_reader_reads(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = json(&bytes) {
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
                prop_assert_eq!(json(value.to_string().as_bytes()), Ok(value));
            }
        }

        #[test]
        fn json_like_text_is_read_alike(text in r#"[\[\]{}",:\\0-9eE+.\-a-ftrulns ]{0,40}"#) {
            if json(text.as_bytes()).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
            }
        }
    }
}
