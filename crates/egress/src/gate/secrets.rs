//! Secrets: set, rotated, removed, and given to sandboxes as placeholders.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::http::HeaderName;
use ringfence_model::api::{PortSpec, SecretSigning};
use ringfence_model::net::control::{
    GateAnswer, SealedSecret, SealedValue, SecretBinding, SecretView, seal_context, stored_context,
};
use ringfence_model::net::{HostName, Method, PathPattern, PortRange};
use ringfence_model::{ApiError, Project, SandboxId};
use ringfence_store::gate::{GateTx, GateView, PlaceholderRow, SecretId, SecretName, SecretOrigin, SecretRow};
use ringfence_store::{Actor, AuditEntry, SecretValue, StoreError};
use serde_json::json;

use super::limits::lock;
use super::operate::{failed, invalid};
use super::room::Room;
use super::{Gate, agents, now_ms};
use crate::secret::{BasicPart, Binding, BoundSecret, Placeholder, Placement, Preset, Shape, Signing, preset, shape};
use crate::sign::{self, Signer};

/// Bytes that a value may have: shorter ones cannot be masked, longer ones stand in no header.
const VALUE_BYTES: std::ops::RangeInclusive<usize> = 8..=8 << 10;
const HOSTS_MAX: usize = 32;
const PLACEMENTS_MAX: usize = 32;
const PORTS_MAX: usize = 1024;
const FIELD_BYTES_MAX: usize = 128;
/// Secrets of one sandbox, as its injector takes them.
const USED_MAX: usize = 64;

impl Gate {
    pub(super) async fn set_secret(
        &self,
        project: &Project,
        name: &str,
        sealed: &str,
        binding: Option<SecretBinding>,
        rotate: bool,
    ) -> Result<GateAnswer, ApiError> {
        let name = SecretName::parse(name).map_err(failed)?;
        let sealed = STANDARD.decode(sealed).map_err(|_| invalid("the sealed value is not base64"))?;
        let value =
            self.envelope.open(&sealed, &stored_context(project, name.as_str())).map_err(|e| invalid(e.to_string()))?;
        check_value(&name, &value)?;
        let binding = match (binding, rotate) {
            (Some(binding), _) => Some(binding),
            (None, true) => None,
            (None, false) => Some(preset(name.as_str()).map(of_preset).ok_or_else(|| {
                invalid(format!(
                    "where secret `{name}` may go is not known from its name: give its hosts and places, as in \
                     `ringfence secret set {name} --host api.example.com --bearer`"
                ))
            })?),
        };
        let mut binding = binding;
        if let Some(asked) = &mut binding {
            let read = read_binding(asked)?;
            if let Some(signing) = &read.sign {
                check_key(&name, signing, &value)?;
                // What an exchange's own hosts and paths are is kept as it is now: no later version signs more.
                *asked = written(&read, std::mem::take(&mut asked.ports));
            }
        }
        if rotate && binding.is_none() {
            self.check_successor(SecretId::of_operator(name.clone(), project), &value).await?;
        }
        let binding = binding.map(|binding| serde_json::to_string(&binding));
        let binding = binding.transpose().map_err(|_| ApiError::internal("the binding could not be written"))?;
        let _turn = self.changes.lock().await;
        let id = SecretId::of_operator(name.clone(), project);
        let event = if rotate { "secret.rotate" } else { "secret.set" };
        let detail = json!({ "project": project, "name": name.as_str(), "binding": binding });
        let entry = AuditEntry::new(now_ms(), Actor::Operator, event).detail(detail);
        let (row, _) = self
            .store
            .write_with_audit(entry, move |tx| match (rotate, &binding) {
                (false, binding) => tx.add_secret(now_ms(), &id, &value, binding.as_deref().unwrap_or_default()),
                (true, None) => tx.rotate_secret(now_ms(), &id, &value),
                (true, Some(binding)) => {
                    tx.rotate_secret(now_ms(), &id, &value)?;
                    tx.bind_secret(&id, binding)
                }
            })
            .await
            .map_err(failed)?;
        self.refresh_users(name.as_str()).await?;
        Ok(GateAnswer::Secrets(vec![view(row)?]))
    }

