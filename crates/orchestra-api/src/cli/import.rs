//! `orchestra import`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use memory_core::MemoryKind;
use serde_json::{Value, json};

use super::arguments::{self, ScopeArgs};
use super::failure::{Failure, Outcome};
use super::screen::{Column, Screen};
use super::words;
use crate::client::Client;
use crate::import::send::{self, Sent, Survey};
use crate::import::{Broken, Format, Options, Skip, Source};

/// Import memories from files: chats, conversations, notes, JSONL, our own exports.
///
/// Every file is checked whole before anything is written. Importing twice adds nothing, also from another path, and an
/// import that was interrupted goes on when the same command is run again. What was forgotten stays forgotten.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra import chats.jsonl --user maya
  orchestra import notes/*.md --user maya --kind semantic
  orchestra import conversations.json --dry-run
  orchestra export --url http://old-host:7070 | orchestra import - --data ./new

A file is read as what its name and beginning say; --format overrules that.")]
pub struct Args {
    /// The files; - is the standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the files are read.
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: FormatArg,
    /// The kind of what the file does not say it of. Default: message for turns, episodic for notes.
    #[arg(long, value_parser = arguments::kind())]
    kind: Option<MemoryKind>,
    /// Check and count only, write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Leave broken lines out, count them and go on.
    #[arg(long)]
    skip_invalid: bool,
    #[command(flatten)]
    scope: ScopeArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatArg {
    /// What its name and its beginning say.
    Auto,
    /// Our own export.
    Orchestra,
    /// {"messages": […]} a line, or ChatGPT's conversations.json.
    OpenaiChat,
    /// JSON with sessions, speakers and dates.
    Conversation,
    /// Notes, split at headings and paragraphs.
    Markdown,
    /// {"text": …} or a JSON string a line.
    Jsonl,
}

impl FormatArg {
    fn format(self) -> Option<Format> {
        Some(match self {
            Self::Auto => return None,
            Self::Orchestra => Format::Orchestra,
            Self::OpenaiChat => Format::OpenaiChat,
            Self::Conversation => Format::Conversation,
            Self::Markdown => Format::Markdown,
            Self::Jsonl => Format::Jsonl,
        })
    }
}

impl Args {
    /// An import of `files` with nothing else said.
    pub fn of_files(files: Vec<PathBuf>) -> Self {
        Self {
            files,
            format: FormatArg::Auto,
            kind: None,
            dry_run: false,
            skip_invalid: false,
            scope: ScopeArgs::default(),
        }
    }
}

/// A file that was checked.
struct Checked {
    source: Arc<Source>,
    format: Format,
    survey: Survey,
}

pub async fn run(args: Args, tenant: &str, client: &Client, screen: &Screen) -> Outcome {
    let options = Options { tenant: tenant.to_owned(), scope: args.scope.clone().into(), kind: args.kind };
    let files = check(&args, &options, screen)?;
    let total = files.iter().map(|file| file.survey.memories).sum();
    let begun = Instant::now();
    let mut sent = Vec::new();
    if !args.dry_run {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = tokio::spawn(watch_for_interrupt(stop.clone()));
        let bar = progress_bar(total);
        for file in &files {
            let done = sent.iter().map(Sent::total).sum::<u64>();
            let progress = |now: &Sent| bar.set_position(done + now.total());
            match send::send(client, file.source.clone(), file.format, options.clone(), &stop, progress).await {
                Ok(outcome) => sent.push(outcome),
                Err(problem) => {
                    bar.finish_and_clear();
                    if bar.position() > 0 {
                        screen.note(&format!(
                            "{} of {} are written; the same command goes on there",
                            words::count(bar.position()),
                            words::memories(total)
                        ));
                    }
                    return Err(problem.into());
                }
            }
            if sent.last().is_some_and(|outcome| outcome.stopped) {
                break;
            }
        }
        bar.finish_and_clear();
        watch.abort();
    }
    if screen.is_json() {
        screen.json(&summary(&files, &sent, args.dry_run))?;
    } else {
        print(&files, &sent, args.dry_run, screen)?;
        if !args.dry_run {
            let seconds = begun.elapsed().as_secs_f64();
            let rate = sent.iter().map(Sent::total).sum::<u64>() as f64 / seconds.max(1e-3);
            screen.note(&screen.dim(&format!("{seconds:.1} s, {} a second", words::memories(rate as u64))));
        }
    }
    if sent.last().is_some_and(|outcome| outcome.stopped) {
        let done = sent.iter().map(Sent::total).sum::<u64>();
        let message =
            format!("stopped after {} of {}; what was written is safe", words::count(done), words::memories(total));
        return Err(Failure::interrupted(message, "run the same command again: it goes on where it stopped"));
    }
    Ok(())
}

/// Opens every file and reads it to its end, before anything is written.
fn check(args: &Args, options: &Options, screen: &Screen) -> Outcome<Vec<Checked>> {
    let mut files = Vec::with_capacity(args.files.len());
    let mut broken = Vec::new();
    for path in &args.files {
        let source = Source::open(path).map_err(|error| Failure::io(path.display(), &error))?;
        let format = match args.format.format() {
            Some(format) => format,
            None => {
                let Some(detected) = Format::detect(&source) else {
                    return Err(undetected(&source));
                };
                screen.note(&format!(
                    "{}: read as {}, since {}",
                    source.name(),
                    screen.bold(detected.format.name()),
                    detected.because
                ));
                detected.format
            }
        };
        let mut survey = Survey::of(&source, format, options);
        if survey.broken_count > 0 {
            if !args.skip_invalid || survey.cut_short {
                broken.push((source.name().to_owned(), survey));
                continue;
            }
            survey.skipped.insert(Skip::Invalid, survey.broken_count);
        }
        files.push(Checked { source: Arc::new(source), format, survey });
    }
    if broken.is_empty() {
        return Ok(files);
    }
    for (name, survey) in &broken {
        for place in &survey.broken {
            screen.note(&format!("{}: {place}", screen.red(&location(name, place))));
        }
        let more = survey.broken_count - survey.broken.len() as u64;
        if more > 0 {
            screen.note(&format!("{name}: and {} more", words::count(more)));
        }
    }
    let places = broken.iter().map(|(_, survey)| survey.broken_count).sum::<u64>();
    let places =
        if places == 1 { "one broken place".into() } else { format!("{} broken places", words::count(places)) };
    let next = match (broken.iter().any(|(_, survey)| survey.cut_short), args.format.format()) {
        (true, _) => "correct the file: what comes after the place cannot be read",
        (false, None) => "correct them, leave them out with --skip-invalid, or say what the file is with --format",
        (false, Some(_)) => "correct them, or leave them out with --skip-invalid",
    };
    Err(Failure::mistake(format!("{places}; nothing was written"), next))
}

fn undetected(source: &Source) -> Failure {
    let name = source.name();
    match source.text() {
        Err(broken) => Failure::mistake(format!("{}: {broken}", location(name, &broken)), "import a text file"),
        Ok(text) if text.trim().is_empty() => {
            Failure::mistake(format!("{name}: the file is empty"), "name a file with something in it")
        }
        Ok(_) => Failure::mistake(
            format!("{name}: neither its name nor its beginning says what it is"),
            "say it with --format orchestra, openai-chat, conversation, markdown or jsonl",
        ),
    }
}

fn location(name: &str, broken: &Broken) -> String {
    match broken.place {
        Some(place) => format!("{name}:{}:{}", place.line, place.column),
        None => name.to_owned(),
    }
}

async fn watch_for_interrupt(stop: Arc<AtomicBool>) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    stop.store(true, Ordering::Relaxed);
    if tokio::signal::ctrl_c().await.is_ok() {
        // The batch under way is all there or not at all, whichever it is.
        std::process::exit(130);
    }
}

fn progress_bar(total: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() || total == 0 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{bar:30.cyan/black.bright} {human_pos} of {human_len} memories, {rate} a second, {eta} left",
    )
    .expect("the template is well formed")
    .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        // Writing to the bar's line cannot fail.
        let _ = out.write_str(&words::count(state.per_sec() as u64));
    })
    .progress_chars("━╸━");
    ProgressBar::new(total).with_style(style)
}

/// What only the store could tell to be left out.
fn late_skips(sent: &Sent) -> impl Iterator<Item = (Skip, u64)> {
    let counts = [(Skip::ChangedSince, sent.changed_since), (Skip::Rejected, sent.rejected)];
    counts.into_iter().filter(|(_, number)| *number > 0)
}

fn summary(files: &[Checked], sent: &[Sent], dry_run: bool) -> Value {
    let file = |(at, file): (usize, &Checked)| {
        let outcome = sent.get(at).copied().unwrap_or_default();
        let mut skipped: serde_json::Map<String, Value> =
            file.survey.skipped.iter().map(|(skip, number)| (skip.name().to_owned(), (*number).into())).collect();
        for (skip, number) in late_skips(&outcome) {
            skipped.insert(skip.name().to_owned(), number.into());
        }
        json!({
            "file": file.source.name(), "format": file.format.name(), "read": file.survey.memories, "created": outcome.created,
            "unchanged": outcome.unchanged, "refused_forgotten": outcome.refused_forgotten, "skipped": skipped,
        })
    };
    let stopped = sent.last().is_some_and(|outcome| outcome.stopped);
    json!({"files": files.iter().enumerate().map(file).collect::<Vec<_>>(), "dry_run": dry_run, "stopped": stopped})
}

fn print(files: &[Checked], sent: &[Sent], dry_run: bool, screen: &Screen) -> Outcome {
    let mut columns = vec![Column::new("File"), Column::new("Format"), Column::new("Read").right()];
    if !dry_run {
        columns.extend([
            Column::new("Created").right(),
            Column::new("Unchanged").right(),
            Column::new("Forgotten").right(),
        ]);
    }
    columns.push(Column::new("Skipped").wraps());
    let rows = files.iter().enumerate().map(|(at, file)| {
        let mut row =
            vec![file.source.file_name().to_owned(), file.format.to_string(), words::count(file.survey.memories)];
        let outcome = sent.get(at).copied().unwrap_or_default();
        if !dry_run {
            row.extend([outcome.created, outcome.unchanged, outcome.refused_forgotten].map(words::count));
        }
        let mut skipped: Vec<String> = file
            .survey
            .skipped
            .iter()
            .map(|(skip, number)| format!("{} {}", words::count(*number), skip.reason()))
            .collect();
        let late = late_skips(&outcome);
        skipped.extend(late.map(|(skip, number)| format!("{} {}", words::count(number), skip.reason())));
        row.push(if skipped.is_empty() { "none".into() } else { skipped.join(", ") });
        row
    });
    screen.table(&columns, rows.collect())?;
    if dry_run {
        screen.note("Nothing was written: that was a dry run.");
    }
    Ok(())
}
