//! Plans for the jailer, as a `serve` that was taken over may write them.

use std::path::{Component, Path};

use ringfence_model::LayerDigest;

use crate::{
    check,
    host::SLOTS,
    proto::{self, BuildPlan, LayerWork, Op, Refusal, Request, ShellPlan, ZygotePlan},
};

/// A request of any bytes: what is decoded means the same when it is written again, and of a plan that the jailer's bounds let
/// pass nothing leads out of its place, holds a NUL where the kernel would stop reading, or has no end.
///
/// # Panics
/// When it is not so.
pub fn fuzz_plan(bytes: &[u8]) {
    let _ = verdict(bytes);
}

/// Whether it is a request, and whether the bounds let it pass.
fn verdict(bytes: &[u8]) -> Option<bool> {
    let request: Request = proto::decode(bytes).ok()?;
    if bytes.len() <= proto::MESSAGE_BYTES_MAX {
        let written = proto::encode(&request).expect("it is no longer than what was read");
        let again: Request = proto::decode(&written).expect("it was just written");
        assert_eq!(proto::encode(&again).expect("it was written before"), written);
        assert_eq!(again.id, request.id);
    }
    let passes = |checked: Result<(), Refusal>| checked.is_ok();
    Some(match &request.op {
        Op::BuildShell(plan) => passes(check::shell(plan)) && shell(plan),
        Op::StartZygote(plan) => passes(check::zygote(plan)) && zygote(plan),
        Op::Spawn { argv, env, .. } => passes(check::program(argv, env)) && program(argv, env),
        Op::BuildStep(plan) => passes(check::build(plan)) && build(plan),
        Op::LayerStep(plan) => {
            let is_passed = passes(check::layer_step(plan));
            if is_passed {
                assert!((1..=7_200_000).contains(&plan.timeout_ms));
                work(&plan.work);
            }
            is_passed
        }
        Op::Sockets { streams, .. } => passes(check::streams(*streams)),
        Op::SealLayer { tree, .. } | Op::DropTree(tree) => {
            let is_passed = check::is_tree_name(tree);
            assert!(!is_passed || is_name(tree));
            is_passed
        }
        Op::CheckLayer(digest) | Op::DropLayer(digest) => {
            digests(std::slice::from_ref(digest));
            true
        }
        _ => true,
    })
}

/// Whether a text is one name in a directory, as the kernel reads it.
fn is_name(text: &str) -> bool {
    let mut parts = Path::new(text).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == text)
        && !text.contains('\0')
        && text.len() < 256
}

