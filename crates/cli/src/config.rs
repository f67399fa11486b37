//! `$RINGFENCE_HOME/config.toml`: what an operator may decide, every key optional. A key that is added here is explained in `keys.rs`.

pub(crate) mod keys;
pub(crate) mod read;

use std::{collections::BTreeMap, fs, io, net::IpAddr, path::Path};

use anyhow::Context;
use ringfence_egress::cache::CacheConfig;
use ringfence_engine::TemplateSettings;
use ringfence_model::{
    credit::{CreditSettings, MilliCredits, Prices},
    net::{HostName, HostPattern},
};
use serde::{Deserialize, Serialize};

use crate::roles::log::{LogFormat, LogLevel};

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The gate.
    #[serde(default)]
    pub(crate) gate: GateConfig,
    /// Templates.
    #[serde(default)]
    pub(crate) templates: TemplateConfig,
    /// Trading.
    #[serde(default)]
    pub(crate) trade: TradeConfig,
    /// Credits.
    #[serde(default)]
    pub(crate) credits: CreditConfig,
    /// The daemon as a whole.
    #[serde(default)]
    pub(crate) daemon: DaemonConfig,
    /// The daemon's log.
    #[serde(default)]
    pub(crate) log: LogConfig,
    /// A collector of OpenTelemetry's.
    #[serde(default)]
    pub(crate) otlp: OtlpConfig,
}

/// What concerns the daemon as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DaemonConfig {
    /// Seconds that running executions have to end by themselves when the daemon is stopped; what runs on then is killed. 10 unless it
    /// says otherwise, at most 86400.
    pub(crate) drain_seconds: Option<DrainSeconds>,
}

impl DaemonConfig {
    /// How many they are.
    pub(crate) fn drain_seconds(&self) -> u32 {
        const USUAL: u32 = 10;
        self.drain_seconds.map_or(USUAL, |seconds| seconds.0)
    }
}

/// At most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct DrainSeconds(u32);

impl TryFrom<u32> for DrainSeconds {
    type Error = String;
    fn try_from(seconds: u32) -> Result<Self, String> {
        const DAY: u32 = 24 * 60 * 60;
        if seconds > DAY { Err(format!("{seconds} s are more than a day")) } else { Ok(Self(seconds)) }
    }
}

/// What concerns the daemon's log, which is its standard error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// `text`, or `json`: one object a line, with `time`, `level`, `role`, `target`, `message` and `fields`. `text` unless it says
    /// otherwise; `ringfence serve --log-format` comes first.
    pub(crate) format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`. `info` unless it says otherwise; the variable RINGFENCE_LOG comes first.
    pub(crate) level: LogLevel,
}

/// What concerns a collector of OpenTelemetry's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OtlpConfig {
    /// Where `serve` sends what its log says, and a span for each request. Without it nothing is sent. A build without the feature `otlp`
    /// takes the key, and does not start with it.
    pub(crate) endpoint: Option<Endpoint>,
}

/// An address that begins with `http://` or `https://`, with a path or without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Endpoint(String);

impl TryFrom<String> for Endpoint {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let uri: hyper::Uri = text.parse().map_err(|error| format!("`{text}` is no address: {error}"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(format!("`{text}` does not begin with http:// or https://"));
        }
        // Who the daemon is to a collector is in a header (OTEL_EXPORTER_OTLP_HEADERS): addresses are shown.
        if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) || uri.query().is_some() {
            return Err("the address of a collector has a host, a port and a path, and no login and no `?`".to_owned());
        }
        Ok(Self(text))
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.0
    }
}

/// What sandboxes cost. Amounts are credits with at most three decimals. Serialised for the role `serve`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CreditConfig {
    /// For making a sandbox. 2 unless it says otherwise.
    pub(crate) create: Option<Price>,
    /// For each started minute in which a sandbox runs or is paused. 1 unless it says otherwise.
    pub(crate) minute: Option<Price>,
    /// For each started GB of a sandbox's files above the first, and day. 1 unless it says otherwise.
    pub(crate) storage: Option<Price>,
    /// What a project begins with of which nobody has said anything. Without it that is unlimited.
    pub(crate) budget: Option<Price>,
    /// Seconds for which sandboxes go on when nothing is left. 300 unless it says otherwise.
    pub(crate) grace_seconds: Option<u32>,
}

/// An amount that is not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "MilliCredits", into = "MilliCredits")]
pub(crate) struct Price(MilliCredits);

impl TryFrom<MilliCredits> for Price {
    type Error = String;
    fn try_from(amount: MilliCredits) -> Result<Self, String> {
        if amount.0 < 0 { Err(format!("{amount} credits are negative")) } else { Ok(Self(amount)) }
    }
}

impl From<Price> for MilliCredits {
    fn from(price: Price) -> Self {
        price.0
    }
}

