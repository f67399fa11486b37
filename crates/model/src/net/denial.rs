//! What the gate says of that which it refused.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{HostName, classify, visible};
use crate::SandboxId;

/// Characters of a method or a path that a denial repeats.
const REPEATED_CHARS_MAX: usize = 256;

/// What was spoken when something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A question for a name.
    Dns,
    /// A connection, before anything was said.
    Tcp,
    /// A datagram.
    Udp,
    /// A TLS handshake.
    Tls,
    /// A request, in TLS or in the clear.
    Http,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $sentence:literal;)*) => {
        /// Why something was refused: a stable code, and a sentence for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ToSchema, thiserror::Error)]
        pub enum DenialReason {
            $($(#[$doc])* #[serde(rename = $code)] #[error($sentence)] $name,)*
        }

        impl DenialReason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as it is sent and audited.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What is wrong, in a sentence.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    /// The policy is `none`, and no secret opens anything.
    NetworkNone = "network_none", "the sandbox's network policy is `none`";
    /// No rule is about the name.
    HostNotAllowed = "host_not_allowed", "no rule of the sandbox's network policy allows this host";
    /// Rules are about the name, but with other ports.
    PortNotAllowed = "port_not_allowed", "the host is allowed, but not on this port";
    /// Rules are about host and port, but with other methods.
    MethodNotAllowed = "method_not_allowed", "the host is allowed, but not with this method";
    /// Rules are about host and port, but with other paths.
    PathNotAllowed = "path_not_allowed", "the host is allowed, but not on this path";
    /// A rule has paths, and this one could be read in two ways.
    PathAmbiguous = "path_ambiguous", "servers could read the path in more than one way, so no rule with paths allows it";
    /// The name is none, or the spelling of an address.
    BadHost = "bad_host", "this is not a host name in a form that the gate accepts";
    /// A connection to an address that the gate did not give for an allowed name.
    AddressNotGiven = "address_not_given",
        "the address was not given by the gate for an allowed name; connect by name, and resolve it in the sandbox";
    /// See [`super::is_reachable`].
    AddressRefused = "address_refused", "the address is not one of the public Internet";
    /// SNI, `Host` or `:authority` and the name that was resolved are not the same.
    HostMismatch = "host_mismatch", "the host that the request names is not the one that the connection was made to";
    /// A TLS handshake without a server name, or with an encrypted one only.
    NoServerName = "no_server_name", "the TLS handshake does not say which host it is for";
    /// The rule needs the inside, and this is neither TLS nor HTTP.
    NotInspectable = "not_inspectable", "the rule for this host needs HTTP, and something else was spoken";
    /// A message that is not as its protocol wants it, or that others could read in another way.
    Malformed = "malformed", "the message is malformed, or could be read in more than one way";
    /// Only DNS leaves a sandbox by UDP.
    UdpRefused = "udp_refused", "UDP does not leave the sandbox; use TCP";
    /// A placeholder where its secret may not be.
    PlaceholderMisplaced = "placeholder_misplaced",
        "the request carries the placeholder of a secret where that secret is not allowed";
    /// A signature that no rule of the secret lets the gate make.
    SigningNotAllowed = "signing_not_allowed", "no rule of the secret lets the gate sign this request";
    /// A control of trading.
    TradeRefused = "trade_refused", "a pre-trade control refused the request";
    /// The other side's certificate does not verify.
    UpstreamUntrusted = "upstream_untrusted", "the certificate of the host does not verify";
    /// A bound on connections, sizes or rates.
    LimitExceeded = "limit_exceeded", "the sandbox has reached a limit of the gate";
    /// The policy was changed while the connection was open.
    PolicyChanged = "policy_changed", "the network policy was changed, and no longer allows this connection";
}

impl DenialReason {
    /// Whether the operator could allow by host and port what was refused for this reason.
    #[must_use]
    pub fn is_of_policy(self) -> bool {
        matches!(
            self,
            Self::NetworkNone
                | Self::HostNotAllowed
                | Self::PortNotAllowed
                | Self::MethodNotAllowed
                | Self::PathNotAllowed
                | Self::PathAmbiguous
                | Self::PolicyChanged
        )
    }
}

/// Something that the gate refused. It holds no secret: queries of requests are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GateDenial")]
#[schema(as = GateDenial)]
pub struct Denial {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What was spoken.
    pub protocol: Protocol,
    /// The host that it was for, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>)]
    pub host: Option<HostName>,
    /// The address that it was for, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// The port that it was for; none for questions about names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The method of a request, cut to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path of a request without its query, cut to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why, as a stable code.
    pub reason: DenialReason,
    /// Why, in a sentence.
    pub message: String,
    /// The command by which the operator would allow it; empty when none would.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub allow: String,
}

impl Denial {
    /// A denial at a time, for a reason. What else is known of it is added by the methods below.
    #[must_use]
    pub fn new(at_ms: u64, protocol: Protocol, reason: DenialReason) -> Self {
        let message = reason.sentence().to_owned();
        Self {
            at_ms,
            protocol,
            host: None,
            address: None,
            port: None,
            method: None,
            path: None,
            reason,
            message,
            allow: String::new(),
        }
    }

    /// Adds the host, and the command by which `sandbox` would be allowed to reach it.
    #[must_use]
    pub fn with_host(mut self, sandbox: &SandboxId, host: &HostName, port: Option<u16>) -> Self {
        if self.reason.is_of_policy() {
            self.allow = allow_command(sandbox, host, port);
        }
        self.host = Some(host.clone());
        self.port = port;
        self
    }

    /// Adds the address that a connection was for.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr, port: u16) -> Self {
        if self.reason == DenialReason::AddressRefused {
            self.message = format!("{}: {}", self.reason.sentence(), classify(address));
        }
        self.address = Some(address);
        self.port = Some(port);
        self
    }

    /// Adds what of a request may be repeated.
    #[must_use]
    pub fn with_request(mut self, method: &str, target: &str) -> Self {
        self.method = Some(repeated(method));
        self.path = Some(repeated(target.split(['?', '#']).next().unwrap_or_default()));
        self
    }

    /// Host or address, with the port where there is one, as people write it.
    #[must_use]
    pub fn destination(&self) -> String {
        let host = match (&self.host, self.address) {
            (Some(host), _) => host.to_string(),
            (None, Some(IpAddr::V6(address))) if self.port.is_some() => format!("[{address}]"),
            (None, Some(address)) => address.to_string(),
            (None, None) => "(unknown)".to_owned(),
        };
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host,
        }
    }
}

fn repeated(text: &str) -> String {
    text.chars().flat_map(visible).take(REPEATED_CHARS_MAX).collect()
}

/// The command by which the operator lets a sandbox reach a host. The port is 443 where none is known yet.
///
/// It can be pasted into a shell whatever was refused: ids and names have no character that a shell reads, and a name does
/// not begin with a dash.
#[must_use]
pub fn allow_command(sandbox: &SandboxId, host: &HostName, port: Option<u16>) -> String {
    format!("ringfence sandbox configure {sandbox} --allow {host}:{}", port.unwrap_or(443))
}
