//! Who sees what.

use std::collections::BTreeSet;

use memory_core::{
    Clock as _, Error, Filter, ForgetRequest, Memory, MemoryId, MemoryPatch, Metadata, Scope, Selection,
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