    /// Whether a value can take the place of the one that there is.
    async fn check_successor(&self, id: SecretId, value: &SecretValue) -> Result<(), ApiError> {
        let name = id.name.clone();
        let row = self.store.read(move |db| db.secret(&id)).await.map_err(failed)?;
        let kept = row.and_then(|row| serde_json::from_str::<SecretBinding>(&row.binding).ok());
        match kept.and_then(|kept| kept.sign).as_ref().map(read_signing).transpose()? {
            Some(signing) => check_key(&name, &signing, value),
            None => Ok(()),
        }
    }

    pub(super) async fn secrets(&self, project: Option<Project>) -> Result<GateAnswer, ApiError> {
        let read = self.store.read(move |db| match project {
            Some(project) => db.secrets(&SecretOrigin::Operator(project)),
            None => db.operators_secrets(),
        });
        let rows = read.await.map_err(failed)?;
        Ok(GateAnswer::Secrets(rows.into_iter().map(view).collect::<Result<_, _>>()?))
    }

    pub(super) async fn remove_secret(&self, project: &Project, name: &str) -> Result<GateAnswer, ApiError> {
        let name = SecretName::parse(name).map_err(failed)?;
        let _turn = self.changes.lock().await;
        let id = SecretId::of_operator(name.clone(), project);
        let detail = json!({ "project": project, "name": name.as_str() });
        let entry = AuditEntry::new(now_ms(), Actor::Operator, "secret.remove").detail(detail);
        // The row stays, without a value: placeholders of it are still known for what they are, and refused.
        let revoked = self.store.write_with_audit(entry, move |tx| tx.revoke_secret(now_ms(), &id)).await;
        let (_row, _receipt) = revoked.map_err(failed)?;
        self.refresh_users(name.as_str()).await?;
        Ok(GateAnswer::Done)
    }

