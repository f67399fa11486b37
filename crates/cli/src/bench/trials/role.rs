//! What takes the place of `serve` while trials are measured: an engine without faces, for no face offers trials. It is told what
//! to run line by line, and answers what came of it.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::future::try_join_all;
use ringfence_engine::{
    Engine,
    api::{Sandboxes, TrialRequest, Trials},
};
use ringfence_jail::{supervise, sys};
use ringfence_model::{
    Project,
    api::{Actor, ExecutionStatus},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

use crate::{bench::TEMPLATE, roles::BENCH_SERVE_ROLE};

/// Where the socket to the benchmark is, after the one to the jailer and the door.
const BENCH_FD: i32 = 5;

/// How long the template's interpreter may take to be warm.
const WARM_PATIENCE: Duration = Duration::from_secs(60);

/// What is run: each head is a trial, `codes` in turns.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) codes: Vec<String>,
    /// The first line of each trial's input; nothing for one without input.
    pub(super) heads: Vec<String>,
    /// What follows it, in base64.
    pub(super) bars: String,
    /// For those that run without sandboxes: how, and in how many processes.
    pub(super) who: String,
    pub(super) workers: usize,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) printed: Vec<String>,
    /// Of each, from its own beginning.
    pub(super) seconds: Vec<f64>,
    /// Of all.
    pub(super) wall: f64,
    /// Processor time of everything, in seconds.
    pub(super) cpu: f64,
    /// What of it was used by the programs themselves.
    #[serde(default)]
    pub(super) cpu_inside: f64,
    /// By role: `serve`, the jailer itself, and its children (builders of sandboxes, programs, and their ends).
    #[serde(default)]
    pub(super) cpu_by: Vec<(String, f64)>,
}

/// Plays the role until the benchmark has closed its socket.
///
/// # Errors
/// The engine does not start, or a line is none.
pub(crate) fn play(config: ringfence_engine::Config) -> anyhow::Result<i32> {
    let socket = std::os::unix::net::UnixStream::from(sys::inherited_fd(BENCH_FD).context("taking the socket")?);
    socket.set_nonblocking(true)?;
    let home = config.home.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        let (engine, gone) = Engine::start(config).await?;
        let served = async {
            warm(&engine).await?;
            answer(&engine, home, UnixStream::from_std(socket)?).await
        };
        tokio::select! {
            served = served => served?,
            _ = gone => bail!("the jailer is gone"),
        }
        engine.close().await;
        Ok(0)
    })
}

async fn warm(engine: &Engine) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let health = engine.health(Actor::Operator).await?;
        if health.templates.iter().any(|template| template.name == TEMPLATE && template.warm) {
            return Ok(());
        }
        ensure!(begin.elapsed() < WARM_PATIENCE, "the template's interpreter does not become warm");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn answer(engine: &Engine, home: PathBuf, socket: UnixStream) -> anyhow::Result<()> {
    let (lines, mut to) = socket.into_split();
    let mut lines = BufReader::new(lines).lines();
    while let Some(line) = lines.next_line().await? {
        let asked: Asked = serde_json::from_str(&line)?;
        let found = run(engine, &home, &asked).await.map_err(|error| format!("{error:#}"));
        to.write_all(format!("{}\n", serde_json::to_string(&found)?).as_bytes()).await?;
    }
    Ok(())
}

async fn run(engine: &Engine, home: &std::path::Path, asked: &Asked) -> anyhow::Result<Found> {
    let bars = BASE64_STANDARD.decode(&asked.bars)?;
    let before = used(home)?;
    let begin = Instant::now();
    let trials = asked.heads.iter().enumerate().map(|(number, head)| {
        let code = asked.codes[number % asked.codes.len()].clone();
        let input = if head.is_empty() { Vec::new() } else { [head.as_bytes(), b"\n", &bars].concat() };
        async move {
            let request = TrialRequest {
                template: TEMPLATE.to_owned(),
                project: Project::default(),
                purpose: format!("bench {number}"),
                code,
                input,
                timeout: 60.0,
                memory_mib: None,
            };
            let answer = engine.trial(Actor::Operator, request).await?;
            ensure!(answer.status == ExecutionStatus::Completed, "a trial ended as {answer:?}");
            Ok((String::from_utf8(answer.output)?, answer.execution_time, answer.cpu_time))
        }
    });
    let answers = try_join_all(trials).await?;
    let wall = begin.elapsed().as_secs_f64();
    // What is still being taken apart belongs to it.
    while engine.health(Actor::Operator).await?.trials.running > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let cpu_by: Vec<(String, f64)> =
        used(home)?.into_iter().zip(before).map(|((name, now), (_, then))| (name, now - then)).collect();
    let mut found = Found {
        printed: Vec::new(),
        seconds: Vec::new(),
        wall,
        cpu: cpu_by.iter().map(|(_, seconds)| seconds).sum(),
        cpu_inside: 0.0,
        cpu_by,
    };
    for (printed, seconds, cpu) in answers {
        found.printed.push(printed);
        found.seconds.push(seconds);
        found.cpu_inside += cpu;
    }
    Ok(found)
}

/// Processor time of the roles of this daemon so far, in seconds: fields 14 to 17 of `/proc/<pid>/stat`, proc(5).
fn used(home: &std::path::Path) -> anyhow::Result<Vec<(String, f64)>> {
    /// `sysconf(_SC_CLK_TCK)` is this on every architecture that Linux tells user space about.
    const TICKS_PER_SECOND: f64 = 100.0;
    let home = home.to_string_lossy();
    let mut all = Vec::new();
    for role in [BENCH_SERVE_ROLE, supervise::JAILER_ROLE, supervise::GATEWAY_ROLE] {
        for entry in fs::read_dir("/proc")?.flatten() {
            // `self` and `thread-self` are links to one that is listed.
            if entry.file_name().to_string_lossy().parse::<u32>().is_err() {
                continue;
            }
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let mut args = line.split(|byte| *byte == 0);
            if args.next() != Some(role.as_bytes()) || args.next() != Some(home.as_bytes()) {
                continue;
            }
            let stat = fs::read_to_string(entry.path().join("stat"))?;
            let fields: Vec<&str> = stat.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
            let field = |number: usize| -> f64 { fields.get(number - 3).and_then(|f| f.parse().ok()).unwrap_or(0.0) };
            all.push((role.to_owned(), (field(14) + field(15)) / TICKS_PER_SECOND));
            all.push((format!("{role}'s children"), (field(16) + field(17)) / TICKS_PER_SECOND));
        }
    }
    Ok(all)
}
