//! Sandboxes, templates, and what is written down about them.

use ringfence_engine::api::{Answering, Chunks, ProgressSender, Sandboxes};
use ringfence_model::{
    ApiError, JobId, Operation, Project, Role,
    api::{
        Actor, AuditEntryView, AuditLogAnswer, AuditLogRequest, AuditPruneAnswer, AuditPruneRequest, AuditVerifyAnswer,
        AuditVerifyRequest, BuildAnswer, BuildRequest, CloneAnswer, CloneRequest, ConfigureAnswer, ConfigureRequest,
        CreateAnswer, CreateRequest, DeleteAnswer, DownloadAnswer, DownloadRequest, EgressAnswer, EgressRequest,
        ExecuteRequest, ExecutionAnswer, ExecutionRequest, ExportAnswer, ExportRequest, HealthAnswer, ImageAnswer,
        ImageRequest, ImportAnswer, ImportRequest, LIST_MAX, ListAnswer, ListRequest, LogsAnswer, LogsRequest,
        PreviewAnswer, PreviewRequest, PruneAnswer, PruneRequest, SandboxCounts, SandboxDetail, SandboxRequest,
        SandboxStatus, SecretAnswer, SecretListAnswer, SecretRemoveAnswer, SecretRequest, SecretSetRequest,
        StatusAnswer, TemplateAnswer, TemplateDeleteAnswer, TemplateListAnswer, TemplateListRequest, TemplateRequest,
        TradingChoice, TransitionAnswer, UploadAnswer, UploadRequest, list_limit,
    },
};

use super::Scoped;

const INSTALLATION: &str = "builds of templates, archives and the audit chain";

/// About one sandbox, which is resolved within the caller's project first.
macro_rules! of_a_sandbox {
    ($($method:ident $operation:ident $request:ty => $answer:ty;)*) => {
        $(fn $method(&self, _: Actor, mut request: $request) -> Answering<'_, $answer> {
            Box::pin(async move {
                self.check(Operation::$operation)?;
                self.sandbox(&mut request.sandbox_id).await?;
                self.inner.$method(self.actor(), request).await
            })
        })*
    };
}

/// About what the installation has once.
macro_rules! of_the_installation {
    ($($method:ident $operation:ident ($($name:ident: $argument:ty),*) => $answer:ty;)*) => {
        $(fn $method(&self, _: Actor, $($name: $argument),*) -> Answering<'_, $answer> {
            Box::pin(async move {
                self.check(Operation::$operation)?;
                self.of_the_first_project(INSTALLATION)?;
                self.inner.$method(self.actor(), $($name),*).await
            })
        })*
    };
}

impl Scoped {
    /// Whether the caller may have a sandbox of that template, with that account of the installation's.
    pub(super) async fn may_be_made(&self, template: &str, trading: Option<&TradingChoice>) -> Result<(), ApiError> {
        self.own_template(template).await?;
        if trading.is_some() {
            self.of_the_first_project("simulated accounts")?;
        }
        Ok(())
    }

    async fn own_template(&self, name: &str) -> Result<(), ApiError> {
        match &self.caller.project {
            Some(project) => self.inner.template_in(project.clone(), name.to_owned()).await,
            None => Ok(()),
        }
    }

    /// Those of these jobs that are of the caller's project.
    async fn own_jobs(&self, jobs: impl Iterator<Item = JobId>) -> Result<Vec<JobId>, ApiError> {
        match &self.caller.project {
            Some(project) => self.inner.jobs_of(project.clone(), jobs.collect()).await,
            None => Ok(jobs.collect()),
        }
    }

    /// What lets somebody in is not for who only looks.
    fn hide_tokens(&self, detail: &mut SandboxDetail) {
        if self.caller.role == Role::Auditor {
            for port in &mut detail.ports {
                (port.url, port.path_url) = (None, None);
            }
        }
    }
}

/// Whether an entry of the chain is about a job, and not about one of its sandboxes.
fn is_of_a_job(entry: &AuditEntryView) -> bool {
    let kind = entry.event.split('.').next().unwrap_or_default();
    entry.sandbox_id.is_none() && ["sweep", "pipeline", "swarm", "task"].contains(&kind)
}

/// The template that an entry is about, if it is about one.
fn template_of(entry: &AuditEntryView) -> Option<&str> {
    entry.detail.get("template").filter(|_| entry.event.starts_with("template."))?.as_str()
}

/// The job that an entry is about. Each kind of job names itself in its own word.
fn job_of(entry: &AuditEntryView) -> Option<JobId> {
    let named = ["task", "pipeline", "swarm", "sweep_id", "job"].into_iter().find_map(|word| entry.detail.get(word));
    JobId::parse(named.filter(|_| is_of_a_job(entry))?.as_str()?).ok()
}

