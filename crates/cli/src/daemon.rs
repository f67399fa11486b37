//! The daemon from the outside: where it is, whether it answers, and how it is started.

use std::{
    fs,
    io::{self, Read, Seek, SeekFrom},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use ringfence_engine::api::SharedSandboxes;
use ringfence_model::{
    ApiError, Project,
    api::{Actor, ReadyAnswer, StopAnswer},
};
use ringfence_research::api::SharedResearch;
use ringfence_server::Client;
use tokio::net::UnixStream;

use crate::{output, roles};

/// State directory unless RINGFENCE_HOME says otherwise.
pub(crate) const HOME_DEFAULT: &str = "/var/lib/ringfence";

/// Where `serve` listens on TCP unless told otherwise.
pub(crate) const TCP_DEFAULT: &str = "127.0.0.1:7433";

/// How long a daemon that was started here may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// How long one that runs may take to answer before it is called slow.
const SOON: Duration = Duration::from_secs(1);

/// As whom this program's commands come to a daemon.
struct Identity {
    project: Option<Project>,
    token: Option<String>,
}

/// Set once, before the first command runs; without it commands are the operator's and of all projects.
static IDENTITY: OnceLock<Identity> = OnceLock::new();

/// From now on commands are of this project alone, and come with this token.
pub(crate) fn identify(project: Option<Project>, token: Option<String>) {
    // A second command in one process would be a fault of ours, and it keeps the first one's identity.
    let _ = IDENTITY.set(Identity { project, token: token.filter(|token| !token.is_empty()) });
}

/// A daemon that answers.
pub(crate) struct Daemon {
    /// Its state directory.
    pub(crate) home: PathBuf,
    /// Its API.
    pub(crate) api: SharedSandboxes,
    /// Its research.
    pub(crate) research: SharedResearch,
    client: Arc<Client>,
}

impl Daemon {
    fn new(home: PathBuf) -> Self {
        let mut client = Client::new(&socket(&home), roles::build_id());
        let identity = IDENTITY.get();
        if let Some(project) = identity.and_then(|identity| identity.project.as_ref()) {
            client = client.of_project(project);
        }
        if let Some(token) = identity.and_then(|identity| identity.token.as_ref()) {
            client = client.with_token(token);
        }
        let client = Arc::new(client);
        Self { home, api: client.clone(), research: client.clone(), client }
    }

    /// Waits for its first answer: the socket is there a little before who answers on it.
    async fn is_up(&self, patience: Duration) -> bool {
        match tokio::time::timeout(patience, self.api.health(Actor::Operator)).await {
            Ok(Ok(_)) => true,
            // Another build's answer may be one that this program cannot read. It is up all the same, and can be stopped.
            Ok(Err(_)) => self.client.other_build().is_some(),
            Err(_) => false,
        }
    }

    /// Both of its APIs.
    pub(crate) fn services(&self) -> ringfence_server::Services {
        ringfence_server::Services { sandboxes: self.api.clone(), research: self.research.clone() }
    }

    /// Asks it to end. It goes on answering while it waits for what runs.
    ///
    /// # Errors
    /// It refuses.
    pub(crate) async fn stop(&self) -> Result<StopAnswer, ApiError> {
        self.client.stop_daemon().await
    }

    /// Whether it takes work, and what it waits for; none when it does not say so soon.
    pub(crate) async fn ready(&self) -> Option<ReadyAnswer> {
        tokio::time::timeout(SOON, self.client.ready()).await.ok()?.ok()
    }

    /// Whether any of its processes still holds its socket.
    pub(crate) async fn exists(&self) -> bool {
        UnixStream::connect(socket(&self.home)).await.is_ok()
    }

    /// Says that it is of another build than this program, if it is.
    fn compare_builds(&self) {
        if let Some(sentence) = self.client.other_build() {
            output::note(&format!("ringfence: {sentence}"));
        }
    }
}

/// Its Unix socket.
pub(crate) fn socket(home: &Path) -> PathBuf {
    home.join("run").join("api.sock")
}

/// The state directory that was named, or the usual one. One that was named is the only one that is tried: a command
/// that was meant for one daemon must not reach another.
pub(crate) fn home(named: Option<&Path>) -> PathBuf {
    named.unwrap_or(Path::new(HOME_DEFAULT)).to_owned()
}

/// The daemon, if one runs.
///
/// # Errors
/// There is one, and it cannot be reached by this user.
pub(crate) async fn find(named: Option<&Path>) -> anyhow::Result<Option<Daemon>> {
    let home = home(named);
    let socket = socket(&home);
    match UnixStream::connect(&socket).await {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => bail!(
            "{} is not open to this user: run the command with sudo, or as the user who started the daemon with sudo",
            socket.display()
        ),
        Err(_) => return Ok(None),
    }
    let daemon = Daemon::new(home);
    if !daemon.is_up(SOON).await {
        output::note("ringfence: waiting for the daemon, which is starting or stopping");
        tokio::time::timeout(START_PATIENCE, daemon.api.health(Actor::Operator))
            .await
            .with_context(|| format!("the daemon at {} does not answer", daemon.home.display()))??;
    }
    daemon.compare_builds();
    Ok(Some(daemon))
}

/// What a command says when it needs a daemon and may not start one.
pub(crate) fn none_runs(named: Option<&Path>) -> anyhow::Error {
    anyhow::anyhow!("no daemon runs; start it with `{}`", start_line(&home(named)))
}

/// What a person types to start a daemon with that state directory.
pub(crate) fn start_line(home: &Path) -> String {
    let sudo = if rustix::process::geteuid().is_root() { "" } else { "sudo " };
    if home == Path::new(HOME_DEFAULT) {
        format!("{sudo}ringfence serve")
    } else {
        format!("{sudo}ringfence serve --home {}", home.display())
    }
}

/// The daemon; started when none runs and this user may.
///
/// # Errors
/// None runs and none could be started; the sentence says what to do.
pub(crate) async fn connect(named: Option<&Path>) -> anyhow::Result<Daemon> {
    if let Some(daemon) = find(named).await? {
        return Ok(daemon);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(none_runs(named));
    }
    start(home(named)).await
}

async fn start(home: PathBuf) -> anyhow::Result<Daemon> {
    let begin = Instant::now();
    output::note(&format!("ringfence: starting the daemon (state in {})", home.display()));
    let log = home.join("log").join("daemon.log");
    let spawned = spawn(&home, &log).with_context(|| format!("starting the daemon with {}", home.display()));
    let (child, logged_before) = spawned?;
    let daemon = Daemon::new(home);
    wait(&daemon, child, &log, logged_before, begin).await?;
    output::note(&format!(
        "ringfence: it runs, after {:.1} s; `ringfence stop` ends it",
        begin.elapsed().as_secs_f64()
    ));
    daemon.compare_builds();
    Ok(daemon)
}

/// Starts it away from this terminal. Returns the process, and how long the log was before.
fn spawn(home: &Path, log: &Path) -> io::Result<(Child, u64)> {
    fs::create_dir_all(home)?;
    let dir = log.parent().unwrap_or(home);
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    let length = file.metadata()?.len();
    let home = fs::canonicalize(home)?;
    // Whatever our own starter left open would stay open as long as the daemon lives.
    ringfence_jail::sys::close_on_exec_from(3)?;
    // A daemon that nobody asked to serve on TCP listens on the Unix socket alone.
    let child = Command::new("/proc/self/exe")
        .arg0("ringfence")
        .args(["serve", "--detached", "--tcp", "none", "--home"])
        .arg(&home)
        .env_remove("RINGFENCE_HOME")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    Ok((child, length))
}

async fn wait(daemon: &Daemon, mut child: Child, log: &Path, logged_before: u64, begin: Instant) -> anyhow::Result<()> {
    const EVERY: Duration = Duration::from_millis(20);
    // Another command may have started one in the same moment: then ours ends, and theirs answers soon.
    const AFTER_ITS_END: Duration = Duration::from_secs(5);
    let mut ended = None;
    loop {
        if daemon.is_up(SOON).await {
            return Ok(());
        }
        if ended.is_none() && child.try_wait().is_ok_and(|status| status.is_some()) {
            ended = Some(Instant::now());
        }
        let is_over = match ended {
            Some(at) => at.elapsed() > AFTER_ITS_END,
            None => begin.elapsed() > START_PATIENCE,
        };
        if is_over {
            let what = if ended.is_some() { "ended at once" } else { "does not answer after 30 s" };
            let said = tail(log, logged_before).unwrap_or_default();
            bail!(
                "the daemon {what}; its log {} says:\n{said}\n`ringfence doctor` tells what this host lacks",
                log.display()
            );
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The end of what was logged since.
fn tail(log: &Path, since: u64) -> io::Result<String> {
    const BYTES_MAX: u64 = 4096;
    let mut file = fs::File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(since.max(length.saturating_sub(BYTES_MAX))))?;
    let mut text = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixListener,
    };

    use super::*;

    /// A daemon of another build, whose answer about its health has none of the fields that this one knows.
    async fn serve_another_build(listener: UnixListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            while stream.read(&mut request).await.is_ok_and(|len| len > 0) {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\n{}: another\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
                    ringfence_server::BUILD_HEADER
                );
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    }

    #[tokio::test]
    async fn a_daemon_of_another_build_is_found_though_its_answers_cannot_be_read() {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join("run")).expect("a directory");
        let server = tokio::spawn(serve_another_build(UnixListener::bind(socket(home.path())).expect("a socket")));
        let found = tokio::time::timeout(Duration::from_secs(5), find(Some(home.path()))).await;
        server.abort();
        assert!(found.expect("at once").expect("no error").is_some());
    }

    #[test]
    fn a_named_home_is_the_only_one() {
        assert_eq!(home(Some(Path::new("/srv/x"))), Path::new("/srv/x"));
        assert_eq!(home(None), Path::new(HOME_DEFAULT));
        assert_eq!(socket(Path::new("/srv/x")), Path::new("/srv/x/run/api.sock"));
    }

    #[test]
    fn the_line_that_starts_it_names_a_home_that_is_not_the_usual() {
        assert!(start_line(Path::new(HOME_DEFAULT)).ends_with("ringfence serve"));
        assert!(start_line(Path::new("/srv/x")).ends_with("ringfence serve --home /srv/x"));
    }

    #[test]
    fn only_the_new_end_of_a_log_is_shown() -> io::Result<()> {
        let path = std::env::temp_dir().join(format!("ringfence-log-{}", std::process::id()));
        fs::write(&path, "old\nnew\n")?;
        let shown = tail(&path, 4);
        fs::remove_file(&path)?;
        assert_eq!(shown?, "new");
        Ok(())
    }
}
