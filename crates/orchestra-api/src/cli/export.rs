//! `orchestra export`.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::arguments::{self, ScopeArgs};
use super::failure::{Failure, Outcome};
use super::screen::Screen;
use super::words;
use crate::client::Client;
use crate::import::orchestra;

/// How many memories one call gives.
const PAGE: u64 = 1000;

/// Write the memories of a scope as JSONL, one a line, oldest first.
///
/// `orchestra import` takes the file back with ids, times and metadata as they were. Former versions, cached answers
/// and the tenant are not in it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra export memory.jsonl
  orchestra export --user maya | jq -r .text
  orchestra export - --filter '{\"kind\": \"semantic\"}' > facts.jsonl")]
pub struct Args {
    /// The file; - is the standard output.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Only memories that match this JSON object; `orchestra recall --help` shows some.
    #[arg(long, value_name = "JSON", value_parser = arguments::object)]
    filter: Option<Value>,
    #[command(flatten)]
    scope: ScopeArgs,
}

pub async fn run(args: Args, client: &Client, screen: &Screen) -> Outcome {
    let filter = args.filter.map(|filter| filter.to_string());
    if args.file == Path::new("-") {
        let mut out = BufWriter::new(io::stdout().lock());
        let written = lines(client, &args.scope, filter.as_deref(), &mut out, Failure::from).await?;
        out.flush()?;
        screen.note(&format!("{} exported", words::memories(written)));
        return Ok(());
    }
    // A reader never sees half an export: it takes the file's place when it is whole.
    let failed = |error: io::Error| Failure::io(args.file.display(), &error);
    let folder = match args.file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut out = BufWriter::new(file.as_file_mut());
    let written = lines(client, &args.scope, filter.as_deref(), &mut out, failed).await?;
    out.flush().map_err(failed)?;
    drop(out);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&args.file).map_err(|error| failed(error.error))?;
    screen.note(&format!("{} exported to {}", words::memories(written), args.file.display()));
    Ok(())
}

async fn lines(
    client: &Client,
    scope: &ScopeArgs,
    filter: Option<&str>,
    out: &mut impl Write,
    failed: impl Fn(io::Error) -> Failure,
) -> Outcome<u64> {
    let mut written = 0;
    let mut cursor: Option<String> = None;
    loop {
        let query = scope
            .query("/v1/memories")
            .with("limit", Some(PAGE.to_string()))
            .with("filter", filter)
            .with("cursor", cursor);
        let page = client.get(query.as_str()).await?;
        for memory in page["memories"].as_array().into_iter().flatten() {
            writeln!(out, "{}", orchestra::line(memory)).map_err(&failed)?;
            written += 1;
        }
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return Ok(written);
        }
    }
}
