//! Bounds of requests, and the arguments that are not built yet. Called once the sandbox is found.

use super::{
    CODE_BYTES_MAX, COMMANDS_MAX, ConfigureRequest, CreateRequest, DownloadRequest, ENV_BYTES_MAX, ENV_NAMES_MAX,
    EXECUTION_S_DEFAULT, EXECUTION_S_MAX, EnvVars, ExecuteRequest, ExecutionRequest, LIFETIME_S_DEFAULT,
    LIFETIME_S_MAX, LIST_DEFAULT, LIST_MAX, LOG_LINES_DEFAULT, LOG_LINES_MAX, LimitsRequest, ListRequest, LogsRequest,
    METADATA_BYTES_MAX, NAME_CHARS_MAX, Network, PACKAGES_MAX, PATH_BYTES_MAX, STDIN_BYTES_MAX, SandboxStatus,
    TRANSFER_BYTES_MAX, TradingChoice, UploadRequest, WAIT_S_MAX, secret::check_names,
};
use crate::{ApiError, Code, Limits, SandboxId};

pub(super) type Checked = Result<(), ApiError>;

pub(super) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidArgument, message)
}

pub(super) fn too_large(what: &str, bytes: usize, max: usize) -> ApiError {
    ApiError::new(Code::TooLarge, format!("{what} has {bytes} bytes; at most {max} are accepted"))
}

impl CreateRequest {
    /// Checks everything but the template.
    ///
    /// # Errors
    /// NOT_SUPPORTED for what is not built yet; INVALID_ARGUMENT or TOO_LARGE for what is out of bounds.
    pub fn check(&self) -> Checked {
        check_packages(&self.install_packages)?;
        check_names(&self.secrets)?;
        self.network.as_ref().map_or(Ok(()), Network::check)?;
        // Whether they exist was asked before: the engine knows no swarms.
        for (argument, id) in [("swarm_id", &self.swarm_id), ("agent_id", &self.agent_id)] {
            if id.as_ref().is_some_and(|id| id.len() > NAME_CHARS_MAX) {
                return Err(invalid(format!("`{argument}` is no id; `swarm_status` answers them")));
            }
        }
        if let Some(name) = &self.name {
            check_name(name)?;
        }
        self.trading.as_ref().map_or(Ok(()), TradingChoice::check)?;
        check_lifetime(self.timeout)?;
        check_env(&self.env_vars)?;
        if let Some(script) = &self.startup_script {
            check_command("startup_script", script)?;
        }
        let metadata = serde_json::to_vec(&self.metadata).map_or(0, |json| json.len());
        if metadata > METADATA_BYTES_MAX {
            return Err(too_large("`metadata`", metadata, METADATA_BYTES_MAX));
        }
        self.limits().map(drop)
    }

    /// Lifetime in seconds.
    #[must_use]
    pub fn lifetime_s(&self) -> u64 {
        self.timeout.unwrap_or(LIFETIME_S_DEFAULT)
    }

    /// The limits asked for, over the defaults.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for one out of range.
    pub fn limits(&self) -> Result<Limits, ApiError> {
        self.limits.unwrap_or_default().over(Limits::default())
    }
}

impl LimitsRequest {
    /// These limits, and those of `defaults` where nothing was asked for.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for one out of range.
    pub fn over(self, defaults: Limits) -> Result<Limits, ApiError> {
        let cpu_millis = match self.cpu {
            None => defaults.cpu_millis,
            Some(cpu) if (0.01..=64.0).contains(&cpu) => (cpu * 1000.0).round() as u32,
            Some(cpu) => return Err(invalid(format!("`limits.cpu` is {cpu}; it must be between 0.01 and 64"))),
        };
        let limits = Limits {
            cpu_millis,
            memory_mib: self.memory_mb.unwrap_or(defaults.memory_mib),
            disk_mib: self.disk_mb.unwrap_or(defaults.disk_mib),
            processes: self.processes.unwrap_or(defaults.processes),
            ..defaults
        };
        limits.check().map_err(|e| {
            let name = e.name.replace("_mib", "_mb");
            invalid(format!("`limits.{name}` is {}; it must be between {} and {}", e.value, e.min, e.max))
        })?;
        Ok(limits)
    }
}

