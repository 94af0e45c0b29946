//! `orchestra session`.

use std::time::Duration;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use memory_core::Role;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::arguments::{self, ScopeArgs};
use super::failure::Outcome;
use super::remember::text_or_stdin;
use super::screen::{Column, Screen};
use super::words;
use crate::client::{Client, Query, encode};

/// The messages of a conversation that goes on: append, read back, end, keep for good.
///
/// They are kept for a while after the last one, in the working memory. What is to last longer is promoted: it becomes
/// memories that recall finds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra session append monday 'Where is my order?' --user maya
  orchestra session append monday 'It was sent this morning.' --role assistant --user maya
  orchestra session window monday --user maya --max-tokens 4000
  orchestra session promote monday --user maya")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Append(Append),
    Window(Window),
    Promote(Promote),
    Clear(Clear),
}

/// Add a message at the end of a session.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra session append monday 'Where is my order?' --user maya --ttl 2h
  lookup-order 4711 | orchestra session append monday - --role tool --user maya --key call-17")]
struct Append {
    #[command(flatten)]
    session: SessionArgs,
    /// What is said; - reads it from the standard input.
    content: String,
    /// Who speaks.
    #[arg(long, value_parser = roles(), default_value = "user")]
    role: String,
    /// What it costs of a model's context. Default: an estimate.
    #[arg(long, value_name = "N")]
    tokens: Option<u32>,
    /// Something else about it; may be given more than once. A value that is JSON is taken as such.
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::pair)]
    metadata: Vec<(String, Value)>,
    /// How long the session lives from now on, such as 90s, 15m, 2h or 7d. Default: the server's, one hour.
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    ttl: Option<Duration>,
    /// A key of your own that makes it safe to send twice.
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
}

/// Show the newest messages that fit, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra session window monday --user maya --limit 20
  orchestra session window monday --user maya --max-tokens 4000 --json
  orchestra session window monday --user maya --after 17")]
struct Window {
    #[command(flatten)]
    session: SessionArgs,
    /// At most this many, 1 to 1000.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    limit: u64,
    /// At most this many tokens together.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// Read on after this message: the oldest that follow it, in place of the newest.
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
}

/// Keep the messages for good: make memories of those that are none yet.
///
/// A message becomes one memory, however often this is run. Instructions and what tools gave back are left out unless
/// they are asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra session promote monday --user maya
  orchestra session promote monday --user maya --role user --role assistant --role tool")]
struct Promote {
    #[command(flatten)]
    session: SessionArgs,
    /// Whose messages; may be given more than once. Default: user and assistant.
    #[arg(long, value_parser = roles())]
    role: Vec<String>,
}

/// End a session. What was promoted of it stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra session clear monday --user maya")]
struct Clear {
    #[command(flatten)]
    session: SessionArgs,
}

/// Which session: all three parts count.
#[derive(Debug, clap::Args)]
struct SessionArgs {
    /// The session's name.
    #[arg(value_name = "SESSION")]
    session: String,
    /// The user whose session it is.
    #[arg(long, value_name = "NAME", help_heading = "Whose session")]
    user: Option<String>,
    /// The agent whose session it is.
    #[arg(long, value_name = "NAME", help_heading = "Whose session")]
    agent: Option<String>,
}

impl SessionArgs {
    fn path(&self) -> String {
        format!("/v1/sessions/{}/working", encode(&self.session))
    }

    fn scope(&self) -> ScopeArgs {
        ScopeArgs { user: self.user.clone(), agent: self.agent.clone(), session: None }
    }

    fn query(&self) -> Query {
        self.scope().query(self.path())
    }

    fn in_words(&self) -> String {
        ScopeArgs { session: Some(self.session.clone()), ..self.scope() }.in_words()
    }
}

fn roles() -> PossibleValuesParser {
    PossibleValuesParser::new(Role::ALL.map(Role::name))
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    match args.command {
        Command::Append(args) => append(args, client, screen).await,
        Command::Window(args) => window(args, client, screen).await,
        Command::Promote(args) => promote(args, client, screen).await,
        Command::Clear(args) => clear(args, client, screen).await,
    }
}

