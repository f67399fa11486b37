use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, KeyPair as _, UnparsedPublicKey};

use super::*;

/// The key of RFC 7515, appendix A.3.1.
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const D: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

fn public() -> Vec<u8> {
    [vec![4], bytes(X), bytes(Y)].concat()
}

/// The same key as OpenSSL writes it (`openssl ec`): version, private key, curve, public key.
fn sec1_der() -> Vec<u8> {
    let curve: [&[u8]; 2] = [&[0xa0, 0x0a], &P256];
    let inside =
        [vec![0x02, 0x01, 0x01, 0x04, 0x20], bytes(D), curve.concat(), vec![0xa1, 0x44, 0x03, 0x42, 0x00], public()]
            .concat();
    [vec![0x30, u8::try_from(inside.len()).expect("short")], inside].concat()
}

fn as_pem(label: &str, der: &[u8]) -> String {
    let body: Vec<_> =
        STANDARD.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", body.join("\n"))
}

pub(in crate::sign) fn es256() -> String {
    as_pem("EC PRIVATE KEY", &sec1_der())
}

pub(in crate::sign) fn es256_public() -> Vec<u8> {
    public()
}

/// RFC 8032, section 7.1, TEST 1; the key of RFC 8037, appendix A, too.
pub(in crate::sign) const ED25519_SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
pub(in crate::sign) const ED25519_PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

#[test]
fn a_key_in_pem_is_read_with_real_and_with_written_line_ends() {
    for text in [es256(), es256().replace('\n', "\\n"), es256().replace('\n', "\r\n")] {
        let Ok(JwtKey::Es256(pair)) = JwtKey::read(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(pair.public_key().as_ref(), public());
    }
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).expect("a key");
    let key = JwtKey::read(as_pem("PRIVATE KEY", made.as_ref()).as_bytes()).expect("a key");
    assert_eq!(key.algorithm(), "ES256");
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
    let key = JwtKey::read(as_pem("PRIVATE KEY", made.as_ref()).as_bytes()).expect("a key");
    assert_eq!(key.algorithm(), "EdDSA");
}

/// RFC 7515, appendix A.3: its signature is good under the key that was read, and so is one of ours.
#[test]
fn es256_agrees_with_rfc_7515() {
    let input = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let published = bytes("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    let key = JwtKey::read(es256().as_bytes()).expect("a key");
    let JwtKey::Es256(pair) = &key else { panic!("another kind") };
    let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
    verifier.verify(input, &published).expect("the published signature is good");
    let ours = key.sign(input).expect("a signature");
    assert_eq!(ours.len(), 64);
    verifier.verify(input, &ours).expect("ours is good");
    verifier.verify(b"something else", &ours).expect_err("for this text alone");
}

/// RFC 8032, section 7.1, TEST 1: the signature of the empty message.
#[test]
fn ed25519_agrees_with_rfc_8032() {
    let wanted = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
    for key in [bytes(ED25519_SEED), [bytes(ED25519_SEED), bytes(ED25519_PUBLIC)].concat()] {
        let key = JwtKey::read(STANDARD.encode(key).as_bytes()).expect("a key");
        let signature = key.sign(b"").expect("a signature");
        assert_eq!(hex::encode(&signature), wanted);
        UnparsedPublicKey::new(&ED25519, bytes(ED25519_PUBLIC)).verify(b"", &signature).expect("it is good");
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let mut wrong_curve = sec1_der();
    wrong_curve[46] ^= 1;
    let mut wrong_public = sec1_der();
    *wrong_public.last_mut().expect("not empty") ^= 1;
    let mut trailing = sec1_der();
    trailing.push(0);
    for text in [
        String::new(),
        "not a key".into(),
        STANDARD.encode([1; 31]),
        STANDARD.encode([1; 64]),
        as_pem("RSA PRIVATE KEY", &sec1_der()),
        as_pem("EC PRIVATE KEY", &wrong_curve),
        as_pem("EC PRIVATE KEY", &wrong_public),
        as_pem("EC PRIVATE KEY", &trailing),
        as_pem("EC PRIVATE KEY", &sec1_der()[..40]),
        as_pem("PRIVATE KEY", &sec1_der()),
        es256().replace("END EC", "END X"),
    ] {
        assert_eq!(JwtKey::read(text.as_bytes()).err(), Some(KeyError::NotAKey), "{text}");
    }
    assert_eq!(JwtKey::read(&[0xff]).err(), Some(KeyError::NotAKey));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        at in 0_usize..121,
        to in any::<u8>(),
    ) {
        let _ = JwtKey::read(&bytes);
        let _ = JwtKey::read(as_pem("EC PRIVATE KEY", &bytes).as_bytes());
        let _ = JwtKey::read(as_pem("PRIVATE KEY", &bytes).as_bytes());
        let mut der = sec1_der();
        der[at] = to;
        let _ = JwtKey::read(as_pem("EC PRIVATE KEY", &der).as_bytes());
    }
}
