//! What recipes may say.

use super::{INPUT_BYTES_MAX, INPUTS_MAX, Input, Placed, Recipe, RecipeError, Script};
use ringfence_model::Limits;

/// Steps are layers, of which a root file system has a bounded number.
const APPS_MAX: usize = 3;
const SCRIPTS_MAX: usize = 3;
const PLACED_MAX: usize = 64;

/// Longest path of a file beside a recipe.
const PATH_BYTES_MAX: usize = 400;

/// Longest command.
const COMMAND_BYTES_MAX: usize = 16 << 10;

/// What belongs to the kernel, to the jail, or to every sandbox anew.
const NOT_INTO: [&str; 8] = ["/dev", "/proc", "/sys", "/run", "/tmp", "/var/tmp", "/build", "/data"];

fn one(field: &'static str, value: &str, allowed: &'static str, is: impl Fn(&str) -> bool) -> Result<(), RecipeError> {
    if !value.is_empty() && is(value) {
        Ok(())
    } else {
        Err(RecipeError::Field { field, value: value.chars().take(200).collect(), allowed })
    }
}

fn lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// A path below the recipe's directory: it cannot lead out of it, and means the same to everybody.
fn is_relative(path: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && part.len() <= 200 && !part.chars().any(char::is_control)
    };
    path.len() <= PATH_BYTES_MAX && path.split('/').all(plain)
}

/// An absolute path in the template, which reaches scripts.
pub(in crate::template) fn is_inside(path: &str) -> bool {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..") && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-@+".contains(c))
    };
    let reserved = |dir: &&str| path.strip_prefix(*dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path.len() <= PATH_BYTES_MAX
        && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(plain))
        && !NOT_INTO.iter().any(reserved)
}

const INSIDE: &str = "an absolute path of plain characters outside /dev, /proc, /sys, /run, /tmp, /build and /data";
const RELATIVE: &str = "a path below the recipe's directory, without `..`";
const HASH: &str = "sha512- and the hash in base64";

fn is_hash(text: &str) -> bool {
    text.strip_prefix("sha512-")
        .is_some_and(|t| t.len() == 88 && t.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c)))
}

