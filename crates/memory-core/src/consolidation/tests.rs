//! Promises of plans as a whole.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{MemoryKind, Metadata, Scope};

fn at(day: u32) -> Timestamp {
    format!("2026-05-{day:02}T12:00:00Z").parse().unwrap()
}

fn now() -> Timestamp {
    "2026-06-01T12:00:00Z".parse().unwrap()
}

fn fact(id: u128, text: &str, day: u32) -> Memory {
    Memory {
        id: uuid::Uuid::from_u128(id).into(),
        version: 1,
        scope: Scope::tenant("acme").unwrap().with_user("ann").unwrap(),
        kind: MemoryKind::Semantic,
        text: text.into(),
        actor: None,
        metadata: Metadata::new(),
        importance: 0.5,
        origin: Origin::new(Writer::User, "test"),
        evidence: Vec::new(),
        valid_from: Some(at(day)),
        valid_to: None,
        recorded_at: at(day),
        superseded_at: None,
        expires_at: None,
    }
}

/// A window in which everything is as near as it can be: only the rules keep things apart.
fn window(memories: impl IntoIterator<Item = Memory>) -> Window {
    let memories: Vec<_> = memories.into_iter().map(Arc::new).collect();
    let near = (0..memories.len()).flat_map(|b| (0..b).map(move |a| Near { a, b, similarity: 0.99 })).collect();
    Window { memories, near, gone: HashSet::new() }
}

