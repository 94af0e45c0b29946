//! The contract of `memory_core::SemanticCache`, a function for each promise.

use std::time::{Duration, Instant};

use memory_core::{
    CacheHit, CacheLookup, CacheMode, CachePolicy, CacheRequest, Clock as _, Compatibility, Embedding, Error, Filter,
    Fingerprint, HitKind, InvalidateRequest, InvalidateSelection, MemoryId, Metadata, NewCacheEntry, Refused, Scope,
    SemanticCache,
};
use serde_json::json;

use crate::CacheFixture;
use crate::make;

const HOUR: Duration = Duration::from_secs(3600);
const GUARDED: CachePolicy = CachePolicy { threshold: 0.85, mode: CacheMode::Guarded };
const PROMPT: &str = "How do I reset my password?";
const NEAR: &str = "How can I reset my password?";

/// The same prompt, spelled with other case, spacing or final punctuation, is an exact hit and gives everything back.
pub async fn an_exact_repeat_is_a_hit(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::session("acme", "ann", "monday");
    let memory = fixture.memory(&scope).await;
    let mut entry = entry(&scope, PROMPT, "Under Settings.");
    entry.depends_on = vec![memory];
    entry.tags = vec!["help".into()];
    entry.metadata = Metadata::from_iter([("cost_usd".to_owned(), json!(0.002))]);
    let id = cache.store(entry.clone()).await.expect("store");
    fixture.clock().advance(Duration::from_secs(5));
    for spelling in [PROMPT, "how do i reset my  password", "HOW DO I RESET MY PASSWORD?!"] {
        let hit = hit(&*cache, &request(&scope, spelling)).await;
        assert_eq!((hit.kind, hit.similarity, hit.age), (HitKind::Exact, 1.0, Duration::from_secs(5)));
        let found = hit.entry;
        assert_eq!((found.id, found.prompt.as_str(), found.response.as_str()), (id, PROMPT, "Under Settings."));
        assert_eq!(
            (found.depends_on, found.tags, found.metadata),
            (entry.depends_on.clone(), entry.tags.clone(), entry.metadata.clone())
        );
        assert_eq!(found.expires_at - found.created_at, chrono::TimeDelta::hours(1));
    }
}

/// A prompt over the threshold is a semantic hit that says how similar it is.
pub async fn a_near_prompt_is_a_hit_with_its_similarity(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    store(&*cache, &scope, PROMPT, Some(vector(fixture, 1))).await;
    store(&*cache, &scope, "Where is the invoice?", Some(vector(fixture, 2))).await;
    let hit = hit(&*cache, &near(fixture, &scope, NEAR, 0.9)).await;
    assert_eq!((hit.kind, hit.entry.prompt.as_str()), (HitKind::Semantic, PROMPT));
    assert!((hit.similarity - 0.9).abs() < 1e-3, "{}", hit.similarity);
}

/// Another tenant, user, agent, session or fingerprint is another question, for an exact and for a near prompt.
pub async fn cache_answers_only_its_question(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::session("acme", "ann", "monday");
    store(&*cache, &scope, PROMPT, Some(vector(fixture, 1))).await;
    let others = [
        make::session("globex", "ann", "monday"),
        make::session("acme", "bob", "monday"),
        make::session("acme", "ann", "tuesday"),
        make::user("acme", "ann"),
        Scope::tenant("acme").expect("a valid name"),
        scope.clone().with_agent("planner").expect("a valid name"),
    ];
    for other in others {
        for request in [request(&other, PROMPT), near(fixture, &other, NEAR, 0.99), near(fixture, &other, PROMPT, 1.0)]
        {
            assert_eq!(cache.lookup(&request).await.expect("lookup"), CacheLookup::Miss(None), "{other:?}");
        }
    }
    let another_model = Compatibility { model: Some("another".into()), ..Compatibility::default() }.fingerprint();
    for mut request in [request(&scope, PROMPT), near(fixture, &scope, NEAR, 0.99)] {
        request.fingerprint = another_model;
        assert_eq!(cache.lookup(&request).await.expect("lookup"), CacheLookup::Miss(None));
    }
    hit(&*cache, &request(&scope, PROMPT)).await;
    hit(&*cache, &near(fixture, &scope, NEAR, 0.99)).await;
}

