//! From a recipe to the steps of its build. Pure: what the host contributes is an argument.

use std::fs;

use ringfence_jail::proto::{BuildPlan, BuildRoot};
use sha2::{Digest, Sha256};

use super::{
    archive::Archive,
    recipe::{App, Node, Owner, Placed, Recipe, Script},
};

/// Raised when the driver or the jail changes what the same steps leave.
const GENERATION: u32 = 2;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const NPM_REGISTRY: &str = "NPM_CONFIG_REGISTRY";

/// What the operator has set up for downloads. It changes where things come from, never what they are (apt checks
/// signatures, pip hashes), and so is not a part of any key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Mirror of Debian; otherwise the host's own sources, or Debian's.
    pub mirror: Option<String>,
    /// `NAME=value`: proxies, and the operator's settings for pip.
    pub env: Vec<String>,
    /// Content of the host's pip.conf.
    pub pip_conf: Option<Vec<u8>>,
    /// Content of the host's npmrc.
    pub npmrc: Option<Vec<u8>>,
}

impl HostSettings {
    /// From this process's environment and the host's files.
    #[must_use]
    pub fn of_host() -> Self {
        Self {
            mirror: std::env::var("RINGFENCE_DEBIAN_MIRROR").ok().filter(|mirror| !mirror.is_empty()),
            env: std::env::vars().filter(|(n, v)| is_for_downloads(n, v)).map(|(n, v)| setting(&n, &v)).collect(),
            pip_conf: fs::read("/etc/pip.conf").ok().filter(|text| text.len() <= 16 << 10),
            npmrc: fs::read("/etc/npmrc").ok().filter(|text| text.len() <= 16 << 10),
        }
    }
}

fn setting(name: &str, value: &str) -> String {
    // npm reads it in either case; the step's script in this one.
    let name = if name.eq_ignore_ascii_case(NPM_REGISTRY) { NPM_REGISTRY } else { name };
    format!("{name}={value}")
}

/// Certificates are not here: the host's trust store is bound where Debian looks, and paths of the host mean nothing
/// inside.
fn is_for_downloads(name: &str, value: &str) -> bool {
    const PIP: [&str; 6] =
        ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES"];
    let proxy = matches!(name.to_ascii_lowercase().as_str(), "http_proxy" | "https_proxy" | "ftp_proxy" | "no_proxy");
    let links = name == "PIP_FIND_LINKS" && value.contains("://");
    let npm = name.eq_ignore_ascii_case(NPM_REGISTRY);
    (proxy || links || npm || PIP.contains(&name)) && !value.contains('\0')
}

/// One step, before it has a number and a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it does, in a few words for people.
    pub title: &'static str,
    /// Content address of everything up to and including this step.
    pub key: String,
    /// What it sees.
    pub root: BuildRoot,
    /// Whether it downloads.
    pub network: bool,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Below `/build`.
    pub files: Vec<(String, Vec<u8>)>,
    /// Its standard input, a tar archive; empty for none.
    pub input: Vec<u8>,
    /// Wall-clock limit.
    pub timeout_ms: u64,
}

impl Step {
    /// What the jailer is asked to do.
    #[must_use]
    pub fn plan(&self, number: u32, tree: &str) -> BuildPlan {
        BuildPlan {
            step: number,
            tree: tree.to_owned(),
            root: self.root,
            network: self.network,
            argv: self.argv.clone(),
            env: self.env.clone(),
            files: self.files.clone(),
            input: !self.input.is_empty(),
            timeout_ms: self.timeout_ms,
        }
    }
}

/// Name of the tree that a recipe is built in: another one for every other recipe.
#[must_use]
pub fn tree_name(recipe: &Recipe) -> String {
    format!("t-{}-{}", recipe.name, &key(recipe)[..16])
}

/// Content address of a recipe: the same recipe leaves an equivalent template.
///
/// # Panics
/// Never: every recipe has steps.
#[must_use]
pub fn key(recipe: &Recipe) -> String {
    steps(recipe, &HostSettings::default()).pop().expect("every recipe has steps").key
}

