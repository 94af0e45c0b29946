//! The provider: pools of connections to the primary and the read pool.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use memory_core::{EmbeddingSpace, Error, Result, Timestamp};
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tracing::warn;

use crate::config::AlloyDbConfig;
use crate::credentials::{PasswordProvider, REFRESH, RETRY};
use crate::error::{PROVIDER, failed, unusable};
use crate::scopes::Scopes;

/// A memory store on AlloyDB, or on any Postgres from 15 on with pgvector from 0.8.2 on. Clones share the same connections.
#[derive(Clone)]
pub struct AlloyDbMemoryProvider {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub config: AlloyDbConfig,
    pub primary: PgPool,
    pub replicas: Vec<PgPool>,
    /// Which replica is asked next.
    next: AtomicUsize,
    /// Which store it is; a part of every write token.
    pub instance: String,
    pub spaces: RwLock<HashMap<EmbeddingSpace, i16>>,
    pub scopes: Scopes,
}

impl AlloyDbMemoryProvider {
    /// Connects to the primary, and checks that its schema is there and that row-level security holds this role.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a setting, [`Error::Unusable`] when somebody has to change something,
    /// [`Error::Backend`] while the server cannot be reached.
    pub async fn connect(config: AlloyDbConfig) -> Result<Self> {
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
        let pools: Vec<PgPool> = endpoints.iter().map(|options| pool(&config, options)).collect();
        if let Some(provider) = &config.password_provider {
            for (pool, options) in pools.iter().zip(endpoints) {
                tokio::spawn(refresh(Arc::downgrade(provider), pool.clone(), options));
            }
        }
        let mut pools = pools.into_iter();
        let Some(primary) = pools.next() else { return Err(unusable("there is no endpoint", None)) };
        let instance = examine(&primary).await?;
        let inner = Inner {
            config,
            primary,
            replicas: pools.collect(),
            next: AtomicUsize::new(0),
            instance,
            spaces: RwLock::default(),
            scopes: Scopes::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Waits for the calls that run, and closes every connection.
    pub async fn close(&self) {
        for pool in self.inner.replicas.iter().chain([&self.inner.primary]) {
            pool.close().await;
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.config.clock.now()
    }

    /// Where a read goes first: a replica, each in turn; the primary where there are none.
    pub(crate) fn reader(&self) -> &PgPool {
        let replicas = &self.inner.replicas;
        if replicas.is_empty() {
            return &self.inner.primary;
        }
        &replicas[self.inner.next.fetch_add(1, Ordering::Relaxed) % replicas.len()]
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
        let dimensions = i32::try_from(space.dimensions).unwrap_or(i32::MAX);
        if add {
            sqlx::query(
                "INSERT INTO orchestra.spaces (model, revision, dimensions, normalized) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(&space.model)
            .bind(&space.revision)
            .bind(dimensions)
            .bind(space.normalized)
            .execute(&self.inner.primary)
            .await
            .map_err(|error| failed(operation, error))?;
        }
        let number: Option<i16> = sqlx::query_scalar(
            "SELECT space FROM orchestra.spaces \
             WHERE model = $1 AND revision = $2 AND dimensions = $3 AND normalized = $4",
        )
        .bind(&space.model)
        .bind(&space.revision)
        .bind(dimensions)
        .bind(space.normalized)
        .fetch_optional(&self.inner.primary)
        .await
        .map_err(|error| failed(operation, error))?;
        if let Some(number) = number {
            self.inner.spaces.write().unwrap_or_else(PoisonError::into_inner).insert(space.clone(), number);
        }
        Ok(number)
    }
}

fn pool(config: &AlloyDbConfig, options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(config.max_connections)
        .min_connections(config.min_connections)
        .acquire_timeout(config.acquire_timeout)
        .max_lifetime(config.max_lifetime)
        // A connection that is lost shows when it is used, and what can be sent again is: asking each time whether it is
        // still there would be a second round trip.
        .test_before_acquire(false)
        .connect_lazy_with(options.clone())
}

/// Which store it is, once it is one that can be used.
async fn examine(primary: &PgPool) -> Result<String> {
    let row: (String, bool) = sqlx::query_as(
        "SELECT current_user::text, (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)",
    )
    .fetch_one(primary)
    .await
    .map_err(|error| failed("connect", error))?;
    if let (user, true) = row {
        let reason = format!(
            "row-level security does not hold the role {user}: connect as one without SUPERUSER and BYPASSRLS, or set \
             `role` to orchestra_app"
        );
        return Err(unusable(reason, None));
    }
    let instance = sqlx::query_scalar("SELECT instance::text FROM orchestra.store").fetch_one(primary).await;
    instance.map_err(|error| failed("connect", error))
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
