//! Making sandboxes, and changing those that live.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ringfence_jail::proto::Rights;
use ringfence_model::{
    ApiError, Code,
    api::{
        self, CommandResult, ConfigureAnswer, ConfigureRequest, CreateAnswer, CreateRequest, EnvMode, EnvVars,
        RunningProcess, TransitionAnswer,
    },
    net::control::GateOp,
};
use ringfence_store::{
    Actor, EnvMode as StoredEnvMode, Interpreter, LogLevel, SandboxChange, SandboxRow, SandboxStatus, SecretValue,
};

use crate::{
    api::ProgressSender,
    engine::Engine,
    error::Failure,
    keys::Kept,
    language::Language,
    lookup::not_running,
    machine::Files,
    network,
    run::Program,
    sandbox::{Environment, Lifetime, Made, Next, Sandbox, State},
    service::count,
    shelf, view,
};

/// How long one set-up command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Names of variables that one audit entry holds; it is bounded, and has their number in any case.
pub(crate) const AUDITED_NAMES_MAX: usize = 40;

fn secrets(values: &BTreeMap<String, String>) -> Vec<(String, SecretValue)> {
    values.iter().map(|(name, value)| (name.clone(), SecretValue::new(value.as_bytes().to_vec()))).collect()
}

/// The variable under which programs look for a key of the Anthropic API.
const ANTHROPIC_KEY: &str = "ANTHROPIC_API_KEY";

/// The variables that a sandbox is to have, the key for the Anthropic API among them.
fn all_vars(request: &mut CreateRequest) -> Result<EnvVars, ApiError> {
    let mut vars = std::mem::take(&mut request.env_vars).into_inner();
    if let Some(key) = request.anthropic_key.take()
        && vars.insert(ANTHROPIC_KEY.to_owned(), key.into_inner()).is_some()
    {
        let text = format!("`anthropic_key` and `{ANTHROPIC_KEY}` in `env_vars` are the same; give one of them");
        return Err(ApiError::new(Code::InvalidArgument, text));
    }
    Ok(EnvVars::new(vars))
}

/// A change of a sandbox's variables.
pub(crate) struct EnvChange<'a> {
    /// What is set, as programs see it.
    pub values: &'a BTreeMap<String, String>,
    /// Whether nothing else remains.
    pub replace: bool,
    /// What is removed.
    pub unset: &'a [String],
    /// Which of the values are keys, if a client gave them.
    pub kept: Option<&'a Kept>,
}

