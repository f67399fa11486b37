//! Where a secret may go.

use hyper::http::HeaderName;
use ringfence_model::api::{Exchange, NonceUnit};
use ringfence_model::net::{CanonicalPath, Method, PathPattern};

use crate::sign;

/// Which half of `user:password` (RFC 7617).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BasicPart {
    /// What stands before the first colon.
    User,
    /// What stands after it.
    Password,
}

/// A place within a request where a placeholder is replaced. It must be all that stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// The value of this header.
    Header(HeaderName),
    /// The token of `Authorization: Bearer`.
    Bearer,
    /// One half of `Authorization: Basic`.
    Basic(BasicPart),
    /// The value of this field of the query, as its name is after decoding.
    Query(String),
    /// A string of the first message that a client sends over a websocket, in JSON or MessagePack, which is the value of
    /// one of these fields of an object, at whatever depth. With no field named, any string that is a value will do.
    FirstFrame {
        /// Names of fields.
        fields: Vec<String>,
    },
    /// The `kid` of a JSON Web Token that the gate makes anew ([`Signing`]).
    Jwt,
    /// `Authorization: Basic` of a request that reads and has no `Authorization`: the value is `user:password`, and the gate puts it
    /// there unasked. For the operator's own registries.
    Login,
}

/// The hosts that a secret may go to, and the places within a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Exact names in canonical form: lower case, ASCII, no trailing dot. There are no wildcards: a wildcard is as good as
    /// the worst of the hosts below it.
    pub hosts: Vec<String>,
    /// Ports.
    pub ports: Vec<u16>,
    /// Places.
    pub placements: Vec<Placement>,
    /// It is not placed, but signs.
    pub sign: Option<Signing>,
}

/// A secret that signs in place of a program. It has no placements: its placeholder is refused wherever it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// How.
    pub exchange: Exchange,
    /// The secret that is the name of the key; any that stands there when none is named.
    pub key: Option<String>,
    /// Methods that are signed; any when there are none.
    pub methods: Vec<Method>,
    /// Paths that are signed, and no others.
    pub paths: Vec<PathPattern>,
    /// What nonces count.
    pub nonce: NonceUnit,
}

impl Signing {
    /// For trading at an exchange.
    #[must_use]
    pub fn of(exchange: Exchange) -> Self {
        let path = |text: &&str| PathPattern::parse(text).expect("the paths of exchanges are patterns");
        let paths = sign::paths(exchange).iter().map(path).collect();
        Self { exchange, key: None, methods: vec![], paths, nonce: NonceUnit::default() }
    }

    /// Whether a request is signed. A path by which money leaves is signed only where it is named without `*`.
    #[must_use]
    pub fn covers(&self, method: &str, target: &str) -> bool {
        let Ok(path) = CanonicalPath::parse(target) else { return false };
        let guarded = sign::is_guarded(path.as_str());
        let names = |pattern: &&PathPattern| pattern.matches(&path) && !(guarded && pattern.as_str().contains('*'));
        (self.methods.is_empty() || self.methods.iter().any(|allowed| allowed.as_str() == method))
            && self.paths.iter().any(|pattern| names(&pattern))
    }
}

impl Binding {
    /// Whether a secret may go to `host` at `port` at all.
    #[must_use]
    pub fn covers(&self, host: &str, port: u16) -> bool {
        self.ports.contains(&port) && self.hosts.iter().any(|bound| bound == host)
    }

    /// Whether a message of a websocket may carry it as the value of `field` (`None`: of no field).
    pub(super) fn in_frame(&self, field: Option<&str>) -> bool {
        self.placements.iter().any(|placement| match placement {
            Placement::FirstFrame { fields } => {
                fields.is_empty() || field.is_some_and(|field| fields.iter().any(|bound| bound == field))
            }
            _ => false,
        })
    }
}
