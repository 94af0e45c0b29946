//! Values that are not written again.

use std::collections::BTreeSet;
use std::time::Duration;

use memory_core::store::Cursor;
use memory_core::{
    Clock as _, Error, ForgetRequest, IdempotencyKey, InsertBatch, InsertStatus, Memory, MemoryPatch, MemoryStore,
    Origin, Rejection, Rejections, Scope, Selection, Timestamp, ValueKey, ValueKeys, Writer,
};

use super::{get, insert, list_ids};
use crate::{StoreFixture, make};

const VALUE: &str = "Ann has a sister";

/// No path writes a rejected value, in whichever spelling and session; all others are written.
pub async fn a_rejected_value_is_refused(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let (ann, monday) = (make::user("acme", "ann"), make::session("acme", "ann", "monday"));
    let now = fixture.clock().now();
    let there = make::memory(&ann, VALUE, now);
    let other = make::memory(&ann, "Ann has a brother", now);
    let replayed = with_key(make::memory(&ann, VALUE, now), "k1");
    insert(&*store, make::batch([there.clone(), other.clone()])).await;
    let first = insert(&*store, replayed.clone()).await;
    assert_eq!(reject(&*store, &ann, &[VALUE], now).await, 1);
    assert_eq!(reject(&*store, &ann, &[VALUE, "ann HAS a sister!"], now).await, 0, "it is rejected once");
    let mut created = list_ids(&*store, &ann).await;

    for scope in [&ann, &monday] {
        for text in [VALUE, "ann has  a SISTER.", "Ann has a\u{200b} sister", "Аnn hаs а sіstеr"] {
            for writer in [Writer::User, Writer::Agent, Writer::Tool] {
                let refused = store.insert(make::batch([by(writer, make::memory(scope, text, now))])).await;
                assert_eq!(refused_field(refused), "memories[0].text", "{writer:?} {text}");
            }
            for writer in [Writer::Import, Writer::Consolidation] {
                let sound = by(writer, make::memory(&ann, "Ann has a cousin", now));
                let batch = make::batch([by(writer, make::memory(scope, text, now)), sound.clone()]);
                let statuses: Vec<_> = insert(&*store, batch).await.items.iter().map(|item| item.status).collect();
                assert_eq!(statuses, [InsertStatus::RefusedRejected, InsertStatus::Created], "{writer:?} {text}");
                created.insert(sound.id);
            }
        }
    }
    let batch = [other.text.as_str(), "Ann has an aunt", VALUE].map(|text| make::memory(&ann, text, now));
    assert_eq!(refused_field(store.insert(make::batch(batch)).await), "memories[2].text");
    let patch = |text: Option<&str>| MemoryPatch {
        text: text.map(Into::into),
        importance: Some(0.9),
        ..MemoryPatch::default()
    };
    assert_eq!(refused_field(store.update(&ann, other.id, patch(Some("ANN has a sister"))).await), "text");
    assert_eq!(get(&*store, &ann, other.id).await.expect("it is there").version, 1, "nothing of it was changed");
    assert_eq!(list_ids(&*store, &ann).await, created, "what is there stays, and nothing else came");

    // The controls: other texts are written, and what is there may be changed otherwise.
    store.update(&ann, there.id, patch(None)).await.expect("another importance");
    store.update(&ann, other.id, patch(Some("Ann has two brothers"))).await.expect("another text");
    insert(&*store, make::batch([make::memory(&monday, "It is her sister who sings", now)])).await;
    let again = insert(&*store, replayed).await;
    assert!(again.replayed && again.items == first.items, "a receipt is replayed whatever came since");
    only_the_rejected_are_refused_at_once(store, &ann, now).await;
}

/// Writes that meet each have their own answer.
async fn only_the_rejected_are_refused_at_once(store: std::sync::Arc<dyn MemoryStore>, scope: &Scope, now: Timestamp) {
    let writes: Vec<_> = (0..24)
        .map(|at| {
            let text = if at % 6 == 0 { VALUE.to_owned() } else { format!("Ann has {at} cats") };
            let (store, memory) = (store.clone(), make::memory(scope, &text, now));
            tokio::spawn(async move { store.insert(make::batch([memory])).await })
        })
        .collect();
    for (at, write) in writes.into_iter().enumerate() {
        let answer = write.await.expect("no panic");
        if at % 6 == 0 {
            assert_eq!(refused_field(answer), "memories[0].text");
        } else {
            assert_eq!(answer.expect("insert").items[0].status, InsertStatus::Created, "{at}");
        }
    }
}

/// A rejection has no end: not with time, a restart, or when all that the scope holds is forgotten.
pub async fn a_rejection_survives_expiry_and_pruning(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let ann = make::user("acme", "ann");
    let now = fixture.clock().now();
    let passing =
        Memory { expires_at: Some(now + chrono::TimeDelta::minutes(1)), ..make::memory(&ann, "Ann is away", now) };
    insert(&*store, make::batch([passing, make::memory(&ann, "Ann sings", now)])).await;
    reject(&*store, &ann, &[VALUE, "Ann is away"], now).await;
    fixture.clock().advance(Duration::from_secs(4000 * 24 * 3600));
    let request = ForgetRequest { scope: ann.whole_tenant(), selection: Selection::All, dry_run: false };
    store.forget(&request).await.expect("forget");
    fixture.close(store).await;
    let store = fixture.open().await;
    let now = fixture.clock().now();
    for text in [VALUE, "Ann is away"] {
        let refused = store.insert(make::batch([make::memory(&ann, text, now)])).await;
        assert_eq!(refused_field(refused), "memories[0].text", "{text}");
    }
    assert_eq!(rejected(&*store, &ann).await.len(), 2);
    insert(&*store, make::batch([make::memory(&ann, "Ann has a brother", now)])).await;
    assert_eq!(list_ids(&*store, &ann).await.len(), 1, "what was not rejected is written");
}

