use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::tls::authority::{Authority, AuthorityError, LeafError};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn it_is_made_once_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let made = Authority::load_or_create(directory.path(), now).unwrap();
    let key = directory.path().join("authority-key.pem");
    let certificate = directory.path().join("authority.pem");
    assert_eq!((mode(&key), mode(&certificate)), (0o400, 0o444));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left of the making");

    let found = Authority::load_or_create(directory.path(), now + 100 * DAY).unwrap();
    assert_eq!(found.certificate(), made.certificate());
    assert_eq!(found.certificate_pem(), std::fs::read_to_string(&certificate).unwrap().replace("\r\n", "\n"));
    assert!(!format!("{made:?}").contains("PRIVATE"));

    let other = tempfile::tempdir().unwrap();
    assert_ne!(Authority::load_or_create(other.path(), now).unwrap().certificate(), made.certificate());
}

#[test]
fn a_crash_between_key_and_certificate_is_made_good() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    drop(Authority::load_or_create(directory.path(), now).unwrap());
    std::fs::remove_file(directory.path().join("authority.pem")).unwrap();
    let leftover = directory.path().join(format!("authority-key.pem.new-{}", std::process::id()));
    std::fs::write(&leftover, "half").unwrap();
    let again = Authority::load_or_create(directory.path(), now).unwrap();
    assert!(again.leaf("example.com", now).is_ok());
}

#[test]
fn files_that_cannot_be_relied_on_are_refused() {
    #[track_caller]
    fn check(spoil: impl Fn(&Path, &Path), later: Duration, expected: impl Fn(&AuthorityError) -> bool) {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        drop(Authority::load_or_create(directory.path(), now).unwrap());
        spoil(&directory.path().join("authority-key.pem"), &directory.path().join("authority.pem"));
        match Authority::load_or_create(directory.path(), now + later) {
            Err(error) => assert!(expected(&error), "{error:?}"),
            Ok(_) => panic!("it was taken"),
        }
    }
    let at_once = Duration::ZERO;
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let replace = |path: &Path, text: &str| {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o400)).unwrap();
    };
    check(|key, _| chmod(key, 0o440), at_once, |e| matches!(e, AuthorityError::Exposed { mode: 0o440, .. }));
    check(|key, _| chmod(key, 0o404), at_once, |e| matches!(e, AuthorityError::Exposed { mode: 0o404, .. }));
    check(|key, _| std::fs::remove_file(key).unwrap(), at_once, |e| matches!(e, AuthorityError::KeyMissing { .. }));
    check(|key, _| replace(key, "no key"), at_once, |e| matches!(e, AuthorityError::Unreadable { what: "key", .. }));
    check(
        |_, certificate| replace(certificate, "none"),
        at_once,
        |e| matches!(e, AuthorityError::Unreadable { what: "certificate", .. }),
    );
    check(|_, _| {}, 3651 * DAY, |e| matches!(e, AuthorityError::Expired { .. }));
    check(
        |_, certificate| {
            let other = tempfile::tempdir().unwrap();
            let other = Authority::load_or_create(other.path(), SystemTime::now()).unwrap();
            replace(certificate, other.certificate_pem());
        },
        at_once,
        |e| matches!(e, AuthorityError::Mismatch { .. }),
    );
    check(
        |key, _| {
            let moved = key.with_extension("moved");
            std::fs::rename(key, &moved).unwrap();
            std::os::unix::fs::symlink(&moved, key).unwrap();
        },
        at_once,
        |e| matches!(e, AuthorityError::File { operation: "read", .. }),
    );
}

#[test]
fn it_is_an_authority_for_servers_only_and_for_ten_years() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = Authority::load_or_create(directory.path(), now).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(authority.certificate()).unwrap();
    let constraints = parsed.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = parsed.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_cert_sign() && !usage.value.digital_signature());
    assert!(parsed.subject().to_string().starts_with("CN=ringfence sandbox gate "), "{}", parsed.subject());
    assert_eq!(parsed.raw_serial().len(), 16);
    let life = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
    assert_eq!(life, 10 * 365 * 24 * 3600 + 3600);
    parsed.verify_signature(None).unwrap();
}

#[test]
fn a_leaf_is_kept_while_it_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = Authority::load_or_create(directory.path(), now).unwrap();
    let first = authority.leaf("API.example.com", now).unwrap();
    let same = |at| std::sync::Arc::ptr_eq(&authority.leaf("api.example.com", at).unwrap(), &first);
    assert!(same(now));
    assert!(same(now + 2 * DAY - Duration::from_secs(1)));
    assert!(!same(now + 2 * DAY), "a day before its end it is made anew");

    let (_, parsed) = x509_parser::parse_x509_certificate(&first.cert[0]).unwrap();
    let life = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
    assert_eq!(life, 3 * 24 * 3600 + 3600);
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any);
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names, [x509_parser::extensions::GeneralName::DNSName("api.example.com")]);
    let (_, issuer) = x509_parser::parse_x509_certificate(authority.certificate()).unwrap();
    parsed.verify_signature(Some(issuer.public_key())).unwrap();
}

#[test]
fn a_clock_set_back_does_not_leave_a_leaf_of_the_future() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = Authority::load_or_create(directory.path(), now).unwrap();
    let ahead = authority.leaf("example.com", now + 30 * DAY).unwrap();
    assert!(!std::sync::Arc::ptr_eq(&authority.leaf("example.com", now).unwrap(), &ahead));
}

#[test]
fn a_leaf_ends_with_its_authority() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = Authority::load_or_create(directory.path(), now).unwrap();
    let late = authority.leaf("example.com", now + 3649 * DAY).unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&late.cert[0]).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(authority.certificate()).unwrap();
    assert_eq!(leaf.validity().not_after, parsed.validity().not_after);
    assert!(matches!(authority.leaf("example.com", now + 3651 * DAY), Err(LeafError::OutOfTime)));
}

#[test]
fn only_names_get_a_leaf() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = Authority::load_or_create(directory.path(), now).unwrap();
    for name in ["", ".", "a.example.", "192.0.2.1", "::1", "*.example.com", "a b", "a\0.example", "ü.example"] {
        assert!(matches!(authority.leaf(name, now), Err(LeafError::BadName(_))), "{name:?}");
    }
    // Longer than a common name may be.
    let long = [&"a".repeat(60), ".", &"b".repeat(60), ".example"].concat();
    assert!(authority.leaf(&long, now).is_ok());
}

/// Python 3.13 verifies like this by default.
#[test]
fn openssl_takes_it_in_its_strict_mode() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = Authority::load_or_create(directory.path(), now).unwrap();
    let long = [&"a".repeat(60), ".", &"b".repeat(60), ".example"].concat();
    for name in ["api.example.com", &long] {
        let leaf = directory.path().join("leaf.der");
        std::fs::write(&leaf, &authority.leaf(name, now).unwrap().cert[0]).unwrap();
        let output = std::process::Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", name, "-CAfile"])
            .arg(directory.path().join("authority.pem"))
            .arg(&leaf)
            .output();
        let Ok(output) = output else {
            eprintln!("openssl_takes_it_in_its_strict_mode: SKIPPED: no openssl here");
            return;
        };
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
