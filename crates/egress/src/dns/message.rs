//! The messages of DNS (RFC 1035, RFC 6891), as far as the gate reads and writes them.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest query that is read.
pub const QUERY_BYTES_MAX: usize = 4096;
/// Longest answer by UDP, whatever the client says that it can take. No wire is crossed, so nothing is fragmented.
const UDP_BYTES_MAX: usize = 4096;
/// Longest answer by UDP for a client that says nothing of the size (RFC 1035 4.2.1).
const UDP_BYTES_PLAIN: usize = 512;
/// Longest answer by TCP.
const TCP_BYTES_MAX: usize = 65535;
/// Most addresses in one answer.
const ADDRESSES_MAX: usize = 64;
/// How long a client may keep an answer.
pub const TTL: Duration = Duration::from_secs(30);
/// Most additional records of a query: one that says what the client can take, and a signature that nobody looks at.
const ADDITIONAL_MAX: u16 = 2;
const HEADER_BYTES: usize = 12;

/// How a message came, which decides how long its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// Two bytes of length before each message.
    Tcp,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Anything else, by its number: never answered with a record.
    Other(u16),
}

impl Wanted {
    /// Whether `address` is of this kind.
    #[must_use]
    pub fn takes(self, address: IpAddr) -> bool {
        matches!((self, address), (Self::A, IpAddr::V4(_)) | (Self::Aaaa, IpAddr::V6(_)))
    }
}

/// A question that can be judged.
#[derive(Debug, Clone)]
pub struct Query {
    /// The name in lower case, without a dot at its end: letters, digits, hyphens and underscores between dots.
    pub name: String,
    /// What is asked for.
    pub wanted: Wanted,
    request: Metadata,
    question: Question,
    /// The largest datagram that the client says it can take, if it says so.
    payload_max: Option<u16>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The name may not be asked for.
    Refused,
    /// It could not be found out.
    ServerFailure,
    /// The name does not exist.
    NoSuchName,
    /// The name exists, what was asked for does not.
    Empty,
    /// These; of which only those of the wanted kind are sent.
    Addresses(Vec<IpAddr>),
}