impl Engine {
    pub(crate) async fn do_create(
        &self,
        actor: Actor,
        mut request: CreateRequest,
        progress: Option<ProgressSender>,
    ) -> Result<CreateAnswer, Failure> {
        self.admit()?;
        let _active = self.inner.activity.begin();
        let template = self.template_for(&request.template, progress).await?;
        request.check()?;
        network::check_actor(actor, request.network.as_ref())?;
        let limits = request.limits.unwrap_or_default().over(template.defaults.limits)?;
        // What a template's recipe says is the operator's word.
        let network_by = if request.network.is_some() { actor } else { Actor::Operator };
        if request.network.is_none() && self.inner.templates.network_defaults {
            request.network.clone_from(&template.defaults.network);
        }
        if request.startup_script.is_none() {
            request.startup_script = template.exported().and_then(|exported| exported.start_command);
        }
        let has_anthropic_key = request.anthropic_key.is_some();
        let vars = all_vars(&mut request)?;
        let prepared = if limits == template.defaults.limits {
            self.shelf(&template.name).and_then(|shelf| shelf.take())
        } else {
            None
        };
        let (machine, store) = (&self.inner.machine, &self.inner.store);
        let ready = match prepared {
            Some(ready) => ready,
            None => shelf::make(machine, store, &template, limits, shelf::Warmth::IfPossible).await?,
        };
        let kept =
            match self.keep_keys(actor, (&ready.id, &request.project), vars, &request.secrets, request.expose).await {
                Ok(kept) => kept,
                Err(error) => {
                    let _ = machine.destroy(&ready.shell).await;
                    shelf::discard_disk(machine, store, ready.disk).await;
                    return Err(error);
                }
            };
        request.secrets.retain(|name| !kept.sealed.contains(name));
        let now = self.settled_now_ms().await;
        let lifetime_s = request.lifetime_s();
        let lifetime = Lifetime { expires_at_ms: now.saturating_add(lifetime_s.saturating_mul(1000)) };
        let name = request.name.clone().unwrap_or_else(|| ready.id.to_string());
        let row = SandboxRow {
            id: ready.id.clone(),
            name: name.clone(),
            template: template.name.clone(),
            layers: template.layers.iter().rev().cloned().collect(),
            status: SandboxStatus::Running,
            disk: Some(ready.disk.0),
            limits,
            metadata: request.metadata.clone(),
            created_at_ms: now,
            started_at_ms: Some(now),
            expires_at_ms: Some(lifetime.expires_at_ms),
            stopped_at_ms: None,
            deleted_at_ms: None,
            lifetime_s,
            env_version: 0,
            swarm_id: request.swarm_id.clone(),
            agent_id: request.agent_id.clone(),
            failure: None,
            project: request.project.clone(),
        };
        let names: Vec<&String> = kept.values.keys().take(AUDITED_NAMES_MAX).collect();
        let mut detail = serde_json::json!({
            "name": name, "template": template.name, "template_version": template.row.version, "lifetime_s": lifetime_s,
            "limits": limits, "env_names": names, "env_count": kept.values.len(), "sealed": kept.sealed, "exposed": kept.exposed, "network": request.network.as_ref().unwrap_or(&api::Network::default()), "secrets": request.secrets,
        });
        for (name, id) in [("swarm_id", &request.swarm_id), ("agent_id", &request.agent_id)] {
            if let Some(id) = id {
                detail[name] = serde_json::json!(id);
            }
        }
        let entry = Self::entry(actor, "sandbox.create").sandbox(&ready.id).detail(detail);
        let (values, exposed) = (secrets(&kept.values), kept.exposed.clone());
        let (id, disk) = (ready.id.clone(), ready.disk.0);
        let (startup, project) = (request.startup_script.clone(), request.project.clone());
        let written = store
            .write_with_audit(entry, move |tx| {
                tx.insert_sandbox(&row)?;
                tx.assign_disk(disk, Some(&id))?;
                if let Some(script) = startup {
                    tx.set_startup(&id, &script)?;
                }
                let budget = tx.budget(&project)?;
                if values.is_empty() {
                    return Ok((0, budget));
                }
                let version = tx.set_environment(&id, &values, StoredEnvMode::Merge, &[])?.version;
                tx.mark_exposed(&id, &exposed)?;
                Ok((version, budget))
            })
            .await;
        let env_version = match written {
            Ok(((version, budget), receipt)) => {
                drop(receipt);
                self.inner.purse.note(&request.project, budget);
                version
            }
            Err(error) => {
                if !kept.sealed.is_empty() {
                    self.inner.gate.forget(&ready.id);
                }
                let _ = machine.destroy(&ready.shell).await;
                shelf::discard_disk(machine, store, ready.disk).await;
                return Err(error.into());
            }
        };
        let waiting = if ready.interpreter.is_some() { Interpreter::Parked } else { Interpreter::Fresh };
        let posture = ready.interpreter.as_ref().map_or(&ready.shell.posture, |process| &process.posture);
        let isolation = view::isolation(posture, waiting, &machine.facts().missing);
        let next = ready.interpreter.map_or(Next::None, Next::Parked);
        let env_count = kept.values.len();
        let sandbox = Arc::new(Sandbox::new(Made {
            id: ready.id.clone(),
            name: name.clone(),
            project: request.project.clone(),
            template: Arc::clone(&template),
            limits,
            disk: ready.disk,
            inherited_bytes: 0,
            lifetime,
            state: State { status: SandboxStatus::Running, shell: Some(ready.shell), next },
            last_execution: 0,
            environment: Environment {
                version: env_version,
                exposed: kept.exposed.iter().cloned().collect(),
                values: kept.values,
            },
            public_ports: Vec::new(),
            preview_generation: 0,
        }));
        self.add_live(Arc::clone(&sandbox));
        if let Some(shell) = &sandbox.state.lock().await.shell {
            self.inner.gate.attach(&sandbox.id, shell.id.0);
        }
        if sandbox.state.lock().await.shell.as_ref().is_some_and(|shell| machine.is_dead(shell.id)) {
            let _ = self.undo(&sandbox, SandboxStatus::Failed, "its first process died").await;
            return Err(ApiError::internal("the sandbox died while it was handed out; call again").into());
        }
        let furnished = async {
            self.open_network(actor, &sandbox, request.network.as_ref(), network_by, &request.secrets).await?;
            let chosen = match request.trading.clone() {
                Some(choice) => Some(self.choose_account(actor, &sandbox.id, choice).await?),
                None => None,
            };
            self.install(actor, &sandbox, &request.install_packages).await?;
            Ok::<_, Failure>(chosen)
        };
        let trading = match furnished.await {
            Ok(trading) => trading,
            Err(error) => {
                // Nobody would ever learn of it.
                let reason = "what it was to have could not be given to it";
                let _ = self.undo(&sandbox, SandboxStatus::Deleted, reason).await;
                return Err(error);
            }
        };
        let startup = match &request.startup_script {
            Some(script) => match self.command(actor, &sandbox, script).await {
                Ok(result) => Some(result),
                Err(error) => {
                    // Nobody would ever learn of it.
                    let reason = "its startup_script could not be run";
                    let _ = self.undo(&sandbox, SandboxStatus::Deleted, reason).await;
                    return Err(error);
                }
            },
            None => None,
        };
        let mut warnings = kept.warnings;
        warnings.extend(self.run_start(&sandbox).await);
        if let Some(startup) = startup.as_ref().filter(|s| s.exit_code != 0) {
            warnings.push(format!("startup_script ended with exit code {}", startup.exit_code));
        }
        warnings.extend(self.inner.purse.warning(&request.project));
        let mut secrets = kept.sealed;
        secrets.append(&mut request.secrets);
        secrets.sort_unstable();
        secrets.dedup();
        Ok(CreateAnswer {
            success: true,
            sandbox_id: ready.id.clone(),
            e2b_sandbox_id: ready.id,
            name,
            template: template.name.clone(),
            status: api::SandboxStatus::Running,
            env_vars_configured: count(env_count),
            anthropic_key_configured: has_anthropic_key,
            packages_to_install: request.install_packages,
            timeout: lifetime_s,
            metadata: request.metadata,
            created_at: view::time(now),
            expires_at: view::time(lifetime.expires_at_ms),
            network: request.network.unwrap_or_default(),
            secrets,
            exposed: kept.exposed,
            swarm_id: request.swarm_id,
            agent_id: request.agent_id,
            isolation,
            startup,
            trading,
            warnings,
        })
    }

