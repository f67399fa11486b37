use std::net::IpAddr;
use std::path::PathBuf;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Question, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use proptest::prelude::*;

use crate::dns::message::{Answer, Query, QueryError, Transport, Wanted, read_framed, refuse, write_framed};
use crate::fuzz::fuzz_dns;

fn seeds() -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/dns");
    let mut seeds: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 10, "{} seeds", seeds.len());
    seeds
}

fn asked(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Question::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn parsed(message: &Message) -> Query {
    Query::parse(&message.to_vec().unwrap()).unwrap()
}

/// The code that a refused query is answered with.
#[track_caller]
fn code_of(bytes: &[u8]) -> ResponseCode {
    match Query::parse(bytes) {
        Err(QueryError::Reply { reply, .. }) => {
            let message = Message::from_vec(&reply).unwrap();
            assert_eq!(message.metadata.message_type, MessageType::Response);
            assert_eq!(&reply[..2], &bytes[..2], "the id");
            message.metadata.response_code
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn real_clients_are_understood() {
    #[track_caller]
    fn check(seed: &str, name: &str, wanted: Wanted) {
        let (_, bytes) = seeds().into_iter().find(|(found, _)| found == seed).unwrap();
        let query = Query::parse(&bytes).unwrap();
        assert_eq!((query.name.as_str(), query.wanted), (name, wanted), "{seed}");
    }
    check("glibc-a", "data.alpaca.markets", Wanted::A);
    check("glibc-aaaa", "data.alpaca.markets", Wanted::Aaaa);
    check("glibc-edns-a", "files.pythonhosted.org", Wanted::A);
    check("c-ares-a", "paper-api.alpaca.markets", Wanted::A);
    check("c-ares-aaaa", "pypi.org", Wanted::Aaaa);
    check("c-ares-txt", "example.com", Wanted::Other(16));
    check("c-ares-srv", "_https._tcp.example.com", Wanted::Other(33));
    check("c-ares-any", "example.com", Wanted::Other(255));
    check("c-ares-reverse", "7.2.0.192.in-addr.arpa", Wanted::Other(12));
}

#[test]
fn answers_say_what_was_found() {
    let query = parsed(&asked("Api.Example.COM.", RecordType::A));
    assert_eq!(query.name, "api.example.com");
    #[track_caller]
    fn check(query: &Query, answer: &Answer, code: ResponseCode, addresses: &[&str]) {
        let message = Message::from_vec(&query.answer(answer, Transport::Udp)).unwrap();
        assert_eq!(message.metadata.response_code, code);
        assert_eq!(message.metadata.id, 0x1234);
        assert!(message.metadata.recursion_desired && message.metadata.recursion_available);
        assert!(!message.metadata.truncation && !message.metadata.authentic_data);
        assert!(message.edns.is_none(), "it was not spoken to us");
        // With the capitals that were asked with.
        assert!(message.queries[0].name().eq_case(&Name::from_ascii("Api.Example.COM.").unwrap()));
        let found: Vec<String> =
            message.answers.iter().map(|record| record.data.ip_addr().unwrap().to_string()).collect();
        assert_eq!(found, addresses);
        assert!(message.answers.iter().all(|record| record.ttl == 30));
    }
    check(&query, &Answer::Refused, ResponseCode::Refused, &[]);
    check(&query, &Answer::ServerFailure, ResponseCode::ServFail, &[]);
    check(&query, &Answer::NoSuchName, ResponseCode::NXDomain, &[]);
    check(&query, &Answer::Empty, ResponseCode::NoError, &[]);
    let addresses: Vec<IpAddr> =
        ["192.0.2.1", "2001:db8::1", "192.0.2.2"].iter().map(|address| address.parse().unwrap()).collect();
    check(&query, &Answer::Addresses(addresses.clone()), ResponseCode::NoError, &["192.0.2.1", "192.0.2.2"]);
    let query = parsed(&asked("Api.Example.COM.", RecordType::AAAA));
    check(&query, &Answer::Addresses(addresses.clone()), ResponseCode::NoError, &["2001:db8::1"]);
    let query = parsed(&asked("Api.Example.COM.", RecordType::HTTPS));
    check(&query, &Answer::Addresses(addresses), ResponseCode::NoError, &[]);
}

#[test]
fn an_answer_that_does_not_fit_is_cut_off_and_says_so() {
    let addresses: Vec<IpAddr> = (0..64).map(|last| std::net::Ipv4Addr::new(192, 0, 2, last).into()).collect();
    let answer = Answer::Addresses(addresses);
    #[track_caller]
    fn check(query: &Query, answer: &Answer, transport: Transport, room: usize, answers: usize) {
        let bytes = query.answer(answer, transport);
        assert!(bytes.len() <= room, "{}", bytes.len());
        let message = Message::from_vec(&bytes).unwrap();
        assert_eq!((message.answers.len(), message.metadata.truncation), (answers, answers == 0));
    }
    let plain = parsed(&asked("example.com.", RecordType::A));
    check(&plain, &answer, Transport::Udp, 512, 0);
    check(&plain, &answer, Transport::Tcp, 65535, 64);
    let with = |payload: u16| {
        let mut message = asked("example.com.", RecordType::A);
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
        parsed(&message)
    };
    check(&with(1000), &answer, Transport::Udp, 1000, 0);
    check(&with(1232), &answer, Transport::Udp, 1232, 64);
    check(&with(65535), &answer, Transport::Udp, 4096, 64);
    check(&with(0), &answer, Transport::Udp, 512, 0);
    let message = Message::from_vec(&with(1232).answer(&answer, Transport::Udp)).unwrap();
    assert_eq!(message.edns.map(|edns| (edns.version(), edns.max_payload())), Some((0, 4096)));
}

#[test]
fn what_is_no_question_of_ours_is_answered_with_why() {
    #[track_caller]
    fn check(change: impl Fn(&mut Message), expected: ResponseCode) {
        let mut message = asked("example.com.", RecordType::A);
        change(&mut message);
        // By number: BADVERS and BADSIG have the same.
        assert_eq!(u16::from(code_of(&message.to_vec().unwrap())), u16::from(expected));
    }
    let again = Question::query(Name::from_ascii("b.example.").unwrap(), RecordType::A);
    check(|message| message.queries.push(again.clone()), ResponseCode::FormErr);
    check(|message| message.queries.clear(), ResponseCode::FormErr);
    check(|message| message.metadata.op_code = OpCode::Update, ResponseCode::NotImp);
    check(|message| message.metadata.op_code = OpCode::Notify, ResponseCode::NotImp);
    check(|message| _ = message.queries[0].set_query_class(DNSClass::CH), ResponseCode::Refused);
    check(
        |message| {
            let name = Name::from_ascii("example.com.").unwrap();
            let record = hickory_proto::rr::Record::from_rdata(name, 1, RData::A(std::net::Ipv4Addr::LOCALHOST.into()));
            message.add_answer(record);
        },
        ResponseCode::FormErr,
    );
    check(
        |message| {
            let mut edns = Edns::new();
            edns.set_version(1);
            message.set_edns(edns);
        },
        ResponseCode::BADVERS,
    );
    let bytes = asked("example.com.", RecordType::A).to_vec().unwrap();
    assert_eq!(code_of(&bytes[..20]), ResponseCode::FormErr);
    assert_eq!(code_of(&[&bytes[..], &[0; 4096]].concat()), ResponseCode::FormErr);
    // A name that points to itself.
    assert_eq!(code_of(&[&bytes[..12], &[0xc0, 12, 0, 1, 0, 1]].concat()), ResponseCode::FormErr);
}

#[test]
fn answers_and_scraps_are_not_answered() {
    let mut message = asked("example.com.", RecordType::A);
    message.metadata.message_type = MessageType::Response;
    let bytes = message.to_vec().unwrap();
    assert!(matches!(Query::parse(&bytes), Err(QueryError::NotAQuery)));
    assert_eq!(refuse(&bytes), None);
    assert_eq!(refuse(&bytes[..11]), None);
    assert_eq!(refuse(&[]), None);
}

#[test]
fn a_name_that_would_be_another_one_as_text_is_refused() {
    #[track_caller]
    fn check(labels: &[&[u8]]) {
        let mut bytes = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(*label);
        }
        bytes.extend([0, 0, 1, 0, 1]);
        assert_eq!(code_of(&bytes), ResponseCode::Refused, "{labels:?}");
    }
    check(&[]);
    check(&[b"evil.com", b"example"]);
    check(&[b"example.com\0", b"evil", b"com"]);
    check(&[b"a\\046b", b"com"]);
    check(&[b"a b", b"com"]);
    check(&["m\u{fc}nchen".as_bytes(), b"de"]);
    check(&[b"*", b"example", b"com"]);
    check(&[&[0xff], b"com"]);
}

#[test]
fn seeds_do_not_upset_the_fuzz_target() {
    for (_, bytes) in seeds() {
        fuzz_dns(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_dns(&bytes);
        fuzz_dns(&[&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &bytes].concat());
        fuzz_dns(&[&[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, b'a', 0, 0, 1, 0, 1][..], &bytes].concat());
    }

    #[test]
    fn no_change_upsets_it(
        which in 0_usize..64,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let seeds = seeds();
        let mut bytes = seeds[which % seeds.len()].1.clone();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        fuzz_dns(&bytes);
    }
}

#[tokio::test]
async fn messages_are_framed_on_tcp() {
    let (mut a, mut b) = tokio::io::duplex(16);
    let written = tokio::spawn(async move {
        write_framed(&mut a, b"first").await.unwrap();
        write_framed(&mut a, b"").await.unwrap();
        write_framed(&mut a, &[7; 4096]).await.unwrap();
        assert!(write_framed(&mut a, &[0; 65536]).await.is_err());
        write_framed(&mut a, &[0; 4097]).await.unwrap_err();
    });
    assert_eq!(read_framed(&mut b).await.unwrap().as_deref(), Some(&b"first"[..]));
    assert_eq!(read_framed(&mut b).await.unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(read_framed(&mut b).await.unwrap().map(|message| message.len()), Some(4096));
    assert!(read_framed(&mut b).await.is_err(), "longer than a query may be");
    drop(b);
    written.await.unwrap();

    let (a, mut b) = tokio::io::duplex(16);
    drop(a);
    assert_eq!(read_framed(&mut b).await.unwrap(), None);
    let (mut a, mut b) = tokio::io::duplex(16);
    tokio::io::AsyncWriteExt::write_all(&mut a, &[0]).await.unwrap();
    drop(a);
    assert!(read_framed(&mut b).await.is_err(), "it ends within a message");
}
