//! The jailer's own bounds on plans: `serve` is unprivileged and may have been taken over, so nothing it says is
//! believed.

use std::os::fd::OwnedFd;

use rustix::fs::{SealFlags, fcntl_get_seals, fstat};

use crate::{
    host::SLOTS,
    layer::image::{Blob, Setting, blob::is_hash, manifest},
    proto::{BuildPlan, LayerPlan, LayerWork, Refusal, ShellPlan, ZygotePlan},
};

/// Most layers in one root file system (the kernel's overlay takes 500; mount options must fit one page).
pub const LAYERS_MAX: usize = 32;

/// Most sockets for TCP of one [`crate::proto::Op::Sockets`]: with the one beside them they fit into one datagram.
pub const STREAMS_MAX: u8 = 15;

/// Zygotes are numbered below this.
pub const ZYGOTES_MAX: u16 = 4_096;

fn refuse(why: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::Plan(why.into()))
}

/// A host name as [`ShellPlan::hostname`] allows it.
fn is_hostname(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The name of a build tree.
#[must_use]
pub fn is_tree_name(text: &str) -> bool {
    is_hostname(text)
}

/// Checks a shell's plan.
///
/// # Errors
/// What is outside the bounds.
pub fn shell(plan: &ShellPlan) -> Result<(), Refusal> {
    if plan.slot >= SLOTS {
        return refuse(format!("slot {} is not below {SLOTS}", plan.slot));
    }
    if plan.zygote.0 >= ZYGOTES_MAX {
        return refuse(format!("zygote {} is not below {ZYGOTES_MAX}", plan.zygote.0));
    }
    layers(plan.layers.len())?;
    if let Err(e) = plan.limits.check() {
        return refuse(e.to_string());
    }
    if !is_hostname(&plan.hostname) {
        return refuse("the host name is not 1 to 63 of a-z, 0-9 and -");
    }
    if plan.machine_id.len() != 32 || !plan.machine_id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return refuse("the machine id is not 32 hexadecimal digits");
    }
    Ok(())
}

fn layers(count: usize) -> Result<(), Refusal> {
    if (2..=LAYERS_MAX).contains(&count) {
        Ok(())
    } else {
        refuse(format!("{count} layers; there must be 2 to {LAYERS_MAX}"))
    }
}

/// Checks how many sockets are asked for.
///
/// # Errors
/// More than [`STREAMS_MAX`].
pub fn streams(count: u8) -> Result<(), Refusal> {
    if count <= STREAMS_MAX { Ok(()) } else { refuse(format!("{count} sockets; there may be {STREAMS_MAX}")) }
}

/// Checks a zygote's plan.
///
/// # Errors
/// What is outside the bounds.
pub fn zygote(plan: &ZygotePlan) -> Result<(), Refusal> {
    if plan.zygote.0 >= ZYGOTES_MAX {
        return refuse(format!("zygote {} is not below {ZYGOTES_MAX}", plan.zygote.0));
    }
    layers(plan.layers.len())?;
    program(&plan.argv, &plan.env)?;
    if !(64..=16_384).contains(&plan.memory_mib) {
        return refuse(format!("{} MiB for a zygote; there must be 64 to 16384", plan.memory_mib));
    }
    Ok(())
}

/// Checks a program to execute: an absolute path, no NUL, no assignment without a name.
///
/// # Errors
/// What is outside the bounds.
pub fn program(argv: &[String], env: &[String]) -> Result<(), Refusal> {
    if !argv.first().is_some_and(|path| path.starts_with('/')) {
        return refuse("the program is not an absolute path");
    }
    if argv.iter().chain(env).any(|text| text.contains('\0')) {
        return refuse("an argument or environment value contains NUL");
    }
    if env.iter().any(|text| text.find('=').is_none_or(|at| at == 0)) {
        return refuse("an environment entry is not NAME=value");
    }
    Ok(())
}

