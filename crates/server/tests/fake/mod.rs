//! A fake of the engine, in memory. It checks nothing about sandboxes: with it the tests look at the wire alone.

pub(crate) mod access;
mod credits;
pub(crate) mod node;
mod parts;
mod research;
mod trading;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{FutureExt, StreamExt};
use parts::{NOW, PNG, denials, health, isolation, template};
use ringfence_engine::api::{Answering, Chunks, ProgressSender, Sandboxes};
use ringfence_model::{ApiError, Code, ExecutionId, Limits, Project, SandboxId, api::*};

#[derive(Default)]
pub(crate) struct Fake {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u8,
    names: BTreeMap<SandboxId, String>,
    owners: BTreeMap<SandboxId, Project>,
    files: BTreeMap<(SandboxId, String), Vec<u8>>,
    executions: BTreeMap<ExecutionId, ExecutionAnswer>,
    networks: BTreeMap<SandboxId, NetworkStatus>,
    /// Fingerprint-like lengths instead of values, so that a value that shows up came from somewhere else.
    secrets: BTreeMap<(Project, String), SecretSummary>,
    trading: trading::State,
    budgets: BTreeMap<Project, ringfence_model::credit::MilliCredits>,
    actors: Vec<Actor>,
}

impl Fake {
    /// On whose behalf requests came, in order.
    #[allow(dead_code, reason = "the example does not ask")]
    pub(crate) fn actors(&self) -> Vec<Actor> {
        self.state().actors.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn transition(&self, request: &SandboxRequest, to: SandboxStatus) -> Result<TransitionAnswer, ApiError> {
        let id = self.find(&request.sandbox_id)?;
        Ok(TransitionAnswer {
            success: true,
            name: self.state().names[&id].clone(),
            sandbox_id: id,
            previous_status: SandboxStatus::Running,
            status: to,
            message: "done".into(),
            expires_at: NOW.into(),
        })
    }
}

/// Answers at once.
fn now<T: Send + 'static>(answer: Result<T, ApiError>) -> Answering<'static, T> {
    futures::future::ready(answer).boxed()
}

impl Sandboxes for Fake {
    fn create(
        &self,
        actor: Actor,
        request: CreateRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, CreateAnswer> {
        async move {
            self.state().actors.push(actor);
            request.check()?;
            request.network.as_ref().map_or(Ok(()), |network| network.check_actor(actor))?;
            if request.template == "slow" {
                for step in 1..=3 {
                    if let Some(progress) = &progress {
                        let percent = Some(f64::from(step) * 25.0);
                        let _ = progress.try_send(Progress { percent, ..Progress::new("building slow") });
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            } else if !["python", "house"].contains(&request.template.as_str()) {
                return Err(ApiError::new(
                    Code::TemplateNotFound,
                    format!("there is no template `{}`", request.template),
                ));
            }
            let mut state = self.state();
            state.next += 1;
            let id = SandboxId::from_random([state.next; 20]);
            let name = request.name.clone().unwrap_or_else(|| id.to_string());
            state.names.insert(id.clone(), name.clone());
            state.owners.insert(id.clone(), request.project.clone());
            let policy = request.network.clone().unwrap_or_default();
            let network = NetworkStatus { policy, secrets: request.secrets.clone(), ..NetworkStatus::default() };
            state.networks.insert(id.clone(), network);
            Ok(CreateAnswer {
                success: true,
                sandbox_id: id.clone(),
                e2b_sandbox_id: id,
                name,
                template: request.template.clone(),
                status: SandboxStatus::Running,
                env_vars_configured: request.env_vars.len() as u32,
                anthropic_key_configured: false,
                packages_to_install: vec![],
                timeout: request.lifetime_s(),
                metadata: request.metadata,
                created_at: NOW.into(),
                expires_at: NOW.into(),
                network: request.network.unwrap_or_default(),
                secrets: request.secrets,
                exposed: vec![],
                swarm_id: request.swarm_id,
                agent_id: request.agent_id,
                isolation: isolation(),
                startup: None,
                trading: None,
                warnings: vec![],
            })
        }
        .boxed()
    }

    fn configure(&self, _: Actor, request: ConfigureRequest) -> Answering<'_, ConfigureAnswer> {
        let answer = self.find(&request.sandbox_id).and_then(|sandbox_id| {
            request.check()?;
            let mut state = self.state();
            let network = state.networks.entry(sandbox_id.clone()).or_default();
            if let Some(policy) = request.network {
                network.policy = policy;
            }
            network.secrets.extend(request.secrets);
            let NetworkStatus { policy, secrets, .. } = network.clone();
            let names: Vec<String> = request.env_vars.iter().map(|(name, _)| name.to_owned()).collect();
            Ok(ConfigureAnswer {
                success: true,
                sandbox_id,
                env_fingerprints: names.iter().map(|name| (name.clone(), "abcd".into())).collect(),
                env_vars_updated: names,
                env_version: 2,
                network: policy,
                secrets,
                exposed: vec![],
                warnings: vec![],
                packages_installed: vec![],
                commands_executed: vec![],
                running_processes_with_old_env: vec![],
                expires_at: NOW.into(),
            })
        });
        now(answer)
    }

    fn execute(&self, actor: Actor, request: ExecuteRequest) -> Answering<'_, ExecutionAnswer> {
        async move {
            self.state().actors.push(actor);
            let sandbox_id = self.find(&request.sandbox_id)?;
            request.check()?;
            if let Some(seconds) = request.code.strip_prefix("sleep ") {
                tokio::time::sleep(Duration::from_secs_f64(seconds.parse().unwrap_or(1.0))).await;
            }
            let failed = request.code == "fail";
            let artifact = (request.code == "figure").then(|| Artifact {
                name: "figure-1.png".into(),
                path: "/home/user/artifacts/figure-1.png".into(),
                size: 67,
                mime: "image/png".into(),
                content_base64: Some(PNG.into()),
            });
            let denials = if request.code == "fetch" { denials(&sandbox_id) } else { vec![] };
            let mut state = self.state();
            let n = state.executions.len() as u8;
            let answer = ExecutionAnswer {
                success: !failed,
                execution_id: ExecutionId::from_parts(1_757_371_623_056, [n; 6]),
                sandbox_id,
                output: request.code.clone(),
                error: failed.then(|| "Traceback\n".into()),
                stderr: if failed { "Traceback\n".into() } else { String::new() },
                exit_code: Some(i32::from(failed)),
                status: if failed { ExecutionStatus::Failed } else { ExecutionStatus::Completed },
                execution_time: 0.5,
                cpu_time: 0.1,
                memory_peak_bytes: 1 << 20,
                truncated: false,
                output_bytes: request.code.len() as u64,
                language: request.language.unwrap_or_else(|| "python".into()),
                interpreter: Interpreter::Parked,
                artifacts: artifact.into_iter().collect(),
                denials,
                warnings: vec![],
            };
            state.executions.insert(answer.execution_id.clone(), answer.clone());
            Ok(answer)
        }
        .boxed()
    }

    fn execution(&self, _: Actor, request: ExecutionRequest) -> Answering<'_, ExecutionAnswer> {
        let found = self.state().executions.values().find(|e| e.execution_id.as_str() == request.execution_id).cloned();
        let message = format!("there is no execution `{}`", request.execution_id);
        now(found.ok_or_else(|| ApiError::new(Code::ExecutionNotFound, message)))
    }

