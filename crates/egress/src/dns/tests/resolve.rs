use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dns::given::{GIVEN_MAX, GIVEN_TIME, Given};
use crate::dns::resolve::{ResolveError, Resolver, Share};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn number(n: usize) -> IpAddr {
    let [.., a, b, c] = (n as u32).to_be_bytes();
    std::net::Ipv4Addr::new(10, a, b, c).into()
}

#[test]
fn an_address_has_the_names_it_was_given_for() {
    let mut given = Given::default();
    let now = Instant::now();
    given.give("a.example", [address("192.0.2.1"), address("2001:db8::1")], now);
    given.give("b.example", [address("192.0.2.1")], now);
    assert_eq!(given.names(address("192.0.2.1"), now), ["b.example".into(), "a.example".into()]);
    assert_eq!(given.names(address("::ffff:192.0.2.1"), now).len(), 2, "as a dual-stack socket shows it");
    assert_eq!(given.names(address("2001:db8::1"), now), ["a.example".into()]);
    assert!(given.names(address("192.0.2.2"), now).is_empty());
    assert!(given.take(address("::ffff:192.0.2.1"), "a.example", now));
    assert!(!given.take(address("2001:db8::1"), "b.example", now));
    assert_eq!(given.len(), 3);
}

#[test]
fn an_address_is_good_for_an_hour_after_its_last_use() {
    let mut given = Given::default();
    let start = Instant::now();
    let used = address("192.0.2.1");
    given.give("a.example", [used, address("192.0.2.2")], start);
    assert!(given.take(used, "a.example", start + GIVEN_TIME));
    let later = start + GIVEN_TIME + Duration::from_secs(1);
    assert!(given.take(used, "a.example", later));
    assert!(!given.take(address("192.0.2.2"), "a.example", later));
    assert!(given.names(address("192.0.2.2"), later).is_empty());
    given.give("b.example", [], later);
    assert_eq!(given.len(), 1, "what is over is forgotten");
}

#[test]
fn the_pair_that_was_not_used_the_longest_is_forgotten_first() {
    let mut given = Given::default();
    let now = Instant::now();
    given.give("many.example", (0..GIVEN_MAX).map(number), now);
    assert!(given.take(number(0), "many.example", now));
    given.give("one.example", [number(GIVEN_MAX)], now);
    assert_eq!(given.len(), GIVEN_MAX);
    assert!(given.take(number(0), "many.example", now));
    assert!(!given.take(number(1), "many.example", now));
    assert!(given.take(number(GIVEN_MAX), "one.example", now));
    for n in 0..3 * GIVEN_MAX {
        given.give(&format!("n{n}.example"), [number(7)], now);
    }
    assert_eq!(given.len(), GIVEN_MAX);
    assert_eq!(given.names(number(7), now).len(), GIVEN_MAX);
}

#[tokio::test]
async fn a_pinned_name_has_its_addresses_and_no_others() {
    let pins = [("localhost".to_owned(), vec![address("192.0.2.7")]), ("none.example".to_owned(), vec![])];
    let resolver = Resolver::new(pins);
    assert_eq!(resolver.resolve("localhost", &Share::default()).await.unwrap()[..], [address("192.0.2.7")]);
    assert_eq!(resolver.resolve("none.example", &Share::default()).await, Err(ResolveError::NoSuchName));
    assert!(resolver.is_pinned("localhost", address("::ffff:192.0.2.7")));
    assert!(!resolver.is_pinned("localhost", address("127.0.0.1")));
    assert!(!resolver.is_pinned("other", address("192.0.2.7")));
}

#[tokio::test]
async fn the_hosts_own_names_are_found_and_others_are_not() {
    let resolver = Resolver::new([]);
    assert!(resolver.resolve("localhost", &Share::default()).await.unwrap().iter().all(IpAddr::is_loopback));
    // RFC 6761 6.4: there is never such a name. A host without a resolver cannot know.
    let error = resolver.resolve("nothing.invalid", &Share::default()).await.unwrap_err();
    assert!(matches!(error, ResolveError::NoSuchName | ResolveError::Failed | ResolveError::TimedOut), "{error:?}");
}