/// Checks a build step's plan.
///
/// # Errors
/// What is outside the bounds.
pub fn build(plan: &BuildPlan) -> Result<(), Refusal> {
    if !is_tree_name(&plan.tree) {
        return refuse("the tree's name is not 1 to 64 of a-z, 0-9 and -");
    }
    if plan.layers.len() > LAYERS_MAX {
        return refuse(format!("{} layers; there must be at most {LAYERS_MAX}", plan.layers.len()));
    }
    program(&plan.argv, &plan.env)?;
    let plain = |name: &str| {
        !name.is_empty() && name.len() <= 200 && !name.contains(['/', '\0']) && name != ".." && name != "."
    };
    if !plan.files.iter().all(|(name, _)| plain(name)) {
        return refuse("a file's name is empty, too long, or holds a slash");
    }
    timeout(plan.timeout_ms)
}

/// Checks work on layers.
///
/// # Errors
/// What is outside the bounds.
pub fn layer_step(plan: &LayerPlan) -> Result<(), Refusal> {
    const BYTES_MAX: u64 = 256 << 30;
    const HIDDEN_BYTES_MAX: usize = 128 << 10;
    let (count, bytes) = match &plan.work {
        LayerWork::CopyHome { layers: all, bytes_max, hidden, .. } => {
            layers(all.len() + 1)?;
            if hidden.iter().map(Vec::len).sum::<usize>() > HIDDEN_BYTES_MAX {
                return refuse("there is too much to be hidden");
            }
            (all.len(), *bytes_max)
        }
        LayerWork::List(all) | LayerWork::Write { base: all, .. } | LayerWork::Find(all) => {
            layers(all.len() + 1)?;
            (all.len(), 0)
        }
        LayerWork::Manifest => (1, 0),
        LayerWork::Unpack { layers, bytes_max } => (layers.len(), *bytes_max),
        LayerWork::Image { .. } => (1, 0),
        LayerWork::Apply { layers, blobs, bytes_max, .. } => {
            image_layers(blobs)?;
            (layers.len().max(1), *bytes_max)
        }
        LayerWork::Prepare { layers, setting, .. } => {
            image_setting(setting)?;
            (layers.len(), 0)
        }
    };
    if !(1..=LAYERS_MAX).contains(&count) || bytes > BYTES_MAX {
        return refuse(format!("{count} layers and {bytes} bytes; there must be 1 to {LAYERS_MAX}, and {BYTES_MAX}"));
    }
    let trees = plan.work.trees();
    if !trees.iter().all(|tree| is_tree_name(tree)) {
        return refuse("a tree's name is not 1 to 64 of a-z, 0-9 and -");
    }
    if trees.iter().collect::<std::collections::HashSet<_>>().len() != trees.len() {
        return refuse("two layers come into one tree");
    }
    timeout(plan.timeout_ms)
}

fn image_layers(blobs: &[Blob]) -> Result<(), Refusal> {
    let is_layer = |blob: &Blob| is_hash(&blob.diff_id) && blob.digest.as_ref().is_none_or(|digest| is_hash(digest));
    if (1..=manifest::LAYERS_MAX).contains(&blobs.len()) && blobs.iter().all(is_layer) {
        return Ok(());
    }
    refuse(format!("{} layers of an image, or a digest that is none", blobs.len()))
}

/// What becomes lines of tables, links and names inside.
fn image_setting(setting: &Setting) -> Result<(), Refusal> {
    let plain = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let is_path = |path: &str| {
        plain(path, b"/._-@+") && path.len() > 1 && path.starts_with('/') && !path.split('/').any(|part| part == "..")
    };
    if !plain(&setting.login, b"_-") || !is_path(&setting.working_dir) || !setting.path.iter().all(|dir| is_path(dir)) {
        return refuse("a login name or a path holds what it must not");
    }
    if setting.needs.iter().any(|(program, _)| !plain(program, b"/._-")) {
        return refuse("a program's name holds what it must not");
    }
    Ok(())
}

