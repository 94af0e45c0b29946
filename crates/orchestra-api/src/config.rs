//! Every flag and environment variable of the server, read and checked once.

mod cache_embedder;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use memory_core::cache::{DEFAULT_TTL, MAX_TTL};
use memory_core::{Error, MAX_DIMENSIONS, Result, Scope};
use secrecy::SecretString;

pub use cache_embedder::{CacheEmbedderKind, CacheEmbedderSettings};

/// The address the server listens on unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7070";
/// The cache threshold of the built-in embedder, a cosine similarity. Its vectors lie closer together than those of a
/// transformer, so that what is 0.85 there is 0.90 here.
pub const BUILT_IN_CACHE_THRESHOLD: f32 = 0.90;
/// The database's name in the data folder.
pub const DATABASE_FILE: &str = "memory.db";

/// The environment variable with the embedding server's key. There is no flag for it: flags show in process lists.
const EMBEDDER_API_KEY: &str = "ORCHESTRA_EMBEDDER_API_KEY";

/// What a server, or a command that opens the memory in its own process, is told.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The folder that holds the memory, in one file, memory.db. It is made when it is not there.
    ///
    /// Default: orchestra in $XDG_DATA_HOME, or ~/.local/share/orchestra.
    #[arg(long, env = "ORCHESTRA_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// The address and port to answer HTTP on. Port 0 takes a free one and prints it.
    #[arg(long, env = "ORCHESTRA_LISTEN", value_name = "ADDR:PORT", default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,

    /// The tenant whose memory this server keeps. No request can name another.
    #[arg(long, env = "ORCHESTRA_TENANT", value_name = "NAME", default_value = "default")]
    pub tenant: String,

    /// What turns texts into vectors: the model inside this program, or a server that speaks OpenAI's /v1/embeddings.
    ///
    /// Memories keep the model they were embedded with; vectors of two models are never compared.
    #[arg(long, env = "ORCHESTRA_EMBEDDER", value_name = "KIND", default_value = "builtin")]
    pub embedder: EmbedderKind,

    /// With --embedder openai: the server's base URL, up to and including /v1. The key is read from the environment
    /// variable ORCHESTRA_EMBEDDER_API_KEY.
    #[arg(long, env = "ORCHESTRA_EMBEDDER_URL", value_name = "URL", default_value = "https://api.openai.com/v1")]
    pub embedder_url: String,

    /// With --embedder openai: the model's name there.
    #[arg(long, env = "ORCHESTRA_EMBEDDER_MODEL", value_name = "MODEL", default_value = "text-embedding-3-small")]
    pub embedder_model: String,

    /// With --embedder openai: how many values the model's vectors have, 1 to 4096.
    #[arg(long, env = "ORCHESTRA_EMBEDDER_DIMENSIONS", value_name = "N", default_value_t = 1536)]
    pub embedder_dimensions: usize,

    /// With --embedder openai: ask the server for vectors of that many values. Only models that can shorten their
    /// vectors take it, such as text-embedding-3-small; others refuse.
    #[arg(long, env = "ORCHESTRA_EMBEDDER_SEND_DIMENSIONS")]
    pub embedder_send_dimensions: bool,

    /// What the semantic cache compares prompts by. What was filed by another model is served to the same prompt only.
    #[arg(long, env = "ORCHESTRA_CACHE_EMBEDDER", value_name = "KIND", default_value = "auto")]
    pub cache_embedder: CacheEmbedderKind,

    /// The folder of models; minilm-int8 is in the folder minilm-int8 of it.
    ///
    /// Default: the first that has it of: models in the data folder, models beside this program, and the target/assets
    /// of a checkout, where `cargo xtask assets minilm-int8` places it.
    #[arg(long, env = "ORCHESTRA_MODELS", value_name = "DIR")]
    pub models: Option<PathBuf>,

    /// How alike two prompts must be, as a cosine similarity, before the semantic cache may give the answer of one to
    /// the other. The guard checks numbers, names, negations and opposites on top of it.
    ///
    /// The threshold belongs to the model. Default: 0.85, and 0.90 with static-256.
    #[arg(long, env = "ORCHESTRA_CACHE_THRESHOLD", value_name = "SIMILARITY", allow_negative_numbers = true)]
    pub cache_threshold: Option<f32>,

    /// How many seconds a cached answer lives unless its writer says otherwise.
    #[arg(long, env = "ORCHESTRA_CACHE_TTL_SECONDS", value_name = "SECONDS", default_value_t = DEFAULT_TTL.as_secs())]
    pub cache_ttl_seconds: u64,

    /// The largest request body, in bytes. A larger one is answered with 413.
    #[arg(long, env = "ORCHESTRA_MAX_BODY_BYTES", value_name = "BYTES", default_value_t = Limits::DEFAULT.body_bytes)]
    pub max_body_bytes: usize,

    /// The most memories or messages in one request.
    #[arg(long, env = "ORCHESTRA_MAX_BATCH", value_name = "N", default_value_t = Limits::DEFAULT.batch)]
    pub max_batch: usize,

    /// How large the memory's file may grow, in bytes. A write that would go over it is answered with 507, as on a full
    /// disk. Default: no limit but the disk's.
    #[arg(long, env = "ORCHESTRA_MAX_DATA_BYTES", value_name = "BYTES")]
    pub max_data_bytes: Option<u64>,

    /// Where the semantic cache lives: in the data folder with the memory, or nowhere. Without one every lookup is a
    /// miss and nothing is filed.
    #[arg(long, env = "ORCHESTRA_SHORT_TERM_PROVIDER", value_name = "PROVIDER", default_value = "embedded")]
    pub short_term_provider: ShortTermProvider,

    /// Where the memories live: in the data folder.
    #[arg(long, env = "ORCHESTRA_MEDIUM_TERM_PROVIDER", value_name = "PROVIDER", default_value = "embedded")]
    pub medium_term_provider: MediumTermProvider,

    /// Whether facts and procedures (the kinds semantic and procedural) are kept and recalled.
    #[arg(
        long,
        env = "ORCHESTRA_LONG_TERM_ENABLED",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value_t = true
    )]
    pub long_term_enabled: bool,

    /// Answer without credentials on an address that other machines reach.
    ///
    /// Everyone who reaches the port can then read, change and forget every memory. Without this flag the server
    /// listens on loopback addresses only.
    #[arg(long, env = "ORCHESTRA_ALLOW_UNAUTHENTICATED")]
    pub allow_unauthenticated: bool,

    /// How many seconds requests in flight get to end when the server is told to stop.
    #[arg(long, env = "ORCHESTRA_SHUTDOWN_GRACE_SECONDS", value_name = "SECONDS", default_value_t = 10)]
    pub shutdown_grace_seconds: u64,
}

