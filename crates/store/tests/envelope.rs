//! Envelopes: sealed by anyone, opened by one key in one place.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ringfence_store::gate::{EnvelopeError, EnvelopeKey, EnvelopePublicKey};
use ringfence_store::{KeyError, SecretValue};

const VALUE: &[u8] = b"a value that nobody may find 8c1f0a";
const CONTEXT: &[u8] = b"sandbox-1\0ALPACA_SECRET_KEY";

fn key(dir: &tempfile::TempDir, name: &str) -> EnvelopeKey {
    EnvelopeKey::load_or_create(&dir.path().join(name)).expect("a key")
}

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory for the test")
}

#[test]
fn what_was_sealed_for_a_key_and_a_place_opens_there_and_nowhere_else() {
    let dir = dir();
    let ours = key(&dir, "ours");
    let public = EnvelopePublicKey::parse(&ours.public().to_string()).expect("it is read as it is written");
    for value in [b"".as_slice(), VALUE, &[0xff; 96 << 10]] {
        let sealed = public.seal(&SecretValue::new(value), CONTEXT);
        assert!(value.is_empty() || !sealed.windows(value.len()).any(|window| window == value));
        assert_eq!(ours.open(&sealed, CONTEXT).expect("it opens").expose(), value);
        for other in [b"".as_slice(), b"sandbox-2\0ALPACA_SECRET_KEY", &CONTEXT[1..], &[CONTEXT, b"\0"].concat()] {
            assert_eq!(ours.open(&sealed, other).expect_err("another place"), EnvelopeError::OtherContext);
        }
        let theirs = key(&dir, "theirs");
        assert_eq!(theirs.open(&sealed, CONTEXT).expect_err("another key"), EnvelopeError::NotForUs);
    }
    let seal = || public.seal(&SecretValue::new(VALUE), CONTEXT);
    assert_ne!(seal(), seal(), "two envelopes of one value cannot be told to be so");
}

#[test]
fn no_bytes_open_but_those_that_were_sealed() {
    let dir = dir();
    let ours = key(&dir, "ours");
    let sealed = ours.public().seal(&SecretValue::new(VALUE), CONTEXT);
    for end in 0..sealed.len() {
        assert_eq!(ours.open(&sealed[..end], CONTEXT).expect_err("cut off"), EnvelopeError::NotForUs, "at {end}");
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(ours.open(&changed, CONTEXT).expect_err("changed"), EnvelopeError::NotForUs, "at {at}");
    }
    let longer = [sealed.as_slice(), b"x"].concat();
    assert_eq!(ours.open(&longer, CONTEXT).expect_err("longer"), EnvelopeError::NotForUs);
    let bytes = (96 << 10) + 82;
    assert_eq!(ours.open(&vec![0; bytes], CONTEXT).expect_err("long"), EnvelopeError::TooLong { bytes });
    let too_much = ours.public().seal(&SecretValue::new(vec![b'x'; (96 << 10) + 1]), CONTEXT);
    assert!(matches!(ours.open(&too_much, CONTEXT), Err(EnvelopeError::TooLong { .. })));
}

#[test]
fn a_sealed_box_without_our_form_is_named_as_such() {
    let dir = dir();
    let ours = key(&dir, "ours");
    let theirs = crypto_box::PublicKey::from_bytes(*ours.public().as_bytes());
    for plain in [b"".as_slice(), b"\x01", b"\x02", &[1; 32], &[2; 64]] {
        let sealed = theirs.seal(&mut crypto_box::aead::OsRng, plain).expect("it can be sealed");
        let error = ours.open(&sealed, CONTEXT).expect_err("it is not ours");
        assert_eq!(error, EnvelopeError::UnknownForm, "{plain:?}");
    }
}

#[test]
fn the_key_is_the_same_after_a_restart_and_its_file_is_its_owners() {
    let dir = dir();
    let first = key(&dir, "ours").public();
    assert_eq!(key(&dir, "ours").public(), first);
    assert_ne!(key(&dir, "theirs").public(), first);
    let path = dir.path().join("ours");
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777, 0o400);
    assert!(!format!("{:?}", key(&dir, "ours")).contains(&hex::encode(fs::read(&path).expect("it can be read"))));
    assert_eq!(format!("{:?}", key(&dir, "ours")), "EnvelopeKey(…)");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).expect("the mode can be set");
    assert!(matches!(EnvelopeKey::load_or_create(&path), Err(KeyError::Exposed { mode: 0o440, .. })));
    let short = dir.path().join("short");
    fs::write(&short, [0; 31]).expect("a file");
    fs::set_permissions(&short, fs::Permissions::from_mode(0o400)).expect("the mode can be set");
    assert!(matches!(EnvelopeKey::load_or_create(&short), Err(KeyError::NotAKey { .. })));
    for text in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
        assert_eq!(EnvelopePublicKey::parse(text), None, "{text:?}");
    }
}
