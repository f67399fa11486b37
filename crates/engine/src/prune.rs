//! What nobody needs any more: layers, versions of templates, failed builds, what builds could use again. What goes is decided
//! purely; a row goes before its layer does, so that no row ever speaks of a layer that is gone.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
};

use ringfence_model::{
    ApiError, Code, LayerDigest,
    api::{PruneAnswer, PruneRequest, Pruned},
};
use ringfence_store::{Actor, SandboxRow, SandboxStatus, StageRow, TemplateRow, TemplateStatus};

use crate::{engine::Engine, error::Failure};

/// Everything that holds a layer, and every layer that there is.
#[derive(Debug, Default)]
struct Holdings {
    templates: Vec<TemplateRow>,
    /// Those that have files.
    sandboxes: Vec<SandboxRow>,
    /// The one that was used longest ago first.
    stages: Vec<StageRow>,
    /// Layers of ringfence's own.
    own: Vec<LayerDigest>,
    /// What lies in the layer store.
    stored: Vec<LayerDigest>,
}

/// How much is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// What no row speaks of, and of what builds could use again what is beyond the budget, in bytes.
    Leftovers(u64),
    /// Everything that is not in use.
    Unused,
}

/// What is to go.
#[derive(Debug, Default, PartialEq)]
struct Sweep {
    versions: Vec<(String, u32)>,
    stages: Vec<String>,
    layers: Vec<LayerDigest>,
}

fn sweep(held: &Holdings, extent: Extent) -> Sweep {
    let mut sweep = Sweep::default();
    let in_sandboxes: HashSet<&LayerDigest> = held.sandboxes.iter().flat_map(|row| &row.layers).collect();
    let mut newest: HashMap<&str, u32> = HashMap::new();
    for row in held.templates.iter().filter(|row| row.status == TemplateStatus::Ready) {
        let version = newest.entry(&row.name).or_insert(row.version);
        *version = row.version.max(*version);
    }
    let mut needed: HashSet<&LayerDigest> = held.own.iter().collect();
    needed.extend(&in_sandboxes);
    for row in &held.templates {
        let is_of_a_sandbox =
            held.sandboxes.iter().any(|sandbox| sandbox.template == row.name && sandbox.layers == row.layers);
        let is_old = match row.status {
            TemplateStatus::Ready => newest.get(row.name.as_str()) != Some(&row.version) && !is_of_a_sandbox,
            TemplateStatus::Failed => true,
            TemplateStatus::Building => false,
        };
        if extent == Extent::Unused && is_old {
            sweep.versions.push((row.name.clone(), row.version));
        } else {
            needed.extend(&row.layers);
        }
    }
    // What a template has costs nothing to remember.
    let idle: Vec<&StageRow> =
        held.stages.iter().filter(|stage| !stage.layer.as_ref().is_some_and(|layer| needed.contains(layer))).collect();
    let mut left: u64 = idle.iter().map(|stage| stage.size_bytes).sum();
    for stage in idle {
        let goes = match extent {
            Extent::Leftovers(bytes_max) => left > bytes_max,
            // One without a layer belongs to whoever needs its neighbours; it is built in a moment.
            Extent::Unused => stage.layer.is_some(),
        };
        if goes {
            left -= stage.size_bytes;
            sweep.stages.push(stage.key.clone());
        } else {
            needed.extend(&stage.layer);
        }
    }
    sweep.layers = held.stored.iter().filter(|layer| !needed.contains(layer)).cloned().collect();
    sweep
}

impl Engine {
    async fn holdings(&self) -> Result<Holdings, Failure> {
        use SandboxStatus::{Creating, Failed, Paused, Running, Stopped};
        let (templates, sandboxes, stages) = self
            .inner
            .store
            .read(|view| {
                let mut sandboxes = view.sandboxes_in(&[Creating, Running, Paused, Stopped, Failed])?;
                sandboxes.retain(|row| row.disk.is_some());
                Ok((view.templates()?, sandboxes, view.stages()?))
            })
            .await?;
        let (stored, _) = self.inner.machine.stored().await?;
        Ok(Holdings { templates, sandboxes, stages, own: self.inner.machine.own_layers(), stored })
    }

    /// What an earlier run left half done: trees of builds, layers that no row speaks of. Builds wait meanwhile.
    pub(crate) async fn remove_leftovers(&self) {
        let _alone = self.inner.builds.storage.write().await;
        if let Err(error) = self.try_remove_leftovers().await {
            tracing::warn!(error = %error.chain(), "what earlier builds left could not be removed");
        }
    }

