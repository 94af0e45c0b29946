//! What `TieredMemoryManager::consolidate` promises over any store, a function for each promise.

mod interrupted;
mod stores;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use memory_core::consolidation::{Consolidator, Proposal, Step, Window};
use memory_core::manager::StepOutcome;
use memory_core::{
    Clock, ConsolidateReport, ConsolidateRequest, Draft, Error, Filter, ForgetRequest, ListRequest, Memory, MemoryId,
    MemoryKind, MemoryPatch, MemoryStore, Origin, RecallRequest, RememberRequest, Result, Scope, Selection,
    TieredMemoryManager, Writer,
};

pub use self::interrupted::{
    a_correction_in_the_middle_is_not_overrun, a_run_cut_short_goes_on, one_run_at_a_time, two_phase_swap,
};
use super::WordEmbedder;
use crate::{StoreFixture, TestClock, make};

/// Makes one test for each promise of `TieredMemoryManager::consolidate`. `$fixture` is an expression that makes a
/// [`StoreFixture`].
#[macro_export]
macro_rules! consolidation_suite {
    ($fixture:expr) => {
        $crate::__suite!(
            consolidation, $fixture;
            derived_keeps_evidence, two_phase_swap, a_run_cut_short_goes_on, forgotten_stays_forgotten,
            what_differs_stays_apart, hard_negatives_stay_apart, a_second_run_changes_nothing,
            a_dry_run_changes_nothing, what_is_superseded_is_history, turns_are_promoted_before_they_expire,
            one_run_at_a_time, many_of_the_same_become_one, bad_proposals_change_nothing,
            a_correction_is_not_overrun, a_correction_in_the_middle_is_not_overrun
        );
    };
}

/// A successor names its sources and is trusted no more than they; forgetting one of them forgets it, and the next run lets
/// the others hold again.
pub async fn derived_keeps_evidence(fixture: &dyn StoreFixture) {
    let home = Home::open(fixture).await;
    let ann = make::user("acme", "ann");
    let ids = home.facts(&ann, &["Ann likes green tea", "Ann likes green tea!"]).await;
    let sibling = home.facts(&ann, &["The door is red", "the door is red"]).await;
    let report = home.consolidate(&ann).await;
    assert_eq!(names(&report), ["merge", "merge"]);
    let successor = home.get(&ann, report.steps[0].step.result().0).await.expect("it is there");
    assert_eq!(successor.evidence, sorted(&ids));
    assert_eq!(successor.origin.writer, Writer::Consolidation);
    assert!(successor.importance > Draft::DEFAULT_IMPORTANCE && successor.importance <= 1.0);
    let other = report.steps[1].step.result().0;
    assert_eq!(home.open_ids(&ann).await, BTreeSet::from([successor.id, other]));

    let request = ForgetRequest { scope: ann.clone(), selection: Selection::Ids(vec![ids[0]]), dry_run: false };
    let receipt = home.manager.forget(&request).await.expect("forget");
    assert_eq!((receipt.forgotten, receipt.derived), (vec![ids[0]], vec![successor.id]));
    let report = home.consolidate(&ann).await;
    assert_eq!(names(&report), ["reopen"]);
    assert_eq!(home.open_ids(&ann).await, BTreeSet::from([ids[1], other]), "the sibling stays as it is");
    let source = home.get(&ann, ids[1]).await.expect("it is there");
    assert!(source.valid_to.is_none() && source.metadata.is_empty(), "{source:?}");
    assert_eq!(home.get(&ann, other).await.expect("it is there").evidence, sorted(&sibling));
}

