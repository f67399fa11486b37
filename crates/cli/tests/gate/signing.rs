//! ccxt as users run it, in a sandbox that has none of the keys, against exchanges that check its signatures.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use ringfence_engine::api::Sandboxes;
use ringfence_model::api::{Actor, EgressRequest, ExecutionStatus, SecretSetRequest};
use serde_json::json;

use crate::{common, scene::Scene};

/// Names of exchanges, which lead to a server of this test.
const EXCHANGES: [&str; 5] =
    ["testnet.binance.vision", "api.bybit.com", "www.okx.com", "api.kraken.com", "api.coinbase.com"];
const VERSION: &str = "4.5.90";
/// Of Kraken: base64.
const KRAKEN: &str = "dGhlLXJlYWwta2V5LXdpdGgtd2hpY2gtaXMtc2lnbmVkLTAxMjM0NTY3ODk=";

/// The exchanges' process, which ends with this.
struct Exchanges {
    process: Child,
    said: BufReader<ChildStdout>,
    port: u16,
}

impl Exchanges {
    fn start(scene: &Scene, public: &Path, testnet: &str, keys: &serde_json::Value) -> Self {
        let (certificate, key) = scene.certificate(&EXCHANGES);
        let files = (scene.home.join("exchange.crt"), scene.home.join("exchange.key"));
        fs::write(&files.0, certificate.pem()).expect("a file");
        fs::write(&files.1, key.serialize_pem()).expect("a file");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gate/exchange.py");
        let mut process = Command::new("python3")
            .args([Path::new(script), &files.0, &files.1, public])
            .arg(testnet)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        writeln!(process.stdin.take().expect("a pipe"), "{keys}").expect("it reads");
        let mut said = BufReader::new(process.stdout.take().expect("a pipe"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it says its port");
        Self { process, said, port: line.trim().parse().expect("a port") }
    }

    /// The next verdict: exchange, path, `accepted` or `refused`, and a number.
    fn verdict(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    /// The next verdict about this request, past those about what the gate asked by itself, which were all accepted.
    fn verdict_of(&mut self, wanted: &str) -> String {
        loop {
            let verdict = self.verdict();
            if verdict.starts_with(wanted) || !(verdict.starts_with("binance ") && verdict.contains(" accepted ")) {
                return verdict;
            }
        }
    }
}

impl Drop for Exchanges {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn openssl(arguments: &[&str]) -> String {
    let made = Command::new("openssl").args(arguments).output().expect("openssl(1)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ccxt_trades_with_keys_that_its_sandbox_does_not_have() {
    // An address of loopback that is this test's alone, where the testnet has port 443.
    let [.., high, low] = std::process::id().to_be_bytes();
    let testnet = format!("127.61.{high}.{low}");
    let pins: String = EXCHANGES
        .iter()
        .map(|name| format!("\"{name}\" = [\"{}\"]\n", if *name == EXCHANGES[0] { &testnet } else { "127.0.0.1" }))
        .collect();
    let scene = Scene::with("", &pins).await;
    for args in [
        &["trade", "mode", "paper"][..],
        &["trade", "limits", "--account", "paper:binance:7", "set", "permitted_asset_classes=crypto"],
    ] {
        let done = common::ringfence(&scene.home, args);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let private = scene.home.join("coinbase.pem");
    let public = scene.home.join("coinbase.pub");
    fs::write(&private, openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"])).expect("a file");
    openssl(&["ec", "-in", &private.to_string_lossy(), "-pubout", "-out", &public.to_string_lossy()]);
    let coinbase = fs::read_to_string(&private).expect("a file");
    let id = |exchange: &str| format!("the-real-id-of-the-key-for-{exchange}");
    let secret = |exchange: &str| format!("canary-secret-that-signs-for-{exchange}");
    let keys = json!({
        "binance": {"id": id("binance"), "secret": secret("binance")},
        "bybit": {"id": id("bybit"), "secret": secret("bybit")},
        "okx": {"id": id("okx"), "secret": secret("okx"), "passphrase": "the-real-passphrase"},
        "kraken": {"id": id("kraken"), "secret": KRAKEN},
        "coinbase": {"id": "organizations/11/apiKeys/22", "secret": coinbase},
    });
    let mut exchanges = Exchanges::start(&scene, &public, &testnet, &keys);
    let port = exchanges.port;
    let mut names = Vec::new();
    for ((exchange, host), place) in ["binance", "bybit", "okx", "kraken", "coinbase"].iter().zip(EXCHANGES).zip([
        "header:x-mbx-apikey",
        "header:x-bapi-api-key",
        "header:ok-access-key",
        "header:api-key",
        "jwt",
    ]) {
        let name = exchange.to_ascii_uppercase();
        let mut set = vec![
            json!({"name": format!("{name}_KEY"), "value": keys[exchange]["id"], "placements": [place]}),
            json!({"name": format!("{name}_SECRET"), "value": keys[exchange]["secret"], "sign": {"exchange": exchange}}),
        ];
        if *exchange == "okx" {
            set.push(json!({
                "name": "OKX_PASSPHRASE", "value": keys["okx"]["passphrase"], "placements": ["header:ok-access-passphrase"],
            }));
        }
        for mut request in set {
            request["hosts"] = json!([host]);
            request["ports"] = json!([if *exchange == "binance" { 443 } else { port }]);
            let request: SecretSetRequest = serde_json::from_value(request).expect("a request");
            names.push(request.name.clone());
            scene.api.secret_set(Actor::Operator, request).await.expect("it is stored");
        }
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sandbox = scene.create(json!("packages"), &names).await;
    let install = format!(
        "import subprocess, sys\nsys.exit(subprocess.call([sys.executable, '-m', 'pip', 'install', '-q', '--break-system-packages', 'ccxt=={VERSION}']))"
    );
    let run = scene.python(&sandbox, &install).await;
    assert_eq!(run.status, ExecutionStatus::Completed, "{}\n{}\n{:?}", run.output, run.stderr, run.denials);
    let code = format!(
        r#"
import ccxt, os, json
def at(url):
    if isinstance(url, dict):
        return {{key: at(value) for key, value in url.items()}}
    for host in {hosts:?}:
        url = url.replace("https://" + host, "https://" + host + ":{port}") if isinstance(url, str) else url
    return url
def of(name, **more):
    e = getattr(ccxt, name)({{"apiKey": os.environ[name.upper() + "_KEY"], "secret": os.environ[name.upper() + "_SECRET"], "enableRateLimit": False, **more}})
    if name == "binance":
        e.set_sandbox_mode(True)
        # Its testnet has no such address; whoever wants to withdraw asks anyway.
        e.urls["api"]["sapi"] = "https://testnet.binance.vision/sapi/v1"
    else:
        e.urls["api"] = at(e.urls["api"])
    e.hostname = {{"okx": "www.okx.com:{port}", "bybit": "bybit.com:{port}"}}.get(name, e.hostname)
    return e
def call(method, params={{}}):
    try:
        answer = method(params)
        print("ok", any(secret in json.dumps(answer) for secret in ("canary", "real-id", "apiKeys/22", "real-pass")))
    except Exception as error:
        print(type(error).__name__, "signing_not_allowed" in str(error) or "firewall: " in str(error))
binance = of("binance")
call(binance.privateGetAccount)
call(binance.privatePostOrder, {{"symbol": "LTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}})
call(binance.sapiPostCapitalWithdrawApply, {{"coin": "BTC", "address": "mine", "amount": "1"}})
call(of("bybit").privateGetV5PositionList, {{"category": "linear"}})
call(of("bybit").privatePostV5OrderCreate, {{"category": "spot", "symbol": "BTCUSDT"}})
call(of("okx", password=os.environ["OKX_PASSPHRASE"]).privateGetAccountBalance, {{"ccy": "BTC"}})
call(of("okx", password=os.environ["OKX_PASSPHRASE"]).privatePostTradeOrder, {{"instId": "BTC-USDT", "sz": "1"}})
call(of("kraken").privatePostBalance)
call(of("kraken").privatePostAddOrder, {{"pair": "XBTUSD", "volume": "1"}})
call(of("kraken").privatePostWithdraw, {{"asset": "XBT", "key": "mine", "amount": "1"}})
call(of("coinbase").v3PrivateGetBrokerageAccounts, {{"limit": 5}})
call(of("coinbase").v3PrivatePostBrokerageOrders, {{"product_id": "BTC-USD"}})
call(of("binance", apiKey="a-key-of-its-own").privateGetAccount)
call(binance.privatePostOrder, {{"symbol": "LTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1000"}})
"#,
        hosts = EXCHANGES,
    );
    let run = scene.python(&sandbox, &code).await;
    assert_eq!(run.status, ExecutionStatus::Completed, "{}\n{}\n{:?}", run.output, run.stderr, run.denials);
    let lines: Vec<&str> = run.output.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        // Two that withdraw, and a control run: a client with a key of its own is not signed for, and not believed. The last is
        // an order that is too large.
        let fails = matches!(index, 2 | 9 | 12 | 13);
        let is_right = if fails { !line.starts_with("ok") } else { *line == "ok False" };
        assert!(is_right, "line {index}: {}\n{}\n{:?}", run.output, run.stderr, run.denials);
    }
    assert_eq!(lines.len(), 14);
    assert_eq!(lines[13], "InvalidOrder True", "a refusal is one of an order, with its sentence");
    assert!(lines[2].ends_with(" True"), "the client is told why: {}", lines[2]);
    let mut last = 0;
    for wanted in [
        "binance /api/v3/account",
        "binance /api/v3/order",
        "bybit /v5/position/list",
        "bybit /v5/order/create",
        "okx /api/v5/account/balance",
        "okx /api/v5/trade/order",
        "kraken /0/private/Balance",
        "kraken /0/private/AddOrder",
        "coinbase /api/v3/brokerage/accounts",
        "coinbase /api/v3/brokerage/orders",
    ] {
        let verdict = exchanges.verdict_of(wanted);
        let count =
            verdict.strip_prefix(&format!("{wanted} accepted ")).unwrap_or_else(|| panic!("{wanted}: {verdict}"));
        if wanted.starts_with("kraken") {
            let nonce: u64 = count.parse().expect("a nonce");
            assert!(nonce > last, "{nonce} after {last}");
            last = nonce;
        }
    }
    let refused = "binance /api/v3/account refused";
    assert_eq!(exchanges.verdict_of(refused), format!("{refused} 0"));
    let reasons: Vec<_> = run.denials.iter().map(|denial| denial.code.code()).collect();
    assert_eq!(reasons, ["trade_refused", "signing_not_allowed", "trade_refused"], "{:?}", run.denials);
    let ask =
        EgressRequest { sandbox_id: Some(sandbox.sandbox_id.to_string()), limit: Some(1000), ..Default::default() };
    let decisions = scene.api.egress_list(Actor::Operator, ask).await.expect("they are listed").decisions;
    let signed: Vec<_> = decisions.iter().filter_map(|one| one.signed.as_deref().zip(one.request.as_deref())).collect();
    assert_eq!(signed.len(), 10, "{signed:?}");
    assert!(signed.contains(&("binance", "POST /api/v3/order")));
    // What is in the sandbox signs for nobody.
    let code =
        "import os\nprint(any(secret in str(dict(os.environ)) for secret in ('canary', 'real-id', 'real-pass')))";
    assert_eq!(scene.python(&sandbox, code).await.output.trim(), "False");
}
