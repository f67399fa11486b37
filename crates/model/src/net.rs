//! The pure rules of the gate: which names may be resolved, which connections and requests a policy lets out, and what a
//! refusal says.
//!
//! Everything that a sandbox, a client or the network wrote becomes a value of these types first ([`HostName`],
//! [`CanonicalPath`]), and only such values are judged: there is one spelling of a name and of a path, and a text that has
//! two readings is refused rather than read.
//!
//! [`Policy`] is what somebody asked for. [`Policy::rulebook`] makes of it, of the operator's registries and of the bindings
//! of secrets, the [`Rulebook`] that gives verdicts. No verdict is about an address: the gate asks [`is_reachable`] for each
//! one that it is about to connect to.

mod address;
pub mod control;
mod denial;
mod host;
mod key_name;
mod path;
mod pattern;
mod policy;
mod rule;
mod rulebook;

pub use address::{AddressClass, Refused, classify, is_reachable};
pub use denial::{Denial, DenialReason, Protocol, allow_command};
pub use host::{BadHost, Destination, HOST_BYTES_MAX, HostFault, HostName, LABEL_BYTES_MAX};
pub use key_name::is_key_name;
pub use path::{BadPathPattern, CanonicalPath, PATH_BYTES_MAX, PATTERN_BYTES_MAX, PathFault, PathPattern};
pub use pattern::{BadHostPattern, HostPattern, PatternFault};
pub use policy::{BadPolicy, PATHS_TOTAL_MAX, Policy, RULES_MAX, public_registries};
pub use rule::{
    BadMethod, BadPort, BadRule, METHODS_MAX, Method, PATHS_MAX, PORTS_DEFAULT, PORTS_MAX, PortRange, Rule,
    SECRETS_MAX, TlsMode,
};
pub use rulebook::{Allowed, BINDINGS_MAX, Rulebook, Verdict};

/// The first characters of a refused text, fit for an error's sentence.
fn excerpt(text: &str) -> String {
    text.chars().take(80).flat_map(visible).collect()
}

/// A character as it may be shown on a terminal: control characters and those that cannot be seen are escaped.
fn visible(c: char) -> impl Iterator<Item = char> {
    let (plain, escaped) =
        if matches!(c, '\'' | '"' | '\\') { (Some(c), None) } else { (None, Some(c.escape_debug())) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

#[cfg(test)]
mod tests;
