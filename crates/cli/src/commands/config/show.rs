//! `ringfence config show`: as a table, as a file with explanations, or as JSON.

use serde_json::json;
use toml::Value;

use super::effect::{self, Effect, Effects, Outside, Source};
use crate::{args::Global, config::keys, output};

/// Columns of a line of explanation.
const WIDTH: usize = 100;

pub(super) fn run(global: &Global, explain: bool) -> anyhow::Result<i32> {
    let effects = effect::look(global.home.as_deref())?;
    if global.json {
        output::json(&as_json(&effects, explain)?)?;
    } else if explain {
        output::raw(as_file(&effects).as_bytes())?;
    } else {
        show(&effects)?;
    }
    Ok(0)
}

fn words(sources: &[Source]) -> String {
    sources.iter().map(|source| source.as_str()).collect::<Vec<_>>().join(" and ")
}

fn source(effect: &Effect) -> String {
    match effect.line {
        Some(line) => format!("{}, line {line}", words(&effect.sources)),
        None => words(&effect.sources),
    }
}

fn show(effects: &Effects) -> anyhow::Result<()> {
    let missing = if effects.exists { "" } else { " (there is none)" };
    output::line(&format!("file {}{missing}\n", effects.file.display()))?;
    let mut table = output::table(&["key", "value", "unit", "from"]);
    for effect in &effects.keys {
        let value = effect.value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        // What is no number says by itself what it is.
        let unit = match effect.value {
            Some(Value::Integer(_) | Value::Float(_)) => effect.key.unit.split(',').next().unwrap_or_default(),
            _ => "",
        };
        table.add_row([effect.key.path, &value, unit, &source(effect)]);
    }
    output::show(table)?;
    output::line("")?;
    let mut table = output::table(&["not in the file", "value", "set by", "from"]);
    for setting in &effects.outside {
        let value = setting.value.as_deref().unwrap_or("-");
        table.add_row([setting.name, value, &set_by(setting), setting.source.as_str()]);
    }
    output::show(table)?;
    Ok(())
}

fn set_by(setting: &Outside) -> String {
    setting.flag.iter().chain([&setting.variable]).copied().collect::<Vec<_>>().join(", ")
}

fn as_json(effects: &Effects, explain: bool) -> anyhow::Result<serde_json::Value> {
    let key = |effect: &Effect| -> anyhow::Result<serde_json::Value> {
        let mut one = json!({
            "key": effect.key.path,
            "value": effect.value.as_ref().map(serde_json::to_value).transpose()?,
            "source": effect.sources[0],
            "sources": effect.sources,
            "line": effect.line,
        });
        if explain {
            one["means"] = effect.key.means.into();
            one["unit"] = effect.key.unit.into();
            one["default"] = effect.default.as_ref().map(serde_json::to_value).transpose()?.into();
            one["default_is"] = effect.key.default.into();
        }
        Ok(one)
    };
    let outside = |setting: &Outside| {
        json!({
            "name": setting.name, "value": setting.value, "source": setting.source, "flag": setting.flag,
            "variable": setting.variable, "means": explain.then_some(setting.means),
        })
    };
    Ok(json!({
        "success": true,
        "file": effects.file,
        "exists": effects.exists,
        "keys": effects.keys.iter().map(key).collect::<anyhow::Result<Vec<_>>>()?,
        "not_in_file": effects.outside.iter().map(outside).collect::<Vec<_>>(),
    }))
}

/// A file that says what the present one says: what is a default stands in comments, so that it stays one.
fn as_file(effects: &Effects) -> String {
    let mut text = String::new();
    comment(
        &mut text,
        &format!(
            "The configuration of ringfence as it is in effect with {}. Keys that are commented out have their defaults, which are shown; \
             each is optional. A daemon reads the file when it starts.",
            effects.file.display()
        ),
    );
    for section in keys::sections() {
        text.push_str(&format!("\n[{section}]\n"));
        for effect in effects.keys.iter().filter(|effect| effect.key.section() == section) {
            explain(&mut text, effect);
        }
    }
    text.push('\n');
    comment(&mut text, "What is not in this file, but set by a flag or a variable of the environment:");
    for setting in &effects.outside {
        let value = setting.value.as_deref().unwrap_or("not set");
        let set_by = set_by(setting);
        comment(&mut text, &format!("{set_by}: {} Now: {value} ({}).", setting.means, setting.source.as_str()));
    }
    text
}

fn explain(text: &mut String, effect: &Effect) {
    let key = effect.key;
    text.push('\n');
    comment(text, key.means);
    let default = match (key.default, &effect.default) {
        (Some(words), Some(value)) => format!("Default: {words}; {value} here."),
        (Some(words), None) => format!("No default: {words}."),
        (None, Some(value)) => format!("Default: {value}."),
        (None, None) => "No default.".to_owned(),
    };
    comment(text, &format!("Unit: {}. {default}", key.unit));
    if effect.sources.contains(&Source::Environment) {
        let value = effect.value.as_ref().map(ToString::to_string).unwrap_or_default();
        comment(text, &format!("In effect, with what this host's environment adds: {value}."));
    }
    match (&effect.of_file, effect.line) {
        (Some(value), Some(_)) => text.push_str(&format!("{} = {value}\n", key.name())),
        (Some(value), None) => text.push_str(&format!("# {} = {value}\n", key.name())),
        (None, _) => text.push_str(&format!("# {} = {}\n", key.name(), key.example)),
    }
}

/// A comment, folded between words.
fn comment(text: &mut String, sentence: &str) {
    let mut line = "#".to_owned();
    for word in sentence.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.len() > 1 {
            text.push_str(&line);
            text.push('\n');
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Config;

    const SET: &str = "[gate.pins]\n\"db.lan\" = [\"10.0.0.5\", \"::1\"]\n[gate]\npause_on_misuse = true\nextra_roots = [\"/a b\"]\n\
                       cache.index_seconds = 60\n[templates]\nshelf_mib = 100\n[credits]\nminute = 0.125\nbudget = 5\n";

    #[test]
    fn the_explained_file_says_what_the_file_says() {
        for set in ["", SET] {
            let home = tempfile::tempdir().expect("a directory");
            fs::write(home.path().join("config.toml"), set).expect("a file");
            let shown = as_file(&effect::look(Some(home.path())).expect("it is right"));
            let again: Config = toml::from_str(&shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
            assert_eq!(again, toml::from_str(set).expect("right"), "{shown}");
            assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
            for key in keys::KEYS {
                assert!(shown.contains(key.name()), "{}", key.path);
            }
        }
    }

    #[test]
    fn a_default_that_is_shown_is_one_that_may_be_set() {
        let home = tempfile::tempdir().expect("a directory");
        let shown = as_file(&effect::look(Some(home.path())).expect("all by default"));
        let is_key = |line: &str| {
            line.split_once(" = ").is_some_and(|(name, _)| keys::KEYS.iter().any(|key| key.name() == name))
        };
        let uncommented: Vec<&str> =
            shown.lines().map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line)).collect();
        let text = uncommented.join("\n");
        let set: Config = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        // What is nothing by default is shown with an example.
        for key in
            keys::KEYS.iter().filter(|key| !["credits.budget", "gate.agent_hosts", "otlp.endpoint"].contains(&key.path))
        {
            let value = |config: &Config| (key.value)(config, home.path());
            assert_eq!(value(&set), value(&Config::default()), "{}", key.path);
        }
    }
}
