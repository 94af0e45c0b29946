//! `orchestra stats`.

use super::arguments::ScopeArgs;
use super::failure::Outcome;
use super::screen::Screen;
use super::words;
use crate::client::Client;

/// Show what the memory holds and how the cache does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra stats
  orchestra stats --user maya --json")]
pub struct Args {
    #[command(flatten)]
    scope: ScopeArgs,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let stats = client.get(args.scope.query("/v1/stats").as_str()).await?;
    if screen.is_json() {
        return Ok(screen.json(&stats)?);
    }
    let (store, cache) = (&stats["store"], &stats["cache"]);
    let number = |value: &serde_json::Value| words::count(value.as_u64().unwrap_or_default());
    let size = |value: &serde_json::Value| words::bytes(value.as_u64().unwrap_or_default());
    let hits = cache["exact_hits"].as_u64().unwrap_or_default() + cache["semantic_hits"].as_u64().unwrap_or_default();
    let lookups = hits + cache["misses"].as_u64().unwrap_or_default();
    let rate = if lookups == 0 {
        "no lookups yet".into()
    } else {
        format!("{:.0} % of {lookups} lookups", hits as f64 * 100.0 / lookups as f64)
    };
    let lines = [
        (format!("Memory of {}", args.scope.in_words()), String::new()),
        ("memories".into(), number(&store["memories"])),
        ("  without a vector".into(), number(&store["without_embedding"])),
        ("former versions".into(), number(&store["former_versions"])),
        ("forgotten ids".into(), number(&store["tombstones"])),
        ("on disk".into(), size(&store["disk_bytes"])),
        ("in memory for search".into(), size(&store["index_bytes"])),
        ("embedder".into(), words::text(&stats, "embedder").to_owned()),
        (String::new(), String::new()),
        ("Semantic cache, since the process began".into(), String::new()),
        ("entries".into(), number(&cache["entries"])),
        ("served".into(), rate),
        (
            "  exact, by meaning".into(),
            format!("{}, {}", number(&cache["exact_hits"]), number(&cache["semantic_hits"])),
        ),
        ("  refused by the guard".into(), number(&cache["refused"])),
        ("threshold".into(), format!("{:.2}", stats["cache_threshold"].as_f64().unwrap_or_default())),
        ("embedder".into(), words::text(&stats, "cache_embedder").to_owned()),
    ];
    let brake = stats["brake"].as_object().into_iter().flatten();
    let in_force: Vec<&str> = brake.filter(|(_, is_on)| **is_on == true).map(|(action, _)| action.as_str()).collect();
    if !in_force.is_empty() {
        screen.note(&format!("The budget's brake is on: {}.", in_force.join(", ")));
    }
    if cache.is_null() {
        screen.note("The semantic cache is away: what it holds is not known.");
    }
    for (name, value) in &lines {
        let line = if value.is_empty() {
            screen.bold(name)
        } else {
            format!("{} {value}", screen.dim(&format!("{name:<22}")))
        };
        screen.line(&line)?;
    }
    Ok(())
}
