//! Templates that are made from sandboxes, and what becomes of them.
//!
//! A template that was exported is its base's layers, and one more on top: a home, which hides those below
//! (docs/decisions/0023-an-exported-template-is-a-home.md).

use std::{collections::HashSet, sync::Arc, time::Duration};

use ringfence_jail::{
    layer::HomeReport,
    proto::{DiskId, LayerWork},
};
use ringfence_model::{
    ApiError, Code, LayerDigest,
    api::{self, ExportAnswer, ExportRequest, Exported, LeftOut, Progress, TemplateDeleteAnswer, TemplateRequest},
    mask::{Masks, Search},
    net::is_key_name,
};
use ringfence_store::{Actor, TemplateRow, TemplateStatus};
use tokio::io::AsyncReadExt;

use crate::{
    api::ProgressSender,
    builds::unknown,
    engine::{Engine, now_ms},
    error::Failure,
    language::Language,
    registry::{Template, canonical},
    sandbox::Sandbox,
    template::{self, Record, StepStream},
    view,
};

mod archive;
mod clone;
mod hidden;
mod prepare;
mod snapshot;

pub use archive::Chunks;
pub(crate) use archive::clear;
use prepare::Prepared;

/// Copying a home of tens of thousands of files takes seconds.
const COPY_TIMEOUT: Duration = Duration::from_secs(900);

/// Versions of exported templates. Each that is used has a warm interpreter and a shelf.
const EXPORTED_MAX: usize = 64;

/// What a home may have beyond what its sandbox's disk holds: what its template had.
const TEMPLATE_HOME_BYTES: u64 = 64 << 20;

/// What a root without homes may have, as installed from Debian.
const SYSTEM_BYTES: u64 = 4 << 30;

/// Where what is known of an exported template stands in its row's `recipe`, beside the recipe.
const EXPORT: &str = "export";

/// What exports share.
#[derive(Debug)]
pub(crate) struct Exports {
    /// One change of exported templates at a time: names and layers are looked at and then used.
    changing: tokio::sync::Mutex<()>,
    /// Homes that are copied. Few at once: the jailer has room for a few steps, and builds want some.
    copying: tokio::sync::Semaphore,
    /// Layers that this run has looked at.
    seen: tokio::sync::Mutex<HashSet<LayerDigest>>,
}

impl Default for Exports {
    fn default() -> Self {
        const COPIES_MAX: usize = 2;
        Self {
            changing: tokio::sync::Mutex::default(),
            copying: tokio::sync::Semaphore::new(COPIES_MAX),
            seen: tokio::sync::Mutex::default(),
        }
    }
}

impl Exports {
    /// Until it is dropped no name is given to an exported template, or taken from one.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }
}

/// What became of a sandbox's disk.
struct Copied {
    home: LayerDigest,
    /// Everything else, where an installer had changed it.
    system: Option<LayerDigest>,
    /// Of both.
    bytes: u64,
    report: HomeReport,
}

/// What is known of an exported template, from its row's `recipe`.
pub(crate) fn exported(recipe: &serde_json::Value) -> Option<Exported> {
    serde_json::from_value(recipe.get(EXPORT)?.clone()).ok()
}

impl Template {
    /// What is known of it, if it was exported from a sandbox.
    pub(crate) fn exported(&self) -> Option<Exported> {
        exported(&self.row.recipe)
    }
}

fn tell(progress: Option<&ProgressSender>, message: &str, percent: f64) {
    if let Some(progress) = progress {
        let news = Progress { message: message.to_owned(), percent: Some(percent), seconds_left: None };
        let _ = progress.try_send(news);
    }
}

/// What a step on layers said, when it has ended well.
pub(crate) async fn said(StepStream { mut output, end }: StepStream, most: u64) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let _ = (&mut output).take(most).read_to_end(&mut bytes).await;
    let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
    match end.await {
        Ok(end) if end.code == 0 => Ok(bytes),
        Ok(end) if end.timed_out => Err(ApiError::internal("it took too long and was ended")),
        Ok(end) if end.code == ringfence_jail::layer::REFUSED => {
            let text: String = String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).take(500).collect();
            Err(ApiError::new(Code::InvalidArgument, text))
        }
        Ok(end) => {
            tracing::error!(code = end.code, said = %String::from_utf8_lossy(&bytes), "work on layers failed");
            Err(ApiError::internal("work on layers failed; the daemon's log says how"))
        }
        Err(_) => Err(ApiError::internal("the jailer ended before it was done; try again")),
    }
}

