//! Templates that an operator built stay the operator's, whoever exports and deletes beside them.

use ringfence_engine::api::Sandboxes;
use ringfence_model::{
    Code,
    api::{Actor, ExportRequest, ImportRequest, TemplateRequest},
};

use crate::{
    common::template,
    scene::{Scene, export, request},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_built_is_neither_shadowed_nor_deleted_by_agents() {
    // A recipe over the packages that are built already.
    template("base").await;
    let scene = Scene::of_test_with("base").await;
    let recipe = scene.dir.path().join("recipe");
    std::fs::create_dir(&recipe).expect("a directory");
    let text = "name = \"house\"\ndescription = \"Ours\"\nlanguage = \"bash\"\ndebian = \"bookworm\"\n[env]\nOF = \"the-house\"\n";
    std::fs::write(recipe.join("template.toml"), text).expect("a recipe");
    scene.run(&["template", "build", recipe.to_str().expect("plain")]);
    let named = || TemplateRequest { template_name: "house".into() };
    let built = scene.api.template(Actor::Agent, named()).await.expect("it is built").template;
    assert_eq!(built.category, "custom");

    let id = scene.create("base").await;
    for new_version in [false, true] {
        let request = ExportRequest { new_version, ..request(&id, "house") };
        let refused = scene.api.export_template(Actor::Agent, request, None).await.expect_err("refused");
        assert_eq!(refused.code, Code::TemplateExists, "{refused}");
        assert!(refused.message.contains("an operator built"), "{refused}");
    }
    // An archive does not come behind the name either.
    export(&scene, &id, "other").await.expect("exported");
    let file = scene.dir.path().join("other.tar.zst");
    scene.run(&["template", "export", "other", file.to_str().expect("plain")]);
    let bytes = std::fs::read(&file).expect("there");
    let chunks = Box::pin(futures::stream::iter([Ok(bytes.into())]));
    let import = ImportRequest { template_name: Some("house".into()), new_version: true };
    let refused = scene.api.template_import(Actor::Operator, import, chunks).await.expect_err("refused");
    assert_eq!(refused.code, Code::TemplateExists, "{refused}");

    let refused = scene.api.template_delete(Actor::Agent, named()).await.expect_err("refused");
    assert_eq!(refused.code, Code::PermissionDenied, "{refused}");
    let still = scene.api.template(Actor::Agent, named()).await.expect("it is there").template;
    assert_eq!((still.version, still.digest, still.category), (built.version, built.digest, built.category));
    let copy = scene.create("house").await;
    assert_eq!(scene.prints(&copy, "echo $OF").await, "the-house\n");
    scene.delete(&copy).await;

    // An operator removes it; the name is anybody's then, and what was exported is an agent's to delete.
    scene.run(&["template", "rm", "house"]);
    let gone = scene.api.template(Actor::Agent, named()).await.expect_err("gone");
    assert_eq!(gone.code, Code::TemplateNotFound);
    export(&scene, &id, "house").await.expect("exported");
    scene.end(&[&id], &["house", "other"]).await;
}