/// What was forgotten is not brought back by consolidation: neither its text, nor what would be derived from it.
pub async fn forgotten_stays_forgotten(fixture: &dyn StoreFixture) {
    let home = Home::open(fixture).await;
    let ann = make::user("acme", "ann");
    let forgotten = home.facts(&ann, &["Ann likes green tea"]).await;
    let request = ForgetRequest { scope: ann.clone(), selection: Selection::Ids(forgotten), dry_run: false };
    home.manager.forget(&request).await.expect("forget");
    // The user may say it again; consolidation may not.
    home.facts(&ann, &["Ann likes green tea", "Ann likes green tea!"]).await;
    let before = home.state(&ann).await;
    for _ in 0..2 {
        let report = home.consolidate(&ann).await;
        assert_eq!(outcomes(&report), [StepOutcome::RefusedForgotten]);
        assert_eq!(home.state(&ann).await, before);
    }
    let bob = make::user("acme", "bob");
    let ids = home.facts(&bob, &["Bob has a bicycle", "Bob has a bicycle!"]).await;
    home.consolidate(&bob).await;
    let request = ForgetRequest { scope: bob.clone(), selection: Selection::Ids(ids), dry_run: false };
    home.manager.forget(&request).await.expect("forget");
    home.consolidate(&bob).await;
    assert_eq!(home.state(&bob).await, []);
}

/// Memories of different tenants, users, sessions, speakers or kinds are never put together, also when a run covers them
/// all; those of one are.
pub async fn what_differs_stays_apart(fixture: &dyn StoreFixture) {
    let home = Home::open(fixture).await;
    let ann = make::user("acme", "ann");
    let mut drafts: Vec<Draft> = [
        ann.clone(),
        make::user("acme", "bob"),
        make::session("acme", "ann", "monday"),
        make::session("acme", "ann", "tuesday"),
        Scope::tenant("acme").expect("a name"),
    ]
    .into_iter()
    .map(|scope| fact(&scope, "Green tea is served at noon"))
    .collect();
    drafts.push(Draft { actor: Some("Ann".into()), ..fact(&ann, "Green tea is served at noon") });
    drafts.push(Draft { actor: Some("Bob".into()), ..fact(&ann, "Green tea is served at noon") });
    drafts.push(Draft { kind: MemoryKind::Procedural, ..fact(&ann, "Green tea is served at noon") });
    drafts.push(Draft { kind: MemoryKind::Message, ..fact(&ann, "Green tea is served at noon") });
    drafts.push(Draft { kind: MemoryKind::Message, ..fact(&ann, "Green tea is served at noon") });
    home.remember(drafts).await;
    home.facts(&make::user("other", "ann"), &["Green tea is served at noon"]).await;
    let acme = Scope::tenant("acme").expect("a name");
    let before = home.state(&acme).await;
    assert_eq!(names(&home.consolidate(&acme).await), [""; 0]);
    assert_eq!(home.state(&acme).await, before);
    let other = home.state(&make::user("other", "ann")).await;
    home.facts(&ann, &["Green tea is served at noon."]).await;
    assert_eq!(names(&home.consolidate(&acme).await), ["merge"], "the control");
    assert_eq!(home.state(&make::user("other", "ann")).await, other);
    assert_eq!(home.open_ids(&acme).await.len(), before.len());
}

/// However near their vectors are, facts between which the guard sees a difference stay as they are.
pub async fn hard_negatives_stay_apart(fixture: &dyn StoreFixture) {
    const PAIRS: [[&str; 2]; 9] = [
        ["Ann flew from Lisbon to Porto", "Ann flew from Porto to Lisbon"],
        ["Ann visited Lisbon", "Ann visited Porto"],
        ["Ann ran 5 km", "Ann ran 15 km"],
        ["Ann turned on dark mode", "Ann turned off dark mode"],
        ["The parcel weighed 50 kg", "The parcel weighed 50 lb"],
        ["Ann fixed error E0308", "Ann fixed error E0309"],
        ["Ann prefers tea to coffee", "Ann prefers coffee to tea"],
        ["Ann called Bob", "Ann called Bob about the lease"],
        ["It is safe to eat raw eggs", "It is unsafe to eat raw eggs"],
    ];
    let home = Home::open(fixture).await;
    let one = make::embedding(&make::space("testkit"), 7);
    for (at, pair) in PAIRS.iter().enumerate() {
        let scope = make::user("acme", &format!("user-{at}"));
        let drafts = pair.iter().map(|text| Draft { embedding: Some(one.clone()), ..fact(&scope, text) }).collect();
        home.remember(drafts).await;
        let before = home.state(&scope).await;
        assert_eq!(names(&home.consolidate(&scope).await), [""; 0], "{pair:?}");
        assert_eq!(home.state(&scope).await, before);
    }
}

