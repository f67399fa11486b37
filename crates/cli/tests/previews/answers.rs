//! What a hostile program answers.

use std::time::Instant;

use crate::{
    common,
    scene::{PATIENCE, Place, Visitor, api_token, ask},
};

#[tokio::test]
async fn what_is_no_answer_is_none() {
    let place = Place::new().await;
    for (path, why) in [
        ("/garbage", "not HTTP/1.1"),
        ("/endless-head", "too long"),
        ("/many-fields", "too long"),
        ("/close", "closed the connection"),
        ("/switch", "nobody had asked for"),
    ] {
        let answer = place.get(path).await;
        assert_eq!(answer.status, 502, "{path}: {answer:?}");
        assert!(answer.text().contains(why), "{path}: {}", answer.text());
    }
    let short = place.get("/short").await;
    assert!(short.status == 200 && !short.whole, "what is missing is seen to be missing: {short:?}");
    // What a program says after its answer is nobody's: the next request has a connection of its own.
    assert_eq!(place.get("/two-answers").await.text(), "one");
    let next = place.get("/next").await;
    assert!(next.text().starts_with("GET /next"), "{}", next.text());
    assert_eq!(place.get("/").await.status, 200, "control: it is the same server");
    place.sandbox.delete().await;
}

#[tokio::test]
async fn an_answer_acts_on_nothing_but_the_programs_own() {
    let place = Place::new().await;
    let by_name = place.get("/cookies").await;
    assert_eq!(by_name.fields("set-cookie"), ["own=1; Path=/", "wide=2; Path=/"]);
    let below = ask("GET", &place.path("/cookies"), &common::tcp(), &[&place.header()]).await;
    assert_eq!(below.text(), "cookies");
    for name in ["set-cookie", "clear-site-data", "service-worker-allowed"] {
        assert!(below.fields(name).is_empty(), "{name}: {}", below.head);
    }
    assert_eq!(by_name.fields("service-worker-allowed"), ["/"], "control: at its own name it may");
    // A redirect to the API leads below the path; and who follows one to the API has nothing to show there.
    let moved = ask("GET", &place.path("/redirect/v1/health"), &common::tcp(), &[&place.header()]).await;
    assert_eq!((moved.status, moved.fields("location")), (302, vec![place.path("/v1/health")]));
    let bearer = format!("Authorization: Bearer {}", place.token);
    let cookie = format!("Cookie: ringfence_preview={}", place.token);
    for field in [bearer, cookie, place.header()] {
        assert_eq!(ask("GET", "/v1/health", &common::tcp(), &[&field]).await.status, 401, "{field}");
    }
    let control = format!("Authorization: Bearer {}", api_token());
    assert_eq!(ask("GET", "/v1/health", &common::tcp(), &[&control]).await.status, 200);
    place.sandbox.delete().await;
}

/// Connections that a program keeps open take nothing from others: neither from its neighbours nor from the API.
#[tokio::test]
async fn a_program_that_never_answers_takes_its_own_places_alone() {
    const PLACES: usize = 64;
    let (place, neighbour) = (Place::new().await, Place::new().await);
    let mut held = Vec::new();
    for _ in 0..PLACES {
        held.push(Visitor::get("/silent", &place.host(), &[&place.header()]).await);
    }
    let end = Instant::now() + PATIENCE;
    while place.get("/one-more").await.status != 429 {
        assert!(Instant::now() < end, "there is no end of places");
        // One that came at the same time may have taken the last place for a moment.
        held.push(Visitor::get("/silent", &place.host(), &[&place.header()]).await);
    }
    assert_eq!(neighbour.get("/").await.status, 200);
    let bearer = format!("Authorization: Bearer {}", api_token());
    assert_eq!(ask("GET", "/v1/health", &common::tcp(), &[&bearer]).await.status, 200);
    // Whoever is not let in takes no place.
    assert_eq!(ask("GET", "/", &place.host(), &[]).await.status, 401);
    drop(held);
    while place.get("/again").await.status != 200 {
        assert!(Instant::now() < end, "a visitor who has gone keeps his place");
    }
    neighbour.sandbox.delete().await;
    place.sandbox.delete().await;
}
