//! A search gives what a comparison with every memory gives.

use std::collections::{BTreeMap, BTreeSet};

use memory_core::arena::{Bm25Query, Bm25Statistics, LexicalArena};
use memory_core::{
    Arm, Clock, EmbeddedMemory, Embedding, Filter, ForgetRequest, InsertBatch, Memory, MemoryId, MemoryPatch,
    MemoryStore, Metadata, Scope, SearchRequest, Selection, Timestamp,
};
use memory_testkit::{TestClock, make};
use proptest::prelude::*;
use serde_json::json;

use crate::support::{Home, returned};

const WORDS: [&str; 8] = ["tea", "rain", "train", "garden", "letter", "red", "quiet", "harbour"];

/// One step in the life of a store.
#[derive(Debug, Clone)]
enum Step {
    Insert { user: usize, session: usize, words: Vec<usize>, vector: Option<u64>, other_space: bool, short_lived: bool },
    Update { which: usize, words: Vec<usize>, vector: Option<u64> },
    Forget { which: usize },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let words = || prop::collection::vec(0..WORDS.len(), 1..6);
    prop_oneof![
        8 => (0..3_usize, 0..3_usize, words(), prop::option::weighted(0.8, 0..40_u64), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(user, session, words, vector, other_space, short_lived)| {
                Step::Insert { user, session, words, vector, other_space, short_lived }
            }),
        2 => (any::<usize>(), words(), prop::option::of(0..40_u64)).prop_map(|(which, words, vector)| Step::Update { which, words, vector }),
        1 => any::<usize>().prop_map(|which| Step::Forget { which }),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Clone)]
struct Question {
    scope: Scope,
    also: Vec<Scope>,
    /// Some moment of the past, in thousandths of it.
    as_of: Option<usize>,
    vector: Option<u64>,
    words: Option<Vec<usize>>,
    filter: Option<Filter>,
    candidates: usize,
    neighbours: bool,
}

fn question() -> impl Strategy<Value = Question> {
    let filter = prop_oneof![
        Just(None),
        Just(Some(json!({"metadata.first": "tea"}))),
        Just(Some(json!({"not": {"metadata.first": {"in": ["rain", "red"]}}}))),
        Just(Some(json!({"text": {"contains": "garden"}}))),
    ];
    let words = prop::option::of(prop::collection::vec(0..WORDS.len(), 1..4));
    let scopes = prop::collection::vec((0..4_usize, 0..4_usize).prop_map(|(user, session)| scope(user, session)), 1..4);
    let as_of = prop::option::of(0..1000_usize);
    (scopes, as_of, prop::option::of(0..40_u64), words, filter, 1..12_usize, any::<bool>()).prop_map(
        |(scopes, as_of, vector, words, filter, candidates, neighbours)| Question {
            scope: scopes[0].clone(),
            also: scopes[1..].to_vec(),
            as_of,
            vector,
            words,
            filter: filter.map(|filter| Filter::from_json(&filter).expect("a valid filter")),
            candidates,
            neighbours,
        },
    )
}

/// 0 leaves a part of the scope out.
fn scope(user: usize, session: usize) -> Scope {
    let mut scope = Scope::tenant("acme").expect("a valid name");
    if user > 0 {
        scope = scope.with_user(format!("user {user}")).expect("a valid name");
    }
    if session > 0 {
        scope = scope.with_session(format!("session {session}")).expect("a valid name");
    }
    scope
}

fn text(words: &[usize]) -> String {
    words.iter().map(|&word| WORDS[word]).collect::<Vec<_>>().join(" ")
}

fn embedding(seed: u64, other_space: bool) -> Embedding {
    make::embedding(&make::space(if other_space { "another" } else { "testkit" }), seed)
}

/// The memories that stand, in the order of first writing.
type Model = Vec<EmbeddedMemory>;

fn keeps(question: &Question, memory: &Memory, clock: &TestClock) -> bool {
    [&question.scope].into_iter().chain(&question.also).any(|scope| scope.covers(&memory.scope))
        && !memory.is_expired(clock.now())
        && question.filter.as_ref().is_none_or(|filter| filter.matches(memory))
}

