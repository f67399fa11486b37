//! A sandbox's question from its bytes to the bytes of its answer.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::given::Given;
use super::message::{Answer, Query, QueryError, Transport, Wanted};
use super::resolve::{ResolveError, Resolver, Share};

/// What a policy says about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may be resolved, under this canonical form.
    Resolve(String),
    /// It may not.
    Refuse,
    /// It does not exist for a sandbox, whoever asks: no refusal of a policy, and nothing to tell about.
    NoSuchName,
}

/// Whether a name may be asked for, and which of its addresses may be given.
pub trait Judge {
    /// Judges a name as it was asked: lower case, without a dot at its end, of letters, digits, hyphens, underscores and dots.
    fn name(&self, name: &str) -> Decision;

    /// Whether `address` may be given for `name`, in its canonical form.
    fn address(&self, name: &str, address: IpAddr) -> bool;
}

/// Answers one query, with a resolver and what the asking sandbox has of it. What is given is remembered in `given` before it is said. Nothing if there is nobody to answer.
pub async fn answer<J: Judge>(
    bytes: &[u8],
    transport: Transport,
    judge: &J,
    resolver: (&Resolver, &Share),
    given: &Mutex<Given>,
) -> Option<Vec<u8>> {
    let query = match Query::parse(bytes) {
        Ok(query) => query,
        Err(QueryError::Reply { reply, .. }) => return Some(reply),
        Err(QueryError::NotAQuery) => return None,
    };
    let found = find(&query, judge, resolver).await;
    let answer = match found {
        Found::No(answer) => answer,
        Found::Addresses(name, addresses) => {
            let wanted = addresses.iter().copied().filter(|address| query.wanted.takes(*address));
            given.lock().unwrap_or_else(PoisonError::into_inner).give(&name, wanted, Instant::now());
            Answer::Addresses(addresses)
        }
    };
    Some(query.answer(&answer, transport))
}

enum Found {
    No(Answer),
    Addresses(String, Vec<IpAddr>),
}

async fn find<J: Judge>(query: &Query, judge: &J, (resolver, share): (&Resolver, &Share)) -> Found {
    let name = match judge.name(&query.name) {
        Decision::Resolve(name) => name,
        Decision::Refuse => return Found::No(Answer::Refused),
        Decision::NoSuchName => return Found::No(Answer::NoSuchName),
    };
    if let Wanted::Other(_) = query.wanted {
        // Not even asked: HTTPS records would bring the keys of encrypted hellos, TXT records carry whatever.
        return Found::No(Answer::Empty);
    }
    let all = match resolver.resolve(&name, share).await {
        Ok(all) => all,
        Err(ResolveError::NoSuchName) => return Found::No(Answer::NoSuchName),
        Err(ResolveError::Failed | ResolveError::TimedOut) => return Found::No(Answer::ServerFailure),
    };
    let allowed: Vec<_> = all.iter().copied().filter(|address| judge.address(&name, *address)).collect();
    if allowed.is_empty() {
        return Found::No(Answer::Refused);
    }
    Found::Addresses(name, allowed)
}
