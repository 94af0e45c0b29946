//! The partitions in memory: read from the file when they are first needed, kept up to date by the writer, dropped when
//! they take too much room.
//!
//! How a partition that is being read meets the writes that go on: first it is marked as loading, from when on the writer
//! keeps its changes for it; then the file is read in one snapshot, which says up to which write it reaches; then the
//! later ones of the kept changes are applied. So no write is missed and none is applied twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memory_core::{Result, Scope};
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use tokio::sync::{OwnedRwLockReadGuard, RwLock, watch};

use crate::error::{backend, closed, damaged};
use crate::partition::{Change, Partition};
use crate::rows::{StoredMemory, read_memory, read_spaces};
use crate::sql;

/// How many rows are read from the file at a time.
const LOAD_ROWS: i64 = 4096;
/// After how many applied changes the memory budget is looked at again.
const CHANGES_PER_EVICTION: u64 = 1024;

/// The user of a scope, or none: with the tenant it names a partition.
pub(crate) type User = Option<String>;

/// All tenants that were touched.
#[derive(Debug)]
pub(crate) struct Tenants {
    readers: SqlitePool,
    /// The last write that every search sees.
    visible: watch::Receiver<u64>,
    budget_bytes: usize,
    /// Changes applied since the budget was last looked at; a load counts as many.
    grown_by: AtomicU64,
    /// Counts searches, to tell which partition was used last.
    ticks: AtomicU64,
    tenants: Mutex<HashMap<String, Arc<Tenant>>>,
}

#[derive(Debug)]
struct Tenant {
    name: String,
    state: Arc<RwLock<TenantState>>,
    /// One load at a time.
    loading: tokio::sync::Mutex<()>,
}

/// One tenant's partitions. One lock for all of them, so that a search over several users sees a batch whole.
#[derive(Debug, Default)]
pub(crate) struct TenantState {
    /// Every user that has memories, once `users_known`; a user without any may be among them.
    users: BTreeSet<User>,
    users_known: bool,
    partitions: BTreeMap<User, Partition>,
    /// The changes since each load began, with their writes.
    loading: BTreeMap<User, Vec<(u64, Change)>>,
}

/// A change, where it belongs, and the write it came with.
#[derive(Debug)]
pub(crate) struct PartitionChange {
    pub sequence: u64,
    pub user: User,
    pub change: Change,
}

enum Missing {
    Users,
    Partitions(Vec<User>),
}

impl Tenants {
    pub(crate) fn new(readers: SqlitePool, visible: watch::Receiver<u64>, budget_bytes: usize) -> Self {
        Self {
            readers,
            visible,
            budget_bytes,
            grown_by: AtomicU64::new(0),
            ticks: AtomicU64::new(1),
            tenants: Mutex::default(),
        }
    }

    /// The tenant of some scopes with every partition that they reach in memory.
    pub(crate) async fn open(self: &Arc<Self>, scopes: &[&Scope]) -> Result<OwnedRwLockReadGuard<TenantState>> {
        let tenant = self.tenant(scopes[0].tenant_name());
        loop {
            let state = tenant.state.clone().read_owned().await;
            let Some(missing) = state.missing(scopes) else {
                let tick = self.ticks.fetch_add(1, Ordering::Relaxed);
                state.reached(scopes).into_iter().for_each(|partition| partition.touch(tick));
                return Ok(state);
            };
            drop(state);
            // A task of its own, so that a caller who gives up does not leave a load half done.
            let loads = tokio::spawn(self.clone().load(tenant.clone(), missing));
            loads.await.map_err(|error| damaged("load", error))??;
        }
    }