    async fn try_remove_leftovers(&self) -> Result<(), Failure> {
        let (_, trees) = self.inner.machine.stored().await?;
        for tree in trees.into_iter().filter(|tree| !self.inner.builder.is_ours(tree)) {
            tracing::info!(tree, "removing what an interrupted build left");
            self.inner.machine.drop_tree(tree).await?;
        }
        self.keep_budget().await
    }

    /// Forgets what builds could use again beyond its budget, and drops layers that no row speaks of. No build runs.
    async fn keep_budget(&self) -> Result<(), Failure> {
        let held = self.holdings().await?;
        let found = sweep(&held, Extent::Leftovers(self.inner.templates.cache_bytes_max));
        self.carry_out(&found).await
    }

    /// After a build, and every hour: keeps the budget, unless another build runs, which will.
    pub(crate) async fn keep_budget_when_idle(&self) {
        if let Ok(_alone) = self.inner.builds.storage.try_write()
            && let Err(error) = self.keep_budget().await
        {
            tracing::warn!(error = %error.chain(), "the layers of old builds could not be removed");
        }
    }

    async fn carry_out(&self, sweep: &Sweep) -> Result<(), Failure> {
        if !sweep.versions.is_empty() || !sweep.stages.is_empty() {
            let (versions, stages) = (sweep.versions.clone(), sweep.stages.clone());
            self.inner
                .store
                .write(move |tx| {
                    for (name, version) in &versions {
                        tx.delete_template(name, *version)?;
                    }
                    stages.iter().try_for_each(|key| tx.delete_stage(key))
                })
                .await?;
        }
        for layer in &sweep.layers {
            if let Err(error) = self.inner.machine.drop_layer(layer.clone()).await {
                // A sandbox that is being made holds it; the next time finds it again.
                tracing::warn!(%error, %layer, "a layer could not be removed");
            }
        }
        Ok(())
    }

