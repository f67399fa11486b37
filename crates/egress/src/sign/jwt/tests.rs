use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};

use super::*;
use crate::sign::key::tests::{ED25519_PUBLIC, ED25519_SEED, es256, es256_public};

const NAME: &str = "organizations/0000/apiKeys/1111";

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

fn ed25519() -> String {
    STANDARD.encode([bytes(ED25519_SEED), bytes(ED25519_PUBLIC)].concat())
}

/// RFC 8037, appendix A.4.
#[test]
fn the_compact_form_agrees_with_rfc_8037() {
    let key = JwtKey::read(ed25519().as_bytes()).expect("a key");
    let token = compact(&key, br#"{"alg":"EdDSA"}"#, b"Example of Ed25519 signing").expect("a token");
    assert_eq!(
        token,
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    );
}

#[track_caller]
fn check(secret: &str, algorithm: &'static dyn VerificationAlgorithm, public: &[u8], name: &str) {
    let key = JwtKey::read(secret.as_bytes()).expect("a key");
    let now = UnixMicros(1_700_000_000_999_999);
    let request = ("GET", "api.coinbase.com", "/api/v3/brokerage/accounts");
    let token = coinbase(&key, NAME, request, now).expect("a token");
    let (signed, signature) = token.rsplit_once('.').expect("three parts");
    UnparsedPublicKey::new(algorithm, public)
        .verify(signed.as_bytes(), &bytes(signature))
        .expect("the signature is good");
    let (header, claims) = signed.split_once('.').expect("two parts");
    let header: Value = serde_json::from_slice(&bytes(header)).expect("JSON");
    let claims: Value = serde_json::from_slice(&bytes(claims)).expect("JSON");
    let nonce = header["nonce"].as_str().expect("a text").to_owned();
    assert_eq!(header, json!({"alg": name, "typ": "JWT", "kid": NAME, "nonce": nonce}));
    assert_eq!(nonce.len(), 32);
    let wanted = json!({
        "iss": "cdp", "sub": NAME, "nbf": 1_700_000_000, "exp": 1_700_000_120,
        "uri": "GET api.coinbase.com/api/v3/brokerage/accounts",
    });
    assert_eq!(claims, wanted);
    assert_ne!(coinbase(&key, NAME, request, now).expect("a token"), token, "each has a nonce of its own");
}

#[test]
fn a_token_says_what_coinbase_reads_and_its_signature_is_good() {
    check(&es256(), &ECDSA_P256_SHA256_FIXED, &es256_public(), "ES256");
    check(&ed25519(), &ED25519, &bytes(ED25519_PUBLIC), "EdDSA");
}