impl CreditConfig {
    /// As the engine has them.
    pub(crate) fn settings(&self) -> CreditSettings {
        let CreditSettings { prices, grace_ms, .. } = CreditSettings::default();
        let or = |price: Option<Price>, usual| price.map_or(usual, MilliCredits::from);
        CreditSettings {
            prices: Prices {
                create: or(self.create, prices.create),
                minute: or(self.minute, prices.minute),
                storage: or(self.storage, prices.storage),
            },
            grace_ms: self.grace_seconds.map_or(grace_ms, |seconds| u64::from(seconds) * 1000),
            budget: self.budget.map(MilliCredits::from),
        }
    }
}

/// What concerns trading. Serialised for the gateway role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TradeConfig {
    /// Whether trading may be live at all: the first of two opt-ins. `ringfence trade mode live` is the second.
    #[serde(default)]
    pub(crate) live_allowed: bool,
}

/// What concerns templates. Serialised for the role `serve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TemplateConfig {
    /// Whether what a recipe says of the network (`none` or `packages`) holds for sandboxes of which nobody says it. Otherwise
    /// they reach nothing.
    pub(crate) network_defaults: bool,
    /// Whether a recipe that begins with an image (`oci`) may download packages (`lock`, `node`). It does so with the programs of the
    /// image, which share the host's network then, its loopback too.
    pub(crate) image_downloads: bool,
    /// MiB of memory for the sandboxes of one template that are made ahead. A fiftieth of the host's unless it says otherwise.
    pub(crate) shelf_mib: Option<u64>,
    /// MiB of layers that no template has any more and that builds could use again; 0 for none. 4096 unless it says otherwise, and
    /// at most a twentieth of the disk.
    pub(crate) cache_mib: Option<u64>,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        Self { network_defaults: true, image_downloads: false, shelf_mib: None, cache_mib: None }
    }
}

impl TemplateConfig {
    /// MiB of memory for one template's shelf: what is said, or a part of the host's.
    pub(crate) fn shelf_mib(&self) -> u64 {
        let kib_of_host = || {
            let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
            total.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0)
        };
        self.shelf_mib.unwrap_or_else(|| kib_of_host() / 1024 / ringfence_engine::SHELF_PART_OF_MEMORY as u64)
    }

    /// As the engine has them, for a state directory.
    pub(crate) fn settings(&self, home: &Path) -> TemplateSettings {
        const CACHE_MIB_MAX: u64 = 4096;
        const PART_OF_DISK: u64 = 20;
        let disk_mib = rustix::fs::statvfs(home).map_or(0, |disk| disk.f_blocks.saturating_mul(disk.f_frsize) >> 20);
        let cache_mib = self.cache_mib.unwrap_or((disk_mib / PART_OF_DISK).min(CACHE_MIB_MAX));
        TemplateSettings {
            network_defaults: self.network_defaults,
            image_downloads: self.image_downloads,
            shelf_mib: self.shelf_mib,
            cache_bytes_max: cache_mib.saturating_mul(1 << 20),
        }
    }
}

/// What concerns the gate. Serialised for the gateway role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GateConfig {
    /// Whether a sandbox may be given the policy `open`.
    #[serde(default)]
    pub(crate) open_allowed: bool,
    /// The hosts that agents may name in a policy; without it any.
    #[serde(default)]
    pub(crate) agent_hosts: Option<Vec<HostPattern>>,
    /// Whether a sandbox is paused that puts the placeholder of a secret where the secret may not go. It is refused in any case.
    #[serde(default)]
    pub(crate) pause_on_misuse: bool,
    /// Names that lead to these addresses and nowhere else, private ones too: `[gate.pins]`, `"db.lan" = ["10.0.0.5"]`.
    #[serde(default)]
    pub(crate) pins: BTreeMap<HostName, Vec<IpAddr>>,
    /// Files with certificates (PEM) that are trusted beside the system's for servers outside.
    #[serde(default)]
    pub(crate) extra_roots: Vec<String>,
    /// Hosts of package indexes beside the public ones, which the policy `packages` opens, with a port where it is an unusual
    /// one. Those of the operator's settings for pip are added at the start.
    #[serde(default)]
    pub(crate) registries: Vec<Registry>,
    /// What the gate keeps of what registries answer: `[gate.cache]`.
    #[serde(default)]
    pub(crate) cache: CacheSettings,
}

/// A host of a package index: `pypi.lan` or `pypi.lan:8443`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Registry {
    /// Its name.
    pub(crate) host: HostName,
    /// Its port; 80 and 443 where none is named.
    pub(crate) port: Option<u16>,
}

impl TryFrom<String> for Registry {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| format!("`{port}` is no port"))?)),
            None => (text.as_str(), None),
        };
        Ok(Self { host: HostName::parse(host).map_err(|error| error.to_string())?, port })
    }
}