    pub(crate) async fn do_prune(&self, by: Actor, request: PruneRequest) -> Result<PruneAnswer, Failure> {
        self.admit()?;
        let Ok(_alone) = self.inner.builds.storage.try_write() else {
            let text = "a template is being built; prune when it is ready (`ringfence template ls`)";
            return Err(ApiError::new(Code::TemplateBuilding, text).into());
        };
        let held = self.holdings().await?;
        let found = sweep(&held, Extent::Unused);
        let mut removed = listed(&held, &found);
        let logs = self.unused_logs(&held, &found);
        removed.extend(logs.iter().map(|(path, bytes)| Pruned {
            kind: "log".into(),
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: Some(*bytes),
        }));
        let bytes = removed.iter().filter_map(|item| item.bytes).sum();
        if !request.dry_run && !removed.is_empty() {
            let detail = serde_json::json!({"versions": found.versions.len(), "stages": found.stages.len(), "layers": found.layers.len(), "bytes": bytes});
            let receipt = self.inner.store.append(Self::entry(by, "template.prune").detail(detail)).await?;
            drop(receipt);
            self.carry_out(&found).await?;
            for (path, _) in &logs {
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(PruneAnswer { success: true, dry_run: request.dry_run, removed, bytes })
    }

    /// Logs of builds that no remaining row names.
    fn unused_logs(&self, held: &Holdings, sweep: &Sweep) -> Vec<(PathBuf, u64)> {
        let goes = |row: &&TemplateRow| !sweep.versions.contains(&(row.name.clone(), row.version));
        let named: HashSet<PathBuf> =
            held.templates.iter().filter(goes).filter_map(|row| row.build_log.as_ref()).map(PathBuf::from).collect();
        let files = std::fs::read_dir(self.build_logs()).into_iter().flatten().flatten();
        let mut logs: Vec<_> = files
            .filter_map(|file| Some((file.path(), file.metadata().ok().filter(std::fs::Metadata::is_file)?.len())))
            .filter(|(path, _)| !named.contains(path))
            .collect();
        logs.sort();
        logs
    }
}

/// What goes, for people. The bytes of a layer that nothing is known of are not counted.
fn listed(held: &Holdings, sweep: &Sweep) -> Vec<Pruned> {
    let of = |(name, version): &(String, u32)| {
        let row = held.templates.iter().find(|row| row.name == *name && row.version == *version);
        let kind = if row.is_some_and(|row| row.status == TemplateStatus::Failed) { "failed build" } else { "version" };
        Pruned { kind: kind.into(), name: format!("{name} version {version}"), bytes: None }
    };
    let mut items: Vec<Pruned> = sweep.versions.iter().map(of).collect();
    for layer in &sweep.layers {
        let stage = held.stages.iter().find(|stage| stage.layer.as_ref() == Some(layer));
        let alone = held.templates.iter().find(|row| row.layers == [layer.clone()]);
        items.push(Pruned {
            kind: "layer".into(),
            name: match stage {
                Some(stage) => format!("{} ({})", &layer.as_str()[..12], stage.title),
                None => layer.as_str()[..12].to_owned(),
            },
            bytes: stage.map(|stage| stage.size_bytes).or(alone.map(|row| row.size_bytes)),
        });
    }
    items
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ringfence_model::{Limits, SandboxId};

    use super::*;

    fn layer(digit: char) -> LayerDigest {
        LayerDigest::parse(&digit.to_string().repeat(64)).expect("64 digits")
    }

    fn layers(digits: &str) -> Vec<LayerDigest> {
        digits.chars().map(layer).collect()
    }

    fn template(name: &str, version: u32, of: &str, status: TemplateStatus) -> TemplateRow {
        TemplateRow {
            name: name.into(),
            version,
            layers: layers(of),
            recipe: serde_json::Value::Null,
            packages: serde_json::json!([]),
            size_bytes: 1,
            created_at_ms: 0,
            status,
            build_log: None,
            error: None,
        }
    }

    fn stage(digit: char, size_bytes: u64) -> StageRow {
        StageRow {
            key: digit.into(),
            title: "a stage".into(),
            layer: Some(layer(digit)),
            size_bytes,
            packages: serde_json::json!([]),
            built_at_ms: 0,
            used_at_ms: 0,
        }
    }

    fn sandbox(template: &str, of: &str) -> SandboxRow {
        SandboxRow {
            id: SandboxId::from_random([1; 20]),
            name: "s".into(),
            template: template.into(),
            layers: layers(of),
            status: SandboxStatus::Stopped,
            disk: Some(1),
            limits: Limits::default(),
            metadata: serde_json::Map::new(),
            created_at_ms: 0,
            started_at_ms: None,
            expires_at_ms: None,
            stopped_at_ms: None,
            deleted_at_ms: None,
            lifetime_s: 1,
            env_version: 0,
            swarm_id: None,
            agent_id: None,
            failure: None,
            project: ringfence_model::Project::default(),
        }
    }

    /// Python twice, of which a sandbox has the first; a failed build; a stage that nothing uses; a layer that no row knows.
    fn held() -> Holdings {
        Holdings {
            templates: vec![
                template("python", 2, "1a3", TemplateStatus::Ready),
                template("python", 1, "12", TemplateStatus::Ready),
                template("node", 1, "", TemplateStatus::Failed),
            ],
            sandboxes: vec![sandbox("python", "12")],
            stages: vec![stage('b', 70), stage('c', 20), stage('1', 50), stage('a', 5)],
            own: layers("0"),
            stored: layers("0123abcd"),
        }
    }

    #[test]
    fn what_a_row_speaks_of_survives_a_crash() {
        assert_eq!(sweep(&held(), Extent::Leftovers(100)), Sweep { layers: layers("d"), ..Sweep::default() });
        // The one that was used longest ago goes first; what a template has is not counted.
        let found = sweep(&held(), Extent::Leftovers(20));
        assert_eq!((found.stages, found.layers, found.versions), (vec!["b".to_owned()], layers("bd"), Vec::new()));
    }

    #[test]
    fn prune_keeps_what_templates_and_sandboxes_use() {
        let found = sweep(&held(), Extent::Unused);
        assert_eq!(found.versions, [("node".to_owned(), 1)]);
        assert_eq!((found.stages, found.layers), (vec!["b".to_owned(), "c".to_owned()], layers("bcd")));
        // Without the sandbox, its version goes, but not what the newer one shares with it.
        let found = sweep(&Holdings { sandboxes: Vec::new(), ..held() }, Extent::Unused);
        assert_eq!(found.versions, [("python".to_owned(), 1), ("node".to_owned(), 1)]);
        assert_eq!(found.layers, layers("2bcd"));
    }

    #[test]
    fn what_is_being_built_keeps_its_row() {
        let mut held = held();
        held.templates.push(template("base", 1, "", TemplateStatus::Building));
        let found = sweep(&held, Extent::Unused);
        assert!(!found.versions.contains(&("base".to_owned(), 1)));
        let bytes: BTreeMap<_, _> = listed(&held, &found).into_iter().map(|item| (item.name, item.bytes)).collect();
        assert_eq!(bytes["bbbbbbbbbbbb (a stage)"], Some(70));
        assert_eq!(bytes["dddddddddddd"], None);
    }
}
