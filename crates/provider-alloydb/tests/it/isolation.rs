//! Nobody reads or changes what is another's: not through the provider, and not with SQL of one's own as its role.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memory_core::{
    Error, Filter, ForgetRequest, ListRequest, Memory, MemoryId, MemoryPatch, MemoryStore, Metadata, Rejection,
    Rejections as _, Scope, SearchRequest, Selection, ValueKeys, Writer,
};
use memory_testkit::make;
use provider_alloydb::AlloyDbMemoryProvider;
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::support::{Home, everything, forget, is_full_campaign, key};

/// What is nobody's: which store it is, how vectors are searched, who follows, who may write, and for whom changes are noted.
const WITHOUT_TENANT: [&str; 6] = ["followers", "gate", "index_state", "spaces", "store", "streams"];
/// What is noted for whoever moves the memory, and read by nobody else: see the tests of moves.
const OF_MOVES: &str = "item_changes";
const NOT_ALLOWED: &str = "42501";

/// Something of a tenant in every table: turns of a session with vectors, a key, a former version, what was forgotten, and
/// what was rejected.
async fn fill(store: &AlloyDbMemoryProvider, home: &Home, tenant: &str) -> Vec<MemoryId> {
    let scope = make::session(tenant, "ann", "monday");
    let now = memory_core::Clock::now(&home.clock);
    let turns: Vec<Memory> = (0..4).map(|at| make::memory(&scope, &format!("secret {at} of {tenant}"), now)).collect();
    let mut batch = make::batch(turns.clone());
    batch.memories[0].embedding = Some(make::embedding(&make::space("testkit"), 1));
    batch.idempotency = key("the same key");
    store.insert(batch).await.expect("an answer");
    let patch = MemoryPatch { importance: Some(0.9), ..MemoryPatch::default() };
    store.update(&scope, turns[1].id, patch).await.expect("an answer");
    store.forget(&forget(&scope, Selection::Ids(vec![turns[3].id]))).await.expect("an answer");
    let rejection = Rejection {
        scope: scope.without_session(),
        keys: ValueKeys::of(&scope, "a rejected secret"),
        rejected_at: now,
        rejected_by: "test".into(),
    };
    assert_eq!(store.reject(&[rejection]).await.expect("an answer"), 1);
    turns.iter().map(|turn| turn.id).collect()
}

/// The error's code, of a statement that must fail.
async fn refused(connection: &mut PgConnection, statement: &str) -> String {
    let mut transaction = connection.begin().await.expect("an answer");
    let error = transaction.execute(AssertSqlSafe(statement)).await.expect_err(statement);
    error.as_database_error().and_then(|error| error.code()).expect("a code").into_owned()
}

/// How many rows a statement changed; none where it is not allowed at all.
async fn changed(connection: &mut PgConnection, tenant: Option<&str>, statement: &str) -> u64 {
    let mut transaction = connection.begin().await.expect("an answer");
    if let Some(tenant) = tenant {
        name_tenant(&mut transaction, tenant).await;
    }
    match transaction.execute(AssertSqlSafe(statement)).await {
        Ok(done) => done.rows_affected(),
        Err(error) => {
            let code = error.as_database_error().and_then(|error| error.code()).expect("a code").into_owned();
            assert_eq!(code, NOT_ALLOWED, "{statement}: {error}");
            0
        }
    }
}

async fn name_tenant(connection: &mut PgConnection, tenant: &str) {
    sqlx::query("SELECT set_config('orchestra.tenant', $1, true)")
        .bind(tenant)
        .execute(connection)
        .await
        .expect("an answer");
}

/// How many rows of a table are seen, by tenant.
async fn seen(connection: &mut PgConnection, tenant: Option<&str>, table: &str) -> BTreeMap<String, i64> {
    let mut transaction = connection.begin().await.expect("an answer");
    if let Some(tenant) = tenant {
        name_tenant(&mut transaction, tenant).await;
    }
    let statement = format!("SELECT tenant, count(*) FROM orchestra.{table} GROUP BY tenant");
    sqlx::query_as(AssertSqlSafe(statement))
        .fetch_all(&mut *transaction)
        .await
        .expect("an answer")
        .into_iter()
        .collect()
}

