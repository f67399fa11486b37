//! What is known of a sweep beside its request and its parts, as the row of its job holds it.

use std::collections::BTreeMap;

use ringfence_model::api::SweepDataView;
use serde::{Deserialize, Serialize};

use super::{finish::Finished, versions::Versions};

/// Characters of a digest that a warning shows.
const DIGEST_SHOWN: usize = 12;

/// What is known of a sweep beside its request and its parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The file with its bars.
    pub(crate) bars: String,
    /// The bars, as clients are told.
    pub(crate) data: SweepDataView,
    /// Hash of the code of each strategy.
    pub(crate) strategies: BTreeMap<String, String>,
    /// How many runs there will be.
    pub(crate) total: u64,
    /// What computes it.
    pub(crate) versions: Versions,
    /// What to know about the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    /// What was found, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<Finished>,
}

impl State {
    /// Notes that these versions go on with it. Whether that is worth writing down. What they do not speak of (the template, while it is
    /// not built) stays as it was.
    pub(crate) fn goes_on_under(&mut self, versions: &Versions, is_begun: bool) -> bool {
        let new = |(name, version): &(&String, &String)| self.versions.get(*name) != Some(version);
        let changed: Vec<(&String, &String)> = versions.iter().filter(new).collect();
        if changed.is_empty() {
            return false;
        }
        if is_begun {
            let one = |(name, version): &(&String, &String)| {
                let before = self.versions.get(*name).map_or("an unknown one", |before| short(before));
                format!("{name} {before} and of {}", short(version))
            };
            self.warnings.push(format!(
                "runs of {} stand side by side: what computes results may have changed between them; start the sweep again to have all \
                 of one version",
                changed.iter().map(one).collect::<Vec<_>>().join(", of ")
            ));
        }
        self.versions.extend(versions.clone());
        true
    }
}

/// A version; of a digest, as much as tells it from others.
fn short(version: &str) -> &str {
    if version.len() < 64 { version } else { version.get(..DIGEST_SHOWN).unwrap_or(version) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_two_versions_do_not_stand_side_by_side_unsaid() {
        let of = |version: &str| BTreeMap::from([("ringfence".to_owned(), version.to_owned())]);
        let mut state = State { versions: of("0.1.0"), ..State::default() };
        assert!(!state.goes_on_under(&of("0.1.0"), true) && state.warnings.is_empty());
        // Nothing was run yet: all of it will be of the new one.
        assert!(state.goes_on_under(&of("0.2.0"), false) && state.warnings.is_empty());
        assert!(state.goes_on_under(&of("0.1.0"), true) && state.versions == of("0.1.0"));
        assert!(state.warnings[0].contains("ringfence 0.2.0 and of 0.1.0"), "{:?}", state.warnings);
    }

    #[test]
    fn another_build_or_template_of_one_version_is_said() {
        let of = |build: &str, template: Option<&str>| {
            let mut versions: Versions =
                [("ringfence", "0.1.0"), ("build", build)].map(|(name, of)| (name.to_owned(), of.to_owned())).into();
            versions.extend(template.map(|template| ("template".to_owned(), template.to_owned())));
            versions
        };
        let [one, two] = ["a", "b"].map(|digit| digit.repeat(64));
        // The template is known once it is built, before the first run.
        let mut state = State { versions: of(&one, None), ..State::default() };
        assert!(state.goes_on_under(&of(&one, Some(&one)), false) && state.warnings.is_empty());
        assert!(!state.goes_on_under(&of(&one, Some(&one)), true));
        // Who does not know of it says nothing about it.
        assert!(!state.goes_on_under(&of(&one, None), true) && state.versions == of(&one, Some(&one)));
        assert!(state.goes_on_under(&of(&two, Some(&one)), true));
        assert!(
            state.warnings[0].starts_with("runs of build aaaaaaaaaaaa and of bbbbbbbbbbbb stand"),
            "{:?}",
            state.warnings
        );
        assert!(state.goes_on_under(&of(&two, Some(&two)), true) && state.versions == of(&two, Some(&two)));
        assert!(
            state.warnings[1].starts_with("runs of template aaaaaaaaaaaa and of bbbbbbbbbbbb stand"),
            "{:?}",
            state.warnings
        );
        assert!(state.goes_on_under(&of(&one, Some(&one)), true));
        assert!(
            state.warnings[2].contains("build bbbbbbbbbbbb and of aaaaaaaaaaaa, of template bbb"),
            "{:?}",
            state.warnings
        );
        // A row of a version that knew no builds.
        let mut old = State { versions: [("ringfence".to_owned(), "0.1.0".to_owned())].into(), ..State::default() };
        assert!(old.goes_on_under(&of(&one, None), true));
        assert!(old.warnings[0].starts_with("runs of build an unknown one and of aaaaaaaaaaaa"), "{:?}", old.warnings);
    }
}
