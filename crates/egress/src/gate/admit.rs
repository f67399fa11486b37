//! Whether a connection may be made, decided from its destination and its first bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ringfence_model::net::{DenialReason, HostName, Protocol, TlsMode, Verdict};
use tokio::sync::watch;

use super::Gate;
use super::limits::lock;
use super::record::{About, Passage, rule_name};
use super::room::{Force, Room};
use crate::tls::alert::Alert;
use crate::tls::hello::ClientHello;
use crate::tls::sniff::Kind;

/// What becomes of a connection.
pub(super) enum Admitted {
    /// It was refused, and that was told.
    Refused(Manner),
    /// Its bytes go through.
    Pass(Box<Pass>),
    /// It is TLS, which ends here.
    Intercept(HostName),
    /// It is HTTP, whose requests are judged.
    Parse,
}

/// How a client is refused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manner {
    /// In the language of TLS.
    Alert(Alert),
    /// By a reset, which every language has.
    Reset,
}

/// A connection whose bytes go through.
pub(super) struct Pass {
    pub(super) to: SocketAddr,
    pub(super) protocol: Protocol,
    /// The name for which its address was given; none under the policy `open` alone.
    pub(super) host: Option<HostName>,
    pub(super) passage: Arc<Passage>,
    /// What it was admitted under is what this saw last.
    pub(super) watch: watch::Receiver<Arc<Force>>,
    /// It has said nothing yet.
    pub(super) silent: bool,
}

/// A verdict about a connection whose bytes would go through.
struct Through {
    host: Option<HostName>,
    rule: Option<usize>,
}

impl Gate {
    /// Judges a connection to `to` that speaks `kind`.
    pub(super) async fn admit(self: &Arc<Self>, room: &Arc<Room>, to: SocketAddr, kind: &Kind) -> Admitted {
        let mut watch = room.watch();
        let force = watch.borrow_and_update().clone();
        let host = server_name(kind);
        let (protocol, verdict) = match kind {
            Kind::Tls(hello) => match self.tls(room, to, &force, hello, host.as_ref()) {
                Ok(Tls::Intercept(host)) => return Admitted::Intercept(host),
                Ok(Tls::Through(through)) => (Protocol::Tls, Ok(through)),
                Err(reason) => (Protocol::Tls, Err(reason)),
            },
            Kind::BadTls(_) => (Protocol::Tls, Err(DenialReason::Malformed)),
            Kind::Http1 => return Admitted::Parse,
            // Nothing that a sandbox is for speaks it without TLS, and an upgrade is the way there that is seen.
            Kind::Http2 => (Protocol::Http, Err(DenialReason::NotInspectable)),
            // What may yet become TLS or HTTP is not let through as something else.
            Kind::Unfinished => (Protocol::Tcp, Err(DenialReason::Malformed)),
            Kind::Closed => return Admitted::Refused(Manner::Reset),
            Kind::Other | Kind::Silent => (Protocol::Tcp, self.raw(room, to, &force)),
        };
        let about = About { protocol, host: host.as_ref(), to: Some(to), request: None };
        let through = match verdict {
            Ok(through) => through,
            Err(reason) => {
                self.deny(room, &about, reason).await;
                return Admitted::Refused(manner(kind, reason));
            }
        };
        let about = About { host: through.host.as_ref(), ..about };
        match self.allow(room, &about, rule_name(&force.rulebook, through.rule), &[]).await {
            Ok(passage) => {
                let silent = matches!(kind, Kind::Silent);
                Admitted::Pass(Box::new(Pass { to, protocol, host: through.host, passage, watch, silent }))
            }
            Err(error) => {
                tracing::error!(sandbox = %room.id, %error, "a connection could not be recorded, and is not made");
                Admitted::Refused(match kind {
                    Kind::Tls(_) => Manner::Alert(Alert::InternalError),
                    _ => Manner::Reset,
                })
            }
        }
    }