/// The tables that hold what is a tenant's. Fails for one that is not held by row-level security; that of migrations is
/// the owner's alone.
async fn tables_of_tenants(direct: &mut PgConnection) -> Vec<String> {
    let tables: Vec<(String, bool, bool, bool)> = sqlx::query_as(
        "SELECT c.relname::text, c.relrowsecurity, c.relforcerowsecurity, EXISTS (SELECT FROM pg_attribute a \
         WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped) \
         FROM pg_class c WHERE c.relnamespace = 'orchestra'::regnamespace AND c.relkind IN ('r', 'p') \
         AND c.relname <> 'migrations' ORDER BY 1",
    )
    .fetch_all(direct)
    .await
    .expect("an answer");
    for (table, is_enabled, is_forced, has_tenant) in &tables {
        assert!(is_enabled & is_forced, "{table} is not held by row-level security");
        assert_ne!(*has_tenant, WITHOUT_TENANT.contains(&&**table), "{table}: does it hold what is a tenant's?");
    }
    tables.into_iter().filter(|table| table.3 && table.0 != OF_MOVES).map(|table| table.0).collect()
}

#[tokio::test]
async fn sql_without_a_tenant_sees_nothing_and_with_one_nothing_of_another() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    fill(&store, &home, "acme").await;
    fill(&store, &home, "globex").await;
    let mut direct = home.direct().await;
    let mut app = home.as_app().await;
    let tables = tables_of_tenants(&mut direct).await;
    assert!(tables.len() >= 8, "{tables:?}");
    for (tenant, sees) in [(None, None), (Some("made up"), None), (Some("acme"), Some(4)), (Some("globex"), Some(4))] {
        let expected = tenant.zip(sees).map(|(tenant, sees)| (tenant.to_owned(), sees)).into_iter().collect();
        assert_eq!(seen(&mut app, tenant, "every_version").await, expected, "a view is held as its tables are");
    }
    for table in &tables {
        let all = seen(&mut direct, None, table).await;
        assert!(all.contains_key("acme") && all.contains_key("globex"), "{table} has something of both: {all:?}");
        assert_eq!(seen(&mut app, None, table).await, BTreeMap::new(), "{table}");
        assert_eq!(seen(&mut app, Some("made up"), table).await, BTreeMap::new(), "{table}");
        let own = BTreeMap::from([("acme".to_owned(), all["acme"])]);
        assert_eq!(seen(&mut app, Some("acme"), table).await, own, "{table}");
        let theirs = format!("SELECT to_jsonb(t) FROM orchestra.{table} t WHERE t.tenant = 'globex' LIMIT 1");
        let Json(row): Json<Value> = sqlx::query_scalar(AssertSqlSafe(theirs)).fetch_one(&mut direct).await.unwrap();
        for tenant in [None, Some("made up"), Some("acme")] {
            let update = format!("UPDATE orchestra.{table} SET tenant = tenant WHERE tenant = 'globex'");
            let delete = format!("DELETE FROM orchestra.{table} WHERE tenant = 'globex'");
            let away = format!("UPDATE orchestra.{table} SET tenant = 'globex'");
            for statement in [update, delete, away] {
                assert_eq!(changed(&mut app, tenant, &statement).await, 0, "as {tenant:?}: {statement}");
            }
            // As somebody else's, as nobody's, and as that of an empty name.
            for named in [json!("globex"), Value::Null, json!("")] {
                let mut row = row.clone();
                row["tenant"] = named;
                let row = row.to_string().replace('\'', "''");
                let insert = format!(
                    "INSERT INTO orchestra.{table} OVERRIDING SYSTEM VALUE \
                     SELECT * FROM jsonb_populate_record(NULL::orchestra.{table}, '{row}')"
                );
                assert_eq!(changed(&mut app, tenant, &insert).await, 0, "as {tenant:?}: {insert}");
            }
        }
        for statement in [
            format!("TRUNCATE orchestra.{table}"),
            format!("ALTER TABLE orchestra.{table} DISABLE ROW LEVEL SECURITY"),
            format!("DROP POLICY own_tenant ON orchestra.{table}"),
            format!("CREATE POLICY mine ON orchestra.{table} USING (true)"),
            format!("SET LOCAL row_security = off; SELECT * FROM orchestra.{table}"),
        ] {
            assert_eq!(refused(&mut app, &statement).await, NOT_ALLOWED, "{statement}");
        }
        assert_eq!(seen(&mut direct, None, table).await, all, "{table} is as it was");
    }
}

