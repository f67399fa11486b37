//! What a ClientHello says, as far as the gate decides by it (RFC 8446 4.1.2, RFC 6066 3, RFC 7301 3.1, RFC 9849 for ECH).
//!
//! This reader is stricter than servers are. A hello that two readers could take for different things (an extension twice, two
//! names, bytes after its end) is refused, because in a connection that is passed through the upstream server reads it again.

use rustls::pki_types::DnsName;

/// Most bytes of records that a ClientHello may take: hybrid key shares make them 1.5 to 2 KiB, with a ticket 3.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;
/// Most protocols that a client may offer.
const ALPN_MAX: usize = 32;

const RECORD_HEADER: usize = 5;
const RECORD_BYTES_MAX: usize = 1 << 14;
const HANDSHAKE_HEADER: usize = 4;
const CONTENT_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;

const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_SUPPORTED_VERSIONS: u16 = 43;
const EXTENSION_ECH: u16 = 0xfe0d;
const NAME_TYPE_HOST: u8 = 0;

/// What a client offers and asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The name that the client wants to speak with, as it was sent: ASCII, a valid DNS name without a dot at its end.
    /// Missing if the client gave none, as with an address in place of a name.
    pub server_name: Option<String>,
    /// Application protocols, the client's favourite first.
    pub alpn: Vec<Vec<u8>>,
    /// There is an encrypted client hello inside. The name above may then not be the one that is meant: not
    /// to be passed through.
    pub ech: bool,
    /// Versions that the client offers, as on the wire (0x0304 is TLS 1.3), without the invented ones of RFC 8701.
    pub versions: Vec<u16>,
}

impl ClientHello {
    /// Whether the client speaks TLS 1.2 or 1.3.
    #[must_use]
    pub fn is_modern(&self) -> bool {
        self.versions.iter().any(|version| matches!(version, 0x0303 | 0x0304))
    }
}

/// Why a ClientHello is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// It is longer than the gate reads.
    #[error("the ClientHello is longer than {HELLO_BYTES_MAX} bytes")]
    TooLong,
    /// The record layer is wrong.
    #[error("the first TLS record is malformed: {0}")]
    Record(&'static str),
    /// The first handshake message is another one.
    #[error("the first TLS message is no ClientHello (handshake type {0})")]
    NotAHello(u8),
    /// The message is wrong.
    #[error("the ClientHello is malformed: {0}")]
    Malformed(&'static str),
    /// An extension is there twice, which readers may take differently.
    #[error("the ClientHello has extension {0} twice")]
    Repeated(u16),
    /// The name in it is no name.
    #[error("the server name {0:?} in the ClientHello is no valid DNS name")]
    BadName(String),
}

/// How far a ClientHello has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is not whole yet.
    More,
    /// It is whole.
    Whole(ClientHello),
}

/// Reads the ClientHello that `bytes`, the beginning of a connection, hold or begin.
///
/// # Errors
/// What is there can no longer become an acceptable ClientHello.
pub fn parse(bytes: &[u8]) -> Result<Progress, HelloError> {
    match message(bytes)? {
        None if bytes.len() >= HELLO_BYTES_MAX => Err(HelloError::TooLong),
        None => Ok(Progress::More),
        Some(message) => client_hello(&message).map(Progress::Whole),
    }
}

