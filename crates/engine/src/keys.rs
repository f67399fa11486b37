//! Keys among the environment variables that a client gives: they are sealed for the gateway before anything of them is
//! written, and programs see placeholders.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ringfence_model::{
    ApiError, Code, Project, SandboxId,
    api::{EnvVars, SECRETS_MAX},
    net::{
        control::{GateAnswer, GateOp, SealedSecret, SealedValue, seal_context},
        is_key_name,
    },
};
use ringfence_store::{Actor, SecretValue, gate::EnvelopePublicKey};

use crate::{engine::Engine, error::Failure, network::mistaken};

/// Bytes of a key, as the gateway takes them: longer ones stand in no header.
const KEY_BYTES_MAX: usize = 8 << 10;

/// What the variables of a request become.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// As programs see them: placeholders in the place of keys that are kept outside.
    pub values: BTreeMap<String, String>,
    /// Names of those.
    pub sealed: Vec<String>,
    /// Names of keys whose values programs see, because the client wanted it so.
    pub exposed: Vec<String>,
    /// What the client should know of it.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Seals the keys among `vars`, those whose names are in `listed` included.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a key whose hosts are unknown, unless it may be exposed, and for one that cannot be kept.
    /// PERMISSION_DENIED for one of an agent's that would open hosts which agents may not name.
    pub(crate) async fn keep_keys(
        &self,
        actor: Actor,
        of: (&SandboxId, &Project),
        vars: EnvVars,
        listed: &[String],
        expose: bool,
    ) -> Result<Kept, Failure> {
        let mut kept = Kept { values: vars.into_inner(), ..Kept::default() };
        let is_key = |name: &str| is_key_name(name) || listed.iter().any(|listed| listed == name);
        let mut keys: Vec<String> = kept.values.keys().filter(|name| is_key(name)).cloned().collect();
        for name in keys.extract_if(.., |name| kept.values[name].len() > KEY_BYTES_MAX) {
            // Somebody who wants it visible may well have one that is no real key.
            if !expose || listed.contains(&name) {
                return Err(too_long(&name, kept.values[&name].len()).into());
            }
            kept.exposed.push(name);
        }
        if keys.len() > SECRETS_MAX {
            let text = format!("`env_vars` has {} keys; at most {SECRETS_MAX} are accepted at once", keys.len());
            return Err(ApiError::new(Code::InvalidArgument, text).into());
        }
        if !keys.is_empty() {
            for sealed in self.seal(actor, of, &keys, &mut kept.values, expose).await? {
                match sealed.placeholder {
                    Some(placeholder) => {
                        kept.values.insert(sealed.name.clone(), placeholder);
                        kept.sealed.push(sealed.name);
                    }
                    None => kept.exposed.push(sealed.name),
                }
            }
        }
        kept.exposed.sort_unstable();
        kept.warnings = warnings(&kept);
        Ok(kept)
    }

    async fn seal(
        &self,
        actor: Actor,
        (sandbox, project): (&SandboxId, &Project),
        keys: &[String],
        values: &mut BTreeMap<String, String>,
        or_expose: bool,
    ) -> Result<Vec<SealedSecret>, Failure> {
        let GateAnswer::Key(key) = self.inner.gate.call(GateOp::Key).await? else { return Err(mistaken("key")) };
        let key = EnvelopePublicKey::parse(&key).ok_or_else(|| mistaken("key"))?;
        let seal = |name: &String| {
            let value = SecretValue::new(values[name].as_bytes().to_vec());
            let sealed = BASE64_STANDARD.encode(key.seal(&value, &seal_context(sandbox, name)));
            SealedValue { name: name.clone(), sealed }
        };
        let values_sealed = keys.iter().map(seal).collect();
        let by_agent = actor == Actor::Agent;
        let op = GateOp::SealSecrets {
            sandbox: sandbox.clone(),
            project: project.clone(),
            values: values_sealed,
            or_expose,
            by_agent,
        };
        let GateAnswer::Sealed(sealed) = self.inner.gate.call(op).await? else { return Err(mistaken("seal_secrets")) };
        let asked: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        let answered: BTreeSet<&str> = sealed.iter().map(|sealed| sealed.name.as_str()).collect();
        if asked != answered || sealed.len() != keys.len() {
            return Err(mistaken("seal_secrets"));
        }
        Ok(sealed)
    }
}

/// Refuses keys among the variables of one execution, unless they may be seen. Their names.
///
/// # Errors
/// INVALID_ARGUMENT.
pub(crate) fn exposed_once(vars: &EnvVars, expose: bool) -> Result<Vec<String>, ApiError> {
    let keys: Vec<String> =
        vars.iter().map(|(name, _)| name).filter(|n| is_key_name(n)).map(ToOwned::to_owned).collect();
    match keys.first() {
        Some(name) if !expose => Err(ApiError::new(
            Code::InvalidArgument,
            format!(
                "`{name}` holds a key, which one execution alone cannot be given: set it with `sandbox_configure`, which keeps it \
                 outside of the sandbox; or ask with `expose: true` for the program to see its value"
            ),
        )),
        _ => Ok(keys),
    }
}

fn too_long(name: &str, bytes: usize) -> ApiError {
    ApiError::new(
        Code::InvalidArgument,
        format!("`{name}` is the name of a key, and its value has {bytes} bytes; keys have at most {KEY_BYTES_MAX}"),
    )
}

fn warnings(kept: &Kept) -> Vec<String> {
    let mut warnings = Vec::new();
    let named = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if let Some(first) = kept.sealed.first() {
        warnings.push(format!(
            "{} came from a client, and so has passed through its model and its logs: programs see a placeholder, but a real key \
             should be rotated, stored with `ringfence secret set {first}`, and named in `secrets`",
            named(&kept.sealed)
        ));
    }
    if !kept.exposed.is_empty() {
        warnings.push(format!(
            "{} can be read by every program in the sandbox, and sent to whatever it may reach (what is shorter than 8 bytes is \
             taken for no key, and not kept outside)",
            named(&kept.exposed)
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_is_given_no_key_unless_it_may_be_seen() {
        let vars = |name: &str| EnvVars::new(BTreeMap::from([(name.to_owned(), "value".to_owned())]));
        let error = exposed_once(&vars("GITHUB_TOKEN"), false).expect_err("it is a key");
        assert!(error.message.contains("sandbox_configure") && !error.message.contains("value`"), "{}", error.message);
        assert_eq!(exposed_once(&vars("GITHUB_TOKEN"), true).expect("asked for"), ["GITHUB_TOKEN"]);
        assert_eq!(exposed_once(&vars("DEBUG"), false).expect("no key"), [""; 0]);
    }
}
