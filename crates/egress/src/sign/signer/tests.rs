use std::sync::Arc;

use hyper::http::Request;
use proptest::prelude::*;

use super::*;
use crate::secret::{Binding, BoundSecret, Destination, Injector, Placeholder, Placement};
use crate::sign::key::tests::es256;

const FORM: &str = "application/x-www-form-urlencoded";
/// The example key of developers.binance.com, "Request security".
const BINANCE_SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";
const BINANCE_ID: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";
const BINANCE_NOW: UnixMicros = UnixMicros(1_499_827_319_559_321);
/// The example key of docs.kraken.com/api, "Spot REST authentication".
const KRAKEN_SECRET: &str = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==";
const KRAKEN_NOW: UnixMicros = UnixMicros(1_616_492_376_594_000);
/// What OKX's documentation gives as a secret key's example; it gives no signature.
const OKX_SECRET: &str = "22582BD0CFF14C41EDBF1AB98506286D";
const OKX_NOW: UnixMicros = UnixMicros(1_607_418_537_715_000);

fn signer(exchange: Exchange, id: &str, secret: &str) -> Signer {
    Signer::new(exchange, &SecretValue::new(id), &SecretValue::new(secret)).expect("a key")
}

fn binance() -> Signer {
    signer(Exchange::Binance, BINANCE_ID, BINANCE_SECRET)
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request").into_parts().0
}

fn sign(signer: &Signer, parts: &mut Parts, body: &str, now: UnixMicros) -> Result<String, SignError> {
    let stripped = signer.strip(parts, Bytes::copy_from_slice(body.as_bytes()))?;
    let nonce = signer.wants_nonce().then(|| now.milliseconds());
    let signed = stripped.sign(parts, "host.example", now, nonce)?;
    Ok(String::from_utf8(signed.body.to_vec()).expect("text"))
}

