//! `orchestra demo`: a tour that checks what it tells.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::{Failure, Outcome};
use super::screen::Screen;
use super::{cache, connect, words};
use crate::client::{Client, Query};
use crate::config::Settings;
use crate::import::send::{self, Sent};
use crate::import::{Format, Options, Source};

const CONVERSATION: &str = include_str!("../../assets/demo/conversation.json");
const SCRIPT: &str = include_str!("../../assets/demo/script.json");
/// Whose memory the tour is about.
const USER: &str = "maya";
/// How many memories a question of the tour gets: what an agent would put before its model.
const PLACES: usize = 3;
/// How long one may read before the next thing comes, on a terminal.
const PAUSE: Duration = Duration::from_millis(900);

/// See it work: a guided tour in under a minute, in a folder of its own.
///
/// It imports a conversation, recalls from it, serves and refuses cached answers, corrects a memory and forgets one. Each
/// thing it tells is checked; when one does not hold it says so and the exit code is 2.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra demo
  orchestra demo --keep ./demo && orchestra recall 'what does Lina want to see?' --user maya --data ./demo")]
pub struct Args {
    /// Keep the memory in this folder. Default: a temporary one that goes at the end.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Do not pause between the steps.
    #[arg(long)]
    fast: bool,
}

#[derive(Debug, Deserialize)]
struct Script {
    questions: Vec<Question>,
    cache: Vec<Answer>,
    cache_probes: Vec<Probe>,
}

#[derive(Debug, Deserialize)]
struct Question {
    question: String,
    expect: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    prompt: String,
    answer: String,
}

#[derive(Debug, Deserialize)]
struct Probe {
    prompt: String,
    expect: Expected,
    because: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expected {
    HitExact,
    HitSemantic,
    Refused,
    Miss,
}

pub async fn run(args: Args, screen: &Screen) -> Outcome {
    let script: Script = serde_json::from_str(SCRIPT).map_err(|error| {
        Failure::ours(format!("the tour's script: {error}"), "build the program from an unchanged source")
    })?;
    let temporary;
    let folder = match &args.keep {
        Some(folder) => folder.clone(),
        None => {
            temporary = tempfile::tempdir().map_err(|error| Failure::io("temporary folder", &error))?;
            temporary.path().to_owned()
        }
    };
    let settings = Settings::for_data(&folder);
    if settings.database().exists() {
        return Err(Failure::mistake(
            format!("{} holds a memory already", folder.display()),
            "name a new folder: the tour begins with nothing",
        ));
    }
    let session = connect::open_folder(&settings).await?;
    let mut tour = Tour {
        client: session.client(),
        screen,
        pauses: screen.is_terminal() && !args.fast && !screen.is_json(),
        checks: Vec::new(),
    };
    let outcome = tour.walk(&script, session.tenant()).await;
    let checks = tour.checks;
    session.close().await;
    outcome?;
    finish(&checks, &args, screen)
}

fn finish(checks: &[(bool, String)], args: &Args, screen: &Screen) -> Outcome {
    let failed: Vec<&str> = checks.iter().filter(|(held, _)| !held).map(|(_, what)| what.as_str()).collect();
    if screen.is_json() {
        let checks: Vec<Value> = checks.iter().map(|(held, what)| json!({"held": held, "what": what})).collect();
        screen.json(&json!({"checks": checks, "held": failed.is_empty()}))?;
    }
    if !failed.is_empty() {
        let message =
            format!("{} of {} things did not come out as told: {}", failed.len(), checks.len(), failed.join("; "));
        return Err(Failure::ours(message, "report this with the output above: the tour is a test of the program"));
    }
    if screen.is_json() {
        return Ok(());
    }
    let data = args.keep.as_ref().map_or_else(String::new, |folder| format!(" --data {}", folder.display()));
    screen.line(&format!(
        "\n{} All {} things that were told were checked and held.\n",
        screen.green("✓"),
        checks.len()
    ))?;
    screen.line(&screen.bold("What to try next"))?;
    let next = [
        (format!("orchestra import <your chats or notes> --user you{data}"), "bring in what you have"),
        (format!("orchestra recall 'your question' --user you{data}"), "ask it"),
        (format!("orchestra serve{data}"), "answer HTTP on 127.0.0.1:7070"),
    ];
    for (command, what) in next {
        screen.line(&format!("  {}  {}", screen.cyan(&format!("{command:<52}")), screen.dim(what)))?;
    }
    Ok(())
}

/// The tour, and what it found.
struct Tour<'a> {
    client: &'a Client,
    screen: &'a Screen,
    pauses: bool,
    checks: Vec<(bool, String)>,
}