/// A run over what was consolidated finds nothing to do, and leaves every memory in its version.
pub async fn a_second_run_changes_nothing(fixture: &dyn StoreFixture) {
    let home = Home::open(fixture).await;
    let ann = make::user("acme", "ann");
    home.mixture(&ann).await;
    assert_eq!(names(&home.consolidate(&ann).await), ["supersede", "merge", "promote"]);
    let after = home.state(&ann).await;
    home.clock.advance(Duration::from_secs(3600));
    let report = home.consolidate(&ann).await;
    assert_eq!((names(&report), &report.token), (vec![], &None));
    assert_eq!(home.state(&ann).await, after);
    // What is said again raises what is there.
    home.facts(&ann, &["ANN LIKES GREEN TEA"]).await;
    let before = home.holding(&ann).await.iter().map(|memory| memory.importance).fold(0.0, f32::max);
    assert_eq!(names(&home.consolidate(&ann).await), ["merge"]);
    let now = home.holding(&ann).await.iter().map(|memory| memory.importance).fold(0.0, f32::max);
    assert!(now > before, "{now} {before}");
}

/// A dry run tells what a run does, and changes nothing.
pub async fn a_dry_run_changes_nothing(fixture: &dyn StoreFixture) {
    let home = Home::open(fixture).await;
    let ann = make::user("acme", "ann");
    home.mixture(&ann).await;
    let before = home.state(&ann).await;
    let request = ConsolidateRequest { dry_run: true, ..home.request(&ann) };
    let planned = home.manager.consolidate(&request).await.expect("a plan");
    assert_eq!(home.state(&ann).await, before);
    assert_eq!(outcomes(&planned), [StepOutcome::Planned; 3]);
    let steps =
        |report: &ConsolidateReport| -> Vec<Step> { report.steps.iter().map(|done| done.step.clone()).collect() };
    assert_eq!(steps(&planned), steps(&home.consolidate(&ann).await));
}

/// A fact that a later one contradicts is left out of a recall of now, and found where it was true and where it was known.
pub async fn what_is_superseded_is_history(fixture: &dyn StoreFixture) {
    let home = Home::open(fixture).await;
    let ann = make::user("acme", "ann");
    let former = home.facts(&ann, &["Ann lives in Lisbon"]).await[0];
    let then = home.clock.now();
    home.clock.advance(Duration::from_secs(3600));
    let current = home.facts(&ann, &["Ann lives in Porto"]).await[0];
    home.clock.advance(Duration::from_secs(3600));
    assert_eq!(names(&home.consolidate(&ann).await), ["supersede"]);
    let ask = RecallRequest::new(ann.clone(), "Where does Ann live?");
    assert_eq!(home.recall(ask.clone()).await, BTreeSet::from([current]));
    let valid = RecallRequest { filter: Some(Filter::valid_at(then)), ..ask.clone() };
    assert!(home.recall(valid).await.contains(&former));
    assert_eq!(home.recall(RecallRequest { as_of: Some(then), ..ask }).await, BTreeSet::from([former]));
    let history = home.manager.history(&ann, former).await.expect("history");
    assert_eq!(history.iter().map(|version| version.valid_to.is_some()).collect::<Vec<_>>(), [false, true]);
}

