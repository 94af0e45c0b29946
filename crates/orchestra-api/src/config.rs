//! Every setting of the server, read and checked once.
//!
//! [`SETTINGS`] is the one list of them. A setting `shards` of the section `redis` is `redis.shards`: in the file `shards`
//! under `redis`, in the environment `ORCHESTRA_REDIS_SHARDS`. What is outside of the sections and no secret is a flag too.
//! A flag goes before the environment, that before the file, that before the default.

mod alloydb;
mod arguments;
mod cache_embedder;
mod file;
mod google_iam;
mod identity;
mod list;
mod models;
mod moves;
mod names;
mod provider;
mod recall;
mod redis;
mod schema;
mod secret;
mod secret_manager;
mod setting;
mod telemetry;
#[cfg(test)]
mod tests;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use embedders::MiniLmEmbedder;
use memory_core::{EmbeddingSpace, Error, Result, Scope};
use provider_alloydb::AlloyDbConfig;
use provider_redis::RedisConfig;
use secrecy::SecretString;

pub use arguments::ServerArgs;
pub use cache_embedder::CacheEmbedderSettings;
pub(crate) use google_iam::GoogleIam;
pub use list::SETTINGS;
use models::ModelFolders;
pub use moves::MoveSettings;
pub use provider::{MediumTermProvider, ShortTermProvider};
pub use recall::RecallSettings;
pub use schema::json_schema;
pub use secret::Secret;
pub use setting::{Kind, Setting, Value};
pub use values::{Source, Values};

use crate::identity::settings::{IdentitySettings, KEYS_FILE};
use crate::traces::TraceSettings;
use crate::usage::UsageSettings;

/// The address the server listens on unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7070";
/// The cache threshold of the built-in embedder, a cosine similarity. Its vectors lie closer together than those of a
/// transformer, so that what is 0.85 there is 0.90 here.
pub const BUILT_IN_CACHE_THRESHOLD: f32 = 0.90;
/// The database's name in the data folder.
pub const DATABASE_FILE: &str = "memory.db";

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
    /// How long a call waits for an embedder before it goes on without.
    pub embedder_timeout: Duration,
    /// What makes the vectors of cached prompts.
    pub cache_embedder: CacheEmbedderSettings,
    /// The least cosine similarity of a semantic cache hit.
    pub cache_threshold: f32,
    /// The name under which the cache follows the changes of the memories.
    pub cache_follower: String,
    /// How long a cached answer lives unless its writer says otherwise.
    pub cache_ttl: Duration,
    /// How long a session of the working memory lives after its last message unless its writer says otherwise.
    pub session_ttl: Duration,
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
    /// How long a start waits for the database of the memories.
    pub startup_patience: Duration,
    /// How long requests in flight get to end.
    pub shutdown_grace: Duration,
    /// Who may call, and how much.
    pub identity: IdentitySettings,
    /// How memories are recalled unless a request says otherwise.
    pub recall: RecallSettings,
    /// Where traces go.
    pub traces: TraceSettings,
    /// How usage is written down.
    pub usage: UsageSettings,
    /// The move to follow; none for none.
    pub moves: Option<MoveSettings>,
    /// The file of the budget's brake; none for no brake.
    pub brake_file: Option<PathBuf>,
    /// All of them as they were given, with the sections of the providers.
    values: Values,
}