    /// Runs one set-up command to its end.
    async fn command(&self, actor: Actor, sandbox: &Arc<Sandbox>, command: &str) -> Result<CommandResult, Failure> {
        let program = Program {
            code: command.to_owned(),
            language: Language::Bash,
            rights: Rights::Program,
            env: Vec::new(),
            exposed: Vec::new(),
            working_dir: None,
            timeout: COMMAND_TIMEOUT,
            stdin: Vec::new(),
            background: false,
            tap: None,
        };
        let execution = self.begin(actor, sandbox, program).await?;
        const GRACE: Duration = Duration::from_secs(10);
        let Some(end) = execution.wait(COMMAND_TIMEOUT + GRACE).await else {
            return Err(ApiError::new(
                Code::ExecutionTimeout,
                format!(
                    "a command was still being ended {} s after it began; `sandbox_status` shows what runs",
                    (COMMAND_TIMEOUT + GRACE).as_secs()
                ),
            )
            .into());
        };
        let mut output = String::from_utf8_lossy(&end.output.stdout).into_owned();
        output.push_str(&String::from_utf8_lossy(&end.output.stderr));
        Ok(CommandResult {
            command: command.to_owned(),
            exit_code: end.exit_code.unwrap_or(-1),
            output,
            execution_id: Some(execution.id.clone()),
        })
    }