/// A pipe in place of `/etc/hosts`: whoever reads it waits until somebody writes.
fn pipe_for_hosts(directory: &tempfile::TempDir) -> std::path::PathBuf {
    let path = directory.path().join("hosts");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    path
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_the_answer_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = pipe_for_hosts(&directory);
    let resolver = Arc::new(Resolver::with_hosts(path.clone()));
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let resolver = resolver.clone();
            tokio::spawn(async move { resolver.resolve("nothing.invalid", &Share::default()).await })
        })
        .collect();
    // The first one is dropped while it waits; what it began goes on.
    tokio::task::yield_now().await;
    asked[0].abort();
    // Every reader takes one writer: if two had asked, the second would have found the pipe empty.
    std::thread::spawn(move || std::fs::write(path, "192.0.2.9 nothing.invalid\n").unwrap());
    let mut answered = 0;
    for asked in asked {
        match asked.await {
            Ok(outcome) => {
                assert_eq!(outcome.unwrap()[..], [address("192.0.2.9")]);
                answered += 1;
            }
            Err(error) => assert!(error.is_cancelled()),
        }
    }
    assert!(answered >= 19, "{answered}");
    assert_eq!(resolver.resolve("nothing.invalid", &Share::default()).await.unwrap()[..], [address("192.0.2.9")]);
}

#[tokio::test]
async fn a_resolver_that_does_not_answer_is_waited_for_five_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let path = pipe_for_hosts(&directory);
    let resolver = Resolver::with_hosts(path.clone());
    let start = Instant::now();
    assert_eq!(resolver.resolve("slow.example", &Share::default()).await, Err(ResolveError::TimedOut));
    let passed = start.elapsed();
    assert!((Duration::from_millis(4900)..Duration::from_secs(9)).contains(&passed), "{passed:?}");
    // Kept for five seconds, so that a client that asks again at once does not take another thread.
    let start = Instant::now();
    assert_eq!(resolver.resolve("slow.example", &Share::default()).await, Err(ResolveError::TimedOut));
    assert!(start.elapsed() < Duration::from_secs(1));
    // Lets go of the thread that waits for a writer.
    std::fs::write(path, "").unwrap();
}

/// One sandbox asks for a hundred names whose servers never answer, and for the one that another sandbox wants.
#[tokio::test]
async fn who_asks_for_what_nobody_answers_waits_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = pipe_for_hosts(&directory);
    let pipe = directory.path().join("pipe");
    std::fs::hard_link(&path, &pipe).unwrap();
    let resolver = Arc::new(Resolver::with_hosts(path.clone()));
    let (hostile, other) = (Share::default(), Share::default());
    let ask = |name: String, share: &Share| {
        let (resolver, share) = (resolver.clone(), share.clone());
        tokio::spawn(async move { resolver.resolve(&name, &share).await })
    };
    let names = (0..100).map(|n| format!("slow{n}.example")).chain(["wanted.example".into()]);
    let begun: Vec<_> = names.map(|name| ask(name, &hostile)).collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(begun.iter().all(|asked| !asked.is_finished()));
    // From here on a lookup is answered at once, but those that were begun wait on.
    std::fs::write(directory.path().join("answers"), "192.0.2.9 wanted.example\n192.0.2.8 late.example\n").unwrap();
    std::fs::rename(directory.path().join("answers"), &path).unwrap();
    let start = Instant::now();
    assert_eq!(ask("wanted.example".into(), &other).await.unwrap().unwrap()[..], [address("192.0.2.9")]);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // With the share of who asked too much, the same kind of question waits in vain.
    assert_eq!(ask("late.example".into(), &hostile).await.unwrap(), Err(ResolveError::TimedOut));
    std::fs::write(pipe, "").unwrap();
    for asked in begun {
        asked.abort();
    }
}
