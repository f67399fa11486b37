//! `ringfence soak`.

use clap::Args;

use crate::{args::Global, bench::soak};

/// Does everything at once for a long time while roles are killed, and reports what is left
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo ringfence soak                          an hour
  sudo ringfence soak --minutes 5 --callers 8
  sudo ringfence soak --operations 10000 --seed 7

It starts a daemon of its own beside yours, whose Python template it takes, and kills parts of that one only. The exit code is 1 when \
something is left over, lost, doubled or broken; the state directory then stays, and its name is printed. The same seed chooses the \
same operations; when they meet a kill differs.")]
pub(crate) struct SoakArgs {
    /// For how long
    #[arg(long, value_name = "MINUTES", default_value_t = 60.0, value_parser = minutes)]
    pub(crate) minutes: f64,
    /// How many operations, in place of a time
    #[arg(long, value_name = "COUNT", conflicts_with = "minutes", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) operations: Option<u64>,
    /// What the operations are chosen by; printed when it was chosen by chance
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// How many call at once
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) callers: u8,
    /// Kill nobody
    #[arg(long)]
    pub(crate) no_kills: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes <= 7.0 * 24.0 * 60.0 => Ok(minutes),
        _ => Err(format!("`{text}` is not a number of minutes between 0 and a week")),
    }
}

pub(crate) async fn run(global: Global, args: SoakArgs) -> anyhow::Result<i32> {
    soak::run(&global, &args).await
}
