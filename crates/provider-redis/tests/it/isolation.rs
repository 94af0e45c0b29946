//! Nobody is served another's answer.

use std::sync::Arc;

use memory_core::{CacheRequest, Compatibility, Embedding, NewCacheEntry, Scope, SemanticCache};
use memory_testkit::make;
use provider_redis::RedisSemanticCacheProvider;

use crate::support::{Home, answer, entry, is_full_campaign, request, vector};

const TENANTS: usize = 1000;
const TASKS: usize = 32;
const PROMPT: &str = "What is the balance?";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_served_anothers_answer() {
    isolation(if is_full_campaign() { 100_000 } else { 10_000 }).await;
}

/// One who asks: tenants differ by name; within a tenant scope, fingerprint and embedding space differ.
struct Asker {
    cache: RedisSemanticCacheProvider,
    asks: CacheRequest,
    answer: String,
}

async fn isolation(lookups: usize) {
    let Some(home) = Home::new() else { return };
    // Two spaces of equal dimensions, in one index.
    let spaces = [make::space("testkit"), make::space("another-model")];
    let mut caches = Vec::new();
    for space in &spaces {
        let mut config = home.config();
        config.space = space.clone();
        caches.push(RedisSemanticCacheProvider::connect(config).await.expect("connect"));
    }
    let mut askers = Vec::new();
    for tenant in 0..TENANTS {
        // Two entries a tenant, which differ in one, two or all of the three.
        let differs = 1 + tenant % 7;
        for which in [0, differs] {
            askers.push(asker(tenant, which, &caches));
        }
    }
    let askers = Arc::new(askers);
    tasks(&askers, |number, asker| async move {
        for asker in asker.iter().skip(number).step_by(TASKS) {
            let CacheRequest { scope, fingerprint, embedding, .. } = asker.asks.clone();
            let filed = entry(&scope, PROMPT, &asker.answer, None);
            asker.cache.store(NewCacheEntry { fingerprint, embedding, ..filed }).await.expect("store");
        }
    })
    .await;
    tasks(&askers, move |number, askers| async move {
        let mut random = number as u64 + 1;
        for turn in 0..lookups / TASKS {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let asker = &askers[(random >> 33) as usize % askers.len()];
            let mut asks = asker.asks.clone();
            match turn % 3 {
                // By meaning alone, by both, by the prompt alone.
                0 => asks.prompt = "What, then, is the balance?".into(),
                1 => {}
                _ => asks.embedding = None,
            }
            let got = answer(&asker.cache, &asks).await.expect("lookup");
            assert_eq!(got.as_ref(), Some(&asker.answer), "{asks:?}");
        }
    })
    .await;
}

fn asker(tenant: usize, which: usize, caches: &[RedisSemanticCacheProvider]) -> Asker {
    let mut scope = Scope::tenant(format!("tenant-{tenant}")).expect("a valid name");
    if which & 1 != 0 {
        scope = scope.with_user("ann").expect("a valid name");
    }
    let model = if which & 2 == 0 { "one" } else { "two" };
    let cache = caches[usize::from(which & 4 != 0)].clone();
    let space = if which & 4 == 0 { make::space("testkit") } else { make::space("another-model") };
    let mut asks = request(&scope, PROMPT, None);
    asks.fingerprint = Compatibility { model: Some(model.into()), ..Compatibility::default() }.fingerprint();
    asks.embedding = Some(Embedding::new(space, vector(1).values().to_vec()).expect("a vector"));
    Asker { cache, asks, answer: format!("the balance of tenant {tenant}, {which}") }
}

/// Runs [`TASKS`] tasks at once.
async fn tasks<F>(askers: &Arc<Vec<Asker>>, run: impl Fn(usize, Arc<Vec<Asker>>) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let running: Vec<_> = (0..TASKS).map(|number| tokio::spawn(run(number, askers.clone()))).collect();
    for task in running {
        task.await.expect("a right answer");
    }
}