#[tokio::test]
async fn the_tenant_of_a_call_is_gone_with_its_transaction() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let id = fill(&store, &home, "acme").await[0].as_uuid();
    let mut app = home.as_app().await;
    let calls = [
        "SELECT count(*) FROM orchestra.get_memory('acme', NULL, NULL, NULL, now(), $1)",
        "SELECT count(*) FROM orchestra.get_memory_versions('acme', NULL, NULL, NULL, now(), $1)",
        "SELECT count(*) FROM orchestra.list_memories('acme', NULL, NULL, NULL, now(), 'm.id = $10', NULL, NULL, false, \
         10, false) WHERE id = $1",
        "SELECT count(*) FROM orchestra.search_former_memories('acme', '{NULL}', '{NULL}', '{NULL}', now(), NULL, NULL, 1::smallint, \
         '{secret}', NULL, NULL, 10, true, 'infinity') WHERE id = $1",
        "SELECT count(*) FROM orchestra.count_memories('acme', NULL, NULL, NULL, now()) WHERE memories > 0 OR $1 IS NULL",
        "SELECT count(*) FROM orchestra.forget_memories('acme', NULL, NULL, NULL, now(), ARRAY[$1], NULL, NULL, 10, true, \
         NULL) WHERE forgotten <> '{}'",
    ];
    for call in calls {
        let call = call.replace("'m.id = $10'", "NULL");
        let found: i64 = sqlx::query_scalar(AssertSqlSafe(call.as_str())).bind(id).fetch_one(&mut app).await.unwrap();
        assert_eq!(found, 1, "{call}");
        let left: (Option<String>, i64) = sqlx::query_as(
            "SELECT current_setting('orchestra.tenant', true), (SELECT count(*) FROM orchestra.memories)",
        )
        .fetch_one(&mut app)
        .await
        .unwrap();
        assert_eq!((left.0.unwrap_or_default(), left.1), (String::new(), 0), "after {call}");
    }
}

