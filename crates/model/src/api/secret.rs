//! The operator's secrets, as they are set and listed. No answer has a value.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Hidden, PortSpec, SecretSigning,
    check::{Checked, invalid, too_large},
    null_is_default,
};
use crate::{
    ApiError, Project,
    net::{HostName, PORTS_MAX, PortRange, control::SecretBinding},
};

/// Bytes of a secret's value.
pub const SECRET_BYTES_MAX: usize = 96 << 10;
/// Characters of a secret's name.
pub const SECRET_NAME_CHARS_MAX: usize = 64;
/// Secrets of one request.
pub const SECRETS_MAX: usize = 32;
/// Hosts that one secret may go to.
pub const SECRET_HOSTS_MAX: usize = 64;
/// Places in which one secret may stand.
pub const SECRET_PLACEMENTS_MAX: usize = 16;
/// Characters of a header's or a field's name.
const FIELD_CHARS_MAX: usize = 128;

/// What `ringfence secret set` asks. Operators only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretSetRequest {
    /// Its name: 1 to 64 letters, digits, `_`, `.` and `-`.
    pub name: String,
    /// Its value, at most 96 KiB. It is sealed for the gateway at once, and never shown again.
    pub value: Hidden,
    /// Exact names of the hosts that it may go to. Without hosts and placements it keeps those that it has, or takes those
    /// that are known for its name.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub hosts: Vec<String>,
    /// Ports; 443 when there are none.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub ports: Vec<PortSpec>,
    /// Where it may stand in a request: `header:NAME`, `bearer`, `basic:user`, `basic:password`, `query:FIELD`,
    /// `frame:FIELD` (first message of a websocket), `jwt` (as the id of the key of a token that is signed anew).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable)]
    pub placements: Vec<String>,
    /// Whether it signs instead of being placed. Its hosts are those of the exchange when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<SecretSigning>,
    /// Whether one of this name must be there already; else none may be.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schema(nullable)]
    pub rotate: bool,
    /// Whose it becomes: said by the daemon, of its caller, and never by a request.
    #[serde(skip)]
    pub project: Project,
}

impl SecretSetRequest {
    /// Where it may go; none when nothing was said about it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT or TOO_LARGE for what is out of bounds.
    pub fn checked(&self) -> Result<Option<SecretBinding>, ApiError> {
        check_secret_name(&self.name)?;
        let bytes = self.value.expose().len();
        if bytes == 0 {
            return Err(invalid("`value` is empty"));
        }
        if bytes > SECRET_BYTES_MAX {
            return Err(too_large("`value`", bytes, SECRET_BYTES_MAX));
        }
        if let Some(sign) = &self.sign {
            sign.check()?;
            if !self.placements.is_empty() {
                return Err(invalid("`placements` and `sign` exclude each other: what signs is never sent"));
            }
            if self.hosts.is_empty() && !self.ports.is_empty() {
                return Err(invalid("`ports` needs `hosts`"));
            }
        }
        match (self.hosts.is_empty() && self.sign.is_none(), self.placements.is_empty() && self.sign.is_none()) {
            (true, true) if self.ports.is_empty() => return Ok(None),
            (true, _) => return Err(invalid("`hosts` is empty: say which hosts the secret may go to")),
            (false, true) => {
                return Err(invalid(format!("`placements` is empty: say where the secret may stand, {PLACES}")));
            }
            (false, false) => {}
        }
        for (what, count, max) in [
            ("hosts", self.hosts.len(), SECRET_HOSTS_MAX),
            ("ports", self.ports.len(), PORTS_MAX),
            ("placements", self.placements.len(), SECRET_PLACEMENTS_MAX),
        ] {
            if count > max {
                return Err(invalid(format!("`{what}` has {count} elements; at most {max} are accepted")));
            }
        }
        let host = |text: &String| {
            HostName::parse(text)
                .map_err(|fault| invalid(format!("`hosts`: {fault}; a secret is bound to exact names")))
        };
        let hosts = self.hosts.iter().map(host).collect::<Result<_, _>>()?;
        let port = |spec: &PortSpec| match PortRange::try_from(spec.clone()) {
            Ok(range) => Ok(range.into()),
            Err(fault) => Err(invalid(format!("`ports`: {fault}"))),
        };
        let ports = self.ports.iter().map(port).collect::<Result<_, _>>()?;
        self.placements.iter().try_for_each(|place| check_placement(place))?;
        Ok(Some(SecretBinding { hosts, ports, placements: self.placements.clone(), sign: self.sign.clone() }))
    }
}

