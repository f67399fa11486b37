//! Carrying out the steps of a recipe on a host, and sealing what they leave as a layer.

use std::{
    future::Future,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use ringfence_jail::proto::BuildPlan;
use ringfence_model::{LayerDigest, api::Package};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{mpsc, oneshot},
};

use super::{
    plan::{Step, tree_name},
    recipe::Recipe,
};
pub use crate::jailer::StepEnd;

/// Most of a build's output that is kept in its log. More is dropped: it comes from package scripts.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// Longest line that progress tells, in bytes of the output.
const LINE_BYTES_MAX: usize = 300;

/// Longest line that is looked at: the list of packages.
const LONG_LINE_BYTES_MAX: usize = 256 << 10;

/// Lines of a failed step that its error tells.
const LAST_LINES: usize = 12;

/// Begins the line with which a check tells the template's packages: a JSON list of `{name, version}`.
const PACKAGES_MARK: &[u8] = b"@packages ";

/// Most packages that a template lists.
const PACKAGES_MAX: usize = 4096;

/// Who carries steps out: the jailer, or a test.
pub trait BuildHost: Send + Sync {
    /// What it says when it cannot.
    type Error: std::error::Error + Send + Sync + 'static;

    /// A number for a step that was not used before.
    fn next_step(&self) -> u32;

    /// Starts a step that takes `input` in.
    fn step(&self, plan: BuildPlan, input: &[u8]) -> impl Future<Output = Result<StepStream, Self::Error>> + Send;

    /// Makes a tree a layer: its digest, its size in bytes, its number of files.
    fn seal(&self, tree: String) -> impl Future<Output = Result<(LayerDigest, u64, u64), Self::Error>> + Send;

    /// Removes a tree, if it exists.
    fn drop_tree(&self, tree: String) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A running step.
#[derive(Debug)]
pub struct StepStream {
    /// Its output, which ends with its processes.
    pub output: pipe::Receiver,
    /// How it ended.
    pub end: oneshot::Receiver<StepEnd>,
}

/// A word of progress. Nobody depends on one being seen.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildProgress {
    /// From 1.
    pub step: u32,
    /// How many steps there are; sealing counts as one.
    pub of: u32,
    /// What the step does.
    pub title: &'static str,
    /// The last line of its output, cut and without control characters; empty when the step begins.
    pub line: String,
    /// Since the build began.
    pub seconds: f64,
}

/// What was built.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The template's layer.
    pub layer: LayerDigest,
    /// Its size.
    pub bytes: u64,
    /// Its number of files.
    pub files: u64,
    /// What its check listed. Said by what was built, so for display only.
    pub packages: Vec<Package>,
    /// How long it took.
    pub seconds: f64,
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The host could not carry a step out.
    #[error("{title}: the step could not be carried out")]
    Host {
        /// What the step does.
        title: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A step's program failed. Its last lines are for the operator: they come from packages.
    #[error("{title}: {how}")]
    Step {
        /// What the step does.
        title: &'static str,
        /// With which code, or that it took too long.
        how: String,
        /// The end of its output.
        last_lines: Vec<String>,
    },
    /// The log cannot be written.
    #[error("the build's log {} cannot be written", .path.display())]
    Log {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn host<E: std::error::Error + Send + Sync + 'static>(title: &'static str) -> impl FnOnce(E) -> BuildError {
    move |source| BuildError::Host { title, source: Box::new(source) }
}

/// Builds a recipe. Nothing of an earlier, interrupted build of it is used; a failed one leaves nothing but its log.
///
/// To be run in a task of its own: a future that is dropped in the middle leaves a step running until its time limit,
/// and its tree until the next build.
///
/// # Errors
/// The step that failed.
pub async fn build<H: BuildHost>(
    on: &H,
    recipe: &Recipe,
    steps: &[Step],
    log: &Path,
    progress: &mpsc::Sender<BuildProgress>,
) -> Result<Built, BuildError> {
    let tree = tree_name(recipe);
    on.drop_tree(tree.clone()).await.map_err(host("clearing an earlier build"))?;
    let log_failed = |source| BuildError::Log { path: log.to_owned(), source };
    let mut reader = Reader {
        log: std::fs::File::create(log).map_err(log_failed)?,
        log_left: LOG_BYTES_MAX,
        began: Instant::now(),
        of: u32::try_from(steps.len()).expect("a recipe has few steps") + 1,
        progress,
        packages: Vec::new(),
    };
    for (number, step) in (1..).zip(steps) {
        let run = reader.run(on, number, step, &tree).await.and_then(|logged| logged.map_err(log_failed));
        if let Err(e) = run {
            let _ = on.drop_tree(tree).await;
            return Err(e);
        }
    }
    const SEALING: &str = "sealing the layer";
    reader.tell(reader.of, SEALING, String::new());
    let (layer, bytes, files) = match on.seal(tree.clone()).await {
        Ok(sealed) => sealed,
        Err(e) => {
            let _ = on.drop_tree(tree).await;
            return Err(host(SEALING)(e));
        }
    };
    Ok(Built { layer, bytes, files, packages: reader.packages, seconds: reader.began.elapsed().as_secs_f64() })
}

struct Reader<'a> {
    log: std::fs::File,
    log_left: u64,
    began: Instant,
    of: u32,
    progress: &'a mpsc::Sender<BuildProgress>,
    packages: Vec<Package>,
}

