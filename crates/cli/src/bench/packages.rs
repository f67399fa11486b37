//! Installing packages a second time, beside the same pip with the same wheels at hand.

use std::{collections::BTreeMap, path::Path, process::Command, time::Instant};

use anyhow::{Context, ensure};
use ringfence_model::api::{
    Actor, ConfigureRequest, CreateRequest, EnvVars, ExecuteRequest, ExecutionStatus, NamedNetwork, Network,
};

use super::{
    contender,
    result::{Outcome, Row},
    subject::Subject,
};

/// The lists of the seed document.
const LISTS: [(&str, &[&str]); 2] = [
    ("install alpaca-py, pandas, numpy", &["alpaca-py", "pandas", "numpy"]),
    (
        "install alpaca-py, yfinance, ta-lib, pandas, numpy, scikit-learn",
        &["alpaca-py", "yfinance", "ta-lib", "pandas", "numpy", "scikit-learn"],
    ),
];
/// How much longer a warm install may take than its floor, in seconds.
const ABOVE_FLOOR_MAX: f64 = 0.5;

/// What pip would download for the list, as files in `wheels`; of what the template has there are none.
const DOWNLOAD: &str = r#"
import json, os, subprocess, sys
pip = [sys.executable, "-m", "pip", "--quiet", "--no-cache-dir"]
os.makedirs("/home/user/wheels", exist_ok=True)
report = subprocess.run([*pip, "install", "--user", "--dry-run", "--report", "-", *sys.argv[1:]], stdout=subprocess.PIPE, check=True)
items = [item["metadata"] for item in json.loads(report.stdout)["install"]]
exact = [f"{item['name']}=={item['version']}" for item in items]
if exact:
    subprocess.run([*pip, "download", "--no-deps", "--dest", "/home/user/wheels", *exact], check=True)
print(len(exact))
"#;

/// The template's own pip without a sandbox, on its root file system and with pip's own cache: `$1` is that root, `$2` how often.
const BARE: &str = r#"
set -eu
root=$1 rounds=$2; shift 2
mount -t tmpfs -o size=2g tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
cd /mnt/root
cp -L /etc/resolv.conf /etc/hosts etc/
cp -L /etc/ssl/certs/ca-certificates.crt etc/ssl/certs/
chown 1000:1000 home/user
mount -t proc proc proc
for round in $(seq 0 "$rounds"); do
    rm -rf home/user/.local
    begin=$(date +%s%N)
    chroot --userspec=1000:1000 . env -i HOME=/home/user PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 \
        PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
        python3 -m pip install --quiet --user --no-compile --prefer-binary --no-warn-script-location \
        --disable-pip-version-check --progress-bar off "$@" >&2
    echo $(( $(date +%s%N) - begin ))
done
"#;

/// Measures both lists: in a new sandbox each time, with the wheels at hand, and without a sandbox.
///
/// # Errors
/// A request was refused, or something could not be installed.
pub(super) async fn run(subject: &Subject, home: &Path, rounds: u32) -> anyhow::Result<(Vec<Row>, Vec<Outcome>)> {
    let (mut rows, mut outcomes) = (Vec::new(), Vec::new());
    for (what, list) in LISTS {
        let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
        let at_hand = with_wheels(subject, &list).await?;
        // What is not in the cache yet comes into it.
        installed_anew(subject, &list).await?;
        let (mut warm, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            warm.push(installed_anew(subject, &list).await?);
            remove(subject, &at_hand).await?;
            subject.settle().await?;
            floor.push(install(subject, &at_hand, &list).await?);
        }
        subject.delete(&at_hand).await?;
        let warm = Row::of(what, "ringfence, warm", warm)?;
        let floor = Row::of(what, "the same, wheels at hand", floor)?;
        let above = warm.p50 - floor.p50;
        outcomes.push(Outcome {
            what: format!("{what}, above its floor"),
            found: format!("{above:.3} s (p50); at most {ABOVE_FLOOR_MAX} s"),
            data: serde_json::json!({ "seconds": above }),
            is_good: above <= ABOVE_FLOOR_MAX,
        });
        rows.extend([warm, floor]);
        match bare(home, rounds, &list) {
            Ok(seconds) => rows.push(Row::of(what, "bare pip", seconds)?),
            Err(error) => crate::output::note(&format!("bench: without bare pip: {error:#}")),
        }
    }
    Ok((rows, outcomes))
}

/// In a sandbox of its own; the seconds of the installation alone.
async fn installed_anew(subject: &Subject, list: &[String]) -> anyhow::Result<f64> {
    let sandbox = subject.create().await?.sandbox_id.to_string();
    // Filling the shelf again is work that the others do not have beside theirs.
    subject.settle().await?;
    let seconds = install(subject, &sandbox, list).await;
    subject.delete(&sandbox).await?;
    seconds
}

async fn install(subject: &Subject, sandbox: &str, list: &[String]) -> anyhow::Result<f64> {
    let request = ConfigureRequest {
        sandbox_id: sandbox.to_owned(),
        install_packages: list.to_vec(),
        ..ConfigureRequest::default()
    };
    let begin = Instant::now();
    let answer = subject.api.configure(Actor::Operator, request).await?;
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(answer.packages_installed.len() == list.len(), "not all of {list:?} is installed");
    Ok(seconds)
}

/// A sandbox whose pip asks no index, and finds everything in a directory.
async fn with_wheels(subject: &Subject, list: &[String]) -> anyhow::Result<String> {
    let request = CreateRequest {
        template: subject.template.to_owned(),
        network: Some(Network::Named(NamedNetwork::Packages)),
        ..CreateRequest::default()
    };
    let sandbox = subject.api.create(Actor::Operator, request, None).await?.sandbox_id.to_string();
    let code = DOWNLOAD.replace("*sys.argv[1:]", &format!("*{}", serde_json::to_string(list)?));
    python(subject, &sandbox, code).await?;
    let environment = [("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", "/home/user/wheels")];
    let environment: BTreeMap<_, _> =
        environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let request = ConfigureRequest {
        sandbox_id: sandbox.clone(),
        env_vars: EnvVars::new(environment),
        ..ConfigureRequest::default()
    };
    subject.api.configure(Actor::Operator, request).await?;
    Ok(sandbox)
}

async fn remove(subject: &Subject, sandbox: &str) -> anyhow::Result<()> {
    let code = "import shutil; shutil.rmtree('/home/user/.local', ignore_errors=True)";
    python(subject, sandbox, code.to_owned()).await
}

async fn python(subject: &Subject, sandbox: &str, code: String) -> anyhow::Result<()> {
    let request = ExecuteRequest {
        sandbox_id: sandbox.to_owned(),
        code,
        language: Some("python".to_owned()),
        timeout: Some(600.0),
        ..ExecuteRequest::default()
    };
    let answer = subject.api.execute(Actor::Operator, request).await?;
    ensure!(answer.status == ExecutionStatus::Completed, "a program ended: {}", answer.stderr);
    Ok(())
}

fn bare(home: &Path, rounds: u32, list: &[String]) -> anyhow::Result<Vec<f64>> {
    let root = contender::rootfs(home).context("the template has no interpreter")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", BARE, "sh"]);
    let ended = command.arg(root).arg(rounds.to_string()).args(list).output().context("starting unshare")?;
    ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr).lines().last().unwrap_or_default());
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    // The first one filled pip's cache.
    let nanoseconds = said.lines().skip(1).map(|line| line.trim().parse::<f64>());
    nanoseconds.map(|each| each.map(|n| n / 1e9).context("what it took")).collect()
}
