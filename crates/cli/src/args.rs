//! The command line as a whole. Each command's own arguments are beside its code.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ringfence_model::Project;

use crate::commands::{
    audit, backup, bench, config, credits, data, demo, doctor, egress, install, mcp, pages, pipeline, preview,
    reconcile, run, sandbox, secret, serve, soak, status, stop, story, swarm, sweep, task, template, token, top, trade,
    venue,
};

/// Runs code that nobody trusts, in sandboxes that are ready in milliseconds.
#[derive(Debug, Parser)]
#[command(
    name = "ringfence",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = "\
Examples:
  ringfence run backtest.py                     a file in a sandbox of its own
  echo 'print(6 * 7)' | ringfence run - --language python
  ringfence sandbox create python --name lab    one that stays
  ringfence sandbox exec lab -c 'print(6 * 7)'
  ringfence sandbox create --allow api.example.com   the only host that it may reach
  ringfence secret set ALPACA_API_KEY           a key that programs use and never see
  ringfence trade status                        where orders go, and what limits them
  ringfence sweep sma_cross --param fast=10,20 --param slow=50,100   backtests, ranked
  ringfence swarm init mesh --agents 3          agents, each with a sandbox, that vote
  ringfence preview lab 8000                    the address of what listens there
  ringfence mcp config                          connect an MCP client
  ringfence doctor                              what this host offers and what it lacks

A command starts the daemon when none runs and it may (as root). Its state is in $RINGFENCE_HOME, or in \
/var/lib/ringfence. Exit codes: 0 done, 1 refused or failed, 2 a command line that makes no sense; `run` and \
`sandbox exec` end with the program's own code, 124 when its time ran out."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// State directory of the daemon [default: /var/lib/ringfence]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "RINGFENCE_HOME",
        hide_env_values = true,
        help_heading = "Everywhere"
    )]
    pub(crate) home: Option<PathBuf>,
    /// See and make what belongs to this project alone
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "RINGFENCE_PROJECT",
        value_parser = project,
        help_heading = "Everywhere"
    )]
    pub(crate) project: Option<Project>,
    /// Print data as JSON, errors too
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::RunArgs),
    #[command(subcommand)]
    Sandbox(sandbox::SandboxCommand),
    #[command(subcommand)]
    Template(template::TemplateCommand),
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    #[command(subcommand)]
    Egress(egress::EgressCommand),
    #[command(subcommand)]
    Trade(trade::TradeCommand),
    Sweep(Box<sweep::SweepArgs>),
    #[command(subcommand)]
    Swarm(swarm::SwarmCommand),
    #[command(subcommand)]
    Task(task::TaskCommand),
    Preview(preview::PreviewArgs),
    #[command(subcommand)]
    Pipeline(pipeline::PipelineCommand),
    #[command(subcommand)]
    Data(data::DataCommand),
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    #[command(subcommand)]
    Token(token::TokenCommand),
    #[command(subcommand)]
    Project(token::ProjectCommand),
    #[command(subcommand)]
    Credits(credits::CreditsCommand),
    Usage(credits::UsageArgs),
    Story(story::StoryArgs),
    Mcp(mcp::McpArgs),
    Serve(serve::ServeArgs),
    Venue(venue::VenueArgs),
    Stop(stop::StopArgs),
    Status(status::StatusArgs),
    Top(top::TopArgs),
    Doctor(doctor::DoctorArgs),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Reconcile(reconcile::ReconcileArgs),
    Install(install::InstallArgs),
    Uninstall(install::UninstallArgs),
    Completions(pages::CompletionsArgs),
    Man(pages::ManArgs),
    Demo(demo::DemoArgs),
    Bench(bench::BenchArgs),
    Soak(soak::SoakArgs),
}

fn project(text: &str) -> Result<Project, String> {
    Project::parse(text).map_err(|error| error.message)
}

/// `NAME=value` of an environment variable.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=value")),
    }
}

/// A duration in seconds: `90`, `1.5`, `90s`, `15m`, `2h`, `1d`.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.trim_end_matches(|c: char| c.is_ascii_alphabetic()) {
        number if number.len() == text.len() => (text, 1.0),
        number => {
            let unit = match &text[number.len()..] {
                "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                unit => return Err(format!("`{unit}` is not a unit of time: use s, m, h or d")),
            };
            (number, unit)
        }
    };
    match number.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value * unit),
        _ => Err(format!("`{text}` is not a duration: write 90, 1.5, 90s, 15m, 2h or 1d")),
    }
}

