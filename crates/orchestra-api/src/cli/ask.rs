//! `orchestra ask`.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::arguments::ScopeArgs;
use super::cache::{Answerer, body, verdict};
use super::failure::{Failure, Outcome};
use super::recall;
use super::screen::Screen;
use super::words;
use crate::client::{Client, Problem};
use crate::mcp::context;

/// Answer a question: from the cache, else from what is remembered.
///
/// A cached answer is printed. Without one the memories to answer it from are, and the exit code is 3; with --answer-with a
/// command of yours answers: it reads the memories and the question on its standard input, and what it writes is the
/// answer, which is printed and filed for the next who asks. It is served until a memory it was made of changes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra ask 'where does maya like to sit?' --user maya
  orchestra ask 'where does maya like to sit?' --user maya --answer-with 'llm -m gpt-5'
  orchestra ask 'what broke the payment service?' --max-tokens 2000 --answer-with ./answer.sh --model mine")]
pub struct Args {
    /// The question.
    question: String,
    /// The command that answers, run by the shell.
    #[arg(long, value_name = "COMMAND")]
    answer_with: Option<String>,
    /// At most this many memories, 1 to 256.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10)]
    limit: u64,
    /// At most so many tokens of text together; what does not fit is passed over.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    #[command(flatten)]
    answerer: Answerer,
    #[command(flatten)]
    scope: ScopeArgs,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let mut request = Value::Object(body(args.question.clone(), args.answerer, &args.scope));
    request["limit"] = args.limit.into();
    if let Some(max_tokens) = args.max_tokens {
        request["max_tokens"] = max_tokens.into();
    }
    let mut answer = client.post("/v1/ask", &request).await?;
    if answer["hit"] == true {
        if screen.is_json() {
            return Ok(screen.json(&answer)?);
        }
        screen.note(&verdict(&answer, screen));
        return Ok(screen.line(words::text(&answer, "response"))?);
    }
    let Some(command) = args.answer_with else {
        if screen.is_json() {
            screen.json(&answer)?;
        } else {
            screen.note(&verdict(&answer, screen));
            recall::print(recall::results(&answer), false, screen)?;
        }
        return Err(Failure::unanswered());
    };
    let response = computed(&command, &args.question, &answer).await?;
    let filed = file(&answer, &response, client, screen).await?;
    if !screen.is_json() {
        return Ok(screen.line(&response)?);
    }
    answer["response"] = response.into();
    answer["entry_id"] = filed;
    Ok(screen.json(&answer)?)
}

/// What the command writes to its standard output. The question is not a part of the command: the shell never reads it.
async fn computed(command: &str, question: &str, answer: &Value) -> Outcome<String> {
    let failed = |why: String| {
        Failure::mistake(
            format!("the command that answers {why}; nothing was filed"),
            "run it by hand, with a question on its standard input",
        )
    };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut shell = shell.spawn().map_err(|error| failed(format!("did not start: {error}")))?;
    let input = format!("{}\n\nQuestion: {question}\n", context(answer));
    let stdin = shell.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A command that answers without reading all of it is none that failed.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let (output, ()) = tokio::join!(shell.wait_with_output(), write);
    let output = output.map_err(|error| failed(format!("was lost: {error}")))?;
    if !output.status.success() {
        return Err(failed(format!("ended with {}", output.status)));
    }
    match String::from_utf8(output.stdout) {
        Ok(response) if !response.trim().is_empty() => Ok(response.trim_end().to_owned()),
        Ok(_) => Err(failed("wrote nothing".into())),
        Err(_) => Err(failed("wrote what is no UTF-8".into())),
    }
}

/// Files the answer where it should be kept, and gives its entry's id or null.
async fn file(answer: &Value, response: &str, client: &Client, screen: &Screen) -> Outcome<Value> {
    let Some(fill) = answer["fill"].as_str() else {
        screen.note(&screen.yellow("not filed: a part of the memory was away"));
        return Ok(Value::Null);
    };
    match client.post("/v1/cache/entries", &json!({"fill": fill, "response": response})).await {
        Ok(stored) => Ok(stored["id"].clone()),
        Err(Problem { code, .. }) if &*code == "memories_changed" => {
            screen.note(&screen.yellow("not filed: a memory it was made of was changed meanwhile"));
            Ok(Value::Null)
        }
        Err(problem) => Err(problem.into()),
    }
}