/// Each candidate with its similarity, BM25 and neighbours, by a comparison with every memory.
type Expected = BTreeMap<MemoryId, (Option<f32>, f32, Option<MemoryId>, Option<MemoryId>)>;

fn expected(model: &Model, question: &Question, clock: &TestClock) -> Expected {
    let kept: Vec<usize> = (0..model.len()).filter(|&at| keeps(question, &model[at].memory, clock)).collect();
    let query = question.vector.map(|seed| embedding(seed, false));
    let similarity = |at: usize| query.as_ref()?.similarity(model[at].embedding.as_ref()?).ok();
    let best = |mut scored: Vec<(usize, f32)>| {
        scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        scored.into_iter().take(question.candidates).map(|(at, _)| at).collect::<Vec<_>>()
    };
    let mut found: BTreeSet<usize> =
        best(kept.iter().filter_map(|&at| Some((at, similarity(at)?))).collect()).into_iter().collect();

    let mut scores = BTreeMap::new();
    if let Some(words) = &question.words {
        let mut arena = LexicalArena::default();
        kept.iter().for_each(|&at| arena.set(at, &model[at].memory.lexical_text()));
        let words = Bm25Query::new(&text(words));
        let mut statistics = Bm25Statistics::default();
        arena.add_statistics(&words, &mut statistics, true, |_| true);
        scores = arena.scores(&words, &statistics, |_| true).iter().collect();
        let lexical = best(scores.iter().map(|(at, score)| (*at, *score)).collect());
        if question.neighbours {
            let beside = lexical.iter().flat_map(|&at| [before(model, at, clock), after(model, at, clock)]).flatten();
            found.extend(beside.filter(|at| kept.contains(at)));
        }
        found.extend(lexical);
    }
    let id = |at: Option<usize>| at.map(|at| model[at].memory.id);
    found
        .into_iter()
        .map(|at| {
            let bm25 = scores.get(&at).copied().unwrap_or(0.0);
            (model[at].memory.id, (similarity(at), bm25, id(before(model, at, clock)), id(after(model, at, clock))))
        })
        .collect()
}

fn beside(model: &Model, at: usize, other: usize, clock: &TestClock) -> bool {
    let (this, other) = (&model[at].memory, &model[other].memory);
    this.scope.session().is_some() && this.scope == other.scope && !other.is_expired(clock.now())
}

fn before(model: &Model, at: usize, clock: &TestClock) -> Option<usize> {
    (0..at).rev().find(|&other| beside(model, at, other, clock))
}

fn after(model: &Model, at: usize, clock: &TestClock) -> Option<usize> {
    (at + 1..model.len()).find(|&other| beside(model, at, other, clock))
}

async fn agrees(steps: Vec<Step>, questions: Vec<Question>) {
    let home = Home::new();
    let mut store = home.open().await;
    let mut model: Model = Vec::new();
    let mut past = Past::from([(home.clock.now(), Model::new())]);
    let ask_every = steps.len() / 3 + 1;
    for (at, step) in steps.into_iter().enumerate() {
        match step {
            Step::Insert { user, session, words, vector, other_space, short_lived } => {
                home.clock.advance(std::time::Duration::from_secs(1));
                let mut memory = make::memory(&scope(user, session), &text(&words), home.clock.now());
                memory.metadata = Metadata::from_iter([("first".to_owned(), json!(WORDS[words[0]]))]);
                memory.expires_at = short_lived.then(|| home.clock.now() + chrono::TimeDelta::seconds(10));
                let one = EmbeddedMemory { memory, embedding: vector.map(|seed| embedding(seed, other_space)) };
                store.insert(InsertBatch { memories: vec![one.clone()], idempotency: None }).await.expect("insert");
                model.push(one);
            }
            Step::Update { which, words, vector } if !model.is_empty() => {
                let which = which % model.len();
                let patch = MemoryPatch {
                    text: Some(text(&words)),
                    embedding: vector.map(|seed| embedding(seed, false)),
                    ..MemoryPatch::default()
                };
                if model[which].memory.is_expired(home.clock.now()) {
                    continue;
                }
                let scope = model[which].memory.scope.clone();
                let receipt = store.update(&scope, model[which].memory.id, patch.clone()).await.expect("update");
                model[which] = EmbeddedMemory { memory: Memory::clone(&receipt.memory), embedding: patch.embedding };
            }
            Step::Forget { which } if !model.is_empty() => {
                let gone = model.remove(which % model.len()).memory;
                let selection = Selection::Ids(vec![gone.id]);
                let request = ForgetRequest { scope: gone.scope, selection, dry_run: false };
                assert_eq!(store.forget(&request).await.expect("forget").forgotten, [gone.id]);
            }
            Step::Reopen => {
                store.close().await.expect("close");
                store = home.open().await;
            }
            Step::Update { .. } | Step::Forget { .. } => {}
        }
        past.insert(home.clock.now(), model.clone());
        if at % ask_every == 0 {
            for question in &questions {
                ask(&store, &past, question, &home.clock).await;
            }
        }
    }
    home.clock.advance(std::time::Duration::from_secs(1));
    for question in &questions {
        ask(&store, &past, question, &home.clock).await;
    }
    store.close().await.expect("close");
}

