//! One stream of a market for many sandboxes.

use std::collections::BTreeSet;
use std::time::Duration;

use ringfence_model::Project;
use ringfence_model::net::control::GateOp;
use ringfence_model::trade::Mode;
use rmpv::Value;
use serde_json::json;

use crate::broker::Broker;
use crate::venue::{KEY, MSGPACK, Program, SECRET, STREAM, Turn, Venue, bar, field, object, text, trade};
use crate::world::World;

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

fn symbols(subscription: &Value, channel: &str) -> BTreeSet<String> {
    let list = field(subscription, channel).unwrap_or_else(|| panic!("no {channel} in {subscription}"));
    list.as_array().unwrap().iter().map(|symbol| symbol.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn two_sandboxes_share_one_connection_and_each_hears_what_it_asked_for() {
    let (world, venue) = Venue::scene().await;
    let (one, two) = (Program::keyed(&world, 1).await, Program::keyed(&world, 2).await);
    let mut json = one.market(&world, "").await;
    let mut packed = two.market(&world, MSGPACK).await;
    let told = json.ask("subscribe", "bars", &["AAPL", "MSFT"]).await;
    assert_eq!((text(&told, "T").as_str(), symbols(&told, "bars")), ("subscription", names(&["AAPL", "MSFT"])));
    assert_eq!(symbols(&told, "quotes"), names(&[]), "the whole set, with what is empty");
    assert_eq!(symbols(&packed.ask("subscribe", "bars", &["MSFT"]).await, "bars"), names(&["MSFT"]));
    let told = packed.ask("subscribe", "trades", &["*"]).await;
    assert_eq!((symbols(&told, "bars"), symbols(&told, "trades")), (names(&["MSFT"]), names(&["*"])));
    assert_eq!(venue.notes().subscribed, names(&["bars:AAPL", "bars:MSFT", "trades:*"]));
    let requests = venue.notes().requests.clone();
    assert_eq!(requests.len(), 2, "what comes already is not asked for: {requests:?}");

    venue.say(vec![bar("AAPL", 1), bar("MSFT", 2), trade("IBM"), bar("OTHER", 3)]);
    let heard = json.frame().await;
    assert_eq!(heard.iter().map(|message| text(message, "S")).collect::<Vec<_>>(), ["AAPL", "MSFT"]);
    assert_eq!(text(&heard[0], "t"), "2023-11-14T22:13:20Z");
    assert_eq!((field(&heard[0], "o"), field(&heard[0], "v")), (Some(189.33.into()), Some(1200.into())));
    let heard = packed.frame().await;
    assert_eq!(heard.iter().map(|message| text(message, "S")).collect::<Vec<_>>(), ["MSFT", "IBM"]);
    assert_eq!(heard[0], bar("MSFT", 2), "as the venue has it: with an instant, and numbers of its kinds");
    assert!(matches!(field(&heard[0], "t"), Some(Value::Ext(-1, _))));

    assert_eq!(symbols(&json.ask("unsubscribe", "bars", &["AAPL", "MSFT"]).await, "bars"), names(&[]));
    venue.until(|notes| notes.subscribed == names(&["bars:MSFT", "trades:*"])).await;
    venue.say(vec![bar("MSFT", 4)]);
    assert_eq!(packed.one().await, bar("MSFT", 4));
    assert_eq!(text(&json.ask("subscribe", "candles", &["MSFT"]).await, "msg"), "invalid syntax");
    json.auth(&one.key, &one.secret).await;
    assert_eq!(field(&json.one().await, "code"), Some(403.into()));

    venue.until(|notes| (notes.connections, notes.open) == (1, 1)).await;
    assert_eq!(venue.notes().keys, [(KEY.to_owned(), SECRET.to_owned())]);
    for socket in [&json, &packed] {
        socket.never_saw(KEY);
        socket.never_saw(SECRET);
    }
    let head = venue.notes().heads[0].to_lowercase();
    assert!(head.starts_with("get /v2/iex http/1.1") && head.contains("content-type: application/msgpack"), "{head}");
    drop((json, packed));
    venue.until(|notes| notes.open == 0).await;
    // Both were let through, with the secrets by name; what passed was counted.
    for program in [&one, &two] {
        let mut rows = program.decisions(&world).await;
        for _ in 0..500 {
            if rows.iter().any(|row| row.status == Some(101) && row.bytes_down > Some(100)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            rows = program.decisions(&world).await;
        }
        let row = rows.iter().find(|row| row.request.as_deref() == Some("GET /v2/iex") && row.protocol == "http");
        assert!(row.is_some_and(|row| row.status == Some(101) && row.bytes_down > Some(100)), "{rows:?}");
        let used = rows.iter().find(|row| row.protocol == "ws").unwrap();
        let names = ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY"].map(str::to_owned).to_vec();
        assert_eq!((&used.secrets, used.verdict.as_str()), (&names, "allow"));
    }
}

#[tokio::test]
async fn a_connection_that_is_lost_is_made_anew_with_all_that_was_asked_for() {
    let (world, venue) = Venue::scene().await;
    let (one, two) = (Program::keyed(&world, 1).await, Program::keyed(&world, 2).await);
    let mut a = one.market(&world, "").await;
    let mut b = two.market(&world, MSGPACK).await;
    a.ask("subscribe", "bars", &["A"]).await;
    b.ask("subscribe", "bars", &["B"]).await;
    for round in 2..5 {
        venue.turn(Turn::Drop);
        venue.until(|notes| notes.connections == round && notes.subscribed == names(&["bars:A", "bars:B"])).await;
        venue.say(vec![bar("A", 1), bar("B", 2)]);
        assert_eq!((text(&a.one().await, "S"), b.one().await), ("A".to_owned(), bar("B", 2)));
    }
    // Nobody was told, and both may go on asking.
    assert_eq!(symbols(&a.ask("subscribe", "bars", &["C"]).await, "bars"), names(&["A", "C"]));
}

#[tokio::test]
async fn a_program_that_does_not_read_is_told_so_and_nobody_waits_for_it() {
    let (world, venue) = Venue::scene().await;
    let (one, two) = (Program::keyed(&world, 1).await, Program::keyed(&world, 2).await);
    let mut slow = one.market(&world, MSGPACK).await;
    let mut quick = two.market(&world, MSGPACK).await;
    slow.ask("subscribe", "trades", &["*"]).await;
    // What it alone has asked for is given back at the venue when it has to go.
    slow.ask("subscribe", "bars", &["SLOW"]).await;
    quick.ask("subscribe", "trades", &["*"]).await;
    let long = |number: u64| {
        object(&[("T", "t".into()), ("S", "A".into()), ("i", number.into()), ("x", "z".repeat(64 << 10).into())])
    };
    // At the most what may wait and what the sockets on the way hold. It has five seconds to hear why.
    let mut number = 0;
    while venue.notes().subscribed.contains("bars:SLOW") {
        assert!(number < 600, "who does not read is waited for");
        venue.say(vec![long(number)]);
        assert_eq!(field(&quick.one().await, "i"), Some(number.into()));
        number += 1;
    }
    let mut last = Value::Nil;
    let closed = loop {
        match slow.next().await {
            Ok(message) => last = rmpv::decode::read_value(&mut &message.into_data()[..]).unwrap(),
            Err(closed) => break closed,
        }
    };
    assert_eq!(field(&last.as_array().unwrap()[0], "code"), Some(407.into()), "{last}");
    assert!(closed.is_some());
    venue.say(vec![trade("A")]);
    assert_eq!(quick.one().await, trade("A"));
}

#[tokio::test]
async fn a_key_that_is_no_placeholder_of_the_sandbox_is_refused_and_recorded() {
    let (mut world, venue) = Venue::scene().await;
    let (one, two) = (Program::keyed(&world, 1).await, Program::keyed(&world, 2).await);
    // Another sandbox's, the real ones, the wrong way round, and one half.
    for (key, secret, reason) in [
        (two.key.as_str(), two.secret.as_str(), "trade_refused"),
        (KEY, SECRET, "trade_refused"),
        (&one.key, SECRET, "trade_refused"),
        (&one.secret, &one.key, "placeholder_misplaced"),
    ] {
        let mut socket = one.open(&world, STREAM, "/v2/iex", "").await;
        socket.one().await;
        socket.auth(key, secret).await;
        let said = socket.one().await;
        assert_eq!((text(&said, "T").as_str(), field(&said, "code")), ("error", Some(402.into())), "{said}");
        assert_eq!(socket.closed().await.0, 1008);
        assert_eq!(world.denied(), (format!("{STREAM}:443"), reason.to_owned()));
    }
    // A placeholder in another message.
    let mut socket = one.market(&world, "").await;
    socket.send(json!({"action": "subscribe", "bars": [one.key]})).await;
    assert_eq!(socket.closed().await.0, 1008);
    assert_eq!(world.denied().1, "placeholder_misplaced");
    assert_eq!(venue.notes().keys.len(), 1);
    // Before a login nothing is told, and without one the socket ends.
    let mut socket = one.open(&world, STREAM, "/v2/iex", "").await;
    socket.one().await;
    assert_eq!(field(&socket.ask("subscribe", "bars", &["A"]).await, "code"), Some(401.into()));
    assert_eq!(field(&socket.one().await, "code"), Some(404.into()), "ten seconds later");
    assert_eq!(socket.closed().await.0, 1000);
}

#[tokio::test]
async fn keys_of_a_handshake_are_those_of_a_login() {
    let (world, venue) = Venue::scene().await;
    let one = Program::keyed(&world, 1).await;
    let lines = format!("APCA-API-KEY-ID: {}\r\nAPCA-API-SECRET-KEY: {}\r\n", one.key, one.secret);
    let mut socket = one.open(&world, STREAM, "/v2/sip", &lines).await;
    assert_eq!(text(&socket.one().await, "msg"), "connected");
    assert_eq!(text(&socket.one().await, "msg"), "authenticated");
    let head = venue.notes().heads[0].clone();
    assert!(!head.contains(&one.key) && !head.contains(KEY));
}

#[tokio::test]
async fn what_the_venue_refuses_is_told_as_the_venue_says_it() {
    let (world, venue) = Venue::scene().await;
    let (one, two) = (Program::keyed(&world, 1).await, Program::keyed(&world, 2).await);
    venue.notes().refuse = Some((406, format!("connection limit exceeded for {KEY} and {SECRET}")));
    let mut socket = one.open(&world, STREAM, "/v2/iex", "").await;
    socket.one().await;
    socket.auth(&one.key, &one.secret).await;
    let said = socket.one().await;
    assert_eq!(field(&said, "code"), Some(406.into()), "{said}");
    assert!(text(&said, "msg").starts_with("connection limit exceeded for "), "{said}");
    assert_eq!(socket.closed().await.0, 1000);
    socket.never_saw(KEY);
    socket.never_saw(SECRET);
    venue.notes().refuse = None;
    // One that tries again at once is answered without another connection; a little later there is one.
    let mut sockets = None;
    for _ in 0..100 {
        let mut socket = one.open(&world, STREAM, "/v2/iex", "").await;
        socket.one().await;
        socket.auth(&one.key, &one.secret).await;
        if text(&socket.one().await, "msg") == "authenticated" {
            sockets = Some(socket);
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let connections = venue.notes().connections;
    assert!(connections <= 3, "{connections}");
    let mut a = sockets.expect("it was let in");
    let mut b = two.market(&world, "").await;
    venue.notes().deny = Some(("DENIED".to_owned(), 409));
    assert_eq!(field(&a.ask("subscribe", "bars", &["DENIED", "A"]).await, "code"), Some(409.into()));
    // Nobody else hears of it, and what was refused is not in the set.
    assert_eq!(symbols(&b.ask("subscribe", "bars", &["B"]).await, "bars"), names(&["B"]));
    assert_eq!(symbols(&a.ask("subscribe", "bars", &["A"]).await, "bars"), names(&["A"]));
    assert_eq!(venue.notes().subscribed, names(&["bars:A", "bars:B"]));
    let error = object(&[("T", "error".into()), ("code", 500.into()), ("msg", "internal error".into())]);
    venue.say(vec![error.clone()]);
    assert_eq!((a.one().await, b.one().await), (error.clone(), error));
    let many: Vec<String> = (0..5001).map(|number| format!("S{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(field(&a.ask("subscribe", "bars", &many).await, "code"), Some(405.into()));
}

#[tokio::test]
async fn a_path_that_is_no_stream_is_not_upgraded_and_nothing_goes_out() {
    let (world, venue) = Venue::scene().await;
    let one = Program::keyed(&world, 1).await;
    for path in ["/", "/v2/iex/x", "/v2/iex?x=1", "/v9/iex"] {
        let (_, answer) = one.shake(&world, STREAM, path, "").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{path}: {answer}");
    }
    assert_eq!(venue.notes().connections, 0);
}

#[tokio::test]
async fn a_secret_a_policy_and_a_mode_that_change_end_the_stream() {
    let (mut world, venue) = Venue::scene().await;
    let (one, two) = (Program::keyed(&world, 1).await, Program::keyed(&world, 2).await);
    let mut a = one.market(&world, "").await;
    let mut b = two.market(&world, "").await;
    a.ask("subscribe", "bars", &["A"]).await;
    // Rotated: both end, and the next one comes with the new value.
    venue.notes().secrets.push("another/secret/of/the/account/9876543210".to_owned());
    world.secret("APCA_API_SECRET_KEY", "another/secret/of/the/account/9876543210", None, true).await;
    for socket in [&mut a, &mut b] {
        let (code, why) = socket.closed().await;
        assert!(code == 1008 && why.contains("APCA_API_SECRET_KEY"), "{code} {why}");
    }
    assert_eq!(world.denials().len(), 2);
    venue.until(|notes| notes.open == 0).await;
    let mut a = one.market(&world, "").await;
    let mut b = two.market(&world, "").await;
    assert_eq!(venue.notes().keys.last().unwrap().1, "another/secret/of/the/account/9876543210");
    // A policy that allows the host no more is a matter of one sandbox.
    let network =
        serde_json::from_value(json!({"allow": [{"host": STREAM, "paths": ["/v2/sip"], "methods": ["GET"]}]}));
    let set = GateOp::SetPolicy { sandbox: one.sandbox.clone(), network: network.unwrap(), by_agent: false };
    world.gateway.call(set).await.unwrap();
    assert_eq!(a.closed().await.0, 1008);
    b.ask("subscribe", "bars", &["B"]).await;
    venue.say(vec![bar("B", 1)]);
    assert_eq!(text(&b.one().await, "S"), "B");
    world.gateway.lead_to(Mode::Simulated, 443);
    let (code, why) = b.closed().await;
    assert!(code == 1008 && why.contains("mode"), "{code} {why}");
    venue.until(|notes| notes.open == 0).await;
}

#[tokio::test]
async fn a_secret_that_is_revoked_ends_the_stream_and_opens_none() {
    let (world, venue) = Venue::scene().await;
    let one = Program::keyed(&world, 1).await;
    let mut socket = one.market(&world, "").await;
    world
        .gateway
        .call(GateOp::RemoveSecret { project: Project::default(), name: "APCA_API_KEY_ID".into() })
        .await
        .unwrap();
    assert_eq!(socket.closed().await.0, 1008);
    venue.until(|notes| notes.open == 0).await;
    let mut socket = one.open(&world, STREAM, "/v2/iex", "").await;
    socket.one().await;
    socket.auth(&one.key, &one.secret).await;
    assert_eq!(field(&socket.one().await, "code"), Some(402.into()));
    assert_eq!(venue.notes().connections, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_sandboxes_hear_every_bar_in_order() {
    const BARS: u64 = 2000;
    let (world, venue) = Venue::scene().await;
    let mut reading = Vec::new();
    for number in 0..100_u8 {
        let program = Program::keyed(&world, number).await;
        let mut socket = program.market(&world, if number % 2 == 0 { MSGPACK } else { "" }).await;
        let own = format!("S{}", number % 10);
        socket.ask("subscribe", "bars", &["ALL", &own]).await;
        reading.push(tokio::spawn(async move {
            let (mut all, mut few) = (Vec::new(), Vec::new());
            while all.last() != Some(&(BARS - 1)) {
                for message in socket.frame().await {
                    let number = field(&message, "n").unwrap().as_u64().unwrap();
                    match text(&message, "S") {
                        symbol if symbol == "ALL" => all.push(number),
                        symbol if symbol == own => few.push(number),
                        other => panic!("{other} was not asked for"),
                    }
                }
            }
            assert_eq!(all, (0..BARS).collect::<Vec<_>>());
            assert_eq!(few, (0..BARS).filter(|bar| bar % 10 == u64::from(number % 10)).collect::<Vec<_>>());
        }));
    }
    venue.until(|notes| (notes.connections, notes.subscribed.len()) == (1, 11)).await;
    for number in 0..BARS {
        venue.say(vec![bar(&format!("S{}", number % 10), number), bar("ALL", number)]);
        if number % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for task in reading {
        tokio::time::timeout(Duration::from_secs(120), task).await.expect("it ends").unwrap();
    }
}

#[tokio::test]
async fn the_exchange_of_this_installation_serves_each_sandbox_itself() {
    let world = World::new(&[], &[]).await;
    let broker = Broker::start(&world.home.path().join("exchange.sock"));
    world.secret("APCA_API_KEY_ID", KEY, None, false).await;
    world.secret("APCA_API_SECRET_KEY", SECRET, None, false).await;
    let one = Program::keyed(&world, 1).await;
    let (_, answer) = one.shake(&world, STREAM, "/v2/iex", "").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let books = broker.books();
    let seen: Vec<_> = books.seen.iter().map(|seen| seen.1.as_str()).collect();
    assert_eq!(seen, ["/v2/iex"], "the request itself came to the exchange");
}