impl Reader<'_> {
    /// Runs a step to its end. The inner error is the log's.
    async fn run<H: BuildHost>(
        &mut self,
        on: &H,
        number: u32,
        step: &Step,
        tree: &str,
    ) -> Result<io::Result<()>, BuildError> {
        self.tell(number, step.title, String::new());
        let started = Instant::now();
        let plan = step.plan(on.next_step(), tree);
        let StepStream { mut output, end } = on.step(plan, &step.input).await.map_err(host(step.title))?;
        let mut logged = self.write(format!("== {}\n", step.title).as_bytes());
        let mut lines = Lines::default();
        let mut last_lines = std::collections::VecDeque::new();
        let mut buffer = vec![0_u8; 16 << 10];
        // Read to the end also when the log fails: the program would wait for room in the pipe otherwise.
        loop {
            let read = output.read(&mut buffer).await.unwrap_or(0);
            let ended = read == 0;
            if logged.is_ok() {
                logged = self.write(&buffer[..read]);
            }
            for line in lines.take(&buffer[..read], ended) {
                if let Some(packages) = line.strip_prefix(PACKAGES_MARK) {
                    self.packages = packages_of(packages);
                    continue;
                }
                let text = for_people(&line);
                if text.is_empty() {
                    continue;
                }
                if last_lines.len() == LAST_LINES {
                    last_lines.pop_front();
                }
                last_lines.push_back(text.clone());
                self.tell(number, step.title, text);
            }
            if ended {
                break;
            }
        }
        // The sender is dropped when the jailer is gone.
        let ended = end.await.unwrap_or(StepEnd { code: -1, timed_out: false });
        let seconds = started.elapsed().as_secs_f64();
        if logged.is_ok() {
            logged = self.write(format!("== {}: code {} after {seconds:.1} s\n", step.title, ended.code).as_bytes());
        }
        let how = match ended {
            StepEnd { timed_out: true, .. } => {
                format!("it took longer than {} s and was killed", step.timeout_ms / 1000)
            }
            StepEnd { code: 0, .. } => return Ok(logged),
            StepEnd { code: -1, .. } => "the jailer ended before the step did".to_owned(),
            StepEnd { code, .. } => format!("it failed with code {code}"),
        };
        Err(BuildError::Step { title: step.title, how, last_lines: last_lines.into() })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fitting = bytes.len().min(usize::try_from(self.log_left).unwrap_or(usize::MAX));
        self.log_left -= fitting as u64;
        self.log.write_all(&bytes[..fitting])
    }

    fn tell(&self, step: u32, title: &'static str, line: String) {
        let seconds = self.began.elapsed().as_secs_f64();
        let _ = self.progress.try_send(BuildProgress { step, of: self.of, title, line, seconds });
    }
}

/// Cuts output into lines; carriage returns end one too, as progress bars use them.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], ended: bool) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if matches!(byte, b'\n' | b'\r') {
                lines.push(std::mem::take(&mut self.begun));
            } else if self.begun.len() < LONG_LINE_BYTES_MAX {
                self.begun.push(byte);
            }
        }
        if ended && !self.begun.is_empty() {
            lines.push(std::mem::take(&mut self.begun));
        }
        lines
    }
}

/// Output of packages as text that a terminal may show.
fn for_people(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]);
    text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