/// The three examples of Binance's documentation: all in the query, all in the body, some in each.
#[test]
fn binance_s_published_signatures_come_out() {
    let (first, second) =
        ("symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC", "quantity=1&price=0.1&recvWindow=5000&timestamp=1");
    let now = "timestamp=1499827319559";
    for (query, body, signature) in [
        (format!("{first}&{second}"), "", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        (
            String::new(),
            &*format!("{first}&{second}"),
            "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
        ),
        (first.into(), second, "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"),
    ] {
        let mut parts = request("POST", &format!("/api/v3/order?{query}"), &[("content-type", FORM)]);
        let sent = sign(&binance(), &mut parts, body, BINANCE_NOW).expect("signed");
        let query = query.replace("timestamp=1", now);
        let query = if query.is_empty() { String::new() } else { query + "&" };
        assert_eq!(parts.uri, format!("/api/v3/order?{query}signature={signature}").as_str());
        assert_eq!(sent, body.replace("timestamp=1", now));
        assert_eq!(parts.headers["x-mbx-apikey"], BINANCE_ID);
    }
}

#[test]
fn the_client_s_own_signature_time_and_key_are_gone() {
    let uri = "/api/v3/order?signature=aaaa&symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&%74imestamp=7&%73ignature=bbbb";
    let mut parts = request("GET", uri, &[("x-mbx-apikey", "placeholder"), ("x-mbx-apikey", "another")]);
    sign(&binance(), &mut parts, "", BINANCE_NOW).expect("signed");
    assert_eq!(
        parts.uri,
        "/api/v3/order?symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559&signature=c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    );
    assert_eq!(parts.headers.get_all("x-mbx-apikey").iter().collect::<Vec<_>>(), [BINANCE_ID]);
    let mut parts = request("POST", "/x?symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC", &[("content-length", "9")]);
    let body = "quantity=1&price=0.1&recvWindow=5000&signature=cccc&timestamp=1";
    let body = sign(&binance(), &mut parts, body, BINANCE_NOW).expect("signed");
    assert_eq!(body, "quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559");
    assert_eq!(parts.headers["content-length"], body.len().to_string().as_str());
    assert!(parts.uri.query().is_some_and(|query| {
        query.ends_with("&signature=0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77")
    }));
}

#[test]
fn kraken_s_published_signature_comes_out() {
    let kraken = || signer(Exchange::Kraken, "the key's id", KRAKEN_SECRET);
    let body = "nonce=1&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25";
    let headers = [("api-sign", "wrong"), ("api-key", "placeholder"), ("content-type", FORM), ("content-length", "1")];
    let mut parts = request("POST", "/0/private/AddOrder", &headers);
    let sent = sign(&kraken(), &mut parts, body, KRAKEN_NOW).expect("signed");
    assert_eq!(sent, body.replace("nonce=1", "nonce=1616492376594"));
    assert_eq!(
        parts.headers["api-sign"],
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    );
    assert_eq!(parts.headers["api-key"], "the key's id");
    assert_eq!(parts.headers["content-length"], sent.len().to_string().as_str());
    // The same in JSON; computed with Python's hmac and hashlib over the same path, nonce and key.
    let mut parts = request("POST", "/0/private/AddOrder", &[("content-type", "application/json")]);
    let sent = sign(&kraken(), &mut parts, r#"{"nonce": 5, "pair": "XBTUSD"}"#, KRAKEN_NOW).expect("signed");
    assert_eq!(sent, r#"{"nonce": 1616492376594, "pair": "XBTUSD"}"#);
    assert_eq!(
        parts.headers["api-sign"],
        "E2ypKt4zr6sJ5HJn3Rckxo1tskw/ZpgAf+7ibx5kFCxXVjGpzeE+jOWJDjAboTv1Nn+MWlV1ASnIMregO+uJpA=="
    );
}

/// Bybit publishes the text to be signed, but no secret to go with its signature. The text is Bybit's, the secret ours. ccxt
/// 4.5.90 made the first signature and the third (`privateGetV5OrderRealtime`, `privatePostV5OrderCreate`, its clock set to
/// these times); the second is of Bybit's own spacing, by Python: `hmac.new(secret, text, hashlib.sha256).hexdigest()`.
#[test]
fn bybit_s_text_is_signed() {
    let bybit = signer(Exchange::Bybit, "XXXXXXXXXX", "bybit-secret-for-this-test");
    let uri = "/v5/order/realtime?category=option&symbol=BTC-29JUL22-25000-C";
    let mut parts =
        request("GET", uri, &[("x-bapi-sign", "wrong"), ("x-bapi-timestamp", "1"), ("x-bapi-sign-type", "2")]);
    sign(&bybit, &mut parts, "", UnixMicros(1_658_384_314_791_000)).expect("signed");
    assert_eq!(parts.headers["x-bapi-sign"], "ec68ac09edf0b22fb7cc0b457d010b0e65a29ca747d7cd0f7c1d5f8dba0aecc1");
    assert_eq!(parts.headers["x-bapi-timestamp"], "1658384314791");
    assert_eq!(parts.headers["x-bapi-recv-window"], "5000");
    assert_eq!(parts.headers["x-bapi-api-key"], "XXXXXXXXXX");
    assert_eq!(parts.headers["x-bapi-sign-type"], "2");
    let headers = [("x-bapi-recv-window", "5000"), ("content-type", "application/json")];
    let mut parts = request("POST", "/v5/order/create", &headers);
    let sent =
        sign(&bybit, &mut parts, r#"{"category": "option"}"#, UnixMicros(1_658_385_579_423_000)).expect("signed");
    assert_eq!(sent, r#"{"category": "option"}"#);
    assert_eq!(parts.headers["x-bapi-sign"], "0c1bf0128f41e36551c620a33400f56e3c7b6c1686d70c3dc766c594f4d99c42");
    let mut parts = request("POST", "/v5/order/create", &headers);
    sign(&bybit, &mut parts, r#"{"category":"option"}"#, UnixMicros(1_658_385_579_423_000)).expect("signed");
    assert_eq!(parts.headers["x-bapi-sign"], "a0c001f5c84450acf3f3e60b73ac78af990460ead79946ad8851d984e68e0db2");
    for window in ["60001", "-1", "5e3", "", "99999999999999999999"] {
        let mut parts = request("GET", uri, &[("x-bapi-recv-window", window)]);
        assert!(matches!(sign(&bybit, &mut parts, "", OKX_NOW), Err(SignError::Number { .. })), "{window}");
    }
}

/// OKX publishes time, path, body and secret, but no signature for them: these are those of ccxt 4.5.90
/// (`privateGetAccountBalance`, `privatePostAccountSetLeverage`, its clock set to that time).
#[test]
fn okx_s_text_is_signed() {
    let okx = signer(Exchange::Okx, "id", OKX_SECRET);
    let headers = [("ok-access-sign", "wrong"), ("ok-access-timestamp", "2000"), ("ok-access-passphrase", "kept")];
    let mut parts = request("GET", "/api/v5/account/balance?ccy=BTC", &headers);
    sign(&okx, &mut parts, "", OKX_NOW).expect("signed");
    assert_eq!(parts.headers["ok-access-sign"], "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY=");
    assert_eq!(parts.headers["ok-access-timestamp"], "2020-12-08T09:08:57.715Z");
    assert_eq!(parts.headers["ok-access-key"], "id");
    assert_eq!(parts.headers["ok-access-passphrase"], "kept");
    let mut parts = request("POST", "/api/v5/account/set-leverage", &headers);
    let body = r#"{"instId":"BTC-USDT","lever":"5","mgnMode":"isolated"}"#;
    assert_eq!(sign(&okx, &mut parts, body, OKX_NOW).expect("signed"), body);
    assert_eq!(parts.headers["ok-access-sign"], "eCnnCgWLjlQ9XnpUkrcny3qNq3WW/81KNrDr/XR6Xv8=");
}

#[test]
fn coinbase_s_own_token_replaces_the_client_s() {
    let signer = signer(Exchange::Coinbase, "organizations/0/apiKeys/1", &es256());
    let mut parts = request("GET", "/api/v3/x?limit=1", &[("authorization", "Bearer a.b.c"), ("authorization", "x")]);
    let stripped = signer.strip(&mut parts, Bytes::from_static(b"body")).expect("stripped");
    assert!(!parts.headers.contains_key("authorization"));
    assert_eq!(stripped.body(), "body");
    let signed = stripped.sign(&mut parts, "api.coinbase.com", OKX_NOW, None).expect("signed");
    assert_eq!(signed.body, "body");
    assert_eq!(parts.headers["authorization"], format!("Bearer {}", signed.signature));
    let token = parts.headers["authorization"].to_str().expect("ASCII");
    let claims = token.strip_prefix("Bearer ").and_then(|token| token.split('.').nth(1)).expect("a token");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    assert!(String::from_utf8_lossy(&claims).contains(r#""uri":"GET api.coinbase.com/api/v3/x""#));
    assert_eq!(parts.headers.get_all("authorization").iter().count(), 1);
    assert!(!format!("{signer:?}").contains(&es256()[40..80]));
}

/// A client names its key in the token that it makes: its placeholder, in base64. Stripped first, it is not found.
#[test]
fn stripping_comes_before_placeholders_are_looked_for() {
    let placeholder = "abcdefghijklmnopqrstuvwxyz012345";
    let secret = BoundSecret {
        name: "COINBASE_KEY".into(),
        placeholder: Placeholder::from_text(placeholder).expect("a placeholder"),
        value: Some(Arc::new(SecretValue::new("the real name of the key"))),
        binding: Binding {
            hosts: vec!["api.coinbase.com".into()],
            ports: vec![443],
            placements: vec![Placement::Bearer],
            sign: None,
        },
    };
    let injector = Injector::new(vec![secret]).expect("a set");
    let to = Destination { host: "api.coinbase.com", port: 443, secure: true };
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!(r#"{{"kid":"{placeholder}"}}"#));
    let client = || request("GET", "/x", &[("authorization", &format!("Bearer {token}.e30.c2ln"))]);
    injector.inject(to, &mut client()).expect_err("a placeholder in base64");
    let signer = signer(Exchange::Coinbase, "name", &es256());
    let mut parts = client();
    let stripped = signer.strip(&mut parts, Bytes::new()).expect("stripped");
    injector.inject(to, &mut parts).expect("nothing is left of it");
    stripped.sign(&mut parts, to.host, OKX_NOW, None).expect("signed");
}

#[test]
fn a_nonce_is_the_gate_s_whatever_a_client_sends() {
    let kraken = signer(Exchange::Kraken, "id", KRAKEN_SECRET);
    assert!(kraken.wants_nonce() && !binance().wants_nonce());
    let mut parts = request("POST", "/0/private/Balance", &[]);
    let stripped = kraken.strip(&mut parts, Bytes::from_static(b"nonce=99999999999999")).expect("stripped");
    assert_eq!(stripped.sign(&mut parts, "h", KRAKEN_NOW, Some(7)).expect("signed").body, "nonce=7");
    let mut parts = request("POST", "/0/private/Balance", &[]);
    let stripped = kraken.strip(&mut parts, Bytes::from_static(b"nonce=1")).expect("stripped");
    assert_eq!(stripped.sign(&mut parts, "h", KRAKEN_NOW, None).err(), Some(SignError::Key), "not without one");
}

/// What is sent and not signed could be read in the place of what is.
#[test]
fn nothing_is_sent_that_is_not_signed() {
    let kraken = signer(Exchange::Kraken, "id", KRAKEN_SECRET);
    let mut parts = request("POST", "/0/private/AddOrder?pair=XBTUSD", &[]);
    assert_eq!(sign(&kraken, &mut parts, "nonce=1&pair=ETHUSD", OKX_NOW), Err(SignError::Uncovered("query")));
    let bybit = signer(Exchange::Bybit, "id", "secret");
    for (method, uri, body, part) in
        [("POST", "/v5/order/create?qty=9", "{}", "query"), ("GET", "/v5/order/realtime?qty=9", "{}", "body")]
    {
        let mut parts = request(method, uri, &[("content-type", "application/json")]);
        assert_eq!(sign(&bybit, &mut parts, body, OKX_NOW), Err(SignError::Uncovered(part)));
    }
}

#[test]
fn a_request_is_signed_where_its_client_has_signed_it() {
    let is = |exchange, uri: &str, headers: &[(&str, &str)], body: &'static str| {
        is_signed(
            &recipe(exchange).expect("an HMAC"),
            &request("POST", uri, headers),
            &Bytes::from_static(body.as_bytes()),
        )
    };
    assert!(is(Exchange::Binance, "/x?a=1&%73ignature=b", &[], ""));
    assert!(is(Exchange::Binance, "/x", &[], "a=1&signature=b"));
    assert!(!is(Exchange::Binance, "/x?signatures=b", &[], "a=1"));
    assert!(!is(Exchange::Binance, "/x", &[("content-type", "application/json")], "signature=b"));
    assert!(is(Exchange::Okx, "/x", &[("ok-access-sign", "")], ""));
    assert!(!is(Exchange::Okx, "/x?signature=b", &[("x-bapi-sign", "")], ""));
}

#[test]
fn a_field_that_peers_may_read_differently_is_refused() {
    let mut parts = request("GET", "/x?timestamp=1&%74imestamp=2", &[]);
    assert_eq!(sign(&binance(), &mut parts, "", OKX_NOW), Err(SignError::Twice("timestamp".into())));
    let mut parts = request("POST", "/x?timestamp=1", &[]);
    assert_eq!(sign(&binance(), &mut parts, "timestamp=2", OKX_NOW), Err(SignError::Twice("timestamp".into())));
    let kraken = signer(Exchange::Kraken, "id", KRAKEN_SECRET);
    let mut parts = request("POST", "/x", &[]);
    assert_eq!(sign(&kraken, &mut parts, "nonce=1&nonce=2", OKX_NOW), Err(SignError::Twice("nonce".into())));
    for body in ["{}", r#"{"a":{"nonce":1}}"#, r#"{"nonce":1,"nonce":2}"#, r#"["nonce"]"#, "{", ""] {
        let mut parts = request("POST", "/x", &[("content-type", "application/json")]);
        assert_eq!(sign(&kraken, &mut parts, body, OKX_NOW), Err(SignError::Body("nonce".into())), "{body}");
    }
    let bybit = signer(Exchange::Bybit, "id", "secret");
    let mut parts = request("GET", "/x", &[("x-bapi-recv-window", "1"), ("x-bapi-recv-window", "2")]);
    assert_eq!(sign(&bybit, &mut parts, "", OKX_NOW), Err(SignError::Twice("x-bapi-recv-window".into())));
}

#[test]
fn keys_that_make_no_sense_are_refused() {
    let new = |exchange, id: &str, secret: &str| {
        Signer::new(exchange, &SecretValue::new(id), &SecretValue::new(secret)).err()
    };
    assert_eq!(new(Exchange::Kraken, "id", "not base64!"), Some(KeyError::NotBase64));
    assert_eq!(new(Exchange::Okx, "i\nd", "secret"), Some(KeyError::NotAHeader));
    assert_eq!(new(Exchange::Coinbase, "id", "no key"), Some(KeyError::NotAKey));
    assert_eq!(Signer::check(Exchange::Kraken, &SecretValue::new("!")), Err(KeyError::NotBase64));
    assert_eq!(Signer::check(Exchange::Binance, &SecretValue::new("!")), Ok(()));
    let shown = format!("{:?}", signer(Exchange::Okx, "nor-this", "do-not-print-this"));
    assert!(!shown.contains("do-not-print-this") && !shown.contains("nor-this"), "{shown}");
}

proptest! {
    /// Whatever a client sends: what is signed is what is sent, once, and with the gate's time.
    #[test]
    fn no_request_makes_it_panic(
        query in "[a-z0-9%&=+.]{0,40}",
        body in proptest::collection::vec(any::<u8>(), 0..60),
        kind in prop_oneof![Just(FORM), Just("application/json"), Just("")],
        post in any::<bool>(),
    ) {
        for signer in [
            binance(),
            signer(Exchange::Kraken, "id", KRAKEN_SECRET),
            signer(Exchange::Bybit, "id", "secret"),
            signer(Exchange::Okx, "id", "secret"),
        ] {
            let method = if post { "POST" } else { "GET" };
            let mut parts = request(method, &format!("/x?{query}"), &[("content-type", kind)]);
            let stripped = signer.strip(&mut parts, Bytes::from(body.clone()));
            if let Ok(stripped) = stripped {
                let _ = stripped.sign(&mut parts, "host.example", OKX_NOW, Some(7));
            }
        }
    }

    #[test]
    fn a_signature_covers_the_query_as_it_is_sent(query in "[a-z0-9%=+.]{0,20}(&signature=[a-z]{0,3})?(&[a-z]{1,4}=[a-z%]{0,4}){0,3}") {
        let mut parts = request("GET", &format!("/x?{query}"), &[]);
        sign(&binance(), &mut parts, "", OKX_NOW).expect("signed");
        let sent = parts.uri.query().expect("a query").to_owned();
        let (signed, signature) = sent.rsplit_once("&signature=").expect("signed");
        let key = hmac::Key::new(hmac::HMAC_SHA256, BINANCE_SECRET.as_bytes());
        prop_assert_eq!(hex::encode(hmac::sign(&key, signed.as_bytes())), signature);
        prop_assert_eq!(fields::count(&sent, "signature"), 1);
        prop_assert_eq!(fields::count(&sent, "timestamp"), 1);
    }
}