/// A kind of embedder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EmbedderKind {
    /// The model inside this program, static-256: no download, no network.
    Builtin,
    /// A server that speaks OpenAI's embeddings interface.
    Openai,
}

/// Where the semantic cache lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShortTermProvider {
    /// In the data folder, with the memory.
    Embedded,
    /// Nowhere.
    None,
}

impl ShortTermProvider {
    /// Its name, as flags and answers spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::None => "none",
        }
    }
}

/// Where the memories live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MediumTermProvider {
    /// In the data folder.
    Embedded,
}

impl MediumTermProvider {
    /// Its name, as flags and answers spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
        }
    }
}

/// What a server is set to, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder that holds the memory.
    pub data: PathBuf,
    /// The address to listen on; port 0 for a free one.
    pub listen: SocketAddr,
    /// The tenant of every request.
    pub tenant: String,
    /// What makes the vectors.
    pub embedder: EmbedderSettings,
    /// What makes the vectors of cached prompts.
    pub cache_embedder: CacheEmbedderSettings,
    /// The least cosine similarity of a semantic cache hit.
    pub cache_threshold: f32,
    /// How long a cached answer lives unless its writer says otherwise.
    pub cache_ttl: Duration,
    /// What a request and the file may be.
    pub limits: Limits,
    /// Where the semantic cache lives.
    pub short_term_provider: ShortTermProvider,
    /// Where the memories live.
    pub medium_term_provider: MediumTermProvider,
    /// Whether facts and procedures are kept and recalled.
    pub long_term_enabled: bool,
    /// Whether an address that other machines reach is answered without credentials.
    pub allow_unauthenticated: bool,
    /// How long requests in flight get to end.
    pub shutdown_grace: Duration,
}