fn packages_of(json: &[u8]) -> Vec<Package> {
    let plain = |text: &str| text.len() <= 200 && !text.chars().any(char::is_control);
    let packages: Vec<Package> = serde_json::from_slice(json).unwrap_or_default();
    packages.into_iter().filter(|p| plain(&p.name) && plain(&p.version)).take(PACKAGES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    };

    use super::{
        super::{plan, recipe::shipped_named},
        *,
    };

    /// Answers every step with a text and a code.
    struct Scripted {
        answers: fn(&BuildPlan) -> (&'static str, i32),
        calls: Mutex<Vec<String>>,
        number: AtomicU32,
    }

    impl Scripted {
        fn new(answers: fn(&BuildPlan) -> (&'static str, i32)) -> Self {
            Self { answers, calls: Mutex::default(), number: AtomicU32::new(7) }
        }

        fn called(&self, what: impl Into<String>) {
            self.calls.lock().expect("no panics").push(what.into());
        }
    }

    impl BuildHost for Scripted {
        type Error = io::Error;

        fn next_step(&self) -> u32 {
            self.number.fetch_add(1, Ordering::Relaxed)
        }

        async fn step(&self, plan: BuildPlan, _: &[u8]) -> Result<StepStream, io::Error> {
            self.called(format!("step {} {}", plan.step, plan.files[0].0));
            let (text, code) = (self.answers)(&plan);
            let (mut sender, output) = pipe::pipe()?;
            tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut sender, text.as_bytes()).await });
            let (tell, end) = oneshot::channel();
            tell.send(StepEnd { code, timed_out: false }).expect("just made");
            Ok(StepStream { output, end })
        }

        async fn seal(&self, _: String) -> Result<(LayerDigest, u64, u64), io::Error> {
            self.called("seal");
            Ok((LayerDigest::parse(&"a".repeat(64)).expect("64 digits"), 10, 2))
        }

        async fn drop_tree(&self, _: String) -> Result<(), io::Error> {
            self.called("drop");
            Ok(())
        }
    }

    async fn run(on: &Scripted) -> (Result<Built, BuildError>, Vec<BuildProgress>, String) {
        let recipe = shipped_named("python").expect("it is shipped");
        let steps = plan::steps(&recipe, &plan::HostSettings::default());
        let log = tempfile::NamedTempFile::new().expect("a file");
        let (sender, mut receiver) = mpsc::channel(64);
        let built = build(on, &recipe, &steps, log.path(), &sender).await;
        drop(sender);
        let mut told = Vec::new();
        while let Some(progress) = receiver.recv().await {
            told.push(progress);
        }
        (built, told, std::fs::read_to_string(log.path()).expect("the log"))
    }

    #[tokio::test]
    async fn steps_run_in_order_and_packages_are_kept() {
        let on = Scripted::new(|plan| match plan.files[0].0.as_str() {
            "check.py" => ("ok\n@packages [{\"name\":\"numpy\",\"version\":\"2\"}]\n", 0),
            _ => ("one\rtwo\x1b[2J\nthree", 0),
        });
        let (built, told, log) = run(&on).await;
        let built = built.expect("built");
        assert_eq!(built.packages, [Package { name: "numpy".into(), version: "2".into() }]);
        assert_eq!((built.bytes, built.files), (10, 2));
        let calls = on.calls.into_inner().expect("no panics");
        let expected = [
            "drop",
            "step 7 fetch.sh",
            "step 8 configure.sh",
            "step 9 pip.sh",
            "step 10 finish.sh",
            "step 11 check.py",
            "seal",
        ];
        assert_eq!(calls, expected);
        let first: Vec<_> = told.iter().filter(|p| p.step == 1).map(|p| p.line.as_str()).collect();
        assert_eq!(first, ["", "one", "two[2J", "three"]);
        assert!(told.iter().all(|p| p.of == 6) && told.last().is_some_and(|p| p.step == 6));
        assert!(log.contains("== trying it: code 0"));
    }

    #[tokio::test]
    async fn a_failed_step_ends_the_build_and_leaves_no_tree() {
        let on = Scripted::new(|plan| if plan.files[0].0 == "pip.sh" { ("no such package\n", 1) } else { ("", 0) });
        let (built, ..) = run(&on).await;
        let Err(BuildError::Step { title, how, last_lines }) = built else { panic!("{built:?}") };
        assert_eq!((title, how.as_str()), ("installing Python packages", "it failed with code 1"));
        assert_eq!(last_lines, ["no such package"]);
        let calls = on.calls.into_inner().expect("no panics");
        assert_eq!(calls, ["drop", "step 7 fetch.sh", "step 8 configure.sh", "step 9 pip.sh", "drop"]);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut lines = Lines::default();
        let flood = vec![b'x'; LONG_LINE_BYTES_MAX * 2];
        assert!(lines.take(&flood, false).is_empty());
        let line = lines.take(b"\n", false).remove(0);
        assert_eq!((line.len(), for_people(&line).len()), (LONG_LINE_BYTES_MAX, LINE_BYTES_MAX));
    }
}
