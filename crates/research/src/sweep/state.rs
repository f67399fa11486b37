//! What is known of a sweep beside its request and its parts, as the row of its job holds it.

use std::collections::BTreeMap;

use ringfence_model::api::SweepDataView;
use serde::{Deserialize, Serialize};

use super::finish::Finished;

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
    pub(crate) versions: BTreeMap<String, String>,
    /// What to know about the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
    /// What was found, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<Finished>,
}

impl State {
    /// Notes that these versions go on with it. Whether that is worth writing down.
    pub(crate) fn goes_on_under(&mut self, versions: &BTreeMap<String, String>, is_begun: bool) -> bool {
        if self.versions == *versions {
            return false;
        }
        if is_begun {
            let of = |versions: &BTreeMap<String, String>| versions.get("ringfence").cloned().unwrap_or_default();
            self.warnings.push(format!(
                "runs of ringfence {} and of {} stand side by side: what computes results may have changed between them; start the sweep \
                 again to have all of one version",
                of(&self.versions),
                of(versions)
            ));
        }
        self.versions.clone_from(versions);
        true
    }
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
}
