//! Verdicts.

use super::{BadRule, CanonicalPath, DenialReason, HostName, Method, Rule, policy::public_registries};

/// Rules that the bindings of secrets add to one rulebook.
pub const BINDINGS_MAX: usize = 256;

/// What is in force for one sandbox: the rules of its policy, those of the secrets that are bound to it, and what becomes
/// of everything else.
///
/// Rules add up: what one of them allows is allowed. Their order counts only for which one a record names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rulebook {
    rules: Vec<Rule>,
    bindings: usize,
    rest: Rest,
}

/// What becomes of that which no rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Refused, and so is everything else: the policy is `none`.
    Nothing,
    /// Refused.
    Refused,
    /// Passed through.
    Open,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is refused.
    Refuse(DenialReason),
    /// Its bytes are passed through.
    Pass {
        /// Under which rule; none when the policy is `open`.
        rule: Option<usize>,
    },
    /// The gate ends it, and judges each request with [`Rulebook::request`].
    Inspect {
        /// The first rule that asks for it.
        rule: usize,
    },
}

/// A request that is let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// Under which rule, the first one with secrets where there is one; none when the policy is `open`.
    pub rule: Option<usize>,
    /// The secrets of all rules that allow it, by name, in order and each once. No other may be put into it.
    pub secrets: Vec<&'a str>,
}

impl Rulebook {
    /// Nothing is allowed.
    pub(super) fn closed() -> Self {
        Self { rules: vec![], bindings: 0, rest: Rest::Nothing }
    }

    /// What the rules say, and nothing else.
    pub(super) fn of(rules: Vec<Rule>) -> Self {
        Self { rules, bindings: 0, rest: Rest::Refused }
    }

    /// Everything is allowed.
    pub(super) fn open() -> Self {
        Self { rules: vec![], bindings: 0, rest: Rest::Open }
    }

    /// Adds the rule by which a secret is bound to a host. It opens what it is about and nothing else, also where the policy
    /// is `none`, and never takes away what was allowed before. The numbers of the other rules stay.
    ///
    /// # Errors
    /// [`BadRule`] for a rule out of bounds, or one binding more than [`BINDINGS_MAX`].
    pub fn with_binding(mut self, rule: Rule) -> Result<Self, BadRule> {
        rule.check()?;
        if self.bindings == BINDINGS_MAX {
            return Err(BadRule::TooMany { list: "bindings", len: BINDINGS_MAX + 1, max: BINDINGS_MAX });
        }
        self.bindings += 1;
        self.rules.push(rule);
        Ok(self)
    }

    /// Opens the package registries beside what is open already: the public ones, and the operator's. The numbers of the other
    /// rules stay.
    #[must_use]
    pub fn with_registries(mut self, registries: &[Rule]) -> Self {
        self.rules.extend(public_registries().chain(registries.iter().cloned()));
        self
    }

    /// The rule of a verdict.
    #[must_use]
    pub fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// All rules, in the order by which verdicts number them.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a name may be resolved, and by which rule; none when the policy is `open`.
    ///
    /// # Errors
    /// Why not.
    pub fn name(&self, host: &HostName) -> Result<Option<usize>, DenialReason> {
        match self.rules.iter().position(|rule| rule.host.matches(host)) {
            Some(rule) => Ok(Some(rule)),
            None if self.rest == Rest::Open => Ok(None),
            None => Err(self.no_rule()),
        }
    }

    /// What becomes of a connection to an address that the gate gave for `host`; none stands for an address that it never
    /// gave, which only `open` lets through. Whether the address is reachable is not judged here.
    #[must_use]
    pub fn connect(&self, host: Option<&HostName>, port: u16) -> Verdict {
        let covers = |rule: &Rule| host.is_some_and(|host| rule.covers(host, port));
        if let Some(rule) = self.rules.iter().position(|rule| covers(rule) && rule.inspects()) {
            return Verdict::Inspect { rule };
        }
        if let Some(rule) = self.rules.iter().position(covers) {
            return Verdict::Pass { rule: Some(rule) };
        }
        match (self.rest, host) {
            (Rest::Open, _) => Verdict::Pass { rule: None },
            (_, Some(host)) => Verdict::Refuse(self.no_port(host)),
            (Rest::Nothing, None) if self.rules.is_empty() => Verdict::Refuse(DenialReason::NetworkNone),
            (_, None) => Verdict::Refuse(DenialReason::AddressNotGiven),
        }
    }

    /// Whether one request of an inspected connection is let through. `method` and `target` are as they stand in the
    /// request; of the target, what follows the first `?` is not looked at.
    ///
    /// # Errors
    /// Why not: the reason of the rule that came nearest.
    pub fn request(&self, host: &HostName, port: u16, method: &str, target: &str) -> Result<Allowed<'_>, DenialReason> {
        if Method::never(&method.to_ascii_uppercase()).is_some() {
            return Err(DenialReason::MethodNotAllowed);
        }
        let path = CanonicalPath::parse(target).ok();
        let mut nearest = None;
        let mut allowed: Vec<usize> = Vec::new();
        for (index, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.covers(host, port)) {
            if !rule.allows_method(method) {
                nearest = nearest.or(Some(DenialReason::MethodNotAllowed));
            } else if !rule.allows_path(path.as_ref()) {
                let reason = if path.is_some() { DenialReason::PathNotAllowed } else { DenialReason::PathAmbiguous };
                nearest = Some(reason);
            } else {
                allowed.push(index);
            }
        }
        if allowed.is_empty() && self.rest != Rest::Open {
            return Err(nearest.unwrap_or_else(|| self.no_port(host)));
        }
        let secrets_of = |index: &usize| self.rules.get(*index).map_or(&[][..], |rule| &rule.secrets);
        let mut secrets: Vec<&str> = allowed.iter().flat_map(secrets_of).map(String::as_str).collect();
        secrets.sort_unstable();
        secrets.dedup();
        let with_secrets = allowed.iter().find(|index| !secrets_of(index).is_empty());
        Ok(Allowed { rule: with_secrets.or(allowed.first()).copied(), secrets })
    }

    fn no_port(&self, host: &HostName) -> DenialReason {
        if self.rules.iter().any(|rule| rule.host.matches(host)) {
            DenialReason::PortNotAllowed
        } else {
            self.no_rule()
        }
    }

    fn no_rule(&self) -> DenialReason {
        if self.rest == Rest::Nothing && self.rules.is_empty() {
            DenialReason::NetworkNone
        } else {
            DenialReason::HostNotAllowed
        }
    }
}
