//! `orchestra index tune`.

use provider_alloydb::index::{SpaceStatus, StandingIndex, TuneOptions, TunePoint, Tuning};
use provider_alloydb::{AlloyDbConfig, IndexKeeper};
use serde_json::{Value, json};

use super::super::database::{Database, failure};
use super::super::failure::{Failure, Outcome};
use super::super::screen::{Column, Screen};
use super::super::words;
use super::{Kept, Spaces};

/// Measure what an index finds, and set how much of it a search looks at.
///
/// Queries like the memories that are stored are searched in full, then through the index, with more of it each time.
/// Chosen is the least that finds the target by more than chance: searches use it from then on. Looking at more finds
/// more and takes longer; the table shows both. p50: half of the searches took no longer; p95: 95 of 100.
///
/// Run it after a build, and again when memories have changed much. With a larger --sample it is surer and takes longer:
/// a query in full takes up to a second for a million rows.
///
/// Exits with 1 when the target was not reached: the most that makes sense is then in use.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra index tune
  orchestra index tune --space 1 --target 0.99 --sample 400")]
pub struct Args {
    #[command(flatten)]
    database: Database,
    /// The number of a space, or all that have an index.
    #[arg(long, value_name = "NUMBER", default_value = "all")]
    space: Spaces,
    /// The share of the true nearest that is to be found, 0.5 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = AlloyDbConfig::new("").recall_target)]
    target: f32,
    /// How many nearest are asked for.
    #[arg(long, value_name = "COUNT", default_value_t = TuneOptions::default().k)]
    k: usize,
    /// With how many queries.
    #[arg(long, value_name = "COUNT", default_value_t = TuneOptions::default().sample)]
    sample: usize,
    /// Up to how many memories the programs of this database search a scope in full; larger scopes are measured.
    #[arg(long, value_name = "ROWS", default_value_t = AlloyDbConfig::new("").exact_up_to)]
    exact_up_to: u32,
    #[command(flatten)]
    kept: Kept,
}

impl Args {
    pub fn config(&self) -> Outcome<AlloyDbConfig> {
        let mut config = self.database.config()?;
        config.storage = self.kept.storage;
        config.exact_up_to = self.exact_up_to;
        Ok(config)
    }
}

pub async fn run(args: &Args, keeper: &IndexKeeper, screen: &Screen) -> Outcome {
    let spaces = args.space.of(keeper).await?;
    let with_index: Vec<_> =
        spaces.iter().filter_map(|space| space.index.as_ref().map(|index| (space, index))).collect();
    if with_index.is_empty() {
        let which = if let [space] = &*spaces { super::name(space) } else { "the database".into() };
        return Err(Failure::mistake(
            format!("{which} has no vector index, its searches are exact"),
            "`orchestra index status` says whether one is due",
        ));
    }
    let options = TuneOptions { k: args.k, target: Some(args.target), sample: args.sample, ..TuneOptions::default() };
    let (mut done, mut missed) = (Vec::new(), None);
    for (space, index) in with_index {
        let line = super::progress_line("{spinner} measuring {msg}, {elapsed}");
        line.set_message(super::name(space));
        let tuning = keeper.tune(space.number, &options).await;
        line.finish_and_clear();
        let tuning = tuning.map_err(failure)?;
        if screen.is_json() {
            done.push(json!({"space": space.number, "tuning": tuning.as_ref().map(body)}));
        } else {
            show(space, index, tuning.as_ref(), args.exact_up_to, screen)?;
        }
        missed = missed.or(tuning.and_then(|tuning| shortfall(space, index, &tuning)));
    }
    if screen.is_json() {
        screen.json(&json!({"spaces": done}))?;
    }
    missed.map_or(Ok(()), Err)
}

