//! What is asked of a copy of a sandbox before it becomes a template. It is asked in a sandbox of its own over that copy, without a
//! network, in which nothing else runs: files that a sandbox wrote are read by programs with a sandbox's rights and limits.

use std::time::Duration;

use ringfence_jail::proto::{DiskId, Rights};
use ringfence_model::{Limits, SandboxId, api::Package};
use tokio::{io::AsyncReadExt, sync::oneshot};

use crate::{
    engine::Engine,
    error::Failure,
    language::Language,
    machine::{Files, Shell, ShellSpec},
    registry::{Template, Warm},
};

/// Listing packages, and making bytecode of them.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(180);

/// Importing what waits in sandboxes.
const PRELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Packages of Debian. Their names and versions have no character that JSON would escape (Debian Policy, 5.6).
const DEBIAN: &str = r#"dpkg-query -W -f '{"name":"${Package}","version":"${Version}"},' | sed 's/^/[/; s/,$/]/'"#;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Packages of a template that are listed.
const PACKAGES_MAX: usize = 4096;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) packages: Vec<Package>,
    /// Modules that the zygote of the template can import.
    pub(super) preload: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Engine {
    /// Lists packages and makes bytecode on a disk that no sandbox uses.
    ///
    /// # Errors
    /// No sandbox can be made over it.
    pub(super) async fn prepare(&self, template: &Template, disk: DiskId) -> Result<Prepared, Failure> {
        let machine = &self.inner.machine;
        let limits = Limits { cpu_millis: 2000, memory_mib: 2048, ..Limits::default() };
        let spec = ShellSpec {
            zygote: template.zygote,
            layers: template.layers.clone(),
            files: Files::Kept(disk),
            limits,
            hostname: SandboxId::from_random(rand::random()).to_string(),
            machine_id: hex::encode(rand::random::<[u8; 16]>()),
        };
        let shell = machine.build_shell(spec).await?;
        let prepared = self.ask(template, &shell).await;
        machine.destroy(&shell).await?;
        Ok(prepared)
    }

    async fn ask(&self, template: &Template, shell: &Shell) -> Prepared {
        let mut prepared = Prepared::default();
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let argv = match template.language {
            Language::Python => text(&["/usr/bin/python3", "-I", "-c", include_str!("prepare.py")]),
            Language::JavaScript | Language::TypeScript => {
                text(&["/usr/local/bin/node", "-e", include_str!("prepare.cjs")])
            }
            Language::Bash => text(&["/bin/sh", "-c", DEBIAN]),
        };
        let plain = |text: &str| text.len() <= 200 && !text.chars().any(char::is_control);
        match self.answer::<Vec<Package>>(shell, argv, Vec::new(), PREPARE_TIMEOUT).await {
            Some(found) => {
                prepared.packages =
                    found.into_iter().filter(|p| plain(&p.name) && plain(&p.version)).take(PACKAGES_MAX).collect();
            }
            None => {
                prepared.warnings.push("the packages could not be listed: what is installed there is damaged".into())
            }
        }
        if matches!(template.language, Language::JavaScript | Language::TypeScript) {
            // The others are asked for what the template has, too.
            let base: Vec<Package> = serde_json::from_value(template.row.packages.clone()).unwrap_or_default();
            let own: std::collections::HashSet<String> = prepared.packages.iter().map(|p| p.name.clone()).collect();
            prepared.packages.extend(base.into_iter().filter(|package| !own.contains(&package.name)));
            prepared.packages.sort_by(|a, b| a.name.cmp(&b.name));
        }
        if let (Language::Python, Warm::Forked(preload)) = (template.language, &template.warm) {
            let mut argv = text(&["/usr/bin/python3", "-c", include_str!("preload.py")]);
            argv.extend(preload.split(',').map(str::to_owned));
            let env = crate::environment::base_environment(template);
            let works = self.answer::<Vec<String>>(shell, argv, env, PRELOAD_TIMEOUT).await.unwrap_or_default();
            prepared.preload = preload.split(',').map(str::to_owned).filter(|name| works.contains(name)).collect();
            let lost: Vec<&str> = preload.split(',').filter(|name| !works.iter().any(|w| w == name)).collect();
            if !lost.is_empty() {
                prepared.warnings.push(format!(
                    "{} cannot be imported with the packages that are installed; sandboxes of this template start without it",
                    lost.join(", ")
                ));
            }
        }
        prepared
    }

    /// Runs a program, and reads the last line that it prints. `None` when it fails.
    async fn answer<T: serde::de::DeserializeOwned>(
        &self,
        shell: &Shell,
        argv: Vec<String>,
        mut env: Vec<String>,
        timeout: Duration,
    ) -> Option<T> {
        if env.is_empty() {
            env = vec!["PATH=/usr/local/bin:/usr/bin:/bin".into(), "LANG=C.UTF-8".into(), "HOME=/home/user".into()];
        }
        let timeout_ms = u64::try_from(timeout.as_millis()).ok();
        let process = self.inner.machine.spawn(shell, Rights::Program, argv, env, "/".into(), timeout_ms).await.ok()?;
        let (mut stdout, mut stderr) = (process.stdout, process.stderr);
        drop(process.stdin);
        let read = async {
            let mut bytes = Vec::new();
            let _ = (&mut stdout).take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).await;
            let _ = tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await;
            bytes
        };
        let drain = async {
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        };
        let both = async { tokio::join!(read, drain).0 };
        // A process that it left may keep the pipes open.
        const GRACE: Duration = Duration::from_secs(5);
        let bytes = tokio::time::timeout(timeout + GRACE, both).await.ok()?;
        let exit: oneshot::Receiver<_> = process.exit;
        tokio::time::timeout(GRACE, exit).await.ok()?.ok()?;
        let text = String::from_utf8(bytes).ok()?;
        serde_json::from_str(text.trim_end().lines().last()?).ok()
    }
}
