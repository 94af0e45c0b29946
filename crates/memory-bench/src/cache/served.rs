//! The labelled pairs through a real Redis: each prompt stored and looked up as an application does it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use embedders::{MiniLmEmbedder, StaticEmbedder};
use memory_core::{
    CacheLookup, CacheMode, CachePolicy, CacheRequest, Compatibility, Embedder, Embedding, EmbeddingSpace, Metadata,
    NewCacheEntry, Scope, SemanticCache as _,
};
use memory_testkit::labelled::Pair;
use memory_testkit::services::{self, Service};
use provider_redis::{RedisConfig, RedisSemanticCacheProvider};

use super::pairs::{Args, MINILM_THRESHOLD, STATIC_THRESHOLD, share};
use crate::models;
use crate::report::{Report, Table};
use crate::statistics::upper_bound;

/// Serves every pair by threshold alone and with the guard, by each embedder.
pub async fn run(args: &Args, report: &mut Report) -> Result<()> {
    let of_static = StaticEmbedder::built_in();
    let threshold = args.threshold.unwrap_or(STATIC_THRESHOLD);
    let name = StaticEmbedder::BUILT_IN_NAME;
    measure(args, report, name, of_static.space(), threshold, |text| of_static.embed_one(text)).await?;
    match args.models.minilm()? {
        Some(minilm) => {
            let threshold = args.threshold.unwrap_or(MINILM_THRESHOLD);
            let name = MiniLmEmbedder::NAME;
            measure(args, report, name, minilm.space(), threshold, |text| minilm.embed_one(text)).await?;
        }
        None => report.note(models::ABSENT),
    }
    report.note(
        "bound: the false-hit rate is below it with 95 % confidence (Clopper and Pearson 1934, one-sided), if the pairs \
         are like those of the application; with no false hit in n it is about 3/n.",
    );
    Ok(())
}

async fn measure(
    args: &Args,
    report: &mut Report,
    name: &str,
    space: &Arc<EmbeddingSpace>,
    threshold: f32,
    embed: impl Fn(&str) -> Embedding,
) -> Result<()> {
    let Some(server) = services::private(Service::Redis) else { bail!("there is no Redis to measure") };
    let mut config = RedisConfig::new(server.url(), space.clone());
    // How long it takes is measured elsewhere.
    config.deadline = Duration::from_secs(30);
    config.write_deadline = Duration::from_secs(30);
    let cache = RedisSemanticCacheProvider::connect(config).await?;
    let mut kinds: BTreeMap<(bool, String), [usize; 3]> = BTreeMap::new();
    for pair in args.pairs() {
        let mut counts = [1, 0, 0];
        for (count, mode) in counts[1..].iter_mut().zip([CacheMode::Threshold, CacheMode::Guarded]) {
            *count += usize::from(is_served(&cache, &pair, CachePolicy { threshold, mode }, &embed).await?);
        }
        let sums = kinds.entry((!pair.same, pair.kind)).or_default();
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    let title = format!("{name} at {threshold:.2}: served by Redis, by how the prompts differ");
    let mut table = Table::new(title, &["kind", "meaning", "pairs", "threshold alone", "with the guard"]);
    for ((different, kind), [pairs, plain, guarded]) in &kinds {
        let meaning = if *different { "different" } else { "same" };
        table.row([
            kind.clone(),
            meaning.to_owned(),
            pairs.to_string(),
            share((*plain, *pairs)),
            share((*guarded, *pairs)),
        ]);
    }
    for (name, wanted) in [("all: hits", false), ("all: false hits", true)] {
        let of: Vec<_> =
            kinds.iter().filter(|((different, _), _)| *different == wanted).map(|(_, sums)| sums).collect();
        let [pairs, plain, guarded] = [0, 1, 2].map(|at| of.iter().map(|sums| sums[at]).sum::<usize>());
        let cell = |served: usize| {
            let bound = format!(", bound {:.1} %", upper_bound(served, pairs, 0.95) * 100.0);
            format!("{}{}", share((served, pairs)), if wanted { &bound } else { "" })
        };
        let meaning = if wanted { "different" } else { "same" };
        table.row([name.to_owned(), meaning.to_owned(), pairs.to_string(), cell(plain), cell(guarded)]);
    }
    report.table(table);
    Ok(())
}

/// Stores the cached prompt where nothing else is, and says whether its answer is served to the asked one.
async fn is_served(
    cache: &RedisSemanticCacheProvider,
    pair: &Pair,
    policy: CachePolicy,
    embed: impl Fn(&str) -> Embedding,
) -> Result<bool> {
    let scope = Scope::tenant("pairs")?.with_user(format!("{} {:?}", pair.id, policy.mode))?;
    let fingerprint = Compatibility::default().fingerprint();
    cache
        .store(NewCacheEntry {
            scope: scope.clone(),
            prompt: pair.cached.clone(),
            response: pair.id.clone(),
            fingerprint,
            embedding: Some(embed(&pair.cached)),
            depends_on: Vec::new(),
            tags: Vec::new(),
            metadata: Metadata::new(),
            ttl: Duration::from_secs(3600),
            sliding: false,
        })
        .await?;
    let embedding = Some(embed(&pair.asked));
    let request = CacheRequest { scope, prompt: pair.asked.clone(), fingerprint, embedding, policy, filter: None };
    match cache.lookup(&request).await? {
        CacheLookup::Hit(hit) if hit.entry.response == pair.id => Ok(true),
        CacheLookup::Hit(hit) => bail!("the answer of another pair was served: {}", hit.entry.response),
        CacheLookup::Miss(_) => Ok(false),
    }
}
