//! Vectors that come later, and what was changed since a mark.

use memory_core::{MemoryPatch, MemoryStore, Scope, SearchRequest, Unembedded, VectorBacklog};

use super::{forget_ids, get, insert};
use crate::{StoreFixture, make};

/// Memories without a vector are found in every tenant, page by page, and each is given its vector once: not when it is another
/// version by then, was forgotten or has one. It stays the version it is, and a search by vector finds it.
pub async fn a_vector_is_added_to_the_version_it_is_of(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let backlog = backlog(&*store);
    let now = memory_core::Clock::now(&fixture.clock());
    let (acme, globex) = (make::user("acme", "ann"), make::user("globex", "bob"));
    let [late, changed, forgotten, passing] =
        ["late", "changed", "forgotten", "passing"].map(|text| make::memory(&acme, text, now));
    let elsewhere = make::memory(&globex, "elsewhere", now);
    let mut with_vector = make::batch([make::memory(&acme, "at once", now)]);
    with_vector.memories[0].embedding = Some(make::embedding(&fixture.space(), 1));
    insert(&*store, with_vector).await;
    let passing = memory_core::Memory { expires_at: Some(now + chrono::TimeDelta::minutes(1)), ..passing };
    insert(&*store, make::batch([late.clone(), changed.clone(), forgotten.clone(), passing])).await;
    insert(&*store, make::batch([elsewhere.clone()])).await;
    fixture.clock().advance(std::time::Duration::from_secs(60));

    let found = page_by_page(backlog).await;
    let ids: Vec<_> = found.iter().map(|unembedded| (unembedded.tenant.clone(), unembedded.id)).collect();
    let acmes = |id| (acme.whole_tenant(), id);
    assert_eq!(
        ids,
        [acmes(late.id), acmes(changed.id), acmes(forgotten.id), (globex.whole_tenant(), elsewhere.id)],
        "those that stand, in the order of first writing"
    );
    let patch = MemoryPatch { text: Some("changed since".into()), ..MemoryPatch::default() };
    store.update(&acme, changed.id, patch).await.expect("update");
    forget_ids(&*store, &acme, [forgotten.id]).await;
    let vector = make::embedding(&fixture.space(), 7);
    for (unembedded, is_added) in found.iter().zip([true, false, false, true]) {
        assert_eq!(backlog.add_vector(unembedded, vector.clone()).await.expect("an answer"), is_added);
        assert!(!backlog.add_vector(unembedded, vector.clone()).await.expect("an answer"), "once");
    }
    let stranger =
        Unembedded { tenant: make::user("globex", "x").whole_tenant(), ..page_by_page(backlog).await.remove(0) };
    assert_eq!(stranger.id, changed.id);
    assert!(!backlog.add_vector(&stranger, vector.clone()).await.expect("an answer"), "it is another tenant's");

    let left: Vec<_> = page_by_page(backlog).await.iter().map(|left| (left.id, left.version)).collect();
    assert_eq!(left, [(changed.id, 2)]);
    assert_eq!(get(&*store, &acme, late.id).await.as_deref(), Some(&late), "nothing that it says is changed");
    let history = store.history(&acme, late.id).await.expect("history");
    assert_eq!(history, std::slice::from_ref(&late));
    let found = store.search(&nearest(&acme, &vector)).await.expect("search");
    let found = found.candidates.iter().find(|candidate| candidate.memory.id == late.id).expect("it is found");
    assert!(found.similarity.is_some_and(|similarity| similarity > 0.99), "{found:?}");
}

/// A mark tells memories that were changed since, are not there or are another tenant's from those that stand as they were.
pub async fn a_mark_tells_what_was_changed_since(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let now = memory_core::Clock::now(&fixture.clock());
    let scope = make::user("acme", "ann");
    let [kept, before, since, forgotten] =
        ["kept", "before", "since", "forgotten"].map(|text| make::memory(&scope, text, now));
    insert(&*store, make::batch([kept.clone(), before.clone(), since.clone(), forgotten.clone()])).await;
    let change = || MemoryPatch { importance: Some(0.9), ..MemoryPatch::default() };
    store.update(&scope, before.id, change()).await.expect("update");
    let mark = store.mark().await.expect("a mark").expect("a store that gives marks");
    let tenant = scope.whole_tenant();
    let stand = async |memories: &[_]| {
        let [with, without] = [Some(&mark), None].map(|mark| store.stand(&tenant, memories, mark));
        (with.await.expect("an answer"), without.await.expect("an answer"))
    };
    assert_eq!(stand(&[kept.id, before.id, since.id, forgotten.id]).await, (true, true));
    store.update(&scope, since.id, change()).await.expect("update");
    forget_ids(&*store, &scope, [forgotten.id]).await;
    assert_eq!(stand(&[]).await, (true, true));
    assert_eq!(stand(&[kept.id, before.id, kept.id]).await, (true, true));
    assert_eq!(stand(&[kept.id, since.id]).await, (false, true), "it is another version");
    assert_eq!(stand(&[kept.id, forgotten.id]).await, (false, false), "it is gone");
    assert_eq!(stand(&[make::id()]).await, (false, false), "it was never there");
    let other = make::user("globex", "bob").whole_tenant();
    assert!(!store.stand(&other, &[kept.id], None).await.expect("an answer"), "it is another tenant's");
    let mark = store.mark().await.expect("a mark");
    assert!(store.stand(&tenant, &[kept.id, since.id], mark.as_ref()).await.expect("an answer"), "a later mark");
}

fn backlog(store: &dyn MemoryStore) -> &dyn VectorBacklog {
    store.backlog().expect("a store that knows what has no vector")
}

async fn page_by_page(backlog: &dyn VectorBacklog) -> Vec<Unembedded> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|last: &Unembedded| last.cursor);
        let page = backlog.without_vector(after, 2).await.expect("an answer");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn nearest(scope: &Scope, vector: &memory_core::Embedding) -> SearchRequest {
    SearchRequest {
        scope: scope.clone(),
        also: Vec::new(),
        embedding: Some(vector.clone()),
        text: None,
        filter: None,
        candidates: 10,
        neighbours: false,
        at_least: None,
        as_of: None,
        best: None,
    }
}