fn shown(window: &Window) -> String {
    let number = |id: &MemoryId| id.as_uuid().as_u128().to_string();
    let line = |step: &Step| {
        let evidence = step.evidence().iter().map(number).collect::<Vec<_>>().join(" ");
        let closes = step.closes().iter().map(|memory| number(&memory.id)).collect::<Vec<_>>().join(" ");
        format!("{} [{evidence}] into {:?}, closes [{closes}]: {step}", step.name(), step.result().1)
    };
    plan(window, &Settings::default(), now()).steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_plan_says_what_it_does_and_why() {
    let mut turn = fact(9, "Hello! I prefer the window seat.", 9);
    turn.kind = MemoryKind::Message;
    turn.expires_at = Some(at(1) + Duration::from_secs(90 * 86_400));
    let memories = [
        fact(1, "Ann lives in Lisbon", 1),
        fact(2, "Ann lives in Porto", 2),
        fact(3, "Ann likes green tea", 3),
        fact(4, "Ann likes the green tea.", 4),
        fact(5, "Ann likes black tea", 5),
        turn,
    ];
    insta::assert_snapshot!(shown(&window(memories)), @r#"
    supersede [1 2] into "Ann lives in Porto", closes [1]: a later statement differs in name: "Lisbon" against "Porto"
    merge [3 4] into "Ann likes the green tea.", closes [3 4]: they say the same, similarity 0.99
    promote [9] into "I prefer the window seat.", closes []: a turn states a preference
    "#);
}

#[test]
fn what_does_not_belong_together_is_left_alone() {
    let one = || fact(1, "Ann likes green tea", 1);
    type Change = fn(&mut Memory);
    let changes: [(&str, Change); 12] = [
        ("scope", |memory| memory.scope = Scope::tenant("acme").unwrap().with_user("bob").unwrap()),
        ("session", |memory| memory.scope = memory.scope.clone().with_session("monday").unwrap()),
        ("tenant", |memory| memory.scope = Scope::tenant("other").unwrap().with_user("ann").unwrap()),
        ("actor", |memory| memory.actor = Some("Bob".into())),
        ("kind", |memory| memory.kind = MemoryKind::Episodic),
        ("end", |memory| memory.valid_to = Some(now() + Duration::from_secs(1))),
        ("ended", |memory| memory.valid_to = Some(now())),
        ("not begun", |memory| memory.valid_from = Some(now() + Duration::from_secs(1))),
        ("expiry", |memory| memory.expires_at = Some(now() + Duration::from_secs(1))),
        ("more", |memory| memory.text = "Ann likes green tea from Japan".into()),
        ("negated", |memory| memory.text = "Ann does not like green tea".into()),
        ("another word", |memory| memory.text = "Ann likes green cake".into()),
    ];
    for (what, change) in changes {
        let mut other = fact(2, "Ann likes green tea!", 2);
        change(&mut other);
        let plan = plan(&window([one(), other]), &Settings::default(), now());
        assert!(!plan.steps.iter().any(|step| matches!(step, Step::Merge { .. })), "{what}: {plan:?}");
    }
    assert!(shown(&window([one(), fact(2, "Ann likes green tea!", 2)])).starts_with("merge"), "the control");
    let turn = |id| Memory { kind: MemoryKind::Message, ..fact(id, "Yes", 1) };
    assert_eq!(shown(&window([turn(1), turn(2)])), "", "turns are the record of what was said");
}

#[test]
fn the_less_trusted_does_not_overrule() {
    let mut later = fact(2, "Ann lives in Porto", 2);
    later.origin.writer = Writer::Tool;
    assert_eq!(shown(&window([fact(1, "Ann lives in Lisbon", 1), later.clone()])), "");
    let mut earlier = fact(1, "Ann lives in Lisbon", 1);
    earlier.origin.writer = Writer::Import;
    assert!(shown(&window([earlier, later])).starts_with("supersede [1 2]"));
}

#[test]
fn what_is_derived_is_trusted_as_its_least_trusted_source() {
    let mut imported = fact(2, "Ann likes green tea!", 2);
    imported.origin = Origin::new(Writer::Import, "import:jsonl");
    for (other, trusted) in [(imported, Writer::Import), (fact(2, "Ann likes green tea!", 2), Writer::Consolidation)] {
        let plan = plan(&window([fact(1, "Ann likes green tea", 1), other]), &Settings::default(), now());
        let Some(Step::Merge { successor, .. }) = plan.steps.first() else { panic!("{plan:?}") };
        assert_eq!((successor.origin.writer, trust(&successor.origin)), (Writer::Consolidation, trusted));
        assert_eq!(successor.valid_from, Some(at(1)));
        assert!(successor.importance > 0.5 && successor.importance <= 1.0);
    }
}

#[test]
fn what_was_cut_short_is_finished_and_not_begun_again() {
    let sources = [fact(1, "Ann likes green tea", 1), fact(2, "Ann likes green tea!", 2)];
    let begun = plan(&window(sources.clone()), &Settings::default(), now());
    let Some(Step::Merge { successor, .. }) = begun.steps.first() else { panic!("{begun:?}") };
    let successor = successor.to_memory(now());
    let [one, two] = sources;
    insta::assert_snapshot!(shown(&window([one.clone(), two.clone(), successor.clone()])).split(" into").next().unwrap(), @"finish [1 2]");
    let mut closed = one;
    closed.valid_to = Some(now());
    closed.metadata = Record::closed(&closed, successor.id, now());
    insta::assert_snapshot!(shown(&window([closed.clone(), two.clone(), successor.clone()])).split(" into").next().unwrap(), @"finish [2]");
    let mut corrected = two;
    corrected.version = 2;
    corrected.text = "Ann likes black tea".into();
    assert_eq!(
        shown(&window([closed.clone(), corrected.clone(), successor.clone()])),
        "",
        "a correction is not closed"
    );
    corrected.text = "Ann likes green tea".into();
    let planned = plan(&window([closed, corrected, successor]), &Settings::default(), now());
    assert!(
        matches!(planned.steps[..], [Step::Merge { .. }]),
        "another version is not what it was made of: {planned:?}"
    );
}

#[test]
fn proposals_are_checked() {
    let window = window([fact(1, "Ann likes green tea", 1), fact(2, "Ann has a red bicycle", 2), {
        let mut other = fact(3, "Bob likes green tea", 3);
        other.scope = Scope::tenant("acme").unwrap().with_user("bob").unwrap();
        other
    }]);
    let check = |text: &str, evidence: &[u128]| {
        let evidence = evidence.iter().map(|id| uuid::Uuid::from_u128(*id).into()).collect();
        let proposal = Proposal { text: text.into(), evidence };
        accept(&proposal, "model", &window, &Settings::default(), now(), &HashSet::new())
    };
    assert_eq!(check(" ", &[1, 2]), Err(Refused::Text));
    assert_eq!(check("Ann likes green tea", &[1]), Err(Refused::Evidence));
    assert_eq!(check("Ann likes green tea", &[1, 1]), Err(Refused::Evidence));
    assert_eq!(check("Ann likes green tea", &[1, 7]), Err(Refused::Unknown));
    assert_eq!(check("Ann and Bob like green tea", &[1, 3]), Err(Refused::Mixed));
    assert_eq!(check("Ann likes green tea and has a red bicycle in Lisbon", &[1, 2]), Err(Refused::Invented));
    assert_eq!(check("Ann likes tea", &[1, 2]), Err(Refused::Lossy));
    assert_eq!(check("Ann does not like green tea and has a red bicycle", &[1, 2]), Err(Refused::Invented));
    let step = check("Ann likes green tea. Ann has a red bicycle.", &[1, 2]).unwrap();
    assert_eq!((step.to_string().as_str(), step.closes().len()), ("proposed by model", 2));
}

fn a_text() -> impl Strategy<Value = String> {
    const WORDS: [&str; 14] =
        ["Ann", "Bob", "likes", "not", "tea", "green", "lives", "in", "Lisbon", "Porto", "2", "3", "the", "cats"];
    prop::collection::vec(prop::sample::select(&WORDS[..]), 1..7).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn nothing_is_closed_twice_and_no_word_is_lost(texts in prop::collection::vec((a_text(), 1_u32..28), 0..8)) {
        let memories = texts.iter().enumerate().map(|(id, (text, day))| fact(id as u128 + 1, text, *day));
        let window = window(memories);
        let plan = plan(&window, &Settings::default(), now());
        let mut closed = HashSet::new();
        for step in &plan.steps {
            for memory in step.closes() {
                prop_assert!(closed.insert(memory.id), "{step:?}");
            }
            if let Step::Merge { successor, sources, .. } = step {
                let kept = duplicates::content(&successor.text);
                prop_assert!(sources.iter().any(|source| source.text == successor.text));
                prop_assert!(sources.iter().all(|source| duplicates::covers(&kept, &source.text)));
                prop_assert_eq!(successor.evidence.len(), sources.len());
            }
        }
        prop_assert_eq!(&plan, &super::plan(&window, &Settings::default(), now()), "a plan is a function of its window");
    }

    #[test]
    fn importance_rises_and_fades_within_its_bounds(
        importance in 0.0_f32..=1.0, further in 0_u64..1000, repetition in 0.0_f32..=1.0, days in 0_u64..10_000,
    ) {
        let raised = importance::raised(importance, further, repetition);
        prop_assert!((importance..=1.0).contains(&raised));
        prop_assert!(importance::raised(importance, further + 1, repetition) >= raised);
        let memory = Memory { importance, ..fact(1, "Ann likes tea", 1) };
        let decayed = |days: u64| {
            importance::decayed(&memory, at(1) + Duration::from_secs(days * 86_400), importance::DEFAULT_HALF_LIFE)
        };
        prop_assert!((0.0..=importance).contains(&decayed(days)) && decayed(days + 1) <= decayed(days));
        prop_assert!((decayed(30) - importance / 2.0).abs() < 1e-6);
    }
}