fn timeout(timeout_ms: u64) -> Result<(), Refusal> {
    const HOURS_2_MS: u64 = 7_200_000;
    if timeout_ms == 0 || timeout_ms > HOURS_2_MS {
        return refuse("the step's time limit is not between 1 ms and 2 hours");
    }
    Ok(())
}

/// Checks what came with a build step's plan: one sealed memfd of bounded size, or nothing. Who sent it cannot change it any
/// more, and reading it is reading memory: no file, pipe or device of the host.
///
/// # Errors
/// It is something else.
pub fn input<'a>(plan: &BuildPlan, fds: &'a [OwnedFd]) -> Result<Option<&'a OwnedFd>, Refusal> {
    let sealed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    match (plan.input, fds) {
        (false, []) => Ok(None),
        (true, [fd]) => {
            let is_sealed = fcntl_get_seals(fd).is_ok_and(|seals| seals.contains(sealed));
            let bytes = fstat(fd).map_or(u64::MAX, |stat| u64::try_from(stat.st_size).unwrap_or(u64::MAX));
            if is_sealed && bytes <= crate::build::INPUT_BYTES_MAX {
                Ok(Some(fd))
            } else {
                Err(Refusal::Plan("the step's input is no sealed memfd, or too large".into()))
            }
        }
        _ => Err(Refusal::Plan("the step's input did not come with its plan".into())),
    }
}

#[cfg(test)]
mod tests {
    use ringfence_model::{LayerDigest, Limits};

    use super::*;
    use crate::proto::{DiskId, ShellId, ZygoteNo};

    fn plan() -> ShellPlan {
        let layer = LayerDigest::parse(&"a".repeat(64)).expect("64 hexadecimal digits");
        ShellPlan {
            shell: ShellId(1),
            slot: 0,
            zygote: ZygoteNo(0),
            layers: vec![layer.clone(), layer],
            disk: Some(DiskId(1)),
            gate: true,
            limits: Limits::default(),
            hostname: "i0".into(),
            machine_id: "0".repeat(32),
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut ShellPlan)) {
        let mut plan = plan();
        change(&mut plan);
        assert!(matches!(shell(&plan), Err(Refusal::Plan(_))));
    }

    #[test]
    fn shell_plans_have_bounds() {
        assert_eq!(shell(&plan()), Ok(()));
        refused(|p| p.slot = SLOTS);
        refused(|p| p.zygote = ZygoteNo(u16::MAX));
        refused(|p| p.layers.truncate(1));
        refused(|p| p.layers = vec![p.layers[0].clone(); LAYERS_MAX + 1]);
        refused(|p| p.limits.memory_mib = 0);
        refused(|p| p.hostname = "../x".into());
        refused(|p| p.hostname = "a".repeat(64));
        refused(|p| p.machine_id = "x".repeat(32));
    }

    #[test]
    fn sockets_fit_into_one_datagram() {
        assert_eq!(streams(STREAMS_MAX), Ok(()));
        assert_eq!(usize::from(STREAMS_MAX) + 1, crate::wire::FDS_MAX);
        assert!(matches!(streams(STREAMS_MAX + 1), Err(Refusal::Plan(_))));
    }

    #[test]
    fn programs_have_bounds() {
        let text = |t: &[&str]| t.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(program(&text(&["/bin/sh", "-c", "true"]), &text(&["A=", "B=c=d"])), Ok(()));
        for (argv, env) in [
            (&["sh"][..], &[][..]),
            (&[], &[]),
            (&["/bin/sh", "a\0b"], &[]),
            (&["/bin/sh"], &["A"]),
            (&["/bin/sh"], &["=x"]),
        ] {
            assert!(program(&text(argv), &text(env)).is_err(), "{argv:?} {env:?}");
        }
    }
}
