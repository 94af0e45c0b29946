//! The provider: pools of connections to the primary and the read pool.

use std::collections::HashMap;
use std::fmt;
use std::iter;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use memory_core::{EmbeddingSpace, Error, Result, Timestamp};
use secrecy::ExposeSecret as _;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions};
use sqlx::query::Query;
use sqlx::{Connection as _, PgPool, Postgres, Row as _};
use tracing::warn;

use crate::config::AlloyDbConfig;
use crate::connections::Connections;
use crate::credentials::{PasswordProvider, REFRESH, RETRY};
use crate::error::{PROVIDER, failed, unusable};
use crate::index::{Indexes, Live};
use crate::losses::Losses;
use crate::observe::begin_counting;
use crate::recall_cache::RecallCache;
use crate::replicas::{CONNECT, Replicas};
use crate::scopes::Scopes;
use crate::statements::{Repeat, Statements};
use crate::together::Together;

/// A memory store on AlloyDB, or on any Postgres from 15 on with pgvector from 0.8.2 on. Clones share the same connections.
#[derive(Clone)]
pub struct AlloyDbMemoryProvider {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub config: AlloyDbConfig,
    pub primary: Connections,
    pub replicas: Replicas,
    /// Which store it is; a part of every write token.
    pub instance: String,
    pub spaces: RwLock<HashMap<EmbeddingSpace, i16>>,
    pub scopes: Scopes,
    pub recall_cache: RecallCache,
    pub statements: Statements,
    pub together: Together,
    pub indexes: Indexes,
    pub live: Live,
}

impl AlloyDbMemoryProvider {
    /// Connects to the primary, and checks that its schema is there and that row-level security holds this role.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a setting, [`Error::Unusable`] when somebody has to change something,
    /// [`Error::Backend`] while the server cannot be reached.
    pub async fn connect(config: AlloyDbConfig) -> Result<Self> {
        let provider = Self::open(config).await?;
        examine(&provider.inner.statements, &provider.inner.primary).await?;
        provider.read_indexes().await.map_err(|error| failed("connect", error))?;
        begin_counting();
        provider.sweep_in_background();
        Ok(provider)
    }