/// What a turn states that lasts is kept as a fact of its user before the turn expires, once.
pub async fn turns_are_promoted_before_they_expire(fixture: &dyn StoreFixture) {
    let home = Home::open(fixture).await;
    let monday = make::session("acme", "ann", "monday");
    let expires_at = Some(home.clock.now() + Duration::from_secs(60));
    let turn = |text: &str, actor: &str| Draft {
        kind: MemoryKind::Message,
        actor: Some(actor.into()),
        expires_at,
        ..fact(&monday, text)
    };
    let ids = home
        .remember(vec![
            turn("Hello! I prefer the window seat.", "user"),
            turn("I like that you ask. Shall I book it?", "assistant"),
            turn("Yes, today.", "user"),
        ])
        .await;
    let ann = make::user("acme", "ann");
    assert_eq!(names(&home.consolidate(&monday).await), [""; 0], "the session's run does not write outside of it");
    let report = home.consolidate(&ann).await;
    assert_eq!((names(&report), outcomes(&report)), (vec!["promote"], vec![StepOutcome::Done]));
    assert_eq!(names(&home.consolidate(&ann).await), [""; 0]);
    home.clock.advance(Duration::from_secs(120));
    let kept = home.holding(&ann).await;
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(
        (kept[0].text.as_str(), kept[0].kind, &kept[0].scope),
        ("I prefer the window seat.", MemoryKind::Semantic, &ann)
    );
    assert_eq!(kept[0].evidence, [ids[0]]);
}

/// More of the same than a memory is compared with become one, in runs of any size, none of which looks at more than it
/// may.
pub async fn many_of_the_same_become_one(fixture: &dyn StoreFixture) {
    const MANY: usize = 120;
    let home = Home::open(fixture).await;
    let ann = make::user("acme", "ann");
    home.facts(&ann, &[["Ann likes green tea"; MANY].as_slice(), &["The door is red"]].concat()).await;
    let planned = home.manager.consolidate(&ConsolidateRequest { dry_run: true, ..home.request(&ann) }).await;
    let mut closed = BTreeSet::new();
    for memory in planned.expect("a plan").steps.iter().flat_map(|planned| planned.step.closes()) {
        assert!(closed.insert(memory.id), "a plan closes nothing twice");
    }
    let mut request = ConsolidateRequest { limit: 20, ..home.request(&ann) };
    for _ in 0..100 {
        let report = home.manager.consolidate(&request).await.expect("consolidate");
        assert!(report.visited <= 20);
        request.cursor = report.next;
        if request.cursor.is_none() {
            break;
        }
    }
    assert_eq!(request.cursor, None, "it comes to an end");
    assert_eq!(home.holding_texts(&ann).await, ["Ann likes green tea", "The door is red"]);
    let recalled = home.recall(RecallRequest::new(ann, "What does Ann like?")).await;
    assert_eq!(recalled.len(), 2, "what was closed does not take the place of others");
}

/// A consolidator that proposes what does not hold up, or fails, changes nothing; one that proposes well is heard.
pub async fn bad_proposals_change_nothing(fixture: &dyn StoreFixture) {
    let home = Home::open(fixture).await;
    let ann = make::user("acme", "ann");
    let ids = home.facts(&ann, &["Ann likes green tea", "Ann has a red bicycle"]).await;
    let elsewhere = home.facts(&make::user("acme", "bob"), &["Bob likes green tea"]).await[0];
    let before = home.state(&ann).await;
    let bad = [("", ids.clone()), ("Ann likes tea", ids.clone()), ("Ann likes green tea and Bob", ids.clone())];
    let mut bad: Vec<Proposal> =
        bad.into_iter().map(|(text, evidence)| Proposal { text: text.into(), evidence }).collect();
    bad.push(Proposal { text: "Ann likes green tea".into(), evidence: vec![] });
    bad.push(Proposal { text: "Ann likes green tea".into(), evidence: vec![ids[0], elsewhere] });
    bad.push(Proposal { text: "Ann likes green tea".into(), evidence: vec![ids[0], make::id()] });
    let run = |answer| {
        let consolidator: Arc<dyn Consolidator> = Arc::new(Model { answer });
        ConsolidateRequest { consolidator: Some(consolidator), ..home.request(&ann) }
    };
    let number = bad.len() as u64;
    let report = home.manager.consolidate(&run(Some(bad))).await.expect("consolidate");
    assert_eq!((names(&report), report.refused_proposals), (vec![], number));
    home.manager.consolidate(&run(None)).await.expect_err("the model is away");
    assert_eq!(home.state(&ann).await, before);
    let good = Proposal { text: "Ann likes green tea. Ann has a red bicycle.".into(), evidence: ids.clone() };
    let report = home.manager.consolidate(&run(Some(vec![good]))).await.expect("consolidate");
    assert_eq!(outcomes(&report), [StepOutcome::Done]);
    assert_eq!(home.holding(&ann).await[0].evidence, sorted(&ids));
}

