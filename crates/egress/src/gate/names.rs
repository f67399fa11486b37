//! Questions about names.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ringfence_model::net::{DenialReason, HostName, Protocol};

use super::Gate;
use super::limits::lock;
use super::record::{About, rule_name};
use super::room::Room;
use crate::dns::answer::{self, Decision, Judge};
use crate::dns::message::{Answer, Query, QueryError, Transport};

/// Names of addresses, which programs ask for without being told to, and the machine's own: there are none in a sandbox.
const UNTOLD: [&str; 3] = [".in-addr.arpa", ".ip6.arpa", ".localhost"];

impl Gate {
    /// Answers one question of a sandbox. Whether it is allowed is on disk before anybody is asked, and a refusal is told
    /// before it is answered.
    pub(super) async fn answer(self: &Arc<Self>, room: &Arc<Room>, bytes: &[u8], by: Transport) -> Option<Vec<u8>> {
        let query = match Query::parse(bytes) {
            Ok(query) => query,
            Err(QueryError::Reply { reply, .. }) => return Some(reply),
            Err(QueryError::NotAQuery) => return None,
        };
        if query.name == "localhost" || UNTOLD.iter().any(|end| query.name.ends_with(end)) {
            return Some(query.answer(&Answer::NoSuchName, by));
        }
        let host = HostName::from_wire(query.name.as_bytes()).ok();
        let about = About { protocol: Protocol::Dns, host: host.as_ref(), to: None, request: None };
        let Some(name) = &host else {
            self.deny(room, &about, DenialReason::BadHost).await;
            return Some(query.answer(&Answer::Refused, by));
        };
        let force = room.force();
        // Nobody outside is asked, and who is told that there is none goes on with the host's own name.
        if service_host(name).is_some_and(|host| force.rulebook.name(&host).is_ok()) {
            return Some(query.answer(&Answer::NoSuchName, by));
        }
        let rule = match force.rulebook.name(name) {
            Ok(rule) => rule_name(&force.rulebook, rule),
            Err(reason) => {
                self.deny(room, &about, reason).await;
                return Some(query.answer(&Answer::Refused, by));
            }
        };
        let passage = match self.allow(room, &about, rule, &[]).await {
            Ok(passage) => passage,
            Err(error) => {
                tracing::error!(sandbox = %room.id, %error, "a question could not be recorded, and is not answered");
                return Some(query.answer(&Answer::ServerFailure, by));
            }
        };
        let judge = Judged { gate: self, name, refused: Mutex::default(), any: AtomicBool::new(false) };
        let reply = answer::answer(bytes, by, &judge, (&self.resolver, &room.lookups), &room.given).await;
        let (refused, any) = (*lock(&judge.refused), judge.any.load(Ordering::Relaxed));
        if let (Some(address), false) = (refused, any) {
            let to = Some((address, 53).into());
            self.deny(room, &About { to, ..about }, DenialReason::AddressRefused).await;
        }
        passage.sent(bytes.len());
        passage.received(reply.as_ref().map_or(0, Vec::len));
        reply
    }
}

/// The host of which a name is a service's (RFC 2782), as in `_http._tcp.deb.debian.org`.
fn service_host(name: &HostName) -> Option<HostName> {
    let (service, rest) = name.as_str().split_once('.')?;
    let (protocol, host) = rest.split_once('.')?;
    let both = service.starts_with('_') && protocol.starts_with('_');
    if both { HostName::parse(host).ok() } else { None }
}

/// One name that was allowed already; which of its addresses may be given is judged as they come.
struct Judged<'a> {
    gate: &'a Gate,
    name: &'a HostName,
    /// One that may not.
    refused: Mutex<Option<IpAddr>>,
    /// Whether one may.
    any: AtomicBool,
}

impl Judge for Judged<'_> {
    fn name(&self, _: &str) -> Decision {
        Decision::Resolve(self.name.to_string())
    }

    fn address(&self, _: &str, address: IpAddr) -> bool {
        let reachable = self.gate.is_reachable(Some(self.name), address);
        match reachable {
            true => self.any.store(true, Ordering::Relaxed),
            false => *lock(&self.refused) = Some(address),
        }
        reachable
    }
}