    /// Applies what was committed, all of one tenant at once.
    pub(crate) async fn apply(&self, tenant: &str, changes: Vec<PartitionChange>) {
        // Forgetting row by row costs more than reading what is left, once it is this many.
        const FORGET_ONE_BY_ONE: usize = 256;
        let Some(tenant) = self.tenants().get(tenant).cloned() else { return };
        self.grown_by.fetch_add(changes.len() as u64, Ordering::Relaxed);
        let mut forgets: HashMap<&User, usize> = HashMap::new();
        for change in changes.iter().filter(|change| matches!(change.change, Change::Forget(_))) {
            *forgets.entry(&change.user).or_default() += 1;
        }
        let worn: Vec<User> =
            forgets.into_iter().filter(|(_, count)| *count > FORGET_ONE_BY_ONE).map(|(user, _)| user.clone()).collect();
        let mut state = tenant.state.write().await;
        for user in &worn {
            if let Some(partition) = state.partitions.get_mut(user) {
                partition.wear_out();
            }
        }
        state.drop_worn();
        for change in changes {
            state.apply(change);
        }
        state.drop_worn();
    }

    /// The size of all partitions in memory, roughly.
    pub(crate) async fn bytes(&self) -> usize {
        let mut bytes = 0;
        for tenant in self.all() {
            bytes += tenant.state.read().await.partitions.values().map(Partition::bytes).sum::<usize>();
        }
        bytes
    }

    /// Drops the partitions that were searched least recently until the rest fits the budget, if anything has grown.
    pub(crate) async fn evict(&self) {
        if self.grown_by.load(Ordering::Relaxed) < CHANGES_PER_EVICTION {
            return;
        }
        self.grown_by.store(0, Ordering::Relaxed);
        let mut bytes = 0;
        let mut oldest = Vec::new();
        for tenant in self.all() {
            for (user, partition) in &tenant.state.read().await.partitions {
                bytes += partition.bytes();
                // What was read for a search that has not come to it yet would only be read again.
                if partition.last_used.load(Ordering::Relaxed) == 0 {
                    continue;
                }
                oldest.push((
                    partition.last_used.load(Ordering::Relaxed),
                    partition.bytes(),
                    tenant.clone(),
                    user.clone(),
                ));
            }
        }
        oldest.sort_unstable_by_key(|(last_used, ..)| *last_used);
        for (_, size, tenant, user) in oldest {
            if bytes <= self.budget_bytes {
                return;
            }
            tenant.state.write().await.partitions.remove(&user);
            bytes -= size;
        }
    }

    async fn load(self: Arc<Self>, tenant: Arc<Tenant>, missing: Missing) -> Result<()> {
        let _one = tenant.loading.lock().await;
        match missing {
            Missing::Users => self.load_users(&tenant).await,
            Missing::Partitions(users) => {
                for user in users {
                    self.load_partition(&tenant, user).await?;
                }
                Ok(())
            }
        }
    }

    async fn load_users(&self, tenant: &Tenant) -> Result<()> {
        let read = sqlx::query_scalar(sql::USERS_OF_TENANT).bind(&tenant.name).fetch_all(&self.readers).await;
        let users: Vec<User> = read.map_err(|error| backend("load", error))?;
        let mut state = tenant.state.write().await;
        state.users.extend(users);
        state.users_known = true;
        Ok(())
    }

    async fn load_partition(&self, tenant: &Tenant, user: User) -> Result<()> {
        {
            let mut state = tenant.state.write().await;
            if state.partitions.contains_key(&user) {
                return Ok(());
            }
            state.loading.insert(user.clone(), Vec::new());
        }
        let loaded = self.read_partition(&tenant.name, &user).await;
        let mut state = tenant.state.write().await;
        let changes = state.loading.remove(&user).unwrap_or_default();
        let mut partition = loaded?;
        let loaded_at = partition.loaded_at;
        changes
            .into_iter()
            .filter(|(sequence, _)| *sequence > loaded_at)
            .for_each(|(_, change)| partition.apply(change));
        // Else whoever needs it reads it again.
        if !partition.is_worn() {
            state.partitions.insert(user, partition);
        }
        self.grown_by.fetch_add(CHANGES_PER_EVICTION, Ordering::Relaxed);
        Ok(())
    }

