use super::*;

#[test]
fn shipped_recipes_are_read() {
    let recipe = shipped_named("python").expect("it is shipped");
    assert_eq!(recipe.language, "python");
    assert_eq!(recipe.inputs.len(), 2);
    assert!(recipe.preload.contains(&"pandas".to_owned()));
    let record = Record::of(&recipe);
    assert_eq!(Record::from_json(&record.to_json()), Some(record.clone()));
    // As versions wrote it that kept the files.
    let mut older = record.to_json();
    older["recipe"]["files"] = serde_json::json!({"check.py": "import numpy"});
    assert_eq!(Record::from_json(&older), Some(record));
}

#[test]
fn every_locked_npm_package_has_a_hash() {
    for recipe in shipped() {
        let Some(node) = recipe.node.clone() else { continue };
        let of_apps = node.apps.iter().map(|app| (app.package.clone(), app.lock.clone(), false));
        let global = node.package.clone().zip(node.lock.clone()).map(|(package, lock)| (package, lock, true));
        for (package, lock, has_npm) in of_apps.chain(global) {
            let lock: serde_json::Value = serde_json::from_str(&recipe.text(&lock)).expect("JSON");
            let wanted: serde_json::Value = serde_json::from_str(&recipe.text(&package)).expect("JSON");
            let packages = lock["packages"].as_object().expect("packages");
            assert_eq!(packages[""]["dependencies"], wanted["dependencies"]);
            assert!(!has_npm || packages.contains_key("node_modules/npm"));
            for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
                let hash = package["integrity"].as_str().unwrap_or_default();
                assert!(hash.starts_with("sha512-") || package["inBundle"] == true, "{name}");
            }
        }
    }
}

/// Each recipe is a directory that can be copied, so that both have the page, which is one: `cp -r` from `react` to `nextjs`.
#[test]
fn react_and_nextjs_have_the_same_dashboard() {
    let page = |name: &str| {
        let inputs = shipped_named(name).expect("it is shipped").inputs;
        let of_page = |(path, input): (String, Input)| path.contains("/dashboard/").then_some((path, input.content));
        inputs.into_iter().filter_map(of_page).collect::<BTreeMap<_, _>>()
    };
    assert!(page("react").len() > 5);
    assert_eq!(page("react"), page("nextjs"));
}

#[test]
fn every_locked_package_has_a_hash() {
    for recipe in shipped() {
        let Some(lock) = recipe.lock.as_ref().map(|name| recipe.text(name)) else { continue };
        let lines = lock.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
        for pair in lines.chunks(2) {
            assert!(pair[0].contains("==") && pair[1].trim().starts_with("--hash=sha256:"), "{pair:?}");
        }
    }
}

fn with(lines: &str) -> String {
    format!("name='a'\ndescription='b'\nlanguage='bash'\ndebian='bookworm'\n{lines}\n")
}

#[track_caller]
fn refused(lines: &str) {
    assert!(Recipe::read(&with(lines)).is_err(), "{lines}");
}

#[test]
fn what_reaches_a_shell_is_plain() {
    refused("surprise=1");
    refused("strip=['/usr/../etc']");
    refused("strip=['/']");
    refused("strip=['/a b']");
    refused("strip=['/$(id)']");
    refused("preload=['os; import x']");
    refused("files={'a/b'='x'}");
    refused("[node]\nversion='24;id'\nintegrity='sha512-x'\npackage='p'\nlock='l'");
    refused("[shelf]\nsandbox_mib=0");
    refused("[env]\n'A B'='x'");
    refused("user='root'");
    refused("user='a:b'");
    refused("working_dir='srv'");
    refused("working_dir='/srv/$(id)'");
    refused("network='open'");
    refused("start=''");
    refused("[limits]\nmemory_mb=1");
    refused("[[build]]\nas='user'");
    refused("[[build]]\nrun='true'\nscript='x.sh'");
    refused("[[build]]\nrun='true'\nnetwork=true");
    let hash = format!("sha512-{}", "a".repeat(88));
    refused(&format!("[node]\nversion='24.1.0'\nintegrity='{hash}'"));
}

#[test]
fn files_come_from_beside_the_recipe_and_go_where_files_are() {
    for from in ["../secret", "/etc/shadow", "a/../../b", "a//b", "a/./b", "", "a\\n/../b"] {
        refused(&format!("[[files]]\nfrom='{from}'\nto='/srv/x'"));
    }
    refused("[[files]]\nfrom=\"a\\u0000b\"\nto='/srv/x'");
    for to in [
        "srv/x",
        "/",
        "/srv/../etc",
        "/dev/sda",
        "/proc/1",
        "/run",
        "/build/x",
        "/data/x",
        "/tmp/x",
        "/srv//x",
        "/srv/x/",
    ] {
        refused(&format!("[[files]]\nfrom='a'\nto='{to}'"));
    }
    for mode in ["4755", "rwx", "7777", "64"] {
        refused(&format!("[[files]]\nfrom='a'\nto='/srv/x'\nmode='{mode}'"));
    }
    let text =
        with("[[files]]\nfrom='app'\nto='/srv/app'\n[[files]]\nfrom='app/(a) [id]/@x'\nto='/etc/x'\nmode='0640'");
    assert!(Recipe::read(&text).is_ok());
}

#[test]
fn a_recipe_has_what_it_names_and_no_more() {
    let input = |text: &'static str| Input { executable: false, content: Cow::Borrowed(text.as_bytes()) };
    let mut source =
        Source { recipe: with("check='check.sh'\n[[files]]\nfrom='app'\nto='/srv/app'"), ..Source::default() };
    source.files.insert("app/page/[id].js".into(), input("x"));
    source.files.insert("apple".into(), input("not named"));
    assert!(matches!(Recipe::parse(&source), Err(RecipeError::File(name)) if name == "check.sh"));
    source.files.insert("check.sh".into(), input("true"));
    let recipe = Recipe::parse(&source).expect("everything is there");
    assert_eq!(recipe.inputs.keys().collect::<Vec<_>>(), ["app/page/[id].js", "check.sh"]);
    source.files.insert("app/../../x".into(), input("x"));
    assert!(Recipe::parse(&source).is_err());
    source.files.remove("app/../../x");
    let large = Input { executable: false, content: Cow::Owned(vec![0; INPUT_BYTES_MAX]) };
    source.files.insert("app/large".into(), large);
    assert!(matches!(Recipe::parse(&source), Err(RecipeError::TooMuch(_))));
}