/// A miss near an entry names it and says that the similarity was too low.
pub async fn a_near_miss_says_why(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    store(&*cache, &scope, PROMPT, Some(vector(fixture, 1))).await;
    let missed = cache.lookup(&near(fixture, &scope, NEAR, 0.8)).await.expect("lookup");
    let CacheLookup::Miss(Some(near_miss)) = missed else { panic!("{missed:?}") };
    assert_eq!((near_miss.prompt.as_str(), &near_miss.refused), (PROMPT, &Refused::BelowThreshold { threshold: 0.85 }));
    assert!((near_miss.similarity - 0.8).abs() < 1e-3);
    let mut looser = near(fixture, &scope, NEAR, 0.8);
    looser.policy.threshold = 0.75;
    hit(&*cache, &looser).await;
}

/// The guard refuses an entry over the threshold, says why, and a lesser entry it has nothing against is served.
pub async fn the_guard_refuses_over_the_threshold(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    store(&*cache, &scope, "Is 50 mg of it safe?", Some(vector(fixture, 1))).await;
    let asked = near(fixture, &scope, "Is 500 mg of it safe?", 0.98);
    let missed = cache.lookup(&asked).await.expect("lookup");
    let CacheLookup::Miss(Some(near_miss)) = missed else { panic!("{missed:?}") };
    assert!(matches!(&near_miss.refused, Refused::Guard(refusals) if !refusals.is_empty()), "{near_miss:?}");
    let lesser = make::embedding_near(asked.embedding.as_ref().expect("given"), 0.9, 7);
    store(&*cache, &scope, "Is it safe, 500 mg of it?", Some(lesser)).await;
    assert_eq!(hit(&*cache, &asked).await.entry.prompt, "Is it safe, 500 mg of it?");
    let mut unguarded = asked;
    unguarded.policy.mode = CacheMode::Threshold;
    assert_eq!(hit(&*cache, &unguarded).await.entry.prompt, "Is 50 mg of it safe?");
}

