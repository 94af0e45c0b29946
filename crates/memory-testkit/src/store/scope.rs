//! Who sees what.

use std::collections::BTreeSet;

use memory_core::{
    Candidate, Candidates, Clock as _, Error, Filter, ForgetRequest, Memory, MemoryId, MemoryPatch, Metadata, Scope,
    SearchRequest, Selection,
};
use serde_json::json;

use super::{get, insert, list_ids, search_ids};
use crate::StoreFixture;
use crate::make;

/// No call in one tenant reads, changes or counts what is another's, not even by its id.
pub async fn tenant_from_identity(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (acme, globex) = (make::user("acme", "ann"), make::user("globex", "ann"));
    let vector = make::embedding(&fixture.space(), 1);
    let secret = make::memory(&acme, "the vault code is 4711", fixture.clock().now());
    insert(&*store, make::embedded(secret.clone(), vector.clone())).await;

    for stranger in [globex.clone(), Scope::tenant("globex").expect("a valid name")] {
        assert!(get(&*store, &stranger, secret.id).await.is_none());
        assert!(store.history(&stranger, secret.id).await.expect("history").is_empty());
        assert!(
            search_ids(&*store, &make::search(&stranger, Some(vector.clone()), Some("vault code"))).await.is_empty()
        );
        assert!(list_ids(&*store, &stranger).await.is_empty());
        assert_eq!(store.stats(&stranger).await.expect("stats").memories, 0);
        let patch = MemoryPatch { importance: Some(1.0), ..MemoryPatch::default() };
        assert!(matches!(store.update(&stranger, secret.id, patch).await, Err(Error::NotFound(_))));
        for selection in [Selection::Ids(vec![secret.id]), Selection::All] {
            let request = ForgetRequest { scope: stranger.clone(), selection, dry_run: false };
            assert!(store.forget(&request).await.expect("forget").forgotten.is_empty());
        }
    }
    // The id is taken, whoever asks; and who asks learns no more than that.
    let mut squatter = make::memory(&globex, "mine now", fixture.clock().now());
    squatter.id = secret.id;
    assert!(matches!(store.insert(make::batch([squatter])).await, Err(Error::IdTaken(_))));
    assert_eq!(*get(&*store, &acme, secret.id).await.expect("still there"), secret);
}

/// A user, agent or session in the scope narrows what is seen; a part that is not set does not.
pub async fn a_narrower_scope_sees_only_its_own(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let now = fixture.clock().now();
    let tenant = Scope::tenant("acme").expect("a valid name");
    let ann = make::user("acme", "ann");
    let ann_agent = ann.clone().with_agent("planner").expect("a valid name");
    let ann_session = make::session("acme", "ann", "monday");
    let scopes = [tenant.clone(), ann.clone(), ann_agent.clone(), ann_session.clone(), make::user("acme", "bob")];
    let memories: Vec<Memory> =
        scopes.iter().map(|scope| make::memory(scope, "the weekly report is due", now)).collect();
    insert(&*store, make::batch(memories.clone())).await;
    for (asked, sees) in [
        (&tenant, &[0, 1, 2, 3, 4][..]),
        (&ann, &[1, 2, 3]),
        (&ann_agent, &[2]),
        (&ann_session, &[3]),
        (&scopes[4], &[4]),
    ] {
        let expected: BTreeSet<MemoryId> = sees.iter().map(|&at| memories[at].id).collect();
        assert_eq!(list_ids(&*store, asked).await, expected, "list in {asked:?}");
        assert_eq!(
            search_ids(&*store, &make::search(asked, None, Some("weekly report"))).await,
            expected,
            "search in {asked:?}"
        );
        assert_eq!(store.stats(asked).await.expect("stats").memories, expected.len() as u64);
        for memory in &memories {
            assert_eq!(get(&*store, asked, memory.id).await.is_some(), expected.contains(&memory.id));
        }
    }
}

