//! Templates over images of OCI, through a real daemon: made of what this machine has, without a network. They need root.

mod common;

#[path = "images/elsewhere.rs"]
mod elsewhere;
#[path = "images/hostile.rs"]
mod hostile;
#[path = "images/layout.rs"]
mod layout;
#[path = "images/own.rs"]
mod own;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use common::{Sandbox, ringfence, shared};
use futures::StreamExt;
use layout::{Dir, Layout, debian};
use own::Own;
use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{
        Actor, BuildAnswer, BuildRequest, CreateRequest, ImageRequest, Interpreter, RecipeSource, SandboxRequest,
        TemplateListAnswer, TemplateRequest,
    },
};

#[track_caller]
fn build(dir: &Dir) -> BuildAnswer {
    let built = ringfence(shared(), &["template", "build", &dir.path(), "--json"]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    serde_json::from_slice(&built.stdout).expect("an answer")
}

/// Debian with Python, then a layer of ours, then one that hides something of both.
fn app() -> Layout {
    let mut image = Layout::new();
    for layer in debian(shared()) {
        image.tree(&layer);
    }
    let one = tempfile::tempdir().expect("a directory");
    let at = |path: &str| {
        let path = one.path().join(path);
        fs::create_dir_all(path.parent().expect("it lies in one")).expect("directories");
        path
    };
    for (path, text) in
        [("srv/app/old", "1"), ("srv/app/kept", "2"), ("srv/app/cache/a", "3"), ("srv/app/cache/b", "4")]
    {
        fs::write(at(path), text).expect("a file");
    }
    image.tree(one.path());
    let two = tempfile::tempdir().expect("a directory");
    let at = |path: &str| two.path().join(path);
    fs::create_dir_all(at("srv/app/cache")).expect("directories");
    fs::create_dir_all(at("usr/bin")).expect("directories");
    for path in ["srv/app/.wh.old", "srv/app/cache/.wh..wh..opq", "usr/bin/.wh.tac"] {
        fs::write(at(path), "").expect("a whiteout");
    }
    fs::write(at("srv/app/cache/c"), "5").expect("a file");
    // A second name of what the layer below has.
    fs::write(at("srv/app/kept"), "of another content, which is not in the layer").expect("a file");
    fs::hard_link(at("srv/app/kept"), at("srv/app/linked")).expect("a link");
    image.tree_without(two.path(), "srv/app/kept");
    image
}

const CONFIG: &str = r#"{"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "GREETING=hello there", "HOME=/root"],
    "WorkingDir": "/srv/app", "User": "worker", "Entrypoint": ["/bin/sh", "-c"],
    "Cmd": ["echo \"started as $(id -un), it's $GREETING\"; exec sleep 100000"]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_becomes_a_template_from_an_archive_and_from_a_directory() {
    let image = app().config(CONFIG);
    // Others in every run, for the stages of an earlier one are still there.
    let run = std::time::UNIX_EPOCH.elapsed().expect("a time").as_nanos();
    let changed = format!("changed in {run}\n");
    let recipe = format!(
        "language = \"python\"\noci = \"image\"\npreload = [\"json\"]\noci_start = true\n\
                  [env]\nMORE = \"of the recipe\"\nRUN = \"{run}\"\n[[files]]\nfrom = \"added\"\nto = \"/srv/app/added\"\n\
                  [[build]]\nrun = \"cat kept added > /home/user/both; id -un >> /home/user/both\"\n"
    );
    let recipe = recipe.as_str();
    let of_archive = Dir::new("image-archive", recipe);
    of_archive.file("added", "of the recipe\n");
    let digest = image.archive(&of_archive.at("image"));
    let first = build(&of_archive);
    assert_eq!(first.template.origin.as_deref(), Some(digest.as_str()));
    let titles: Vec<&str> = first.stages.iter().map(|stage| stage.title.as_str()).collect();
    let expected = ["unpacking the image"; 4].into_iter().chain([
        "making it a template",
        "placing files",
        "running the recipe's script",
    ]);
    assert_eq!(titles, expected.collect::<Vec<_>>());

    let api = common::client().await;
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let health = api.health(Actor::Operator).await.expect("health");
        if health.templates.iter().any(|template| template.name == "image-archive" && template.warm) {
            break;
        }
        assert!(Instant::now() < end, "its warm interpreter does not come: {:?}", health.templates);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sandbox = Sandbox::with(CreateRequest { template: "image-archive".into(), ..CreateRequest::default() }).await;
    let said = sandbox
        .bash("pwd; id -un; id -u; echo $GREETING, $MORE, $HOME; find . -type f | sort; cat ~/both linked; stat -c %h kept linked; ls -d /usr/bin/tac /usr/bin/cat")
        .await;
    let expected = "/srv/app\nworker\n1000\nhello there, of the recipe, /home/user\n./added\n./cache/c\n./kept\n./linked\n\
                    2of the recipe\nworker\n22\n2\n/usr/bin/cat\n";
    assert_eq!(said.output, expected, "{}", said.stderr);
    let said =
        sandbox.python("import os, json, sys; print(os.getcwd(), os.environ['GREETING'], sys.version_info[:2])").await;
    assert_eq!(said.output, "/srv/app hello there (3, 11)\n", "{}", said.stderr);
    assert_ne!(said.interpreter, Interpreter::Fresh, "{said:?}");
    let status = sandbox.api.status(Actor::Operator, SandboxRequest { sandbox_id: sandbox.id.clone() }).await;
    assert_eq!(status.expect("a status").sandbox.start.expect("the image's own").status, "running");
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let logs = ringfence(shared(), &["sandbox", "logs", &sandbox.id]);
        let logs = String::from_utf8_lossy(&logs.stdout).into_owned();
        if logs.contains("started as worker, it's hello there") {
            break;
        }
        assert!(Instant::now() < end, "{logs}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sandbox.delete().await;

    // As a directory: the same layers, and nothing is unpacked again.
    let of_directory = Dir::new("image-directory", recipe);
    of_directory.file("added", &changed);
    assert_eq!(image.directory(&of_directory.at("image")), digest);
    let second = build(&of_directory);
    let reused: Vec<bool> = second.stages.iter().map(|stage| stage.reused).collect();
    assert_eq!(reused, [true, true, true, true, true, false, false], "{:#?}", second.stages);
    let layers = |answer: &BuildAnswer| answer.stages.iter().take(5).map(|s| s.layer.clone()).collect::<Vec<_>>();
    assert_eq!(layers(&first), layers(&second));
    let again = build(&of_directory);
    assert!(!again.built && again.template.version == second.template.version);
    // What is compressed otherwise is the same layer; its image is another.
    let plain = Dir::new("image-plain", recipe);
    plain.file("added", &changed);
    let other = image.plain().archive(&plain.at("image"));
    let third = build(&plain);
    assert!(third.stages.iter().all(|stage| stage.reused) && other != digest, "{:#?}", third.stages);

    let listed = ringfence(shared(), &["template", "list", "--json"]);
    let listed: TemplateListAnswer = serde_json::from_slice(&listed.stdout).expect("an answer");
    let origin = |name: &str| listed.templates.iter().find(|t| t.name == name).expect("listed").origin.clone();
    assert_eq!([origin("image-archive"), origin("image-directory")], [Some(digest.clone()), Some(digest)]);
    assert_eq!((origin("image-plain"), origin("python")), (Some(other), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_image_lacks_is_said_before_a_step_of_the_recipe_runs() {
    let own = Own::new().await;
    let tree = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(tree.path().join("bin")).expect("a directory");
    fs::write(tree.path().join("bin/app"), "x").expect("a file");
    let mut image = Layout::new();
    image.tree(tree.path());
    let dir = Dir::new("image-small", "language = \"python\"\noci = \"image.tar\"\n[[build]]\nrun = \"true\"\n");
    image.archive(&dir.at("image.tar"));
    let said = own.refused(&dir);
    for word in ["the image lacks", "/bin/bash", "python3", "/usr/bin/setpriv"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let trees = fs::read_dir(own.home.join("builds")).expect("a directory");
    assert_eq!(
        trees.filter(|tree| tree.as_ref().is_ok_and(|t| t.file_name() != "harness")).count(),
        0,
        "nothing is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_was_changed_or_is_none_makes_no_template() {
    let own = Own::new().await;
    let mut image = Layout::new();
    let tree = tempfile::tempdir().expect("a directory");
    fs::write(tree.path().join("a"), "one").expect("a file");
    image.tree(tree.path());
    let dir = Dir::new("image-changed", "language = \"bash\"\noci = \"image\"\n");
    image.directory(&dir.at("image"));
    let blob = image.blob(0);
    let path = dir.at("image").join("blobs/sha256").join(&blob);
    let mut bytes = fs::read(&path).expect("a layer");
    *bytes.last_mut().expect("some") ^= 1;
    fs::write(&path, &bytes).expect("written");
    let said = own.refused(&dir);
    assert!(said.contains(&format!("the layer {blob} was changed")) || said.contains("cannot be read"), "{said}");
    // What it is not.
    let none = Dir::new("image-none", "language = \"bash\"\noci = \"image.tar\"\n");
    none.file("image.tar", "no image");
    assert!(own.refused(&none).contains("the image is refused"));
    let missing = Dir::new("image-missing", "language = \"bash\"\noci = \"image.tar\"\n");
    assert!(own.refused(&missing).contains("image.tar, the recipe's image"));
    let out = Dir::new("image-out", "language = \"bash\"\noci = \"../image.tar\"\n");
    assert!(own.refused(&out).contains("without `..`"));
    let link = Dir::new("image-link", "language = \"bash\"\noci = \"image.tar\"\n");
    std::os::unix::fs::symlink("/etc/shadow", link.at("image.tar")).expect("a link");
    assert!(own.refused(&link).contains("it is a link"));
    let both = Dir::new("image-both", "language = \"bash\"\noci = \"image.tar\"\ndebian = \"bookworm\"\n");
    assert!(own.refused(&both).contains("begins with an image"));
    for name in ["image-changed", "image-none"] {
        let found = own.api.template(Actor::Operator, TemplateRequest { template_name: name.into() }).await;
        assert!(
            found.is_err() || found.is_ok_and(|found| found.template.version <= 1 && found.template.layers.is_empty())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_the_operators_and_are_used_once() {
    let own = Own::new().await;
    let mut image = Layout::new();
    let tree = tempfile::tempdir().expect("a directory");
    fs::write(tree.path().join("a"), "one").expect("a file");
    image.tree(tree.path());
    let file = tree.path().join("image.tar");
    image.archive(&file);
    let chunks = |path: &Path| futures::stream::iter([Ok(fs::read(path).expect("a file").into())]).boxed();
    let by_agent = own.api.template_image(Actor::Agent, ImageRequest::default(), chunks(&file)).await;
    assert_eq!(by_agent.expect_err("refused").code, Code::PermissionDenied);
    let text = "name='image-once'\ndescription='d'\nlanguage='bash'\noci='image.tar'\n";
    let request = |image: Option<String>| BuildRequest {
        template_name: "image-once".into(),
        rebuild: false,
        recipe: Some(RecipeSource { text: text.into(), files: Vec::new() }),
        image,
    };
    let none = own.api.build(Actor::Operator, request(None), None).await.expect_err("refused");
    assert!(none.code == Code::InvalidArgument && none.message.contains("is sent before"), "{}", none.message);
    let sent =
        own.api.template_image(Actor::Operator, ImageRequest::default(), chunks(&file)).await.expect("it is taken");
    let lacks =
        own.api.build(Actor::Operator, request(Some(sent.image.clone())), None).await.expect_err("it lacks all");
    assert!(lacks.message.contains("the image lacks /bin/bash"), "{}", lacks.message);
    let again = own.api.build(Actor::Operator, request(Some(sent.image)), None).await.expect_err("it is gone");
    assert!(again.message.contains("send it again"), "{}", again.message);
    let archives = fs::read_dir(own.home.join("engine/archives")).expect("a directory").count();
    assert_eq!(archives, 0, "no archive has a name");
}
