use ringfence_model::net::{DenialReason, Protocol};
use tokio::io::Lines;

use super::*;

struct Gateway {
    lines: Lines<BufReader<OwnedReadHalf>>,
    write: tokio::net::unix::OwnedWriteHalf,
}

impl Gateway {
    fn of(client: &GateClient) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        client.connect(theirs);
        let (read, write) = ours.into_split();
        Self { lines: BufReader::new(read).lines(), write }
    }

    async fn hears(&mut self) -> Call {
        let line = self.lines.next_line().await.expect("a line").expect("not the end");
        serde_json::from_str(&line).expect("a call")
    }

    async fn says(&mut self, word: &FromGate) {
        let mut bytes = serde_json::to_vec(word).expect("JSON");
        bytes.push(b'\n');
        self.write.write_all(&bytes).await.expect("the engine listens");
    }
}

fn sandbox(number: u8) -> SandboxId {
    SandboxId::from_random([number; 20])
}

#[tokio::test]
async fn a_new_gateway_is_told_of_every_sandbox_that_lives() {
    let client = GateClient::default();
    client.attach(&sandbox(1), 7);
    client.attach(&sandbox(2), 8);
    client.detach(&sandbox(2));
    client.forget(&sandbox(3));
    client.keep(vec![sandbox(4)]);
    let mut gateway = Gateway::of(&client);
    let keep = GateOp::Keep { sandboxes: vec![sandbox(4), sandbox(1)] };
    assert_eq!(gateway.hears().await, Call { id: 0, op: keep }, "first of all, and with what lives by now");
    assert_eq!(gateway.hears().await, Call { id: 0, op: attach(&sandbox(1), 7) });
    let forget = gateway.hears().await;
    assert_eq!(forget.op, GateOp::Forget { sandbox: sandbox(3) });
    assert_eq!(gateway.hears().await.op, GateOp::Settle { living: vec![sandbox(1)] }, "sandbox 2 has ended");
    client.detach(&sandbox(1));
    assert_eq!(gateway.hears().await.op, GateOp::Detach { sandbox: sandbox(1) });
    // It dies before it has said that it has forgotten, and with the word of the end.
    drop(gateway);
    let mut second = Gateway::of(&client);
    assert_eq!(second.hears().await, forget);
    assert_eq!(second.hears().await.op, GateOp::Settle { living: vec![] });
    second.says(&FromGate::Answer { id: forget.id, result: Ok(GateAnswer::Done) }).await;
    while !client.lock().forgetting.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(second);
    let mut third = Gateway::of(&client);
    assert_eq!(third.hears().await.op, GateOp::Settle { living: vec![] }, "what was forgotten is not repeated");
}

#[tokio::test]
async fn refusals_that_were_told_before_the_end_are_known_at_the_end() {
    let client = GateClient::default();
    let mut gateway = Gateway::of(&client);
    let asks = tokio::spawn({
        let client = client.clone();
        async move {
            client.fence().await;
            client.denials(&sandbox(1), 100)
        }
    });
    assert_eq!(gateway.hears().await.op, GateOp::Settle { living: vec![] });
    let fence = gateway.hears().await;
    assert_eq!(fence.op, GateOp::Fence);
    for at_ms in [99, 100, 101] {
        let denial = Denial::new(at_ms, Protocol::Dns, DenialReason::ALL[0]);
        gateway.says(&FromGate::Denied { sandbox: sandbox(1), denial, pause: false }).await;
    }
    gateway.says(&FromGate::Answer { id: fence.id, result: Ok(GateAnswer::Done) }).await;
    let times: Vec<u64> = asks.await.expect("no panic").iter().map(|denial| denial.at_ms).collect();
    assert_eq!(times, [100, 101]);
}

#[tokio::test]
async fn a_gateway_that_dies_leaves_nobody_waiting() {
    let client = GateClient::default();
    let mut gateway = Gateway::of(&client);
    let asks = tokio::spawn({
        let client = client.clone();
        async move { client.call(GateOp::Secrets { project: None }).await }
    });
    assert_eq!(gateway.hears().await.op, GateOp::Settle { living: vec![] });
    assert_eq!(gateway.hears().await.op, GateOp::Secrets { project: None });
    drop(gateway);
    let answer = tokio::time::timeout(Duration::from_secs(5), asks).await.expect("at once").expect("no panic");
    assert!(answer.is_err());
    let fence = tokio::time::timeout(Duration::from_millis(500), client.fence()).await;
    fence.expect("an end does not wait for a gateway that is not there");
    assert_eq!(client.denials(&sandbox(1), 0), []);
}

#[tokio::test]
async fn a_gateway_that_speaks_nonsense_is_not_listened_to() {
    let client = GateClient::default();
    let mut gateway = Gateway::of(&client);
    gateway.write.write_all(b"{\"no\": 1}\n").await.expect("it listens");
    let mut connected = client.inner.connected.subscribe();
    let ended = tokio::time::timeout(Duration::from_secs(5), connected.wait_for(|connected| !connected)).await;
    ended.expect("soon").expect("the client lives");
}