/// What makes the vectors.
#[derive(Clone)]
pub enum EmbedderSettings {
    /// The model inside this program.
    BuiltIn,
    /// A server that speaks OpenAI's embeddings interface.
    OpenAi {
        /// The base URL, up to and including `/v1`.
        base_url: String,
        /// The model's name there.
        model: String,
        /// How many values its vectors have.
        dimensions: usize,
        /// Whether to ask the server for that many.
        send_dimensions: bool,
        /// The key, where the server wants one.
        api_key: Option<SecretString>,
    },
}

impl fmt::Debug for EmbedderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("BuiltIn"),
            // The key is left out, whatever its type prints.
            Self::OpenAi { base_url, model, dimensions, .. } => f
                .debug_struct("OpenAi")
                .field("base_url", base_url)
                .field("model", model)
                .field("dimensions", dimensions)
                .finish_non_exhaustive(),
        }
    }
}

/// What a request and the file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// The most memories or messages in one request.
    pub batch: usize,
    /// How large the memory's file may grow, in bytes.
    pub data_bytes: Option<u64>,
}

impl Limits {
    /// 32 MiB, 1000, and a file as large as the disk allows.
    pub const DEFAULT: Self = Self { body_bytes: 32 * 1024 * 1024, batch: 1000, data_bytes: None };
}

impl Settings {
    /// Checks the flags and reads what is left to the environment: the embedder's key, the home folder, and where models
    /// are.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the flag, what was given and what is allowed.
    pub fn from_args(args: ServerArgs) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let program = std::env::current_exe().ok();
        Self::from_args_and_environment(args, variable, program.as_deref())
    }

    fn from_args_and_environment(
        args: ServerArgs,
        variable: impl Fn(&str) -> Option<String>,
        program: Option<&Path>,
    ) -> Result<Self> {
        let data = match args.data {
            Some(data) => data,
            None => default_data(&variable)?,
        };
        if !args.listen.ip().is_loopback() && !args.allow_unauthenticated {
            return Err(Error::invalid(
                "listen",
                args.listen,
                "a loopback address such as 127.0.0.1; other machines would reach this one, and the server asks nobody \
                 for credentials. Add --allow-unauthenticated if everyone who reaches it may read and change every memory",
            ));
        }
        Scope::tenant(args.tenant.as_str())
            .map_err(|_| Error::invalid("tenant", &args.tenant, "1 to 256 bytes without control characters"))?;
        let embedder = match args.embedder {
            EmbedderKind::Builtin => EmbedderSettings::BuiltIn,
            EmbedderKind::Openai => EmbedderSettings::OpenAi {
                base_url: args.embedder_url,
                model: args.embedder_model,
                dimensions: within("embedder-dimensions", args.embedder_dimensions, 1, MAX_DIMENSIONS)?,
                send_dimensions: args.embedder_send_dimensions,
                api_key: variable(EMBEDDER_API_KEY).map(SecretString::from),
            },
        };
        let folders = cache_embedder::model_folders(args.models, &data, program);
        let cache_embedder = CacheEmbedderSettings::choose(args.cache_embedder, &folders)?;
        let cache_threshold = args.cache_threshold.unwrap_or_else(|| cache_embedder.threshold(&embedder));
        if !(-1.0..=1.0).contains(&cache_threshold) {
            return Err(Error::invalid("cache-threshold", cache_threshold, "-1.0 to 1.0, a cosine similarity"));
        }
        let ttl_seconds = within("cache-ttl-seconds", args.cache_ttl_seconds, 1, MAX_TTL.as_secs())?;
        Ok(Self {
            data,
            listen: args.listen,
            tenant: args.tenant,
            embedder,
            cache_embedder,
            cache_threshold,
            cache_ttl: Duration::from_secs(ttl_seconds),
            limits: Limits {
                body_bytes: within("max-body-bytes", args.max_body_bytes, 1024, 1 << 30)?,
                batch: within("max-batch", args.max_batch, 1, 100_000)?,
                data_bytes: args
                    .max_data_bytes
                    .map(|bytes| within("max-data-bytes", bytes, 1 << 20, 1 << 50))
                    .transpose()?,
            },
            short_term_provider: args.short_term_provider,
            medium_term_provider: args.medium_term_provider,
            long_term_enabled: args.long_term_enabled,
            allow_unauthenticated: args.allow_unauthenticated,
            shutdown_grace: Duration::from_secs(within(
                "shutdown-grace-seconds",
                args.shutdown_grace_seconds,
                0,
                3600,
            )?),
        })
    }

    /// The settings of a server that was told nothing but its data folder, and finds no model in a file.
    #[must_use]
    pub fn for_data(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tenant: "default".into(),
            embedder: EmbedderSettings::BuiltIn,
            cache_embedder: CacheEmbedderSettings::OfMemories,
            cache_threshold: BUILT_IN_CACHE_THRESHOLD,
            cache_ttl: DEFAULT_TTL,
            limits: Limits::DEFAULT,
            short_term_provider: ShortTermProvider::Embedded,
            medium_term_provider: MediumTermProvider::Embedded,
            long_term_enabled: true,
            allow_unauthenticated: false,
            shutdown_grace: Duration::from_secs(10),
        }
    }

    /// The file that holds the memory.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join(DATABASE_FILE)
    }

    /// The file in which a running server says where it is.
    #[must_use]
    pub fn server_file(&self) -> PathBuf {
        self.data.join("server.json")
    }
}

