//! Every key of the configuration file in words: what it means, in which unit, and what holds where nobody says it. `config show` and
//! `config check` are made of this table; a test compares it with what the parser takes, in both directions.

use std::path::Path;

use ringfence_model::credit::MilliCredits;
use serde::Serialize;
use toml::Value;

use super::Config;

/// One key.
pub(crate) struct Key {
    /// Where it stands: its sections and its name, divided by dots.
    pub(crate) path: &'static str,
    /// What its value is counted in, or what it is.
    pub(crate) unit: &'static str,
    /// What it decides, in sentences.
    pub(crate) means: &'static str,
    /// How its default comes about where it is not the same everywhere, or has no value that stands for it.
    pub(crate) default: Option<&'static str>,
    /// A value in TOML, shown where there is none.
    pub(crate) example: &'static str,
    /// What is in effect, for a state directory.
    pub(crate) value: fn(&Config, &Path) -> Option<Value>,
}

impl Key {
    /// Its section, such as `gate.cache`.
    pub(crate) fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its own name.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }
}

/// Every section once, in the order of the table.
pub(crate) fn sections() -> Vec<&'static str> {
    let mut found: Vec<&str> = Vec::new();
    for key in KEYS {
        if !found.contains(&key.section()) {
            found.push(key.section());
        }
    }
    found
}

/// As the file would have it. Types of ours are all plain ones there.
fn plain(value: impl Serialize) -> Option<Value> {
    Value::try_from(value).ok()
}

fn whole(number: u64) -> Option<Value> {
    i64::try_from(number).ok().map(Value::Integer)
}

fn credits(amount: MilliCredits) -> Option<Value> {
    plain(amount)
}

const MIB: u64 = 1 << 20;