/// What one user, agent or tenant rejected another may say, and neither sees it nor takes it back.
pub async fn a_rejection_is_the_scopes_own(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let ann = make::user("acme", "ann");
    let now = fixture.clock().now();
    reject(&*store, &ann, &[VALUE], now).await;
    let agent = ann.clone().with_agent("bot").expect("a valid name");
    let others = [make::user("globex", "ann"), make::user("acme", "bob"), ann.whole_tenant(), agent.clone()];
    for scope in &others {
        insert(&*store, make::batch([make::memory(scope, VALUE, now)])).await;
        assert_eq!(reject(&*store, scope, &["Another value"], now).await, 1);
    }
    let keys = rejections(&*store).rejected(&others[0], None, 100).await.expect("a page").rejections;
    assert_eq!(keys.len(), 1, "another tenant sees its own");
    let key = ValueKeys::of(&ann, VALUE).reads;
    assert!(!rejections(&*store).lift(&others[0], &key).await.expect("an answer"), "nor does it take it back");
    assert!(!rejections(&*store).lift(&ann, &ValueKeys::of(&others[1], VALUE).reads).await.expect("an answer"));
    let refused = store.insert(make::batch([make::memory(&ann, VALUE, now)])).await;
    assert_eq!(refused_field(refused), "memories[0].text", "it stands");

    assert_eq!(rejected(&*store, &ann).await.len(), 2, "that of the user and that of the user's agent");
    assert_eq!(rejected(&*store, &agent).await.len(), 1);
    let tenants = rejected(&*store, &ann.whole_tenant()).await;
    assert_eq!(tenants.len(), 4);
    assert_eq!(tenants[0].scope, ann);
    assert_eq!((tenants[0].rejected_at, tenants[0].rejected_by.as_str()), (now, "testkit \u{0}"));
    assert_eq!(tenants[0].keys, ValueKeys::of(&ann, VALUE));
    // Page by page, each once.
    let (mut seen, mut after): (Vec<Rejection>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = rejections(&*store).rejected(&ann.whole_tenant(), after, 3).await.expect("a page");
        seen.extend(page.rejections);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, tenants);
}

/// A rejection that is taken back is none, and its value is written as any other.
pub async fn a_rejection_can_be_lifted(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let ann = make::user("acme", "ann");
    let now = fixture.clock().now();
    // Of the same looks, and not the same value.
    let like = "Аnn hаs а sister";
    reject(&*store, &ann, &[VALUE, like, "Ann sings"], now).await;
    let write = || with_key(make::memory(&ann, VALUE, now), "k1");
    assert_eq!(refused_field(store.insert(write()).await), "memories[0].text");
    let lift = async |text: &str| {
        let key: ValueKey = ValueKeys::of(&ann, text).reads;
        rejections(&*store).lift(&ann, &key).await.expect("an answer")
    };
    assert!(lift(VALUE).await);
    assert_eq!(refused_field(store.insert(write()).await), "memories[0].text", "that of the same looks stands");
    assert!(lift(like).await && !lift(like).await, "once");
    let receipt = insert(&*store, write()).await;
    assert!(!receipt.replayed, "a refused write has not used its key up");
    assert_eq!(receipt.items[0].status, InsertStatus::Created);
    let refused = store.insert(make::batch([make::memory(&ann, "Ann sings", now)])).await;
    assert_eq!(refused_field(refused), "memories[0].text", "the others stand");
    let left: BTreeSet<_> = rejected(&*store, &ann).await.iter().map(|rejection| rejection.keys.reads).collect();
    assert_eq!(left, BTreeSet::from([ValueKeys::of(&ann, "Ann sings").reads]));
}

fn rejections(store: &dyn MemoryStore) -> &dyn Rejections {
    store.rejections().expect("the store keeps rejections")
}

/// Rejects the values of these texts, and gives how many are new.
async fn reject(store: &dyn MemoryStore, scope: &Scope, texts: &[&str], now: Timestamp) -> u64 {
    let each = texts.iter().map(|text| Rejection {
        scope: scope.without_session(),
        keys: ValueKeys::of(scope, text),
        rejected_at: now,
        // Whatever a name holds.
        rejected_by: "testkit \u{0}".into(),
    });
    rejections(store).reject(&each.collect::<Vec<_>>()).await.expect("reject")
}

async fn rejected(store: &dyn MemoryStore, scope: &Scope) -> Vec<Rejection> {
    let page = rejections(store).rejected(scope, None, 100).await.expect("a page");
    assert!(page.next.is_none());
    page.rejections
}

fn by(writer: Writer, memory: Memory) -> Memory {
    Memory { origin: Origin::new(writer, "testkit"), ..memory }
}

fn with_key(memory: Memory, key: &str) -> InsertBatch {
    let idempotency = IdempotencyKey { key: key.into(), body_hash: [7; 32] };
    InsertBatch { idempotency: Some(idempotency), ..make::batch([memory]) }
}

/// The field that a refusal names.
#[track_caller]
fn refused_field<T: std::fmt::Debug>(answer: memory_core::Result<T>) -> String {
    match answer {
        Err(Error::ValueRejected { field }) => field,
        other => panic!("it was not refused: {other:?}"),
    }
}