const PLACES: &str =
    "as `header:NAME`, `bearer`, `basic:user`, `basic:password`, `query:FIELD`, `frame:FIELD` or `jwt`";

fn check_placement(place: &str) -> Checked {
    let is_name = |name: &str, is_allowed: fn(char) -> bool| {
        (1..=FIELD_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(is_allowed)
    };
    // The characters of a field's name in HTTP: RFC 9110, section 5.6.2.
    let in_header = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let is_sound = match place.split_once(':') {
        Some(("header", name)) => is_name(name, in_header),
        Some(("query" | "frame", name)) => is_name(name, |c| !c.is_control()),
        Some(("basic", half)) => matches!(half, "user" | "password"),
        Some(_) => false,
        None => matches!(place, "bearer" | "jwt"),
    };
    if is_sound {
        return Ok(());
    }
    let shown: String = place.chars().take(80).collect();
    Err(invalid(format!("`placements`: `{}` is no place for a secret; write it {PLACES}", shown.escape_debug())))
}

/// Whether this may be the name of a secret.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn check_secret_name(name: &str) -> Result<(), ApiError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if (1..=SECRET_NAME_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(is_allowed) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(invalid(format!(
        "`{}` is not the name of a secret: 1 to {SECRET_NAME_CHARS_MAX} letters, digits, `_`, `.` and `-`",
        shown.escape_debug()
    )))
}

/// The names of `secrets` in a request about a sandbox.
pub(super) fn check_names(names: &[String]) -> Checked {
    if names.len() > SECRETS_MAX {
        return Err(invalid(format!("`secrets` has more than {SECRETS_MAX} names")));
    }
    names.iter().try_for_each(|name| check_secret_name(name).map_err(|e| invalid(format!("`secrets`: {}", e.message))))
}

/// One secret, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// Its name.
    pub name: String,
    /// Whose it is: said by the daemon, of its caller, and never by a request.
    #[serde(skip)]
    pub project: Project,
}

/// A secret that was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SecretAnswer {
    /// True.
    pub success: bool,
    /// The secret.
    pub secret: SecretSummary,
}

/// The operator's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SecretListAnswer {
    /// True.
    pub success: bool,
    /// By name.
    pub secrets: Vec<SecretSummary>,
    /// Length of `secrets`.
    pub count: u32,
}

/// A secret that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SecretRemoveAnswer {
    /// True.
    pub success: bool,
    /// Its name.
    pub name: String,
}

/// A secret, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
pub struct SecretSummary {
    /// The project whose sandboxes may use it.
    pub project: Project,
    /// Its name.
    pub name: String,
    /// Of its value: grows with each rotation.
    pub version: u32,
    /// Twelve hexadecimal digits that change with the value.
    pub fingerprint: String,
    /// The hosts that it may go to.
    pub hosts: Vec<String>,
    /// Their ports; 443 when there are none.
    pub ports: Vec<PortSpec>,
    /// Where it may stand in a request.
    pub placements: Vec<String>,
    /// How it signs, and what; none of one that is placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<SecretSigning>,
    /// When it was first set. RFC 3339, UTC.
    pub created_at: String,
    /// When its value was last replaced. RFC 3339, UTC.
    pub rotated_at: Option<String>,
    /// Whether it may be used no more.
    pub revoked: bool,
}
