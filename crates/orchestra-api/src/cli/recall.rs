//! `orchestra recall`.

use clap::ValueEnum;
use memory_core::Timestamp;
use serde_json::{Value, json};

use super::arguments::{self, ScopeArgs};
use super::failure::Outcome;
use super::screen::{Column, Screen};
use super::words;
use crate::client::Client;

/// Recall what answers a question.
///
/// Searches by meaning and by words, and puts both together. The score orders the memories of one answer; scores of two
/// answers do not compare.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra recall 'where does maya like to sit?' --user maya
  orchestra recall 'what broke the payment service?' --filter '{\"valid_from\": {\"gte\": \"2025-09-01T00:00:00Z\"}}'
  orchestra recall 'nuts' --limit 3 --explain --json
  orchestra recall 'where does maya work?' --valid-at 2024-05-01

A filter is an object: {\"kind\": \"semantic\"}, {\"metadata.topic\": {\"in\": [\"travel\", \"food\"]}},
{\"or\": [{\"actor\": \"Ann\"}, {\"importance\": {\"gte\": 0.8}}]}.")]
pub struct Args {
    /// What to ask.
    question: String,
    /// At most this many memories, 1 to 1000.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 5)]
    limit: u64,
    /// At most so many tokens of text together; what does not fit is passed over.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// How many milliseconds it may take, 1 to 60000; then what is there is the answer.
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u64>,
    /// Only memories that match this JSON object.
    #[arg(long, value_name = "JSON", value_parser = arguments::object)]
    filter: Option<Value>,
    /// Recall what was known at this time, in place of now.
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    as_of: Option<Timestamp>,
    /// Only what was true in the world at this time.
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    valid_at: Option<Timestamp>,
    /// How meaning and words are put together.
    #[arg(long, value_name = "STRATEGY")]
    strategy: Option<Strategy>,
    /// Show where each result and its score come from, and why there are no more.
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    scope: ScopeArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Strategy {
    /// A weighted sum, with what the turns before and after lend.
    Weighted,
    /// Reciprocal rank fusion.
    Rrf,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let mut body =
        json!({"query": args.question, "scope": args.scope.body(), "limit": args.limit, "explain": args.explain});
    if let Some(filter) = args.filter {
        body["filter"] = filter;
    }
    for (name, number) in [("max_tokens", args.max_tokens), ("deadline_ms", args.deadline_ms)] {
        if let Some(number) = number {
            body[name] = number.into();
        }
    }
    for (name, time) in [("as_of", args.as_of), ("valid_at", args.valid_at)] {
        if let Some(time) = time {
            body[name] = json!(time);
        }
    }
    if let Some(strategy) = args.strategy {
        body["strategy"] = match strategy {
            Strategy::Weighted => "weighted".into(),
            Strategy::Rrf => "rrf".into(),
        };
    }
    let answer = client.post("/v1/memories/search", &body).await?;
    if screen.is_json() {
        return Ok(screen.json(&answer)?);
    }
    let results = results(&answer);
    if results.is_empty() {
        screen.note(&format!("Nothing is remembered of that in {}.", args.scope.in_words()));
    } else {
        print(results, args.explain, screen)?;
    }
    let missing = answer["explanation"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !missing.is_empty() {
        let row =
            |reason: &Value| vec![words::text(reason, "code").to_owned(), words::text(reason, "detail").to_owned()];
        let columns = [Column::new("No more, because").cyan(), Column::new("That is").wraps()];
        screen.table(&columns, missing.iter().map(row).collect())?;
    }
    screen.note(&screen.dim(&footer(&answer, results.len())));
    Ok(())
}

/// The results of an answer.
pub fn results(answer: &Value) -> &[Value] {
    answer["results"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Prints results as a table.
pub fn print(results: &[Value], explain: bool, screen: &Screen) -> Outcome {
    let best = results.iter().filter_map(|result| result["score"].as_f64()).fold(0.0, f64::max);
    let score = |result: &Value| result["score"].as_f64().unwrap_or_default();
    let (text, actor) =
        (|result| words::text(result, "text").to_owned(), |result| words::text(result, "actor").to_owned());
    let mut columns;
    let mut rows: Vec<Vec<String>>;
    if screen.is_terminal() {
        columns = vec![Column::new("Score").cyan(), Column::new("From").grey(), Column::new("Memory").wraps()];
        rows = results
            .iter()
            .map(|result| {
                let from = [actor(result), words::when(result), words::tier(result).into()];
                let from = from.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
                let memory = format!("{}\n{}", words::text(result, "text"), words::text(result, "id"));
                vec![format!("{:.3}\n{}", score(result), words::bar(score(result), best)), from, memory]
            })
            .collect();
    } else {
        columns = ["Score", "Tier", "When", "Who", "Memory", "Id"].map(Column::new).to_vec();
        rows = results
            .iter()
            .map(|result| {
                let id = words::text(result, "id").to_owned();
                vec![
                    format!("{:.3}", score(result)),
                    words::tier(result).into(),
                    words::when(result),
                    actor(result),
                    text(result),
                    id,
                ]
            })
            .collect();
    }
    if explain {
        columns.push(Column::new("Why").grey());
        for (row, result) in rows.iter_mut().zip(results) {
            row.push(why(result));
        }
    }
    Ok(screen.table(&columns, rows)?)
}

/// Where a result comes from, and each part of its score.
fn why(result: &Value) -> String {
    let why = &result["why"];
    let mut parts = Vec::new();
    if words::text(result, "from") == "working" {
        parts.push("out of the conversation".to_owned());
    }
    if let Some(similarity) = why["similarity"].as_f64() {
        parts.push(format!("similarity {similarity:.2}, #{}", why["dense_rank"].as_u64().unwrap_or_default()));
    }
    let in_context = why["bm25_in_context"].as_f64().unwrap_or_default();
    if in_context > 0.0 {
        let own = why["bm25"].as_f64().unwrap_or_default();
        let lent = if in_context > own { format!(" + {:.1} lent", in_context - own) } else { String::new() };
        parts.push(format!("words {own:.1}{lent}, #{}", why["lexical_rank"].as_u64().unwrap_or_default()));
    }
    for (name, about) in [("actor_bonus", "names the speaker"), ("recency", "new"), ("importance", "important")] {
        match why[name].as_f64() {
            Some(part) if part > 0.0 => parts.push(format!("{about} +{part:.2}")),
            _ => {}
        }
    }
    parts.join("\n")
}

/// How many, out of how many, how fast, and what the answer lacks.
fn footer(answer: &Value, shown: usize) -> String {
    let arms = answer["arms"].as_array().map(Vec::as_slice).unwrap_or_default();
    let considered = arms.iter().filter_map(|arm| arm["considered"].as_u64()).max().unwrap_or_default();
    let exact = if arms.iter().all(|arm| arm["exact"] == true) { ", all compared" } else { "" };
    let took = answer["took_ms"].as_f64().unwrap_or_default();
    let mut footer = format!("{shown} of {}{exact}, {took:.1} ms", words::memories(considered));
    let left_out = answer["left_out"].as_u64().unwrap_or_default();
    if left_out > 0 {
        let tokens = answer["tokens"].as_u64().unwrap_or_default();
        footer.push_str(&format!("; {} did not fit beside these {tokens} tokens", words::memories(left_out)));
    }
    for degraded in answer["degraded"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        footer.push_str(match degraded {
            "embedder_unavailable" => "; the embedder was away, only words were compared",
            "shortfall" => "; there may be more that fit",
            "approximate" => "; the search was approximate",
            "persistent_unavailable" => "; the store was not there, only the conversation was searched",
            "working_memory_unavailable" => "; working memory was not there",
            "deadline_exceeded" => "; the time was over",
            _ => "; degraded",
        });
    }
    footer
}