impl ConfigureRequest {
    /// Checks everything but the sandbox.
    ///
    /// # Errors
    /// NOT_SUPPORTED for what is not built yet; INVALID_ARGUMENT or TOO_LARGE for what is out of bounds.
    pub fn check(&self) -> Checked {
        check_packages(&self.install_packages)?;
        check_names(&self.secrets)?;
        self.network.as_ref().map_or(Ok(()), Network::check)?;
        check_lifetime(self.timeout)?;
        check_env(&self.env_vars)?;
        if self.unset_env.len() > ENV_NAMES_MAX {
            return Err(invalid(format!("`unset_env` has more than {ENV_NAMES_MAX} names")));
        }
        for name in &self.unset_env {
            check_env_name(name)?;
            if self.env_vars.iter().any(|(set, _)| set == name) {
                return Err(invalid(format!("`{name}` is in both `env_vars` and `unset_env`")));
            }
        }
        if self.run_commands.len() > COMMANDS_MAX {
            return Err(invalid(format!("`run_commands` has more than {COMMANDS_MAX} commands")));
        }
        self.run_commands.iter().try_for_each(|command| check_command("run_commands", command))
    }
}

impl ExecuteRequest {
    /// Checks everything but the sandbox and the language.
    ///
    /// # Errors
    /// INVALID_ARGUMENT or TOO_LARGE for what is out of bounds.
    pub fn check(&self) -> Checked {
        if self.code.len() > CODE_BYTES_MAX {
            return Err(too_large("`code`", self.code.len(), CODE_BYTES_MAX));
        }
        if let Some(stdin) = &self.stdin
            && stdin.len() > STDIN_BYTES_MAX
        {
            return Err(too_large("`stdin`", stdin.len(), STDIN_BYTES_MAX));
        }
        check_env(&self.env_vars)?;
        if let Some(dir) = &self.working_dir {
            check_path("working_dir", dir)?;
        }
        let timeout = self.timeout_s();
        if !(timeout > 0.0 && timeout <= EXECUTION_S_MAX) {
            return Err(invalid(format!(
                "`timeout` is {timeout} seconds; it must be more than 0 and at most {EXECUTION_S_MAX}"
            )));
        }
        check_wait(self.wait)
    }

    /// Seconds after which it is ended.
    #[must_use]
    pub fn timeout_s(&self) -> f64 {
        self.timeout.unwrap_or(EXECUTION_S_DEFAULT)
    }

    /// Seconds that the call waits: 0 in the background, at most [`WAIT_S_MAX`].
    #[must_use]
    pub fn wait_s(&self) -> f64 {
        if self.background { 0.0 } else { self.wait.unwrap_or(WAIT_S_MAX).clamp(0.0, WAIT_S_MAX) }
    }
}

impl ExecutionRequest {
    /// Checks the wait.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Checked {
        check_wait(self.wait)
    }

    /// Seconds that the call waits, at most [`WAIT_S_MAX`].
    #[must_use]
    pub fn wait_s(&self) -> f64 {
        self.wait.unwrap_or(0.0).clamp(0.0, WAIT_S_MAX)
    }
}

impl UploadRequest {
    /// Checks everything but the sandbox.
    ///
    /// # Errors
    /// INVALID_ARGUMENT or TOO_LARGE.
    pub fn check(&self) -> Checked {
        check_path("file_path", &self.file_path)?;
        let bytes = match (&self.content, &self.content_base64) {
            (Some(text), None) => text.len(),
            (None, Some(base64)) => base64.len() / 4 * 3,
            _ => return Err(invalid("give exactly one of `content` (text) and `content_base64`; either may be empty")),
        };
        // Padding hides at most two bytes.
        if bytes > TRANSFER_BYTES_MAX + 2 {
            return Err(too_large("the file", bytes, TRANSFER_BYTES_MAX));
        }
        Ok(())
    }
}

