//! Carrying out the stages of a recipe on a host, and sealing what each leaves as a layer.

mod lines;

use std::{
    future::Future,
    io::{self, Write},
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    time::Instant,
};

use ringfence_jail::proto::{BuildPlan, LayerWork};
use ringfence_model::{
    LayerDigest,
    api::{BuildStage, Package},
};
use sha2::{Digest, Sha256};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    sync::{OwnedMutexGuard, mpsc, oneshot},
};

use super::{
    image::ImageWork,
    plan::{Stage, Step},
};
use lines::{Lines, for_people, packages_of};

pub use crate::jailer::StepEnd;

/// Most of a build's output that is kept in its log. More is dropped: it comes from package scripts.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// Lines of a failed step that its error tells.
const LAST_LINES: usize = 12;

/// Begins the line with which a check tells the template's packages: a JSON list of `{name, version}`.
const PACKAGES_MARK: &[u8] = b"@packages ";

/// Who carries steps out, and remembers what they left: the jailer and the store, or a test.
pub trait BuildHost: Send + Sync {
    /// What it says when it cannot.
    type Error: std::error::Error + Send + Sync + 'static;

    /// A number for a step that was not used before.
    fn next_step(&self) -> u32;

    /// Name of the tree in which a stage is built.
    fn tree(&self, key: &str) -> String;

    /// Waits until nobody else builds the stage of that key. It is nobody else's until the guard is dropped.
    fn turn(&self, key: &str) -> impl Future<Output = OwnedMutexGuard<()>> + Send;

    /// What a stage of that key has left here.
    fn kept(&self, key: &str) -> impl Future<Output = Result<Option<Kept>, Self::Error>> + Send;

    /// Remembers what a stage has left.
    fn keep(&self, stage: &Stage, kept: &Kept) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Starts a step that takes `input` in.
    fn step(&self, plan: BuildPlan, input: &[u8]) -> impl Future<Output = Result<StepStream, Self::Error>> + Send;

    /// Starts work on layers of the recipe's image.
    fn work(
        &self,
        work: LayerWork,
        image: Option<BorrowedFd<'_>>,
    ) -> impl Future<Output = Result<StepStream, Self::Error>> + Send;

    /// Makes a tree a layer: its digest, its size in bytes, its number of files.
    fn seal(&self, tree: String) -> impl Future<Output = Result<(LayerDigest, u64, u64), Self::Error>> + Send;

    /// Removes a tree, if it exists.
    fn drop_tree(&self, tree: String) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// What a stage has left.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its layer; `None` when it changed nothing.
    pub layer: Option<LayerDigest>,
    /// The layer's size.
    pub bytes: u64,
    /// What it listed. Said by what was built, so for display only.
    pub packages: Vec<Package>,
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
    /// Number of the stage, from 1.
    pub step: u32,
    /// How many stages there are.
    pub of: u32,
    /// What the stage does.
    pub title: &'static str,
    /// The last line of its output, cut and without control characters; empty when the step begins.
    pub line: String,
    /// Since the build began.
    pub seconds: f64,
}

/// What was built.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// The template's layers, lowest first.
    pub layers: Vec<LayerDigest>,
    /// Their size.
    pub bytes: u64,
    /// What the last stage that listed packages listed. Said by what was built, so for display only.
    pub packages: Vec<Package>,
    /// How long it took.
    pub seconds: f64,
    /// Stage by stage.
    pub stages: Vec<BuildStage>,
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

