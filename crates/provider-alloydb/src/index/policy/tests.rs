use super::*;

fn space(rows: u64, dimensions: u32) -> Situation {
    Situation { rows, dimensions, storage: Storage::Vector, scann: Extension::Missing, standing: None }
}

fn policy(kind: IndexKind) -> IndexPolicy {
    IndexPolicy { kind, ..IndexPolicy::default() }
}

/// The space once what is wanted was built.
fn built(mut situation: Situation, policy: &IndexPolicy) -> Situation {
    let Decision::Build { spec, .. } = wanted(&situation, policy) else { panic!("nothing to build") };
    situation.standing = Some(Standing { spec: Some(spec), rows_at_build: situation.rows });
    situation
}

fn told(decision: &Decision) -> String {
    match decision {
        Decision::Nothing { reason } => format!("nothing: {reason}"),
        Decision::Build { spec, reason } => format!("build {spec}: {reason}"),
        Decision::Rebuild { spec, reason } => format!("rebuild {spec}: {reason}"),
        Decision::Drop { reason } => format!("drop: {reason}"),
        Decision::Impossible { reason } => format!("impossible: {reason}"),
    }
}

#[test]
fn rows_and_dimensions_decide() {
    let [lists, graph] = [IndexKind::Ivfflat, IndexKind::Hnsw].map(policy);
    let decisions = [
        wanted(&space(9_999, 384), &lists),
        wanted(&space(10_000, 384), &lists),
        wanted(&space(100_000, 384), &lists),
        wanted(&space(1_000_000, 1_536), &lists),
        wanted(&space(50_000_000, 1_536), &lists),
        wanted(&space(4_000_000, 1_536), &IndexPolicy { lists: 4_000, ..lists.clone() }),
        wanted(&space(100_000, 2_000), &graph),
        wanted(&space(100_000, 2_001), &graph),
        wanted(&space(100_000, 4_096), &graph),
        wanted(&Situation { storage: Storage::Halfvec, ..space(100_000, 384) }, &graph),
        wanted(&space(100_000, 384), &policy(IndexKind::Exact)),
    ];
    insta::assert_snapshot!(decisions.iter().map(told).collect::<Vec<_>>().join("\n"));
}

#[test]
fn scann_is_built_where_it_is_or_says_what_to_do() {
    let mut scann = IndexPolicy { min_rows: 10, ..policy(IndexKind::Scann) };
    let at = |extension, rows| Situation { scann: extension, ..space(rows, 384) };
    let mut decisions = vec![
        wanted(&at(Extension::Missing, 1_000_000), &scann),
        wanted(&at(Extension::Available, 1_000_000), &scann),
        wanted(&at(Extension::Installed, 1_000_000), &scann),
        wanted(&at(Extension::Installed, 9_999), &scann),
        wanted(&Situation { dimensions: 3_072, ..at(Extension::Installed, 1_000_000) }, &scann),
    ];
    scann.scann_fallback = Some(IndexKind::Hnsw);
    decisions.push(wanted(&at(Extension::Missing, 1_000_000), &scann));
    insta::assert_snapshot!(decisions.iter().map(told).collect::<Vec<_>>().join("\n"));
}

#[test]
fn lists_are_made_anew_after_growth_and_a_graph_is_not() {
    for (kind, is_rebuilt) in [(IndexKind::Ivfflat, true), (IndexKind::Hnsw, false)] {
        let policy = policy(kind);
        let mut situation = built(space(20_000, 384), &policy);
        situation.rows = 79_999;
        assert!(matches!(wanted(&situation, &policy), Decision::Nothing { .. }), "{kind}");
        situation.rows = 80_000;
        assert_eq!(matches!(wanted(&situation, &policy), Decision::Rebuild { .. }), is_rebuilt, "{kind}");
        // An index stays when rows go.
        situation.rows = 0;
        assert!(matches!(wanted(&situation, &policy), Decision::Nothing { .. }), "{kind}");
    }
}

#[test]
fn configuration_changes_what_stands() {
    let lists = policy(IndexKind::Ivfflat);
    let situation = built(space(500_000, 384), &lists);
    let now = |policy: &IndexPolicy| told(&wanted(&situation, policy));
    let decisions = [
        now(&IndexPolicy { lists: 100, ..lists.clone() }),
        // A ceiling that is not reached, and what another kind takes, change nothing.
        now(&IndexPolicy { lists: 2_000, m: 32, min_rows: 1_000_000, ..lists.clone() }),
        now(&policy(IndexKind::Hnsw)),
        now(&policy(IndexKind::Exact)),
        told(&wanted(&Situation { storage: Storage::Halfvec, ..situation.clone() }, &lists)),
        told(&wanted(
            &Situation { standing: Some(Standing { spec: None, rows_at_build: 0 }), ..situation.clone() },
            &lists,
        )),
    ];
    insta::assert_snapshot!(decisions.join("\n"));
}

#[test]
fn settings_are_refused_by_name() {
    let check = |change: fn(&mut IndexPolicy)| {
        let mut policy = IndexPolicy::default();
        change(&mut policy);
        policy.validate().map_err(|error| error.to_string())
    };
    assert_eq!(check(|_| {}), Ok(()));
    insta::assert_snapshot!(
        [
            check(|policy| policy.lists = 0),
            check(|policy| policy.m = 101),
            check(|policy| policy.m = 40),
            check(|policy| policy.build_memory_mib = 63),
            check(|policy| policy.build_workers = 9),
            check(|policy| policy.scann_fallback = Some(IndexKind::Scann)),
        ]
        .map(Result::unwrap_err)
        .join("\n")
    );
}

#[test]
fn kinds_are_read_as_they_are_written() {
    for kind in [IndexKind::Exact, IndexKind::Ivfflat, IndexKind::Hnsw, IndexKind::Scann] {
        assert_eq!(kind.to_string().parse::<IndexKind>().unwrap(), kind);
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
    assert!("HNSW ".parse::<IndexKind>().is_err());
}
