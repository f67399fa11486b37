//! From a recipe to the steps of its build. Pure: what the host contributes is an argument.

use std::fs;

use ringfence_jail::proto::{BuildPlan, BuildRoot};
use ringfence_model::LayerDigest;
use sha2::{Digest, Sha256};

use super::{
    archive::Archive,
    image::ImageWork,
    recipe::{App, Node, Owner, Placed, Recipe, Script, is_user},
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
    /// What the jailer is asked to do, in a tree over these layers, uppermost first.
    #[must_use]
    pub fn plan(&self, number: u32, tree: &str, layers: &[LayerDigest]) -> BuildPlan {
        BuildPlan {
            step: number,
            tree: tree.to_owned(),
            layers: layers.to_vec(),
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

/// Steps that leave one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What it does, in a few words for people.
    pub title: &'static str,
    /// Content address of everything up to and including this stage: what its layer lies over, its steps, and their inputs.
    /// The same key, in whatever recipe, leaves an equivalent layer.
    pub key: String,
    /// In order.
    pub steps: Vec<Step>,
    /// What is done with the recipe's image; there are no steps then.
    pub image: Option<ImageWork>,
}

/// Content address of a recipe: the same recipe leaves an equivalent template.
///
/// # Panics
/// Never: every recipe has stages.
#[must_use]
pub fn key(recipe: &Recipe) -> String {
    stages(recipe, &HostSettings::default()).pop().expect("every recipe has stages").key
}

/// The stages of a recipe, in order: what many recipes share comes first.
#[must_use]
pub fn stages(recipe: &Recipe, host: &HostSettings) -> Vec<Stage> {
    let mut plan = Planner {
        host,
        strip: recipe.strip.join(" "),
        is_image: recipe.image.is_some(),
        stages: Vec::new(),
        steps: Vec::new(),
        key: Sha256::digest(GENERATION.to_le_bytes()).into(),
    };
    if let Some(image) = &recipe.image {
        recipe.of_image(image).into_iter().for_each(|work| plan.image(work));
    } else {
        plan.debian("fetch.sh", include_str!("debian/fetch.sh"), &recipe.debian, "").add(&mut plan);
        plan.script(BuildRoot::Tree, false, "configure.sh", include_str!("debian/configure.sh")).add(&mut plan);
        plan.close("installing Debian");
    }
    if !recipe.packages.is_empty() {
        let packages = recipe.packages.join(" ");
        plan.debian("packages.sh", include_str!("debian/packages.sh"), &recipe.debian, &packages).add(&mut plan);
        plan.script(BuildRoot::Tree, false, "unpack.sh", include_str!("debian/unpack.sh")).add(&mut plan);
        plan.tidy();
        plan.close("installing Debian packages");
    }
    if let Some(lock) = &recipe.lock {
        plan.script(BuildRoot::Tree, true, "pip.sh", include_str!("debian/pip.sh"))
            .env(&[("STRIP", &plan.strip)])
            .file("requirements.lock", &recipe.text(lock))
            // Where the jail binds the host's trust store; it outranks a path of the host in pip.conf.
            .setting("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
            .add(&mut plan);
        plan.tidy();
        plan.close("installing Python packages");
    }
    if let Some(node) = &recipe.node {
        plan.node(recipe, node).add(&mut plan);
        plan.tidy();
        plan.close("installing Node and npm packages");
    }
    // In an image they are made with everything else that a sandbox needs.
    if recipe.image.is_none() && (!is_user(&recipe.user) || recipe.working_dir.is_some()) {
        plan.script(BuildRoot::Tree, false, "user.sh", include_str!("debian/user.sh"))
            .env(&[("USER_NAME", &recipe.user), ("WORKING_DIR", recipe.working_dir())])
            .add(&mut plan);
        plan.close("making the user's place");
    }
    for app in recipe.node.iter().flat_map(|node| &node.apps) {
        plan.app(recipe, app).add(&mut plan);
        plan.tidy();
        plan.close("installing an app's packages");
    }
    if !recipe.files.is_empty() {
        plan.script(BuildRoot::Tree, false, "files.sh", include_str!("debian/files.sh"))
            .input(placed(recipe))
            .add(&mut plan);
        plan.close("placing files");
    }
    for script in &recipe.build {
        plan.build(recipe, script).add(&mut plan);
        plan.tidy();
        plan.close("running the recipe's script");
    }
    if let Some(check) = &recipe.check {
        plan.check(recipe, check).add(&mut plan);
        plan.close("trying it");
    }
    plan.stages
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
    strip: String,
    is_image: bool,
    stages: Vec<Stage>,
    /// Of the stage that is not closed yet.
    steps: Vec<Step>,
    key: [u8; 32],
}

impl Planner<'_> {
    fn script(&self, root: BuildRoot, network: bool, name: &str, text: &str) -> Draft {
        const MINUTES_30_MS: u64 = 1_800_000;
        let step = Step {
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

    /// Downloads with the host's apt.
    fn debian(&self, name: &str, text: &str, suite: &str, packages: &str) -> Draft {
        self.script(BuildRoot::Host, true, name, text)
            .file("apt.sh", include_str!("debian/apt.sh"))
            .env(&[("SUITE", suite), ("PACKAGES", packages)])
            .setting("MIRROR", self.host.mirror.as_deref().unwrap_or_default())
    }

    /// Away with what nobody reads in a sandbox, before it is sealed into a layer.
    fn tidy(&mut self) {
        if self.is_image {
            // What is in an image is what somebody wants there.
            if !self.strip.is_empty() {
                self.script(BuildRoot::Tree, false, "strip.sh", "rm -rf $STRIP\n")
                    .env(&[("STRIP", &self.strip)])
                    .add(self);
            }
            return;
        }
        self.script(BuildRoot::Tree, false, "tidy.sh", include_str!("debian/tidy.sh"))
            .env(&[("STRIP", &self.strip)])
            .add(self);
    }

    /// What the steps since the last stage leave is one layer.
    fn close(&mut self, title: &'static str) {
        self.stages.push(Stage {
            title,
            key: hex::encode(self.key),
            steps: std::mem::take(&mut self.steps),
            image: None,
        });
    }

    fn image(&mut self, work: ImageWork) {
        self.key = work.key(&self.key);
        self.stages.push(Stage {
            title: work.title(),
            key: hex::encode(self.key),
            steps: Vec::new(),
            image: Some(work),
        });
    }

    /// Node itself, and what programs find from any directory.
    fn node(&self, recipe: &Recipe, node: &Node) -> Draft {
        let draft = self
            .script(BuildRoot::Tree, true, "npm.sh", include_str!("debian/npm.sh"))
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
        self.script(BuildRoot::Tree, true, "app.sh", include_str!("debian/app.sh"))
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
        let mut draft = self.script(BuildRoot::Tree, false, "build.sh", &text);
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
        let mut draft = self.script(BuildRoot::Tree, false, at, &recipe.text(name));
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
        super::recipe::{Input, Source, shipped, shipped_named},
        *,
    };

    #[test]
    fn the_jailer_would_take_every_step() {
        for recipe in shipped() {
            let layers = vec![LayerDigest::parse(&"a".repeat(64)).expect("64 digits"); 12];
            for stage in stages(&recipe, &HostSettings::default()) {
                for step in &stage.steps {
                    let plan = step.plan(1, "tree", &layers);
                    assert_eq!(check::build(&plan), Ok(()), "{}", stage.title);
                    // With room for the operator's settings.
                    let bytes = encode(&plan).expect("it fits").len();
                    assert!(bytes < MESSAGE_BYTES_MAX - (40 << 10), "{}", stage.title);
                }
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
        let with_settings = stages(&recipe, &host);
        assert_eq!(with_settings.last().map(|s| s.key.clone()), Some(key(&recipe)));
        let mut other = recipe.clone();
        other.packages.push("less".into());
        assert_ne!(key(&other), key(&recipe));
        let mut other = recipe.clone();
        other.inputs.values_mut().for_each(|input| input.content.to_mut().push(b'\n'));
        let (ours, theirs) = (stages(&recipe, &host), stages(&other, &host));
        assert_eq!((&ours[0].key, &ours[1].key), (&theirs[0].key, &theirs[1].key));
        assert_ne!(ours[2].key, theirs[2].key);
    }

    #[test]
    fn only_downloads_see_the_operators_settings() {
        let secret = Some(b"secret".to_vec());
        let env = vec!["PIP_PROXY=x".into()];
        let host = HostSettings { mirror: None, env, pip_conf: secret.clone(), npmrc: secret };
        for step in shipped().iter().flat_map(|recipe| stages(recipe, &host)).flat_map(|stage| stage.steps) {
            let sees = step.env.contains(&"PIP_PROXY=x".to_owned())
                || step.files.iter().any(|(name, _)| matches!(name.as_str(), "pip.conf" | "npmrc"));
            assert_eq!(sees, step.network, "{:?}", step.argv);
        }
    }

    #[test]
    fn what_recipes_share_has_one_key() {
        let of = |name: &str| stages(&shipped_named(name).expect("it is shipped"), &HostSettings::default());
        let (python, node, base) = (of("python"), of("node"), of("base"));
        assert!(python[0].key == node[0].key && node[0].key == base[0].key);
        let mut all: Vec<_> = [&python[1..], &node[1..], &base[1..]].concat().into_iter().map(|s| s.key).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_changed_file_changes_what_follows_and_nothing_else() {
        let text = "name='a'\ndescription='b'\nlanguage='bash'\ndebian='bookworm'\npackages=['jq']\nworking_dir='/srv/app'\n\
                    [[files]]\nfrom='app'\nto='/srv/app'\n[[build]]\nscript='build.sh'\n";
        let with = |app: &'static str, build: &'static str| {
            let input = |text: &'static str| Input { executable: false, content: text.as_bytes().into() };
            let files = [("app/a".to_owned(), input(app)), ("build.sh".to_owned(), input(build))].into();
            let recipe = Recipe::parse(&Source { recipe: text.to_owned(), files }).expect("a recipe");
            stages(&recipe, &HostSettings::default()).into_iter().map(|stage| stage.key).collect::<Vec<_>>()
        };
        let (first, file, script) = (with("1", "x"), with("2", "x"), with("1", "y"));
        assert_eq!(first.len(), 5);
        assert!(first[..3] == file[..3] && first[3] != file[3] && first[4] != file[4]);
        assert!(first[..4] == script[..4] && first[4] != script[4]);
        assert_eq!(first, with("1", "x"));
    }

    #[test]
    fn paths_of_the_host_are_no_settings() {
        assert!(is_for_downloads("PIP_FIND_LINKS", "https://x/") && is_for_downloads("HTTPS_PROXY", "http://p"));
        assert_eq!(setting("npm_config_registry", "https://x"), "NPM_CONFIG_REGISTRY=https://x");
        assert!(!is_for_downloads("PIP_FIND_LINKS", "/opt/wheels") && !is_for_downloads("PIP_CERT", "/x"));
    }
}
