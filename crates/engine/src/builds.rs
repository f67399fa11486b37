//! Templates: which there are, which are ready, and builds under way.

use std::{
    collections::HashMap,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ringfence_jail::proto::ZygoteNo;
use ringfence_model::{
    ApiError, Code,
    api::{
        BuildAnswer, BuildRequest, BuildStage, Package, Progress, RecipeFile, RecipeSource, TemplateAnswer,
        TemplateHealth, TemplateListAnswer, TemplateListRequest, TemplateRequest, TemplateStatus, TemplateView,
        list_limit,
    },
};
use ringfence_store::{Actor, TemplateRow, TemplateStatus as Stored};
use tokio::sync::{mpsc, watch};

use crate::{
    api::ProgressSender,
    engine::{Engine, now_ms},
    error::Failure,
    language::Language,
    registry::{Defaults, Template, Warm, canonical},
    template::{self, BuildError, BuildProgress, Recipe, Record},
    view,
};

/// How long `sandbox_create` waits for a build: clients give up after a minute.
const CREATE_PATIENCE: Duration = Duration::from_secs(50);

/// What a build of a whole template takes on two cores, for the first estimate of the time left, in seconds.
const USUAL_SECONDS: f64 = 90.0;

/// Builds under way, and what numbers them.
#[derive(Debug, Default)]
pub(crate) struct Builds {
    running: Mutex<HashMap<String, Arc<Build>>>,
    next_zygote: AtomicU16,
    /// Held to read while a build makes layers that no row speaks of yet, to write while such layers are removed.
    pub(crate) storage: tokio::sync::RwLock<()>,
}

/// One build.
#[derive(Debug)]
pub(crate) struct Build {
    progress: watch::Sender<Progress>,
    /// Set once, at its end.
    result: watch::Sender<Option<Result<Vec<BuildStage>, ApiError>>>,
    started: Instant,
}

impl Builds {
    fn zygote_number(&self) -> ZygoteNo {
        ZygoteNo(self.next_zygote.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn of(&self, name: &str) -> Option<Arc<Build>> {
        self.running.lock().expect("nothing panics under this lock").get(name).cloned()
    }
}

impl Build {
    fn new() -> Self {
        Self {
            progress: watch::Sender::new(Progress::new("starting")),
            result: watch::Sender::new(None),
            started: Instant::now(),
        }
    }

    fn report(&self, news: &BuildProgress) {
        let done = f64::from(news.step.saturating_sub(1)) / f64::from(news.of.max(1));
        let elapsed = self.started.elapsed().as_secs_f64();
        let left = if done > 0.2 { elapsed / done * (1.0 - done) } else { (USUAL_SECONDS - elapsed).max(1.0) };
        let line = if news.line.is_empty() { String::new() } else { format!(": {}", news.line) };
        let message = format!("{}/{} {}{line}", news.step, news.of, news.title);
        self.progress.send_replace(Progress { message, percent: Some(done * 100.0), seconds_left: Some(left.round()) });
    }

    /// Waits for the end, handing progress on; `None` when the patience ran out first.
    async fn wait(
        &self,
        progress: Option<ProgressSender>,
        patience: Option<Duration>,
    ) -> Option<Result<Vec<BuildStage>, ApiError>> {
        let (mut result, mut news) = (self.result.subscribe(), self.progress.subscribe());
        let follow = async {
            loop {
                tokio::select! {
                    ended = result.wait_for(Option::is_some) => {
                        return ended.map_or(Err(ApiError::internal("the build was given up")), |r| r.clone().unwrap_or(Ok(Vec::new())));
                    }
                    changed = news.changed() => {
                        if changed.is_ok() && let Some(progress) = &progress {
                            let _ = progress.try_send(news.borrow_and_update().clone());
                        }
                    }
                }
            }
        };
        match patience {
            Some(patience) => tokio::time::timeout(patience, follow).await.ok(),
            None => Some(follow.await),
        }
    }
}

impl Engine {
    /// Takes what is ready from the store. Builds that an earlier run had begun have failed.
    pub(crate) async fn load_templates(&self) -> Result<(), Failure> {
        let mut newest: HashMap<String, TemplateRow> = HashMap::new();
        for mut row in self.inner.store.templates().await? {
            match row.status {
                Stored::Ready => {
                    newest.entry(row.name.clone()).or_insert(row); // newest first
                }
                Stored::Building => {
                    row.status = Stored::Failed;
                    row.error = Some("the daemon ended during the build; build it again".into());
                    self.inner.store.write(move |tx| tx.put_template(&row)).await?;
                }
                Stored::Failed => {}
            }
        }
        for row in newest.into_values() {
            self.inner.registry.put(self.usable(row));
        }
        Ok(())
    }

    pub(crate) fn usable(&self, row: TemplateRow) -> Arc<Template> {
        let recipe = Record::from_json(&row.recipe).map(|record| record.recipe);
        Arc::new(Template {
            name: row.name.clone(),
            layers: row.layers.iter().rev().cloned().collect(),
            zygote: self.inner.builds.zygote_number(),
            warm: recipe.as_ref().map_or(Warm::Nothing, warm),
            shelf: recipe.as_ref().map(|r| r.shelf).unwrap_or_default(),
            language: recipe.as_ref().map_or(Language::Bash, language),
            languages: recipe.as_ref().map(Language::of_recipe),
            defaults: recipe.as_ref().map(Defaults::of).unwrap_or_default(),
            env: recipe.map_or_else(Vec::new, |r| r.env.into_iter().collect()),
            row,
        })
    }

    /// The template that a sandbox is to be made from; one that is shipped but not built yet is built first.
    pub(crate) async fn template_for(
        &self,
        name: &str,
        progress: Option<ProgressSender>,
    ) -> Result<Arc<Template>, Failure> {
        if let Some(template) = self.inner.registry.get(name) {
            self.ready(&template).await?;
            return Ok(template);
        }
        let name = canonical(name);
        let recipe = shipped(name)?;
        let build = self.start_build(recipe, None, false).await?;
        match build.wait(progress, Some(CREATE_PATIENCE)).await {
            Some(result) => result.map(drop)?,
            None => {
                let now = build.progress.borrow().clone();
                let percent = now.percent.unwrap_or(0.0);
                let left = now.seconds_left.unwrap_or(USUAL_SECONDS);
                return Err(ApiError::new(
                    Code::TemplateBuilding,
                    format!(
                        "template `{name}` is being built: {percent:.0} % done, about {left:.0} s left; call again then"
                    ),
                )
                .into());
            }
        }
        self.inner.registry.get(name).ok_or_else(|| unknown(name).into())
    }

    /// Starts a build, or joins the one under way.
    async fn start_build(
        &self,
        recipe: Recipe,
        image: Option<Arc<OwnedFd>>,
        fresh: bool,
    ) -> Result<Arc<Build>, Failure> {
        self.admit()?;
        let name = recipe.name.clone();
        let build = {
            let mut running = self.inner.builds.running.lock().expect("nothing panics under this lock");
            if let Some(build) = running.get(&name) {
                return Ok(Arc::clone(build));
            }
            let build = Arc::new(Build::new());
            running.insert(name.clone(), Arc::clone(&build));
            build
        };
        let (engine, started) = (self.clone(), Arc::clone(&build));
        tokio::spawn(async move {
            let result = {
                let _storage = engine.inner.builds.storage.read().await;
                engine.run_build(recipe, image, fresh, &started).await.map_err(Failure::public)
            };
            engine.keep_budget_when_idle().await;
            engine.inner.builds.running.lock().expect("nothing panics under this lock").remove(&name);
            started.result.send_replace(Some(result));
        });
        Ok(build)
    }

    async fn run_build(
        &self,
        mut recipe: Recipe,
        image: Option<Arc<OwnedFd>>,
        fresh: bool,
        build: &Build,
    ) -> Result<Vec<BuildStage>, Failure> {
        let store = &self.inner.store;
        let is_own = template::shipped_named(&recipe.name).is_none();
        let turn = if is_own { Some(self.inner.exports.turn().await) } else { None };
        let rows = store.templates().await?;
        if is_own && rows.iter().any(|row| row.name == recipe.name && is_exported(row)) {
            return Err(taken(&recipe.name, EXPORTED).into());
        }
        let version = 1 + rows
            .iter()
            .filter(|row| row.name == recipe.name && row.status == Stored::Ready)
            .map(|row| row.version)
            .max()
            .unwrap_or(0);
        let log = self.build_logs().join(format!("{}-{version}.log", recipe.name));
        let mut row = TemplateRow {
            name: recipe.name.clone(),
            version,
            layers: Vec::new(),
            recipe: Record::of(&recipe).to_json(),
            packages: serde_json::json!([]),
            size_bytes: 0,
            created_at_ms: now_ms(),
            status: Stored::Building,
            build_log: Some(log.to_string_lossy().into_owned()),
            error: None,
        };
        let mut detail =
            serde_json::json!({"template": recipe.name, "version": version, "recipe_key": template::key(&recipe)});
        if let Some(image) = &recipe.image {
            detail["image"] = image.digest.clone().into();
        }
        let begun = row.clone();
        let entry = Self::entry(Actor::System, "template.build").detail(detail);
        let ((), receipt) = store.write_with_audit(entry, move |tx| tx.put_template(&begun)).await?;
        drop(receipt);
        // From here on the row keeps the name.
        drop(turn);
        let stages = template::stages(&recipe, &template::HostSettings::of_host());
        let (sender, mut news) = mpsc::channel(64);
        let follow = async {
            while let Some(news) = news.recv().await {
                build.report(&news);
            }
        };
        let work = async {
            let built =
                template::build(&self.inner.builder, &stages, image.as_ref().map(AsFd::as_fd), fresh, &log, &sender)
                    .await;
            drop(sender);
            built
        };
        let (built, ()) = tokio::join!(work, follow);
        let built = match built {
            Ok(built) => self.look_into(&mut recipe, &built.layers).await.map(|()| built).map_err(|e| e.chain()),
            Err(error) => Err(explain(&error)),
        };
        match built {
            Ok(built) => {
                row.recipe = Record::of(&recipe).to_json();
                row.layers = built.layers;
                row.size_bytes = built.bytes;
                row.packages = serde_json::to_value(built.packages).unwrap_or_default();
                row.status = Stored::Ready;
                let ready = row.clone();
                store.write(move |tx| tx.put_template(&ready)).await?;
                let old = self.inner.registry.get(&row.name);
                let template = self.usable(row);
                self.inner.registry.put(Arc::clone(&template));
                if let Some(old) = old {
                    // Sandboxes that were made from it live on, with interpreters that are executed anew.
                    let _ = self.inner.machine.stop_zygote(old.zygote).await;
                }
                self.open_shelf(template);
                Ok(built.stages)
            }
            Err(why) => {
                row.status = Stored::Failed;
                row.error = Some(why.clone());
                store.write(move |tx| tx.put_template(&row)).await?;
                Err(ApiError::new(Code::Internal, format!("template `{}` could not be built: {why}", recipe.name))
                    .into())
            }
        }
    }

    pub(crate) async fn do_build(
        &self,
        request: BuildRequest,
        progress: Option<ProgressSender>,
    ) -> Result<BuildAnswer, Failure> {
        let started = Instant::now();
        let name = canonical(&request.template_name).to_owned();
        let mut image = None;
        let recipe = match &request.recipe {
            Some(source) => {
                let recipe = self.own_recipe(&name, source).await?;
                let downloads = self.inner.templates.image_downloads;
                let (recipe, file) = self.inner.images.taken(recipe, request.image.as_deref(), downloads)?;
                image = file;
                recipe
            }
            None => self.known_recipe(&name)?,
        };
        let unchanged = self.inner.registry.get(&name).is_some_and(|t| {
            Record::from_json(&t.row.recipe).is_some_and(|record| record.key == template::key(&recipe))
        });
        let built = request.rebuild || !unchanged;
        let mut stages = Vec::new();
        if built {
            let build = self.start_build(recipe, image, request.rebuild).await?;
            if let Some(result) = build.wait(progress, None).await {
                stages = result?;
            }
        }
        let template = self.view_of(&name).await?.ok_or_else(|| unknown(&name))?;
        Ok(BuildAnswer { success: true, built, seconds: started.elapsed().as_secs_f64(), stages, template })
    }

    /// A recipe that is compiled in. The files of others are not kept.
    fn known_recipe(&self, name: &str) -> Result<Recipe, ApiError> {
        shipped(name).map_err(|unknown| match self.inner.registry.get(name) {
            Some(_) => ApiError::new(
                Code::InvalidArgument,
                format!("`{name}` is built from a recipe of your own: `ringfence template build DIRECTORY`"),
            ),
            None => unknown,
        })
    }

    /// A recipe of the operator's.
    async fn own_recipe(&self, name: &str, source: &RecipeSource) -> Result<Recipe, Failure> {
        let wrong = |text: String| ApiError::new(Code::InvalidArgument, text);
        let mut files = std::collections::BTreeMap::new();
        for RecipeFile { path, executable, content_base64 } in &source.files {
            let content = BASE64_STANDARD
                .decode(content_base64)
                .map_err(|e| wrong(format!("the content of the recipe's file {path:?} is no base64: {e}")))?;
            files.insert(path.clone(), template::Input { executable: *executable, content: content.into() });
        }
        let source = template::Source { recipe: source.text.clone(), files };
        let recipe = Recipe::parse(&source).map_err(|e| wrong(e.to_string()))?;
        if recipe.name != name {
            let text = format!("the recipe is called `{}`, not `{name}`", recipe.name);
            return Err(wrong(text).into());
        }
        if template::shipped_named(name).is_some() {
            return Err(taken(name, "a template that ringfence ships").into());
        }
        let rows = self.inner.store.templates().await?;
        if rows.iter().any(|row| row.name == name && is_exported(row)) {
            return Err(taken(name, EXPORTED).into());
        }
        Ok(recipe)
    }

    pub(crate) async fn do_templates(&self, request: TemplateListRequest) -> Result<TemplateListAnswer, Failure> {
        let limit = list_limit(request.limit)?;
        if let Some(category) = request.category.as_deref().filter(|c| !matches!(*c, "shipped" | "custom" | "exported"))
        {
            let shown: String = category.chars().take(40).collect();
            let text =
                format!("`category` is `{}`; it must be `shipped`, `custom` or `exported`", shown.escape_debug());
            return Err(ApiError::new(Code::InvalidArgument, text).into());
        }
        let mut templates = Vec::new();
        for name in self.template_names().await? {
            if let Some(view) = self.view_of(&name).await?
                && request.category.as_ref().is_none_or(|category| *category == view.category)
            {
                templates.push(view);
            }
        }
        templates.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(TemplateListAnswer { success: true, count: u32::try_from(templates.len()).unwrap_or(u32::MAX), templates })
    }

    pub(crate) async fn do_template(&self, request: TemplateRequest) -> Result<TemplateAnswer, Failure> {
        let name = canonical(&request.template_name);
        let template = self.view_of(name).await?.ok_or_else(|| unknown(name))?;
        Ok(TemplateAnswer { success: true, template })
    }

    pub(crate) async fn template_health(&self) -> Result<Vec<TemplateHealth>, Failure> {
        let mut all = Vec::new();
        for name in self.template_names().await? {
            let Some(view) = self.view_of(&name).await? else { continue };
            let level = self.shelf(&name).map_or(0, |shelf| shelf.level().0);
            all.push(TemplateHealth {
                warm: level > 0,
                shelf: u32::try_from(level).unwrap_or(u32::MAX),
                name,
                status: view.status,
            });
        }
        Ok(all)
    }

    async fn template_names(&self) -> Result<Vec<String>, Failure> {
        let mut names: Vec<String> = self.inner.store.templates().await?.into_iter().map(|row| row.name).collect();
        names.extend(template::shipped().into_iter().map(|recipe| recipe.name));
        names.sort();
        names.dedup();
        Ok(names)
    }

    pub(crate) async fn view_of(&self, name: &str) -> Result<Option<TemplateView>, Failure> {
        let rows: Vec<TemplateRow> =
            self.inner.store.templates().await?.into_iter().filter(|row| row.name == name).collect();
        let shipped = template::shipped_named(name);
        let ready = rows.iter().find(|row| row.status == Stored::Ready);
        let newest = rows.first();
        let Some(recipe) =
            shipped.clone().or_else(|| newest.and_then(|row| Some(Record::from_json(&row.recipe)?.recipe)))
        else {
            return Ok(None);
        };
        let build = self.inner.builds.of(name);
        let status = match (&build, ready, newest) {
            (_, Some(_), _) => TemplateStatus::Ready,
            (Some(_), None, _) => TemplateStatus::Building,
            (None, None, Some(_)) => TemplateStatus::Failed,
            (None, None, None) => TemplateStatus::NotBuilt,
        };
        let shown = ready.or(newest);
        Ok(Some(TemplateView {
            name: name.to_owned(),
            aliases: match name {
                "base" => vec!["vanilla".into()],
                "node" => vec!["nodejs".into()],
                _ => Vec::new(),
            },
            category: match (&shipped, shown.is_some_and(is_exported)) {
                (Some(_), _) => "shipped",
                (None, true) => "exported",
                (None, false) => "custom",
            }
            .into(),
            description: recipe.description.clone(),
            version: shown.map_or(0, |row| row.version),
            status,
            language: language(&recipe).as_str().into(),
            packages: ready.map_or_else(Vec::new, |row| {
                serde_json::from_value::<Vec<Package>>(row.packages.clone()).unwrap_or_default()
            }),
            size_bytes: ready.map_or(0, |row| row.size_bytes),
            digest: ready.and_then(|row| row.layers.last()).map(ToString::to_string),
            layers: ready.map(|row| row.layers.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            created_at: ready.map(|row| view::time(row.created_at_ms)),
            origin: ready.and_then(|row| Record::from_json(&row.recipe)?.image).map(|image| image.digest),
            exported: shown.and_then(|row| crate::export::exported(&row.recipe)),
            percent: build.and_then(|build| build.progress.borrow().percent),
            error: newest.filter(|row| row.status == Stored::Failed).and_then(|row| row.error.clone()),
        }))
    }
}

/// Whether a template was made from a sandbox, and not built.
fn is_exported(row: &TemplateRow) -> bool {
    row.recipe.get("export").is_some()
}

fn shipped(name: &str) -> Result<Recipe, ApiError> {
    template::shipped_named(name).ok_or_else(|| unknown(name))
}

const EXPORTED: &str = "a template that was exported from a sandbox";

fn taken(name: &str, why: &str) -> ApiError {
    let text = format!("the name `{name}` is that of {why}; give your recipe another `name`");
    ApiError::new(Code::TemplateExists, text)
}

fn language(recipe: &Recipe) -> Language {
    Language::named(&recipe.language).unwrap_or(Language::Bash)
}

fn warm(recipe: &Recipe) -> Warm {
    match language(recipe) {
        // Of an image's own Node nothing is known.
        Language::JavaScript | Language::TypeScript if recipe.image.is_some() && recipe.node.is_none() => Warm::Nothing,
        Language::JavaScript | Language::TypeScript => Warm::Node(recipe.preload.join(",")),
        _ if recipe.preload.is_empty() || recipe.image.as_ref().is_some_and(|image| !image.found.forks) => {
            Warm::Nothing
        }
        _ => Warm::Forked(recipe.preload.join(",")),
    }
}

/// A failed build in one line for people, with the last lines of the step that failed.
fn explain(error: &BuildError) -> String {
    let mut text = error.to_string();
    if let BuildError::Step { last_lines, .. } = error
        && !last_lines.is_empty()
    {
        text = format!("{text}; it had printed: {}", last_lines.join(" | "));
    }
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

pub(crate) fn unknown(name: &str) -> ApiError {
    let shown: String = name.chars().take(80).collect();
    let known: Vec<String> = template::shipped().into_iter().map(|recipe| recipe.name).collect();
    ApiError::new(
        Code::TemplateNotFound,
        format!(
            "there is no template `{}`; this version ships: {}, and `template_list` shows those that were exported",
            shown.escape_debug(),
            known.join(", ")
        ),
    )
}
