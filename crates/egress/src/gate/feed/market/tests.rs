use ringfence_model::SandboxId;
use ringfence_store::SecretValue;

use super::super::line::{LineEnd, line};
use super::*;

/// One sandbox's socket at it.
struct Heard {
    line: LineEnd,
    last: tokio::sync::oneshot::Receiver<Message>,
}

impl Heard {
    async fn next(&mut self) -> String {
        let out = self.line.next().await.expect("there is a frame");
        out.message.to_text().unwrap().to_owned()
    }
}

struct Scene {
    market: Market,
    guests: Vec<Heard>,
}

impl Scene {
    /// A connection that is ready, with so many sockets in JSON.
    async fn ready(sockets: u64) -> Self {
        let value = |text: &str| Arc::new(SecretValue::new(text));
        let login = Login::Keys { id: value("PKTHEKEYOFTHEACCOUNT"), secret: value("the secret of the account") };
        let market = Market::new(login, Channels::of("/v2/iex").unwrap());
        let mut scene = Self { market, guests: vec![] };
        for number in 0..sockets {
            let (put, line, last) = line();
            let sandbox = SandboxId::from_random([1; 20]);
            scene.market.join(Guest { number, sandbox, codec: Codec::Json, line: put });
            scene.guests.push(Heard { line, last });
        }
        scene.connect();
        for guest in &mut scene.guests {
            assert!(guest.next().await.contains("authenticated"));
        }
        scene
    }

    fn connect(&mut self) {
        self.market.begin();
        self.says(r#"[{"T":"success","msg":"connected"}]"#);
        assert!(self.said().contains("PKTHEKEYOFTHEACCOUNT"));
        self.says(r#"[{"T":"success","msg":"authenticated"}]"#);
    }

    fn says(&mut self, json: &str) {
        self.market.read(&Message::text(json)).unwrap();
    }

    /// What is said upstream.
    fn said(&mut self) -> String {
        let message = self.market.says().expect("something is said");
        let value = codec::read(&message).unwrap();
        Codec::Json.frame(&value).to_text().unwrap().to_owned()
    }

    fn wish(json: &str) -> Wish {
        Wish::read(&codec::read(&Message::text(json)).unwrap(), Channels::of("/v2/iex").unwrap()).unwrap()
    }

    fn subscribe(&mut self, number: u64, json: &str) {
        self.market.ask(number, Ask::Subscribe(Self::wish(json)));
    }
}

const OF_A: &str = r#"[{"T":"subscription","bars":["A"]}]"#;

#[tokio::test]
async fn an_answer_is_to_the_one_that_asked_and_the_next_one_waits_for_it() {
    let mut scene = Scene::ready(2).await;
    scene.subscribe(0, r#"{"bars":["A"]}"#);
    scene.subscribe(1, r#"{"bars":["A","B"]}"#);
    assert_eq!(scene.said(), r#"{"action":"subscribe","bars":["A"]}"#);
    assert!(scene.market.says().is_none(), "one at a time");
    scene.says(r#"[{"T":"error","code":409,"msg":"insufficient subscription"}]"#);
    assert!(scene.guests[0].next().await.contains("409"));
    assert_eq!(scene.said(), r#"{"action":"subscribe","bars":["A","B"]}"#);
    scene.says(r#"[{"T":"b","S":"A"},{"T":"subscription","bars":["A","B"]},{"T":"b","S":"B"}]"#);
    assert!(scene.guests[1].next().await.contains(r#""T":"subscription""#), "a bar before that is not for it");
    assert_eq!(scene.guests[1].next().await, r#"[{"S":"B","T":"b"}]"#);
}

#[tokio::test]
async fn what_was_asked_for_by_one_that_has_left_is_taken_back_and_nobody_hears_of_it() {
    let mut scene = Scene::ready(2).await;
    scene.subscribe(0, r#"{"bars":["A"]}"#);
    scene.said();
    scene.market.leave(0);
    scene.says(r#"[{"T":"error","code":409,"msg":"insufficient subscription"}]"#);
    scene.subscribe(1, r#"{"bars":["A"]}"#);
    assert_eq!(scene.said(), r#"{"action":"subscribe","bars":["A"]}"#);
    scene.says(OF_A);
    assert!(scene.guests[1].next().await.contains(r#""bars":["A"]"#), "and nothing before it");
    scene.market.leave(1);
    assert_eq!(scene.said(), r#"{"action":"unsubscribe","bars":["A"]}"#);
    assert!(scene.market.is_empty());
}

#[tokio::test]
async fn what_the_venue_leaves_out_is_asked_for_once_more_and_not_for_ever() {
    let mut scene = Scene::ready(1).await;
    scene.subscribe(0, r#"{"bars":["A","B"]}"#);
    scene.said();
    scene.says(OF_A);
    assert_eq!(scene.said(), r#"{"action":"subscribe","bars":["B"]}"#);
    scene.says(OF_A);
    assert!(scene.market.says().is_none());
    // Who has all has each.
    scene.subscribe(0, r#"{"trades":["*","A"]}"#);
    scene.said();
    scene.says(r#"[{"T":"subscription","trades":["*"],"bars":["A","B"]}]"#);
    assert!(scene.market.says().is_none());
}

#[tokio::test]
async fn an_outage_is_told_to_nobody_but_what_the_venue_says_of_it_once() {
    let mut scene = Scene::ready(1).await;
    scene.subscribe(0, r#"{"bars":["A"]}"#);
    scene.said();
    scene.market.lost();
    assert!(scene.guests[0].next().await.contains(r#""bars":["A"]"#), "it is what the next connection begins with");
    scene.market.ask(0, Ask::Unsubscribe(Scene::wish(r#"{"bars":["A"]}"#)));
    scene.subscribe(0, r#"{"bars":["B"]}"#);
    assert!(scene.guests[0].next().await.contains(r#""bars":[]"#));
    assert!(scene.guests[0].next().await.contains(r#""bars":["B"]"#));
    for _ in 0..3 {
        scene.market.refused(&Refusal::too_many());
    }
    assert!(scene.guests[0].next().await.contains("406"));
    scene.connect();
    assert_eq!(scene.said(), r#"{"action":"subscribe","bars":["B"]}"#);
    scene.says(r#"[{"T":"subscription","bars":["B"]}]"#);
    scene.says(r#"[{"T":"b","S":"B"}]"#);
    assert_eq!(scene.guests[0].next().await, r#"[{"S":"B","T":"b"}]"#, "told once, and let in once");
    scene.market.refused(&Refusal::auth_failed());
    assert!(scene.market.is_empty());
    let last = (&mut scene.guests[0].last).await.unwrap();
    assert!(last.to_text().unwrap().contains("402"));
}

#[tokio::test]
async fn a_login_that_is_refused_and_a_frame_that_is_none_end_the_connection() {
    let mut scene = Scene::ready(1).await;
    let mut read = |json: &str| scene.market.read(&Message::text(json));
    assert!(matches!(read("[1"), Err(Over::Lost(_))));
    assert!(matches!(read("{}"), Err(Over::Lost(_))));
    assert!(matches!(read(r#"[{"T":"error","code":407,"msg":"slow client"}]"#), Err(Over::Lost(_))));
    assert!(read(r#"[{"T":"?"},{},1,null]"#).is_ok());
    scene.market.lost();
    scene.market.begin();
    let refused = scene.market.read(&Message::text(r#"[{"T":"error","code":406,"msg":"x"}]"#));
    assert!(matches!(refused, Err(Over::Refused(refusal)) if refusal.code == 406));
}