/// A duration in whole seconds.
pub(crate) fn whole_seconds(text: &str) -> Result<u64, String> {
    match seconds(text)? {
        s if s >= 1.0 && s < u64::MAX as f64 => Ok(s.round() as u64),
        _ => Err(format!("`{text}` is less than a second")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        fn walk(command: &clap::Command, above: &str, silent: &mut Vec<String>) {
            for one in command.get_subcommands() {
                let path = format!("{above} {}", one.get_name());
                if one.get_about().is_none_or(|about| about.to_string().trim().is_empty()) {
                    silent.push(path.clone());
                }
                walk(one, &path, silent);
            }
        }
        let mut silent = Vec::new();
        walk(&Cli::command(), "ringfence", &mut silent);
        assert_eq!(silent, Vec::<String>::new());
    }

    #[test]
    fn durations_have_units() {
        for (text, expected) in
            [("90", 90.0), ("1.5", 1.5), ("90s", 90.0), ("15m", 900.0), ("2h", 7200.0), ("1d", 86_400.0)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "x", "-1", "0", "1w", "nan", "inf"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(whole_seconds("1.4s"), Ok(1));
        assert!(whole_seconds("0.4").is_err());
    }

    #[test]
    fn values_may_hold_an_equals_sign_and_names_may_not_be_empty() {
        assert_eq!(key_value("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(key_value("A="), Ok(("A".into(), String::new())));
        assert!(key_value("A").is_err());
        assert!(key_value("=b").is_err());
    }

    #[track_caller]
    fn check(line: &str, accepted: bool) {
        let words = std::iter::once("ringfence").chain(line.split_whitespace());
        assert_eq!(Cli::try_parse_from(words).is_ok(), accepted, "{line}");
    }

    #[test]
    fn what_the_help_shows_is_accepted() {
        for line in [
            "run backtest.py --timeout 2m --env A=1 --env B=2 --keep",
            "run - --language python",
            "run --template python backtest.py --json",
            "serve --tcp none",
            "serve --tcp 127.0.0.1:7433 --home /tmp/x",
            "mcp",
            "mcp config --json",
            "sandbox create python --name lab --timeout 2h --memory-mb 512",
            "sandbox create",
            "sandbox create python --allow api.example.com --allow *.example.org:8443 --secret EXAMPLE_KEY",
            "sandbox create node --network packages",
            "sandbox create --trade-account lab --trade-start 2012-06-01 --trade-speed 60",
            "sandbox configure lab --allow api.example.com:443",
            "sandbox configure ihhhhhhhhhhhhhhhhhhhh --network none --allow a.test:8000-8010",
            "sandbox configure lab --secret EXAMPLE_KEY --network open",
            "run a.py --allow api.example.com --secret EXAMPLE_KEY",
            "secret set ALPACA_API_KEY",
            "secret set K --host api.example.com --port 8443 --header X-Api-Key --bearer --query key",
            "secret set K --host a.test --host b.test --basic-user --basic-password --frame key --rotate",
            "secret ls",
            "secret rotate K",
            "secret rm K L",
            "egress tail",
            "preview lab 8000",
            "preview public lab 8000",
            "preview public lab 8000 --off --json",
            "preview rotate lab 8000",
            "egress tail lab -f -n 5 --json",
            "trade mode",
            "trade mode simulated",
            "trade mode live --account live:0c5a --until 2h",
            "trade limits --all",
            "trade limits --sandbox lab set permitted_symbols=AAPL,MSFT max_open_orders=3",
            "trade status --sandbox lab --follow --json",
            "trade halt --sandbox lab --reason loop --no-cancel",
            "trade halt --flatten",
            "trade reduce --account sim:a",
            "trade resume --sandbox lab",
            "trade orders --open -n 5",
            "trade positions",
            "trade holds",
            "trade approve 3",
            "trade refuse 3",
            "swarm init mesh --agents 3",
            "swarm init hierarchical --strategy specialized --name desk",
            "swarm spawn --type risk --name cautious",
            "swarm spawn swarm_aaaaaaaaaaaaaaaa",
            "swarm status",
            "swarm ls --all",
            "swarm scale 5 --swarm desk",
            "swarm destroy desk",
            "task run",
            "task run Technical --input a.json --consensus two_thirds --strategy adaptive --priority high",
            "task run --code vote.py --rounds 2 --timeout 2m --parallelism 4 --swarm desk",
            "task status task_aaaaaaaaaaaaaaaa --wait 30",
            "task cancel task_aaaaaaaaaaaaaaaa",
            "sandbox exec lab -c print(1)",
            "sandbox exec lab file.py",
            "sandbox exec lab",
            "sandbox ls --status running",
            "sandbox rm lab other",
            "sandbox cp lab:/home/user/a.txt .",
            "sandbox configure lab --env A=1 --unset B --timeout 1d --run true",
            "template build python --rebuild",
            "template build",
            "pipeline run examples/pipeline/pipeline.toml",
            "pipeline run - --background --json",
            "pipeline show pipeline_0123456789abcdef",
            "pipeline list -n 5",
            "pipeline resume pipeline_0123456789abcdef --from analyse",
            "pipeline cancel pipeline_0123456789abcdef",
            "pipeline output pipeline_0123456789abcdef analyse signal.json -o /tmp/signal.json",
            "data import AAPL.csv more.parquet --interval day --timezone UTC --name X --symbol AAPL --actions a.csv",
            "data import --actions a.csv",
            "data list --json",
            "data check",
            "data check AAPL.csv",
            "data remove AAPL --interval minute",
            "audit tail -n 20 --follow",
            "audit verify",
            "audit verify --file a.jsonl --file b.jsonl --json",
            "audit export - --format jsonl --since 2026-01-31T09:00:00Z",
            "audit query --chain gate --event egress --text example.com -n 5",
            "audit head",
            "audit export - --format ocsf",
            "audit prune --keep-days 90 --export /srv/a.jsonl",
            "audit prune --before 2026-01-01T00:00:00Z --no-export",
            "story lab",
            "story lab --out lab.html",
            "audit key --json",
            "health",
            "sweep sma_cross",
            "sweep rsi --no-short --whole-shares --leverage-max 2 --volume-share-max 0.05 --rebalance on_change --risk-free -0.005",
            "sweep sma_cross --symbols AAPL,MSFT --param fast=10,20 --param slow=5..50:5 --set short=true --json",
            "sweep run momentum,breakout --walk-forward 500:60 --anchored --metric calmar --search random --budget 5",
            "sweep show",
            "sweep show mine --all --json",
            "sweep list -n 3",
            "sweep cancel mine",
            "sweep rm mine --json",
            "sweep prune --older-than 30 --dry-run",
            "pipeline prune --older-than 0",
            "swarm prune --older-than 7",
            "task prune --older-than 7 --json",
            "sweep export mine --csv a.csv --parquet b.parquet",
            "sweep report mine a.html",
            "status",
            "top",
            "top --once --json",
            "config show --explain",
            "config check /tmp/config.toml --json",
            "completions fish",
            "man",
            "man ./man1",
            "install --dry-run --prefix /opt/ringfence --root /tmp/x",
            "uninstall --prefix /opt/ringfence",
            "doctor --json",
            "demo --json",
            "bench --alive 1000 --cycles 10000",
            "backup /srv/monday.tar.zst",
            "backup --disks /srv/monday.tar.zst --json",
            "restore /srv/monday.tar.zst --home /srv/x",
            "reconcile",
            "reconcile --yes --json",
            "soak",
            "soak --minutes 0.5 --callers 8 --no-kills",
            "soak --operations 10000 --seed 7",
            "usage",
            "usage --by day --days 7 --json",
            "usage --by project -n 5",
            "usage --sandbox lab",
            "credits balance --project fund",
            "credits grant 12.5 --project fund --key invoice-2026-07",
            "credits budget unlimited",
            "credits budget 0",
        ] {
            check(line, true);
        }
        for line in [
            "",
            "run",
            "sandbox",
            "serve --tcp nonsense",
            "sandbox exec lab -c 1 file.py",
            "nonsense",
            "sandbox rm",
            "run a.py --timeout 0",
            "run a.py --allow 10.0.0.1",
            "sandbox create --network everything",
            "sandbox configure lab --allow *",
            "secret",
            "secret set",
            "secret set K value",
            "secret set K=value",
            "secret set K --host *.example.com --bearer",
            "secret rm",
            "data",
            "data import",
            "data import AAPL.csv --interval week",
            "data import AAPL.csv --timezone Nowhere/Town",
            "data import aapl.csv --symbol aapl",
            "data remove",
            "egress",
            "egress tail a b",
            "trade",
            "trade mode armed",
            "trade limits set",
            "trade limits set max_open_orders",
            "trade halt --flatten --sandbox lab",
            "trade halt --flatten --no-cancel",
            "trade mode live --confirm live:0c5a",
            "trade mode live --yes",
            "trade approve",
            "trade approve x",
            "sweep sma_cross --param fast",
            "sweep sma_cross --metric luck",
            "sweep sma_cross --anchored",
            "sweep export mine",
            "sweep cancel",
            "sweep rm",
            "sweep prune",
            "task prune --older-than 36501",
            "swarm",
            "swarm init",
            "swarm init grid",
            "swarm init mesh --agents 0",
            "swarm init mesh --agents 101",
            "swarm destroy",
            "swarm scale",
            "task",
            "task run --code a.py --handler risk",
            "task status",
            "task cancel",
            "preview",
            "preview lab",
            "preview lab 0",
            "preview lab 65536",
            "preview public lab",
            "preview rotate lab",
            "pipeline",
            "pipeline run",
            "pipeline output pipeline_0123456789abcdef analyse",
            "audit prune --keep-days 90",
            "audit prune --no-export",
            "audit prune --keep-days 0 --no-export",
            "audit prune --keep-days 9 --no-export --export a.jsonl",
            "story",
            "story lab --out a.html --json",
            "backup",
            "config",
            "config check a b",
            "completions",
            "completions tcsh",
            "uninstall --purge",
            "restore",
            "soak --minutes 0",
            "soak --minutes 1 --operations 10",
            "soak --callers 0",
            "usage --by year",
            "usage --days 0",
            "credits",
            "credits grant",
            "credits grant 1.2345",
            "credits grant -- -1",
            "credits budget much",
        ] {
            check(line, false);
        }
    }
}