    async fn read_partition(&self, tenant: &str, user: &User) -> Result<Partition> {
        let read = |error: sqlx::Error| backend("load", error);
        let mut snapshot = self.readers.begin().await.map_err(read)?;
        let (loaded_at, memories) = read_memories(&mut snapshot, tenant, user).await?;
        drop(snapshot);
        // What the snapshot saw is committed, but another partition may not have it yet; a search over both waits for that.
        let mut visible = self.visible.clone();
        visible.wait_for(|visible| *visible >= loaded_at).await.map_err(|_| closed("load"))?;
        let build = tokio::task::spawn_blocking(move || Partition::load(loaded_at, memories));
        build.await.map_err(|error| damaged("load", error))
    }

    fn tenant(&self, name: &str) -> Arc<Tenant> {
        let mut tenants = self.tenants();
        if let Some(tenant) = tenants.get(name) {
            return tenant.clone();
        }
        let tenant =
            Arc::new(Tenant { name: name.to_owned(), state: Arc::default(), loading: tokio::sync::Mutex::default() });
        tenants.insert(name.to_owned(), tenant.clone());
        tenant
    }

    fn all(&self) -> Vec<Arc<Tenant>> {
        self.tenants().values().cloned().collect()
    }

    fn tenants(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Tenant>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_memories(
    connection: &mut SqliteConnection,
    tenant: &str,
    user: &User,
) -> Result<(u64, Vec<StoredMemory>)> {
    let read = |error: sqlx::Error| backend("load", error);
    let sequence: i64 = sqlx::query_scalar(sql::READ_SEQUENCE).fetch_one(&mut *connection).await.map_err(read)?;
    let spaces = read_spaces(connection).await.map_err(read)?;
    let mut memories: Vec<StoredMemory> = Vec::new();
    loop {
        let after = memories.last().map_or(0, |last| last.position).cast_signed();
        let page = sqlx::query(sql::MEMORIES_OF_USER).bind(tenant).bind(user).bind(after).bind(LOAD_ROWS);
        let rows = page.fetch_all(&mut *connection).await.map_err(read)?;
        for row in &rows {
            memories.push(read_memory(row, Some(&spaces)).map_err(|error| damaged("load", error))?);
        }
        if (rows.len() as i64) < LOAD_ROWS {
            break;
        }
    }
    Ok((sequence.cast_unsigned(), memories))
}

impl TenantState {
    /// The partitions in memory that hold memories of the scopes, each once.
    pub(crate) fn reached(&self, scopes: &[&Scope]) -> Vec<&Partition> {
        match users(scopes) {
            Some(users) => users.iter().filter_map(|user| self.partitions.get(user)).collect(),
            None => self.partitions.values().collect(),
        }
    }

    fn missing(&self, scopes: &[&Scope]) -> Option<Missing> {
        if !self.users_known {
            return Some(Missing::Users);
        }
        let absent = |user: &&User| self.users.contains(*user) && !self.partitions.contains_key(*user);
        let missing: Vec<User> = match users(scopes) {
            Some(users) => users.iter().filter(absent).cloned().collect(),
            None => self.users.iter().filter(absent).cloned().collect(),
        };
        (!missing.is_empty()).then_some(Missing::Partitions(missing))
    }

    fn apply(&mut self, PartitionChange { sequence, user, change }: PartitionChange) {
        if let Some(partition) = self.partitions.get_mut(&user) {
            if sequence > partition.loaded_at {
                partition.apply(change);
            }
        } else if let Some(changes) = self.loading.get_mut(&user) {
            changes.push((sequence, change));
        } else if self.users_known && !self.users.contains(&user) {
            let mut partition = Partition::default();
            partition.apply(change);
            self.users.insert(user.clone());
            self.partitions.insert(user, partition);
        } else {
            self.users.insert(user);
        }
    }

    fn drop_worn(&mut self) {
        self.partitions.retain(|_, partition| !partition.is_worn());
    }
}

/// The users of some scopes, each once; `None` for every user.
fn users(scopes: &[&Scope]) -> Option<BTreeSet<User>> {
    scopes.iter().map(|scope| scope.user().map(|user| Some(user.to_owned()))).collect()
}