impl Engine {
    pub(crate) async fn do_export(
        &self,
        by: Actor,
        request: ExportRequest,
        progress: Option<ProgressSender>,
    ) -> Result<ExportAnswer, Failure> {
        self.admit()?;
        let _active = self.inner.activity.begin();
        let sandbox = self.find_live(&request.sandbox_id).await?;
        request.check()?;
        let request =
            ExportRequest { template_name: request.project.template_named(&request.template_name), ..request };
        // What is refused is refused before anything is done. It is asked again when the name is taken.
        self.free_version(&request.template_name, request.new_version).await?;
        // Until its row names them nothing else says that its layers are needed.
        let _storage = self.inner.builds.storage.read().await;
        let base = Arc::clone(&sandbox.template);
        let Some(record) = Record::from_json(&base.row.recipe) else {
            let text = format!("the recipe of template `{}` is gone; export a sandbox of another one", base.name);
            return Err(ApiError::new(Code::NotSupported, text).into());
        };
        let detail = serde_json::json!({"template": request.template_name, "new_version": request.new_version});
        let entry = Self::entry(by, "template.export").sandbox(&sandbox.id).detail(detail);
        drop(self.inner.store.append(entry).await?);
        let copying = self.inner.exports.copying.acquire().await.expect("the semaphore is never closed");
        tell(progress.as_ref(), "copying the disk", 5.0);
        let (disk, _) = self.copy_disk_of(&sandbox, None).await?;
        let made = self.home_layer(&sandbox, disk, progress.as_ref()).await;
        crate::shelf::discard_disk(&self.inner.machine, &self.inner.store, disk).await;
        let (Copied { home: digest, system, bytes: size_bytes, report }, prepared) = made?;
        let Prepared { packages, preload, mut warnings } = prepared;
        let own: Vec<LayerDigest> = system.iter().chain([&digest]).cloned().collect();
        drop(copying);
        let _turn = self.inner.exports.turn().await;
        let version = match self.free_version(&request.template_name, request.new_version).await {
            Ok(version) => version,
            Err(error) => {
                self.drop_layers(own).await;
                return Err(error);
            }
        };
        // Another template of the same content may have been deleted a moment ago, and the layer with it.
        for layer in &own {
            if self.inner.machine.look_at(layer.clone()).await?.as_ref() != Some(layer) {
                return Err(ApiError::internal("the layer is gone again; export once more").into());
            }
        }

        let id = sandbox.id.clone();
        let startup = self.inner.store.read(move |view| view.startup(&id)).await?;
        let start_command = startup.filter(|script| {
            let is_clean = !self.holds_a_secret(&sandbox, script.as_bytes());
            if !is_clean {
                warnings.push("the start command was left out: a secret of the sandbox stands in it".into());
            }
            is_clean
        });
        let env_vars_required: Vec<String> = sandbox.environment().values.keys().cloned().collect();
        let exported = Exported {
            base_template: base.name.clone(),
            tags: request.tags,
            env_vars_required: env_vars_required.clone(),
            start_command: start_command.clone(),
        };
        let mut recipe = record.recipe;
        recipe.name.clone_from(&request.template_name);
        if let Some(description) = request.description.filter(|text| !text.is_empty()) {
            recipe.description = description;
        }
        recipe.preload = preload;
        // It is not built again: what it was built of is in its layers.
        (recipe.files, recipe.build, recipe.inputs) = (Vec::new(), Vec::new(), Default::default());
        recipe.shelf.after_first_use = true;
        // What an installer changed is a whole root, and takes the place of the base's.
        let layers = match system {
            Some(_) => own,
            None => [self.without_home(&base).await?, own].concat(),
        };
        let row = TemplateRow {
            name: request.template_name,
            version,
            layers,
            recipe: recipe_json(Record { key: record.key, image: recipe.image.clone(), recipe }, &exported),
            packages: serde_json::to_value(&packages).unwrap_or_default(),
            size_bytes,
            created_at_ms: now_ms(),
            status: TemplateStatus::Ready,
            build_log: None,
            error: None,
        };
        let created_at_ms = row.created_at_ms;
        let name = row.name.clone();
        self.publish(row).await?;
        if report.outside > 0 {
            let what = if report.outside == 1 { "change" } else { "changes" };
            warnings.push(format!(
                "{} {what} outside of the home left behind (`left_out` begins there); what the template is to have must lie below /home/user, or be in the recipe of `{}`",
                report.outside, base.name
            ));
        }
        if report.left_out_count > 0 {
            let what = if report.left_out_count == 1 { "path was" } else { "paths were" };
            warnings.push(format!("{} {what} left out; `left_out` says which, and why", report.left_out_count));
        }
        Ok(ExportAnswer {
            success: true,
            template_id: format!("{name}:{version}"),
            template_name: name,
            version,
            base_template: base.name.clone(),
            packages,
            size_bytes,
            digest: digest.to_string(),
            created_at: view::time(created_at_ms),
            env_vars_required,
            start_command,
            left_out: report.left_out.into_iter().map(|(path, reason)| LeftOut { path, reason }).collect(),
            left_out_count: report.left_out_count,
            warnings,
        })
    }