impl Tour<'_> {
    async fn walk(&mut self, script: &Script, tenant: &str) -> Outcome {
        self.import(tenant).await?;
        let window_seat = self.recall(&script.questions).await?;
        self.cache(script).await?;
        self.correct(&window_seat).await?;
        self.forget(tenant).await
    }

    async fn import(&mut self, tenant: &str) -> Outcome {
        self.say(&self.screen.bold("Orchestra Memory, the tour"))?;
        self.section("1. Import", "Three conversations between Maya and her assistant, from a JSON file.").await?;
        let begun = Instant::now();
        let sent = self.send(tenant).await?;
        let took = begun.elapsed().as_secs_f64() * 1e3;
        let what = format!("{} imported, embedded and durable in {took:.0} ms", words::memories(sent.created));
        self.check(sent.created > 0 && sent.created == sent.total(), &what)?;
        let again = self.send(tenant).await?;
        self.check(again.unchanged == sent.created && again.created == 0, "imported again: nothing is added")
    }

    async fn send(&self, tenant: &str) -> Outcome<Sent> {
        let source = Arc::new(Source::new("conversation.json", CONVERSATION));
        let options = Options { tenant: tenant.to_owned(), ..Options::default() };
        Ok(send::send(self.client, source, Format::Conversation, options, &AtomicBool::new(false), |_| {}).await?)
    }

    /// Asks the questions. Gives the id of the answer to the one about the window seat, which is corrected later.
    async fn recall(&mut self, questions: &[Question]) -> Outcome<String> {
        self.section(
            "2. Recall",
            "Questions in other words than the answers. Meaning and words are searched, all of it, exactly.",
        )
        .await?;
        let mut window_seat = String::new();
        for Question { question, expect } in questions {
            let answer = self.search(question, PLACES).await?;
            let results = answer["results"].as_array().map(Vec::as_slice).unwrap_or_default();
            let place = results.iter().position(|result| words::text(result, "text").contains(expect));
            let took = answer["took_ms"].as_f64().unwrap_or_default();
            self.say(&format!("\n  {} {}", self.screen.dim("?"), self.screen.bold(question)))?;
            // All that came before the answer is shown too: whoever asks gets it as well.
            for (at, result) in results[..place.map_or(results.len(), |place| place + 1)].iter().enumerate() {
                self.quote(&format!("{}.", at + 1), words::text(result, "text"))?;
                let (score, tier, who) =
                    (result["score"].as_f64().unwrap_or_default(), words::tier(result), words::text(result, "actor"));
                self.say(
                    &self
                        .screen
                        .dim(&format!("        {who}, {}, {tier} memory, score {score:.2}", words::when(result))),
                )?;
            }
            let (held, found) = match place {
                Some(0) => (true, "recalled first".to_owned()),
                Some(place) => (true, format!("recalled in place {}", place + 1)),
                None => (false, format!("not among the first {PLACES}")),
            };
            self.check(held, &format!("{found}: {expect:?}, {took:.1} ms"))?;
            if let (true, Some(place)) = (expect.contains("window seat"), place) {
                words::text(&results[place], "id").clone_into(&mut window_seat);
            }
            self.pause().await;
        }
        Ok(window_seat)
    }

    async fn cache(&mut self, script: &Script) -> Outcome {
        self.section(
            "3. Semantic cache",
            "An answer that was paid for once is served again, but only to the same question.",
        )
        .await?;
        for Answer { prompt, answer } in &script.cache {
            let filed = self
                .client
                .post("/v1/cache/entries", &json!({"prompt": prompt, "response": answer, "scope": {"user": USER}}))
                .await?;
            self.check(filed["id"].is_string(), &format!("filed the answer to {prompt:?}"))?;
        }
        for Probe { prompt, expect, because } in &script.cache_probes {
            let answer = self.lookup(prompt).await?;
            self.say(&format!("\n  {} {}", self.screen.dim("?"), self.screen.bold(prompt)))?;
            self.say(&format!("    {}", cache::verdict(&answer, self.screen)))?;
            if answer["hit"] == true {
                self.quote("", words::text(&answer, "response"))?;
            }
            self.check(found(&answer) == *expect, &told(*expect, because))?;
            self.pause().await;
        }
        Ok(())
    }

    async fn correct(&mut self, memory: &str) -> Outcome {
        self.section(
            "4. Correct",
            "A cached answer knows which memories it used. When one is corrected, the answer is gone.",
        )
        .await?;
        let prompt = "Which seat does Maya want?";
        let entry =
            json!({"prompt": prompt, "response": "A window seat.", "scope": {"user": USER}, "depends_on": [memory]});
        self.client.post("/v1/cache/entries", &entry).await?;
        let before = self.lookup(prompt).await?;
        self.check(
            before["hit"] == true,
            &format!("{prompt:?} is answered from the cache: {:?}", words::text(&before, "response")),
        )?;
        let text = "Always an aisle seat for me, please. Since the operation I have to get up often.";
        let query = Query::new(format!("/v1/memories/{memory}")).with("user", Some(USER));
        let corrected = self.client.call(Method::PATCH, query.as_str(), Some(&json!({"text": text})), &[]).await?;
        self.check(corrected["version"] == 2, &format!("the memory is corrected, version 2: {text:?}"))?;
        let after = self.lookup(prompt).await?;
        self.check(after["hit"] == false, "the cached answer that used it is gone")?;
        let answer = self.search(prompt, PLACES).await?;
        let texts: Vec<&str> =
            answer["results"].as_array().into_iter().flatten().map(|result| words::text(result, "text")).collect();
        let held = texts.contains(&text) && !texts.iter().any(|text| text.contains("window seat"));
        self.check(held, "asked again, recall gives the correction and not what was before")?;
        let query = Query::new(format!("/v1/memories/{memory}/history")).with("user", Some(USER));
        let history = self.client.get(query.as_str()).await?;
        self.check(
            history["versions"].as_array().is_some_and(|versions| versions.len() == 2),
            "its history has both versions",
        )
    }

    async fn forget(&mut self, tenant: &str) -> Outcome {
        self.section("5. Forget", "What is forgotten is gone for good, and an import does not bring it back.").await?;
        let question = "What is the confirmation code of the flat?";
        let answer = self.search(question, 1).await?;
        let (id, text) = (words::text(&answer["results"][0], "id"), words::text(&answer["results"][0], "text"));
        self.check(text.contains("CDO-8841"), &format!("{question:?} recalls {text:?}"))?;
        let receipt = self.client.post("/v1/memories/forget", &json!({"scope": {"user": USER}, "ids": [id]})).await?;
        self.check(receipt["forgotten"] == json!([id]), "forgotten, with a receipt")?;
        let again = self.send(tenant).await?;
        self.check(
            again.refused_forgotten == 1 && again.created == 0,
            "the file is imported again: it stays forgotten",
        )?;
        self.check(again.changed_since == 1, "and the correction from before stands")?;
        let answer = self.search("CDO-8841", 1000).await?;
        let back = answer["results"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|result| words::text(result, "text").contains("CDO-8841"));
        self.check(!back, "no recall finds it")
    }

    async fn search(&self, question: &str, limit: usize) -> Outcome<Value> {
        Ok(self
            .client
            .post("/v1/memories/search", &json!({"query": question, "scope": {"user": USER}, "limit": limit}))
            .await?)
    }

    async fn lookup(&self, prompt: &str) -> Outcome<Value> {
        Ok(self.client.post("/v1/cache/lookup", &json!({"prompt": prompt, "scope": {"user": USER}})).await?)
    }

    async fn section(&self, title: &str, about: &str) -> Outcome {
        self.pause().await;
        self.say(&format!("\n{}", self.screen.bold(&self.screen.cyan(title))))?;
        self.say(&self.screen.dim(about))?;
        self.pause().await;
        Ok(())
    }

    fn check(&mut self, held: bool, what: &str) -> Outcome {
        self.checks.push((held, what.to_owned()));
        let mark = if held { self.screen.green("✓") } else { self.screen.red("✗") };
        self.say(&format!("  {mark} {what}"))
    }

    /// A text between quotation marks, after its number.
    fn quote(&self, number: &str, text: &str) -> Outcome {
        if self.screen.is_json() {
            return Ok(());
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(self.screen.wrapped(&format!("    {number:<3}“{text}”"), 8)?)
    }

    fn say(&self, line: &str) -> Outcome {
        if self.screen.is_json() { Ok(()) } else { Ok(self.screen.wrapped(line, 4)?) }
    }

    async fn pause(&self) {
        if self.pauses {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn found(answer: &Value) -> Expected {
    match (answer["hit"] == true, words::text(answer, "kind")) {
        (true, "exact") => Expected::HitExact,
        (true, _) => Expected::HitSemantic,
        (false, _) if answer["near_miss"].is_object() => Expected::Refused,
        (false, _) => Expected::Miss,
    }
}

fn told(expected: Expected, because: &str) -> String {
    match expected {
        Expected::HitExact | Expected::HitSemantic => format!("served, as it should be: {because}"),
        Expected::Refused => format!(
            "not served, as it must not be: they differ in {} {because}",
            if because.starts_with(['a', 'o']) { "an" } else { "a" }
        ),
        Expected::Miss => format!("no answer, as there is none: {because}"),
    }
}