fn show(
    space: &SpaceStatus,
    index: &StandingIndex,
    tuning: Option<&Tuning>,
    exact_up_to: u32,
    screen: &Screen,
) -> Outcome {
    let name = super::name(space);
    let Some(tuning) = tuning else {
        let exact_up_to = words::count(exact_up_to.into());
        let line = format!("{name}: no scope has more than {exact_up_to} memories, so every search is exact");
        return Ok(screen.line(&line)?);
    };
    screen.note(&format!("{}: {} queries, each for the {} nearest", screen.bold(&name), tuning.queries, tuning.k));
    let columns = [
        Column::new("Looks at"),
        Column::new("Recall").right(),
        Column::new("").cyan(),
        Column::new("p50 ms").right(),
        Column::new("p95 ms").right(),
        Column::new(""),
    ];
    let row = |point| row(&index.kind, point, tuning.effort);
    screen.table(&columns, tuning.points.iter().map(row).collect())?;
    if tuning.is_reached {
        let effort = super::effort(&index.kind, tuning.effort);
        screen
            .line(&format!("{name}: with {effort} a search finds {:.3} of the {} nearest", tuning.recall, tuning.k))?;
    }
    Ok(())
}

fn row(kind: &str, point: &TunePoint, chosen: u32) -> Vec<String> {
    vec![
        super::effort(kind, point.effort),
        format!("{:.3} ± {:.3}", point.recall, point.margin),
        words::bar(point.recall.into(), 1.0),
        format!("{:.2}", super::milliseconds(point.p50)),
        format!("{:.2}", super::milliseconds(point.p95)),
        if point.effort == chosen { "chosen".into() } else { String::new() },
    ]
}

/// What to say when the target was not reached.
fn shortfall(space: &SpaceStatus, index: &StandingIndex, tuning: &Tuning) -> Option<Failure> {
    if tuning.is_reached {
        return None;
    }
    let message = format!(
        "{}: with {} a search finds {:.3} of the {} nearest, not {} by more than chance",
        super::name(space),
        super::effort(&index.kind, tuning.effort),
        tuning.recall,
        tuning.k,
        tuning.target
    );
    let next = match &*index.kind {
        "hnsw" => "measure with a larger --sample, or build with a larger --m and --ef-construction",
        _ => "measure with a larger --sample, or build with --kind hnsw",
    };
    Some(Failure::mistake(message, next))
}

/// As the library tells it, with times in milliseconds.
fn body(tuning: &Tuning) -> Value {
    let point = |point: &TunePoint| {
        json!({
            "effort": point.effort,
            "recall": point.recall,
            "margin": point.margin,
            "p50_ms": super::milliseconds(point.p50),
            "p95_ms": super::milliseconds(point.p95),
        })
    };
    let mut body = json!(tuning);
    body["points"] = tuning.points.iter().map(point).collect();
    body
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use memory_core::EmbeddingSpace;
    use provider_alloydb::index::Decision;

    use super::*;

    fn index() -> StandingIndex {
        StandingIndex {
            name: "memories_by_vector_1_a".into(),
            kind: "hnsw".into(),
            spec: None,
            size_bytes: 1,
            rows_at_build: 1,
            built_at: None,
            effort: 100,
            measured: None,
        }
    }

    #[test]
    fn a_target_that_was_missed_is_told_with_what_to_do() {
        let space = EmbeddingSpace::new("static-256", "1", 256).unwrap();
        let decision = Decision::Nothing { reason: String::new() };
        let space = SpaceStatus { number: 1, space, rows: 1, index: Some(index()), decision };
        let mut tuning = Tuning {
            effort: 1_000,
            recall: 0.91,
            target: 0.95,
            is_reached: false,
            k: 10,
            queries: 100,
            points: Vec::new(),
        };
        let told = format!("{:?}", shortfall(&space, &index(), &tuning).unwrap());
        assert!(told.contains("with ef_search 1000 a search finds 0.910 of the 10 nearest, not 0.95"), "{told}");
        assert!(told.contains("Mistake") && told.contains("--ef-construction"), "{told}");
        tuning.is_reached = true;
        assert!(shortfall(&space, &index(), &tuning).is_none());
    }

    #[test]
    fn only_the_chosen_point_is_marked() {
        let (p50, p95) = (Duration::from_micros(1_234), Duration::from_millis(5));
        let point = TunePoint { effort: 2, recall: 0.5, margin: 0.01, p50, p95 };
        assert_eq!(row("ivfflat", &point, 2), ["2 probes", "0.500 ± 0.010", "████", "1.23", "5.00", "chosen"]);
        assert_eq!(row("ivfflat", &point, 3).last().map(String::as_str), Some(""));
    }
}
