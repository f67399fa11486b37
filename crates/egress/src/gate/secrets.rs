//! Secrets: set, rotated, removed, and given to sandboxes as placeholders.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::http::HeaderName;
use ringfence_model::net::control::{GateAnswer, SecretBinding, SecretView};
use ringfence_model::net::{HostName, PortRange};
use ringfence_model::{ApiError, SandboxId};
use ringfence_store::gate::{GateView, PlaceholderRow, SecretId, SecretName, SecretOrigin, SecretRow};
use ringfence_store::{Actor, AuditEntry, SecretValue, StoreError};
use serde_json::json;

use super::limits::lock;
use super::operate::{failed, invalid};
use super::room::Room;
use super::{Gate, now_ms};
use crate::secret::{BasicPart, Binding, BoundSecret, Placeholder, Placement, Preset, Shape, preset};

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
        name: &str,
        sealed: &str,
        binding: Option<SecretBinding>,
        rotate: bool,
    ) -> Result<GateAnswer, ApiError> {
        let name = SecretName::parse(name).map_err(failed)?;
        let sealed = STANDARD.decode(sealed).map_err(|_| invalid("the sealed value is not base64"))?;
        let value =
            self.envelope.open(&sealed, name.as_str().as_bytes()).map_err(|error| invalid(error.to_string()))?;
        if !VALUE_BYTES.contains(&value.expose().len()) {
            let (least, most) = (VALUE_BYTES.start(), VALUE_BYTES.end());
            return Err(invalid(format!("the value of secret `{name}` must have {least} to {most} bytes")));
        }
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
        if let Some(binding) = &binding {
            read_binding(binding)?;
        }
        let binding = binding.map(|binding| serde_json::to_string(&binding));
        let binding = binding.transpose().map_err(|_| ApiError::internal("the binding could not be written"))?;
        let _turn = self.changes.lock().await;
        let id = SecretId::of_operator(name.clone());
        let event = if rotate { "secret.rotate" } else { "secret.set" };
        let detail = json!({ "name": name.as_str(), "binding": binding });
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

    pub(super) async fn secrets(&self) -> Result<GateAnswer, ApiError> {
        let rows = self.store.secrets(SecretOrigin::Operator).await.map_err(failed)?;
        Ok(GateAnswer::Secrets(rows.into_iter().map(view).collect::<Result<_, _>>()?))
    }

    pub(super) async fn remove_secret(&self, name: &str) -> Result<GateAnswer, ApiError> {
        let name = SecretName::parse(name).map_err(failed)?;
        let _turn = self.changes.lock().await;
        let id = SecretId::of_operator(name.clone());
        let entry =
            AuditEntry::new(now_ms(), Actor::Operator, "secret.remove").detail(json!({ "name": name.as_str() }));
        // The row stays, without a value: placeholders of it are still known for what they are, and refused.
        let revoked = self.store.write_with_audit(entry, move |tx| tx.revoke_secret(now_ms(), &id)).await;
        let (_row, _receipt) = revoked.map_err(failed)?;
        self.refresh_users(name.as_str()).await?;
        Ok(GateAnswer::Done)
    }

    pub(super) async fn use_secrets(&self, sandbox: &SandboxId, names: &[String]) -> Result<GateAnswer, ApiError> {
        let names = names.iter().map(|name| SecretName::parse(name)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let _turn = self.changes.lock().await;
        let room = self.room(sandbox);
        let mut all = room.force().secrets.clone();
        all.extend(names.iter().map(ToString::to_string));
        all.sort_unstable();
        all.dedup();
        if all.len() > USED_MAX {
            return Err(invalid(format!("a sandbox may use {USED_MAX} secrets, not {}", all.len())));
        }
        let (asked, owner) = (names.clone(), sandbox.clone());
        let secret_names: Vec<&str> = names.iter().map(SecretName::as_str).collect();
        let entry = AuditEntry::new(now_ms(), Actor::System, "egress.secrets")
            .sandbox(sandbox)
            .detail(json!({ "secrets": secret_names }));
        let made = self.store.write_with_audit(entry, move |tx| {
            let known = tx.placeholders(Some(&owner))?;
            let mut texts = Vec::new();
            for name in asked {
                let secret = SecretId::of_operator(name);
                let (_, value) = tx
                    .open_secret(&secret)?
                    .ok_or_else(|| StoreError::NotFound { kind: "secret", id: secret.to_string() })?;
                if let Some((_, text)) = known.iter().find(|(row, _)| row.secret == secret) {
                    texts.push(String::from_utf8_lossy(text.expose()).into_owned());
                    continue;
                }
                let shape = preset(secret.name.as_str()).map_or(Shape::Generic, |preset| preset.shape);
                let placeholder = Placeholder::generate(shape, value.expose());
                let row = PlaceholderRow { sandbox: owner.clone(), secret, created_at_ms: now_ms() };
                // A name that stands twice in the list has one placeholder.
                match tx.add_placeholder(&row, &SecretValue::new(placeholder.as_str())) {
                    Err(StoreError::Exists { .. }) => {
                        let again =
                            tx.placeholders(Some(&owner))?.into_iter().find(|(known, _)| known.secret == row.secret);
                        texts.extend(again.map(|(_, text)| String::from_utf8_lossy(text.expose()).into_owned()));
                    }
                    added => {
                        added?;
                        texts.push(placeholder.as_str().to_owned());
                    }
                }
            }
            Ok(texts)
        });
        let (texts, _) = made.await.map_err(failed)?;
        self.refresh(&room).await?;
        Ok(GateAnswer::Placeholders(texts))
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
    Ok(SecretView {
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
    let SecretBinding { hosts, ports, placements } = binding;
    if hosts.is_empty() || hosts.len() > HOSTS_MAX {
        return Err(invalid(format!("a secret is bound to 1 to {HOSTS_MAX} hosts, not {}", hosts.len())));
    }
    if placements.is_empty() || placements.len() > PLACEMENTS_MAX {
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
    Ok(Binding { hosts: hosts.iter().map(ToString::to_string).collect(), ports: numbers, placements: places })
}

fn read_placement(text: &str) -> Result<Placement, ApiError> {
    let unknown = || {
        let shown: String = text.chars().take(80).collect();
        invalid(format!(
            "`{}` is no place for a secret: write `bearer`, `header:NAME`, `basic:user`, `basic:password`, `query:FIELD` or \
             `frame:FIELD`",
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
        _ => return Err(unknown()),
    })
}

/// A preset as it is kept and listed.
fn of_preset(preset: Preset) -> SecretBinding {
    let placements = preset.binding.placements.iter().flat_map(|placement| match placement {
        Placement::Header(name) => vec![format!("header:{name}")],
        Placement::Bearer => vec!["bearer".to_owned()],
        Placement::Basic(BasicPart::User) => vec!["basic:user".to_owned()],
        Placement::Basic(BasicPart::Password) => vec!["basic:password".to_owned()],
        Placement::Query(field) => vec![format!("query:{field}")],
        Placement::FirstFrame { fields } => fields.iter().map(|field| format!("frame:{field}")).collect(),
    });
    SecretBinding {
        placements: placements.collect(),
        hosts: preset.binding.hosts.iter().filter_map(|host| HostName::parse(host).ok()).collect(),
        ports: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_the_same_after_it_was_written_and_read() {
        for name in ["ALPACA_API_KEY", "ALPACA_SECRET", "ANTHROPIC_API_KEY"] {
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