fn is_number(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

fn at_most(field: &'static str, count: usize, max: usize, allowed: &'static str) -> Result<(), RecipeError> {
    one(field, &count.to_string(), allowed, |_| count <= max)
}

impl Recipe {
    /// Everything below reaches a shell or a file name as text, so that it is held to what its kind needs.
    pub(crate) fn judge(&self) -> Result<(), RecipeError> {
        one("name", &self.name, "1 to 32 of a-z, 0-9 and -", |t| {
            t.len() <= 32 && t.chars().all(|c| lower(c) || c == '-')
        })?;
        let languages = |t: &str| matches!(t, "python" | "javascript" | "bash");
        one("language", &self.language, "python, javascript or bash", languages)?;
        self.judge_base()?;
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
        self.judge_node()?;
        if !(4..=4096).contains(&self.shelf.sandbox_mib) {
            one("shelf.sandbox_mib", &self.shelf.sandbox_mib.to_string(), "4 to 4096", |_| false)?;
        }
        for (name, value) in &self.env {
            one("env", name, "a variable's name", |t| t.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))?;
            if value.contains('\0') {
                one("env", value, "text without NUL", |_| false)?;
            }
        }
        for path in self.wanted() {
            one("lock, check, package, from, script", &path, RELATIVE, is_relative)?;
        }
        self.judge_use()
    }

    /// Debian or an image, and not both.
    fn judge_base(&self) -> Result<(), RecipeError> {
        let Some(image) = &self.oci else {
            if self.oci_start || self.oci_tag.is_some() {
                one("oci", "", "an image, of which `oci_start` or `oci_tag` says something", |_| false)?;
            }
            return one("debian", &self.debian, "a suite's name", |t| t.chars().all(lower));
        };
        one("oci", image, RELATIVE, is_relative)?;
        if let Some(tag) = &self.oci_tag {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-:/".contains(c);
            one("oci_tag", tag, "a tag", |t| t.len() <= 256 && t.chars().all(plain))?;
        }
        if !self.debian.is_empty() || !self.packages.is_empty() {
            let only = "empty: the recipe begins with an image, and what Debian has is in that image or not there";
            one("debian, packages", &self.debian, only, |_| false)?;
        }
        if self.oci_start && self.start.is_some() {
            one("start", "a command", "said beside `oci_start`, which says it too", |_| false)?;
        }
        Ok(())
    }

    fn judge_node(&self) -> Result<(), RecipeError> {
        let has = |package: &str| self.oci.is_some() || self.packages.iter().any(|known| known == package);
        if self.lock.is_some() && !has("python3-pip") {
            one("packages", "without python3-pip", "enough for `lock`", |_| false)?;
        }
        let Some(node) = &self.node else { return Ok(()) };
        if !has("curl") || !has("ca-certificates") {
            one("packages", "without curl and ca-certificates", "enough for `node`", |_| false)?;
        }
        one("node.version", &node.version, "a version such as 24.21.0", is_number)?;
        one("node.integrity", &node.integrity, HASH, is_hash)?;
        if node.package.is_some() != node.lock.is_some() || node.package.is_some() == node.npm.is_some() {
            let either = "`package` with `lock`, or `npm` without them";
            one("node", "what npm comes from", either, |_| false)?;
        }
        if let Some(npm) = &node.npm {
            one("node.npm.version", &npm.version, "a version such as 11.6.0", is_number)?;
            one("node.npm.integrity", &npm.integrity, HASH, is_hash)?;
        }
        at_most("node.apps", node.apps.len(), APPS_MAX, "3 at most")?;
        for app in &node.apps {
            one("node.apps.into", &app.into, INSIDE, is_inside)?;
        }
        Ok(())
    }

    fn judge_use(&self) -> Result<(), RecipeError> {
        at_most("files", self.files.len(), PLACED_MAX, "64 at most")?;
        for Placed { to, mode, .. } in &self.files {
            one("files.to", to, INSIDE, is_inside)?;
            let octal = |t: &str| matches!(t.len(), 3 | 4) && u32::from_str_radix(t, 8).is_ok_and(|mode| mode <= 0o777);
            if let Some(mode) = mode {
                one("files.mode", mode, "permission bits in octal, such as 0640, without set-user-id", octal)?;
            }
        }
        at_most("build", self.build.len(), SCRIPTS_MAX, "3 at most")?;
        for Script { run, script, directory, .. } in &self.build {
            if run.is_some() == script.is_some() {
                one("build", "a step", "`run` or `script`, one of them", |_| false)?;
            }
            if let Some(run) = run {
                one("build.run", run, "a command of at most 16 KiB without NUL", is_command)?;
            }
            if let Some(directory) = directory {
                one("build.directory", directory, INSIDE, is_inside)?;
            }
        }
        one("user", &self.user, "a login name of its own, such as `user` or `node`", is_login)?;
        if let Some(dir) = &self.working_dir {
            one("working_dir", dir, INSIDE, is_inside)?;
        }
        if let Some(start) = &self.start {
            one("start", start, "a command of at most 16 KiB without NUL", is_command)?;
        }
        if let Some(limits) = self.limits {
            let value = limits.over(Limits::default()).err().map(|error| error.message);
            if let Some(message) = value {
                one("limits", &message, "within the bounds of `sandbox_create`", |_| false)?;
            }
        }
        Ok(())
    }

    /// The files that came with it.
    pub(super) fn judge_inputs(&self) -> Result<(), RecipeError> {
        for path in self.inputs.keys() {
            one("files", path, RELATIVE, is_relative)?;
        }
        if self.inputs.len() > INPUTS_MAX {
            return Err(RecipeError::TooMuch(format!("{}; at most {INPUTS_MAX} are taken", self.inputs.len())));
        }
        let bytes: usize = self.inputs.values().map(|Input { content, .. }| content.len()).sum();
        if bytes > INPUT_BYTES_MAX {
            return Err(RecipeError::TooMuch(format!("{bytes} bytes; at most {INPUT_BYTES_MAX} are taken")));
        }
        Ok(())
    }
}

/// A login name that is nobody else's.
pub(in crate::template) fn is_login(text: &str) -> bool {
    text.len() <= 31
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| lower(c) || "-_".contains(c))
        && !matches!(text, "root" | "init" | "nobody" | "daemon")
}

fn is_command(text: &str) -> bool {
    text.len() <= COMMAND_BYTES_MAX && !text.contains('\0')
}
