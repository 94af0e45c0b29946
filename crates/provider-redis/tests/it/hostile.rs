//! Text that means something to Redis means nothing here.

use memory_core::{InvalidateRequest, InvalidateSelection, NewCacheEntry, Scope, SemanticCache};
use memory_testkit::make;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::support::{Home, answer, entry, request};

/// Every character with a meaning in queries, keys and the protocol, and some of many bytes.
const SPECIAL: &str = r#"[,.<>{}\[\]"':;!@#$%^&*()\-+=~|/\\ ?_`a1ß😀\u{200b}]{1,24}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_names_and_prompts_are_only_text() {
    let Some(home) = Home::new() else { return };
    let cache = home.open().await;
    let bystander = make::user("acme", "bystander");
    cache.store(entry(&bystander, "bystander", "stays", Some(1))).await.unwrap();
    let acme = Scope::tenant("acme").unwrap();
    let by_tag = |tag: &str| InvalidateRequest {
        scope: acme.clone(),
        selection: InvalidateSelection::Tag(tag.into()),
        dry_run: false,
    };
    let mut runner = TestRunner::deterministic();
    for round in 0..150 {
        let mut sample = || SPECIAL.new_tree(&mut runner).unwrap().current();
        let (user, label, prompt) = (sample(), sample(), format!("{} {round}", sample()));
        let scope = acme.clone().with_user(format!("u{user}")).unwrap();
        let tags = vec![format!("x{label}"), format!("{label},y")];
        cache.store(NewCacheEntry { tags, ..entry(&scope, &prompt, &prompt, Some(1)) }).await.unwrap();
        assert_eq!(answer(&cache, &request(&scope, &prompt, None)).await.unwrap().as_ref(), Some(&prompt));
        assert_eq!(answer(&cache, &request(&scope, "another", Some(1))).await.unwrap().as_ref(), Some(&prompt));
        for other in [label.as_str(), "*", "y", &format!("x{label}*"), &format!("{label}|x{label}")] {
            assert_eq!(cache.invalidate(&by_tag(other)).await.unwrap(), 0, "{label:?} {other:?}");
        }
        assert_eq!(cache.invalidate(&by_tag(&format!("{label},y"))).await.unwrap(), 1, "{label:?}");
        assert_eq!(answer(&cache, &request(&scope, &prompt, Some(1))).await.unwrap(), None);
    }
    assert!(answer(&cache, &request(&bystander, "bystander", None)).await.unwrap().is_some());
}