/// The file as people read it: keys of one section stand together.
pub(crate) const KEYS: &[Key] = &[
    Key {
        path: "daemon.drain_seconds",
        unit: "seconds, at most 86400",
        means: "How long running executions have to end by themselves when the daemon is stopped; what runs on then is killed.",
        default: None,
        example: "10",
        value: |config, _| whole(config.daemon.drain_seconds().into()),
    },
    Key {
        path: "log.format",
        unit: "text or json",
        means: "How the daemon writes its log, on its standard error: lines for people, or a JSON object a line. \
                `ringfence serve --log-format` comes first.",
        default: None,
        example: "\"json\"",
        value: |config, _| plain(config.log.format),
    },
    Key {
        path: "log.level",
        unit: "error, warn, info, debug or trace",
        means: "From which weight on something is written into the log. The variable RINGFENCE_LOG comes first.",
        default: None,
        example: "\"debug\"",
        value: |config, _| plain(config.log.level),
    },
    Key {
        path: "otlp.endpoint",
        unit: "an address that begins with http:// or https://",
        means: "A collector of OpenTelemetry's, to which `serve` itself sends what its log says and a span for each request of the API (OTLP over \
                HTTP, to `/v1/logs` and `/v1/traces` below it). Only a build with the feature `otlp` can; another does not start with it.",
        default: Some("without it nothing is sent"),
        example: "\"http://127.0.0.1:4318\"",
        value: |config, _| config.otlp.endpoint.clone().and_then(plain),
    },
    Key {
        path: "gate.open_allowed",
        unit: "true or false",
        means: "Whether a sandbox may be given the policy `open`, with which it reaches every public address.",
        default: None,
        example: "true",
        value: |config, _| Some(config.gate.open_allowed.into()),
    },
    Key {
        path: "gate.agent_hosts",
        unit: "a list of hosts, `*.` before one for all below it",
        means: "The hosts that agents may name in the network policy of a sandbox, and open with keys of their own. What is asked for \
                beyond them is refused; operators, templates and stored secrets open what they say. It holds for what is asked from \
                the start of the daemon on.",
        default: Some("without it agents name any public host; with an empty list none"),
        example: "[\"*.alpaca.markets\", \"api.example.com\"]",
        value: |config, _| config.gate.agent_hosts.as_ref().and_then(plain),
    },
    Key {
        path: "gate.pause_on_misuse",
        unit: "true or false",
        means: "Whether a sandbox is paused that puts the placeholder of a secret where the secret may not go. The request is refused \
                in any case.",
        default: None,
        example: "true",
        value: |config, _| Some(config.gate.pause_on_misuse.into()),
    },
    Key {
        path: "gate.pins",
        unit: "a table of names, each with its addresses",
        means: "Names that lead to these addresses and nowhere else, private ones too. Without a pin no name leads to a private \
                address, nor to one of this host.",
        default: None,
        example: "{ \"db.lan\" = [\"10.0.0.5\"] }",
        value: |config, _| plain(&config.gate.pins),
    },
    Key {
        path: "gate.extra_roots",
        unit: "a list of paths",
        means: "Files with certificates (PEM) that are trusted beside the system's for servers outside.",
        default: None,
        example: "[\"/etc/ssl/our-ca.pem\"]",
        value: |config, _| plain(&config.gate.extra_roots),
    },
    Key {
        path: "gate.registries",
        unit: "a list of HOST or HOST:PORT",
        means: "Hosts of package indexes beside the public ones, which the policy `packages` opens. Those of pip's settings of this host \
                (PIP_* and /etc/pip.conf) and of RINGFENCE_DEBIAN_MIRROR are added when the daemon starts.",
        default: None,
        example: "[\"pypi.lan:8443\"]",
        value: |config, _| plain(&config.gate.registries),
    },
    Key {
        path: "gate.cache.mib_max",
        unit: "MiB",
        means: "How much of what package registries answer is kept for all sandboxes, all files together; 0 for none.",
        default: None,
        example: "4096",
        value: |config, _| whole(config.gate.cache.settings().bytes_max / MIB),
    },
    Key {
        path: "gate.cache.index_seconds",
        unit: "seconds",
        means: "For how long an index page is served from that cache where the registry does not say it.",
        default: None,
        example: "600",
        value: |config, _| whole(config.gate.cache.settings().index_ms / 1000),
    },
    Key {
        path: "templates.network_defaults",
        unit: "true or false",
        means: "Whether what a recipe says of the network (`none` or `packages`) holds for sandboxes of which nobody says it. Otherwise they \
                reach nothing.",
        default: None,
        example: "false",
        value: |config, _| Some(config.templates.network_defaults.into()),
    },
    Key {
        path: "templates.image_downloads",
        unit: "true or false",
        means: "Whether a recipe that begins with an image (`oci`) may download packages (`lock`, `node`). It does so with the programs of the \
                image, which share the host's network then, its loopback too.",
        default: None,
        example: "true",
        value: |config, _| Some(config.templates.image_downloads.into()),
    },
    Key {
        path: "templates.shelf_mib",
        unit: "MiB",
        means: "Memory for the sandboxes of one template that are made ahead. More makes more of them ready at once.",
        default: Some("a fiftieth of the host's memory"),
        example: "512",
        value: |config, _| whole(config.templates.shelf_mib()),
    },
    Key {
        path: "templates.cache_mib",
        unit: "MiB",
        means: "Layers that no template has any more and that builds could use again; 0 for none.",
        default: Some("4096, and at most a twentieth of the disk"),
        example: "4096",
        value: |config, home| whole(config.templates.settings(home).cache_bytes_max / MIB),
    },
    Key {
        path: "trade.live_allowed",
        unit: "true or false",
        means: "Whether trading may be live, with money, at all: the first of two opt-ins. `ringfence trade mode live` is the second.",
        default: None,
        example: "true",
        value: |config, _| Some(config.trade.live_allowed.into()),
    },
    Key {
        path: "credits.create",
        unit: "credits, with at most three decimals",
        means: "What making a sandbox costs.",
        default: None,
        example: "2",
        value: |config, _| credits(config.credits.settings().prices.create),
    },
    Key {
        path: "credits.minute",
        unit: "credits, with at most three decimals",
        means: "What each started minute costs in which a sandbox runs or is paused.",
        default: None,
        example: "1",
        value: |config, _| credits(config.credits.settings().prices.minute),
    },
    Key {
        path: "credits.storage",
        unit: "credits, with at most three decimals",
        means: "What each started GB of a sandbox's files above the first costs for a day.",
        default: None,
        example: "1",
        value: |config, _| credits(config.credits.settings().prices.storage),
    },
    Key {
        path: "credits.budget",
        unit: "credits, with at most three decimals",
        means: "What a project begins with of which nobody has said anything.",
        default: Some("without it that is unlimited"),
        example: "1000",
        value: |config, _| config.credits.settings().budget.and_then(credits),
    },
    Key {
        path: "credits.grace_seconds",
        unit: "seconds",
        means: "For how long sandboxes go on when nothing is left; then they are stopped, with their files kept.",
        default: None,
        example: "300",
        value: |config, _| whole(config.credits.settings().grace_ms / 1000),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// What the parser takes at a place: the words of its own refusal. `None` where everything is taken, or no table at all.
    fn taken(section: &str) -> Option<Vec<String>> {
        const NONSENSE: &str = "no_such_key";
        let header = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let error = toml::from_str::<Config>(&format!("{header}{NONSENSE} = 1\n")).err()?;
        let message = error.message();
        let rest = message.strip_prefix(&format!("unknown field `{NONSENSE}`, expected "))?;
        Some(rest.split('`').skip(1).step_by(2).map(str::to_owned).collect())
    }

    fn leaves(section: &str, found: &mut Vec<String>) {
        for name in taken(section).expect("a section") {
            let path = if section.is_empty() { name } else { format!("{section}.{name}") };
            match taken(&path) {
                Some(_) => leaves(&path, found),
                None => found.push(path),
            }
        }
    }

    #[test]
    fn every_key_that_the_parser_takes_is_explained_and_none_besides() {
        let mut parsed = Vec::new();
        leaves("", &mut parsed);
        let mut explained: Vec<String> = KEYS.iter().map(|key| key.path.to_owned()).collect();
        parsed.sort();
        explained.sort();
        assert!(parsed.len() >= 17, "the parser's words were not understood: {parsed:?}");
        assert_eq!(parsed, explained, "write the missing ones into KEYS");
    }

    #[test]
    fn an_example_is_taken_and_is_in_effect_then() {
        let home = Path::new("/");
        for key in KEYS {
            assert!(key.means.ends_with('.') && !key.unit.is_empty(), "{}", key.path);
            let text = format!("[{}]\n{} = {}\n", key.section(), key.name(), key.example);
            let config: Config = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", key.path));
            let written: toml::Table = toml::from_str(&format!("v = {}", key.example)).expect("TOML");
            assert_eq!((key.value)(&config, home).as_ref(), written.get("v"), "{}", key.path);
        }
    }

    #[test]
    fn sections_stand_together() {
        let mut runs: Vec<&str> = KEYS.iter().map(Key::section).collect();
        runs.dedup();
        assert_eq!(runs, sections(), "a section comes twice");
    }
}