    pub(crate) async fn do_configure(
        &self,
        actor: Actor,
        mut request: ConfigureRequest,
    ) -> Result<ConfigureAnswer, Failure> {
        let sandbox = self.find_live(&request.sandbox_id).await?;
        request.check()?;
        network::check_actor(actor, request.network.as_ref())?;
        let replace = request.env_mode == Some(EnvMode::Replace);
        let changes_env = replace || !request.env_vars.is_empty() || !request.unset_env.is_empty();
        let mut updated: Vec<String> = request.env_vars.iter().map(|(name, _)| name.to_owned()).collect();
        let mut warnings = Vec::new();
        let (version, mut fingerprints) = {
            let state = sandbox.state.lock().await;
            if !matches!(state.status, SandboxStatus::Running | SandboxStatus::Paused | SandboxStatus::Stopped) {
                return Err(not_running(&sandbox.id, state.status).into());
            }
            if changes_env {
                let vars = std::mem::take(&mut request.env_vars);
                let kept = self
                    .keep_keys(actor, (&sandbox.id, &sandbox.project), vars, &request.secrets, request.expose)
                    .await?;
                request.secrets.retain(|name| !kept.sealed.contains(name));
                let change = EnvChange { values: &kept.values, replace, unset: &request.unset_env, kept: Some(&kept) };
                let made = self.set_environment(actor, &sandbox, change, &mut updated).await?;
                // What programs see is no secret's placeholder any more.
                let names: Vec<String> = updated.iter().filter(|name| !kept.sealed.contains(name)).cloned().collect();
                if !names.is_empty() {
                    let (id, project) = (sandbox.id.clone(), sandbox.project.clone());
                    self.inner.gate.call(GateOp::DropSecrets { sandbox: id, project, names }).await?;
                }
                warnings = kept.warnings;
                made
            } else {
                self.environment_of(&sandbox).await?
            }
        };
        self.open_network(actor, &sandbox, request.network.as_ref(), actor, &request.secrets).await?;
        if let Some(lifetime_s) = request.timeout {
            self.set_lifetime(actor, &sandbox, lifetime_s).await?;
        }
        let installed = self.install(actor, &sandbox, &request.install_packages).await?;
        let mut commands = Vec::new();
        for command in &request.run_commands {
            let result = self.command(actor, &sandbox, command).await?;
            let failed = result.exit_code != 0;
            commands.push(result);
            if failed {
                break;
            }
        }
        let (network, secrets, _) = self.gate_status(&sandbox.id).await?;
        // Of a secret, what programs see does not change with the value.
        for (name, fingerprint) in &secrets {
            if let Some(shown) = fingerprints.get_mut(name) {
                fingerprint.clone_into(shown);
            }
        }
        let exposed = sandbox.environment().exposed.iter().cloned().collect();
        let running = if changes_env { self.running_before(&sandbox, version).await } else { Vec::new() };
        Ok(ConfigureAnswer {
            success: commands.iter().all(|c| c.exit_code == 0),
            sandbox_id: sandbox.id.clone(),
            env_vars_updated: updated,
            env_version: version,
            env_fingerprints: fingerprints,
            network,
            secrets: secrets.into_keys().collect(),
            exposed,
            packages_installed: installed,
            commands_executed: commands,
            running_processes_with_old_env: running,
            expires_at: view::time(sandbox.lifetime().expires_at_ms),
            warnings,
        })
    }