impl Sandboxes for Scoped {
    fn create(
        &self,
        _: Actor,
        mut request: CreateRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, CreateAnswer> {
        Box::pin(async move {
            self.check(Operation::Create)?;
            self.may_be_made(&request.template, request.trading.as_ref()).await?;
            request.project = self.caller.makes_for();
            self.inner.create(self.actor(), request, progress).await
        })
    }

    fn configure(&self, _: Actor, mut request: ConfigureRequest) -> Answering<'_, ConfigureAnswer> {
        Box::pin(async move {
            self.check(Operation::Configure)?;
            self.sandbox(&mut request.sandbox_id).await?;
            self.inner.configure(self.actor(), request).await
        })
    }

    of_a_sandbox! {
        execute Execute ExecuteRequest => ExecutionAnswer;
        stop Stop SandboxRequest => TransitionAnswer;
        pause Pause SandboxRequest => TransitionAnswer;
        resume Resume SandboxRequest => TransitionAnswer;
        delete Delete SandboxRequest => DeleteAnswer;
        upload Upload UploadRequest => UploadAnswer;
        download Download DownloadRequest => DownloadAnswer;
        preview Preview PreviewRequest => PreviewAnswer;
        logs Logs LogsRequest => LogsAnswer;
        clone_sandbox CloneSandbox CloneRequest => CloneAnswer;
    }