    fn tls(
        &self,
        room: &Room,
        to: SocketAddr,
        force: &Force,
        hello: &ClientHello,
        host: Option<&HostName>,
    ) -> Result<Tls, DenialReason> {
        if !hello.is_modern() {
            return Err(DenialReason::Malformed);
        }
        if host.is_none() && hello.server_name.is_some() {
            return Err(DenialReason::BadHost);
        }
        match (force.rulebook.connect(host, to.port()), host) {
            (Verdict::Refuse(_), None) => Err(DenialReason::NoServerName),
            (Verdict::Refuse(reason), Some(_)) => Err(reason),
            (Verdict::Inspect { .. }, Some(host)) => {
                self.check_given(room, host, to)?;
                Ok(Tls::Intercept(host.clone()))
            }
            (Verdict::Inspect { .. }, None) => Err(DenialReason::NoServerName),
            // Nothing is said to a venue that is not seen, whatever a policy says.
            (Verdict::Pass { .. }, Some(host)) if self.leads.venue(host).is_some() => {
                self.check_given(room, host, to)?;
                Ok(Tls::Intercept(host.clone()))
            }
            (Verdict::Pass { rule }, host) => {
                // The name in sight may not be the one that is meant, or the encrypted hello may be the noise that browsers and
                // their imitations send. Where TLS ends here it is the same: whatever is asked for, the host is the one in sight.
                if hello.ech {
                    let rule = rule.and_then(|rule| force.rulebook.rule(rule));
                    let host = host.filter(|_| rule.is_none_or(|rule| rule.tls != TlsMode::Pass));
                    let host = host.ok_or(DenialReason::NoServerName)?;
                    self.check_given(room, host, to)?;
                    return Ok(Tls::Intercept(host.clone()));
                }
                match host {
                    Some(host) if rule.is_some() => self.check_given(room, host, to)?,
                    _ => self.check_address(host, to)?,
                }
                Ok(Tls::Through(Through { host: host.cloned(), rule }))
            }
        }
    }

    /// What is no TLS and no HTTP: its name is one that the address was given for.
    fn raw(&self, room: &Room, to: SocketAddr, force: &Force) -> Result<Through, DenialReason> {
        let names = lock(&room.given).names(to.ip(), Instant::now());
        let names = names.iter().filter_map(|name| HostName::parse(name).ok());
        let mut nearest = None;
        for name in names {
            match force.rulebook.connect(Some(&name), to.port()) {
                Verdict::Pass { .. } if self.leads.venue(&name).is_some() => {
                    nearest = Some(DenialReason::NotInspectable);
                }
                Verdict::Pass { rule } => {
                    self.check_given(room, &name, to)?;
                    return Ok(Through { host: Some(name), rule });
                }
                Verdict::Inspect { .. } => nearest = Some(DenialReason::NotInspectable),
                Verdict::Refuse(reason) => nearest = nearest.or(Some(reason)),
            }
        }
        match (nearest, force.rulebook.connect(None, to.port())) {
            (Some(reason), _) | (None, Verdict::Refuse(reason)) => Err(reason),
            (None, Verdict::Inspect { .. }) => Err(DenialReason::NotInspectable),
            (None, Verdict::Pass { rule }) => {
                self.check_address(None, to)?;
                Ok(Through { host: None, rule })
            }
        }
    }

    /// Whether the gate gave this address for this very name, and may connect to it.
    pub(super) fn check_given(&self, room: &Room, host: &HostName, to: SocketAddr) -> Result<(), DenialReason> {
        let mut given = lock(&room.given);
        let now = Instant::now();
        if !given.take(to.ip(), host.as_str(), now) {
            let other = !given.names(to.ip(), now).is_empty();
            return Err(if other { DenialReason::HostMismatch } else { DenialReason::AddressNotGiven });
        }
        drop(given);
        self.check_address(Some(host), to)
    }

    pub(super) fn check_address(&self, host: Option<&HostName>, to: SocketAddr) -> Result<(), DenialReason> {
        if self.is_reachable(host, to.ip()) { Ok(()) } else { Err(DenialReason::AddressRefused) }
    }
}

enum Tls {
    Intercept(HostName),
    Through(Through),
}

fn server_name(kind: &Kind) -> Option<HostName> {
    let Kind::Tls(hello) = kind else { return None };
    hello.server_name.as_ref().and_then(|name| HostName::from_wire(name.as_bytes()).ok())
}

fn manner(kind: &Kind, reason: DenialReason) -> Manner {
    match kind {
        Kind::Tls(hello) if !hello.is_modern() => Manner::Alert(Alert::ProtocolVersion),
        Kind::Tls(_) if matches!(reason, DenialReason::NoServerName | DenialReason::BadHost) => {
            Manner::Alert(Alert::UnrecognizedName)
        }
        Kind::Tls(_) => Manner::Alert(Alert::AccessDenied),
        Kind::BadTls(_) => Manner::Alert(Alert::DecodeError),
        _ => Manner::Reset,
    }
}
