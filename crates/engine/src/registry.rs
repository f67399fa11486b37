//! Templates that can be used now.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use ringfence_jail::proto::ZygoteNo;
use ringfence_model::{
    LayerDigest, Limits,
    api::{NamedNetwork, Network},
};
use ringfence_store::TemplateRow;

use crate::{
    language::Language,
    template::recipe::{DefaultNetwork, Recipe, Shelf},
};

/// What waits in a sandbox for a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Warm {
    /// Nothing: programs are executed anew.
    Nothing,
    /// A child of the template's zygote, which has imported these modules, separated by commas.
    Forked(String),
    /// A Node that was started ahead, for Node cannot fork, and has loaded these packages, separated by commas.
    Node(String),
}

/// What the sandboxes of a template have unless somebody says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Defaults {
    /// Login name of their user.
    pub user: String,
    /// Where executions start.
    pub working_dir: String,
    /// What runs in the background of each.
    pub start: Option<String>,
    /// What they may reach; `None` for nothing.
    pub network: Option<Network>,
    /// What they may use.
    pub limits: Limits,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            user: "user".to_owned(),
            working_dir: crate::run::HOME.to_owned(),
            start: None,
            network: None,
            limits: Limits::default(),
        }
    }
}

impl Defaults {
    /// As a recipe has them.
    #[must_use]
    pub(crate) fn of(recipe: &Recipe) -> Self {
        Self {
            user: recipe.user.clone(),
            working_dir: recipe.working_dir().to_owned(),
            start: recipe.start.clone(),
            network: match recipe.network {
                Some(DefaultNetwork::Packages) => Some(Network::Named(NamedNetwork::Packages)),
                Some(DefaultNetwork::None) | None => None,
            },
            limits: recipe.limits(),
        }
    }
}

/// A template whose layers are there.
#[derive(Debug)]
pub(crate) struct Template {
    /// Its name.
    pub name: String,
    /// Its layers as a shell takes them: uppermost first.
    pub layers: Vec<LayerDigest>,
    /// Its zygote's number.
    pub zygote: ZygoteNo,
    /// What waits in its sandboxes.
    pub warm: Warm,
    /// How many of its sandboxes are made ahead.
    pub shelf: Shelf,
    /// What an execution without `language` is.
    pub language: Language,
    /// What its sandboxes can run; nothing is known of a template whose recipe is gone.
    pub languages: Option<Vec<Language>>,
    /// `NAME=value` that every execution begins with.
    pub env: Vec<(String, String)>,
    /// What its sandboxes have unless somebody says otherwise.
    pub defaults: Defaults,
    /// The row that it comes from.
    pub row: TemplateRow,
}

impl Template {
    /// What is left of a template whose recipe is gone: its layers, on which sandboxes that were made from it live on.
    #[must_use]
    pub(crate) fn without_recipe(name: &str, layers: Vec<LayerDigest>) -> Self {
        Self {
            name: name.to_owned(),
            zygote: ZygoteNo(0),
            warm: Warm::Nothing,
            shelf: Shelf::default(),
            language: Language::Bash,
            languages: None,
            env: Vec::new(),
            defaults: Defaults::default(),
            row: TemplateRow {
                name: name.to_owned(),
                version: 0,
                layers: Vec::new(),
                recipe: serde_json::Value::Null,
                packages: serde_json::json!([]),
                size_bytes: 0,
                created_at_ms: 0,
                status: ringfence_store::TemplateStatus::Failed,
                build_log: None,
                error: None,
            },
            layers,
        }
    }
}

/// Those templates by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_name: RwLock<HashMap<String, Arc<Template>>>,
}

/// The one template that a shorthand of the contract means.
#[must_use]
pub(crate) fn canonical(name: &str) -> &str {
    match name {
        "vanilla" => "base",
        "nodejs" => "node",
        other => other,
    }
}

impl Registry {
    /// The template of that name, or of that shorthand.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Template>> {
        self.by_name.read().expect("nothing panics under this lock").get(canonical(name)).cloned()
    }

    /// Adds a template or a newer version of one.
    pub(crate) fn put(&self, template: Arc<Template>) {
        self.by_name.write().expect("nothing panics under this lock").insert(template.name.clone(), template);
    }

    /// Takes a template away.
    pub(crate) fn remove(&self, name: &str) -> Option<Arc<Template>> {
        self.by_name.write().expect("nothing panics under this lock").remove(name)
    }

    /// All of them.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<Arc<Template>> {
        self.by_name.read().expect("nothing panics under this lock").values().cloned().collect()
    }

    /// The template of that zygote.
    #[must_use]
    pub(crate) fn of_zygote(&self, zygote: ZygoteNo) -> Option<Arc<Template>> {
        self.by_name.read().expect("nothing panics under this lock").values().find(|t| t.zygote == zygote).cloned()
    }
}