    /// Connects, whatever the role may see.
    pub(crate) async fn open(config: AlloyDbConfig) -> Result<Self> {
        config.validate()?;
        let mut endpoints = config.endpoints()?;
        if let Some(provider) = &config.password_provider {
            let password = provider.password().await.map_err(|source| Error::Backend {
                provider: PROVIDER,
                operation: "connect",
                retryable: true,
                source,
            })?;
            endpoints = endpoints.into_iter().map(|options| options.password(password.expose_secret())).collect();
        }
        let statements = Statements::new(&config);
        let waits = [config.acquire_timeout].into_iter().chain(iter::repeat(config.acquire_timeout.min(CONNECT)));
        let pools = endpoints.iter().zip(waits);
        let pools: Vec<PgPool> =
            pools.map(|(options, wait)| pool(&config, options, wait, statements.losses())).collect();
        if let Some(provider) = &config.password_provider {
            for (pool, options) in pools.iter().zip(endpoints) {
                tokio::spawn(refresh(Arc::downgrade(provider), pool.clone(), options));
            }
        }
        let mut pools = pools.into_iter().map(|pool| Connections::new(pool, statements.losses()));
        let Some(primary) = pools.next() else { return Err(unusable("there is no endpoint", None)) };
        let instance = instance_of(&statements, &primary).await?;
        let replicas = Replicas::new(pools);
        let recall_cache = RecallCache::new(config.recall_cache_bytes);
        let inner = Inner {
            config,
            primary,
            replicas,
            instance,
            spaces: RwLock::default(),
            scopes: Scopes::default(),
            recall_cache,
            statements,
            together: Together::default(),
            indexes: Indexes::default(),
            live: Live::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Waits for the calls that run, and closes every connection.
    pub async fn close(&self) {
        for connections in self.inner.replicas.connections().chain([&self.inner.primary]) {
            connections.close().await;
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.config.clock.now()
    }

    /// The number of a space, which is given one when `add` says so.
    pub(crate) async fn space(
        &self,
        operation: &'static str,
        space: &EmbeddingSpace,
        add: bool,
    ) -> Result<Option<i16>> {
        let known = self.inner.spaces.read().unwrap_or_else(PoisonError::into_inner).get(space).copied();
        if known.is_some() {
            return Ok(known);
        }
        let mut number = self.known_space(operation, space).await?;
        if number.is_none() && add {
            // Not before it was looked for: a number is spent by the attempt already, and there are not many.
            self.add_space(operation, space).await?;
            number = self.known_space(operation, space).await?;
        }
        if let Some(number) = number {
            self.inner.spaces.write().unwrap_or_else(PoisonError::into_inner).insert(space.clone(), number);
        }
        Ok(number)
    }

    async fn known_space(&self, operation: &'static str, space: &EmbeddingSpace) -> Result<Option<i16>> {
        let statement = "SELECT space FROM orchestra.spaces \
                         WHERE model = $1 AND revision = $2 AND dimensions = $3 AND normalized = $4";
        let rows = self.inner.statements.rows(&self.inner.primary, Repeat::Harmless, || of_space(statement, space));
        let rows = rows.await.map_err(|error| failed(operation, error))?;
        let number = rows.first().map(|row| row.try_get("space")).transpose();
        number.map_err(|error| failed(operation, error))
    }

    async fn add_space(&self, operation: &'static str, space: &EmbeddingSpace) -> Result<()> {
        let statement = "INSERT INTO orchestra.spaces (model, revision, dimensions, normalized) \
                         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        let rows = self.inner.statements.rows(&self.inner.primary, Repeat::Harmless, || of_space(statement, space));
        rows.await.map(drop).map_err(|error| failed(operation, error))
    }
}

fn of_space<'q>(statement: &'static str, space: &'q EmbeddingSpace) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(&space.model)
        .bind(&space.revision)
        .bind(i32::try_from(space.dimensions).unwrap_or(i32::MAX))
        .bind(space.normalized)
}

fn pool(config: &AlloyDbConfig, options: &PgConnectOptions, wait: Duration, losses: Arc<Losses>) -> PgPool {
    PgPoolOptions::new()
        .max_connections(config.max_connections)
        .min_connections(config.min_connections)
        .acquire_timeout(wait)
        .max_lifetime(config.max_lifetime)
        // Asking each time whether a connection is still there would be a second round trip.
        .test_before_acquire(false)
        .before_acquire(move |connection, state| {
            let (doubted, outdated) = (losses.doubt(state.idle_for), losses.is_outdated(state.age));
            Box::pin(async move {
                if doubted && !outdated {
                    connection.ping().await?;
                }
                Ok(!outdated)
            })
        })
        .connect_lazy_with(options.clone())
}

/// Refuses a role that row-level security does not hold.
async fn examine(statements: &Statements, primary: &Connections) -> Result<()> {
    let statement = "SELECT current_user::text AS name, \
         (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user) AS is_free";
    let broken = |error| failed("connect", error);
    let row = statements.row(primary, Repeat::Harmless, || sqlx::query(statement)).await.map_err(broken)?;
    if row.try_get("is_free").map_err(broken)? {
        let user: String = row.try_get("name").map_err(broken)?;
        let reason = format!(
            "row-level security does not hold the role {user}: connect as one without SUPERUSER and BYPASSRLS, or set \
             `role` to orchestra_app"
        );
        return Err(unusable(reason, None));
    }
    Ok(())
}

/// Which store it is.
async fn instance_of(statements: &Statements, primary: &Connections) -> Result<String> {
    let statement = "SELECT instance::text AS instance FROM orchestra.store";
    let broken = |error| failed("connect", error);
    let row = statements.row(primary, Repeat::Harmless, || sqlx::query(statement)).await.map_err(broken)?;
    row.try_get("instance").map_err(broken)
}

/// Keeps the password of new connections fresh, as long as there are any.
async fn refresh(provider: Weak<dyn PasswordProvider>, pool: PgPool, options: PgConnectOptions) {
    let mut pause = REFRESH;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = pool.close_event() => return,
        }
        let Some(provider) = provider.upgrade() else { return };
        pause = match provider.password().await {
            Ok(password) => {
                pool.set_connect_options(options.clone().password(password.expose_secret()));
                REFRESH
            }
            Err(error) => {
                warn!(error, "the database's password was not given; new connections use the former one");
                RETRY
            }
        };
    }
}

impl fmt::Debug for AlloyDbMemoryProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlloyDbMemoryProvider").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