    pub(super) async fn use_secrets(
        &self,
        sandbox: &SandboxId,
        project: &Project,
        names: &[String],
    ) -> Result<GateAnswer, ApiError> {
        let names = names.iter().map(|name| SecretName::parse(name)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let _turn = self.changes.lock().await;
        let room = self.room(sandbox);
        check_used(&room, &names)?;
        let (asked, owner, project) = (names.clone(), sandbox.clone(), project.clone());
        let secret_names: Vec<&str> = names.iter().map(SecretName::as_str).collect();
        let entry = AuditEntry::new(now_ms(), Actor::System, "egress.secrets")
            .sandbox(sandbox)
            .detail(json!({ "secrets": secret_names }));
        let made = self.store.write_with_audit(entry, move |tx| {
            let mut texts = Vec::new();
            for name in asked {
                let secret = SecretId::of_operator(name, &project);
                let (_, value) = tx
                    .open_secret(&secret)?
                    .ok_or_else(|| StoreError::NotFound { kind: "secret", id: secret.to_string() })?;
                // A sandbox has one secret of a name.
                let own = SecretId::of_client(secret.name.clone(), &owner);
                tx.remove_placeholder(&owner, &own)?;
                tx.remove_secret(&own)?;
                texts.push(placeholder_of(tx, &owner, &secret, &value)?);
            }
            Ok(texts)
        });
        let (texts, _) = made.await.map_err(failed)?;
        self.refresh(&room).await?;
        Ok(GateAnswer::Placeholders(texts))
    }

    pub(super) async fn seal_secrets(
        &self,
        (sandbox, project): (&SandboxId, &Project),
        values: Vec<SealedValue>,
        or_expose: bool,
        by_agent: bool,
    ) -> Result<GateAnswer, ApiError> {
        let _turn = self.changes.lock().await;
        let (mut known, mut answer) = (Vec::new(), Vec::new());
        for SealedValue { name, sealed } in values {
            let Some((name, binding)) = self.known_binding(project, &name).await? else {
                if !or_expose {
                    return Err(invalid(format!(
                        "`{name}` holds a key, and where it may go is not known: let the operator bind it, as in \
                         `ringfence secret set {name} --host api.example.com --bearer`, and name it in `secrets` instead of \
                         `env_vars`; or ask with `expose: true` for the programs in the sandbox to see its value"
                    )));
                }
                answer.push(SealedSecret { name, placeholder: None, hosts: vec![] });
                continue;
            };
            // Where one of the operator's goes, the operator has said.
            if by_agent && preset(name.as_str()).is_some() {
                agents::check_key(self.agent_hosts.as_deref(), name.as_str(), &binding.hosts)?;
            }
            let sealed = STANDARD.decode(sealed).map_err(|_| invalid("the sealed value is not base64"))?;
            let value = self.envelope.open(&sealed, &seal_context(sandbox, name.as_str()));
            let value = value.map_err(|error| invalid(error.to_string()))?;
            // No real key is so short, and it could not be masked.
            if value.expose().len() < *VALUE_BYTES.start() {
                answer.push(SealedSecret { name: name.to_string(), placeholder: None, hosts: binding.hosts });
                continue;
            }
            check_value(&name, &value)?;
            if let Some(signing) = binding.sign.as_ref().map(read_signing).transpose()? {
                check_key(&name, &signing, &value)?;
            }
            let hosts = binding.hosts.clone();
            let binding =
                serde_json::to_string(&binding).map_err(|_| ApiError::internal("the binding could not be written"))?;
            answer.push(SealedSecret { name: name.to_string(), placeholder: None, hosts });
            known.push((name, value, binding));
        }
        if known.is_empty() {
            return Ok(GateAnswer::Sealed(answer));
        }
        let room = self.room(sandbox);
        let names: Vec<SecretName> = known.iter().map(|(name, ..)| name.clone()).collect();
        check_used(&room, &names)?;
        let detail = json!({ "secrets": names.iter().map(SecretName::as_str).collect::<Vec<_>>() });
        let entry = AuditEntry::new(now_ms(), Actor::System, "egress.seal").sandbox(sandbox).detail(detail);
        let (owner, project) = (sandbox.clone(), project.clone());
        let made = self.store.write_with_audit(entry, move |tx| {
            let mut texts = Vec::new();
            for (name, value, binding) in known {
                tx.remove_placeholder(&owner, &SecretId::of_operator(name.clone(), &project))?;
                let id = SecretId::of_client(name, &owner);
                match tx.secret(&id)?.filter(|row| row.revoked_at_ms.is_none()) {
                    None => drop(tx.add_secret(now_ms(), &id, &value, &binding)?),
                    Some(row) => {
                        tx.rotate_secret(now_ms(), &id, &value)?;
                        if row.binding != binding {
                            tx.bind_secret(&id, &binding)?;
                        }
                    }
                }
                texts.push((id.name.to_string(), placeholder_of(tx, &owner, &id, &value)?));
            }
            Ok(texts)
        });
        let (texts, _) = made.await.map_err(failed)?;
        for (name, text) in texts {
            if let Some(sealed) = answer.iter_mut().find(|sealed| sealed.name == name) {
                sealed.placeholder = Some(text);
            }
        }
        self.refresh(&room).await?;
        Ok(GateAnswer::Sealed(answer))
    }

    /// Where a value of this name may go, if that is known: it is a preset, or the project's operator has bound one of this name.
    async fn known_binding(
        &self,
        project: &Project,
        name: &str,
    ) -> Result<Option<(SecretName, SecretBinding)>, ApiError> {
        // What cannot be the name of a secret is bound nowhere.
        let Ok(name) = SecretName::parse(name) else { return Ok(None) };
        if let Some(preset) = preset(name.as_str()) {
            return Ok(Some((name, of_preset(preset))));
        }
        let id = SecretId::of_operator(name.clone(), project);
        let row = self.store.read(move |db| db.secret(&id)).await.map_err(failed)?;
        let Some(row) = row.filter(|row| row.revoked_at_ms.is_none()) else { return Ok(None) };
        Ok(Some((name, view(row)?.binding)))
    }

    pub(super) async fn drop_secrets(
        &self,
        sandbox: &SandboxId,
        project: &Project,
        names: &[String],
    ) -> Result<GateAnswer, ApiError> {
        let names: Vec<_> = names.iter().filter_map(|name| SecretName::parse(name).ok()).collect();
        let _turn = self.changes.lock().await;
        let room = self.room(sandbox);
        let names: Vec<_> =
            names.into_iter().filter(|name| room.force().secrets.iter().any(|has| has == name.as_str())).collect();
        if names.is_empty() {
            return Ok(GateAnswer::Done);
        }
        let detail = json!({ "secrets": names.iter().map(SecretName::as_str).collect::<Vec<_>>() });
        let entry = AuditEntry::new(now_ms(), Actor::System, "egress.drop").sandbox(sandbox).detail(detail);
        let (owner, project) = (sandbox.clone(), project.clone());
        let dropped = self.store.write_with_audit(entry, move |tx| {
            for name in names {
                tx.remove_placeholder(&owner, &SecretId::of_operator(name.clone(), &project))?;
                let own = SecretId::of_client(name, &owner);
                // The row stays, without a value: its placeholder is still known for what it is, and refused.
                if tx.secret(&own)?.is_some_and(|row| row.revoked_at_ms.is_none()) {
                    tx.revoke_secret(now_ms(), &own)?;
                }
            }
            Ok(())
        });
        let ((), _) = dropped.await.map_err(failed)?;
        self.refresh(&room).await?;
        Ok(GateAnswer::Done)
    }

    /// Names of the secrets that a sandbox may use, with the fingerprints of their values.
    pub(super) async fn usable_secrets(&self, sandbox: &SandboxId) -> Result<BTreeMap<String, String>, StoreError> {
        let sandbox = sandbox.clone();
        self.store
            .read(move |db| {
                let placeholders = db.placeholders(Some(&sandbox))?;
                let rows =
                    placeholders.into_iter().map(|(row, _)| db.secret(&row.secret)).collect::<Result<Vec<_>, _>>()?;
                let usable = rows.into_iter().flatten().filter(|row| row.revoked_at_ms.is_none());
                Ok(usable.map(|row| (row.id.name.to_string(), row.fingerprint)).collect())
            })
            .await
    }

    /// Brings the secrets of every sandbox that uses this one in force as they are on disk.
    async fn refresh_users(&self, name: &str) -> Result<(), ApiError> {
        let rooms: Vec<Arc<Room>> = lock(&self.rooms).values().cloned().collect();
        for room in rooms {
            if room.force().secrets.iter().any(|used| used == name) {
                self.refresh(&room).await?;
            }
        }
        Ok(())
    }

    /// Brings a sandbox's secrets in force as they are on disk.
    pub(super) async fn refresh(&self, room: &Room) -> Result<(), ApiError> {
        let secrets = self.bound_secrets(&room.id).await.map_err(failed)?;
        let force = self.force(room.force().policy.clone(), secrets, room.has_registries())?;
        room.put(force);
        Ok(())
    }

    /// The secrets that a sandbox has placeholders of.
    pub(super) async fn bound_secrets(&self, sandbox: &SandboxId) -> Result<Vec<BoundSecret>, StoreError> {
        let sandbox = sandbox.clone();
        self.store
            .read(move |db| {
                let placeholders = db.placeholders(Some(&sandbox))?;
                let bound = placeholders.into_iter().map(|(row, text)| bound(db, &row.secret, &text));
                bound.filter_map(Result::transpose).collect()
            })
            .await
    }
}

/// Bounds what a sandbox may use, with these added.
fn check_used(room: &Room, added: &[SecretName]) -> Result<(), ApiError> {
    let mut all = room.force().secrets.clone();
    all.extend(added.iter().map(ToString::to_string));
    all.sort_unstable();
    all.dedup();
    if all.len() > USED_MAX {
        return Err(invalid(format!("a sandbox may use {USED_MAX} secrets, not {}", all.len())));
    }
    Ok(())
}

/// The sentence never holds the value.
fn check_value(name: &SecretName, value: &SecretValue) -> Result<(), ApiError> {
    if VALUE_BYTES.contains(&value.expose().len()) {
        return Ok(());
    }
    let (least, most) = (VALUE_BYTES.start(), VALUE_BYTES.end());
    Err(invalid(format!("the value of secret `{name}` must have {least} to {most} bytes")))
}

/// What a sandbox sees in place of a secret: what it saw so far, else something new.
fn placeholder_of(
    tx: &GateTx<'_>,
    sandbox: &SandboxId,
    secret: &SecretId,
    value: &SecretValue,
) -> Result<String, StoreError> {
    let known = tx.placeholders(Some(sandbox))?.into_iter().find(|(row, _)| row.secret == *secret);
    if let Some((_, text)) = known {
        return Ok(String::from_utf8_lossy(text.expose()).into_owned());
    }
    // A program signs with the placeholder of what signs, so that it must be fit for that.
    let kept = tx.secret(secret)?.and_then(|row| serde_json::from_str(&row.binding).ok());
    let binding = kept.and_then(|kept: SecretBinding| read_binding(&kept).ok());
    let shape = binding.map_or(Shape::Generic, |binding| shape(secret.name.as_str(), &binding));
    let placeholder = Placeholder::generate(shape, value.expose());
    let row = PlaceholderRow { sandbox: sandbox.clone(), secret: secret.clone(), created_at_ms: now_ms() };
    tx.add_placeholder(&row, &SecretValue::new(placeholder.as_str()))?;
    Ok(placeholder.as_str().to_owned())
}

/// A secret with its placeholder; none when there is no trace of it.
fn bound(db: &GateView<'_>, id: &SecretId, text: &SecretValue) -> Result<Option<BoundSecret>, StoreError> {
    let unreadable = |column| StoreError::Unreadable { column, row: format!("secret `{id}`") };
    let (row, value) = match db.open_secret(id)? {
        Some((row, value)) => (row, Some(Arc::new(value))),
        None => match db.secret(id)? {
            Some(row) => (row, None),
            None => return Ok(None),
        },
    };
    let text = std::str::from_utf8(text.expose()).ok();
    let placeholder = text.and_then(Placeholder::from_text).ok_or_else(|| unreadable("placeholder"))?;
    let binding: SecretBinding = serde_json::from_str(&row.binding).map_err(|_| unreadable("binding"))?;
    let binding = read_binding(&binding).map_err(|_| unreadable("binding"))?;
    Ok(Some(BoundSecret { name: id.name.to_string(), placeholder, value, binding }))
}

fn view(row: SecretRow) -> Result<SecretView, ApiError> {
    let binding = serde_json::from_str(&row.binding)
        .map_err(|_| ApiError::internal(format!("the binding of secret `{}` cannot be read", row.id.name)))?;
    let SecretOrigin::Operator(project) = row.id.origin else {
        return Err(ApiError::internal(format!("secret `{}` is no operator's", row.id.name)));
    };
    Ok(SecretView {
        project,
        name: row.id.name.to_string(),
        version: u32::try_from(row.version).unwrap_or(u32::MAX),
        fingerprint: row.fingerprint,
        binding,
        created_at_ms: row.created_at_ms,
        rotated_at_ms: row.rotated_at_ms,
        revoked: row.revoked_at_ms.is_some(),
    })
}

/// A binding as the injector has it.
fn read_binding(binding: &SecretBinding) -> Result<Binding, ApiError> {
    let SecretBinding { hosts, ports, placements, sign } = binding;
    let sign = sign.as_ref().map(read_signing).transpose()?;
    let hosts: Vec<String> = match &sign {
        Some(signing) if hosts.is_empty() => sign::hosts(signing.exchange).iter().map(ToString::to_string).collect(),
        _ => hosts.iter().map(ToString::to_string).collect(),
    };
    if hosts.is_empty() || hosts.len() > HOSTS_MAX {
        return Err(invalid(format!("a secret is bound to 1 to {HOSTS_MAX} hosts, not {}", hosts.len())));
    }
    if sign.is_some() && !placements.is_empty() {
        return Err(invalid("a secret that signs is bound to no place: it is never sent"));
    }
    if (placements.is_empty() && sign.is_none()) || placements.len() > PLACEMENTS_MAX {
        return Err(invalid(format!("a secret is bound to 1 to {PLACEMENTS_MAX} places, not {}", placements.len())));
    }
    let mut numbers = Vec::new();
    for port in ports {
        let range = PortRange::try_from(port.clone()).map_err(|error| invalid(error.to_string()))?;
        numbers.extend((1..=u16::MAX).filter(|port| range.contains(*port)));
        if numbers.len() > PORTS_MAX {
            return Err(invalid(format!("a secret is bound to at most {PORTS_MAX} ports")));
        }
    }
    if numbers.is_empty() {
        numbers.push(443);
    }
    let mut frame = Vec::new();
    let mut places = Vec::new();
    for text in placements {
        match read_placement(text)? {
            Placement::FirstFrame { fields } => frame.extend(fields),
            placement => places.push(placement),
        }
    }
    if !frame.is_empty() {
        places.push(Placement::FirstFrame { fields: frame });
    }
    Ok(Binding { hosts, ports: numbers, placements: places, sign })
}

/// How it signs; without paths, those for trading.
fn read_signing(asked: &SecretSigning) -> Result<Signing, ApiError> {
    let SecretSigning { exchange, key, methods, paths, nonce } = asked;
    let key = key.as_deref().map(SecretName::parse).transpose().map_err(failed)?.map(String::from);
    let methods: Result<Vec<_>, _> = methods.iter().map(|method| Method::parse(method)).collect();
    let methods = methods.map_err(|error| invalid(error.to_string()))?;
    let named: Result<Vec<_>, _> = paths.iter().map(|path| PathPattern::parse(path)).collect();
    let mut signing = Signing { key, methods, nonce: *nonce, ..Signing::of(*exchange) };
    if !paths.is_empty() {
        signing.paths = named.map_err(|error| invalid(error.to_string()))?;
    }
    Ok(signing)
}

/// That a value is a key of its exchange is found out now, and not by the first program that trades.
fn check_key(name: &SecretName, signing: &Signing, value: &SecretValue) -> Result<(), ApiError> {
    Signer::check(signing.exchange, value)
        .map_err(|error| invalid(format!("secret `{name}` cannot sign for {}: {error}", signing.exchange.as_str())))
}

fn read_placement(text: &str) -> Result<Placement, ApiError> {
    let unknown = || {
        let shown: String = text.chars().take(80).collect();
        invalid(format!(
            "`{}` is no place for a secret: write `bearer`, `header:NAME`, `basic:user`, `basic:password`, `query:FIELD`, \
             `frame:FIELD` or `jwt`",
            shown.escape_debug()
        ))
    };
    let field = |field: &str| {
        let fits = !field.is_empty() && field.len() <= FIELD_BYTES_MAX && !field.chars().any(char::is_control);
        fits.then(|| field.to_owned()).ok_or_else(unknown)
    };
    Ok(match text.split_once(':') {
        None if text == "bearer" => Placement::Bearer,
        Some(("basic", "user")) => Placement::Basic(BasicPart::User),
        Some(("basic", "password")) => Placement::Basic(BasicPart::Password),
        Some(("header", name)) => Placement::Header(HeaderName::from_bytes(name.as_bytes()).map_err(|_| unknown())?),
        Some(("query", name)) => Placement::Query(field(name)?),
        Some(("frame", name)) => Placement::FirstFrame { fields: vec![field(name)?] },
        None if text == "jwt" => Placement::Jwt,
        _ => return Err(unknown()),
    })
}

/// A preset as it is kept and listed.
fn of_preset(preset: Preset) -> SecretBinding {
    written(&preset.binding, vec![])
}

/// A binding as it is kept and listed.
fn written(binding: &Binding, ports: Vec<PortSpec>) -> SecretBinding {
    let placements = binding.placements.iter().flat_map(|placement| match placement {
        Placement::Header(name) => vec![format!("header:{name}")],
        Placement::Bearer => vec!["bearer".to_owned()],
        Placement::Jwt => vec!["jwt".to_owned()],
        // The gate's own, which is never stored.
        Placement::Login => vec![],
        Placement::Basic(BasicPart::User) => vec!["basic:user".to_owned()],
        Placement::Basic(BasicPart::Password) => vec!["basic:password".to_owned()],
        Placement::Query(field) => vec![format!("query:{field}")],
        Placement::FirstFrame { fields } => fields.iter().map(|field| format!("frame:{field}")).collect(),
    });
    let sign = binding.sign.as_ref().map(|signing| SecretSigning {
        exchange: signing.exchange,
        key: signing.key.clone(),
        methods: signing.methods.iter().map(ToString::to_string).collect(),
        paths: signing.paths.iter().map(ToString::to_string).collect(),
        nonce: signing.nonce,
    });
    SecretBinding {
        placements: placements.collect(),
        sign,
        ports,
        hosts: binding.hosts.iter().filter_map(|host| HostName::parse(host).ok()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_the_same_after_it_was_written_and_read() {
        for name in
            ["ALPACA_API_KEY", "ALPACA_SECRET", "ANTHROPIC_API_KEY", "OKX_SECRET", "OKX_PASSPHRASE", "COINBASE_API_KEY"]
        {
            let preset = preset(name).expect("known");
            assert_eq!(read_binding(&of_preset(preset.clone())).expect("a binding"), preset.binding, "{name}");
        }
    }

    #[test]
    fn a_place_that_is_none_is_said_to_be() {
        for text in ["", "bearer:x", "header:", "header:a b", "basic", "basic:both", "query:", "frame:\n", "cookie:x"] {
            let error = read_placement(text).expect_err(text);
            assert!(error.message.contains("header:NAME"), "{}", error.message);
        }
    }
}