    fn status(&self, actor: Actor, request: SandboxRequest) -> Answering<'_, StatusAnswer> {
        self.state().actors.push(actor);
        let answer = self.find(&request.sandbox_id).map(|sandbox_id| {
            let (name, network) = {
                let state = self.state();
                (state.names[&sandbox_id].clone(), state.networks.get(&sandbox_id).cloned())
            };
            StatusAnswer {
                success: true,
                status: SandboxStatus::Running,
                sandbox: SandboxDetail {
                    cost_so_far: ringfence_model::credit::MilliCredits::whole(3),
                    name,
                    network,
                    sandbox_id,
                    template: "python".into(),
                    template_version: 1,
                    status: SandboxStatus::Running,
                    created_at: NOW.into(),
                    expires_at: NOW.into(),
                    expires_in: 1,
                    timeout: 3600,
                    metadata: Default::default(),
                    env_vars: vec![],
                    env_version: 1,
                    resources: None,
                    limits: {
                        let limits = Limits::default();
                        LimitsView {
                            cpu: f64::from(limits.cpu_millis) / 1000.0,
                            memory_mb: limits.memory_mib,
                            disk_mb: limits.disk_mib,
                            processes: limits.processes,
                        }
                    },
                    executions: ExecutionCounts::default(),
                    processes: vec![],
                    ports: vec![],
                    isolation: Some(isolation()),
                    start: None,
                    reason: None,
                    warnings: vec![],
                },
            }
        });
        now(answer)
    }