/// Why a message is no question that can be judged.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is nothing that an answer could be sent to: too short, or itself an answer, which would go back and forth.
    #[error("the message is no DNS query")]
    NotAQuery,
    /// It is to be answered with this and nothing else.
    #[error("the DNS query is refused: {why}")]
    Reply {
        /// What is wrong with it.
        why: &'static str,
        /// The answer, ready to be sent.
        reply: Vec<u8>,
    },
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// It is no query of exactly one question for a name that can be written as text.
    pub fn parse(bytes: &[u8]) -> Result<Self, QueryError> {
        let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(QueryError::NotAQuery)?;
        let [id_high, id_low, flags, _, questions @ ..] = *header;
        if flags & 0x80 != 0 {
            return Err(QueryError::NotAQuery);
        }
        let id = u16::from_be_bytes([id_high, id_low]);
        let op_code = OpCode::from_u8(flags >> 3 & 0x0f);
        let reply = |why, code| {
            let reply = bare(id, op_code, code);
            Err(QueryError::Reply { why, reply })
        };
        if bytes.len() > QUERY_BYTES_MAX {
            return reply("it is longer than 4096 bytes", ResponseCode::FormErr);
        }
        if op_code != OpCode::Query {
            return reply("it is another operation than a query", ResponseCode::NotImp);
        }
        let count = |at: usize| u16::from_be_bytes([questions[at], questions[at + 1]]);
        if count(0) != 1 || count(2) != 0 || count(4) != 0 || count(6) > ADDITIONAL_MAX {
            return reply("it is not exactly one question", ResponseCode::FormErr);
        }
        let Ok(message) = Message::from_vec(bytes) else {
            return reply("it is malformed", ResponseCode::FormErr);
        };
        let Some(question) = message.queries.first().cloned() else {
            return reply("it is malformed", ResponseCode::FormErr);
        };
        let query = Self {
            name: String::new(),
            wanted: match question.query_type() {
                RecordType::A => Wanted::A,
                RecordType::AAAA => Wanted::Aaaa,
                other => Wanted::Other(other.into()),
            },
            request: message.metadata,
            payload_max: message.edns.as_ref().map(Edns::max_payload),
            question,
        };
        let whole = |why, code| Err(QueryError::Reply { why, reply: query.reply(code, &[], Transport::Udp) });
        if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
            return whole("it is of a later version of EDNS", ResponseCode::BADVERS);
        }
        if query.question.query_class() != DNSClass::IN {
            return whole("it is of another class than IN", ResponseCode::Refused);
        }
        match text(&query.question) {
            Some(name) => Ok(Self { name, ..query }),
            None => whole("its name is no host name", ResponseCode::Refused),
        }
    }

    /// The bytes of an answer.
    #[must_use]
    pub fn answer(&self, answer: &Answer, transport: Transport) -> Vec<u8> {
        match answer {
            Answer::Refused => self.reply(ResponseCode::Refused, &[], transport),
            Answer::ServerFailure => self.reply(ResponseCode::ServFail, &[], transport),
            Answer::NoSuchName => self.reply(ResponseCode::NXDomain, &[], transport),
            Answer::Empty => self.reply(ResponseCode::NoError, &[], transport),
            Answer::Addresses(addresses) => self.reply(ResponseCode::NoError, addresses, transport),
        }
    }

    fn reply(&self, code: ResponseCode, addresses: &[IpAddr], transport: Transport) -> Vec<u8> {
        let mut message = Message::response(self.request.id, OpCode::Query);
        message.metadata = Metadata::response_from_request(&self.request);
        message.metadata.recursion_available = true;
        message.metadata.response_code = code;
        // As it was asked, capitals included: some clients compare.
        message.add_query(self.question.clone());
        if self.payload_max.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_BYTES_MAX as u16).set_version(0);
            message.set_edns(edns);
        }
        for &address in addresses.iter().filter(|address| self.wanted.takes(**address)).take(ADDRESSES_MAX) {
            let data = match address {
                IpAddr::V4(address) => RData::A(address.into()),
                IpAddr::V6(address) => RData::AAAA(address.into()),
            };
            message.add_answer(Record::from_rdata(self.question.name().clone(), TTL.as_secs() as u32, data));
        }
        let room = match transport {
            Transport::Tcp => TCP_BYTES_MAX,
            Transport::Udp => {
                self.payload_max.map_or(UDP_BYTES_PLAIN, |most| usize::from(most).clamp(UDP_BYTES_PLAIN, UDP_BYTES_MAX))
            }
        };
        match message.to_vec() {
            Ok(bytes) if bytes.len() <= room => bytes,
            // Some addresses and not others would look like all of them: the client asks again by TCP.
            Ok(_) => {
                message.answers.clear();
                message.metadata.truncation = true;
                message.to_vec().unwrap_or_else(|_| bare(self.request.id, OpCode::Query, ResponseCode::ServFail))
            }
            Err(_) => bare(self.request.id, OpCode::Query, ResponseCode::ServFail),
        }
    }
}

/// REFUSED to whatever can be answered, without looking further into it.
#[must_use]
pub fn refuse(bytes: &[u8]) -> Option<Vec<u8>> {
    match Query::parse(bytes) {
        Ok(query) => Some(query.answer(&Answer::Refused, Transport::Udp)),
        Err(QueryError::Reply { reply, .. }) => Some(reply),
        Err(QueryError::NotAQuery) => None,
    }
}

/// A header with a code and nothing else, for what has no question that could be repeated.
fn bare(id: u16, op_code: OpCode, code: ResponseCode) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    let flags = 0x80 | u8::from(op_code) << 3;
    bytes[..4].copy_from_slice(&[(id >> 8) as u8, id as u8, flags, code.low() & 0x0f]);
    bytes
}

/// The name of a question as text, if every byte of it can be in a host name. One with a dot or a NUL inside a label, which
/// would be a different name as text, is none.
fn text(question: &Question) -> Option<String> {
    let mut name = String::new();
    for label in question.name().iter() {
        if !name.is_empty() {
            name.push('.');
        }
        if label.is_empty() || !label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)) {
            return None;
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    // The root is no host.
    (!name.is_empty()).then_some(name)
}

/// Reads one message of a TCP stream. Nothing at its end.
///
/// # Errors
/// It ends within a message, a message is longer than a query may be, or the stream cannot be read.
pub async fn read_framed<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > QUERY_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a DNS query longer than 4096 bytes"));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Writes one message to a TCP stream.
///
/// # Errors
/// It is longer than two bytes can say, or the stream cannot be written.
pub async fn write_framed<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a DNS message longer than 65535 bytes"))?;
    // One write: some clients take the first segment for everything.
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await?;
    stream.flush().await
}

/// Whether `bytes` read as an answer, for tests and fuzzing.
#[doc(hidden)]
#[must_use]
pub fn is_response(bytes: &[u8]) -> bool {
    Message::from_vec(bytes).is_ok_and(|message| message.metadata.message_type == MessageType::Response)
}