/// Several scopes of a tenant are searched as if what is in them were all there is: each memory once, by the statistics of
/// all together, and nothing of another scope or tenant.
pub async fn scopes_are_searched_as_one(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let now = fixture.clock().now();
    let of = |tenant: &str| {
        let ann = make::session(tenant, "ann", "monday");
        [
            (ann.clone(), "Ann has a red tent"),
            (ann, "It cost 240 euros"),
            (make::session(tenant, "ann", "tuesday"), "The tent leaks"),
            (make::session(tenant, "bob", "monday"), "Bob has a red car, red as a tent"),
            (make::user(tenant, "bob"), "The car was sold"),
            (make::user(tenant, "cyd"), "Cyd likes trains"),
        ]
    };
    // A tenant that holds just what is to be searched in the other one.
    let alone = of("alone").into_iter().take(5).zip(0..);
    let noise = (0..50).map(|at| (make::user("acme", "eve"), if at % 2 == 0 { "red red tent" } else { "a car" }));
    let mut ids = Vec::new();
    for ((scope, text), seed) in alone.chain(of("acme").into_iter().zip(0..)).chain(noise.zip(100..)) {
        let memory = make::memory(&scope, text, now);
        ids.push(memory.id);
        insert(&*store, make::embedded(memory, make::embedding(&fixture.space(), seed))).await;
    }
    let ids = &ids[5..];
    let (ann, bob) = (make::user("acme", "ann"), make::user("acme", "bob"));
    let query = |scope: &Scope, also: &[Scope]| SearchRequest {
        also: also.to_vec(),
        neighbours: true,
        ..make::search(scope, Some(make::embedding(&fixture.space(), 0)), Some("a red tent or a car"))
    };
    let scores = |found: &Candidates| {
        let score = |one: &Candidate| (one.memory.text.clone(), one.similarity.expect("a vector"), one.bm25);
        let mut scores: Vec<_> = found.candidates.iter().map(score).collect();
        scores.sort_by(|a, b| a.0.cmp(&b.0));
        scores
    };
    let alone = store.search(&query(&Scope::tenant("alone").expect("a valid name"), &[])).await.expect("search");
    let both = store.search(&query(&ann, std::slice::from_ref(&bob))).await.expect("search");
    assert_eq!(both.arms, alone.arms);
    assert_eq!(both.candidates.len(), 5);
    for (a, b) in scores(&both).iter().zip(&scores(&alone)) {
        assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-5 && (a.2 - b.2).abs() < 1e-5, "{a:?} {b:?}");
    }

    let tenant = Scope::tenant("acme").expect("a valid name");
    let monday = tenant.clone().with_session("monday").expect("a valid name");
    let ann_monday = make::session("acme", "ann", "monday");
    for (scope, also, sees) in [
        (&ann, vec![bob.clone(), ann.clone(), ann_monday.clone()], &[0, 1, 2, 3, 4][..]),
        (&ann, vec![monday.clone()], &[0, 1, 2, 3]),
        (&monday, vec![make::session("acme", "ann", "tuesday")], &[0, 1, 2, 3]),
        (&ann_monday, vec![make::user("acme", "cyd"), make::user("acme", "nobody")], &[0, 1, 5]),
    ] {
        let expected: Vec<MemoryId> = sees.iter().map(|&at| ids[at]).collect();
        let mut request = query(scope, &also);
        for as_of in [None, Some(now)] {
            request.as_of = as_of;
            let found = store.search(&request).await.expect("search");
            let mut got: Vec<MemoryId> = found.candidates.iter().map(|one| one.memory.id).collect();
            got.sort_unstable();
            assert_eq!(got, expected, "{scope:?} and {also:?} as of {as_of:?}");
            assert!(found.arms.iter().all(|arm| arm.considered == expected.len() as u64), "{:?}", found.arms);
            fixture.clock().advance(std::time::Duration::from_secs(1));
        }
        let everything = store.search(&query(scope, &[also, vec![tenant.clone()]].concat())).await.expect("search");
        assert_eq!(everything.arms[0].considered, 56, "the whole tenant is in it");
    }
    for (also, field) in [
        (vec![bob, make::user("globex", "ann")], "also[1].tenant"),
        (vec![make::user("acme", "bob"); memory_core::MAX_SCOPES], "also"),
    ] {
        let error = store.search(&query(&ann, &also)).await.expect_err(field);
        assert!(error.to_string().starts_with(&format!("{field}: given")), "{error}");
    }
}

/// Quotes, operators and query syntax in names, texts, keys and queries are text and nothing else.
pub async fn hostile_text_is_only_text(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let bystander = make::memory(&make::user("acme", "ann"), "bystander", fixture.clock().now());
    insert(&*store, make::batch([bystander.clone()])).await;
    for hostile in [
        "'; DROP TABLE memory; --",
        "x' OR '1'='1",
        "\" OR \"\" = \"",
        "*",
        "%",
        "_",
        "a* NEAR(b) AND NOT c",
        "@tag:{x}|*=>[KNN 10 @v $b]",
        "{}|\\",
        "$1",
        "\u{202e}\u{0}x",
        "😀",
        "{{7*7}}",
    ] {
        // A control character is not allowed in a name, and is in a text.
        let name: String = hostile.chars().filter(|c| !c.is_control()).collect();
        let scope = make::session("acme", &name, &name);
        let mut memory = make::memory(&scope, hostile, fixture.clock().now());
        memory.metadata = Metadata::from_iter([("key".to_owned(), json!(hostile))]);
        insert(&*store, make::batch([memory.clone()])).await;
        assert_eq!(get(&*store, &scope, memory.id).await.expect("there").text, hostile);
        let mut request = make::search(&scope, None, Some(hostile));
        request.filter = Some(Filter::from_json(&json!({"metadata.key": {"eq": hostile}})).expect("a valid filter"));
        let found = search_ids(&*store, &request).await;
        assert!(found.is_subset(&BTreeSet::from([memory.id])), "{hostile:?}");
        assert_eq!(list_ids(&*store, &scope).await, BTreeSet::from([memory.id]), "{hostile:?}");
    }
    assert_eq!(*get(&*store, &make::user("acme", "ann"), bystander.id).await.expect("still there"), bystander);
}
