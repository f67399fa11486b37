//! Tokens, and what belongs to whom.

use std::collections::BTreeSet;

use ringfence_model::{
    ApiError, Caller, Code, ExecutionId, JobId, Project, Role, SandboxId, TOKEN_PREFIX,
    api::{
        self, ProjectListAnswer, ProjectSummary, TokenCreateAnswer, TokenCreateRequest, TokenListAnswer, TokenRequest,
        TokenRevokeAnswer, TokenSummary,
    },
};
use ringfence_store::{AccessTokenRow, Actor, SandboxFilter};
use sha2::{Digest, Sha256};

use crate::{
    api::{Access, Answering},
    builds::unknown,
    engine::{Engine, now_ms},
    error::Failure,
    lookup,
    registry::canonical,
    service::{actor, count, looking, operators_only, tracked, unknown_execution},
    view,
};

/// Tokens that let somebody in at once.
const TOKENS_MAX: usize = 1000;
/// The use of a token is written down once in this time.
const TOUCH_MS: u64 = 60_000;

fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

fn summary(row: AccessTokenRow, now: u64) -> TokenSummary {
    TokenSummary {
        valid: row.is_valid(now),
        id: row.id,
        name: row.name,
        role: row.role,
        project: row.project,
        created_at: view::time(row.created_at_ms),
        expires_at: row.expires_at_ms.map(view::time),
        used_at: row.used_at_ms.map(view::time),
        revoked_at: row.revoked_at_ms.map(view::time),
    }
}

impl Engine {
    /// The sandbox of that id or unique name, among those of a project.
    async fn do_sandbox_in(&self, project: &Project, reference: &str) -> Result<String, Failure> {
        if let Ok(id) = SandboxId::parse(reference) {
            // The row of one that lives is asked for too, so that the answer takes as long for one of another project.
            let row = self.inner.store.sandbox(&id).await?;
            return match row.filter(|row| row.project == *project) {
                Some(_) => Ok(reference.to_owned()),
                None => Err(lookup::unknown(reference).into()),
            };
        }
        let named: Vec<_> =
            self.all_live().into_iter().filter(|s| s.name == reference && s.project == *project).collect();
        match named.as_slice() {
            [one] => Ok(one.id.to_string()),
            [] => {
                let filter = SandboxFilter {
                    name: Some(reference.to_owned()),
                    project: Some(project.clone()),
                    limit: Some(1),
                    ..SandboxFilter::default()
                };
                let row = self.inner.store.sandboxes(filter).await?.pop();
                Ok(row.ok_or_else(|| lookup::unknown(reference))?.id.to_string())
            }
            several => Err(lookup::ambiguous(several.len(), reference).into()),
        }
    }

    async fn do_execution_in(&self, project: &Project, id: &str) -> Result<(), Failure> {
        let parsed = ExecutionId::parse(id).map_err(|_| unknown_execution(id))?;
        let running = self.running().get(&parsed).map(|execution| execution.sandbox.clone());
        let project = project.clone();
        let owned = self
            .inner
            .store
            .read(move |view| {
                let sandbox = match running {
                    Some(sandbox) => Some(sandbox),
                    None => view.execution(&parsed)?.map(|row| row.sandbox),
                };
                let row = sandbox.map(|sandbox| view.sandbox(&sandbox)).transpose()?.flatten();
                Ok(row.is_some_and(|row| row.project == project))
            })
            .await?;
        if owned { Ok(()) } else { Err(unknown_execution(id).into()) }
    }

    async fn do_caller(&self, secret: Vec<u8>) -> Result<Option<Caller>, Failure> {
        let sha256 = digest(&secret);
        let Some(row) = self.inner.store.read(move |view| view.access_token(&sha256)).await? else { return Ok(None) };
        let now = now_ms();
        if !row.is_valid(now) {
            return Ok(None);
        }
        if row.used_at_ms.is_none_or(|used| now.saturating_sub(used) >= TOUCH_MS) {
            let (engine, id) = (self.clone(), row.id.clone());
            // Nobody waits for it: that a token was used is told, and nothing depends on it.
            tokio::spawn(async move {
                if let Err(error) = engine.inner.store.write(move |tx| tx.touch_access_token(&id, now)).await {
                    tracing::warn!(%error, "the use of a token was not noted");
                }
            });
        }
        Ok(Some(Caller { role: row.role, project: row.project, token: Some(row.id) }))
    }

