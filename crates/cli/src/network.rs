//! What a sandbox may reach, as it is asked for at the command line.

use clap::{Args, ValueEnum};
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    api::{Actor, NamedNetwork, Network, SandboxRequest},
    net::{Policy, Rule},
};

use crate::{failure, output};

/// The options of commands that make or change sandboxes.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NetworkArgs {
    /// What it may reach: none, packages (registries of packages), open (everything) [default for a new one: none]
    #[arg(long, value_name = "POLICY", help_heading = "Network")]
    network: Option<PolicyName>,
    /// A host that it may reach, `*.example.com` for all below it; port 443 unless one or a range is named; may be repeated
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "Network")]
    allow: Vec<Rule>,
    /// A stored secret that it may use (`ringfence secret ls`); its hosts are opened; may be repeated
    #[arg(long = "secret", value_name = "NAME", help_heading = "Network")]
    secrets: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PolicyName {
    None,
    Packages,
    Open,
}

impl From<PolicyName> for Policy {
    fn from(name: PolicyName) -> Self {
        match name {
            PolicyName::None => Self::None,
            PolicyName::Packages => Self::Packages,
            PolicyName::Open => Self::Open,
        }
    }
}

impl NetworkArgs {
    /// Whether anything is asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.network.is_some() || !self.allow.is_empty() || !self.secrets.is_empty()
    }

    /// Policy and secrets of a sandbox that is made.
    ///
    /// # Errors
    /// Hosts are named beside a policy that has its own.
    pub(crate) fn for_new(self) -> anyhow::Result<(Option<Network>, Vec<String>)> {
        self.check()?;
        let base = self.network.map(Policy::from);
        let network = if self.allow.is_empty() { base } else { Some(base.unwrap_or_default().and(self.allow)) };
        Ok((network.as_ref().map(Network::from), self.secrets))
    }

    /// Policy and secrets of a sandbox that is there: what is allowed is added to what it may reach now.
    ///
    /// # Errors
    /// As above, or its policy is not known.
    pub(crate) async fn for_change(
        self,
        api: &dyn Sandboxes,
        sandbox: &str,
    ) -> anyhow::Result<(Option<Network>, Vec<String>)> {
        self.check()?;
        if self.allow.is_empty() || self.network.is_some() {
            return self.for_new();
        }
        let status = api.status(Actor::Operator, SandboxRequest { sandbox_id: sandbox.to_owned() }).await?;
        let Some(network) = status.sandbox.network else {
            anyhow::bail!(
                "what the sandbox may reach now is not known, because the gateway does not answer; try again"
            );
        };
        match network.policy {
            Network::Named(NamedNetwork::Open) => {
                output::note(
                    "ringfence: its policy is `open`, which allows that already; `--network none` begins anew",
                );
            }
            Network::Named(NamedNetwork::Packages) => output::note(
                "ringfence: its policy was `packages` and becomes a list: the public registries and what is added",
            ),
            _ => {}
        }
        let policy = Policy::try_from(network.policy)?.and(self.allow);
        Ok((Some(Network::from(&policy)), self.secrets))
    }

    fn check(&self) -> anyhow::Result<()> {
        match self.network {
            Some(PolicyName::Open) if !self.allow.is_empty() => {
                failure::usage("--network open allows every host already: leave --allow out")
            }
            Some(PolicyName::Packages) if !self.allow.is_empty() => failure::usage(
                "--network packages cannot be had with --allow in one command: make the sandbox with the policy, and add \
                 hosts by `ringfence sandbox configure SANDBOX --allow HOST`",
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        network: NetworkArgs,
    }

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let made = Line::try_parse_from(words).map_err(anyhow::Error::from).and_then(|line| line.network.for_new());
        let made = made.ok().map(|(network, secrets)| {
            let network = network.map_or("-".to_owned(), |network| network.to_string());
            format!("{network} {}", secrets.join(" ")).trim_end().to_owned()
        });
        assert_eq!(made.as_deref(), expected, "{line}");
    }

    #[test]
    fn options_become_a_policy() {
        check("", Some("-"));
        check("--network none", Some("none"));
        check("--network packages --secret A --secret B.c", Some("packages A B.c"));
        check("--network open", Some("open"));
        check("--allow API.example.com", Some("api.example.com:443"));
        check(
            "--allow a.example:80 --allow a.example --allow *.b.example:8000-8010",
            Some("a.example:80,443, *.b.example:8000-8010"),
        );
        check("--network none --allow a.example", Some("a.example:443"));
        for refused in [
            "--network all",
            "--network open --allow a.example",
            "--network packages --allow a.example",
            "--allow *",
            "--allow 127.0.0.1",
            "--allow a.example:0",
            "--allow a.example:x",
            "--allow https://a.example",
            "--allow",
        ] {
            check(refused, None);
        }
    }
}
