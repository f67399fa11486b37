//! `ringfence secret`: keys that programs in sandboxes use and never see.

use clap::{Args, Subcommand};
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Project,
    api::{
        Actor, Exchange, NonceUnit, PortSpec, SecretListAnswer, SecretRequest, SecretSetRequest, SecretSigning,
        SecretSummary, check_secret_name,
    },
    net::{HostName, PathPattern, PortRange},
};

use crate::{args::Global, commands::run::INTERRUPTED, daemon, failure, output, prompt};

/// Stores keys that programs in sandboxes use and never see
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    Set(Box<SetArgs>),
    Ls(LsArgs),
    Rotate(RotateArgs),
    Rm(RmArgs),
}

/// Stores a secret; its value is read from standard input, or asked for without being shown
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence secret set ALPACA_API_KEY              hosts and places are known for this name
  ringfence secret set EXAMPLE_KEY --host api.example.com --header X-Api-Key
  ringfence secret set EXAMPLE_TOKEN --host api.example.com --bearer < token.txt
  ringfence secret set FEED_KEY --host stream.example.com --frame key --frame api_key
  ringfence secret set BINANCE_API_KEY             an exchange's key: its name is sent,
  ringfence secret set BINANCE_API_SECRET          and its secret signs, and is never sent
  ringfence secret set READER --sign kraken --path /0/private/Balance --path /0/private/OpenOrders
  ringfence sandbox create python --secret EXAMPLE_KEY

The value is never an argument, which every user of this machine could read. Programs see a placeholder in the variable \
of that name; the gateway puts the value in, for these hosts and in these places alone.

With --sign the value goes nowhere. A program signs its request with the placeholder, as any client of that exchange does; \
the gateway takes that signature away and puts the right one in its place, with its own time and nonce. It signs the methods \
and paths that are named here, by default those for reading and trading; a path by which money leaves or keys are made only \
where it is named without `*`. A sandbox's network policy may narrow that, and never widens it.