/// What is corrected between the plan and the swap stays as it was corrected.
pub async fn a_correction_is_not_overrun(fixture: &dyn StoreFixture) {
    let home = Home::open(fixture).await;
    let ann = make::user("acme", "ann");
    let ids = home.facts(&ann, &["Ann likes green tea", "Ann likes green tea!"]).await;
    let corrector = Corrector { manager: home.manager.clone(), scope: ann.clone(), id: ids[0] };
    let request = ConsolidateRequest { consolidator: Some(Arc::new(corrector)), ..home.request(&ann) };
    let report = home.manager.consolidate(&request).await.expect("consolidate");
    assert_eq!(outcomes(&report), [StepOutcome::Overtaken]);
    assert_eq!(home.holding_texts(&ann).await, ["Ann likes black tea", "Ann likes green tea!"]);
}

/// A consolidator that answers as it is told; `None` is a failure.
#[derive(Debug)]
struct Model {
    answer: Option<Vec<Proposal>>,
}

#[async_trait]
impl Consolidator for Model {
    fn name(&self) -> &str {
        "model"
    }

    async fn propose(&self, _: &Window) -> Result<Vec<Proposal>> {
        self.answer.clone().ok_or_else(|| Error::Embedder {
            model: "model".into(),
            reason: "away".into(),
            retryable: true,
            source: None,
        })
    }
}

/// Somebody who corrects a memory after the plan was made.
#[derive(Debug)]
struct Corrector {
    manager: TieredMemoryManager,
    scope: Scope,
    id: MemoryId,
}

#[async_trait]
impl Consolidator for Corrector {
    fn name(&self) -> &str {
        "corrector"
    }

    async fn propose(&self, _: &Window) -> Result<Vec<Proposal>> {
        let patch = MemoryPatch { text: Some("Ann likes black tea".into()), ..MemoryPatch::default() };
        self.manager.update(&self.scope, self.id, patch).await?;
        Ok(Vec::new())
    }
}

/// A manager over a store, without a cache.
struct Home {
    manager: TieredMemoryManager,
    store: Arc<dyn MemoryStore>,
    clock: TestClock,
}

impl Home {
    async fn open(fixture: &dyn StoreFixture) -> Self {
        Self::over(fixture.open().await, fixture.clock())
    }

    fn over(store: Arc<dyn MemoryStore>, clock: TestClock) -> Self {
        let embedder = Arc::new(WordEmbedder::new());
        // As of a machine, which is finer than what stores keep of it.
        let now = clock.clone();
        let now = move || now.now() + Duration::from_nanos(1);
        let manager = TieredMemoryManager::builder(now, make::id)
            .medium_term_provider(store.clone())
            .embedder(embedder)
            .build()
            .expect("every part is there");
        Self { manager, store, clock }
    }

    /// A run in which being near keeps little apart: the words do.
    fn request(&self, scope: &Scope) -> ConsolidateRequest {
        let mut request = ConsolidateRequest::new(scope.clone());
        request.settings.contradiction_similarity = 0.4;
        request
    }

    async fn consolidate(&self, scope: &Scope) -> ConsolidateReport {
        self.manager.consolidate(&self.request(scope)).await.expect("consolidate")
    }

    async fn remember(&self, drafts: Vec<Draft>) -> Vec<MemoryId> {
        let request = RememberRequest { drafts, origin: Origin::new(Writer::User, "testkit"), idempotency: None };
        let receipt = self.manager.remember(request).await.expect("remember");
        receipt.items.iter().map(|item| item.id).collect()
    }

    async fn facts(&self, scope: &Scope, texts: &[&str]) -> Vec<MemoryId> {
        self.remember(texts.iter().map(|text| fact(scope, text)).collect()).await
    }