impl DownloadRequest {
    /// Checks the path.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Checked {
        check_path("file_path", &self.file_path)
    }
}

impl LogsRequest {
    /// Checks lines and source.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check(&self) -> Checked {
        check_count("lines", self.lines_wanted(), LOG_LINES_MAX)?;
        match self.source.as_deref() {
            None | Some("system" | "stdout" | "stderr" | "start" | "audit") => Ok(()),
            Some(_) => Err(invalid("`source` must be `system`, `stdout`, `stderr`, `start` or `audit`")),
        }
    }

    /// How many lines.
    #[must_use]
    pub fn lines_wanted(&self) -> u32 {
        self.lines.unwrap_or(LOG_LINES_DEFAULT)
    }
}

impl ListRequest {
    /// The state to list (`None` for all) and how many at most.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn checked(&self) -> Result<(Option<SandboxStatus>, u32), ApiError> {
        let status = match self.status.as_deref() {
            None | Some("all") => None,
            Some(word) => Some(SandboxStatus::parse(word).ok_or_else(|| {
                let words: Vec<&str> = SandboxStatus::ALL.iter().map(|status| status.as_str()).collect();
                invalid(format!("`status` must be `all` or one of {}", words.join(", ")))
            })?),
        };
        Ok((status, list_limit(self.limit)?))
    }
}

/// How many elements of a list are wanted.
///
/// # Errors
/// INVALID_ARGUMENT when it is 0 or more than [`LIST_MAX`].
pub fn list_limit(limit: Option<u32>) -> Result<u32, ApiError> {
    let limit = limit.unwrap_or(LIST_DEFAULT);
    check_count("limit", limit, LIST_MAX)?;
    Ok(limit)
}

fn check_packages(packages: &[String]) -> Checked {
    if packages.len() > PACKAGES_MAX {
        return Err(invalid(format!("`install_packages` has more than {PACKAGES_MAX} packages")));
    }
    let is_package = |text: &String| is_requirement(text) || is_npm_package(text) || is_debian_package(text);
    match packages.iter().find(|package| !is_package(package)) {
        Some(wrong) => Err(invalid(format!(
            "`{}` in `install_packages` is no package: write a name, with a version where it matters, as in `numpy==2.3.1`, `ws@8.18.0` or `apt:jq`",
            wrong.chars().take(80).collect::<String>()
        ))),
        None => Ok(()),
    }
}

/// Whether it has the form of a package of npm: a name, with a scope or without, and a version, a range or a tag. No address, path,
/// alias or option, and no `user/repository`, by which npm means GitHub.
#[must_use]
pub fn is_npm_package(text: &str) -> bool {
    const BYTES_MAX: usize = 214;
    let word = |t: &str| {
        t.starts_with(|c: char| c.is_ascii_alphanumeric())
            && t.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let (scope, rest) = match text.strip_prefix('@').map(|t| t.split_once('/')) {
        None => (None, text),
        Some(Some((scope, rest))) => (Some(scope), rest),
        Some(None) => return false,
    };
    let (name, version) = rest.split_once('@').map_or((rest, None), |(name, version)| (name, Some(version)));
    let is_version =
        |t: &str| !t.is_empty() && t.chars().all(|c| c.is_ascii_alphanumeric() || "._-+^~<>=*| ".contains(c));
    text.len() <= BYTES_MAX && word(name) && scope.is_none_or(word) && version.is_none_or(is_version)
}

/// Whether it has the form of a package of Debian: `apt:`, a name, and `=` and a version where one is wanted (deb-version(7),
/// Debian Policy 5.6.1). No architecture, path, pattern or option.
#[must_use]
pub fn is_debian_package(text: &str) -> bool {
    const BYTES_MAX: usize = 214;
    let Some(rest) = text.strip_prefix("apt:") else { return false };
    let (name, version) = rest.split_once('=').map_or((rest, None), |(name, version)| (name, Some(version)));
    let is_small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= BYTES_MAX
        && name.len() >= 2
        && name.starts_with(is_small)
        // At the end of a name it means to apt that the package is to be removed.
        && !name.ends_with('-')
        && name.chars().all(|c| is_small(c) || "+.-".contains(c))
        && version.is_none_or(|text| {
            text.starts_with(|c: char| c.is_ascii_digit())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || ".+~:-".contains(c))
        })
}

