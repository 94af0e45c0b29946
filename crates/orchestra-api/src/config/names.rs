//! Settings by their names, and what was meant by a name that is none.

use super::list::SETTINGS;
use super::setting::Setting;

/// The setting of this key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// How alike two names are, from 0 to 1, for one to be suggested in place of the other.
const ALIKE: f64 = 0.6;

/// The one of these names that is most like `name`, if one is like it.
pub fn nearest<N: AsRef<str>>(name: &str, known: impl Iterator<Item = N>) -> Option<N> {
    let known = known.map(|known| (strsim::normalized_damerau_levenshtein(known.as_ref(), name), known));
    let nearest = known.max_by(|one, other| one.0.total_cmp(&other.0));
    nearest.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, known)| known)
}

/// What to say of a variable that has the name of a section, and is no setting in it.
pub fn unknown_variable(name: &str) -> Option<String> {
    let sections = [
        "ORCHESTRA_RECALL_",
        "ORCHESTRA_MOVE_",
        "ORCHESTRA_REDIS_",
        "ORCHESTRA_ALLOYDB_",
        "ORCHESTRA_TELEMETRY_",
        "ORCHESTRA_USAGE_",
    ];
    let variables = || SETTINGS.iter().map(Setting::variable);
    if !sections.iter().any(|section| name.starts_with(section)) || variables().any(|known| known == name) {
        return None;
    }
    let nearest = nearest(name, variables()).map(|known| format!("; the nearest is {known}")).unwrap_or_default();
    Some(format!("the variable {name} is no setting{nearest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_misspelt_is_told() {
        let told = unknown_variable("ORCHESTRA_REDIS_SHARD").unwrap();
        assert_eq!(told, "the variable ORCHESTRA_REDIS_SHARD is no setting; the nearest is ORCHESTRA_REDIS_SHARDS");
        for known in ["ORCHESTRA_REDIS_SHARDS", "ORCHESTRA_LOG", "PATH"] {
            assert_eq!(unknown_variable(known), None);
        }
    }
}