    pub(crate) async fn set_environment(
        &self,
        actor: Actor,
        sandbox: &Sandbox,
        change: EnvChange<'_>,
        updated: &mut Vec<String>,
    ) -> Result<(u64, BTreeMap<String, String>), Failure> {
        let EnvChange { values, replace, unset, kept } = change;
        let mode = if replace { StoredEnvMode::Replace } else { StoredEnvMode::Merge };
        let (sealed, exposed) = kept.map_or((&[][..], &[][..]), |kept| (&kept.sealed, &kept.exposed));
        let named = |names: &[String]| names.iter().take(AUDITED_NAMES_MAX).cloned().collect::<Vec<_>>();
        let detail = serde_json::json!({
            "set": named(updated), "set_count": updated.len(), "unset": named(unset), "mode": if replace { "replace" } else { "merge" }, "sealed": sealed, "exposed": exposed,
        });
        let entry = Self::entry(actor, "sandbox.configure").sandbox(&sandbox.id).detail(detail);
        let (id, stored, unset, marked) = (sandbox.id.clone(), secrets(values), unset.to_vec(), exposed.to_vec());
        let written = self.inner.store.write_with_audit(entry, move |tx| {
            let change = tx.set_environment(&id, &stored, mode, &unset)?;
            tx.mark_exposed(&id, &marked)?;
            Ok(change)
        });
        let (change, receipt) = written.await?;
        drop(receipt);
        let mut environment = sandbox.environment();
        environment.version = change.version;
        environment.values.retain(|name, _| change.fingerprints.contains_key(name));
        environment.values.extend(values.iter().map(|(name, value)| (name.clone(), value.clone())));
        environment.exposed.retain(|name| change.fingerprints.contains_key(name) && !values.contains_key(name));
        environment.exposed.extend(exposed.iter().cloned());
        updated.extend(change.removed);
        Ok((change.version, change.fingerprints))
    }

    async fn environment_of(&self, sandbox: &Sandbox) -> Result<(u64, BTreeMap<String, String>), Failure> {
        let id = sandbox.id.clone();
        let fingerprints = self.inner.store.read(move |view| view.environment_fingerprints(&id)).await?;
        Ok((sandbox.environment().version, fingerprints))
    }

    async fn set_lifetime(&self, actor: Actor, sandbox: &Sandbox, lifetime_s: u64) -> Result<(), Failure> {
        let state = sandbox.state.lock().await;
        if !state.status.is_live() {
            return Err(not_running(&sandbox.id, state.status).into());
        }
        let expires_at_ms = self.settled_now_ms().await.saturating_add(lifetime_s.saturating_mul(1000));
        let entry = Self::entry(actor, "sandbox.lifetime")
            .sandbox(&sandbox.id)
            .detail(serde_json::json!({"lifetime_s": lifetime_s, "expires_at_ms": expires_at_ms}));
        let id = sandbox.id.clone();
        let written = self
            .inner
            .store
            .write_with_audit(entry, move |tx| tx.set_sandbox_lifetime(&id, lifetime_s, expires_at_ms))
            .await;
        let ((), receipt) = written?;
        drop(receipt);
        sandbox.set_lifetime(Lifetime { expires_at_ms });
        Ok(())
    }

    /// Processes of executions that began with an older environment.
    async fn running_before(&self, sandbox: &Sandbox, version: u64) -> Vec<RunningProcess> {
        let Ok(shell) = self.shell(sandbox).await else { return Vec::new() };
        let Ok(usage) = self.inner.machine.usage(shell.id).await else { return Vec::new() };
        let mut versions: std::collections::HashMap<_, (u64, Option<ringfence_model::ExecutionId>)> =
            std::collections::HashMap::new();
        for left in sandbox.lingering.lock().expect("nothing panics under this lock").iter() {
            versions.insert(left.exec, (left.env_version, Some(left.id.clone())));
        }
        for execution in self.running().values().filter(|e| e.sandbox == sandbox.id) {
            if let Some((_, exec)) = execution.place() {
                versions.insert(exec, (execution.env_version, Some(execution.id.clone())));
            }
        }
        usage
            .running
            .into_iter()
            .filter_map(|(exec, _, command)| {
                let (began_with, execution_id) = versions.get(&exec).cloned().unwrap_or((0, None));
                (began_with < version).then_some(RunningProcess { execution_id, command })
            })
            .collect()
    }