/// The model after each moment at which it changed.
type Past = BTreeMap<Timestamp, Model>;

/// What was known then, of the memories that still stand.
fn known(past: &Past, at: Timestamp, clock: &TestClock) -> Model {
    let last =
        |past: &Past, at| past.range(..=at).next_back().map(|(_, model)| model.clone()).expect("it began before");
    let now = last(past, clock.now());
    let stands =
        |then: &EmbeddedMemory| now.iter().find(|one| one.memory.id == then.memory.id).map(|one| one.memory.expires_at);
    let of_now = |mut one: EmbeddedMemory| {
        one.memory.expires_at = stands(&one)?;
        Some(one)
    };
    last(past, at).into_iter().filter_map(of_now).collect()
}

async fn ask(store: &dyn MemoryStore, past: &Past, question: &Question, clock: &TestClock) {
    let as_of = question.as_of.map(|at| *past.keys().nth(at * past.len() / 1000).expect("one of them"));
    let model = &known(past, as_of.unwrap_or(clock.now()), clock);
    let request = SearchRequest {
        scope: question.scope.clone(),
        also: question.also.clone(),
        embedding: question.vector.map(|seed| embedding(seed, false)),
        text: question.words.as_deref().map(text),
        filter: question.filter.clone(),
        candidates: question.candidates,
        neighbours: question.neighbours,
        at_least: None,
        as_of,
        best: None,
    };
    let found = store.search(&request).await.expect("search");
    let expected = expected(model, question, clock);
    let ids: BTreeSet<MemoryId> = found.candidates.iter().map(|one| one.memory.id).collect();
    assert_eq!(ids.len(), found.candidates.len(), "each candidate once");
    assert_eq!(ids, expected.keys().copied().collect(), "{question:?}");
    for one in &found.candidates {
        let (similarity, bm25, previous, next) = expected[&one.memory.id];
        let version = model.iter().find(|known| known.memory.id == one.memory.id).expect("it is known");
        assert_eq!((&one.memory.text, one.memory.version), (&version.memory.text, version.memory.version));
        assert_eq!(one.similarity, similarity);
        assert!((one.bm25 - bm25).abs() < 1e-5, "{} {bm25}", one.bm25);
        assert_eq!((one.previous, one.next), (previous, next));
    }
    let kept = model.iter().filter(|one| keeps(question, &one.memory, clock));
    let comparable =
        kept.clone().filter(|one| one.embedding.as_ref().is_some_and(|one| one.space().model == "testkit")).count();
    for report in &found.arms {
        assert!(report.exact);
        let (considered, shortfall) = match report.arm {
            Arm::Dense => (comparable, kept.clone().count() - comparable),
            Arm::Lexical => (kept.clone().count(), 0),
            Arm::Working => unreachable!("a store has none"),
        };
        assert_eq!((report.considered, report.shortfall), (considered as u64, shortfall as u64), "{report:?}");
    }
    if question.vector.is_some() {
        assert_eq!(returned(&found, Arm::Dense), comparable.min(question.candidates) as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_search_equals_a_full_comparison(
        steps in prop::collection::vec(step(), 1..40),
        questions in prop::collection::vec(question(), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        runtime.block_on(agrees(steps, questions));
    }
}
