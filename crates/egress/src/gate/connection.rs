//! One connection of a sandbox, phase after phase.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ringfence_model::net::{DenialReason, Protocol};
use tokio::net::TcpStream;

use super::admit::{Admitted, Manner};
use super::limits::lock;
use super::record::About;
use super::room::Room;
use super::shell::{Shell, reset};
use super::{Gate, descriptors, pass, request};
use crate::dns::message::Transport;
use crate::dns::serve;
use crate::tls::prefixed::Prefixed;
use crate::tls::{alert, sniff};

/// Where a connection is led.
enum Route {
    /// Its questions are answered here, whoever it was for.
    Names,
    /// Nowhere: nothing is behind such an address.
    Nowhere,
    /// Out, if it is admitted.
    Out(SocketAddr),
}

/// From the first byte to the last.
pub(super) async fn run(gate: &Arc<Gate>, shell: &Shell, room: &Arc<Room>, stream: TcpStream, original: SocketAddr) {
    // route: where did it want to go?
    let to = match route(gate, room, original) {
        Route::Out(to) => to,
        Route::Nowhere => {
            gate.deny(room, &About::connection(original), DenialReason::AddressRefused).await;
            return reset(&stream);
        }
        Route::Names => return names(gate, shell, room, stream).await,
    };
    // classify: what does it speak?
    let Ok(sniff::Sniffed { kind, stream }) = sniff::sniff_within(stream, sniff::time_at(to.port())).await else {
        return;
    };
    // admit: may it? The answer is on disk. What is parsed is admitted request by request.
    match gate.admit(room, to, &kind).await {
        Admitted::Refused(manner) => refuse(stream, manner).await,
        // forward, settle, record: bytes as they come. Nothing is injected into what is not seen.
        Admitted::Pass(pass) => pass::run(gate, room, *pass, stream).await,
        // inject, forward, settle, record: for each request.
        Admitted::Intercept(host) => request::intercepted(gate, room, to, host, stream).await,
        Admitted::Parse => request::plain(gate, room, to, stream).await,
    }
}

/// A connection beyond the limits of its sandbox; one that is closed already was beyond the descriptors of the gateway.
pub(super) async fn too_many(gate: &Gate, room: &Room, stream: Option<TcpStream>, original: SocketAddr) {
    let message = stream.is_none().then(|| descriptors::SCARCE.to_owned());
    gate.deny_because(room, &About::connection(original), DenialReason::LimitExceeded, message).await;
    if let Some(stream) = stream {
        reset(&stream);
    }
}

fn route(gate: &Gate, room: &Room, original: SocketAddr) -> Route {
    let to = SocketAddr::new(original.ip().to_canonical(), original.port());
    // Unless it was given for a name that the operator pinned to it, as a test does.
    let is_pinned = || {
        let names = lock(&room.given).names(to.ip(), Instant::now());
        names.iter().any(|name| gate.resolver.is_pinned(name, to.ip()))
    };
    match to {
        // The sandbox's own servers are reached without the gate: what comes here for loopback came some other way.
        _ if (to.ip().is_loopback() || to.ip().is_unspecified()) && !is_pinned() => Route::Nowhere,
        _ if to.port() == 53 => Route::Names,
        _ => Route::Out(to),
    }
}

async fn names(gate: &Arc<Gate>, shell: &Shell, room: &Arc<Room>, stream: TcpStream) {
    let answer = |bytes: Vec<u8>| async move { gate.answer(room, &bytes, Transport::Tcp).await };
    if let Err(error) = serve::serve_stream(stream, &shell.throttle, answer).await {
        tracing::debug!(sandbox = %room.id, %error, "a connection for questions about names ended");
    }
}

/// Refuses what has been denied already, in the way that its client understands.
pub(super) async fn refuse(stream: Prefixed<TcpStream>, manner: Manner) {
    match manner {
        Manner::Reset => reset(stream.get_ref()),
        Manner::Alert(alert) => {
            // The hello was taken from the socket; what is thrown away while waiting for the end is what came after it.
            let (_, stream) = stream.into_parts();
            if let Err(error) = alert::refuse(stream, alert).await {
                tracing::debug!(%error, "an alert was not delivered");
            }
        }
    }
}

impl About<'_> {
    /// A connection of which nothing but its destination is known.
    pub(super) fn connection(to: SocketAddr) -> Self {
        Self { protocol: Protocol::Tcp, host: None, to: Some(to), request: None }
    }
}
