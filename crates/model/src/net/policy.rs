//! What somebody asked that a sandbox may reach.

use serde::{Deserialize, Serialize, Serializer, ser};

use super::{BadRule, HostPattern, PORTS_DEFAULT, PathPattern, PortRange, Rule, Rulebook, TlsMode};
use crate::api::{NamedNetwork, Network, NetworkRule, NetworkRules};

/// Rules of one policy.
pub const RULES_MAX: usize = 256;
/// Path patterns of one policy, of all its rules together: each may be held against each request.
pub const PATHS_TOTAL_MAX: usize = 2048;

/// The registries of the policy `packages`, with the ports that their clients use. What most of them answer is kept by the
/// gate, which therefore looks into connections to them. Packages of Debian are signed, and apt fetches them in the clear.
const REGISTRIES: [(&str, &[u16], TlsMode); 5] = [
    ("pypi.org", &[443], TlsMode::Intercept),
    ("files.pythonhosted.org", &[443], TlsMode::Intercept),
    ("registry.npmjs.org", &[443], TlsMode::Intercept),
    ("deb.debian.org", &[80, 443], TlsMode::Auto),
    ("security.debian.org", &[80, 443], TlsMode::Auto),
];

/// What a sandbox may reach. In JSON it is [`Network`]: `"none"`, `"packages"`, `"open"` or `{"allow": [rule, …]}`.
///
/// Reading checks all bounds. Writing refuses rules with secrets or a choice about TLS, which have no place in that form.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Network")]
pub enum Policy {
    /// Nothing.
    #[default]
    None,
    /// Package registries.
    Packages,
    /// What the rules allow.
    List(Vec<Rule>),
    /// Every name and every port, passed through. Whether somebody may ask for it is not judged here.
    Open,
}

/// Why a policy is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// More than [`RULES_MAX`].
    #[error("`allow` has {0} rules; a policy has at most {RULES_MAX}")]
    TooManyRules(usize),
    /// More than [`PATHS_TOTAL_MAX`].
    #[error("the rules have {0} paths together; a policy has at most {PATHS_TOTAL_MAX}")]
    TooManyPaths(usize),
    /// One of its rules.
    #[error("`allow[{index}]`: {fault}")]
    Rule {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        fault: BadRule,
    },
}

impl Policy {
    /// Checks all bounds. A policy that was read from JSON has been checked.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), BadPolicy> {
        let Self::List(rules) = self else { return Ok(()) };
        if rules.len() > RULES_MAX {
            return Err(BadPolicy::TooManyRules(rules.len()));
        }
        for (index, rule) in rules.iter().enumerate() {
            rule.check().map_err(|fault| BadPolicy::Rule { index, fault })?;
        }
        match rules.iter().map(|rule| rule.paths.len()).sum() {
            0..=PATHS_TOTAL_MAX => Ok(()),
            paths => Err(BadPolicy::TooManyPaths(paths)),
        }
    }

    /// This policy and `more`. Ports are added to a rule that is about the same host and nothing else. `Packages` becomes the
    /// list of the public registries, which is what can be added to; registries of the operator's own are not in it.
    #[must_use]
    pub fn and(self, more: Vec<Rule>) -> Self {
        let mut rules = match self {
            Self::Open => return Self::Open,
            Self::None => Vec::new(),
            // What is done with TLS has no place in a list; the rulebook adds it again.
            Self::Packages => public_registries().map(|rule| Rule { tls: TlsMode::Auto, ..rule }).collect(),
            Self::List(rules) => rules,
        };
        let is_plain =
            |rule: &Rule| Rule { ports: PORTS_DEFAULT.to_vec(), ..rule.clone() } == Rule::host(rule.host.clone());
        for new in more {
            let known = rules.iter_mut().find(|rule| rule.host == new.host && is_plain(rule) && is_plain(&new));
            if let Some(rule) = known {
                let missing: Vec<_> = new.ports.iter().filter(|port| !rule.ports.contains(port)).copied().collect();
                rule.ports.extend(missing);
            } else if !rules.contains(&new) {
                rules.push(new);
            }
        }
        Self::List(rules)
    }

    /// What gives verdicts. `registries` are rules of the operator's for the policy `packages`, beside the public registries.
    /// A rule of a list that is about one of their names is kept as they are: the gate sees requests to a registry, so that it
    /// can answer them from what it has.
    #[must_use]
    pub fn rulebook(&self, registries: &[Rule]) -> Rulebook {
        match self {
            Self::None => Rulebook::closed(),
            Self::Packages => Rulebook::of(public_registries().chain(registries.iter().cloned()).collect()),
            Self::List(rules) => {
                let known: Vec<Rule> = public_registries().chain(registries.iter().cloned()).collect();
                let as_known = |rule: &Rule| match known.iter().find(|known| known.host == rule.host) {
                    Some(known) if rule.tls == TlsMode::Auto => Rule { tls: known.tls, ..rule.clone() },
                    _ => rule.clone(),
                };
                Rulebook::of(rules.iter().map(as_known).collect())
            }
            Self::Open => Rulebook::open(),
        }
    }
}

