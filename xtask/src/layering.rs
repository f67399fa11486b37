//! Which crate may use which. The table is the one in ARCHITECTURE.md, so that what people read is what is enforced.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::{Unusable, entries, read};

/// The header of the table in ARCHITECTURE.md.
const HEADER: &str = "| crate | may use |";

type Edges = BTreeMap<String, BTreeSet<String>>;

/// Edges between this workspace's crates that the table does not allow, a sentence each.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>, Unusable> {
    let path = root.join("ARCHITECTURE.md");
    let allowed = table(&read(&path)?).ok_or_else(|| Unusable::new(&path, format!("there is no table `{HEADER}`")))?;
    let decisions = entries(&root.join("docs/decisions"))?;
    let numbers = decisions.iter().filter_map(|path| path.file_name()?.to_str()?.get(..4)?.parse::<u32>().ok());
    let next = numbers.max().unwrap_or(0) + 1;
    let mut found = Vec::new();
    for dir in entries(&root.join("crates"))?.into_iter().chain([root.join("xtask")]) {
        let manifest = dir.join("Cargo.toml");
        let uses = edges(&read(&manifest)?).map_err(|why| Unusable::new(&manifest, why))?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        found.extend(refused(&name, &uses, &allowed, next));
    }
    Ok(found)
}

fn refused(name: &str, uses: &BTreeSet<String>, allowed: &Edges, next: u32) -> Vec<String> {
    let Some(row) = allowed.get(name) else {
        return vec![format!(
            "`{name}` is not in the layering table of ARCHITECTURE.md: add a row with what it may use"
        )];
    };
    let sentence = |used: &String| {
        format!(
            "`{name}` depends on `{used}`, which the layering table of ARCHITECTURE.md does not allow: remove the \
             dependency, or write docs/decisions/{next:04}-{name}-uses-{used}.md and add the edge to the table"
        )
    };
    uses.difference(row).map(sentence).collect()
}

/// The table: crates by directory name, without backticks; `—` for none.
fn table(markdown: &str) -> Option<Edges> {
    let mut rows = Edges::new();
    let mut lines = markdown.lines().skip_while(|line| !line.starts_with(HEADER));
    lines.next()?;
    for line in lines.skip(1).take_while(|line| line.starts_with('|')) {
        let mut cells = line.split('|').skip(1).map(|cell| cell.trim().replace('`', ""));
        let name = cells.next()?;
        let uses = cells.next()?;
        rows.insert(name, uses.split(", ").filter(|used| *used != "—").map(str::to_owned).collect());
    }
    (!rows.is_empty()).then_some(rows)
}

/// The crates of this workspace that a manifest names, in whatever table of dependencies (those of tests and build
/// scripts too: they compile the crate as well), by directory name.
fn edges(manifest: &str) -> Result<BTreeSet<String>, String> {
    let manifest: toml::Table = manifest.parse().map_err(|e: toml::de::Error| e.to_string())?;
    let mut found = BTreeSet::new();
    collect(&manifest, &mut found);
    Ok(found)
}

fn collect(table: &toml::Table, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let Some(inner) = value.as_table() else { continue };
        if !key.ends_with("dependencies") {
            collect(inner, found);
            continue;
        }
        for (name, dependency) in inner {
            let package = dependency.get("package").and_then(toml::Value::as_str).unwrap_or(name);
            if let Some(used) = package.strip_prefix("ringfence-") {
                found.insert(used.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layering_table_holds() {
        assert_eq!(findings(crate::root()).expect("a checkout"), Vec::<String>::new());
    }

    #[test]
    fn a_new_edge_names_the_record_to_write() {
        let allowed = table("x\n| crate | may use |\n|---|---|\n| `model` | — |\n| `store` | `model`, `jail` |\n\nx")
            .expect("a table");
        let uses = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(refused("store", &uses(&["model"]), &allowed, 7), Vec::<String>::new());
        let found = refused("model", &uses(&["jail"]), &allowed, 7);
        assert!(found[0].contains("docs/decisions/0007-model-uses-jail.md"), "{found:?}");
        assert!(refused("new", &uses(&[]), &allowed, 7)[0].contains("add a row"));
    }

    #[test]
    fn every_kind_of_dependency_is_an_edge() {
        let manifest = r#"
            [dependencies]
            ringfence-a.workspace = true
            serde = "1"
            renamed = { package = "ringfence-b", path = "../b" }
            [dev-dependencies]
            ringfence-c = { path = "../c" }
            [target.'cfg(unix)'.build-dependencies]
            ringfence-d = { path = "../d" }
        "#;
        assert_eq!(edges(manifest), Ok(["a", "b", "c", "d"].map(str::to_owned).into()));
    }
}
