//! Recipes that begin with an image: what of the image's configuration its sandboxes begin with, and the stages that make its layers
//! ours. Pure.

use ringfence_jail::{
    layer::image::{Blob, Found, ImageReport, Setting},
    proto::LayerWork,
};
use ringfence_model::LayerDigest;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::recipe::{
    Owner, Recipe, RecipeError, is_user,
    judge::{is_inside, is_login},
};

/// Layers of ours that an image becomes: a root file system has a bounded number. What is more becomes one with the last.
const LAYERS_MAX: usize = 12;

/// Bytes of all files of an image.
const FILES_BYTES_MAX: u64 = 64 << 30;

/// Variables that a sandbox says itself.
const OWN_VARIABLES: [&str; 7] = ["HOME", "USER", "LOGNAME", "SHELL", "PWD", "HOSTNAME", "TERM"];

/// Where programs of the user's own are, before those of the image.
const OWN_PATH: &str = "/home/user/.local/bin";

/// The image with which a recipe begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// `sha256:` and 64 hexadecimal digits: of its manifest, or of its configuration where `docker save` has written none.
    pub digest: String,
    /// Such as `linux/amd64`.
    pub platform: String,
    /// What the engine can use of the template.
    #[serde(default)]
    pub found: Found,
    /// Its layers, lowest first.
    #[serde(skip)]
    pub blobs: Vec<Blob>,
    /// Where it looks for programs.
    #[serde(skip)]
    pub path: Vec<String>,
}

/// What a stage does with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageWork {
    /// Layers of it become one of ours.
    Layers(Vec<Blob>),
    /// It becomes a file system for sandboxes.
    Prepare(Setting),
}

impl ImageWork {
    /// What the jailer is asked to do, in a tree over these layers, uppermost first.
    #[must_use]
    pub fn plan(&self, tree: &str, layers: &[LayerDigest]) -> LayerWork {
        let (tree, layers) = (tree.to_owned(), layers.to_vec());
        match self {
            Self::Layers(blobs) => LayerWork::Apply { layers, tree, blobs: blobs.clone(), bytes_max: FILES_BYTES_MAX },
            Self::Prepare(setting) => LayerWork::Prepare { layers, tree, setting: setting.clone() },
        }
    }

    /// What it does, in a few words for people.
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self {
            Self::Layers(_) => "unpacking the image",
            Self::Prepare(_) => "making it a template",
        }
    }

    /// The key of its stage over what lies below. A layer is known by what is in it, however it was compressed.
    #[must_use]
    pub fn key(&self, below: &[u8; 32]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(below);
        let mut field = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        match self {
            Self::Layers(blobs) => {
                field("layers");
                blobs.iter().for_each(|blob| field(&blob.diff_id));
            }
            Self::Prepare(Setting { login, working_dir, path, needs }) => {
                field("prepare");
                [login, working_dir].into_iter().chain(path).for_each(|text| field(text));
                needs.iter().for_each(|(name, _)| field(name));
            }
        }
        hash.finalize().into()
    }
}

impl Image {
    /// Whether it can be somebody else's word.
    pub(crate) fn is_plain(&self) -> bool {
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let plain =
            |text: &str| text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        self.digest.strip_prefix("sha256:").is_some_and(is_hash)
            && plain(&self.platform)
            && self.found.python.as_deref().is_none_or(plain)
    }
}

impl Recipe {
    /// The recipe over its image: what the recipe does not say, the image does.
    ///
    /// # Errors
    /// What the image says cannot be used.
    pub fn over(mut self, report: ImageReport) -> Result<Self, RecipeError> {
        let ImageReport { digest, platform, layers, env, working_dir, user, start } = report;
        let login = user.split(':').next().unwrap_or_default();
        if is_user(&self.user) && is_login(login) {
            login.clone_into(&mut self.user);
        }
        if self.working_dir.is_none() && is_inside(&working_dir) {
            self.working_dir = Some(working_dir);
        }
        let mut path = Vec::new();
        for (name, value) in env {
            let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_plain || value.contains('\0') || OWN_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let value = if name == "PATH" {
                let is_taken = |dir: &&str| dir.len() > 1 && (is_inside(dir) || *dir == "/bin");
                path = value.split(':').filter(is_taken).map(str::to_owned).collect();
                format!("{OWN_PATH}:{value}")
            } else {
                value
            };
            self.env.entry(name).or_insert(value);
        }
        if self.oci_start {
            if start.is_empty() {
                return Err(RecipeError::Image("has neither an entry point nor a command for `oci_start`".into()));
            }
            // The command is the recipe's own from here on.
            self.oci_start = false;
            self.start = Some(format!("exec {}", start.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")));
        }
        self.image = Some(Image { digest, platform, found: Found::default(), blobs: layers, path });
        self.judge()?;
        Ok(self)
    }

    /// What is done with the image: its layers one by one, then what sandboxes need.
    pub(super) fn of_image(&self, image: &Image) -> Vec<ImageWork> {
        let alone = image.blobs.len().min(LAYERS_MAX - 1);
        let (first, rest) = image.blobs.split_at(alone);
        let mut works: Vec<ImageWork> = first.iter().map(|blob| ImageWork::Layers(vec![blob.clone()])).collect();
        if !rest.is_empty() {
            works.push(ImageWork::Layers(rest.to_vec()));
        }
        works.push(ImageWork::Prepare(Setting {
            login: self.user.clone(),
            working_dir: self.working_dir().to_owned(),
            path: image.path.clone(),
            needs: self.needs().into_iter().map(|(name, why)| (name.to_owned(), why.to_owned())).collect(),
        }));
        works
    }

    /// Programs that there must be, and what for.
    fn needs(&self) -> Vec<(&'static str, &'static str)> {
        let mut needs = vec![("/bin/bash", "it runs bash, start commands and scripts")];
        if self.language == "python" {
            needs.push(("python3", "the recipe's language"));
        }
        if self.language == "javascript" && self.node.is_none() {
            needs.push(("node", "the recipe's language"));
        }
        if self.lock.is_some() {
            needs.push(("python3", "`lock`"));
        }
        let has_steps = self.lock.is_some() || self.node.is_some() || !self.files.is_empty() || self.check.is_some();
        if has_steps || !self.strip.is_empty() {
            needs.push(("/bin/sh", "steps of the build"));
        }
        if !self.files.is_empty() {
            needs.push(("tar", "`[[files]]`"));
        }
        if self.check.is_some() || self.build.iter().any(|script| script.run_as == Owner::User) {
            needs.push(("/usr/bin/setpriv", "scripts run as the user"));
        }
        if self.node.is_some() {
            for program in ["curl", "tar", "gzip", "sha512sum", "base64", "od"] {
                needs.push((program, "`[node]`"));
            }
        }
        needs
    }
}

/// A word as bash reads it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests;