/// Builds a recipe, stage by stage, over the `image` with which it begins, if it does. What a stage of the same key has left before is used again, unless it is to be `fresh`. Of an
/// interrupted or failed stage nothing is used, and nothing left but the log.
///
/// To be run in a task of its own: a future that is dropped in the middle leaves a step running until its time limit,
/// and its tree until the next start.
///
/// # Errors
/// The step that failed.
pub async fn build<H: BuildHost>(
    on: &H,
    stages: &[Stage],
    image: Option<BorrowedFd<'_>>,
    fresh: bool,
    log: &Path,
    progress: &mpsc::Sender<BuildProgress>,
) -> Result<Built, BuildError> {
    let log_failed = |source| BuildError::Log { path: log.to_owned(), source };
    let began = Instant::now();
    let mut reader = Reader {
        log: std::fs::File::create(log).map_err(log_failed)?,
        log_left: LOG_BYTES_MAX,
        began,
        of: u32::try_from(stages.len()).expect("a recipe has few stages"),
        progress,
        image,
        packages: Vec::new(),
    };
    let mut built = Built { layers: Vec::new(), bytes: 0, packages: Vec::new(), seconds: 0.0, stages: Vec::new() };
    for (number, stage) in (1..).zip(stages) {
        let _turn = on.turn(&stage.key).await;
        let started = Instant::now();
        let known = if fresh { None } else { on.kept(&stage.key).await.map_err(host(stage.title))? };
        let reused = known.is_some();
        let kept = match known {
            Some(kept) => {
                reader.tell(number, stage.title, "built before, used again".into());
                kept
            }
            None => {
                let below: Vec<LayerDigest> = built.layers.iter().rev().cloned().collect();
                let kept =
                    reader.stage(on, number, stage, &below).await.and_then(|logged| logged.map_err(log_failed))?;
                on.keep(stage, &kept).await.map_err(host(stage.title))?;
                kept
            }
        };
        let done = BuildStage {
            title: stage.title.to_owned(),
            key: stage.key.clone(),
            reused,
            layer: kept.layer.as_ref().map(ToString::to_string),
            size_bytes: kept.bytes,
            seconds: started.elapsed().as_secs_f64(),
        };
        let how = if reused { "built before, used again".to_owned() } else { format!("{:.1} s", done.seconds) };
        let layer = done.layer.as_deref().unwrap_or("none, for nothing changed");
        let line = format!("== {}: {how}; key {}, layer {layer}\n", stage.title, stage.key);
        reader.write(line.as_bytes()).map_err(log_failed)?;
        built.bytes += kept.bytes;
        built.layers.extend(kept.layer);
        if !kept.packages.is_empty() {
            built.packages = kept.packages;
        }
        built.stages.push(done);
    }
    built.seconds = began.elapsed().as_secs_f64();
    Ok(built)
}

/// The layer of a stage that changed nothing: its root, and nothing in it.
fn is_empty(layer: &LayerDigest) -> bool {
    const MODE: u32 = 0o755;
    let mut hash = Sha256::new();
    for part in [&b"d"[..], &0_u32.to_le_bytes(), &MODE.to_le_bytes(), &[0; 8], &0_u64.to_le_bytes()] {
        hash.update(part);
    }
    hex::encode(hash.finalize()) == layer.as_str()
}

/// What is done in a stage.
enum Do<'a> {
    Image(&'a ImageWork),
    Step(&'a Step),
}

struct Reader<'a> {
    log: std::fs::File,
    log_left: u64,
    began: Instant,
    of: u32,
    progress: &'a mpsc::Sender<BuildProgress>,
    /// The archive of the recipe's image.
    image: Option<BorrowedFd<'a>>,
    packages: Vec<Package>,
}