fn digests(all: &[LayerDigest]) {
    for digest in all {
        let text = digest.to_string();
        assert!(text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{text}");
    }
}

fn shell(plan: &ShellPlan) -> bool {
    assert!(plan.slot < SLOTS && plan.zygote.0 < check::ZYGOTES_MAX);
    assert!(plan.layers.len() >= 2 && plan.layers.len() <= check::LAYERS_MAX);
    digests(&plan.layers);
    assert!(is_name(&plan.hostname) && plan.hostname.len() <= 63 && is_name(&plan.machine_id));
    assert_eq!(plan.machine_id.len(), 32);
    assert_eq!(plan.limits.check(), Ok(()));
    true
}

fn zygote(plan: &ZygotePlan) -> bool {
    assert!(plan.zygote.0 < check::ZYGOTES_MAX && plan.memory_mib >= 64 && plan.memory_mib <= 16_384);
    digests(&plan.layers);
    program(&plan.argv, &plan.env)
}

/// The kernel gets the texts that were checked, and no others.
fn program(argv: &[String], env: &[String]) -> bool {
    assert!(Path::new(&argv[0]).is_absolute());
    for text in argv.iter().chain(env) {
        let read = std::ffi::CString::new(text.as_str()).expect("no NUL");
        assert_eq!(read.as_bytes().len(), text.len());
    }
    assert!(env.iter().all(|entry| entry.split_once('=').is_some_and(|(name, _)| !name.is_empty())));
    true
}

fn build(plan: &BuildPlan) -> bool {
    assert!(is_name(&plan.tree) && plan.layers.len() <= check::LAYERS_MAX);
    digests(&plan.layers);
    assert!(plan.files.iter().all(|(name, _)| is_name(name)), "{:?}", plan.files);
    assert!((1..=7_200_000).contains(&plan.timeout_ms));
    program(&plan.argv, &plan.env)
}

fn work(work: &LayerWork) {
    let trees = work.trees();
    assert!(trees.iter().all(|tree| is_name(tree)));
    assert!(trees.iter().enumerate().all(|(at, tree)| !trees[..at].contains(tree)));
    digests(work.below());
    match work {
        LayerWork::Apply { blobs, .. } => {
            assert!(!blobs.is_empty() && blobs.iter().all(|blob| blob.diff_id.len() == 64 && is_name(&blob.diff_id)));
        }
        LayerWork::Prepare { setting, .. } => {
            assert!(is_name(&setting.login));
            let inside = |path: &str| {
                Path::new(path).is_absolute()
                    && Path::new(path).components().all(|part| part != Component::ParentDir)
                    && !path.contains(['\n', ':', '\0'])
            };
            assert!(inside(&setting.working_dir) && setting.path.iter().all(|dir| inside(dir)));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use ringfence_model::Limits;

    use super::*;
    use crate::{
        layer::image::Setting,
        proto::{BuildRoot, DiskId, ExecNo, LayerPlan, Rights, ShellId, ZygoteNo},
    };

    fn layers(count: usize) -> Vec<LayerDigest> {
        vec![LayerDigest::parse(&"a".repeat(64)).expect("64 hexadecimal digits"); count]
    }

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    fn a_shell(hostname: &str) -> Op {
        Op::BuildShell(ShellPlan {
            shell: ShellId(1),
            slot: 3,
            zygote: ZygoteNo(0),
            layers: layers(2),
            disk: Some(DiskId(7)),
            gate: true,
            limits: Limits::default(),
            hostname: hostname.into(),
            machine_id: "0".repeat(32),
        })
    }

    fn a_program(path: &str, env: &str) -> Op {
        Op::Spawn {
            rights: Rights::Program,
            shell: ShellId(1),
            exec: ExecNo(1),
            argv: texts(&[path, "-c", "true"]),
            env: texts(&[env]),
            cwd: "/home/user".into(),
            timeout_ms: Some(60_000),
        }
    }

    fn a_step(file: &str, timeout_ms: u64) -> Op {
        Op::BuildStep(BuildPlan {
            step: 1,
            tree: "t1".into(),
            layers: layers(1),
            root: BuildRoot::Tree,
            network: false,
            argv: texts(&["/bin/sh", "/build/run"]),
            env: texts(&["A=b"]),
            files: vec![(file.into(), b"true".to_vec())],
            input: false,
            timeout_ms,
        })
    }

    fn on_layers(work: LayerWork) -> Op {
        Op::LayerStep(LayerPlan { step: 2, work, timeout_ms: 1000 })
    }

    fn an_image(working_dir: &str) -> Op {
        let setting = Setting {
            login: "user".into(),
            working_dir: working_dir.into(),
            path: texts(&["/bin"]),
            needs: Vec::new(),
        };
        on_layers(LayerWork::Prepare { layers: layers(2), tree: "t2".into(), setting })
    }

    fn unpacked(trees: [&str; 2]) -> Op {
        let layer = |tree: &str| (layers(1)[0].clone(), false, Some(tree.to_owned()));
        on_layers(LayerWork::Unpack { layers: trees.map(layer).to_vec(), bytes_max: 1 << 20 })
    }

    /// What the seeds are made of: `pass-…` is let through, `refuse-…` is not.
    fn requests() -> Vec<(&'static str, Op)> {
        let interpreter = ZygotePlan {
            zygote: ZygoteNo(1),
            layers: layers(3),
            argv: texts(&["/usr/bin/python3"]),
            env: Vec::new(),
            memory_mib: 512,
        };
        vec![
            ("pass-shell", a_shell("i0abc")),
            ("refuse-shell-host-name", a_shell("../etc")),
            ("pass-program", a_program("/bin/sh", "A=1")),
            ("refuse-program-relative", a_program("sh", "A=1")),
            ("refuse-program-nul", a_program("/bin/sh", "A=1\0B=2")),
            ("pass-step", a_step("run", 1000)),
            ("refuse-step-file", a_step("..", 1000)),
            ("refuse-step-endless", a_step("run", u64::MAX)),
            ("pass-zygote", Op::StartZygote(interpreter)),
            ("pass-image", an_image("/srv/app")),
            ("refuse-image-directory", an_image("/srv/../..")),
            ("pass-unpack", unpacked(["t3", "t4"])),
            ("refuse-unpack-twice", unpacked(["t3", "t3"])),
            ("pass-sockets", Op::Sockets { shell: ShellId(1), streams: 15 }),
            ("refuse-sockets", Op::Sockets { shell: ShellId(1), streams: 16 }),
            ("refuse-tree", Op::DropTree("..".into())),
            ("pass-tree", Op::DropTree("t5".into())),
        ]
    }

    /// With `RINGFENCE_UPDATE=1` the seeds are written.
    #[test]
    fn plans_hold_their_properties_for_every_seed() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/plan");
        if std::env::var_os("RINGFENCE_UPDATE").is_some() {
            std::fs::create_dir_all(&directory).expect("a directory");
            for (name, op) in requests() {
                let bytes = proto::encode(&Request { id: 1, op }).expect("it is short");
                std::fs::write(directory.join(name), bytes).expect("written");
            }
        }
        for (name, op) in requests() {
            let bytes = std::fs::read(directory.join(name)).expect("a seed: RINGFENCE_UPDATE=1 writes them");
            assert_eq!(
                bytes,
                proto::encode(&Request { id: 1, op }).expect("it is short"),
                "{name} is of another format"
            );
            assert_eq!(verdict(&bytes), Some(name.starts_with("pass-")), "{name}");
        }
        for entry in std::fs::read_dir(directory).expect("it is there") {
            fuzz_plan(&std::fs::read(entry.expect("readable").path()).expect("a file"));
        }
    }
}