    /// Starts a stopped sandbox on its disk, or thaws a paused one.
    pub(crate) async fn do_resume(&self, actor: Actor, reference: &str) -> Result<TransitionAnswer, Failure> {
        self.admit()?;
        let sandbox = self.find_live(reference).await?;
        let mut state = sandbox.state.lock().await;
        let before = state.status;
        let message = match before {
            SandboxStatus::Running => "it was running already",
            SandboxStatus::Paused => {
                let shell = state.shell.clone().ok_or_else(|| not_running(&sandbox.id, before))?;
                self.move_to(actor, "sandbox.resume", &sandbox, SandboxStatus::Running).await?;
                if let Err(error) = self.inner.machine.freeze(shell.id, false).await {
                    self.move_to(Actor::System, "sandbox.pause", &sandbox, SandboxStatus::Paused).await?;
                    return Err(error.into());
                }
                state.status = SandboxStatus::Running;
                "it goes on where it was paused"
            }
            SandboxStatus::Stopped => {
                self.ready(&sandbox.template).await?;
                self.move_to(actor, "sandbox.resume", &sandbox, SandboxStatus::Running).await?;
                let made = shelf::furnish(
                    &self.inner.machine,
                    &sandbox.template,
                    sandbox.limits,
                    Files::Kept(sandbox.disk),
                    &sandbox.id,
                    shelf::Warmth::IfPossible,
                );
                match self.with_room_to_start(&sandbox, made).await {
                    Ok((shell, interpreter)) => {
                        self.inner.gate.attach(&sandbox.id, shell.id.0);
                        state.shell = Some(shell);
                        state.next = interpreter.map_or(Next::None, Next::Parked);
                        state.status = SandboxStatus::Running;
                    }
                    Err(error) => {
                        self.stop_unstarted(&sandbox).await?;
                        return Err(error);
                    }
                }
                "it runs again, with its files; programs start anew"
            }
            other => return Err(not_running(&sandbox.id, other).into()),
        };
        drop(state);
        self.note(&sandbox.id, LogLevel::Info, "system", format!("resumed: {message}"));
        if before == SandboxStatus::Stopped {
            self.run_start(&sandbox).await;
        }
        let mut answer = self.transition(&sandbox, before, SandboxStatus::Running, message);
        if let Some(warning) = self.inner.purse.warning(&sandbox.project) {
            answer.message = format!("{message}; {warning}");
        }
        Ok(answer)
    }

    /// Freezes a running sandbox.
    pub(crate) async fn do_pause(&self, actor: Actor, reference: &str) -> Result<TransitionAnswer, Failure> {
        let sandbox = self.find_live(reference).await?;
        let _gate = sandbox.gate.write().await;
        let mut state = sandbox.state.lock().await;
        let before = state.status;
        let message = match before {
            SandboxStatus::Paused => "it was paused already",
            SandboxStatus::Running => {
                let shell = state.shell.clone().ok_or_else(|| not_running(&sandbox.id, before))?;
                self.move_to(actor, "sandbox.pause", &sandbox, SandboxStatus::Paused).await?;
                if let Err(error) = self.inner.machine.freeze(shell.id, true).await {
                    self.move_to(Actor::System, "sandbox.resume", &sandbox, SandboxStatus::Running).await?;
                    return Err(error.into());
                }
                state.status = SandboxStatus::Paused;
                "its processes are frozen; deadlines and lifetime go on"
            }
            other => return Err(not_running(&sandbox.id, other).into()),
        };
        Ok(self.transition(&sandbox, before, SandboxStatus::Paused, message))
    }

    async fn move_to(&self, actor: Actor, event: &str, sandbox: &Sandbox, to: SandboxStatus) -> Result<(), Failure> {
        let now = self.settled_now_ms().await;
        let change = SandboxChange {
            started_at_ms: (to == SandboxStatus::Running).then_some(now),
            stopped_at_ms: (to == SandboxStatus::Stopped).then_some(now),
            ..SandboxChange::default()
        };
        let id = sandbox.id.clone();
        let entry = Self::entry(actor, event).sandbox(&id);
        let (_, receipt) =
            self.inner.store.write_with_audit(entry, move |tx| tx.move_sandbox(&id, to, &change)).await?;
        drop(receipt);
        Ok(())
    }

    pub(crate) fn transition(
        &self,
        sandbox: &Sandbox,
        before: SandboxStatus,
        after: SandboxStatus,
        message: &str,
    ) -> TransitionAnswer {
        TransitionAnswer {
            success: true,
            sandbox_id: sandbox.id.clone(),
            name: sandbox.name.clone(),
            previous_status: view::status(before),
            status: view::status(after),
            message: message.to_owned(),
            expires_at: view::time(sandbox.lifetime().expires_at_ms),
        }
    }
}