    async fn do_token_create(&self, by: Actor, request: TokenCreateRequest) -> Result<TokenCreateAnswer, Failure> {
        request.check()?;
        let now = now_ms();
        let valid = self.inner.store.read(|view| view.access_tokens()).await?;
        if valid.iter().filter(|row| row.is_valid(now)).count() >= TOKENS_MAX {
            let text = format!("there are {TOKENS_MAX} tokens already; revoke some (`ringfence token revoke`)");
            return Err(ApiError::new(Code::QuotaExceeded, text).into());
        }
        let secret = format!("{TOKEN_PREFIX}{}", hex::encode(rand::random::<[u8; 32]>()));
        let sha256 = digest(secret.as_bytes());
        let project = match (request.role, request.project) {
            (Role::Operator, project) => project,
            (_, project) => Some(project.unwrap_or_default()),
        };
        let row = AccessTokenRow {
            id: format!("tok_{}", hex::encode(rand::random::<[u8; 8]>())),
            name: request.name,
            role: request.role,
            project,
            created_at_ms: now,
            expires_at_ms: request.expires_in.map(|s| now.saturating_add(s.saturating_mul(1000))),
            used_at_ms: None,
            revoked_at_ms: None,
        };
        let detail = serde_json::json!({
            "token": row.id, "name": row.name, "role": row.role, "project": row.project, "expires_in": request.expires_in,
        });
        let entry = Self::entry(by, "token.create").detail(detail);
        let written = row.clone();
        let ((), receipt) =
            self.inner.store.write_with_audit(entry, move |tx| tx.insert_access_token(&written, &sha256)).await?;
        drop(receipt);
        Ok(TokenCreateAnswer { success: true, secret, token: summary(row, now) })
    }

    async fn do_token_list(&self) -> Result<TokenListAnswer, Failure> {
        let now = now_ms();
        let rows = self.inner.store.read(|view| view.access_tokens()).await?;
        let tokens: Vec<_> = rows.into_iter().map(|row| summary(row, now)).collect();
        Ok(TokenListAnswer { success: true, count: count(tokens.len()), tokens })
    }

    async fn do_token_revoke(&self, by: Actor, request: TokenRequest) -> Result<TokenRevokeAnswer, Failure> {
        let now = now_ms();
        let rows = self.inner.store.read(|view| view.access_tokens()).await?;
        let shown = || request.token.chars().take(80).collect::<String>().escape_debug().to_string();
        let row = match rows.iter().find(|row| row.id == request.token) {
            Some(row) => row,
            None => {
                let named: Vec<_> = rows.iter().filter(|r| r.name == request.token && r.is_valid(now)).collect();
                match named.as_slice() {
                    [one] => *one,
                    [] => {
                        let text = format!("there is no token `{}`; `ringfence token ls` lists them", shown());
                        return Err(ApiError::new(Code::InvalidArgument, text).into());
                    }
                    several => {
                        let text = format!("{} tokens are named `{}`; use the id of one", several.len(), shown());
                        return Err(ApiError::new(Code::InvalidArgument, text).into());
                    }
                }
            }
        };
        if row.revoked_at_ms.is_some() {
            return Ok(TokenRevokeAnswer { success: true, id: row.id.clone(), already_revoked: true });
        }
        let entry = Self::entry(by, "token.revoke").detail(serde_json::json!({"token": row.id, "name": row.name}));
        let id = row.id.clone();
        let (revoked, receipt) =
            self.inner.store.write_with_audit(entry, move |tx| tx.revoke_access_token(&id, now)).await?;
        drop(receipt);
        Ok(TokenRevokeAnswer { success: true, id: row.id.clone(), already_revoked: !revoked })
    }