/// The first handshake message, put together from the records that it is spread over.
fn message(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, HelloError> {
    let mut message = Vec::new();
    loop {
        match bytes.first() {
            Some(&CONTENT_HANDSHAKE) | None => {}
            Some(_) => return Err(HelloError::Record("it is no handshake record")),
        }
        // The minor version differs between clients (0x0301 for old servers' sake), the major one never.
        if bytes.get(1).is_some_and(|&major| major != 3) {
            return Err(HelloError::Record("its version is not of TLS"));
        }
        let Some((header, rest)) = bytes.split_at_checked(RECORD_HEADER) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 {
            return Err(HelloError::Record("it is empty"));
        }
        if length > RECORD_BYTES_MAX {
            return Err(HelloError::Record("it is longer than 16 KiB"));
        }
        let fragment = &rest[..length.min(rest.len())];
        message.extend_from_slice(fragment);
        if let Some(&kind) = message.first()
            && kind != HANDSHAKE_CLIENT_HELLO
        {
            return Err(HelloError::NotAHello(kind));
        }
        if let Some(&[_, a, b, c]) = message.first_chunk::<HANDSHAKE_HEADER>() {
            let whole = HANDSHAKE_HEADER + u32::from_be_bytes([0, a, b, c]) as usize;
            if whole + RECORD_HEADER > HELLO_BYTES_MAX {
                return Err(HelloError::TooLong);
            }
            if message.len() > whole {
                return Err(HelloError::Malformed("something follows it in the same record"));
            }
            if message.len() == whole {
                // A record that promises more than the message has would bring something after it.
                return if fragment.len() == length {
                    Ok(Some(message))
                } else {
                    Err(HelloError::Malformed("something follows it in the same record"))
                };
            }
        }
        if fragment.len() < length {
            return Ok(None);
        }
        bytes = &rest[length..];
    }
}

fn client_hello(message: &[u8]) -> Result<ClientHello, HelloError> {
    let mut body = Reader(message.get(HANDSHAKE_HEADER..).unwrap_or_default());
    let legacy_version = body.u16()?;
    let _random = body.take(32)?;
    if body.vector8()?.len() > 32 {
        return Err(HelloError::Malformed("its session id is too long"));
    }
    let suites = body.vector16()?;
    if suites.is_empty() || suites.len() % 2 != 0 {
        return Err(HelloError::Malformed("its list of cipher suites"));
    }
    if body.vector8()?.is_empty() {
        return Err(HelloError::Malformed("it has no compression method"));
    }
    let mut hello = ClientHello { server_name: None, alpn: Vec::new(), ech: false, versions: vec![legacy_version] };
    if body.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Reader(body.vector16()?);
    body.end()?;
    let mut seen = Vec::new();
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.vector16()?;
        seen.push(kind);
        match kind {
            EXTENSION_SERVER_NAME => hello.server_name = Some(server_name(content)?),
            EXTENSION_ALPN => hello.alpn = alpn(content)?,
            EXTENSION_SUPPORTED_VERSIONS => hello.versions = versions(content)?,
            EXTENSION_ECH => hello.ech = true,
            _ => {}
        }
    }
    seen.sort_unstable();
    match seen.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(HelloError::Repeated(pair[0])),
        None => Ok(hello),
    }
}

fn server_name(content: &[u8]) -> Result<String, HelloError> {
    let mut content = Reader(content);
    let mut names = Reader(content.vector16()?);
    content.end()?;
    // RFC 6066 foresees a list of names of other types; none was ever defined, and two names are two meanings.
    if names.take(1)? != [NAME_TYPE_HOST] {
        return Err(HelloError::Malformed("its server name is of an unknown type"));
    }
    let name = names.vector16()?;
    names.end()?;
    let shown = || HelloError::BadName(String::from_utf8_lossy(name.get(..255).unwrap_or(name)).into_owned());
    let name = str::from_utf8(name).map_err(|_| shown())?;
    match DnsName::try_from(name) {
        // RFC 6066: without a trailing dot, and no literal addresses.
        Ok(_) if !name.ends_with('.') && name.parse::<std::net::IpAddr>().is_err() => Ok(name.to_owned()),
        _ => Err(shown()),
    }
}

fn alpn(content: &[u8]) -> Result<Vec<Vec<u8>>, HelloError> {
    let mut content = Reader(content);
    let mut list = Reader(content.vector16()?);
    content.end()?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.vector8()?;
        if protocol.is_empty() {
            return Err(HelloError::Malformed("it offers a protocol without a name"));
        }
        if protocols.len() == ALPN_MAX {
            return Err(HelloError::Malformed("it offers too many protocols"));
        }
        protocols.push(protocol.to_vec());
    }
    if protocols.is_empty() {
        return Err(HelloError::Malformed("its list of protocols is empty"));
    }
    Ok(protocols)
}

fn versions(content: &[u8]) -> Result<Vec<u16>, HelloError> {
    let mut content = Reader(content);
    let mut list = Reader(content.vector8()?);
    content.end()?;
    let mut versions = Vec::new();
    while !list.0.is_empty() {
        let version = list.u16()?;
        // RFC 8701: 0x0a0a, 0x1a1a and so on mean nothing, and are there so that servers stay tolerant.
        if !(version & 0x0f0f == 0x0a0a && version >> 8 == version & 0xff) {
            versions.push(version);
        }
    }
    Ok(versions)
}

/// Takes bytes off the front, and never past the end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], HelloError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(HelloError::Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, HelloError> {
        let (&taken, rest) = self.0.split_first_chunk().ok_or(HelloError::Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(u16::from_be_bytes(taken))
    }

    /// What one byte of length announces.
    fn vector8(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.take(1)?;
        self.take(length.first().copied().unwrap_or_default().into())
    }

    /// What two bytes of length announce.
    fn vector16(&mut self) -> Result<&'a [u8], HelloError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    fn end(&self) -> Result<(), HelloError> {
        if self.0.is_empty() { Ok(()) } else { Err(HelloError::Malformed("something follows where it should end")) }
    }
}
