//! What programs begin with, and what of it is hidden in their output.

use std::{collections::BTreeMap, sync::Arc};

use ringfence_jail::proto::Rights;
use ringfence_model::mask::Masks;

use crate::{
    registry::Template,
    run::{HOME, Program},
    sandbox::Sandbox,
};

/// Bytes of an exposed key that is masked in output.
const MASKED_BYTES_MIN: usize = 4;

/// What every program of a template begins with.
fn base(template: &Template) -> BTreeMap<&str, &str> {
    let mut all = BTreeMap::from([
        ("HOME", HOME),
        ("USER", &template.defaults.user),
        ("LOGNAME", &template.defaults.user),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
        ("PATH", "/home/user/.local/bin:/usr/local/bin:/usr/bin:/bin"),
    ]);
    all.extend(template.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    all
}

/// `NAME=value` of what every program of a template begins with: a warm interpreter is started with it.
pub(crate) fn base_environment(template: &Template) -> Vec<String> {
    base(template).into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// The complete environment of a program (template, then sandbox, then its own), and the version of the sandbox's.
pub(crate) fn environment(sandbox: &Sandbox, program: &Program) -> (Vec<String>, u64) {
    let own = sandbox.environment();
    if program.rights == Rights::Installer {
        // Nothing of the sandbox's: it would decide what root loads.
        return (program.env.iter().map(|(name, value)| format!("{name}={value}")).collect(), own.version);
    }
    let mut all = base(&sandbox.template);
    all.extend(own.values.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    all.extend(program.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    (all.into_iter().map(|(name, value)| format!("{name}={value}")).collect(), own.version)
}

/// What hides the keys that a program can see in what it prints.
pub(crate) fn masks(sandbox: &Sandbox, program: &Program) -> Option<Arc<Masks>> {
    let own = sandbox.environment();
    let of_sandbox = own.exposed.iter().filter_map(|name| Some((name, own.values.get(name)?)));
    let of_program = program.env.iter().filter(|(name, _)| program.exposed.contains(name)).map(|(n, v)| (n, v));
    // Shorter ones are found in much that has nothing to do with them.
    let hidden: Vec<_> = of_sandbox
        .chain(of_program)
        .filter(|(_, value)| value.len() >= MASKED_BYTES_MIN)
        .map(|(name, value)| (value.as_bytes(), format!("[{name} hidden]")))
        .collect();
    let pairs = hidden.iter().map(|(value, shown)| (*value, shown.as_bytes()));
    (!hidden.is_empty()).then(|| Arc::new(Masks::new(pairs)))
}