/// The steps of a recipe, in order.
#[must_use]
pub fn steps(recipe: &Recipe, host: &HostSettings) -> Vec<Step> {
    let mut plan = Planner { host, steps: Vec::new(), key: Sha256::digest(GENERATION.to_le_bytes()).into() };
    plan.script("downloading Debian", BuildRoot::Host, true, "fetch.sh", include_str!("debian/fetch.sh"))
        .env(&[("SUITE", &recipe.debian), ("PACKAGES", &recipe.packages.join(" "))])
        .setting("MIRROR", host.mirror.as_deref().unwrap_or_default())
        .add(&mut plan);
    plan.script("configuring Debian", BuildRoot::Tree, false, "configure.sh", include_str!("debian/configure.sh"))
        .env(&[("USER_NAME", &recipe.user)])
        .add(&mut plan);
    if let Some(lock) = &recipe.lock {
        plan.script("installing Python packages", BuildRoot::Tree, true, "pip.sh", include_str!("debian/pip.sh"))
            .file("requirements.lock", &recipe.text(lock))
            // Where the jail binds the host's trust store; it outranks a path of the host in pip.conf.
            .setting("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
            .add(&mut plan);
    }
    if let Some(node) = &recipe.node {
        plan.node(recipe, node).add(&mut plan);
        for app in &node.apps {
            plan.app(recipe, app).add(&mut plan);
        }
    }
    if !recipe.files.is_empty() {
        plan.script("placing files", BuildRoot::Tree, false, "files.sh", include_str!("debian/files.sh"))
            .input(placed(recipe))
            .add(&mut plan);
    }
    for script in &recipe.build {
        plan.build(recipe, script).add(&mut plan);
    }
    plan.script("finishing", BuildRoot::Tree, false, "finish.sh", include_str!("debian/finish.sh"))
        .env(&[("STRIP", &recipe.strip.join(" ")), ("WORKING_DIR", recipe.working_dir())])
        .add(&mut plan);
    if let Some(check) = &recipe.check {
        plan.check(recipe, check).add(&mut plan);
    }
    plan.steps
}

/// Uid and gid inside.
fn id(owner: Owner) -> u32 {
    match owner {
        Owner::User => 1000,
        Owner::Root => 0,
    }
}

/// The recipe's files where they are to be, as an archive that is unpacked at the root.
fn placed(recipe: &Recipe) -> Vec<u8> {
    let mut archive = Archive::default();
    for Placed { from, to, owner, mode } in &recipe.files {
        let (at, owner) = (to.trim_start_matches('/'), id(*owner));
        let mode = mode.as_ref().and_then(|mode| u32::from_str_radix(mode, 8).ok());
        let mut directories = std::collections::BTreeSet::new();
        for (path, input) in &recipe.inputs {
            let mode = mode.unwrap_or(if input.executable { 0o755 } else { 0o644 });
            if path == from {
                archive.file(at, mode, owner, &input.content);
            } else if let Some(below) = path.strip_prefix(from.as_str()).and_then(|rest| rest.strip_prefix('/')) {
                if directories.is_empty() {
                    archive.directory(at, owner);
                }
                for (end, _) in below.match_indices('/') {
                    if directories.insert(below[..end].to_owned()) {
                        archive.directory(&format!("{at}/{}", &below[..end]), owner);
                    }
                }
                directories.insert(String::new());
                archive.file(&format!("{at}/{below}"), mode, owner, &input.content);
            }
        }
    }
    archive.finish()
}

struct Planner<'a> {
    host: &'a HostSettings,
    steps: Vec<Step>,
    key: [u8; 32],
}