    /// The number of a new version.
    ///
    /// # Errors
    /// The name is taken, or there are too many.
    async fn free_version(&self, name: &str, new_version: bool) -> Result<u32, Failure> {
        let plain = api::plain_template_name(name);
        api::check_template_name(plain)?;
        let exists = |text: String| Err(ApiError::new(Code::TemplateExists, text).into());
        if canonical(plain) != plain || template::shipped_named(plain).is_some() {
            return exists(format!("`{plain}` is a template that ringfence ships; choose another name"));
        }
        let rows = self.inner.store.templates().await?;
        // A version of it would take the place of the operator's recipe in every sandbox that is made after it.
        if rows.iter().any(|row| row.name == name && exported(&row.recipe).is_none()) {
            return exists(format!("`{name}` is a template that an operator built from a recipe; choose another name"));
        }
        let last = rows.iter().filter(|row| row.name == name).map(|row| row.version).max().unwrap_or(0);
        if last > 0 && !new_version {
            return exists(format!(
                "there is a template `{name}`; choose another name, or ask for a new version of it with new_version=true"
            ));
        }
        // Of one project: it takes no other one's places, and hears of none.
        let project = |name: &str| name.split_once('/').map(|(project, _)| project.to_owned());
        let own = rows.iter().filter(|row| exported(&row.recipe).is_some() && project(&row.name) == project(name));
        if own.count() >= EXPORTED_MAX {
            let text = format!("there are {EXPORTED_MAX} exported templates; delete one with `template_delete`");
            return Err(ApiError::new(Code::QuotaExceeded, text).into());
        }
        Ok(last + 1)
    }

    /// Makes a layer of the home on a disk that nobody uses.
    async fn home_layer(
        &self,
        sandbox: &Sandbox,
        disk: DiskId,
        progress: Option<&ProgressSender>,
    ) -> Result<(Copied, Prepared), Failure> {
        tell(progress, "listing packages, compiling bytecode", 10.0);
        let prepared = self.prepare(&sandbox.template, disk).await?;
        tell(progress, "copying the home", 50.0);
        let hidden = self.hidden_values(sandbox).await?;
        let tree = format!("x-{}", hex::encode(rand::random::<[u8; 8]>()));
        let mut bytes_max = (u64::from(sandbox.limits.disk_mib) << 20) + self.home_bytes(&sandbox.template).await?;
        if sandbox.template.language == Language::Bash {
            bytes_max += SYSTEM_BYTES;
        }
        let builder = &self.inner.builder;
        // Only there packages are installed by root.
        let system = (sandbox.template.language == Language::Bash).then(|| format!("{tree}-system"));
        let work = LayerWork::CopyHome {
            disk,
            layers: sandbox.template.layers.clone(),
            tree: tree.clone(),
            system: system.clone(),
            bytes_max,
            hidden,
        };
        let made = async {
            const REPORT_BYTES_MAX: u64 = 1 << 20;
            let bytes = said(builder.layers(work, None, COPY_TIMEOUT).await?, REPORT_BYTES_MAX).await.map_err(|e| {
                let text = format!("the home of sandbox {} cannot become a template: {}", sandbox.id, e.message);
                ApiError::new(e.code, text)
            })?;
            let report: HomeReport =
                serde_json::from_slice(&bytes).map_err(|_| ApiError::internal("the copy's report cannot be read"))?;
            tell(progress, "sealing the layer", 80.0);
            let (digest, mut bytes, _) = builder.seal_as(tree.clone(), true).await?;
            let mut system_layer = None;
            if let (true, Some(system)) = (report.has_system, &system) {
                let (layer, more, _) = builder.seal_as(system.clone(), false).await?;
                bytes += more;
                system_layer = Some(layer);
            }
            Ok::<_, Failure>(Copied { home: digest, system: system_layer, bytes, report })
        };
        let made = made.await;
        // Those that became layers are trees no more.
        let left = if made.is_ok() { None } else { Some(tree) };
        for tree in left.into_iter().chain(system) {
            let _ = template::BuildHost::drop_tree(builder, tree).await;
        }
        Ok((made?, prepared))
    }