/// Whether it has the form of a requirement: name, extras, versions and their comparisons (PEP 508). No address, path or option.
#[must_use]
pub fn is_requirement(text: &str) -> bool {
    const BYTES_MAX: usize = 200;
    text.len() <= BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-[],<>=!~*+ ".contains(c))
}

fn check_name(name: &str) -> Checked {
    let chars = name.chars().count();
    if name.trim().is_empty() || chars > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(invalid(format!("`name` must have 1 to {NAME_CHARS_MAX} characters, none of them a control one")));
    }
    if SandboxId::parse(name).is_ok() {
        return Err(invalid("`name` has the shape of a sandbox id; choose another one"));
    }
    Ok(())
}

fn check_lifetime(timeout: Option<u64>) -> Checked {
    match timeout {
        Some(0) => Err(invalid(format!("`timeout` is 0 seconds; it must be between 1 and {LIFETIME_S_MAX}"))),
        Some(s) if s > LIFETIME_S_MAX => {
            Err(invalid(format!("`timeout` is {s} seconds; it must be between 1 and {LIFETIME_S_MAX} (seven days)")))
        }
        _ => Ok(()),
    }
}

fn check_env(vars: &EnvVars) -> Checked {
    if vars.len() > ENV_NAMES_MAX {
        return Err(ApiError::new(Code::TooLarge, format!("`env_vars` has more than {ENV_NAMES_MAX} names")));
    }
    let bytes: usize = vars.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if bytes > ENV_BYTES_MAX {
        return Err(too_large("`env_vars`", bytes, ENV_BYTES_MAX));
    }
    for (name, value) in vars.iter() {
        check_env_name(name)?;
        if value.contains('\0') {
            return Err(invalid(format!("the value of `{name}` contains a NUL character")));
        }
    }
    Ok(())
}

fn check_env_name(name: &str) -> Checked {
    if name.is_empty() || name.len() > 256 || name.contains(['=', '\0']) || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(80).collect();
        return Err(invalid(format!("`{}` is not the name of an environment variable", shown.escape_debug())));
    }
    Ok(())
}

fn check_command(argument: &str, command: &str) -> Checked {
    if command.len() > CODE_BYTES_MAX {
        return Err(too_large(&format!("`{argument}`"), command.len(), CODE_BYTES_MAX));
    }
    Ok(())
}

fn check_path(argument: &str, path: &str) -> Checked {
    if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0') {
        return Err(invalid(format!("`{argument}` must be a path of 1 to {PATH_BYTES_MAX} bytes without NUL")));
    }
    Ok(())
}

fn check_wait(wait: Option<f64>) -> Checked {
    match wait {
        Some(wait) if !(wait >= 0.0 && wait.is_finite()) => Err(invalid("`wait` must be 0 or more seconds")),
        _ => Ok(()),
    }
}

fn check_count(argument: &str, count: u32, max: u32) -> Checked {
    if (1..=max).contains(&count) {
        Ok(())
    } else {
        Err(invalid(format!("`{argument}` is {count}; it must be between 1 and {max}")))
    }
}