impl Planner<'_> {
    fn script(&self, title: &'static str, root: BuildRoot, network: bool, name: &str, text: &str) -> Draft {
        const MINUTES_30_MS: u64 = 1_800_000;
        let step = Step {
            title,
            key: String::new(),
            root,
            network,
            argv: vec!["/bin/sh".into(), format!("/build/{name}")],
            env: Vec::new(),
            files: vec![(name.to_owned(), text.as_bytes().to_vec())],
            input: Vec::new(),
            timeout_ms: MINUTES_30_MS,
        };
        Draft { step, settings: Vec::new() }.env(&[("PATH", PATH), ("HOME", "/root"), ("LANG", "C.UTF-8")])
    }

    /// Node itself, and what programs find from any directory.
    fn node(&self, recipe: &Recipe, node: &Node) -> Draft {
        let draft = self
            .script("installing Node and npm packages", BuildRoot::Tree, true, "npm.sh", include_str!("debian/npm.sh"))
            .env(&[("NODE_VERSION", &node.version), ("NODE_INTEGRITY", &node.integrity)]);
        match (&node.package, &node.lock, &node.npm) {
            (Some(package), Some(lock), _) => {
                let mut archive = Archive::default();
                archive.file("package.json", 0o644, 0, compact(&recipe.text(package)).as_bytes());
                archive.file("package-lock.json", 0o644, 0, compact(&recipe.text(lock)).as_bytes());
                draft.input(archive.finish())
            }
            (.., Some(npm)) => draft.env(&[("NPM_VERSION", &npm.version), ("NPM_INTEGRITY", &npm.integrity)]),
            _ => draft,
        }
    }

    /// Packages of an app, in its directory.
    fn app(&self, recipe: &Recipe, app: &App) -> Draft {
        let mut archive = Archive::default();
        let (at, owner) = (app.into.trim_start_matches('/'), id(app.owner));
        archive.directory(at, owner);
        for (name, file) in [("package.json", &app.package), ("package-lock.json", &app.lock)] {
            archive.file(&format!("{at}/{name}"), 0o644, owner, recipe.text(file).as_bytes());
        }
        let owner = format!("{owner}:{owner}");
        self.script("installing an app's packages", BuildRoot::Tree, true, "app.sh", include_str!("debian/app.sh"))
            .env(&[("DIRECTORY", &app.into), ("OWNER", &owner)])
            .input(archive.finish())
    }

    /// A program of the recipe.
    fn build(&self, recipe: &Recipe, script: &Script) -> Draft {
        let text = match (&script.run, &script.script) {
            (Some(run), _) => format!("{run}\n"),
            (None, Some(name)) => recipe.text(name).into_owned(),
            (None, None) => String::new(),
        };
        let mut draft = self.script("running the recipe's script", BuildRoot::Tree, false, "build.sh", &text);
        draft.step.env.clear();
        let begin = "cd \"$DIRECTORY\"; exec /bin/bash -e /build/build.sh";
        let (home, user) = match script.run_as {
            Owner::User => ("/home/user", recipe.user.as_str()),
            Owner::Root => ("/root", "root"),
        };
        let become_user = ["/usr/bin/setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"];
        let mut argv: Vec<&str> = if script.run_as == Owner::User { become_user.to_vec() } else { Vec::new() };
        argv.extend(["/bin/bash", "-ec", begin]);
        draft.step.argv = argv.into_iter().map(str::to_owned).collect();
        draft
            .env(&[("PATH", PATH), ("HOME", home), ("USER", user), ("LANG", "C.UTF-8")])
            .env(&[("DIRECTORY", script.directory.as_deref().unwrap_or(recipe.working_dir()))])
            .env(&recipe.env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>())
    }

    /// The recipe's own program, as the user that sandboxes have.
    fn check(&self, recipe: &Recipe, name: &str) -> Draft {
        let extension = name.rsplit('.').next().unwrap_or_default();
        let (interpreter, at) = match extension {
            "py" => ("/usr/bin/python3", "check.py"),
            "mjs" => ("/usr/local/bin/node", "check.mjs"),
            _ => ("/bin/sh", "check.sh"),
        };
        let mut draft = self.script("trying it", BuildRoot::Tree, false, at, &recipe.text(name));
        let user = ["/usr/bin/setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", interpreter];
        draft.step.argv = user.map(str::to_owned).into();
        draft.step.argv.push(format!("/build/{at}"));
        draft.step.env.clear();
        let draft = draft
            .env(&[("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/home/user"), ("LANG", "C.UTF-8")])
            // What the harness sets while it imports: with more, NumPy starts threads.
            .env(&[("OPENBLAS_NUM_THREADS", "1"), ("OMP_NUM_THREADS", "1"), ("PRELOAD", &recipe.preload.join(" "))])
            .env(&recipe.env.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>());
        let draft = match &recipe.lock {
            Some(lock) => draft.file("requirements.lock", &recipe.text(lock)),
            None => draft,
        };
        match recipe.node.as_ref().and_then(|node| node.package.as_ref()) {
            Some(package) => draft.file("package.json", &compact(&recipe.text(package))),
            None => draft,
        }
    }
}

/// JSON without white space: a lock file of npm is a third shorter so, and a message to the jailer is bounded.
fn compact(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json).map_or_else(|_| json.to_owned(), |value| value.to_string())
}

/// A step whose key is still to be made.
struct Draft {
    step: Step,
    /// What the host contributes: not a part of the key.
    settings: Vec<String>,
}

impl Draft {
    fn env(mut self, variables: &[(&str, &str)]) -> Self {
        self.step.env.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
        self
    }

    fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push(format!("{name}={value}"));
        self
    }

    fn file(mut self, name: &str, content: &str) -> Self {
        self.step.files.push((name.to_owned(), content.as_bytes().to_vec()));
        self
    }

    fn input(mut self, archive: Vec<u8>) -> Self {
        self.step.input = archive;
        self
    }

    fn add(mut self, planner: &mut Planner<'_>) {
        let mut hash = Sha256::new();
        hash.update(planner.key);
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(&[u8::from(self.step.root == BuildRoot::Tree), u8::from(self.step.network)]);
        for list in [&self.step.argv, &self.step.env] {
            field(&(list.len() as u64).to_le_bytes());
            list.iter().for_each(|text| field(text.as_bytes()));
        }
        for (name, content) in &self.step.files {
            field(name.as_bytes());
            field(content);
        }
        field(&self.step.input);
        planner.key = hash.finalize().into();
        self.step.key = hex::encode(planner.key);
        self.step.env.append(&mut self.settings);
        if self.step.network {
            self.step.env.extend(planner.host.env.iter().cloned());
            if let Some(conf) = &planner.host.pip_conf {
                self.step.files.push(("pip.conf".into(), conf.clone()));
            }
            if let Some(conf) = &planner.host.npmrc {
                self.step.files.push(("npmrc".into(), conf.clone()));
            }
        }
        planner.steps.push(self.step);
    }
}

#[cfg(test)]
mod tests {
    use ringfence_jail::{
        check,
        proto::{MESSAGE_BYTES_MAX, encode},
    };

    use super::{
        super::recipe::{shipped, shipped_named},
        *,
    };

    #[test]
    fn the_jailer_would_take_every_step() {
        for recipe in shipped() {
            let tree = tree_name(&recipe);
            for (number, step) in (1..).zip(steps(&recipe, &HostSettings::default())) {
                let plan = step.plan(number, &tree);
                assert_eq!(check::build(&plan), Ok(()), "{}", step.title);
                // With room for the operator's settings.
                assert!(encode(&plan).expect("it fits").len() < MESSAGE_BYTES_MAX - (40 << 10), "{}", step.title);
            }
        }
    }

    #[test]
    fn only_what_changes_the_result_changes_the_key() {
        let recipe = shipped_named("python").expect("it is shipped");
        let host = HostSettings {
            mirror: Some("http://mirror".into()),
            env: vec!["PIP_INDEX_URL=https://index".into()],
            pip_conf: Some(b"[global]".to_vec()),
            npmrc: Some(b"registry=https://index".to_vec()),
        };
        let with_settings = steps(&recipe, &host);
        assert_eq!(with_settings.last().map(|s| s.key.clone()), Some(key(&recipe)));
        let mut other = recipe.clone();
        other.packages.push("less".into());
        assert_ne!(key(&other), key(&recipe));
        let mut other = recipe.clone();
        other.inputs.values_mut().for_each(|input| input.content.to_mut().push(b'\n'));
        let (ours, theirs) = (steps(&recipe, &host), steps(&other, &host));
        assert_eq!((&ours[0].key, &ours[1].key), (&theirs[0].key, &theirs[1].key));
        assert_ne!(ours[2].key, theirs[2].key);
    }

    #[test]
    fn only_downloads_see_the_operators_settings() {
        let secret = Some(b"secret".to_vec());
        let env = vec!["PIP_PROXY=x".into()];
        let host = HostSettings { mirror: None, env, pip_conf: secret.clone(), npmrc: secret };
        for step in shipped().iter().flat_map(|recipe| steps(recipe, &host)) {
            let sees = step.env.contains(&"PIP_PROXY=x".to_owned())
                || step.files.iter().any(|(name, _)| matches!(name.as_str(), "pip.conf" | "npmrc"));
            assert_eq!(sees, step.network, "{}", step.title);
        }
    }

    #[test]
    fn paths_of_the_host_are_no_settings() {
        assert!(is_for_downloads("PIP_FIND_LINKS", "https://x/") && is_for_downloads("HTTPS_PROXY", "http://p"));
        assert_eq!(setting("npm_config_registry", "https://x"), "NPM_CONFIG_REGISTRY=https://x");
        assert!(!is_for_downloads("PIP_FIND_LINKS", "/opt/wheels") && !is_for_downloads("PIP_CERT", "/x"));
    }
}
