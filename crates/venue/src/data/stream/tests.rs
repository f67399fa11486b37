//! What a client is told, in both of its languages, and that the stream says what the tape says.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;

static TAPE: LazyLock<BarTape> = LazyLock::new(|| BarTape::sample(1).expect("the sample"));

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn text(frame: &Frame) -> String {
    assert!(!frame.is_binary);
    String::from_utf8(frame.payload.clone()).expect("text")
}

fn messages(frames: &[Frame]) -> Vec<serde_json::Value> {
    frames.iter().flat_map(|f| serde_json::from_str::<Vec<serde_json::Value>>(&text(f)).expect("an array")).collect()
}

#[track_caller]
fn say(session: &mut Session, message: &serde_json::Value) -> String {
    let frames = session.on_frame(message.to_string().as_bytes());
    assert_eq!(frames.len(), 1);
    text(&frames[0])
}

fn subscribed(to: &serde_json::Value) -> Session {
    let mut session = Session::new(Codec::Json);
    say(&mut session, &json!({"action": "auth", "key": "K", "secret": "S"}));
    let answer = say(&mut session, to);
    assert!(answer.contains("subscription"), "{answer}");
    session
}

#[test]
fn a_client_is_greeted_authenticated_and_told_its_whole_subscription() {
    let mut session = Session::new(Codec::Json);
    assert_eq!(text(&session.greet()), r#"[{"T":"success","msg":"connected"}]"#);
    let auth = json!({"action": "auth", "key": "K", "secret": "S"});
    assert_eq!(say(&mut session, &auth), r#"[{"T":"success","msg":"authenticated"}]"#);
    assert_eq!(session.key(), Some("K"));
    let first = say(&mut session, &json!({"action": "subscribe", "trades": ["AAPL"], "bars": ["*"], "quotes": null}));
    assert_eq!(
        first,
        r#"[{"T":"subscription","trades":["AAPL"],"quotes":[],"bars":["*"],"updatedBars":[],"dailyBars":[],"statuses":[],"lulds":[],"corrections":["AAPL"],"cancelErrors":["AAPL"]}]"#
    );
    let second = say(&mut session, &json!({"action": "unsubscribe", "trades": ["AAPL"], "bars": ["IBM"]}));
    assert!(second.contains(r#""trades":[],"quotes":[],"bars":["*"]"#), "{second}");
    assert!(session.is_subscribed());
    let third = say(&mut session, &json!({"action": "subscribe", "imbalances": ["IBM"]}));
    assert!(third.contains(r#""imbalances":["IBM"]"#), "{third}");
}

#[test]
fn every_mistake_has_its_code() {
    let error = |code: u64, text: &str| format!(r#"[{{"T":"error","code":{code},"msg":"{text}"}}]"#);
    let mut session = Session::new(Codec::Json);
    let auth = json!({"action": "auth", "key": "K", "secret": "S"});
    let subscribe = json!({"action": "subscribe", "trades": ["AAPL"]});
    assert_eq!(say(&mut session, &subscribe), error(401, "not authenticated"));
    assert_eq!(say(&mut session, &json!({"action": "auth", "key": "", "secret": "S"})), error(402, "auth failed"));
    assert_eq!(say(&mut session, &json!({"action": "dance"})), error(400, "invalid syntax"));
    assert_eq!(session.key(), None);
    say(&mut session, &auth);
    assert_eq!(say(&mut session, &auth), error(403, "already authenticated"));
    for wrong in [
        json!({"action": "subscribe", "trades": ["aapl"]}),
        json!({"action": "subscribe", "trades": [1]}),
        json!({"action": "subscribe", "trades": "AAPL"}),
        json!({"action": "subscribe", "fortunes": ["AAPL"]}),
        json!([]),
    ] {
        assert_eq!(say(&mut session, &wrong), error(400, "invalid syntax"), "{wrong}");
    }
    for bytes in
        [&b""[..], b"{", b"\xc1", b"\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01", &[b'{'; MESSAGE_BYTES_MAX + 1]]
    {
        assert_eq!(text(&session.on_frame(bytes)[0]), error(400, "invalid syntax"));
    }
    let many: Vec<String> = (0..=SYMBOLS_MAX).map(|n| format!("A{n}")).collect();
    assert_eq!(say(&mut session, &json!({"action": "subscribe", "trades": many})), error(405, "symbol limit exceeded"));
    assert!(!session.is_subscribed());
    assert_eq!(text(&session.error(StreamError::SlowClient)), error(407, "slow client"));
}

#[test]
fn paths_lead_to_stocks_or_to_a_sentence() {
    assert_eq!(route("/v2/iex"), Route::Stocks);
    assert_eq!(route("/v2/sip"), Route::Stocks);
    assert_eq!(route("/v3/iex"), Route::Unknown);
    let Route::Refused(why) = route("/v1beta3/crypto/us") else { panic!("crypto is refused") };
    let refusal = text(&Session::new(Codec::Json).refusal(why));
    assert!(refusal.contains(r#""code":409"#) && refusal.contains("crypto is not replayed"), "{refusal}");
}

#[test]
fn messages_have_the_fields_of_the_wire() {
    let session = subscribed(
        &json!({"action": "subscribe", "trades": ["AAPL"], "quotes": ["AAPL"], "bars": ["AAPL"], "dailyBars": ["AAPL"]}),
    );
    let advance = session.advance(&TAPE, at("2012-01-03T14:29:00Z"), at("2012-01-03T14:31:00Z"));
    assert_eq!(advance.reached, at("2012-01-03T14:31:00Z"));
    let messages = messages(&advance.frames);
    let of = |kind: &str| messages.iter().find(|m| m["T"] == kind).unwrap_or_else(|| panic!("{kind}: {messages:?}"));
    let names = |kind: &str| of(kind).as_object().expect("a map").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names("t"), ["S", "T", "c", "i", "p", "s", "t", "x", "z"]);
    assert_eq!(names("q"), ["S", "T", "ap", "as", "ax", "bp", "bs", "bx", "c", "t", "z"]);
    assert_eq!(names("b"), ["S", "T", "c", "h", "l", "n", "o", "t", "v", "vw"]);
    assert_eq!(
        (of("b")["t"].as_str(), of("d")["t"].as_str()),
        (Some("2012-01-03T14:30:00Z"), Some("2012-01-03T05:00:00Z"))
    );
    assert_eq!(of("b")["v"], of("d")["v"], "after its first minute, the day is that minute");
    assert_eq!(of("q")["t"], "2012-01-03T14:30:00Z");
}

#[test]
fn msgpack_has_the_timestamp_extension_and_is_understood() {
    let mut session = Session::new(Codec::MsgPack);
    let pack = |fields: Vec<(&str, rmpv::Value)>| {
        let mut bytes = Vec::new();
        let map = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        rmpv::encode::write_value(&mut bytes, &rmpv::Value::Map(map)).expect("written");
        bytes
    };
    let auth = session.on_frame(&pack(vec![("action", "auth".into()), ("key", "K".into()), ("secret", "S".into())]));
    assert!(auth[0].is_binary && session.key() == Some("K"));
    let symbols = rmpv::Value::Array(vec!["AAPL".into()]);
    session.on_frame(&pack(vec![("action", "subscribe".into()), ("trades", symbols)]));
    let advance = session.advance(&TAPE, at("2012-01-03T14:29:00Z"), at("2012-01-03T14:30:01Z"));
    let mut payload = &advance.frames[0].payload[..];
    let message = rmpv::decode::read_value(&mut payload).expect("MessagePack");
    let first = &message.as_array().expect("an array")[0];
    let field = |name: &str| {
        first.as_map().expect("a map").iter().find(|(n, _)| n.as_str() == Some(name)).map(|(_, v)| v.clone())
    };
    // 2012-01-03T14:30:00.001Z: 1,000,000 ns shifted by 34 bits, and 1,325,601,000 s.
    let expected = (1_000_000_u64 << 34 | 1_325_601_000).to_be_bytes().to_vec();
    assert_eq!(field("t"), Some(rmpv::Value::Ext(-1, expected)));
    assert_eq!(field("p"), Some(rmpv::Value::F64(409.4)));
    let old = codec_stamp("1900-01-01T00:00:00.5Z");
    assert_eq!((old.len(), &old[..4]), (12, &500_000_000_u32.to_be_bytes()[..]));
}

fn codec_stamp(text: &str) -> Vec<u8> {
    let frame = Codec::MsgPack.frame(vec![Value::Time(at(text))]);
    let Ok(rmpv::Value::Array(values)) = rmpv::decode::read_value(&mut &frame.payload[..]) else { panic!("an array") };
    let rmpv::Value::Ext(-1, bytes) = &values[0] else { panic!("{values:?}") };
    bytes.clone()
}

#[test]
fn a_long_time_is_gone_through_in_pieces() {
    let session = subscribed(&json!({"action": "subscribe", "trades": ["*"], "bars": ["*"]}));
    let (mut from, to) = (at("2012-01-06T12:00:00Z"), at("2012-01-09T15:00:00Z"));
    let mut sent = Vec::new();
    let mut calls = 0;
    while from < to {
        let advance = session.advance(&TAPE, from, to);
        assert!(advance.reached > from && advance.reached <= to);
        sent.extend(messages(&advance.frames));
        from = advance.reached;
        calls += 1;
    }
    let trades = |symbol: &str| sent.iter().filter(|m| m["T"] == "t" && m["S"] == symbol).count();
    let expected = |symbol: &str| {
        let symbol = Symbol::parse(symbol).expect("a symbol");
        let ticks = TAPE.ticks(&symbol, at("2012-01-06T12:00:00Z"), to, usize::MAX);
        ticks.iter().filter(|t| matches!(t, Tick::Trade(_))).count()
    };
    assert_eq!(trades("AAPL"), expected("AAPL"));
    assert_eq!(trades("IBM"), expected("IBM"));
    let minutes = sent.iter().filter(|m| m["T"] == "b" && m["S"] == "AAPL").count();
    assert_eq!(minutes, 390 + 30, "Friday, and half an hour of Monday");
    assert!(calls < 30, "{calls}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Wherever the time is cut, the client is told the same, in the order of the instants at which it is told.
    #[test]
    fn cuts_change_nothing(mut cuts in proptest::collection::vec(0_i64..30_000_000, 1..5)) {
        let session = subscribed(&json!({
            "action": "subscribe", "trades": ["AAPL", "IBM"], "quotes": ["IBM"], "bars": ["*"], "dailyBars": ["MSFT"]
        }));
        let begins = at("2012-01-03T14:20:00Z");
        let run = |cuts: &[i64]| {
            let mut found = Vec::new();
            let mut from = begins;
            for cut in cuts {
                let to = begins + SignedDuration::from_millis(*cut);
                while from < to {
                    let advance = session.advance(&TAPE, from, to);
                    found.extend(messages(&advance.frames));
                    from = advance.reached;
                }
            }
            found
        };
        cuts.sort_unstable();
        let whole = run(&cuts[cuts.len() - 1..]);
        prop_assert_eq!(&whole, &run(&cuts));
        let until = begins + SignedDuration::from_millis(cuts[cuts.len() - 1]);
        for message in &whole {
            prop_assert!(at(message["t"].as_str().expect("a time")) <= until);
        }
    }
}