fn default_data(variable: &impl Fn(&str) -> Option<String>) -> Result<PathBuf> {
    let base = match variable("XDG_DATA_HOME") {
        Some(base) => PathBuf::from(base),
        None => {
            let home = variable("HOME").or_else(|| variable("USERPROFILE"));
            let home =
                home.ok_or_else(|| Error::invalid("data", "nothing", "--data DIR, as this user has no home folder"))?;
            PathBuf::from(home).join(".local/share")
        }
    };
    Ok(base.join("orchestra"))
}

fn within<T: PartialOrd + fmt::Display + Copy>(flag: &str, value: T, low: T, high: T) -> Result<T> {
    if (low..=high).contains(&value) {
        return Ok(value);
    }
    Err(Error::invalid(flag, value, format!("{low} to {high}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        server: ServerArgs,
    }

    fn settings(flags: &[&str]) -> Result<Settings> {
        let args = Command::try_parse_from([&["orchestra"], flags].concat()).unwrap().server;
        let variable = |name: &str| match name {
            "HOME" => Some("/home/ann".into()),
            EMBEDDER_API_KEY => Some("sk-secret".into()),
            _ => None,
        };
        Settings::from_args_and_environment(args, variable, None)
    }

    #[test]
    fn the_defaults_need_nothing_but_a_home() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.database(), PathBuf::from("/home/ann/.local/share/orchestra/memory.db"));
        assert_eq!((settings.listen.to_string(), settings.cache_threshold), (DEFAULT_LISTEN.into(), 0.90));
        assert_eq!(settings.limits, Limits { body_bytes: 33_554_432, batch: 1000, data_bytes: None });
    }

    #[test]
    fn a_remote_embedder_has_the_general_threshold_and_hides_its_key() {
        let settings = settings(&["--embedder", "openai", "--embedder-url", "http://localhost:1234/v1"]).unwrap();
        assert_eq!(settings.cache_threshold, 0.85);
        let debug = format!("{settings:?}");
        assert!(debug.contains("http://localhost:1234/v1\"") && !debug.contains("secret"), "{debug}");
    }

    #[test]
    fn an_address_that_others_reach_needs_a_flag() {
        let error = settings(&["--listen", "0.0.0.0:7070"]).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"listen: given 0.0.0.0:7070, allowed: a loopback address such as 127.0.0.1; other machines would reach this one, and the server asks nobody for credentials. Add --allow-unauthenticated if everyone who reaches it may read and change every memory");
        assert!(settings(&["--listen", "0.0.0.0:7070", "--allow-unauthenticated"]).is_ok());
        assert!(settings(&["--listen", "[::1]:7070"]).is_ok());
    }

    #[test]
    fn numbers_out_of_range_name_their_flag() {
        for (flags, message) in [
            (["--cache-threshold", "1.5"], "cache-threshold: given 1.5, allowed: -1.0 to 1.0, a cosine similarity"),
            (["--cache-ttl-seconds", "0"], "cache-ttl-seconds: given 0, allowed: 1 to 315360000"),
            (["--max-batch", "0"], "max-batch: given 0, allowed: 1 to 100000"),
            (["--tenant", ""], "tenant: given , allowed: 1 to 256 bytes without control characters"),
        ] {
            assert_eq!(settings(&flags).unwrap_err().to_string(), message);
        }
    }
}
