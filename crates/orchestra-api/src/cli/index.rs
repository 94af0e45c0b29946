//! `orchestra index`.

mod build;
mod status;
mod tune;

use std::convert::Infallible;
use std::io::IsTerminal as _;
use std::str::FromStr;
use std::time::Duration;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::{ProgressBar, ProgressStyle};
use provider_alloydb::index::SpaceStatus;
use provider_alloydb::{AlloyDbConfig, IndexKeeper, IndexKind, IndexPolicy, Storage};

use super::database::failure;
use super::failure::{Failure, Outcome};
use super::screen::Screen;

/// Build the vector indexes of a Postgres or AlloyDB, and measure what they find.
///
/// Memories of one embedding model make a space, and each space has an index or none. Without one a search compares all
/// memories of its scope: exact, and the better way while they are few. With one it looks at a part of them: fast, and it
/// may miss some. Recall says how many it does not miss: 0.95 at 10 is 9.5 of the true 10 nearest.
///
/// `status` says whether an index is due, `build` builds it, `tune` sets how much of it a search looks at. Programs go on
/// meanwhile, and use what is new within 10 s.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  export DATABASE_URL=postgres://owner:secret@10.0.0.5/memory?sslmode=require
  orchestra index status
  orchestra index build
  orchestra index tune --target 0.98")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Args),
    Build(build::Args),
    Tune(tune::Args),
}

/// Which index the spaces are to have.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which index")]
struct Policy {
    /// The kind. ivfflat: lists, quick to build and small. hnsw: a graph that finds more in the same time, longer to build
    /// and slower to write to. scann: AlloyDB's. exact: none.
    #[arg(long, value_parser = kind(), default_value = "ivfflat")]
    kind: IndexKind,
    /// ivfflat: at most so many lists; made are a thousandth of the rows, above a million rows their square root.
    #[arg(long, value_name = "COUNT", default_value_t = IndexPolicy::default().lists)]
    lists: u32,
    /// hnsw: the connections of a node, 2 to 100. More find more, and take more memory.
    #[arg(long, value_name = "COUNT", default_value_t = IndexPolicy::default().m)]
    m: u16,
    /// hnsw: the candidates while it is built, 2 m to 1000. More find more, and take longer to build.
    #[arg(long, value_name = "COUNT", default_value_t = IndexPolicy::default().ef_construction)]
    ef_construction: u16,
    /// From how many rows of a space on an index is built.
    #[arg(long, value_name = "ROWS", default_value_t = IndexPolicy::default().min_rows)]
    min_rows: u64,
    #[command(flatten)]
    kept: Kept,
}

/// How programs keep vectors.
#[derive(Debug, clap::Args)]
struct Kept {
    /// How the programs of this database keep vectors: in full, or in half the bytes.
    #[arg(long, value_parser = storage(), default_value = "vector")]
    storage: Storage,
}

impl Policy {
    fn apply(&self, config: &mut AlloyDbConfig) {
        config.storage = self.kept.storage;
        config.index.kind = self.kind;
        config.index.lists = self.lists;
        config.index.m = self.m;
        config.index.ef_construction = self.ef_construction;
        config.index.min_rows = self.min_rows;
    }
}

/// Some of the spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spaces {
    All,
    One(i16),
}

impl FromStr for Spaces {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.parse().map(Self::One).map_err(|_| "expected all, or a number that `orchestra index status` shows".into())
    }
}

impl Spaces {
    async fn of(self, keeper: &IndexKeeper) -> Outcome<Vec<SpaceStatus>> {
        let mut spaces = keeper.status().await.map_err(failure)?;
        if let Self::One(number) = self {
            spaces.retain(|space| space.number == number);
            if spaces.is_empty() {
                return Err(Failure::mistake(
                    format!("there is no space {number}"),
                    "`orchestra index status` shows those there are",
                ));
            }
        }
        Ok(spaces)
    }
}

pub async fn run(args: Args, screen: &Screen) -> Outcome {
    let config = match &args.command {
        Command::Status(args) => args.config(),
        Command::Build(args) => args.config(),
        Command::Tune(args) => args.config(),
    };
    let keeper = IndexKeeper::connect(config?).await.map_err(failure)?;
    let outcome = match &args.command {
        Command::Status(_) => status::run(&keeper, screen).await,
        Command::Build(args) => build::run(args, &keeper, screen).await,
        Command::Tune(args) => tune::run(args, &keeper, screen).await,
    };
    keeper.close().await;
    outcome
}

fn kind() -> impl TypedValueParser<Value = IndexKind> {
    PossibleValuesParser::new(["ivfflat", "hnsw", "scann", "exact"]).try_map(|name| name.parse::<IndexKind>())
}

fn storage() -> impl TypedValueParser<Value = Storage> {
    PossibleValuesParser::new(["vector", "halfvec"])
        .try_map(|name| Ok::<_, Infallible>(if name == "halfvec" { Storage::Halfvec } else { Storage::Vector }))
}

/// `12 probes`: how much of an index of this kind a search looks at.
fn effort(kind: &str, effort: u32) -> String {
    let what = match kind {
        "ivfflat" if effort == 1 => "probe",
        "ivfflat" => "probes",
        "hnsw" => return format!("ef_search {effort}"),
        "scann" if effort == 1 => "leaf",
        "scann" => "leaves",
        _ => "",
    };
    format!("{effort} {what}").trim_end().into()
}

/// `space 1 (static-256@1/256)`.
fn name(space: &SpaceStatus) -> String {
    format!("space {} ({})", space.number, space.space)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A line that says what is going on, where somebody watches.
fn progress_line(template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template).expect("the template is well formed").progress_chars("━╸━");
    let line = ProgressBar::new(1).with_style(style);
    line.enable_steady_tick(Duration::from_millis(100));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effort_is_named_as_its_index_names_it() {
        let told = [("ivfflat", 1), ("ivfflat", 2), ("hnsw", 40), ("scann", 3), ("later", 4)];
        assert_eq!(
            told.map(|(kind, amount)| effort(kind, amount)),
            ["1 probe", "2 probes", "ef_search 40", "3 leaves", "4"]
        );
    }

    #[test]
    fn spaces_are_all_or_one() {
        assert_eq!(("all".parse(), "3".parse()), (Ok(Spaces::All), Ok(Spaces::One(3))));
        assert!("none".parse::<Spaces>().is_err() && "70000".parse::<Spaces>().is_err());
    }
}