    /// Bytes of the home that a template has.
    async fn home_bytes(&self, template: &Template) -> Result<u64, Failure> {
        let rows = self.inner.store.templates().await?;
        let own =
            rows.iter().find(|row| exported(&row.recipe).is_some() && row.layers.last() == template.layers.first());
        Ok(own.map_or(TEMPLATE_HOME_BYTES, |row| row.size_bytes + TEMPLATE_HOME_BYTES))
    }

    /// A template's layers, lowest first, without the home that it has if it was exported itself: a home is whole.
    async fn without_home(&self, template: &Template) -> Result<Vec<LayerDigest>, Failure> {
        let rows = self.inner.store.templates().await?;
        let homes: HashSet<&LayerDigest> =
            rows.iter().filter(|row| exported(&row.recipe).is_some()).filter_map(|row| row.layers.last()).collect();
        Ok(template.layers.iter().rev().filter(|layer| !homes.contains(layer)).cloned().collect())
    }

    /// What must not be in a template: placeholders, and values that programs see, but for plain words.
    async fn hidden_values(&self, sandbox: &Sandbox) -> Result<Vec<Vec<u8>>, Failure> {
        let (_, secrets, _) = self.gate_status(&sandbox.id).await?;
        let environment = sandbox.environment();
        let is_a_keys =
            |name: &String| secrets.contains_key(name) || environment.exposed.contains(name) || is_key_name(name);
        let values = environment.values.iter().filter(|(_, value)| value.len() >= hidden::BYTES_MIN);
        let hidden = values.filter_map(|(name, value)| match is_a_keys(name) {
            true => Some(value.as_bytes()),
            false => (!hidden::is_trivial(value)).then(|| hidden::beginning(value)),
        });
        Ok(hidden.map(<[u8]>::to_vec).collect())
    }

    /// Whether a value of the environment stands in a text. More are looked for than in files: a script is typed.
    fn holds_a_secret(&self, sandbox: &Sandbox, text: &[u8]) -> bool {
        let environment = sandbox.environment();
        let values = environment.values.values().filter(|value| value.len() >= hidden::BYTES_MIN);
        let masks = Masks::new(values.map(|value| (value.as_bytes(), &b"#"[..])));
        Search::new(Arc::new(masks)).feed(text)
    }

    /// Makes a version of an exported template usable.
    async fn publish(&self, row: TemplateRow) -> Result<(), Failure> {
        let ready = row.clone();
        self.inner.store.write(move |tx| tx.put_template(&ready)).await?;
        let old = self.inner.registry.get(&row.name);
        // They were listed a moment ago.
        self.inner.exports.seen.lock().await.extend(row.layers.iter().cloned());
        let template = self.usable(row);
        self.inner.registry.put(Arc::clone(&template));
        if let Some(old) = old {
            let _ = self.inner.machine.stop_zygote(old.zygote).await;
        }
        self.open_shelf(template);
        Ok(())
    }

    /// Looks at the layers that an exported template does not share with those that are shipped, when it is first used in a run of the
    /// daemon, and starts its warm interpreter.
    ///
    /// # Errors
    /// One of them is not what it was.
    pub(crate) async fn ready(&self, template: &Arc<Template>) -> Result<(), Failure> {
        let (Some(_), Some(home)) = (template.exported(), template.layers.first()) else { return Ok(()) };
        let mut seen = self.inner.exports.seen.lock().await;
        if seen.contains(home) {
            return Ok(());
        }
        let rows = self.inner.store.templates().await?;
        let shipped = rows.iter().filter(|row| exported(&row.recipe).is_none()).flat_map(|row| &row.layers);
        let shipped: HashSet<&LayerDigest> = shipped.collect();
        // The home comes last: with it the template has been looked at.
        for layer in template.layers.iter().rev().filter(|layer| !shipped.contains(layer)) {
            if !seen.contains(layer) && self.inner.machine.look_at(layer.clone()).await?.as_ref() != Some(layer) {
                tracing::error!(template = template.name, %layer, "a layer is not what its name says");
                let text = format!(
                    "what is on disk of template `{}` is not what was exported; delete it, and export or import it again",
                    template.name
                );
                return Err(ApiError::internal(text).into());
            }
            seen.insert(layer.clone());
        }
        drop(seen);
        if self.inner.registry.get(&template.name).is_some_and(|current| Arc::ptr_eq(&current, template)) {
            self.open_shelf(Arc::clone(template));
        }
        Ok(())
    }