impl Reader<'_> {
    /// Builds a stage over the layers below it. The inner error is the log's.
    async fn stage<H: BuildHost>(
        &mut self,
        on: &H,
        number: u32,
        stage: &Stage,
        below: &[LayerDigest],
    ) -> Result<io::Result<Kept>, BuildError> {
        let tree = on.tree(&stage.key);
        on.drop_tree(tree.clone()).await.map_err(host("clearing an earlier build"))?;
        self.packages.clear();
        let mut logged = Ok(());
        let of_image = stage.image.iter().map(Do::Image);
        for what in of_image.chain(stage.steps.iter().map(Do::Step)) {
            self.tell(number, stage.title, String::new());
            let begun = match what {
                Do::Image(work) => on.work(work.plan(&tree, below), self.image).await,
                Do::Step(step) => on.step(step.plan(on.next_step(), &tree, below), &step.input).await,
            };
            let ran = match begun {
                Ok(stream) => self.run(number, stage.title, stream).await,
                Err(e) => Err(host(stage.title)(e)),
            };
            match ran {
                Ok(Ok(())) => {}
                Ok(Err(e)) => {
                    logged = Err(e);
                    break;
                }
                Err(e) => {
                    let _ = on.drop_tree(tree).await;
                    return Err(e);
                }
            }
        }
        if let Err(e) = logged {
            let _ = on.drop_tree(tree).await;
            return Ok(Err(e));
        }
        self.tell(number, stage.title, "sealing the layer".into());
        match on.seal(tree.clone()).await {
            Ok((layer, bytes, _)) => {
                let layer = (!is_empty(&layer)).then_some(layer);
                Ok(Ok(Kept { layer, bytes, packages: std::mem::take(&mut self.packages) }))
            }
            Err(e) => {
                let _ = on.drop_tree(tree).await;
                Err(host(stage.title)(e))
            }
        }
    }

    /// Runs a step to its end. The inner error is the log's.
    async fn run(
        &mut self,
        number: u32,
        title: &'static str,
        StepStream { mut output, end }: StepStream,
    ) -> Result<io::Result<()>, BuildError> {
        let started = Instant::now();
        let mut logged = self.write(format!("== {title}\n").as_bytes());
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
                self.tell(number, title, text);
            }
            if ended {
                break;
            }
        }
        // The sender is dropped when the jailer is gone.
        let ended = end.await.unwrap_or(StepEnd { code: -1, timed_out: false });
        let seconds = started.elapsed().as_secs_f64();
        if logged.is_ok() {
            logged = self.write(format!("== {title}: code {} after {seconds:.1} s\n", ended.code).as_bytes());
        }
        let how = match ended {
            StepEnd { timed_out: true, .. } => {
                format!("it took {seconds:.0} s, which is too long, and was killed")
            }
            StepEnd { code: 0, .. } => return Ok(logged),
            StepEnd { code: -1, .. } => "the jailer ended before the step did".to_owned(),
            StepEnd { code, .. } => format!("it failed with code {code}"),
        };
        Err(BuildError::Step { title, how, last_lines: last_lines.into() })
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

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::{
            Arc, Mutex,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::{
        super::{
            plan,
            recipe::{Recipe, shipped_named},
        },
        *,
    };

    /// Answers every step with a text and a code, and remembers as a store does.
    struct Scripted {
        answers: fn(&BuildPlan) -> (&'static str, i32),
        calls: Mutex<Vec<String>>,
        kept: Mutex<HashMap<String, Kept>>,
        number: AtomicU32,
    }

    impl Scripted {
        fn new(answers: fn(&BuildPlan) -> (&'static str, i32)) -> Self {
            Self { answers, calls: Mutex::default(), kept: Mutex::default(), number: AtomicU32::new(7) }
        }

        fn called(&self, what: impl Into<String>) {
            self.calls.lock().expect("no panics").push(what.into());
        }

        fn calls(&self) -> Vec<String> {
            std::mem::take(&mut self.calls.lock().expect("no panics"))
        }
    }

    impl BuildHost for Scripted {
        type Error = io::Error;

        fn next_step(&self) -> u32 {
            self.number.fetch_add(1, Ordering::Relaxed)
        }

        fn tree(&self, key: &str) -> String {
            format!("s-{}", &key[..8])
        }

        async fn turn(&self, _: &str) -> OwnedMutexGuard<()> {
            Arc::new(tokio::sync::Mutex::new(())).lock_owned().await
        }

        async fn kept(&self, key: &str) -> Result<Option<Kept>, io::Error> {
            Ok(self.kept.lock().expect("no panics").get(key).cloned())
        }

        async fn keep(&self, stage: &Stage, kept: &Kept) -> Result<(), io::Error> {
            self.kept.lock().expect("no panics").insert(stage.key.clone(), kept.clone());
            Ok(())
        }

        async fn step(&self, plan: BuildPlan, _: &[u8]) -> Result<StepStream, io::Error> {
            self.called(format!("step {} {} over {}", plan.step, plan.files[0].0, plan.layers.len()));
            let (text, code) = (self.answers)(&plan);
            let (mut sender, output) = pipe::pipe()?;
            tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut sender, text.as_bytes()).await });
            let (tell, end) = oneshot::channel();
            tell.send(StepEnd { code, timed_out: false }).expect("just made");
            Ok(StepStream { output, end })
        }

        async fn work(&self, work: LayerWork, _: Option<BorrowedFd<'_>>) -> Result<StepStream, io::Error> {
            let (done, layers) = match &work {
                LayerWork::Apply { blobs, layers, .. } => (format!("{} layers", blobs.len()), layers.len()),
                work => (format!("{:?}", work).chars().take(7).collect(), work.below().len()),
            };
            self.called(format!("{done} over {layers}"));
            let (_, output) = pipe::pipe()?;
            let (tell, end) = oneshot::channel();
            tell.send(StepEnd { code: 0, timed_out: false }).expect("just made");
            Ok(StepStream { output, end })
        }

        async fn seal(&self, tree: String) -> Result<(LayerDigest, u64, u64), io::Error> {
            self.called("seal");
            let digest = hex::encode(Sha256::digest(tree));
            Ok((LayerDigest::parse(&digest).expect("64 digits"), 10, 2))
        }

        async fn drop_tree(&self, _: String) -> Result<(), io::Error> {
            self.called("drop");
            Ok(())
        }
    }

    async fn run(on: &Scripted, fresh: bool) -> (Result<Built, BuildError>, Vec<BuildProgress>, String) {
        run_recipe(on, &shipped_named("python").expect("it is shipped"), fresh).await
    }

    async fn run_recipe(
        on: &Scripted,
        recipe: &Recipe,
        fresh: bool,
    ) -> (Result<Built, BuildError>, Vec<BuildProgress>, String) {
        let stages = plan::stages(recipe, &plan::HostSettings::default());
        let log = tempfile::NamedTempFile::new().expect("a file");
        let (sender, mut receiver) = mpsc::channel(64);
        let built = build(on, &stages, None, fresh, log.path(), &sender).await;
        drop(sender);
        let mut told = Vec::new();
        while let Some(progress) = receiver.recv().await {
            told.push(progress);
        }
        (built, told, std::fs::read_to_string(log.path()).expect("the log"))
    }

    fn listing(plan: &BuildPlan) -> (&'static str, i32) {
        match plan.files[0].0.as_str() {
            "check.py" => ("ok\n@packages [{\"name\":\"numpy\",\"version\":\"2\"}]\n", 0),
            _ => ("one\rtwo\x1b[2J\nthree", 0),
        }
    }

    #[tokio::test]
    async fn stages_lie_over_one_another_and_are_built_once() {
        let on = Scripted::new(listing);
        let (built, told, log) = run(&on, false).await;
        let built = built.expect("built");
        assert_eq!(built.packages, [Package { name: "numpy".into(), version: "2".into() }]);
        assert_eq!((built.bytes, built.layers.len()), (40, 4));
        let expected = [
            "drop",
            "step 7 fetch.sh over 0",
            "step 8 configure.sh over 0",
            "seal",
            "drop",
            "step 9 packages.sh over 1",
            "step 10 unpack.sh over 1",
            "step 11 tidy.sh over 1",
            "seal",
            "drop",
            "step 12 pip.sh over 2",
            "step 13 tidy.sh over 2",
            "seal",
            "drop",
            "step 14 check.py over 3",
            "seal",
        ];
        assert_eq!(on.calls(), expected);
        let first: Vec<_> = told.iter().filter(|p| p.step == 1).map(|p| p.line.as_str()).take(4).collect();
        assert_eq!(first, ["", "one", "two[2J", "three"]);
        assert!(told.iter().all(|p| p.of == 4) && told.last().is_some_and(|p| p.step == 4));
        assert!(log.contains("== trying it: code 0"));

        let (again, told, log) = run(&on, false).await;
        let again = again.expect("built");
        assert!(on.calls().is_empty() && again.stages.iter().all(|stage| stage.reused));
        assert_eq!((&again.layers, &again.packages), (&built.layers, &built.packages));
        assert!(told.iter().all(|p| p.line.contains("used again")) && log.contains("used again"));

        let (fresh, ..) = run(&on, true).await;
        assert!(fresh.is_ok_and(|fresh| fresh.stages.iter().all(|stage| !stage.reused)));
        assert_eq!(on.calls().len(), expected.len());
    }

    #[tokio::test]
    async fn layers_of_an_image_come_before_the_steps_of_its_recipe() {
        let report = serde_json::json!({"digest": "sha256:a", "platform": "linux/amd64", "env": [], "working_dir": "",
            "user": "", "start": [], "layers": [{"name": "l", "digest": null, "size": 1, "diff_id": "a".repeat(64)}]});
        let text = "name='a'\ndescription='b'\nlanguage='bash'\noci='image.tar'\n[[build]]\nrun='true'\n";
        let recipe = Recipe::read(text).expect("a recipe");
        let recipe = recipe.over(serde_json::from_value(report).expect("a report")).expect("it can be used");
        let on = Scripted::new(listing);
        let (built, ..) = run_recipe(&on, &recipe, false).await;
        assert_eq!(built.expect("built").layers.len(), 3);
        let expected = [
            "drop",
            "1 layers over 0",
            "seal",
            "drop",
            "Prepare over 1",
            "seal",
            "drop",
            "step 7 build.sh over 2",
            "seal",
        ];
        assert_eq!(on.calls(), expected);
    }

    #[tokio::test]
    async fn a_failed_step_ends_the_build_and_leaves_no_tree() {
        let on = Scripted::new(|plan| if plan.files[0].0 == "pip.sh" { ("no such package\n", 1) } else { ("", 0) });
        let (built, ..) = run(&on, false).await;
        let Err(BuildError::Step { title, how, last_lines }) = built else { panic!("{built:?}") };
        assert_eq!((title, how.as_str()), ("installing Python packages", "it failed with code 1"));
        assert_eq!(last_lines, ["no such package"]);
        assert_eq!(on.calls()[9..], ["drop", "step 12 pip.sh over 2", "drop"]);
        // What came before is not repeated.
        let _ = run(&on, false).await;
        assert_eq!(on.calls(), ["drop", "step 13 pip.sh over 2", "drop"]);
    }
}
