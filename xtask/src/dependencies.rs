//! Every crate of others has a reason, and docs/reference/dependencies.md lists them all with their licences.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
    process::Command,
};

use serde::Deserialize;

use crate::{Unusable, read};

/// Why each is there, written by hand.
const REASONS: &str = "xtask/dependencies.toml";
/// What is made of it.
const PAGE: &str = "docs/reference/dependencies.md";

/// Of `cargo metadata`, what is needed here.
#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

/// Which packages one uses, of which there may be several of one name.
#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// None of a crate of this workspace.
    source: Option<String>,
    kind: Option<String>,
}

/// What is wrong with the reasons, and whether the page is another one than would be made; a sentence each.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>, Unusable> {
    let metadata = metadata(root)?;
    let reasons = reasons(root)?;
    let mut found = judge(&metadata, &reasons);
    if found.is_empty() && read(&root.join(PAGE)).unwrap_or_default() != page(&metadata, &reasons) {
        found
            .push(format!("{PAGE} is not up to date: RINGFENCE_UPDATE=1 cargo test --release -p xtask writes it anew"));
    }
    Ok(found)
}

/// What Cargo.lock chooses for Linux. Nothing is fetched: whoever has compiled has it.
fn metadata(root: &Path) -> Result<Metadata, Unusable> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments =
        ["metadata", "--locked", "--offline", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"];
    let manifest = root.join("Cargo.toml");
    let listed = Command::new(cargo).args(arguments).arg("--manifest-path").arg(&manifest).output();
    let listed = listed.map_err(|e| Unusable::new(&manifest, e))?;
    if !listed.status.success() {
        return Err(Unusable::new(&manifest, String::from_utf8_lossy(&listed.stderr)));
    }
    serde_json::from_slice(&listed.stdout).map_err(|e| Unusable::new(&manifest, e))
}

fn reasons(root: &Path) -> Result<BTreeMap<String, String>, Unusable> {
    let path = root.join(REASONS);
    toml::from_str(&read(&path)?).map_err(|e| Unusable::new(&path, e))
}

/// The crates of others that manifests of this workspace name, and by which of its crates; those for tests alone say so.
fn direct(metadata: &Metadata) -> BTreeMap<&str, BTreeSet<String>> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id)) {
        let ours = match package.name.strip_prefix("ringfence-") {
            Some(name) => name,
            None if package.name == "ringfence" => "cli",
            None => &package.name,
        };
        for used in package.dependencies.iter().filter(|used| used.source.is_some()) {
            let of_tests = if used.kind.as_deref() == Some("dev") { " (tests)" } else { "" };
            found.entry(&used.name).or_default().insert(format!("{ours}{of_tests}"));
        }
    }
    found
}

fn judge(metadata: &Metadata, reasons: &BTreeMap<String, String>) -> Vec<String> {
    let direct = direct(metadata);
    let mut found = Vec::new();
    for (name, users) in &direct {
        if reasons.get(*name).is_none_or(|reason| reason.trim().is_empty()) {
            let users = users.iter().cloned().collect::<Vec<_>>().join(", ");
            found.push(format!("`{name}` (of {users}) has no reason: say in {REASONS} what it is for, in one line"));
        }
    }
    let gone = reasons.keys().filter(|name| !direct.contains_key(name.as_str()));
    found.extend(gone.map(|name| format!("no manifest names `{name}` any more: remove its line from {REASONS}")));
    let ours = |package: &&Package| metadata.workspace_members.contains(&package.id);
    let unlicensed = metadata.packages.iter().filter(|package| !ours(package) && package.license.is_none());
    found.extend(unlicensed.map(|package| format!("`{}` {} names no licence", package.name, package.version)));
    found
}

fn page(metadata: &Metadata, reasons: &BTreeMap<String, String>) -> String {
    let direct = direct(metadata);
    let ours = |package: &&Package| metadata.workspace_members.contains(&package.id);
    let members = metadata.resolve.nodes.iter().filter(|node| metadata.workspace_members.contains(&node.id));
    let named: BTreeSet<&String> = members.flat_map(|node| &node.dependencies).collect();
    let mut others: Vec<&Package> = metadata.packages.iter().filter(|package| !ours(package)).collect();
    others.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    let licence = |package: &Package| package.license.clone().unwrap_or_default();
    let mut page = format!(
        "# Dependencies\n\n\
         Made by `xtask` of `Cargo.lock` (Linux, default features) and `{REASONS}`. `make deny` checks licences, sources and what is\n\
         banned (`deny.toml`); `make dist` builds an executable that carries this list.\n\n\
         ## Named by a manifest of ours: {}\n\n| crate | version | licence | why | used by |\n|---|---|---|---|---|\n",
        direct.len()
    );
    for (name, users) in &direct {
        let why = reasons.get(*name).map_or("", String::as_str);
        let users = users.iter().cloned().collect::<Vec<_>>().join(", ");
        let chosen: Vec<&&Package> =
            others.iter().filter(|package| package.name == *name && named.contains(&package.id)).collect();
        if chosen.is_empty() {
            let _ = writeln!(page, "| {name} | (a feature) | | {why} | {users} |");
        }
        for package in chosen {
            let _ = writeln!(page, "| {name} | {} | {} | {why} | {users} |", package.version, licence(package));
        }
    }
    let brought: Vec<&&Package> = others.iter().filter(|package| !named.contains(&package.id)).collect();
    let _ = write!(page, "\n## Brought by those: {}\n\n| crate | version | licence |\n|---|---|---|\n", brought.len());
    for package in brought {
        let _ = writeln!(page, "| {} | {} | {} |", package.name, package.version, licence(package));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dependency_has_a_reason_and_the_page_lists_them() {
        let root = crate::root();
        if std::env::var_os("RINGFENCE_UPDATE").is_some() {
            let (metadata, reasons) = (metadata(root).expect("cargo"), reasons(root).expect("the reasons"));
            std::fs::write(root.join(PAGE), page(&metadata, &reasons)).expect("written");
        }
        assert_eq!(findings(root).expect("a checkout"), Vec::<String>::new());
    }

    #[test]
    fn one_without_a_reason_is_found_and_a_reason_without_one() {
        let metadata: Metadata = serde_json::from_value(serde_json::json!({
            "workspace_members": ["path+ours"],
            "resolve": {"nodes": [{"id": "path+ours", "dependencies": ["a", "b"]}, {"id": "a", "dependencies": ["a-old"]}]},
            "packages": [
                {"id": "path+ours", "name": "ringfence-model", "version": "0.1.0", "license": null, "dependencies": [
                    {"name": "a", "source": "registry", "kind": null}, {"name": "b", "source": "registry", "kind": "dev"},
                    {"name": "ringfence-jail", "source": null, "kind": null}]},
                {"id": "a", "name": "a", "version": "1.0.0", "license": "MIT", "dependencies": []},
                {"id": "a-old", "name": "a", "version": "0.9.0", "license": "MIT", "dependencies": []},
                {"id": "b", "name": "b", "version": "1.0.0", "license": null, "dependencies": []},
            ],
        }))
        .expect("as cargo says it");
        let reasons = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let found = judge(&metadata, &reasons(&[("a", "because"), ("c", "once")]));
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("`b` (of model (tests)) has no reason"), "{found:?}");
        assert!(found[1].contains("`c`") && found[2].contains("names no licence"), "{found:?}");
        let page = page(&metadata, &reasons(&[("a", "because"), ("b", "why not")]));
        assert!(
            page.contains("| a | 1.0.0 | MIT | because | model |") && page.contains("\n| a | 0.9.0 | MIT |\n"),
            "{page}"
        );
    }
}