    fn list(&self, _: Actor, request: ListRequest) -> Answering<'_, ListAnswer> {
        let answer = request.checked().map(|_| {
            let state = self.state();
            let is_of = |id: &SandboxId| request.project.as_ref().is_none_or(|of| state.owners.get(id) == Some(of));
            let sandboxes: Vec<SandboxSummary> = state
                .names
                .iter()
                .filter(|(id, _)| is_of(id))
                .map(|(id, name)| SandboxSummary {
                    disk_bytes: None,
                    warnings: vec![],
                    sandbox_id: id.clone(),
                    name: name.clone(),
                    template: "python".into(),
                    status: SandboxStatus::Running,
                    created_at: NOW.into(),
                    expires_at: NOW.into(),
                    metadata: Default::default(),
                })
                .collect();
            ListAnswer { success: true, count: sandboxes.len() as u32, sandboxes }
        });
        now(answer)
    }

    fn stop(&self, _: Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer> {
        now(self.transition(&request, SandboxStatus::Stopped))
    }

    fn pause(&self, _: Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer> {
        now(self.transition(&request, SandboxStatus::Paused))
    }

    fn resume(&self, _: Actor, request: SandboxRequest) -> Answering<'_, TransitionAnswer> {
        now(self.transition(&request, SandboxStatus::Running))
    }

    fn delete(&self, _: Actor, request: SandboxRequest) -> Answering<'_, DeleteAnswer> {
        let answer = self.find(&request.sandbox_id).map(|sandbox_id| DeleteAnswer {
            success: true,
            name: self.state().names.remove(&sandbox_id).unwrap_or_default(),
            sandbox_id,
            message: "deleted".into(),
            deleted_at: NOW.into(),
            total_cost: ringfence_model::credit::MilliCredits::whole(3),
            already_deleted: false,
        });
        now(answer)
    }

    fn upload(&self, _: Actor, request: UploadRequest) -> Answering<'_, UploadAnswer> {
        let answer = self.find(&request.sandbox_id).and_then(|sandbox_id| {
            request.check()?;
            let bytes = match (request.content, request.content_base64) {
                (Some(text), _) => text.into_bytes(),
                (_, base64) => BASE64_STANDARD
                    .decode(base64.unwrap_or_default())
                    .map_err(|_| ApiError::new(Code::InvalidArgument, "not base64"))?,
            };
            let size = bytes.len() as u64;
            self.state().files.insert((sandbox_id.clone(), request.file_path.clone()), bytes);
            let checksum = "0".repeat(64);
            Ok(UploadAnswer { success: true, sandbox_id, file_path: request.file_path, size, checksum })
        });
        now(answer)
    }

    fn download(&self, _: Actor, request: DownloadRequest) -> Answering<'_, DownloadAnswer> {
        let answer = self.find(&request.sandbox_id).and_then(|sandbox_id| {
            let found = self.state().files.get(&(sandbox_id.clone(), request.file_path.clone())).cloned();
            let message = format!("there is no file `{}`", request.file_path);
            let bytes = found.ok_or_else(|| ApiError::new(Code::FileNotFound, message))?;
            let size = bytes.len() as u64;
            let (content, content_base64) = match String::from_utf8(bytes) {
                Ok(text) => (Some(text), None),
                Err(e) => (None, Some(BASE64_STANDARD.encode(e.as_bytes()))),
            };
            let checksum = "0".repeat(64);
            let file_path = request.file_path;
            Ok(DownloadAnswer { success: true, sandbox_id, file_path, size, checksum, content, content_base64 })
        });
        now(answer)
    }

    fn preview(&self, _: Actor, request: PreviewRequest) -> Answering<'_, PreviewAnswer> {
        let answer = self.find(&request.sandbox_id).and_then(|sandbox_id| {
            let (port, public) = (request.port()?, request.public.unwrap_or(false));
            Ok(PreviewAnswer { success: true, sandbox_id, port, public, listening: false, url: None, path_url: None })
        });
        now(answer)
    }

    fn logs(&self, _: Actor, request: LogsRequest) -> Answering<'_, LogsAnswer> {
        let answer = self.find(&request.sandbox_id).and_then(|sandbox_id| {
            request.check()?;
            let line = LogLine {
                timestamp: NOW.into(),
                level: "info".into(),
                source: "system".into(),
                message: "created".into(),
            };
            Ok(LogsAnswer { success: true, sandbox_id, logs: vec![line], count: 1 })
        });
        now(answer)
    }

    fn templates(&self, _: Actor, _: TemplateListRequest) -> Answering<'_, TemplateListAnswer> {
        now(Ok(TemplateListAnswer { success: true, templates: vec![template("python")], count: 1 }))
    }

    fn template(&self, _: Actor, request: TemplateRequest) -> Answering<'_, TemplateAnswer> {
        // One that ships, and one that was exported.
        now(if ["python", "house"].contains(&request.template_name.as_str()) {
            Ok(TemplateAnswer { success: true, template: template(&request.template_name) })
        } else {
            Err(ApiError::new(Code::TemplateNotFound, format!("there is no template `{}`", request.template_name)))
        })
    }

    fn build(
        &self,
        actor: Actor,
        request: BuildRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, BuildAnswer> {
        async move {
            self.state().actors.push(actor);
            if request.template_name == "broken" {
                return Err(ApiError::new(Code::PackageInstallFailed, "numpi: no such package"));
            }
            if let Some(progress) = progress {
                let _ = progress.try_send(Progress::new("installing"));
            }
            Ok(BuildAnswer {
                success: true,
                built: true,
                seconds: 1.0,
                stages: Vec::new(),
                template: template(&request.template_name),
            })
        }
        .boxed()
    }

    fn export_template(
        &self,
        _: Actor,
        request: ExportRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, ExportAnswer> {
        async move {
            request.check()?;
            if let Some(progress) = progress {
                let _ = progress.try_send(Progress::new("copying"));
            }
            Ok(ExportAnswer {
                success: true,
                template_id: format!("{}:1", request.template_name),
                template_name: request.template_name,
                version: 1,
                base_template: "python".into(),
                packages: vec![],
                size_bytes: 1,
                digest: "0".repeat(64),
                created_at: NOW.into(),
                env_vars_required: vec![],
                start_command: None,
                left_out: vec![],
                left_out_count: 0,
                warnings: request.tags,
            })
        }
        .boxed()
    }

    fn template_delete(&self, _: Actor, request: TemplateRequest) -> Answering<'_, TemplateDeleteAnswer> {
        let message = "gone".into();
        now(Ok(TemplateDeleteAnswer { success: true, template_name: request.template_name, versions: 1, message }))
    }

    fn template_archive(&self, _: Actor, request: TemplateRequest) -> Answering<'_, Chunks> {
        // A name that breaks off in the middle, and one that does not.
        let end = match request.template_name.as_str() {
            "broken" => Err(ApiError::internal("it broke off")),
            name => Ok(name.to_owned().into()),
        };
        now(Ok(futures::stream::iter([Ok("archive of ".into()), end]).boxed()))
    }

    fn template_image(&self, _: Actor, request: ImageRequest, archive: Chunks) -> Answering<'_, ImageAnswer> {
        async move {
            let mut bytes = 0;
            for chunk in archive.collect::<Vec<_>>().await {
                bytes += chunk?.len();
            }
            Ok(ImageAnswer {
                success: true,
                image: format!("{bytes} bytes"),
                digest: request.tag.unwrap_or_default(),
                platform: "linux/amd64".into(),
                layers: 1,
            })
        }
        .boxed()
    }

    fn template_import(&self, _: Actor, request: ImportRequest, archive: Chunks) -> Answering<'_, ImportAnswer> {
        async move {
            let chunks: Vec<_> = archive.collect().await;
            let mut view = template(&request.template_name.unwrap_or_default());
            for chunk in chunks {
                view.size_bytes += chunk?.len() as u64;
            }
            Ok(ImportAnswer { success: true, template: view })
        }
        .boxed()
    }

    fn clone_sandbox(&self, _: Actor, _: CloneRequest) -> Answering<'_, CloneAnswer> {
        now(Err(ApiError::new(Code::SandboxNotRunning, "it runs")))
    }

    fn audit_log(&self, _: Actor, request: AuditLogRequest) -> Answering<'_, AuditLogAnswer> {
        let entry = AuditEntryView {
            seq: 1,
            timestamp: NOW.into(),
            actor: "agent".into(),
            event: request.event.unwrap_or_else(|| "sandbox.create".into()),
            sandbox_id: None,
            execution_id: None,
            detail: Default::default(),
            hash: "0".repeat(64),
        };
        now(Ok(AuditLogAnswer { success: true, entries: vec![entry], count: 1 }))
    }

    fn audit_verify(&self, _: Actor, _: AuditVerifyRequest) -> Answering<'_, AuditVerifyAnswer> {
        let head = Some(AuditHeadView { seq: 1, hash: "0".repeat(64) });
        now(Ok(AuditVerifyAnswer {
            success: true,
            valid: true,
            entries: 1,
            head,
            broken_at: None,
            fault: None,
            gate: None,
        }))
    }

    fn egress_list(&self, actor: Actor, request: EgressRequest) -> Answering<'_, EgressAnswer> {
        self.state().actors.push(actor);
        let sandbox = match &request.sandbox_id {
            Some(reference) => self.find(reference).map(|id| id.to_string()),
            None => Ok("i00000000000000000000".into()),
        };
        let answer = sandbox.and_then(|sandbox_id| {
            list_limit(request.limit)?;
            let number = request.after.unwrap_or(0) + 1;
            let decision = EgressDecision {
                number,
                timestamp: NOW.into(),
                sandbox_id,
                protocol: "http".into(),
                destination: "api.example.com:443".into(),
                request: Some("GET /v2/account".into()),
                secrets: vec!["KEY".into()],
                signed: None,
                cached: false,
                verdict: "allow".into(),
                reason: None,
                status: Some(200),
                bytes_up: Some(1),
                bytes_down: Some(2),
                milliseconds: Some(3),
            };
            Ok(EgressAnswer { success: true, decisions: vec![decision], count: 1 })
        });
        now(answer)
    }

    fn secret_set(&self, actor: Actor, request: SecretSetRequest) -> Answering<'_, SecretAnswer> {
        self.state().actors.push(actor);
        let answer = request.checked().map(|binding| {
            let binding = binding.map(|b| (b.hosts.iter().map(ToString::to_string).collect(), b.ports, b.placements));
            let (hosts, ports, placements) = binding.unwrap_or_default();
            let secret = SecretSummary {
                project: request.project.clone(),
                name: request.name.clone(),
                version: if request.rotate { 2 } else { 1 },
                fingerprint: format!("{:012x}", request.value.expose().len()),
                hosts,
                ports,
                placements,
                sign: request.sign.clone(),
                created_at: NOW.into(),
                rotated_at: request.rotate.then(|| NOW.into()),
                revoked: false,
            };
            self.state().secrets.insert((request.project, request.name), secret.clone());
            SecretAnswer { success: true, secret }
        });
        now(answer)
    }

    fn secret_list(&self, actor: Actor, project: Option<Project>) -> Answering<'_, SecretListAnswer> {
        self.state().actors.push(actor);
        let is_asked = |secret: &&SecretSummary| project.as_ref().is_none_or(|project| secret.project == *project);
        let secrets: Vec<_> = self.state().secrets.values().filter(is_asked).cloned().collect();
        now(Ok(SecretListAnswer { success: true, count: secrets.len() as u32, secrets }))
    }

    fn secret_remove(&self, actor: Actor, request: SecretRequest) -> Answering<'_, SecretRemoveAnswer> {
        self.state().actors.push(actor);
        let answer = match self.state().secrets.remove(&(request.project, request.name.clone())) {
            Some(_) => Ok(SecretRemoveAnswer { success: true, name: request.name }),
            None => Err(ApiError::new(Code::InvalidArgument, format!("there is no secret `{}`", request.name))),
        };
        now(answer)
    }

    fn audit_prune(&self, _: Actor, _: AuditPruneRequest) -> Answering<'_, AuditPruneAnswer> {
        self.cuts_nothing()
    }
    fn prune(&self, actor: Actor, request: PruneRequest) -> Answering<'_, PruneAnswer> {
        self.state().actors.push(actor);
        now(Ok(PruneAnswer { success: true, dry_run: request.dry_run, removed: Vec::new(), bytes: 0 }))
    }

    fn health(&self, _: Actor) -> Answering<'_, HealthAnswer> {
        now(Ok(health()))
    }
}