    pub(crate) async fn do_template_delete(
        &self,
        by: Actor,
        request: TemplateRequest,
    ) -> Result<TemplateDeleteAnswer, Failure> {
        let name = request.template_name;
        if template::shipped_named(canonical(&name)).is_some() {
            let text =
                format!("`{}` is shipped with ringfence; only exported templates can be deleted", canonical(&name));
            return Err(ApiError::new(Code::InvalidArgument, text).into());
        }
        let turn = self.inner.exports.turn().await;
        let mut own = self.inner.store.templates().await?;
        own.retain(|row| row.name == name);
        if own.is_empty() {
            return Err(unknown(&name).into());
        }
        if by == Actor::Agent && own.iter().any(|row| exported(&row.recipe).is_none()) {
            let text = format!(
                "`{name}` was built from an operator's recipe; only exported templates can be deleted here (operators: `ringfence template rm {name}`)"
            );
            return Err(ApiError::new(Code::PermissionDenied, text).into());
        }
        let using = self.all_live().iter().filter(|sandbox| sandbox.template.name == name).count();
        if using > 0 {
            let text = format!(
                "{using} sandboxes are made from `{name}`; delete them first (`sandbox_list` with template={name})"
            );
            return Err(ApiError::new(Code::TemplateInUse, text).into());
        }
        let versions: Vec<u32> = own.iter().map(|row| row.version).collect();
        let entry =
            Self::entry(by, "template.delete").detail(serde_json::json!({"template": name, "versions": versions}));
        let gone = name.clone();
        let ((), receipt) = self
            .inner
            .store
            .write_with_audit(entry, move |tx| {
                versions.iter().try_for_each(|version| tx.delete_template(&gone, *version).map(drop))
            })
            .await?;
        drop(receipt);
        let shelf = self.inner.shelves.lock().expect("nothing panics under this lock").remove(&name);
        if let Some(template) = self.inner.registry.remove(&name) {
            let _ = self.inner.machine.stop_zygote(template.zygote).await;
        }
        if let Some(shelf) = shelf {
            self.clear_shelf(&shelf).await;
        }
        self.clear_trials(&name).await;
        drop(turn);
        // Those of a base are somebody else's still: shipped templates keep theirs. An export or a build that goes on may just have
        // sealed the same content: its layers are gone a little later then, and whoever asked need not wait for long.
        let (engine, layers) = (self.clone(), own.iter().flat_map(|row| row.layers.clone()).collect());
        let dropping = tokio::spawn(async move {
            let _alone = engine.inner.builds.storage.write().await;
            engine.drop_layers(layers).await;
        });
        let _ = tokio::time::timeout(Duration::from_secs(5), dropping).await;
        Ok(TemplateDeleteAnswer {
            success: true,
            versions: u32::try_from(own.len()).unwrap_or(u32::MAX),
            message: "the template is gone".into(),
            template_name: name,
        })
    }

    /// Removes those of these layers that no template has. To be called while nobody else changes templates.
    async fn drop_layers(&self, layers: Vec<LayerDigest>) {
        let Ok(rows) = self.inner.store.templates().await else { return };
        let live = self.all_live();
        let of_live = live.iter().flat_map(|sandbox| &sandbox.template.layers);
        let kept: HashSet<&LayerDigest> = rows.iter().flat_map(|row| &row.layers).chain(of_live).collect();
        for layer in layers.iter().filter(|layer| !kept.contains(layer)) {
            self.drop_layer(layer).await;
        }
    }

    /// Removes a layer that no template has any more. A sandbox that was being made for the shelf may hold it for a moment.
    async fn drop_layer(&self, layer: &LayerDigest) {
        const TRIES: u32 = 50;
        const PAUSE: Duration = Duration::from_millis(100);
        self.inner.exports.seen.lock().await.remove(layer);
        for attempt in 1..=TRIES {
            match self.inner.machine.drop_layer(layer.clone()).await {
                Ok(()) => return,
                Err(error) if attempt == TRIES => tracing::warn!(%error, %layer, "a layer could not be removed"),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// A row's `recipe` of an exported template.
fn recipe_json(record: Record, exported: &Exported) -> serde_json::Value {
    let mut json = record.to_json();
    json[EXPORT] = serde_json::to_value(exported).expect("plain data");
    json
}