    fn execution(&self, _: Actor, request: ExecutionRequest) -> Answering<'_, ExecutionAnswer> {
        Box::pin(async move {
            self.check(Operation::Execution)?;
            if let Some(project) = self.caller.project.clone() {
                self.inner.execution_in(project, request.execution_id.clone()).await?;
            }
            self.inner.execution(self.actor(), request).await
        })
    }

    fn status(&self, _: Actor, mut request: SandboxRequest) -> Answering<'_, StatusAnswer> {
        Box::pin(async move {
            self.check(Operation::Status)?;
            self.sandbox(&mut request.sandbox_id).await?;
            let mut answer = self.inner.status(self.actor(), request).await?;
            self.hide_tokens(&mut answer.sandbox);
            Ok(answer)
        })
    }

    fn list(&self, _: Actor, mut request: ListRequest) -> Answering<'_, ListAnswer> {
        Box::pin(async move {
            self.check(Operation::List)?;
            request.project = self.caller.project.clone();
            self.inner.list(self.actor(), request).await
        })
    }

    fn templates(&self, _: Actor, request: TemplateListRequest) -> Answering<'_, TemplateListAnswer> {
        Box::pin(async move {
            self.check(Operation::Templates)?;
            let mut answer = self.inner.templates(self.actor(), request).await?;
            if let Some(project) = &self.caller.project {
                answer.templates.retain(|one| one.category != "exported" || project.has_template(&one.name));
                answer.count = u32::try_from(answer.templates.len()).unwrap_or(u32::MAX);
            }
            Ok(answer)
        })
    }

    fn template(&self, _: Actor, request: TemplateRequest) -> Answering<'_, TemplateAnswer> {
        Box::pin(async move {
            self.check(Operation::Template)?;
            self.own_template(&request.template_name).await?;
            self.inner.template(self.actor(), request).await
        })
    }

    fn template_delete(&self, _: Actor, request: TemplateRequest) -> Answering<'_, TemplateDeleteAnswer> {
        Box::pin(async move {
            self.check(Operation::TemplateDelete)?;
            self.own_template(&request.template_name).await?;
            // What operators built is all projects': an operator of another one than the first takes it from nobody.
            let actor = if self.guest_project().is_some() { Actor::Agent } else { self.actor() };
            self.inner.template_delete(actor, request).await
        })
    }

    fn export_template(
        &self,
        _: Actor,
        mut request: ExportRequest,
        progress: Option<ProgressSender>,
    ) -> Answering<'_, ExportAnswer> {
        Box::pin(async move {
            self.check(Operation::ExportTemplate)?;
            self.sandbox(&mut request.sandbox_id).await?;
            request.project = self.caller.makes_for();
            self.inner.export_template(self.actor(), request, progress).await
        })
    }

    of_the_installation! {
        build Build (request: BuildRequest, progress: Option<ProgressSender>) => BuildAnswer;
        template_image TemplateImage (request: ImageRequest, archive: Chunks) => ImageAnswer;
        template_import TemplateImport (request: ImportRequest, archive: Chunks) => ImportAnswer;
        prune Prune (request: PruneRequest) => PruneAnswer;
        audit_prune AuditPrune (request: AuditPruneRequest) => AuditPruneAnswer;
        audit_verify AuditVerify (request: AuditVerifyRequest) => AuditVerifyAnswer;
    }

    fn secret_list(&self, _: Actor, _: Option<Project>) -> Answering<'_, SecretListAnswer> {
        Box::pin(async move {
            self.check(Operation::SecretList)?;
            self.inner.secret_list(self.actor(), self.caller.project.clone()).await
        })
    }

    fn secret_set(&self, _: Actor, mut request: SecretSetRequest) -> Answering<'_, SecretAnswer> {
        Box::pin(async move {
            self.check(Operation::SecretSet)?;
            request.project = self.caller.makes_for();
            self.inner.secret_set(self.actor(), request).await
        })
    }

    fn secret_remove(&self, _: Actor, mut request: SecretRequest) -> Answering<'_, SecretRemoveAnswer> {
        Box::pin(async move {
            self.check(Operation::SecretRemove)?;
            request.project = self.caller.makes_for();
            self.inner.secret_remove(self.actor(), request).await
        })
    }

    fn template_archive(&self, _: Actor, request: TemplateRequest) -> Answering<'_, Chunks> {
        Box::pin(async move {
            self.check(Operation::TemplateArchive)?;
            self.of_the_first_project(INSTALLATION)?;
            self.own_template(&request.template_name).await?;
            self.inner.template_archive(self.actor(), request).await
        })
    }

    fn audit_log(&self, _: Actor, mut request: AuditLogRequest) -> Answering<'_, AuditLogAnswer> {
        Box::pin(async move {
            self.check(Operation::AuditLog)?;
            self.sandbox_if_named(&mut request.sandbox_id).await?;
            let limit = usize::try_from(list_limit(request.limit)?).unwrap_or(usize::MAX);
            let is_filtered = self.caller.project.is_some() && request.sandbox_id.is_none();
            if is_filtered {
                request.limit = Some(LIST_MAX);
            }
            let mut answer = self.inner.audit_log(self.actor(), request).await?;
            if is_filtered {
                let is_first = self.guest_project().is_none();
                let jobs = self.own_jobs(answer.entries.iter().filter_map(job_of)).await?;
                // What is about no sandbox and no job is the installation's; who else may come in, and what others may spend, is the
                // operator's alone.
                let operators = |event: &str| event.starts_with("token.") || event.starts_with("credit.");
                let shared = |entry: &AuditEntryView| match (is_of_a_job(entry), template_of(entry)) {
                    (true, _) => job_of(entry).is_some_and(|job| jobs.contains(&job)),
                    (false, Some(template)) if template.contains('/') => {
                        self.caller.project.as_ref().is_some_and(|project| project.has_template(template))
                    }
                    (false, _) => is_first && !operators(&entry.event),
                };
                self.retain(&mut answer.entries, |entry| entry.sandbox_id.as_deref(), shared).await?;
                // The oldest stand first.
                answer.entries.drain(..answer.entries.len().saturating_sub(limit));
                answer.count = u32::try_from(answer.entries.len()).unwrap_or(u32::MAX);
            }
            Ok(answer)
        })
    }

    fn egress_list(&self, _: Actor, mut request: EgressRequest) -> Answering<'_, EgressAnswer> {
        Box::pin(async move {
            self.check(Operation::Egress)?;
            self.sandbox_if_named(&mut request.sandbox_id).await?;
            let mut answer = self.inner.egress_list(self.actor(), request).await?;
            self.retain(&mut answer.decisions, |decision| Some(&decision.sandbox_id), |_| false).await?;
            answer.count = u32::try_from(answer.decisions.len()).unwrap_or(u32::MAX);
            Ok(answer)
        })
    }

    fn health(&self, _: Actor) -> Answering<'_, HealthAnswer> {
        Box::pin(async move {
            self.check(Operation::Health)?;
            let mut answer = self.inner.health(self.actor()).await?;
            let Some(project) = self.caller.project.clone() else { return Ok(answer) };
            let request =
                ListRequest { limit: Some(LIST_MAX), project: Some(project.clone()), ..ListRequest::default() };
            let own = self.inner.list(self.actor(), request).await?.sandboxes;
            let of = |status| own.iter().filter(|one| one.status == status).count() as u64;
            answer.sandboxes = SandboxCounts {
                creating: of(SandboxStatus::Creating),
                running: of(SandboxStatus::Running),
                paused: of(SandboxStatus::Paused),
                stopped: of(SandboxStatus::Stopped),
            };
            let request = TemplateListRequest { category: Some("exported".into()), limit: Some(LIST_MAX) };
            let mut hidden = self.inner.templates(self.actor(), request).await?.templates;
            hidden.retain(|template| !project.has_template(&template.name));
            answer.templates.retain(|template| hidden.iter().all(|hidden| hidden.name != template.name));
            answer.problems.retain(|problem| hidden.iter().all(|hidden| !problem.contains(&hidden.name)));
            Ok(answer)
        })
    }
}
