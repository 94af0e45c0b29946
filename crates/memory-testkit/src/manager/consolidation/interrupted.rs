//! Runs that are cut short, hindered, or begun twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use memory_core::Error;
use memory_core::manager::StepOutcome;

use super::stores::{Event, Watched};
use super::{Home, names, outcomes};
use crate::{StoreFixture, make};

/// The sources stay readable until a search has found the successor; while none does, they are not closed.
pub async fn two_phase_swap(fixture: &dyn StoreFixture) {
    let store = Arc::new(Watched::new(fixture.open().await));
    let home = Home::over(store.clone(), fixture.clock());
    let ann = make::user("acme", "ann");
    let ids = home.facts(&ann, &["Ann likes green tea", "Ann likes green tea!"]).await;
    store.blind.store(true, Ordering::SeqCst);
    let report = home.consolidate(&ann).await;
    assert_eq!(outcomes(&report), [StepOutcome::NotYetVisible]);
    let open = home.open_ids(&ann).await;
    assert!(ids.iter().all(|id| open.contains(id)), "the sources stay");
    assert_eq!(open.len(), 3, "the successor is written");
    store.blind.store(false, Ordering::SeqCst);
    let report = home.consolidate(&ann).await;
    assert_eq!((names(&report), outcomes(&report)), (vec!["finish"], vec![StepOutcome::Done]));
    assert_eq!(home.open_ids(&ann).await.len(), 1);

    let bob = make::user("acme", "bob");
    home.facts(&bob, &["Bob has a bicycle", "Bob has a bicycle!"]).await;
    store.events();
    home.consolidate(&bob).await;
    assert_eq!(store.events(), [Event::Inserted, Event::ReadBack, Event::Closed, Event::Closed]);
}

/// A run that is killed before or after any of its writes leaves nothing unsaid, and the next one ends where an undisturbed
/// one does.
pub async fn a_run_cut_short_goes_on(fixture: &dyn StoreFixture) {
    let store = Arc::new(Watched::new(fixture.open().await));
    let home = Home::over(store.clone(), fixture.clock());
    let expected = [
        "Ann likes green tea!",
        "Ann lives in Porto",
        "Ann visited Milan",
        "Ann visited Rome",
        "I prefer the window seat",
        "I prefer the window seat",
    ];
    let mut kills = 0;
    for takes_effect in [false, true] {
        for writes in 0.. {
            let scope = make::user("acme", &format!("ann-{takes_effect}-{writes}"));
            home.mixture(&scope).await;
            store.kill_at(writes, takes_effect);
            let outcome = home.manager.consolidate(&home.request(&scope)).await;
            store.revive();
            let open: Vec<String> =
                home.holding(&scope).await.iter().map(|memory| memory.text.to_lowercase()).collect();
            for text in expected {
                let said = |there: &String| there.trim_end_matches('!') == text.to_lowercase().trim_end_matches('!');
                assert!(open.iter().any(said), "{text:?} is unsaid after {writes} writes: {open:?}");
            }
            home.consolidate(&scope).await;
            assert_eq!(home.holding_texts(&scope).await, expected, "killed after {writes} writes, {takes_effect}");
            assert_eq!(names(&home.consolidate(&scope).await), [""; 0]);
            if outcome.is_ok() {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills >= 10, "{kills} kills: one at each of five writes, before and after");
}

/// When the source whose text is kept is corrected just after the successor was written, the successor is given up, and the
/// others stay as they are.
pub async fn a_correction_in_the_middle_is_not_overrun(fixture: &dyn StoreFixture) {
    let store = Arc::new(Watched::new(fixture.open().await));
    let home = Home::over(store.clone(), fixture.clock());
    let ann = make::user("acme", "ann");
    let ids = home.facts(&ann, &["Ann likes the green tea", "Ann likes green tea"]).await;
    *store.correction.lock().expect("nobody panicked") = Some((ann.clone(), ids[0], "Ann likes black tea".into()));
    assert_eq!(outcomes(&home.consolidate(&ann).await), [StepOutcome::Overtaken]);
    assert_eq!(home.holding_texts(&ann).await, ["Ann likes black tea", "Ann likes green tea"]);
    assert_eq!(names(&home.consolidate(&ann).await), [""; 0]);
}

/// While a run is under way in a scope, another in it, around it or inside it is refused; one elsewhere is not.
pub async fn one_run_at_a_time(fixture: &dyn StoreFixture) {
    let store = Arc::new(Watched::new(fixture.open().await));
    let home = Home::over(store.clone(), fixture.clock());
    let ann = make::user("acme", "ann");
    home.facts(&ann, &["Ann likes green tea", "Ann likes green tea!"]).await;
    let held = store.hold().await;
    let (manager, request) = (home.manager.clone(), home.request(&ann));
    let first = tokio::spawn(async move { manager.consolidate(&request).await });
    store.until_waiting().await;
    let acme = memory_core::Scope::tenant("acme").expect("a name");
    for scope in [&ann, &acme, &make::session("acme", "ann", "monday")] {
        let refused = home.manager.consolidate(&home.request(scope)).await.expect_err("refused");
        assert!(matches!(refused, Error::Busy(_)) && refused.is_retryable(), "{refused}");
    }
    drop(held);
    home.consolidate(&make::user("acme", "bob")).await;
    let report = first.await.expect("no panic").expect("consolidate");
    assert_eq!(names(&report), ["merge"]);
    home.consolidate(&acme).await;
}