/// The rules of the policy `packages`, without the operator's.
pub fn public_registries() -> impl Iterator<Item = Rule> {
    REGISTRIES.into_iter().map(|(host, ports, tls)| {
        let host = HostPattern::parse(host).expect("the names above are names");
        let port = |port: &u16| PortRange::new(*port, *port).expect("the ports above are ports");
        Rule { ports: ports.iter().map(port).collect(), tls, ..Rule::host(host) }
    })
}

impl TryFrom<Network> for Policy {
    type Error = BadPolicy;
    fn try_from(network: Network) -> Result<Self, BadPolicy> {
        let rules = match network {
            Network::Named(NamedNetwork::None) => return Ok(Self::None),
            Network::Named(NamedNetwork::Packages) => return Ok(Self::Packages),
            Network::Named(NamedNetwork::Open) => return Ok(Self::Open),
            Network::Rules(NetworkRules { allow }) => allow,
        };
        if rules.len() > RULES_MAX {
            return Err(BadPolicy::TooManyRules(rules.len()));
        }
        let read = |(index, rule)| read(rule).map_err(|fault| BadPolicy::Rule { index, fault });
        let policy = Self::List(rules.into_iter().enumerate().map(read).collect::<Result<_, _>>()?);
        policy.check()?;
        Ok(policy)
    }
}

fn read(rule: NetworkRule) -> Result<Rule, BadRule> {
    let mut read = Rule::host(HostPattern::parse(&rule.host)?);
    if !rule.ports.is_empty() {
        read.ports = rule.ports.into_iter().map(PortRange::try_from).collect::<Result<_, _>>()?;
    }
    read.methods = rule.methods.into_iter().map(super::Method::try_from).collect::<Result<_, _>>()?;
    read.paths = rule.paths.into_iter().map(PathPattern::try_from).collect::<Result<_, _>>()?;
    Ok(read)
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lossless = |rule: &Rule| rule.secrets.is_empty() && rule.tls == TlsMode::Auto;
        match self {
            Self::List(rules) if !rules.iter().all(lossless) => {
                Err(ser::Error::custom("a policy whose rules have secrets or a choice about TLS cannot be written"))
            }
            _ => Network::from(self).serialize(serializer),
        }
    }
}

/// The policy as its reader knows it: secrets and what is done with TLS are left out, for this is what agents are shown.
impl From<&Policy> for Network {
    fn from(policy: &Policy) -> Self {
        match policy {
            Policy::None => Self::Named(NamedNetwork::None),
            Policy::Packages => Self::Named(NamedNetwork::Packages),
            Policy::Open => Self::Named(NamedNetwork::Open),
            Policy::List(rules) => Self::Rules(NetworkRules { allow: rules.iter().map(shown).collect() }),
        }
    }
}

fn shown(rule: &Rule) -> NetworkRule {
    NetworkRule {
        host: rule.host.to_string(),
        ports: rule.ports.iter().map(|range| (*range).into()).collect(),
        methods: rule.methods.iter().map(ToString::to_string).collect(),
        paths: rule.paths.iter().map(ToString::to_string).collect(),
    }
}