    async fn do_project_list(&self) -> Result<ProjectListAnswer, Failure> {
        let now = now_ms();
        let (found, tokens) = self.inner.store.read(|view| Ok((view.projects()?, view.access_tokens()?))).await?;
        let valid: Vec<_> = tokens.into_iter().filter(|row| row.is_valid(now)).filter_map(|row| row.project).collect();
        let projects: Vec<_> = found
            .into_iter()
            .map(|(name, sandboxes)| {
                let tokens = valid.iter().filter(|project| **project == name).count();
                ProjectSummary { name, sandboxes, tokens: u64::from(count(tokens)) }
            })
            .collect();
        Ok(ProjectListAnswer { success: true, count: count(projects.len()), projects })
    }
}

impl Access for Engine {
    fn sandbox_in(&self, project: Project, reference: String) -> Answering<'_, String> {
        looking(async move { self.do_sandbox_in(&project, &reference).await })
    }

    fn execution_in(&self, project: Project, execution_id: String) -> Answering<'_, ()> {
        looking(async move { self.do_execution_in(&project, &execution_id).await })
    }

    fn template_in(&self, project: Project, name: String) -> Answering<'_, ()> {
        looking(async move {
            let name = canonical(&name);
            if project == Project::default() {
                // Others' are told by their names, without a look at whether they exist.
                return if name.contains('/') { Err(unknown(name).into()) } else { Ok(()) };
            }
            // What there is not is refused here too, so that both take the same look and no more.
            match self.view_of(name).await? {
                Some(view) if view.category != "exported" || project.has_template(name) => Ok(()),
                _ => Err(unknown(name).into()),
            }
        })
    }

    fn sandboxes_of(&self, project: Project, ids: Vec<SandboxId>) -> Answering<'_, Vec<SandboxId>> {
        looking(async move {
            let ids: BTreeSet<SandboxId> = ids.into_iter().collect();
            let owned = self.inner.store.read(move |view| {
                let mut owned = Vec::new();
                for id in ids {
                    if view.sandbox(&id)?.is_some_and(|row| row.project == project) {
                        owned.push(id);
                    }
                }
                Ok(owned)
            });
            Ok(owned.await?)
        })
    }

    fn jobs_of(&self, project: Project, ids: Vec<JobId>) -> Answering<'_, Vec<JobId>> {
        looking(async move {
            let ids: BTreeSet<JobId> = ids.into_iter().collect();
            let owned = self.inner.store.read(move |view| {
                let mut owned = Vec::new();
                for id in ids {
                    if view.job(&id)?.is_some_and(|row| row.project == project) {
                        owned.push(id);
                    }
                }
                Ok(owned)
            });
            Ok(owned.await?)
        })
    }

    fn caller(&self, secret: Vec<u8>) -> Answering<'_, Option<Caller>> {
        looking(self.do_caller(secret))
    }

    fn token_create(&self, by: api::Actor, request: TokenCreateRequest) -> Answering<'_, TokenCreateAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "making a token")?;
            engine.do_token_create(actor(by), request).await
        })
    }

    fn token_list(&self, by: api::Actor) -> Answering<'_, TokenListAnswer> {
        looking(async move {
            operators_only(by, "listing tokens")?;
            self.do_token_list().await
        })
    }

    fn token_revoke(&self, by: api::Actor, request: TokenRequest) -> Answering<'_, TokenRevokeAnswer> {
        let engine = self.clone();
        tracked(async move {
            operators_only(by, "revoking a token")?;
            engine.do_token_revoke(actor(by), request).await
        })
    }

    fn project_list(&self, by: api::Actor) -> Answering<'_, ProjectListAnswer> {
        looking(async move {
            operators_only(by, "listing projects")?;
            self.do_project_list().await
        })
    }
}
