//! What is done when a threshold is passed: pure functions of what is known. Applying it is elsewhere.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Kind, Share};

/// What can be done. Everything but the notice stays in force until its period is over or someone releases it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Action {
    /// Tell people.
    Notify,
    /// Let more questions be answered by the cache, which is the cheapest answer there is.
    TightenCache,
    /// Do the work that can wait less often.
    SlowConsolidation,
    /// Accept nothing that has to be embedded anew.
    RefuseEmbedding,
}

impl Action {
    /// The name in settings, tables and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::TightenCache => "tighten_cache",
            Self::SlowConsolidation => "slow_consolidation",
            Self::RefuseEmbedding => "refuse_embedding",
        }
    }

    /// The action of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Notify, Self::TightenCache, Self::SlowConsolidation, Self::RefuseEmbedding];
        all.into_iter().find(|action| action.name() == name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An action, and from where on it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What is compared.
    pub kind: Kind,
    /// The share of the budget, as a ratio in settings: `0.8`.
    #[serde(with = "ratio")]
    pub at: Share,
    /// What is done.
    pub action: Action,
}

mod ratio {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::alert::Share;

    pub fn serialize<S: Serializer>(share: &Share, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(share.0) / 1e6)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Share, D::Error> {
        let ratio = f64::deserialize(deserializer)?;
        Share::from_ratio(ratio).ok_or_else(|| D::Error::custom("a share is between 0 and 1000; 0.8 is 80 %"))
    }
}

/// What is done at which thresholds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Policy(pub Vec<Rule>);

/// At 80 % of the budget people are told and the cache answers more; at 90 % what can wait goes slower; at 100 % nothing is
/// embedded anew. A forecast is only told.
impl Default for Policy {
    fn default() -> Self {
        let rule = |kind, at, action| Rule { kind, at: Share(at), action };
        Self(vec![
            rule(Kind::Actual, 800_000, Action::Notify),
            rule(Kind::Actual, 800_000, Action::TightenCache),
            rule(Kind::Actual, 900_000, Action::SlowConsolidation),
            rule(Kind::Actual, 1_000_000, Action::RefuseEmbedding),
            rule(Kind::Forecast, 800_000, Action::Notify),
        ])
    }
}

impl Policy {
    /// What an alert asks for, mildest first: everything from its threshold down, because messages name only the highest
    /// threshold that was passed.
    #[must_use]
    pub fn actions(&self, alert: &Alert) -> BTreeSet<Action> {
        let asked = self.0.iter().filter(|rule| rule.kind == alert.kind && rule.at <= alert.threshold);
        asked.map(|rule| rule.action).collect()
    }
}

/// What an alert asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Of which budget.
    pub budget_id: String,
    /// The alert's period.
    pub period: DateTime<Utc>,
    /// What.
    pub action: Action,
    /// Whether someone has released it since.
    pub released: bool,
}

/// What is in force in the newest period of each budget, whatever order things came in: what was asked for in it and not
/// released. A new period begins with nothing in force.
#[must_use]
pub fn in_force(newest: &[(String, DateTime<Utc>)], taken: &[Taken]) -> BTreeSet<Action> {
    let is_current =
        |taken: &&Taken| newest.iter().any(|(id, period)| *id == taken.budget_id && *period == taken.period);
    let held = taken.iter().filter(is_current).filter(|taken| !taken.released && taken.action != Action::Notify);
    held.map(|taken| taken.action).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::money::Micros;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(day * 86_400, 0).unwrap()
    }

    fn alert(kind: Kind, threshold: u32) -> Alert {
        Alert {
            budget_id: "b".into(),
            budget_name: "memory".into(),
            period: at(0),
            kind,
            threshold: Share(threshold),
            cost: Micros(80),
            budget: Micros(100),
            currency: "USD".into(),
        }
    }

    #[test]
    fn the_default_acts_from_80_percent_on() {
        let names = |kind, threshold| {
            let actions = Policy::default().actions(&alert(kind, threshold));
            actions.into_iter().map(Action::name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(Kind::Actual, 799_999), "");
        assert_eq!(names(Kind::Actual, 800_000), "notify tighten_cache");
        assert_eq!(names(Kind::Actual, 900_000), "notify tighten_cache slow_consolidation");
        assert_eq!(names(Kind::Actual, 1_500_000), "notify tighten_cache slow_consolidation refuse_embedding");
        assert_eq!(names(Kind::Forecast, 1_500_000), "notify");
    }

    #[test]
    fn thresholds_are_settings() {
        let policy: Policy =
            serde_json::from_str(r#"[{"kind":"forecast","at":0.5,"action":"refuse_embedding"}]"#).unwrap();
        assert_eq!(policy.actions(&alert(Kind::Forecast, 500_000)), BTreeSet::from([Action::RefuseEmbedding]));
        assert_eq!(policy.actions(&alert(Kind::Forecast, 499_999)), BTreeSet::new());
        serde_json::from_str::<Policy>(r#"[{"kind":"actual","at":-1,"action":"notify"}]"#).unwrap_err();
    }

    #[test]
    fn a_new_period_and_a_release_end_what_is_in_force() {
        let taken = |action, released| Taken { budget_id: "b".into(), period: at(0), action, released };
        let all =
            [taken(Action::Notify, false), taken(Action::TightenCache, false), taken(Action::RefuseEmbedding, true)];
        assert_eq!(in_force(&[("b".into(), at(0))], &all), BTreeSet::from([Action::TightenCache]));
        assert_eq!(in_force(&[("b".into(), at(31))], &all), BTreeSet::new());
        assert_eq!(in_force(&[], &all), BTreeSet::new());
    }

    proptest! {
        #[test]
        fn a_higher_threshold_never_asks_for_less(low in 0_u32..2_000_000, more in 0_u32..2_000_000) {
            let policy = Policy::default();
            let (less, more) = (policy.actions(&alert(Kind::Actual, low)), policy.actions(&alert(Kind::Actual, low + more)));
            prop_assert!(less.is_subset(&more));
        }
    }
}