#[tokio::test]
async fn no_function_and_no_statistics_lead_around_the_policies() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    fill(&store, &home, "acme").await;
    fill(&store, &home, "globex").await;
    let mut direct = home.direct().await;
    let ways: Vec<String> = sqlx::query_scalar(
        "SELECT p.oid::regprocedure::text FROM pg_proc p \
         WHERE p.pronamespace = 'orchestra'::regnamespace AND (p.prosecdef OR p.proleakproof) \
         UNION ALL SELECT c.oid::regclass::text FROM pg_class c \
         WHERE c.relnamespace = 'orchestra'::regnamespace AND c.relkind IN ('v', 'm') \
         AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false) ORDER BY 1",
    )
    .fetch_all(&mut direct)
    .await
    .unwrap();
    // What runs with the rights of its owner is not held by the policies of tenants: three name the tenant themselves, and the
    // others have the rights of roles that the tests of expiry and of following look at; one makes and drops triggers.
    assert_eq!(
        ways,
        [
            "orchestra.acknowledge_changes(text,text,bigint)",
            "orchestra.arrange_move_triggers(boolean)",
            "orchestra.follower_lag(text)",
            "orchestra.list_without_vector(timestamp with time zone,bigint,integer)",
            "orchestra.read_changes(text,integer)",
            "orchestra.remove_empty_sessions(integer)",
            "orchestra.remove_expired(timestamp with time zone,timestamp with time zone,integer)",
            "orchestra.remove_follower(text)",
            "orchestra.remove_passed_changes(integer)",
            "orchestra.rows_with_derived(bigint[])",
            "orchestra.rows_with_metadata(jsonb[],text[],text[],text[],integer)",
            "orchestra.rows_with_words(tsquery,text[],text[],text[],integer)",
        ]
    );
    // Something of each that was derived from the first of acme.
    direct
        .execute("UPDATE orchestra.memories SET evidence = ARRAY(SELECT id FROM orchestra.memories ORDER BY ordinal LIMIT 1)")
        .await
        .unwrap();
    direct.execute("UPDATE orchestra.memories SET metadata = '{\"shared\": 1}'").await.unwrap();
    direct.execute("ANALYZE").await.unwrap();
    let all: Vec<i64> =
        sqlx::query_scalar("SELECT ordinal FROM orchestra.memories").fetch_all(&mut direct).await.unwrap();

    let mut app = home.as_app().await;
    let words = every_word(&mut direct).await;
    for (tenant, memories) in [("acme", 3), ("globex", 3), ("", 0), ("initech", 0)] {
        let own = "SELECT ordinal FROM orchestra.memories WHERE tenant = $1 ORDER BY 1";
        let own: Vec<i64> = sqlx::query_scalar(own).bind(tenant).fetch_all(&mut direct).await.unwrap();
        assert_eq!(own.len(), memories);
        for call in [
            "orchestra.rows_with_words((SELECT string_agg(quote_literal(l), ' | ')::tsquery FROM unnest($1) l), ARRAY[NULL], \
             ARRAY[NULL], ARRAY[NULL], 1000)",
            "orchestra.rows_with_metadata(CASE WHEN $1 <> '{}' THEN ARRAY['{\"shared\": 1}'::jsonb, '{}'] END, ARRAY[NULL], ARRAY[NULL], \
             ARRAY[NULL], 1000)",
            "orchestra.rows_with_derived($2)",
        ] {
            let mut transaction = app.begin().await.unwrap();
            name_tenant(&mut transaction, tenant).await;
            let call = format!("SELECT * FROM {call} WHERE $1::text[] <> '{{}}' AND $2::bigint[] <> '{{}}' ORDER BY 1");
            let named: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(&*call))
                .bind(&words)
                .bind(&all)
                .fetch_all(&mut *transaction)
                .await
                .unwrap();
            assert_eq!(named, own, "{tenant}: {call}");
        }
    }
    let told: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_stats WHERE schemaname = 'orchestra' AND tablename = 'memories'")
            .fetch_one(&mut app)
            .await
            .unwrap();
    assert_eq!(told, 0, "statistics hold values of everybody");
    // A condition that costs nothing and tells what it is given is not asked before the policy.
    let tell = "CREATE FUNCTION pg_temp.tell(tenant text) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql AS $$ BEGIN \
                IF tenant <> 'acme' THEN RAISE EXCEPTION 'told %', tenant; END IF; RETURN true; END $$";
    app.execute(tell).await.unwrap();
    let mut transaction = app.begin().await.unwrap();
    name_tenant(&mut transaction, "acme").await;
    let own: i64 = sqlx::query_scalar("SELECT count(*) FROM orchestra.memories WHERE pg_temp.tell(tenant)")
        .fetch_one(&mut *transaction)
        .await
        .expect("nothing of another tenant is told");
    assert_eq!(own, 3);
}

