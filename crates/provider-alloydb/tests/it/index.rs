//! Vector indexes on a real Postgres: when they are built, that searches and writes go on meanwhile, and what is found.

mod stock;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memory_core::{Clock as _, Error, MemoryStore as _, Scope, SearchRequest};
use memory_testkit::make;
use provider_alloydb::index::{BuildOutcome, Decision, IndexKeeper, IndexKind, Precision, TuneOptions};
use provider_alloydb::{AlloyDbMemoryProvider, MIGRATOR, Storage};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use self::stock::{
    MANY, Stock, built, config, keeper, prefer_index, query, recall, request, search, space, standing, stock,
};
use crate::support::Home;

macro_rules! home {
    () => {
        match Home::new() {
            Some(home) => home,
            None => return,
        }
    };
}

#[tokio::test]
async fn few_rows_have_no_index_and_are_searched_exactly() {
    let home = home!();
    let number = stock(&home, &Stock { rows: 600, ..MANY }, 0).await;
    let mut config = config(&home, 32, IndexKind::Ivfflat);
    config.index.min_rows = 601;
    let keeper = keeper(&config).await;
    let outcome = keeper.build(number, |_| {}).await.unwrap();
    let BuildOutcome::Nothing { reason } = outcome else { panic!("{outcome:?}") };
    assert_eq!(reason, "600 rows: below 601 the exact search is the better one");
    let [status] = keeper.status().await.unwrap().try_into().unwrap();
    assert!(status.rows == 600 && status.index.is_none() && status.space == *space(32), "{status:?}");
    let provider = AlloyDbMemoryProvider::connect(config).await.unwrap();
    let query = query(&mut home.direct().await, 7, 32).await;
    let (found, arm) = search(&provider, &request(&Scope::tenant("acme").unwrap(), &query, 10)).await;
    assert!(found.len() == 10 && arm.exact && arm.index.is_none(), "{arm:?}");
    assert!(matches!(keeper.build(99, |_| {}).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn an_index_is_built_while_memories_are_written_and_searched() {
    let home = home!();
    let number = stock(&home, &Stock { rows: 10_000, ..MANY }, 0).await;
    let config = config(&home, 32, IndexKind::Hnsw);
    let provider = AlloyDbMemoryProvider::connect(config.clone()).await.unwrap();
    let keeper = keeper(&config).await;
    let scope = make::user("acme", "writer");
    let query = query(&mut home.direct().await, 3, 32).await;
    let writes = AtomicUsize::new(0);
    let traffic = async {
        let mut written = Vec::new();
        while keeper.status().await.unwrap()[0].index.is_none() {
            let memory = make::memory(&scope, "beside the build", home.clock.now());
            written.push(memory.id);
            let embedding = make::embedding(&space(32), written.len() as u64);
            provider.insert(make::embedded(memory, embedding)).await.unwrap();
            search(&provider, &request(&Scope::tenant("acme").unwrap(), &query, 10)).await;
            writes.store(written.len(), Ordering::Relaxed);
        }
        written
    };
    let mut seen = Vec::new();
    let build = keeper.build(number, |progress| seen.push((progress, writes.load(Ordering::Relaxed))));
    let (outcome, written) = tokio::join!(build, traffic);
    assert!(matches!(outcome.unwrap(), BuildOutcome::Built { .. }));
    let building: Vec<_> = seen.iter().filter(|(progress, _)| progress.phase.starts_with("building index")).collect();
    let (first, last) = (building.first().unwrap(), building.last().unwrap());
    assert!(first.1 < last.1, "writes waited for the build: {seen:?}");
    assert!(building.iter().any(|(progress, _)| 0 < progress.done && progress.done <= progress.total), "{seen:?}");
    let provider = AlloyDbMemoryProvider::connect(config).await.unwrap();
    for id in &written {
        assert!(provider.get(&scope, *id).await.unwrap().is_some());
    }
    // What was written meanwhile is in the index too.
    let last = make::embedding(&space(32), written.len() as u64);
    let (found, arm) = search(&provider, &request(&Scope::tenant("acme").unwrap(), &last, 1)).await;
    assert!(found[0] > 0.999 && arm.index.is_some(), "{found:?} {arm:?}");
}

#[tokio::test]
async fn a_tuned_index_finds_what_was_promised() {
    let home = home!();
    let number = stock(&home, &MANY, 0).await;
    let whole = Scope::tenant("acme").unwrap();
    for kind in [IndexKind::Ivfflat, IndexKind::Hnsw] {
        let config = config(&home, 32, kind);
        let keeper = keeper(&config).await;
        built(&keeper, number).await;
        let tuning = keeper.tune(number, &TuneOptions::default()).await.unwrap().unwrap();
        assert!(tuning.is_reached && tuning.recall >= 0.95 && tuning.queries == 100, "{kind}: {tuning:?}");
        assert!(tuning.points.is_sorted_by_key(|point| point.effort), "{tuning:?}");
        // It is the least: what was tried below did not do.
        let mut below = tuning.points.iter().filter(|point| point.effort < tuning.effort);
        assert!(below.all(|point| point.recall - point.margin < 0.95), "{tuning:?}");
        let [status] = keeper.status().await.unwrap().try_into().unwrap();
        let index = status.index.unwrap();
        assert_eq!((index.effort, index.kind), (tuning.effort, kind.to_string()));
        assert_eq!(index.measured.map(|measured| (measured.recall, measured.queries)), Some((tuning.recall, 100)));
        assert!(index.size_bytes > 0 && index.rows_at_build == 20_000);

        let provider = AlloyDbMemoryProvider::connect(config.clone()).await.unwrap();
        let exact = AlloyDbMemoryProvider::connect({
            let mut config = config.clone();
            config.exact_up_to = 1_000_000;
            config
        })
        .await
        .unwrap();
        let mut connection = home.direct().await;
        for scope in [whole.clone(), make::user("acme", "u3")] {
            let (mut sum, mut by_index) = (0.0, 0);
            for at in 0..50 {
                let query = query(&mut connection, at * 397, 32).await;
                let request = request(&scope, &query, 10);
                let (found, arm) = search(&provider, &request).await;
                let (true_ones, exact_arm) = search(&exact, &request).await;
                assert!(exact_arm.exact && exact_arm.index.is_none());
                assert_eq!(found.len(), 10);
                if arm.exact {
                    assert_eq!(recall(&true_ones, &found), 1.0, "{arm:?}");
                }
                by_index += u32::from(arm.index.is_some());
                sum += recall(&true_ones, &found);
            }
            println!(
                "{kind} {scope:?}: recall {}, {by_index} of 50 by the index, effort {}",
                sum / 50.0,
                tuning.effort
            );
            // 50 queries are within some 0.02 of the truth.
            assert!(sum / 50.0 >= 0.93, "{kind} {scope:?}: {}", sum / 50.0);
            assert!(scope != whole || by_index == 50, "{kind}: the planner left the index aside {by_index}");
        }
    }
}

#[tokio::test]
async fn several_scopes_are_searched_through_the_index_at_once() {
    let home = home!();
    let number = stock(&home, &MANY, 0).await;
    let config = config(&home, 32, IndexKind::Hnsw);
    let keeper = keeper(&config).await;
    built(&keeper, number).await;
    keeper.tune(number, &TuneOptions::default()).await.unwrap().unwrap();
    prefer_index(&home).await;
    let provider = AlloyDbMemoryProvider::connect(config.clone()).await.unwrap();
    let mut compares_all = config;
    compares_all.exact_up_to = 1_000_000;
    let exact = AlloyDbMemoryProvider::connect(compares_all).await.unwrap();
    let scopes: Vec<Scope> = (1..6).map(|user| make::user("acme", &format!("u{user}"))).collect();
    let mut connection = home.direct().await;
    let (mut sum, mut seen) = (0.0, std::collections::BTreeSet::new());
    for at in 0..40 {
        let query = query(&mut connection, at * 397, 32).await;
        let together = SearchRequest { also: scopes[1..].to_vec(), ..request(&scopes[0], &query, 10) };
        let found = provider.search(&together).await.unwrap();
        assert!(found.arms[0].index.is_some() && found.candidates.len() == 10, "{:?}", found.arms);
        assert!(found.candidates.iter().all(|one| scopes.contains(&one.memory.scope)), "{found:?}");
        seen.extend(found.candidates.iter().map(|one| one.memory.scope.clone()));
        // What is true: each user's nearest, compared one by one.
        let mut truth = Vec::new();
        for scope in &scopes {
            let (nearest, arm) = search(&exact, &request(scope, &query, 10)).await;
            assert!(arm.exact, "{arm:?}");
            truth.extend(nearest);
        }
        truth.sort_by(|a, b| b.total_cmp(a));
        truth.truncate(10);
        let found: Vec<f32> = found.candidates.iter().filter_map(|one| one.similarity).collect();
        sum += recall(&truth, &found);
    }
    assert!(sum / 40.0 >= 0.93, "recall {}", sum / 40.0);
    assert!(seen.len() > 1, "what is nearest is not all of one: {seen:?}");
}

#[tokio::test]
async fn what_an_index_does_not_give_is_found_by_comparing_everything() {
    let home = home!();
    let number = stock(&home, &MANY, 0).await;
    let config = config(&home, 32, IndexKind::Ivfflat);
    built(&keeper(&config).await, number).await;
    // All of a user in one place, and the question at another.
    let mut connection = home.direct().await;
    let moved = "UPDATE orchestra.memories SET user_id = 'far' WHERE ordinal % 40 < 8";
    connection.execute(moved).await.unwrap();
    connection.execute("UPDATE orchestra.index_state SET effort = 1").await.unwrap();
    prefer_index(&home).await;
    let provider = AlloyDbMemoryProvider::connect(config).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let (mut searched, mut repaired) = (0, 0);
    // Nearly all of the user's 4,000: however the lists came out, a quarter of them does not hold so many. Until the size of the
    // scope is measured, beside the searches, it is taken for a small one, and enough is probed.
    while searched < 10 || repaired == 0 {
        assert!(Instant::now() < deadline, "no search fell short");
        let query = query(&mut connection, searched % 40, 32).await;
        searched += 1;
        let (found, arm) = search(&provider, &request(&make::user("acme", "far"), &query, 3_900)).await;
        assert!(found.len() == 3_900 && arm.shortfall == 0, "{arm:?}");
        if arm.index.as_ref().unwrap().repaired {
            repaired += 1;
            assert!(arm.exact && arm.index.unwrap().kind == "ivfflat");
        } else {
            assert!(!arm.exact);
        }
    }
}

#[tokio::test]
async fn more_dimensions_than_an_index_takes_are_indexed_all_the_same() {
    for (dimensions, precision, indexed) in [(2_001, Precision::Halfvec, 2_001), (4_096, Precision::Subvector, 4_000)] {
        let home = home!();
        let number = stock(&home, &Stock { rows: 120, dimensions, ..MANY }, 0).await;
        let mut config = config(&home, dimensions, IndexKind::Hnsw);
        config.exact_up_to = 50;
        config.index.min_rows = 100;
        let keeper = keeper(&config).await;
        built(&keeper, number).await;
        let spec = keeper.status().await.unwrap()[0].index.as_ref().unwrap().spec.clone().unwrap();
        assert_eq!((spec.precision, spec.dimensions), (precision, indexed));
        prefer_index(&home).await;
        let provider = AlloyDbMemoryProvider::connect(config).await.unwrap();
        let query = query(&mut home.direct().await, 11, dimensions).await;
        let (found, arm) = search(&provider, &request(&Scope::tenant("acme").unwrap(), &query, 5)).await;
        // In full precision, although the index is not.
        assert!((found[0] - 0.95).abs() < 1e-5, "{found:?}");
        assert!(!arm.exact && arm.index.is_some(), "{arm:?}");
        let scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname LIKE 'memories_by_vector%'";
        provider.close().await;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let scanned: i64 = sqlx::query_scalar(scans).fetch_one(&mut home.direct().await).await.unwrap();
            if scanned > 0 {
                break;
            }
            assert!(Instant::now() < deadline, "the index was not searched");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn half_precision_is_indexed_as_it_is_stored() {
    let home = home!();
    let number = stock(&home, &Stock { rows: 2_000, column: "embedding_half", ..MANY }, 0).await;
    let mut config = config(&home, 32, IndexKind::Ivfflat);
    config.storage = Storage::Halfvec;
    let keeper = keeper(&config).await;
    built(&keeper, number).await;
    assert_eq!(
        keeper.status().await.unwrap()[0].index.as_ref().unwrap().spec.as_ref().unwrap().precision,
        Precision::Halfvec
    );
    let provider = AlloyDbMemoryProvider::connect(config).await.unwrap();
    let query = query(&mut home.direct().await, 11, 32).await;
    let (found, arm) = search(&provider, &request(&Scope::tenant("acme").unwrap(), &query, 5)).await;
    assert!((found[0] - 0.95).abs() < 1e-3 && arm.index.is_some(), "{found:?} {arm:?}");
}

#[tokio::test]
async fn an_index_is_built_anew_after_growth_and_when_told_otherwise() {
    let home = home!();
    let few = Stock { rows: 300, ..MANY };
    let number = stock(&home, &few, 0).await;
    let mut config = config(&home, 32, IndexKind::Ivfflat);
    let keeper_of_lists = keeper(&config).await;
    // What a build left that was cut off.
    let left = "CREATE INDEX memories_by_vector_1_a ON orchestra.memories (length)";
    home.direct().await.execute(left).await.unwrap();
    assert_eq!(built(&keeper_of_lists, number).await, "memories_by_vector_1_a");
    assert!(matches!(keeper_of_lists.build(number, |_| {}).await.unwrap(), BuildOutcome::Nothing { .. }));
    stock(&home, &Stock { rows: 900, ..few }, 300).await;
    let [status] = keeper_of_lists.status().await.unwrap().try_into().unwrap();
    assert!(matches!(status.decision, Decision::Rebuild { .. }), "{status:?}");
    assert_eq!(built(&keeper_of_lists, number).await, "memories_by_vector_1_b");
    assert_eq!(standing(&home).await, ["memories_by_vector_1_b"]);
    config.index.kind = IndexKind::Hnsw;
    let keeper_of_graphs = keeper(&config).await;
    assert_eq!(built(&keeper_of_graphs, number).await, "memories_by_vector_1_a");
    assert_eq!(standing(&home).await, ["memories_by_vector_1_a"]);
    assert_eq!(keeper_of_graphs.status().await.unwrap()[0].index.as_ref().unwrap().kind, "hnsw");
    config.index.kind = IndexKind::Exact;
    let dropper = keeper(&config).await;
    assert!(matches!(dropper.build(number, |_| {}).await.unwrap(), BuildOutcome::Dropped { .. }));
    assert!(standing(&home).await.is_empty());
    assert!(matches!(dropper.build(number, |_| {}).await.unwrap(), BuildOutcome::Nothing { .. }));
    config.index.kind = IndexKind::Scann;
    let error = keeper(&config).await.build(number, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("alloydb_scann") && error.contains("scann_fallback"), "{error}");
}

#[tokio::test]
async fn one_builder_is_at_work() {
    let home = home!();
    let number = stock(&home, &Stock { rows: 300, ..MANY }, 0).await;
    let config = config(&home, 32, IndexKind::Ivfflat);
    let keeper = keeper(&config).await;
    let mut other = home.direct().await;
    other.execute("SELECT pg_advisory_lock(hashtextextended('orchestra:index', 0))").await.unwrap();
    assert_eq!(keeper.build(number, |_| {}).await.unwrap(), BuildOutcome::Busy);
    assert!(standing(&home).await.is_empty());
    other.close().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    // The server takes a moment to notice that the session has ended.
    while keeper.build(number, |_| {}).await.unwrap() == BuildOutcome::Busy {
        assert!(Instant::now() < deadline, "the lock outlived its session");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(standing(&home).await, ["memories_by_vector_1_a"]);
}

#[tokio::test]
async fn live_searches_are_measured_and_recorded() {
    let home = home!();
    let number = stock(&home, &Stock { rows: 2_000, ..MANY }, 0).await;
    let mut config = config(&home, 32, IndexKind::Hnsw);
    config.index.measure_every = 1;
    let keeper = keeper(&config).await;
    built(&keeper, number).await;
    prefer_index(&home).await;
    let provider = AlloyDbMemoryProvider::connect(config).await.unwrap();
    let query = query(&mut home.direct().await, 5, 32).await;
    // A scope that is not indexed is not measured, and so not known.
    assert_eq!(provider.live_recall(&space(32)), None);
    let (_, arm) = search(&provider, &request(&Scope::tenant("acme").unwrap(), &query, 10)).await;
    assert!(arm.index.is_some(), "{arm:?}");
    let deadline = Instant::now() + Duration::from_secs(10);
    let recall = loop {
        if let Some(recall) = provider.live_recall(&space(32)) {
            break recall;
        }
        assert!(Instant::now() < deadline, "nothing was measured");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!((0.9..=1.0).contains(&recall), "{recall}");
    let queries = provider.recorded_queries(&space(32));
    assert_eq!(queries.len(), 1);
    let tuning =
        keeper.tune(number, &TuneOptions { sample: 1, queries, ..TuneOptions::default() }).await.unwrap().unwrap();
    assert_eq!(tuning.queries, 1);
}

#[tokio::test]
async fn the_owner_looks_after_indexes_and_sees_no_memories() {
    let home = home!();
    let mut administrator = home.direct().await;
    let (owner, number) = (format!("owner_of_{}", home.name), 1_i16);
    let steps = format!(
        "DROP SCHEMA orchestra CASCADE; CREATE ROLE {owner} NOLOGIN; \
         GRANT CREATE ON DATABASE {0} TO {owner}; GRANT CREATE, USAGE ON SCHEMA public TO {owner}; SET ROLE {owner}",
        home.name
    );
    administrator.execute(AssertSqlSafe(steps)).await.unwrap();
    MIGRATOR.run_direct(None, &mut administrator, false).await.unwrap();
    stock(&home, &Stock { rows: 300, ..MANY }, 0).await;
    let seen: i64 =
        sqlx::query_scalar("SELECT count(*) FROM orchestra.memories").fetch_one(&mut administrator).await.unwrap();
    assert_eq!(seen, 0);
    let mut config = config(&home, 32, IndexKind::Ivfflat);
    config.exact_up_to = 100;
    let refused = IndexKeeper::connect(config.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("does not own"), "{refused}");
    config.role = Some(owner.clone());
    let refused = IndexKeeper::connect(config.clone()).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("GRANT orchestra_maintenance TO {owner}")), "{refused}");
    let grant = format!("GRANT orchestra_maintenance TO {owner} WITH INHERIT FALSE, SET TRUE");
    home.direct().await.execute(AssertSqlSafe(grant)).await.unwrap();
    let keeper = IndexKeeper::connect(config).await.unwrap();
    built(&keeper, number).await;
    assert_eq!(keeper.status().await.unwrap()[0].rows, 300);
    assert!(keeper.tune(number, &TuneOptions { sample: 10, ..TuneOptions::default() }).await.unwrap().is_some());
    keeper.close().await;
    administrator.execute("SET ROLE orchestra_maintenance").await.unwrap();
    let text = administrator.execute("SELECT text FROM orchestra.memories").await.unwrap_err().to_string();
    assert!(text.contains("permission denied"), "{text}");
    administrator.execute("RESET ROLE; SET SESSION AUTHORIZATION orchestra_app").await.unwrap();
    let role = administrator.execute("SET ROLE orchestra_maintenance").await.unwrap_err().to_string();
    assert!(role.contains("permission denied"), "{role}");
    // Roles are the server's: this one goes with what it owns.
    let gone = format!("RESET SESSION AUTHORIZATION; DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}");
    administrator.execute(AssertSqlSafe(gone)).await.unwrap();
}

#[tokio::test]
async fn a_build_that_is_cut_off_gives_way_to_the_next() {
    let home = home!();
    let number = stock(&home, &Stock { rows: 10_000, ..MANY }, 0).await;
    let keeper = keeper(&config(&home, 32, IndexKind::Hnsw)).await;
    let begun = tokio::sync::Notify::new();
    tokio::select! {
        outcome = keeper.build(number, |_| begun.notify_one()) => panic!("done before it could be cut off: {outcome:?}"),
        () = begun.notified() => {}
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match keeper.build(number, |_| {}).await.unwrap() {
            BuildOutcome::Busy => tokio::time::sleep(Duration::from_millis(20)).await,
            outcome => break assert!(matches!(outcome, BuildOutcome::Built { .. }), "{outcome:?}"),
        }
        assert!(Instant::now() < deadline, "nobody waits for the first build, and it goes on");
    }
    assert_eq!(standing(&home).await, ["memories_by_vector_1_a"]);
}
