//! Questions about names.

use ringfence_store::Verification;

use crate::world::{LOOPBACK, World};

#[tokio::test]
async fn a_name_is_resolved_when_a_rule_allows_it_and_refused_otherwise() {
    let mut world = World::new(&[], &[("api.test", LOOPBACK), ("other.test", LOOPBACK)]).await;
    assert_eq!(world.resolve("api.test").await, (5, vec![]));
    assert_eq!(world.denied(), ("api.test".to_owned(), "network_none".to_owned()));
    world.allow("api.test", 443).await;
    assert_eq!(world.resolve("API.test").await, (0, vec![LOOPBACK]));
    assert_eq!(world.resolve("other.test").await, (5, vec![]));
    let denials = world.denials();
    assert_eq!(denials[0].reason.code(), "host_not_allowed");
    assert!(denials[0].allow.contains("--allow other.test:443"), "{}", denials[0].allow);
    let decisions = world.decisions().await;
    let verdicts: Vec<_> = decisions.iter().map(|decision| (&*decision.destination, &*decision.verdict)).collect();
    assert_eq!(verdicts, [("api.test:53", "refuse"), ("api.test:53", "allow"), ("other.test:53", "refuse")]);
    assert!(matches!(world.gateway.store().verify(1, None).await.unwrap(), Verification::Sound(_)));
}

#[tokio::test]
async fn an_address_of_the_host_itself_is_not_given_unless_it_was_pinned() {
    let mut world = World::new(&[], &[]).await;
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let own = own.trim();
    world.allow(own, 443).await;
    let (code, addresses) = world.resolve(own).await;
    assert!(code != 0 && addresses.is_empty(), "{code} {addresses:?}");
    if code == 5 {
        assert_eq!(world.denied().1, "address_refused");
    }
    assert_eq!(world.resolve("localhost").await, (3, vec![]));
    assert!(world.denials().is_empty(), "that there is no localhost is not worth telling");
}

#[tokio::test]
async fn a_service_of_a_host_that_is_allowed_is_none_and_no_refusal() {
    let mut world = World::new(&[], &[("api.test", LOOPBACK)]).await;
    assert_eq!(world.resolve("_http._tcp.api.test").await, (5, vec![]), "its host is not allowed");
    assert_eq!(world.denied(), ("_http._tcp.api.test".to_owned(), "network_none".to_owned()));
    world.allow("api.test", 443).await;
    // As apt does it, which then asks for the host itself.
    assert_eq!(world.resolve("_http._tcp.api.test").await, (3, vec![]));
    assert!(world.denials().is_empty() && world.decisions().await.len() == 1, "nothing left, and nothing was refused");
    for other in ["_http.api.test", "_http._tcp.other.test", "http.tcp.api.test", "_a._b._c.api.test"] {
        assert_eq!(world.resolve(other).await, (5, vec![]), "{other}");
    }
}

#[tokio::test]
async fn equal_refusals_are_told_a_hundred_times_and_then_counted() {
    let mut world = World::new(&[], &[]).await;
    for _ in 0..130 {
        assert_eq!(world.resolve("api.test").await.0, 5);
    }
    assert_eq!(world.denials().len(), 100);
    assert_eq!(world.decisions().await.len(), 100);
    let status = ringfence_model::net::control::GateOp::Status { sandbox: world.sandbox.clone() };
    match world.gateway.call(status).await.unwrap() {
        ringfence_model::net::control::GateAnswer::Status { totals, .. } => assert_eq!(totals.refused, 130),
        other => panic!("{other:?}"),
    }
}