#[tokio::test]
async fn a_role_that_is_not_held_is_refused_and_the_owner_is_held() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    fill(&store, &home, "acme").await;
    let mut direct = home.direct().await;
    let free = format!("free_{}", home.name);
    let owner = format!("owner_{}", home.name);
    for statement in [
        format!("CREATE ROLE {free} BYPASSRLS"),
        format!("GRANT orchestra_app TO {free}"),
        format!("CREATE ROLE {owner}"),
        format!("GRANT USAGE ON SCHEMA orchestra TO {owner}"),
    ] {
        direct.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    for (role, user) in [(None, "postgres"), (Some(free.clone()), &*free)] {
        let mut config = home.config();
        config.role = role;
        let error = AlloyDbMemoryProvider::connect(config).await.expect_err("it is not held");
        assert!(matches!(error, Error::Unusable { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains(&format!("row-level security does not hold the role {user}: connect as one")), "{said}");
    }
    for table in tables_of_tenants(&mut direct).await {
        direct.execute(AssertSqlSafe(format!("ALTER TABLE orchestra.{table} OWNER TO {owner}"))).await.unwrap();
        direct.execute(AssertSqlSafe(format!("SET ROLE {owner}"))).await.unwrap();
        assert_eq!(seen(&mut direct, None, &table).await, BTreeMap::new(), "{table}");
        direct.execute("RESET ROLE").await.unwrap();
    }
    // Roles are the whole server's.
    for statement in [
        format!("REASSIGN OWNED BY {owner} TO CURRENT_USER; DROP OWNED BY {owner}, {free}"),
        format!("DROP ROLE {owner}, {free}"),
    ] {
        direct.execute(AssertSqlSafe(statement)).await.unwrap();
    }
}

/// Filters that name everything, and values that are SQL to one who splices.
fn filters() -> Vec<Option<Filter>> {
    let mut filters = vec![
        json!({}),
        json!({"or": [{"text": {"exists": true}}, {"not": {"text": {"exists": true}}}]}),
        json!({"not": {"or": []}}),
    ];
    for hostile in HOSTILE {
        for field in ["text".to_owned(), "actor".to_owned(), format!("metadata.{hostile}")] {
            filters.push(json!({&field: {"ne": hostile}}));
            filters.push(json!({"or": [{&field: hostile}, {&field: {"exists": false}}]}));
        }
        filters.push(json!({"not": {"text": {"in": [hostile]}}}));
    }
    [None].into_iter().chain(filters.iter().map(|filter| Some(Filter::from_json(filter).expect("a filter")))).collect()
}

const HOSTILE: [&str; 8] = [
    "') OR true --",
    "' OR tenant = 'acme",
    "acme'; SELECT set_config('orchestra.tenant', 'acme', true); --",
    "$1",
    "%1$s",
    "\\",
    "acme\\' OR '1'='1",
    "$$ || true || $$",
];

#[tokio::test]
async fn no_call_reaches_what_is_in_another_scope() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let ids = fill(&store, &home, "acme").await;
    let acme = Scope::tenant("acme").unwrap();
    let before = store.list(&everything(&acme)).await.unwrap();
    let history = store.history(&acme, ids[1]).await.unwrap();
    let mut others: Vec<Scope> = HOSTILE
        .iter()
        .chain(&["globex", "ACME", "acme ", "acm", "acme%", "_cme"])
        .map(|name| Scope::tenant(*name).unwrap())
        .collect();
    others.extend(["bob", "ANN", "%"].into_iter().chain(HOSTILE).map(|user| make::user("acme", user)));
    others.push(make::session("acme", "ann", "tuesday"));
    others.push(Scope::tenant("acme").unwrap().with_agent("ann").unwrap());
    let filters = filters();
    let then = memory_core::Clock::now(&home.clock);
    home.clock.advance(std::time::Duration::from_secs(1));
    for (number, scope) in others.iter().enumerate() {
        for (at, id) in ids.iter().copied().enumerate() {
            assert_eq!(store.get(scope, id).await.unwrap(), None, "{scope:?}");
            assert_eq!(store.turn_before(scope, id).await.unwrap(), None, "{scope:?}");
            assert_eq!(store.history(scope, id).await.unwrap(), [], "{scope:?}");
            let patch = MemoryPatch { text: Some("mine".into()), ..MemoryPatch::default() };
            assert!(matches!(store.update(scope, id, patch).await, Err(Error::NotFound(_))), "{scope:?}");
            let mut mine = make::memory(scope, "mine", before.memories[0].0.recorded_at);
            mine.id = id;
            let inserted = store.insert(make::batch([mine])).await;
            // The one that was forgotten is another tenant's to write.
            let is_refused = matches!(inserted, Err(Error::IdTaken(_) | Error::Forgotten(_)));
            assert!(is_refused || (at == 3 && scope.tenant_name() != "acme"), "{scope:?}: {inserted:?}");
        }
        assert_eq!(store.stats(scope).await.unwrap().former_versions, 0, "{scope:?}");
        let reached = |found: BTreeSet<MemoryId>| {
            assert!(found.is_disjoint(&ids[..3].iter().copied().collect()), "{scope:?} reaches {found:?}");
        };
        // Each filter in some of the scopes.
        for filter in filters.iter().skip(number % 8).step_by(8).cloned() {
            let list = ListRequest { filter: filter.clone(), ..everything(scope) };
            reached(store.list(&list).await.unwrap().memories.iter().map(|(memory, _)| memory.id).collect());
            let vector = make::embedding(&make::space("testkit"), 1);
            let of_tenant = others.iter().filter(|other| other.tenant_name() == scope.tenant_name());
            for (also, as_of) in [(0, None), (20, None), (0, Some(then)), (20, Some(then))] {
                let search = SearchRequest {
                    filter: filter.clone(),
                    neighbours: true,
                    also: of_tenant.clone().take(also).cloned().collect(),
                    as_of,
                    ..make::search(scope, Some(vector.clone()), Some("secret of acme"))
                };
                let found = store.search(&search).await.unwrap();
                let beside =
                    found.candidates.iter().flat_map(|candidate| [candidate.previous, candidate.next]).flatten();
                reached(found.candidates.iter().map(|candidate| candidate.memory.id).chain(beside).collect());
            }
            if let Some(filter) = filter {
                let receipt = store.forget(&forget(scope, Selection::Matching(filter))).await.unwrap();
                reached(receipt.forgotten.into_iter().chain(receipt.derived).collect());
            }
        }
        for selection in [Selection::Ids(ids.clone()), Selection::All] {
            for dry_run in [true, false] {
                let request = ForgetRequest { scope: scope.clone(), selection: selection.clone(), dry_run };
                let receipt = store.forget(&request).await.unwrap();
                reached(receipt.forgotten.into_iter().chain(receipt.derived).collect());
            }
        }
    }
    assert_eq!(store.list(&everything(&acme)).await.unwrap(), before, "nothing was changed");
    assert_eq!(store.history(&acme, ids[1]).await.unwrap(), history);
}

#[tokio::test]
async fn evidence_and_keys_of_another_tenant_are_only_words() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let ids = fill(&store, &home, "acme").await;
    let globex = make::user("globex", "ann");
    let mut derived = make::memory(&globex, "derived from what another forgot", memory_core::Clock::now(&home.clock));
    derived.evidence = vec![ids[0], ids[3]];
    derived.origin.writer = Writer::Consolidation;
    derived.metadata = Metadata::from_iter([("tenant".to_owned(), json!("acme"))]);
    // The key is in use at acme, for another body.
    let mut batch = make::batch([derived.clone()]);
    batch.idempotency = Some(memory_core::IdempotencyKey { key: "the same key".into(), body_hash: [9; 32] });
    let receipt = store.insert(batch).await.unwrap();
    assert!(!receipt.replayed);
    assert_eq!(receipt.items[0].status, memory_core::InsertStatus::Created);
    let receipt = store.forget(&forget(&Scope::tenant("acme").unwrap(), Selection::All)).await.unwrap();
    assert_eq!(receipt.derived, []);
    assert_eq!(store.get(&globex, derived.id).await.unwrap().as_deref(), Some(&derived));
}