    /// Something to supersede, to merge and to promote, and something to leave alone.
    async fn mixture(&self, scope: &Scope) {
        self.facts(scope, &["Ann lives in Lisbon", "Ann likes green tea", "Ann visited Rome"]).await;
        self.clock.advance(Duration::from_secs(60));
        self.facts(scope, &["Ann lives in Porto", "Ann likes green tea!", "Ann visited Milan"]).await;
        let mut turn = fact(scope, "I prefer the window seat");
        turn.kind = MemoryKind::Message;
        turn.expires_at = Some(self.clock.now() + Duration::from_secs(86_400));
        self.remember(vec![turn]).await;
        self.clock.advance(Duration::from_secs(60));
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Option<Arc<Memory>> {
        self.store.get(scope, id).await.expect("get")
    }

    async fn all(&self, scope: &Scope) -> Vec<Arc<Memory>> {
        let request = ListRequest {
            scope: scope.clone(),
            filter: None,
            limit: 1000,
            cursor: None,
            newest_first: false,
            with_embeddings: false,
        };
        self.store.list(&request).await.expect("list").memories.into_iter().map(|(memory, _)| memory).collect()
    }

    /// What holds now.
    async fn holding(&self, scope: &Scope) -> Vec<Arc<Memory>> {
        let now = self.clock.now();
        self.all(scope).await.into_iter().filter(|memory| memory.valid_to.is_none_or(|to| to > now)).collect()
    }

    async fn holding_texts(&self, scope: &Scope) -> Vec<String> {
        let mut texts: Vec<String> = self.holding(scope).await.iter().map(|memory| memory.text.clone()).collect();
        texts.sort();
        texts
    }

    async fn open_ids(&self, scope: &Scope) -> BTreeSet<MemoryId> {
        self.holding(scope).await.iter().map(|memory| memory.id).collect()
    }

    /// Every memory with its version.
    async fn state(&self, scope: &Scope) -> Vec<(MemoryId, u64, String)> {
        self.all(scope).await.iter().map(|memory| (memory.id, memory.version, memory.text.clone())).collect()
    }

    async fn recall(&self, request: RecallRequest) -> BTreeSet<MemoryId> {
        let report = self.manager.recall(request).await.expect("recall");
        report.memories.iter().map(|recalled| recalled.memory.id).collect()
    }
}

fn fact(scope: &Scope, text: &str) -> Draft {
    Draft { kind: MemoryKind::Semantic, ..Draft::new(scope.clone(), text) }
}

fn names(report: &ConsolidateReport) -> Vec<&'static str> {
    report.steps.iter().map(|done| done.step.name()).collect()
}

fn outcomes(report: &ConsolidateReport) -> Vec<StepOutcome> {
    report.steps.iter().map(|done| done.outcome).collect()
}

fn sorted(ids: &[MemoryId]) -> Vec<MemoryId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use memory_core::consolidation::{Near, Settings, plan};

    use super::*;
    use crate::labelled;

    /// Of the labelled pairs as facts of one user, with vectors that are as near as can be.
    #[test]
    fn labelled_pairs_that_differ_are_not_merged() {
        let now = TestClock::new().now();
        let scope = make::user("acme", "ann");
        let fact = |text: &str| {
            let mut memory = make::memory(&scope, text, now);
            memory.kind = MemoryKind::Semantic;
            Arc::new(memory)
        };
        let (mut merged, mut wrong) = (0, Vec::new());
        for pair in labelled::pairs() {
            let memories = vec![fact(&pair.cached), fact(&pair.asked)];
            let near = vec![Near { a: 0, b: 1, similarity: 1.0 }];
            let plan = plan(&Window { memories, near, ..Window::default() }, &Settings::default(), now);
            match (plan.steps.is_empty(), pair.same) {
                (true, _) => {}
                (false, true) => merged += 1,
                (false, false) => wrong.push(pair.id),
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(merged >= 10, "{merged} of the pairs that are the same are merged");
    }
}