Known names: ALPACA_API_KEY, ALPACA_SECRET, ALPACA_SECRET_KEY, APCA_API_KEY_ID, APCA_API_SECRET_KEY, ANTHROPIC_API_KEY; and of \
BINANCE, BYBIT, OKX, KRAKEN and COINBASE: …_API_KEY and …_API_SECRET, and OKX_PASSPHRASE.")]
pub(crate) struct SetArgs {
    /// Its name: letters, digits, `_`, `.` and `-`
    #[arg(value_parser = name)]
    name: String,
    /// A host that it may go to, by its exact name; may be repeated
    #[arg(long = "host", value_name = "HOST", value_parser = host)]
    hosts: Vec<String>,
    /// A port, or a range, of these hosts; may be repeated [default: 443]
    #[arg(long = "port", value_name = "PORT", value_parser = port)]
    ports: Vec<PortSpec>,
    /// Replace the value of one that is there
    #[arg(long)]
    rotate: bool,
    #[command(flatten)]
    places: Places,
    #[command(flatten)]
    signing: Signing,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What it signs, instead of being sent")]
struct Signing {
    /// Sign as this exchange wants it: binance, bybit, okx, kraken or coinbase [default hosts: those of the exchange]
    #[arg(long, value_name = "EXCHANGE", value_parser = Exchange::parse)]
    sign: Option<Exchange>,
    /// The secret with the name of this key, where a sandbox has several keys of one exchange
    #[arg(long, value_name = "NAME", value_parser = name, requires = "sign")]
    key: Option<String>,
    /// A method that is signed; may be repeated [default: any]
    #[arg(long = "method", value_name = "METHOD", requires = "sign")]
    methods: Vec<String>,
    /// A path that is signed, as in `/api/v3/**`; may be repeated [default: those for reading and trading]
    #[arg(long = "path", value_name = "PATH", value_parser = path, requires = "sign")]
    paths: Vec<String>,
    /// What nonces count: milliseconds, microseconds or nanoseconds [default: milliseconds]
    #[arg(long, value_name = "UNIT", value_parser = NonceUnit::parse, requires = "sign")]
    nonce: Option<NonceUnit>,
}

impl Signing {
    fn asked(&self) -> Option<SecretSigning> {
        self.sign.map(|exchange| SecretSigning {
            exchange,
            key: self.key.clone(),
            methods: self.methods.clone(),
            paths: self.paths.clone(),
            nonce: self.nonce.unwrap_or_default(),
        })
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where it may stand")]
struct Places {
    /// As the value of this header; may be repeated
    #[arg(long = "header", value_name = "NAME")]
    headers: Vec<String>,
    /// As the token of `Authorization: Bearer`
    #[arg(long)]
    bearer: bool,
    /// As the user of `Authorization: Basic`
    #[arg(long)]
    basic_user: bool,
    /// As the password of `Authorization: Basic`
    #[arg(long)]
    basic_password: bool,
    /// As the value of this field of the query; may be repeated
    #[arg(long = "query", value_name = "FIELD")]
    queries: Vec<String>,
    /// As the value of this field in the first message of a websocket; may be repeated
    #[arg(long = "frame", value_name = "FIELD")]
    frames: Vec<String>,
    /// As the id of the key in a JSON Web Token that the gateway signs anew
    #[arg(long)]
    jwt: bool,
}

impl Places {
    fn words(&self) -> Vec<String> {
        let fixed = [
            (self.bearer, "bearer"),
            (self.basic_user, "basic:user"),
            (self.basic_password, "basic:password"),
            (self.jwt, "jwt"),
        ];
        let named = [("header", &self.headers), ("query", &self.queries), ("frame", &self.frames)];
        let named = named.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| format!("{kind}:{name}")));
        fixed.into_iter().filter(|(is_given, _)| *is_given).map(|(_, word)| word.to_owned()).chain(named).collect()
    }
}

/// Lists secrets: names, places and fingerprints, never values
#[derive(Debug, Args)]
#[command(visible_alias = "list", after_help = "Examples:\n  ringfence secret ls\n  ringfence secret ls --json")]
pub(crate) struct LsArgs {}

/// Replaces the value of a secret; hosts and places stay, and what it signs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringfence secret rotate ALPACA_API_KEY
  new-key | ringfence secret rotate EXAMPLE_KEY

The next request of every sandbox carries the new value, on open connections too. Nothing changes inside.")]
pub(crate) struct RotateArgs {
    /// Its name
    #[arg(value_parser = name)]
    name: String,
}

/// Removes secrets; no sandbox can use them any more
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringfence secret rm EXAMPLE_KEY")]
pub(crate) struct RmArgs {
    /// Their names
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    names: Vec<String>,
}

fn name(text: &str) -> Result<String, String> {
    check_secret_name(text).map(|()| text.to_owned()).map_err(|error| error.message)
}

fn host(text: &str) -> Result<String, String> {
    HostName::parse(text).map(|host| host.to_string()).map_err(|fault| fault.to_string())
}

fn path(text: &str) -> Result<String, String> {
    PathPattern::parse(text).map(|path| path.to_string()).map_err(|fault| fault.to_string())
}

fn port(text: &str) -> Result<PortSpec, String> {
    PortRange::parse(text).map(PortSpec::from).map_err(|fault| fault.to_string())
}

pub(crate) async fn run(global: Global, command: SecretCommand) -> anyhow::Result<i32> {
    // What makes no sense is refused, and a value is read, before a daemon is started for it.
    let request = match &command {
        SecretCommand::Set(args) => request(args),
        SecretCommand::Rotate(RotateArgs { name }) => {
            read(name.clone()).map(|request| Some(SecretSetRequest { rotate: true, ..request }))
        }
        SecretCommand::Ls(_) | SecretCommand::Rm(_) => Ok(None),
    };
    let request = match request {
        Err(error) if error.is::<prompt::Interrupted>() => {
            output::note(&format!("ringfence: {error}"));
            return Ok(INTERRUPTED);
        }
        request => request?,
    };
    let daemon = daemon::connect(global.home.as_deref()).await?;
    let (api, as_json) = (daemon.api.as_ref(), global.json);
    match (command, request) {
        (_, Some(request)) => set(api, request, as_json).await,
        (SecretCommand::Rm(args), None) => rm(api, args, as_json).await,
        (_, None) => ls(api, as_json).await,
    }
}

fn request(args: &SetArgs) -> anyhow::Result<Option<SecretSetRequest>> {
    let (placements, sign) = (args.places.words(), args.signing.asked());
    match (args.hosts.is_empty(), placements.is_empty()) {
        (_, false) if sign.is_some() => {
            return failure::usage("what signs is never sent: leave out where it may stand");
        }
        (true, _) if sign.is_some() && !args.ports.is_empty() => return failure::usage("--port needs --host"),
        _ if sign.is_some() => {}
        (true, false) => return failure::usage("say which hosts it may go to: --host HOST"),
        (true, true) if !args.ports.is_empty() => return failure::usage("--port needs --host"),
        (false, true) => {
            return failure::usage(
                "say where it may stand: --header NAME, --bearer, --basic-user, --basic-password, --query FIELD, \
                 --frame FIELD or --jwt; or how it signs: --sign EXCHANGE",
            );
        }
        _ => {}
    }
    let request = read(args.name.clone())?;
    let (hosts, ports) = (args.hosts.clone(), args.ports.clone());
    Ok(Some(SecretSetRequest { hosts, ports, placements, sign, rotate: args.rotate, ..request }))
}

fn read(name: String) -> anyhow::Result<SecretSetRequest> {
    let value = prompt::value(&format!("value of {name}"))?;
    let (hosts, ports, placements) = (Vec::new(), Vec::new(), Vec::new());
    Ok(SecretSetRequest {
        name,
        value,
        hosts,
        ports,
        placements,
        sign: None,
        rotate: false,
        project: Project::default(),
    })
}

async fn set(api: &dyn Sandboxes, request: SecretSetRequest, as_json: bool) -> anyhow::Result<i32> {
    let answer = api.secret_set(Actor::Operator, request).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let s = &answer.secret;
    output::line(&format!("stored {} version {}, fingerprint {}", s.name, s.version, s.fingerprint))?;
    output::line(&format!("  may go to  {}", destinations(s)))?;
    match &s.sign {
        None => output::line(&format!("  in         {}", s.placements.join(", ")))?,
        Some(sign) => {
            output::line(&format!("  signs as   {}", sign.exchange.as_str()))?;
            output::line(&format!("  only       {}", signed(sign)))?;
        }
    }
    Ok(0)
}

/// What it signs.
fn signed(sign: &SecretSigning) -> String {
    let methods = if sign.methods.is_empty() { String::new() } else { format!("{} ", sign.methods.join(", ")) };
    format!("{methods}{}", sign.paths.join(", "))
}

/// Where it stands, or what it does instead.
fn places(s: &SecretSummary) -> String {
    match &s.sign {
        None => s.placements.join(", "),
        Some(sign) => format!("signs as {}: {}", sign.exchange.as_str(), signed(sign)),
    }
}

fn destinations(s: &SecretSummary) -> String {
    let ports: Vec<String> = s.ports.iter().map(ToString::to_string).collect();
    let port = if ports.is_empty() || ports == ["443"] { String::new() } else { format!(":{}", ports.join(",")) };
    s.hosts.iter().map(|host| format!("{host}{port}")).collect::<Vec<_>>().join(", ")
}

async fn ls(api: &dyn Sandboxes, as_json: bool) -> anyhow::Result<i32> {
    let answer: SecretListAnswer = api.secret_list(Actor::Operator, None).await?;
    if as_json {
        output::json(&answer)?;
        return Ok(0);
    }
    let mut table = output::table(&["secret", "project", "version", "fingerprint", "changed", "hosts", "places"]);
    for s in &answer.secrets {
        let version = if s.revoked { format!("{} (revoked)", s.version) } else { s.version.to_string() };
        let changed = s.rotated_at.as_ref().unwrap_or(&s.created_at);
        table.add_row([&s.name, s.project.as_str(), &version, &s.fingerprint, changed, &destinations(s), &places(s)]);
    }
    output::show(table)?;
    Ok(0)
}

async fn rm(api: &dyn Sandboxes, args: RmArgs, as_json: bool) -> anyhow::Result<i32> {
    for name in args.names {
        let answer = api.secret_remove(Actor::Operator, SecretRequest { name, ..SecretRequest::default() }).await?;
        if as_json {
            output::json(&answer)?;
        } else {
            output::line(&format!("removed {}", answer.name))?;
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_as_the_gateway_knows_them() {
        let places = Places {
            headers: vec!["X-Api-Key".into(), "X-Other".into()],
            bearer: true,
            basic_user: false,
            basic_password: true,
            queries: vec!["apikey".into()],
            frames: vec!["key".into()],
            jwt: false,
        };
        let words = places.words();
        assert_eq!(
            words,
            ["bearer", "basic:password", "header:X-Api-Key", "header:X-Other", "query:apikey", "frame:key"]
        );
        let request = SecretSetRequest {
            project: Project::default(),
            name: "A".into(),
            value: ringfence_model::api::Hidden::new("v".into()),
            hosts: vec!["a.example".into()],
            ports: vec![],
            placements: words,
            sign: None,
            rotate: false,
        };
        assert!(request.checked().is_ok(), "the API takes what the options make");
    }
}