const TASKS: usize = 16;

/// Probes by ids of others, from many tasks at once, with nothing in the database that is made for each tenant.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tenants_cost_nothing_each_and_see_nothing_of_each_other() {
    let (tenants, probes) = if is_full_campaign() { (10_000, 100_000) } else { (200, 2_000) };
    let Some(home) = Home::new() else { return };
    home.prepare().await;
    let mut config = home.config();
    config.max_connections = 8;
    config.acquire_timeout = std::time::Duration::from_secs(30);
    let store = AlloyDbMemoryProvider::connect(config).await.unwrap();
    let mut direct = home.direct().await;
    // Of roles those that have something in this database: other tests make theirs on the same server.
    let objects = "SELECT (SELECT count(*) FROM pg_class) + (SELECT count(*) FROM pg_policy) \
                   + (SELECT count(*) FROM pg_namespace) + (SELECT count(DISTINCT s.refobjid) FROM pg_shdepend s \
                   WHERE s.refclassid = 'pg_authid'::regclass \
                   AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()))";
    let before: i64 = sqlx::query_scalar(objects).fetch_one(&mut direct).await.unwrap();

    let ids: Arc<Vec<Vec<MemoryId>>> = Arc::new((0..tenants).map(|_| (0..3).map(|_| make::id()).collect()).collect());
    let now = memory_core::Clock::now(&home.clock);
    tasks(|number| {
        let (store, ids) = (store.clone(), ids.clone());
        async move {
            for tenant in (number..tenants).step_by(TASKS) {
                let scope = scope(tenant);
                let turns =
                    ids[tenant].iter().map(|id| Memory { id: *id, ..make::memory(&scope, "the secret plan", now) });
                let mut batch = make::batch(turns);
                batch.memories[0].embedding = Some(make::embedding(&make::space("testkit"), tenant as u64));
                store.insert(batch).await.unwrap();
            }
        }
    })
    .await;

    let is_done = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn({
        let is_done = is_done.clone();
        async move {
            let mut most = 0;
            while !is_done.load(Ordering::Relaxed) {
                let locks: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                                                     WHERE d.datname = current_database() AND l.pid <> pg_backend_pid()")
                    .fetch_one(&mut direct)
                    .await
                    .unwrap();
                most = most.max(locks);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            (most, direct)
        }
    });
    let made = Arc::new(AtomicU64::new(0));
    tasks(|number| {
        let (store, ids, made) = (store.clone(), ids.clone(), made.clone());
        async move {
            let mut random = number as u64 + 1;
            let mut next = move |below: usize| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) as usize % below
            };
            for turn in 0..probes / TASKS {
                let own = next(tenants);
                let other = (own + 1 + next(tenants - 1)) % tenants;
                probe(&store, own, &ids[own], &ids[other], turn).await;
                made.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    is_done.store(true, Ordering::Relaxed);
    let (locks, mut direct) = watch.await.unwrap();
    // Those of the tables and indexes that a statement of each connection names.
    assert!((1..8 * 64).contains(&locks), "{locks} locks");
    let after: i64 = sqlx::query_scalar(objects).fetch_one(&mut direct).await.unwrap();
    assert_eq!(after, before, "objects of the database");
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM orchestra.memories").fetch_one(&mut direct).await.unwrap();
    assert_eq!(held, 3 * tenants as i64, "nothing was changed");
    eprintln!("{tenants} tenants, {} probes, at most {locks} locks", made.load(Ordering::Relaxed));
}

fn scope(tenant: usize) -> Scope {
    make::session(&format!("tenant-{tenant}"), "ann", "monday")
}

/// One call as a tenant with ids of another.
async fn probe(store: &AlloyDbMemoryProvider, own: usize, mine: &[MemoryId], theirs: &[MemoryId], turn: usize) {
    let own = Scope::tenant(format!("tenant-{own}")).expect("a valid name");
    let id = theirs[turn % theirs.len()];
    match turn % 8 {
        0 => assert_eq!(store.get(&own, id).await.expect("an answer"), None),
        1 => assert_eq!(store.history(&own, id).await.expect("an answer"), []),
        2 => assert_eq!(store.turn_before(&own, id).await.expect("an answer"), None),
        3 => {
            let request = ForgetRequest { dry_run: true, ..forget(&own, Selection::Ids(theirs.to_vec())) };
            let receipt = store.forget(&request).await.expect("an answer");
            assert_eq!((receipt.forgotten, receipt.derived), (Vec::new(), Vec::new()));
        }
        4 => {
            let patch = MemoryPatch { importance: Some(0.1), ..MemoryPatch::default() };
            assert!(matches!(store.update(&own, id, patch).await, Err(Error::NotFound(_))));
        }
        5 => {
            let found = store.list(&everything(&own)).await.expect("an answer");
            let found: Vec<MemoryId> = found.memories.iter().map(|(memory, _)| memory.id).collect();
            assert_eq!(found, mine);
        }
        _ => {
            let vector = make::embedding(&make::space("testkit"), turn as u64);
            let mut request = make::search(&own, Some(vector), Some("the secret plan"));
            (request.candidates, request.neighbours) = (100, true);
            let found = store.search(&request).await.expect("an answer");
            let found: BTreeSet<MemoryId> = found.candidates.iter().map(|candidate| candidate.memory.id).collect();
            assert_eq!(found, mine.iter().copied().collect());
        }
    }
}

/// Runs [`TASKS`] tasks at once.
async fn tasks<F>(run: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let running: Vec<_> = (0..TASKS).map(|number| tokio::spawn(run(number))).collect();
    for task in running {
        task.await.expect("nothing of another");
    }
}

/// Every word of every tenant.
async fn every_word(direct: &mut PgConnection) -> Vec<String> {
    let words = "SELECT DISTINCT w.lexeme FROM orchestra.memories m CROSS JOIN LATERAL unnest(m.words) w(lexeme, p, q)";
    sqlx::query_scalar(words).fetch_all(direct).await.expect("an answer")
}