/// What makes the vectors.
#[derive(Debug, Clone)]
pub enum EmbedderSettings {
    /// The model inside this program.
    BuiltIn,
    /// minilm-int8 in this folder.
    MiniLm(PathBuf),
    /// A server that speaks OpenAI's embeddings interface; [`Settings::embedder_api_key`] is its key.
    OpenAi {
        /// The base URL, up to and including `/v1`.
        base_url: String,
        /// The model's name there.
        model: String,
        /// How many values its vectors have.
        dimensions: usize,
        /// Whether to ask the server for that many.
        send_dimensions: bool,
    },
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
    /// Reads the file and the environment, and checks all of it with the flags.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the setting as it was given, with the file's line where it is known; what was given, and
    /// what is allowed.
    pub fn from_args(args: &ServerArgs) -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let program = std::env::current_exe().ok();
        Self::from_args_and_environment(args, variable, program.as_deref())
    }

    /// Reads a file alone: neither flags nor the environment change what it says.
    ///
    /// # Errors
    /// As [`Self::from_args`].
    pub fn of_file(file: &Path) -> Result<Self> {
        let args = ServerArgs { config: Some(file.to_owned()), ..ServerArgs::default() };
        Self::from_args_and_environment(&args, |_| None, std::env::current_exe().ok().as_deref())
    }

    fn from_args_and_environment(
        args: &ServerArgs,
        variable: impl Fn(&str) -> Option<OsString>,
        program: Option<&Path>,
    ) -> Result<Self> {
        let mut values = Values::read(args, &variable)?;
        telemetry::decide(&mut values, &variable);
        if values.get::<PathBuf>("data").is_none() {
            values.decide("data", Value::Path(default_data(&variable)?));
        }
        let folders = ModelFolders::new(values.get("models"), &values.of::<PathBuf>("data"), program);
        let embedder = match &*values.of::<String>("embedder") {
            MiniLmEmbedder::NAME => EmbedderSettings::MiniLm(folders.minilm_for("embedder", "builtin, openai")?),
            "openai" => EmbedderSettings::OpenAi {
                base_url: values.of("embedder_url"),
                model: values.of("embedder_model"),
                dimensions: values.of("embedder_dimensions"),
                send_dimensions: values.of("embedder_send_dimensions"),
            },
            _ => EmbedderSettings::BuiltIn,
        };
        let cache_embedder =
            CacheEmbedderSettings::choose(&values.of::<String>("cache_embedder"), &embedder, &folders)?;
        let settings = Self::of(values, embedder, cache_embedder);
        settings.check()?;
        Ok(settings)
    }

    /// What the values come to, before it is checked.
    fn of(mut values: Values, embedder: EmbedderSettings, cache_embedder: CacheEmbedderSettings) -> Self {
        if values.get::<f32>("cache_threshold").is_none() {
            let threshold = cache_embedder.threshold(&embedder).to_string();
            values.decide("cache_threshold", Value::Number(threshold.parse().unwrap_or_default()));
        }
        Self {
            data: values.of("data"),
            listen: values.get("listen").unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            tenant: values.of("tenant"),
            embedder,
            embedder_timeout: values.milliseconds("embedder_timeout_ms"),
            cache_embedder,
            cache_threshold: values.of("cache_threshold"),
            cache_follower: values.of("cache_follower"),
            cache_ttl: values.seconds("cache_ttl_seconds"),
            session_ttl: values.seconds("sessions.ttl_seconds"),
            limits: Limits {
                body_bytes: values.of("max_body_bytes"),
                batch: values.of("max_batch"),
                data_bytes: values.get("max_data_bytes"),
            },
            short_term_provider: match &*values.of::<String>("short_term_provider") {
                "redis" => ShortTermProvider::Redis,
                "none" => ShortTermProvider::None,
                _ => ShortTermProvider::Embedded,
            },
            medium_term_provider: match &*values.of::<String>("medium_term_provider") {
                "alloydb" => MediumTermProvider::AlloyDb,
                _ => MediumTermProvider::Embedded,
            },
            long_term_enabled: values.of("long_term_enabled"),
            allow_unauthenticated: values.of("allow_unauthenticated"),
            startup_patience: values.seconds("startup_patience_seconds"),
            shutdown_grace: values.seconds("shutdown_grace_seconds"),
            identity: identity::settings(&values),
            recall: recall::settings(&values),
            traces: telemetry::settings(&values),
            usage: UsageSettings {
                window: values.seconds("usage.window_seconds"),
                file: values.get("usage.file"),
                max_file_bytes: values.of("usage.max_file_bytes"),
            },
            moves: moves::settings(&values),
            brake_file: values.get("brake_file"),
            values,
        }
    }

    fn check(&self) -> Result<()> {
        let values = &self.values;
        identity::check(values)?;
        telemetry::check(values, &self.traces)?;
        moves::check(values)?;
        if !self.listen.ip().is_loopback() && !self.allow_unauthenticated && !self.keys_file().exists() {
            return Err(values.invalid(
                "listen",
                "a loopback address such as 127.0.0.1; other machines would reach this one, and there are no API keys to \
                 ask them for. Make one with `orchestra keys create`, or add --allow-unauthenticated if everyone who \
                 reaches it may read and change every memory",
            ));
        }
        Scope::tenant(self.tenant.as_str())
            .map_err(|_| values.invalid("tenant", "1 to 256 bytes without control characters"))?;
        if matches!(self.embedder, EmbedderSettings::OpenAi { .. }) {
            values.check_secrets("embedder")?;
        }
        if self.short_term_provider == ShortTermProvider::Redis {
            redis::check(values)?;
        }
        if self.medium_term_provider == MediumTermProvider::AlloyDb {
            alloydb::check(values)?;
        }
        Ok(())
    }

    /// The settings of a server that was told nothing but its data folder, listens on a free port, and finds no model in
    /// a file.
    #[must_use]
    pub fn for_data(data: impl Into<PathBuf>) -> Self {
        let mut values = Values::defaults();
        values.decide("data", Value::Path(data.into()));
        values.decide("listen", Value::Address(SocketAddr::from(([127, 0, 0, 1], 0))));
        let embedder = EmbedderSettings::BuiltIn;
        let cache_embedder = CacheEmbedderSettings::OfMemories;
        Self::of(values, embedder, cache_embedder)
    }

    /// All settings as they were given, or are by default.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// What is unwise, though it is allowed: about secrets, and variables of the sections that are no setting.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        self.values.warnings().into_iter().chain(names.filter_map(|name| names::unknown_variable(&name))).collect()
    }

    /// The key of the embedding server, if it wants one.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub async fn embedder_api_key(&self) -> Result<Option<SecretString>> {
        self.values.secret("embedder_api_key").await
    }

    /// How the cache on Redis is opened, for vectors of `space`. Its secrets are read.
    ///
    /// # Errors
    /// As [`Secret::read`], and [`Error::Invalid`] or [`Error::Unusable`] when its index's file is none.
    pub async fn redis(&self, space: Arc<EmbeddingSpace>) -> Result<RedisConfig> {
        redis::config(&self.values, space, self.cache_threshold, self.cache_ttl).await
    }

    /// The URL of the Redis of the cache, where it is on one.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub async fn redis_url(&self) -> Result<Option<SecretString>> {
        match self.short_term_provider {
            ShortTermProvider::Redis => redis::url(&self.values).await.map(Some),
            _ => Ok(None),
        }
    }

    /// The URL of the Postgres with the record of the move, where it is in one.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub async fn move_record_url(&self) -> Result<Option<SecretString>> {
        self.values.secret("move.record_url").await
    }

    /// How the database of the memories is opened, for vectors of so many dimensions. Its secrets are read.
    ///
    /// # Errors
    /// As [`Secret::read`], and [`Error::Invalid`] when its URL is none, or the dimensions are others.
    pub async fn alloydb(&self, dimensions: usize) -> Result<AlloyDbConfig> {
        alloydb::config(&self.values, dimensions).await
    }

    /// The file that holds the memory.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join(DATABASE_FILE)
    }

    /// The file of API keys.
    #[must_use]
    pub fn keys_file(&self) -> PathBuf {
        self.identity.keys_file.clone().unwrap_or_else(|| self.data.join(KEYS_FILE))
    }

    /// The file in which a running server says where it is.
    #[must_use]
    pub fn server_file(&self) -> PathBuf {
        self.data.join("server.json")
    }
}

fn default_data(variable: &impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
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