/// A vector of another space finds nothing, even at equal dimensions and values.
pub async fn spaces_never_mix(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    let here = vector(fixture, 1);
    let elsewhere = Embedding::new(make::space("another-model"), here.values().to_vec());
    store(&*cache, &scope, PROMPT, Some(here)).await;
    let request = CacheRequest { embedding: elsewhere.ok(), ..request(&scope, NEAR) };
    match cache.lookup(&request).await {
        Ok(CacheLookup::Miss(None)) | Err(memory_core::Error::SpaceMismatch { .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// From its expiry on an entry is neither a hit nor a near miss.
pub async fn an_expired_entry_is_a_miss(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    store(&*cache, &scope, PROMPT, Some(vector(fixture, 1))).await;
    fixture.clock().advance(HOUR - Duration::from_secs(1));
    hit(&*cache, &request(&scope, PROMPT)).await;
    fixture.clock().advance(Duration::from_secs(1));
    for request in [request(&scope, PROMPT), near(fixture, &scope, NEAR, 0.99)] {
        assert_eq!(cache.lookup(&request).await.expect("lookup"), CacheLookup::Miss(None));
    }
    assert_eq!(cache.stats(&scope).await.expect("stats").entries, 0);
}

/// A popular entry expires as any other: a day of hits does not keep it.
pub async fn hits_do_not_prolong_a_life(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    let mut popular = entry(&scope, PROMPT, "answer");
    popular.ttl = 24 * HOUR;
    popular.embedding = Some(vector(fixture, 1));
    cache.store(popular).await.expect("store");
    for _ in 0..24 * 4 - 1 {
        fixture.clock().advance(HOUR / 4);
        hit(&*cache, &request(&scope, PROMPT)).await;
        hit(&*cache, &near(fixture, &scope, NEAR, 0.95)).await;
    }
    fixture.clock().advance(HOUR / 4);
    assert_eq!(cache.lookup(&request(&scope, PROMPT)).await.expect("lookup"), CacheLookup::Miss(None));
}

/// An entry whose writer asked for it lives on while it is used, and no longer.
pub async fn a_sliding_entry_lives_while_it_is_used(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    let mut used = entry(&scope, PROMPT, "answer");
    used.sliding = true;
    used.embedding = Some(vector(fixture, 1));
    cache.store(used).await.expect("store");
    for turn in 0..6 {
        fixture.clock().advance(HOUR * 2 / 3);
        let asked = if turn % 2 == 0 { request(&scope, PROMPT) } else { near(fixture, &scope, NEAR, 0.95) };
        hit(&*cache, &asked).await;
        // A cache may give it its time after it has served the hit.
        let deadline = Instant::now() + Duration::from_secs(10);
        while hit(&*cache, &asked).await.entry.expires_at != fixture.clock().now() + HOUR {
            assert!(Instant::now() < deadline, "it is not given more time");
            tokio::task::yield_now().await;
        }
    }
    fixture.clock().advance(HOUR);
    for asked in [request(&scope, PROMPT), near(fixture, &scope, NEAR, 0.95)] {
        assert_eq!(cache.lookup(&asked).await.expect("lookup"), CacheLookup::Miss(None));
    }
}

/// When a memory is corrected, exactly the entries that depend on it go.
pub async fn corrections_reach_the_cache(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    let (corrected, stands) = (fixture.memory(&scope).await, fixture.memory(&scope).await);
    let tied = |prompt: &str, seed: u64, depends_on: Vec<MemoryId>| {
        let embedding = Some(vector(fixture, seed));
        NewCacheEntry { depends_on, embedding, ..entry(&scope, prompt, prompt) }
    };
    for entry in [
        tied("one", 1, vec![corrected]),
        tied("two", 2, vec![stands]),
        tied("three", 3, vec![stands, corrected]),
        tied("four", 4, vec![]),
    ] {
        cache.store(entry).await.expect("store");
    }
    let selection = InvalidateSelection::DependsOn(vec![corrected]);
    let tenant = Scope::tenant("acme").expect("a valid name");
    assert_eq!(invalidate(&*cache, &tenant, selection.clone(), false).await, 2);
    assert_eq!(invalidate(&*cache, &tenant, selection, false).await, 0, "the second time changes nothing");
    for (prompt, seed, is_there) in [("one", 1, false), ("two", 2, true), ("three", 3, false), ("four", 4, true)] {
        let exact = cache.lookup(&request(&scope, prompt)).await.expect("lookup");
        assert_eq!(matches!(exact, CacheLookup::Hit(_)), is_there, "{prompt}");
        let mut by_meaning = request(&scope, &format!("{prompt} please"));
        by_meaning.embedding = Some(vector(fixture, seed));
        by_meaning.policy.mode = CacheMode::Threshold;
        let near = cache.lookup(&by_meaning).await.expect("lookup");
        assert_eq!(matches!(near, CacheLookup::Hit(_)), is_there, "{prompt}");
    }
}

/// An answer that was made before an invalidation is not filed after it, whichever way it was invalidated, and takes
/// nothing with it. Filed from a mark after it, it is there, and other tenants have nothing to do with it.
pub async fn a_late_answer_is_not_filed(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    let memory = fixture.memory(&scope).await;
    let late = NewCacheEntry { depends_on: vec![memory], tags: vec!["prices".into()], ..entry(&scope, "one", "late") };
    let tenant = scope.whole_tenant();
    let is_there = async |prompt: &str| {
        matches!(cache.lookup(&request(&scope, prompt)).await.expect("lookup"), CacheLookup::Hit(_))
    };
    for selection in [
        InvalidateSelection::DependsOn(vec![memory]),
        InvalidateSelection::Tag("prices".into()),
        InvalidateSelection::All,
    ] {
        // Something is on file, so that the cache of the tenant has begun.
        store(&*cache, &scope, "two", None).await;
        let mark = cache.mark(&scope).await.expect("mark");
        invalidate(&*cache, &tenant, selection.clone(), false).await;
        assert_eq!(cache.store_since(late.clone(), &mark).await.expect("no failure"), None, "{selection:?}");
        assert!(!is_there("one").await, "{selection:?}");
        assert_eq!(is_there("two").await, selection != InvalidateSelection::All);
        let mark = cache.mark(&scope).await.expect("mark");
        assert!(cache.store_since(late.clone(), &mark).await.expect("store").is_some(), "{selection:?}");
        assert!(is_there("one").await);
        // What is on file stays where a late one is refused.
        invalidate(&*cache, &tenant, InvalidateSelection::Tag("another".into()), false).await;
        let later = NewCacheEntry { response: "later".into(), ..late.clone() };
        assert_eq!(cache.store_since(later, &mark).await.expect("no failure"), None);
        assert_eq!(hit(&*cache, &request(&scope, "one")).await.entry.response, "late");
    }
    let mark = cache.mark(&scope).await.expect("mark");
    invalidate(&*cache, &Scope::tenant("globex").expect("a valid name"), InvalidateSelection::All, false).await;
    invalidate(&*cache, &tenant, InvalidateSelection::All, true).await;
    assert!(cache.store_since(late, &mark).await.expect("store").is_some());
}

/// Filing an answer for the same question again replaces the former one, with its time to live.
pub async fn a_later_answer_takes_the_place(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    store(&*cache, &scope, PROMPT, Some(vector(fixture, 1))).await;
    fixture.clock().advance(HOUR / 2);
    let mut later = entry(&scope, "how do I reset my password", "Ask support.");
    later.embedding = Some(vector(fixture, 1));
    cache.store(later).await.expect("store");
    assert_eq!(cache.stats(&scope).await.expect("stats").entries, 1);
    fixture.clock().advance(HOUR - Duration::from_secs(1));
    assert_eq!(hit(&*cache, &request(&scope, PROMPT)).await.entry.response, "Ask support.");
    assert_eq!(hit(&*cache, &near(fixture, &scope, NEAR, 0.99)).await.entry.response, "Ask support.");
}

/// Invalidation by entry, by tag and of all removes what it names inside its scope and nothing else.
pub async fn invalidation_is_as_narrow_as_asked(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let (ann, bob) = (make::user("acme", "ann"), make::user("acme", "bob"));
    let globex = make::user("globex", "ann");
    let mut ids = Vec::new();
    for scope in [&ann, &bob, &globex] {
        for prompt in ["one", "two", "three"] {
            let tags = if prompt == "two" { vec!["prices".into()] } else { vec![] };
            ids.push(cache.store(NewCacheEntry { tags, ..entry(scope, prompt, prompt) }).await.expect("store"));
        }
    }
    assert_eq!(
        invalidate(&*cache, &bob, InvalidateSelection::Entry(ids[0]), false).await,
        0,
        "Ann's entry is not Bob's"
    );
    assert_eq!(invalidate(&*cache, &globex, InvalidateSelection::Entry(ids[0]), false).await, 0);
    assert_eq!(invalidate(&*cache, &ann, InvalidateSelection::Entry(ids[0]), false).await, 1);
    let acme = Scope::tenant("acme").expect("a valid name");
    assert_eq!(invalidate(&*cache, &acme, InvalidateSelection::Tag("prices".into()), false).await, 2);
    assert_eq!(invalidate(&*cache, &ann, InvalidateSelection::All, false).await, 1);
    for (scope, left) in [(&ann, 0), (&bob, 2), (&globex, 3)] {
        let mut hits = 0;
        for prompt in ["one", "two", "three"] {
            hits += usize::from(matches!(
                cache.lookup(&request(scope, prompt)).await.expect("lookup"),
                CacheLookup::Hit(_)
            ));
        }
        assert_eq!(hits, left, "{scope:?}");
    }
}

/// A dry run counts and removes nothing.
pub async fn a_dry_run_changes_nothing(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    store(&*cache, &scope, PROMPT, None).await;
    assert_eq!(invalidate(&*cache, &scope, InvalidateSelection::All, true).await, 1);
    hit(&*cache, &request(&scope, PROMPT)).await;
}

/// Entries, hits by kind, misses and refusals are counted for the tenant.
pub async fn counters_count(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    store(&*cache, &scope, "Is 50 mg of it safe?", Some(vector(fixture, 1))).await;
    for request in [
        request(&scope, "Is 50 mg of it safe?"),
        near(fixture, &scope, "Is it safe, 50 mg of it?", 0.95),
        near(fixture, &scope, "Is 500 mg of it safe?", 0.95),
        near(fixture, &scope, "Where is the station?", 0.1),
        // The first half of a lookup that goes on by meaning: not a miss yet.
        request(&scope, "Where is the station?"),
    ] {
        cache.lookup(&request).await.expect("lookup");
    }
    let stats = cache.stats(&scope).await.expect("stats");
    assert_eq!((stats.entries, stats.exact_hits, stats.semantic_hits), (1, 1, 1), "{stats:?}");
    assert_eq!((stats.misses, stats.refused), (2, 1), "{stats:?}");
    let other = cache.stats(&make::user("globex", "ann")).await.expect("stats");
    assert_eq!((other.entries, other.exact_hits, other.misses), (0, 0, 0), "{other:?}");
}

/// Quotes, operators and query syntax in names, prompts and tags are text and nothing else.
pub async fn hostile_text_is_only_text(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let bystander = make::user("acme", "ann");
    store(&*cache, &bystander, PROMPT, Some(vector(fixture, 1))).await;
    for hostile in
        ["'; DROP TABLE cache_entry; --", "@tag:{x}|*=>[KNN 10 @v $b]", "*", "a|b", "{}", "\\", "\" OR 1=1", "%", "😀"]
    {
        let scope = make::session("acme", hostile, hostile);
        let mut entry = entry(&scope, hostile, hostile);
        entry.tags = vec![hostile.into()];
        entry.embedding = Some(vector(fixture, 1));
        cache.store(entry).await.expect("store");
        assert_eq!(hit(&*cache, &request(&scope, hostile)).await.entry.response, hostile);
        let elsewhere = make::session("acme", hostile, "other");
        assert_eq!(cache.lookup(&near(fixture, &elsewhere, "x", 0.99)).await.expect("lookup"), CacheLookup::Miss(None));
        let acme = Scope::tenant("acme").expect("a valid name");
        assert_eq!(invalidate(&*cache, &acme, InvalidateSelection::Tag(hostile.into()), false).await, 1, "{hostile:?}");
    }
    hit(&*cache, &request(&bystander, PROMPT)).await;
}

/// An entry whose metadata does not match the request's filter neither answers, by the exact prompt or by meaning, nor is
/// named as near, and a farther one that matches is served in its place.
pub async fn a_filter_narrows_what_answers(fixture: &dyn CacheFixture) {
    let cache = fixture.open().await;
    let scope = make::user("acme", "ann");
    let asked = make::embedding_near(&vector(fixture, 1), 0.99, 11);
    for (prompt, similarity, metadata) in [
        (PROMPT, 1.0, json!({"product": "web", "version": 2, "tags": ["a", "b"]})),
        (NEAR, 0.97, json!({"product": "app", "version": 3.5})),
        ("How might I reset my password?", 0.93, json!({"product": "desk", "version": "2"})),
    ] {
        let serde_json::Value::Object(metadata) = metadata else { unreachable!("an object") };
        let embedding = Some(make::embedding_near(&asked, similarity, 7));
        cache.store(NewCacheEntry { metadata, embedding, ..entry(&scope, prompt, prompt) }).await.expect("store");
    }
    let with = |filter: serde_json::Value| CacheRequest {
        embedding: Some(asked.clone()),
        filter: Some(Filter::from_json(&filter).expect("a filter")),
        ..request(&scope, PROMPT)
    };
    for (filter, prompt, kind) in [
        (json!({}), PROMPT, HitKind::Exact),
        (json!({"metadata.product": "web"}), PROMPT, HitKind::Exact),
        (json!({"metadata.tags": {"contains": "b"}, "metadata.version": {"gte": 2}}), PROMPT, HitKind::Exact),
        (json!({"metadata.product": {"ne": "web"}}), NEAR, HitKind::Semantic),
        (json!({"metadata.version": {"gt": 2}}), NEAR, HitKind::Semantic),
        (json!({"metadata.tags": {"exists": false}}), NEAR, HitKind::Semantic),
        (json!({"metadata.product": {"contains": "esk"}}), "How might I reset my password?", HitKind::Semantic),
        (json!({"metadata.version": {"in": ["2", 7]}}), "How might I reset my password?", HitKind::Semantic),
        (json!({"not": {"metadata.version": {"gt": 0}}}), "How might I reset my password?", HitKind::Semantic),
        (
            json!({"or": [{"metadata.version": 3.5}, {"metadata.product": "desk"}], "metadata.product": "desk"}),
            "How might I reset my password?",
            HitKind::Semantic,
        ),
    ] {
        let hit = hit(&*cache, &with(filter.clone())).await;
        assert_eq!((hit.entry.prompt.as_str(), hit.kind), (prompt, kind), "{filter}");
    }
    for filter in [json!({"metadata.product": "Web"}), json!({"metadata.version": "3.5"}), json!({"or": []})] {
        let mut request = with(filter.clone());
        assert_eq!(cache.lookup(&request).await.expect("lookup"), CacheLookup::Miss(None), "{filter}");
        request.embedding = None;
        assert_eq!(cache.lookup(&request).await.expect("lookup"), CacheLookup::Miss(None), "{filter}");
    }
    let error =
        cache.lookup(&with(json!({"metadata.product": "web", "kind": "semantic"}))).await.expect_err("a memory's");
    assert!(matches!(&error, Error::Invalid { .. }) && error.to_string().contains("kind"), "{error}");
}

fn fingerprint() -> Fingerprint {
    Compatibility { model: Some("a-model".into()), ..Compatibility::default() }.fingerprint()
}

fn vector(fixture: &dyn CacheFixture, seed: u64) -> Embedding {
    make::embedding(&fixture.space(), seed)
}

fn entry(scope: &Scope, prompt: &str, response: &str) -> NewCacheEntry {
    NewCacheEntry {
        scope: scope.clone(),
        prompt: prompt.into(),
        response: response.into(),
        fingerprint: fingerprint(),
        embedding: None,
        depends_on: Vec::new(),
        tags: Vec::new(),
        metadata: Metadata::new(),
        ttl: HOUR,
        sliding: false,
    }
}

async fn store(cache: &dyn SemanticCache, scope: &Scope, prompt: &str, embedding: Option<Embedding>) {
    cache.store(NewCacheEntry { embedding, ..entry(scope, prompt, "answer") }).await.expect("store");
}

/// A request by the exact prompt only.
fn request(scope: &Scope, prompt: &str) -> CacheRequest {
    CacheRequest {
        scope: scope.clone(),
        prompt: prompt.into(),
        fingerprint: fingerprint(),
        embedding: None,
        policy: GUARDED,
        filter: None,
    }
}

/// A request with a vector at a given similarity to that of seed 1.
fn near(fixture: &dyn CacheFixture, scope: &Scope, prompt: &str, similarity: f32) -> CacheRequest {
    let embedding = Some(make::embedding_near(&vector(fixture, 1), similarity, 11));
    CacheRequest { embedding, ..request(scope, prompt) }
}

async fn hit(cache: &dyn SemanticCache, request: &CacheRequest) -> CacheHit {
    match cache.lookup(request).await.expect("lookup") {
        CacheLookup::Hit(hit) => *hit,
        miss @ CacheLookup::Miss(_) => panic!("{:?}: {miss:?}", request.prompt),
    }
}

async fn invalidate(cache: &dyn SemanticCache, scope: &Scope, selection: InvalidateSelection, dry_run: bool) -> u64 {
    cache.invalidate(&InvalidateRequest { scope: scope.clone(), selection, dry_run }).await.expect("invalidate")
}