impl From<Registry> for String {
    fn from(registry: Registry) -> Self {
        match registry.port {
            Some(port) => format!("{}:{port}", registry.host),
            None => registry.host.to_string(),
        }
    }
}

/// The cache of package registries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheSettings {
    /// MiB of all files together; 0 for no cache. 4096 unless it says otherwise.
    #[serde(default)]
    pub(crate) mib_max: Option<u64>,
    /// Seconds for which an index page is served where the registry does not say for how long. 600 unless it says otherwise,
    /// as pypi.org does.
    #[serde(default)]
    pub(crate) index_seconds: Option<u64>,
}

impl CacheSettings {
    /// As the gate has them.
    pub(crate) fn settings(&self) -> CacheConfig {
        let CacheConfig { bytes_max, index_ms } = CacheConfig::default();
        CacheConfig {
            bytes_max: self.mib_max.map_or(bytes_max, |mib| mib.saturating_mul(1 << 20)),
            index_ms: self.index_seconds.map_or(index_ms, |seconds| seconds.saturating_mul(1000)),
        }
    }
}

impl Config {
    /// Reads the file; without one, everything is as by default.
    ///
    /// # Errors
    /// It cannot be read, or is not understood: [`read::Problems`], which name the lines.
    pub(crate) fn load(home: &Path) -> anyhow::Result<Self> {
        let path = home.join("config.toml");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(read::parse(&path.display().to_string(), &text)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credits_are_as_the_operator_says() {
        assert_eq!(Config::default().credits.settings(), CreditSettings::default());
        let config: Config =
            toml::from_str("[credits]\ncreate = 2.5\nbudget = 100\ngrace_seconds = 0\n").expect("right");
        // As the role is told.
        let said = serde_json::to_string(&config.credits).expect("plain");
        let settings = serde_json::from_str::<CreditConfig>(&said).expect("the same").settings();
        assert_eq!(settings.prices, Prices { create: MilliCredits(2500), ..Prices::default() });
        assert_eq!((settings.budget, settings.grace_ms), (Some(MilliCredits::whole(100)), 0));
    }

    #[test]
    fn the_daemons_end_and_its_log_are_as_the_operator_says() {
        let config = Config::default();
        assert_eq!(
            (config.daemon.drain_seconds(), config.log.format, config.log.level),
            (10, LogFormat::Text, LogLevel::Info)
        );
        let text = "[daemon]\ndrain_seconds = 0\n[log]\nformat = \"json\"\nlevel = \"debug\"\n";
        let config: Config = toml::from_str(text).expect("right");
        assert_eq!(
            (config.daemon.drain_seconds(), config.log.format, config.log.level),
            (0, LogFormat::Json, LogLevel::Debug)
        );
    }

    #[test]
    fn a_home_without_a_file_has_the_defaults_and_a_mistake_is_named() {
        let home = tempfile::tempdir().expect("a directory");
        assert_eq!(Config::load(home.path()).expect("defaults"), Config::default());
        assert!(!Config::default().trade.live_allowed);
        let text = "[trade]\nlive_allowed = true\n[gate]\nopen_allowed = true\nregistries = [\"pypi.lan\"]\n[gate.pins]\n\"DB.lan.\" = [\"10.0.0.5\", \"::1\"]\n";
        fs::write(home.path().join("config.toml"), text).expect("a file");
        let config = Config::load(home.path()).expect("it is understood");
        assert!(config.gate.open_allowed && config.trade.live_allowed);
        let name = HostName::parse("db.lan").expect("a name");
        assert_eq!(config.gate.pins[&name], ["10.0.0.5", "::1"].map(|ip| ip.parse::<IpAddr>().expect("an address")));
        for (wrong, named) in [
            ("[trade]\nlive = true\n", "live"),
            ("[gate]\nopen = true\n", "open"),
            ("[credits]\nminute = -1\n", "negative"),
            ("[credits]\nminute = 0.0001\n", "decimals"),
            ("[credits]\nprice = 1\n", "price"),
            ("[daemon]\ndrain_seconds = 86401\n", "day"),
            ("[daemon]\ndrain = 1\n", "drain"),
            ("[log]\nformat = \"xml\"\n", "xml"),
            ("[log]\nlevel = \"loud\"\n", "loud"),
            ("[otlp]\nendpoint = \"grpc://127.0.0.1:4317\"\n", "http://"),
            ("[otlp]\nendpoint = \"127.0.0.1:4318\"\n", "http://"),
            ("[otlp]\nendpoint = \"https://me:secret@collector.lan\"\n", "no login"),
            ("[gate.pins]\n\"10.0.0.5\" = []\n", "10.0.0.5"),
        ] {
            fs::write(home.path().join("config.toml"), wrong).expect("a file");
            let error = format!("{:#}", Config::load(home.path()).expect_err("it is wrong"));
            assert!(error.contains(named) && error.contains("config.toml"), "{error}");
        }
    }
}