async fn append(args: Append, client: &Client, screen: &Screen) -> Outcome {
    let mut message = Map::new();
    message.insert("role".into(), args.role.into());
    message.insert("content".into(), text_or_stdin(args.content)?.into());
    message.extend(args.tokens.map(|tokens| ("tokens".to_owned(), tokens.into())));
    if !args.metadata.is_empty() {
        message.insert("metadata".into(), Value::Object(args.metadata.into_iter().collect()));
    }
    let mut body = json!({"scope": args.session.scope().body(), "messages": [message]});
    if let Some(ttl) = args.ttl {
        body["ttl_seconds"] = ttl.as_secs_f64().into();
    }
    let headers: Vec<(&str, &str)> = args.key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
    let receipt = client.call(Method::POST, &args.session.path(), Some(&body), &headers).await?;
    if screen.is_json() {
        return Ok(screen.json(&receipt)?);
    }
    let done = if receipt["replayed"] == true { "was there already, as" } else { "appended as" };
    let (number, until) = (&receipt["last"], words::moment(&receipt["expires_at"]));
    Ok(screen.line(&format!(
        "{} message {number} of {}, until {until}",
        screen.green(done),
        args.session.in_words()
    ))?)
}

async fn window(args: Window, client: &Client, screen: &Screen) -> Outcome {
    let query = args
        .session
        .query()
        .with("limit", Some(args.limit.to_string()))
        .with("max_tokens", args.max_tokens.map(|tokens| tokens.to_string()))
        .with("after", args.after.map(|after| after.to_string()));
    let window = client.get(query.as_str()).await?;
    if screen.is_json() {
        return Ok(screen.json(&window)?);
    }
    let (total, messages) = (window["total"].as_u64().unwrap_or_default(), window["messages"].as_array());
    let messages = messages.map(Vec::as_slice).unwrap_or_default();
    if total == 0 {
        screen.note(&format!("No conversation goes on in {}.", args.session.in_words()));
        return Ok(());
    }
    let columns = [
        Column::new("Number").right(),
        Column::new("When").grey(),
        Column::new("Who").cyan(),
        Column::new("Message").wraps(),
    ];
    let rows = messages.iter().map(|message| {
        let text = |name| words::text(message, name).to_owned();
        vec![message["sequence"].to_string(), words::moment(&message["appended_at"]), text("role"), text("content")]
    });
    screen.table(&columns, rows.collect())?;
    let (shown, tokens) = (words::count(messages.len() as u64), &window["tokens"]);
    let until = words::moment(&window["expires_at"]);
    screen.note(&screen.dim(&format!("{shown} of {} messages, {tokens} tokens; until {until}.", words::count(total))));
    Ok(())
}

async fn promote(args: Promote, client: &Client, screen: &Screen) -> Outcome {
    let mut body = json!({"scope": args.session.scope().body()});
    if !args.role.is_empty() {
        body["roles"] = args.role.into();
    }
    let receipt = client.post(&format!("{}/promote", args.session.path()), &body).await?;
    if screen.is_json() {
        return Ok(screen.json(&receipt)?);
    }
    let promoted = receipt["promoted"].as_array().map(Vec::as_slice).unwrap_or_default();
    let refused = promoted.iter().filter(|message| message["status"] == "refused_forgotten").count() as u64;
    let mut line = format!("{} {}", screen.green("promoted"), words::messages(promoted.len() as u64 - refused));
    let rest = [
        (receipt["already"].as_u64().unwrap_or_default(), "were memories already"),
        (receipt["other_roles"].as_u64().unwrap_or_default(), "of other roles"),
        (receipt["too_long"].as_array().map_or(0, |long| long.len() as u64), "too long for a memory"),
        (refused, "forgotten before"),
    ];
    for (number, what) in rest.into_iter().filter(|(number, _)| *number > 0) {
        line.push_str(&format!(", {} {what}", words::count(number)));
    }
    Ok(screen.line(&line)?)
}

async fn clear(args: Clear, client: &Client, screen: &Screen) -> Outcome {
    let answer = client.call(Method::DELETE, args.session.query().as_str(), None, &[]).await?;
    if screen.is_json() {
        return Ok(screen.json(&answer)?);
    }
    let number = words::messages(answer["cleared"].as_u64().unwrap_or_default());
    Ok(screen.line(&format!("{} {}, which held {number}", screen.green("ended"), args.session.in_words()))?)
}
