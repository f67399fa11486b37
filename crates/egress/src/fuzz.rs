//! What cargo-fuzz calls, and the test over the seeds in `fuzz/corpus`.

pub use crate::gate::fuzz::{fuzz_http, fuzz_websocket};
pub use crate::trade::fuzz::fuzz_order;

use crate::dns::message::{self, Answer, Query, QueryError, Transport};
use crate::tls::hello::{self, Progress};
use crate::tls::sniff;

/// Any first bytes of a connection: no panic, and no byte that comes later changes what was decided.
pub fn fuzz_hello(bytes: &[u8]) {
    // Trying every prefix is quadratic.
    let bytes = bytes.get(..4096).unwrap_or(bytes);
    let decided = (0..bytes.len()).find_map(|end| sniff::classify(bytes.get(..end)?));
    if decided.is_some() {
        assert_eq!(decided, sniff::classify(bytes));
    }
    if let Ok(Progress::Whole(hello)) = hello::parse(bytes) {
        assert!(hello.server_name.is_none_or(|name| name.is_ascii() && !name.contains('\0') && name.len() <= 253));
    }
}

/// Any bytes as a DNS query: no panic, and what is answered can be read and answers the same question.
pub fn fuzz_dns(bytes: &[u8]) {
    match Query::parse(bytes) {
        Ok(query) => {
            assert!(query.name.len() <= 253 && !query.name.ends_with('.'));
            let addresses = (0..=255).map(|last| std::net::Ipv4Addr::new(192, 0, 2, last).into()).collect();
            for answer in [Answer::Refused, Answer::Empty, Answer::NoSuchName, Answer::Addresses(addresses)] {
                for transport in [Transport::Udp, Transport::Tcp] {
                    let reply = query.answer(&answer, transport);
                    assert!(message::is_response(&reply));
                    assert_eq!(reply.get(..2), bytes.get(..2));
                }
            }
        }
        Err(QueryError::Reply { reply, .. }) => assert!(message::is_response(&reply)),
        Err(QueryError::NotAQuery) => assert_eq!(message::refuse(bytes), None),
    }
}
