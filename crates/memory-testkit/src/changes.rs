//! The contract of `memory_core::ChangeFeed`, a function for each promise. A store that is followed keeps them beside those of
//! [`store`](crate::store).

use std::time::{Duration, Instant};

use memory_core::{
    Change, ChangeEvent, ChangeFeed, ForgetRequest, Memory, MemoryId, MemoryPatch, MemoryStore, Origin, Scope,
    Selection, Writer,
};

use crate::{StoreFixture, make};

/// Changes are told some time after they are acknowledged: what else goes on in a store may hold them back for a while.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes one test for each promise of `ChangeFeed`. `$fixture` is an expression that makes a [`StoreFixture`] whose store is
/// followed.
#[macro_export]
macro_rules! changes_suite {
    ($fixture:expr) => {
        $crate::__suite!(
            changes, $fixture;
            every_change_is_told, a_position_is_kept_and_never_goes_back, what_every_follower_has_passed_is_removed
        );
    };
}

/// An update, a forgetting with what was derived, each with its memories and in this order, to each follower; a new memory is
/// not told of.
pub async fn every_change_is_told(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let feed = feed(&*store);
    let (acme, globex) = (make::user("acme", "ann"), make::user("globex", "bob"));
    assert_eq!(feed.unseen("a", 10).await.expect("a feed"), []);
    let [kept, source, elsewhere] = [
        insert(fixture, &*store, &acme, "kept", &[]).await,
        insert(fixture, &*store, &acme, "source", &[]).await,
        insert(fixture, &*store, &globex, "elsewhere", &[]).await,
    ];
    let derived = insert(fixture, &*store, &acme, "derived", &[source]).await;
    update(&*store, &acme, kept).await;
    forget(&*store, &acme, source).await;
    update(&*store, &globex, elsewhere).await;
    for follower in ["a", "b"] {
        let told = until(feed, follower, 3).await;
        let mut of: Vec<_> =
            told.iter().map(|change| (change.tenant.as_str(), change.event, sorted(&change.memories))).collect();
        // Nothing is promised on the order of what different tenants do.
        of.sort_by_key(|(tenant, ..)| *tenant);
        assert_eq!(
            of,
            [
                ("acme", ChangeEvent::Updated, vec![kept]),
                ("acme", ChangeEvent::Forgotten, sorted(&[source, derived])),
                ("globex", ChangeEvent::Updated, vec![elsewhere]),
            ],
            "{follower}"
        );
    }
    assert_eq!(feed.unseen("a", 2).await.expect("a feed").len(), 2, "no more than asked for");
    let lag = feed.lag("a").await.expect("a lag");
    assert!(lag.changes >= 3, "memories that were removed together may be counted as one: {lag:?}");
    assert!(lag.oldest.is_some_and(|oldest| oldest <= memory_core::Clock::now(&fixture.clock())));
}

/// What was acknowledged is not told again, to that follower and after the store was opened again; an older position changes
/// nothing.
pub async fn a_position_is_kept_and_never_goes_back(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let id = insert(fixture, &*store, &scope, "text", &[]).await;
    feed(&*store).unseen("a", 1).await.expect("a feed");
    for _ in 0..3 {
        update(&*store, &scope, id).await;
    }
    let told = until(feed(&*store), "a", 3).await;
    for at in [1, 0, 1] {
        feed(&*store).acknowledge("a", &told[at].position).await.expect("acknowledge");
        assert_eq!(feed(&*store).lag("a").await.expect("a lag").changes, 1);
    }
    fixture.close(store).await;
    let store = fixture.open().await;
    assert_eq!(until(feed(&*store), "a", 1).await, told[2..]);
    assert_eq!(until(feed(&*store), "b", 3).await, told, "another's position is its own");
}

/// A change goes once every follower has passed it, and not before; when nobody follows any more, all go.
pub async fn what_every_follower_has_passed_is_removed(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let feed = feed(&*store);
    let scope = make::user("acme", "ann");
    let id = insert(fixture, &*store, &scope, "text", &[]).await;
    for follower in ["fast", "slow"] {
        feed.unseen(follower, 1).await.expect("a feed");
    }
    for _ in 0..3 {
        update(&*store, &scope, id).await;
    }
    let told = until(feed, "fast", 3).await;
    feed.acknowledge("fast", &told[2].position).await.expect("acknowledge");
    assert_eq!(feed.remove_passed().await.expect("remove"), 0, "the slow one has passed nothing");
    feed.acknowledge("slow", &told[0].position).await.expect("acknowledge");
    assert_eq!(feed.remove_passed().await.expect("remove"), 1);
    assert_eq!(until(feed, "slow", 2).await, told[1..]);
    feed.unfollow("slow").await.expect("unfollow");
    assert_eq!(feed.remove_passed().await.expect("remove"), 2, "it is no follower any more");
    feed.unfollow("fast").await.expect("unfollow");
    update(&*store, &scope, id).await;
    // Where nobody follows, it may be that nothing is kept in the first place.
    let began = Instant::now();
    while feed.lag("nobody").await.expect("a lag").changes > 0 {
        feed.remove_passed().await.expect("remove");
        assert!(began.elapsed() < PATIENCE, "it stays although nobody follows");
    }
}

fn feed(store: &dyn MemoryStore) -> &dyn ChangeFeed {
    store.changes().expect("a store that is followed")
}

/// What a follower is told, once that is so many.
async fn until(feed: &dyn ChangeFeed, follower: &str, count: usize) -> Vec<Change> {
    let began = Instant::now();
    loop {
        let told = feed.unseen(follower, 100).await.expect("a feed");
        if told.len() >= count {
            assert_eq!(told.len(), count, "{told:?}");
            return told;
        }
        assert!(began.elapsed() < PATIENCE, "{count} changes are not told: {told:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn insert(
    fixture: &dyn StoreFixture,
    store: &dyn MemoryStore,
    scope: &Scope,
    text: &str,
    evidence: &[MemoryId],
) -> MemoryId {
    let memory = make::memory(scope, text, memory_core::Clock::now(&fixture.clock()));
    let memory = Memory { evidence: evidence.to_vec(), origin: Origin::new(Writer::Agent, "testkit"), ..memory };
    let id = memory.id;
    store.insert(make::batch([memory])).await.expect("insert");
    id
}

async fn update(store: &dyn MemoryStore, scope: &Scope, id: MemoryId) {
    let patch = MemoryPatch { importance: Some(0.9), ..MemoryPatch::default() };
    store.update(scope, id, patch).await.expect("update");
}

async fn forget(store: &dyn MemoryStore, scope: &Scope, id: MemoryId) {
    let selection = Selection::Ids(vec![id]);
    store.forget(&ForgetRequest { scope: scope.clone(), selection, dry_run: false }).await.expect("forget");
}

fn sorted(ids: &[MemoryId]) -> Vec<MemoryId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}
