//! The one task that writes.
//!
//! Requests that have come in while a transaction was being written are taken together into the next one, each behind a
//! savepoint of its own, so that a refused one takes none of the others with it. When the transaction is on disk, its
//! changes are applied to what is in memory, and then all are answered.

mod answers;
mod follow;
mod items;
mod memories;
mod moves;
mod rejections;
mod sessions;
mod task;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use memory_core::{CacheEntryId, EmbeddingSpace, Error, Gate, Result, Timestamp, WriteToken, Writers};
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use crate::config::EmbeddedConfig;
use crate::error::{PROVIDER, backend};
use crate::lock::ProcessLock;
use crate::rows::{self, micros, whole_micros};
use crate::schema;
use crate::shelves::{ShelfChange, Shelves};
use crate::sql;
use crate::tenants::{PartitionChange, Tenants};

pub(crate) use self::follow::Follow;
pub(crate) use self::moves::Move;
pub(crate) use self::task::{Answer, Task};

/// How far what makes room may go over the configured size, beside an eighth of it.
const RESERVE_BYTES: u64 = 1 << 20;
/// How long an idempotency key holds.
const KEY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Up to when keys no longer hold, in microseconds since 1970.
pub(crate) fn oldest_key(now: Timestamp) -> i64 {
    micros(now).saturating_sub(KEY_LIFETIME.as_micros() as i64)
}

/// A task and where its answer goes.
#[derive(Debug)]
pub(crate) struct Request {
    pub task: Task,
    pub answer: oneshot::Sender<Result<Answer>>,
}

/// The writer's end of the file, and of what is in memory.
#[derive(Debug)]
pub(crate) struct Writer {
    pub connection: SqliteConnection,
    pub config: EmbeddedConfig,
    pub progress: Progress,
    pub removals: Removals,
    pub tenants: Arc<Tenants>,
    pub shelves: Arc<Shelves>,
    pub visible: watch::Sender<u64>,
    /// Forgotten content may still be in the write-ahead log.
    pub log_holds_forgotten: bool,
    /// Dropped when the last transaction is over, also when every handle is gone before.
    pub lock: ProcessLock,
}

/// How far the writing has come. A copy is put back when a request or a transaction fails.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub instance: Arc<str>,
    pub sequence: u64,
    pub next_position: u64,
    pub cache_entries: u64,
    pub gate: Gate,
    /// Whether a move has the changes noted.
    pub is_captured: bool,
    pub spaces: HashMap<Arc<EmbeddingSpace>, i64>,
}

impl Progress {
    fn token(&self) -> WriteToken {
        WriteToken(format!("{}-{}", self.instance, self.sequence))
    }
}

/// The last write of each tenant that removed answers, or would have removed them. It need not be in the file: an answer
/// that this process was to file is not filed by another one.
pub(crate) type Removals = HashMap<String, u64>;

/// One transaction, as far as it has come.
struct Transaction<'a> {
    connection: &'a mut SqliteConnection,
    config: &'a EmbeddedConfig,
    progress: &'a mut Progress,
    removals: &'a mut Removals,
    now: Timestamp,
    changes: Changes,
}

/// What to apply to memory once the transaction is on disk, by tenant.
#[derive(Debug, Default)]
struct Changes {
    partitions: HashMap<String, Vec<PartitionChange>>,
    shelves: HashMap<String, Vec<(u64, ShelfChange)>>,
    forgot: bool,
}

impl Changes {
    fn extend(&mut self, more: Self) {
        for (tenant, changes) in more.partitions {
            self.partitions.entry(tenant).or_default().extend(changes);
        }
        for (tenant, changes) in more.shelves {
            self.shelves.entry(tenant).or_default().extend(changes);
        }
        self.forgot |= more.forgot;
    }
}

impl Writer {
    /// Writes until told to close, or until every handle is gone and the queue is empty.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut sweep = tokio::time::interval(self.config.sweep_every);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweep.reset();
        loop {
            let mut group = Vec::new();
            tokio::select! {
                taken = queue.recv_many(&mut group, self.config.group_commit_requests.max(1)) => {
                    if taken == 0 {
                        self.finish(queue).await;
                        return;
                    }
                }
                _ = sweep.tick() => {
                    self.sweep().await;
                    continue;
                }
            }
            let closing = group.iter().position(|request| matches!(request.task, Task::Close));
            let after = closing.map(|at| group.split_off(at)).unwrap_or_default();
            if !group.is_empty() {
                self.write(group).await;
            }
            if self.log_holds_forgotten {
                self.empty_log().await;
            }
            let mut after = after.into_iter();
            if let Some(close) = after.next() {
                self.finish(queue).await;
                // The handle that closes releases nothing itself: when this is answered the lock is free.
                let _ = close.answer.send(Ok(Answer::Closed));
                return;
            }
        }
    }

    /// Writes a group, and answers it.
    async fn write(&mut self, group: Vec<Request>) {
        let tasks: Vec<&Task> = group.iter().map(|request| &request.task).collect();
        match self.transact(&tasks).await {
            Ok(answers) => reply(group, answers),
            // One by one, so that the request that does not fit, or meets a damaged page, fails alone.
            Err(error) if group.len() > 1 || matches!(error, Error::StorageFull { .. }) => {
                for request in group {
                    let answer = self.transact_one(&request.task).await;
                    let _ = request.answer.send(answer);
                }
            }
            Err(error) => reply(group, vec![Err(error)]),
        }
    }

    /// Runs one task on its own. What makes room may for that go a little over the configured size: tombstones take room
    /// before the freed pages give it.
    async fn transact_one(&mut self, task: &Task) -> Result<Answer> {
        let only = |answers: Result<Vec<Result<Answer>>>| answers.and_then(|mut answers| answers.remove(0));
        let answer = only(self.transact(&[task]).await);
        match (answer, self.config.max_size_bytes) {
            (Err(Error::StorageFull { .. }), Some(bytes)) if task.makes_room() => {
                schema::limit_size(&mut self.connection, bytes + bytes / 8 + RESERVE_BYTES).await?;
                let answer = only(self.transact(&[task]).await);
                schema::limit_size(&mut self.connection, bytes).await?;
                answer
            }
            (answer, _) => answer,
        }
    }

    /// Runs the tasks in one transaction and applies it. An error means that nothing of any of them was kept.
    async fn transact(&mut self, tasks: &[&Task]) -> Result<Vec<Result<Answer>>> {
        let before = self.progress.clone();
        match self.commit(tasks).await {
            Ok((answers, changes)) => {
                self.apply(changes).await;
                Ok(answers)
            }
            Err(error) => {
                self.progress = before;
                // SQLite may have rolled back by itself already; then this is refused, which is as good.
                let _ = sqlx::raw_sql("ROLLBACK").execute(&mut self.connection).await;
                Err(error)
            }
        }
    }

    async fn commit(&mut self, tasks: &[&Task]) -> Result<(Vec<Result<Answer>>, Changes)> {
        let failed = |error| backend("commit", error);
        let Self { connection, config, progress, removals, .. } = self;
        let before = progress.sequence;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(failed)?;
        let mut changes = Changes::default();
        let mut answers = Vec::with_capacity(tasks.len());
        for task in tasks {
            let undo = progress.clone();
            let now = whole_micros(config.clock.now());
            let mut transaction =
                Transaction { connection, config, progress, removals, now, changes: Changes::default() };
            if transaction.progress.is_captured {
                transaction.set_clock().await?;
            }
            let done = match task.check_gate(transaction.progress.gate) {
                Ok(()) => transaction.savepoint(task).await?,
                Err(fenced) => Err(fenced),
            };
            if done.is_ok() && !task.only_counts() {
                changes.extend(transaction.changes);
                if let Some(scope) = task.removes_answers_of() {
                    removals.insert(scope.tenant_name().to_owned(), progress.sequence);
                }
            } else {
                *progress = undo;
            }
            answers.push(done);
        }
        if progress.sequence > before {
            let advance = sqlx::query(sql::ADVANCE_STORE)
                .bind(progress.sequence.cast_signed())
                .bind(progress.next_position.cast_signed());
            advance.execute(&mut *connection).await.map_err(failed)?;
        }
        sqlx::query("COMMIT").execute(&mut *connection).await.map_err(failed)?;
        Ok((answers, changes))
    }

    async fn apply(&mut self, changes: Changes) {
        for (tenant, changes) in changes.partitions {
            self.tenants.apply(&tenant, changes).await;
        }
        for (tenant, changes) in changes.shelves {
            self.shelves.apply(&tenant, changes).await;
        }
        self.log_holds_forgotten |= changes.forgot;
        self.visible.send_replace(self.progress.sequence);
    }

    /// Removes expired answers, expired memories, ended sessions, and idempotency keys that no longer hold.
    async fn sweep(&mut self) {
        let now = self.config.clock.now();
        match sqlx::query(sql::DELETE_EXPIRED_ENTRIES).bind(micros(now)).fetch_all(&mut self.connection).await {
            Ok(removed) => {
                self.progress.cache_entries = self.progress.cache_entries.saturating_sub(removed.len() as u64);
                for row in &removed {
                    if let (Ok(id), Ok(tenant)) = (rows::get(row, 0), rows::get::<String>(row, 1)) {
                        let removal = ShelfChange::Remove(CacheEntryId(id));
                        self.shelves.apply(&tenant, vec![(self.progress.sequence, removal)]).await;
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "expired answers were not removed"),
        }
        loop {
            match self.transact_one(&Task::RemoveExpired).await {
                Ok(Answer::RemovedExpired(0)) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "expired memories and sessions were not removed");
                    break;
                }
            }
        }
        if let Err(error) = sqlx::query(sql::REMOVE_PASSED).execute(&mut self.connection).await {
            tracing::warn!(%error, "changes that all have passed were not removed");
        }
        if self.log_holds_forgotten {
            self.empty_log().await;
        }
    }

    /// Puts the log into the file and empties it, so that what was forgotten is in neither. A reader can hold it up; then
    /// it is tried again at the next write or sweep.
    async fn empty_log(&mut self) {
        let _ = sqlx::raw_sql("PRAGMA busy_timeout = 20").execute(&mut self.connection).await;
        let busy: sqlx::Result<i64> =
            sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut self.connection).await;
        let _ = sqlx::raw_sql("PRAGMA busy_timeout = 5000").execute(&mut self.connection).await;
        self.log_holds_forgotten = !matches!(busy, Ok(0));
    }

    /// Ends: no request is taken any more, the log goes into the file, and the lock is released.
    async fn finish(mut self, mut queue: mpsc::Receiver<Request>) {
        queue.close();
        drop(queue);
        self.empty_log().await;
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "the store was not closed cleanly; its log is read at the next start");
        }
        drop(self.lock);
    }
}

fn reply(group: Vec<Request>, answers: Vec<Result<Answer>>) {
    for (request, answer) in group.into_iter().zip(answers) {
        // Who asked may have gone; the write stands all the same.
        let _ = request.answer.send(answer);
    }
}

impl Transaction<'_> {
    /// Runs a task behind a savepoint. The outer error means that the whole transaction has failed.
    async fn savepoint(&mut self, task: &Task) -> Result<Result<Answer>> {
        let failed = |error| backend("commit", error);
        if task.is_refused_before_it_writes() {
            return match self.run(task).await {
                Err(error @ (Error::StorageFull { .. } | Error::Backend { .. })) => Err(error),
                done => Ok(done),
            };
        }
        sqlx::query("SAVEPOINT request").execute(&mut *self.connection).await.map_err(failed)?;
        let done = self.run(task).await;
        if let Err(error @ (Error::StorageFull { .. } | Error::Backend { .. })) = done {
            return Err(error);
        }
        if done.is_err() || task.only_counts() {
            sqlx::query("ROLLBACK TO request").execute(&mut *self.connection).await.map_err(failed)?;
        }
        sqlx::query("RELEASE request").execute(&mut *self.connection).await.map_err(failed)?;
        Ok(done)
    }

    async fn run(&mut self, task: &Task) -> Result<Answer> {
        match task {
            Task::Insert(batch) => self.insert(batch).await.map(Answer::Inserted),
            Task::Update { scope, id, patch } => self.update(scope, *id, patch).await.map(Answer::from),
            Task::Forget(request) => self.forget(request).await.map(Answer::Forgotten),
            Task::FileAnswer(entry, since) => match self.removals.get(entry.scope.tenant_name()) {
                Some(removal) if removal > since => Ok(Answer::Filed(None)),
                _ => self.file_answer(entry).await.map(|id| Answer::Filed(Some(id))),
            },
            Task::Prolong(id) => self.prolong(*id).await.map(|()| Answer::Prolonged),
            Task::Invalidate(request) => self.invalidate(request).await.map(Answer::Invalidated),
            Task::AddVector(unembedded, embedding) => {
                self.add_vector(unembedded, embedding).await.map(Answer::VectorAdded)
            }
            Task::Follow(follow) => self.follow(follow).await.map(Answer::Followed),
            Task::Append(request) => self.append(request).await.map(Answer::Appended),
            Task::ClearSession(scope) => self.clear_session(scope).await.map(Answer::Cleared),
            Task::ForgetSessions(scope) => self.forget_sessions(scope).await.map(Answer::Cleared),
            Task::Reject(rejections) => self.reject(rejections).await.map(Answer::Rejected),
            Task::Lift(tenant, key) => self.lift(tenant, key).await.map(Answer::Lifted),
            Task::Move(step) => self.take_step(step).await.map(|()| Answer::Moved),
            // A store that is moved to is as the other one is: what expires there goes from here.
            Task::RemoveExpired if self.progress.gate.writers == Writers::Mover => {
                self.remove_ended_sessions().await.map(Answer::RemovedExpired)
            }
            Task::RemoveExpired => {
                self.remove_old_keys().await?;
                let removed = self.remove_expired().await? + self.remove_ended_sessions().await?;
                Ok(Answer::RemovedExpired(removed))
            }
            Task::Close => {
                Err(Error::Unusable { provider: PROVIDER, reason: "the store is closing".into(), source: None })
            }
        }
    }

    /// The number of an embedding space in the file.
    async fn space_number(&mut self, space: &Arc<EmbeddingSpace>) -> Result<i64> {
        if self.progress.spaces.is_empty() {
            let known = rows::read_spaces(self.connection).await.map_err(|error| backend("read spaces", error))?;
            self.progress.spaces = known.into_iter().map(|(number, space)| (space, number)).collect();
        }
        if let Some(&number) = self.progress.spaces.get(space) {
            return Ok(number);
        }
        let number = sqlx::query_scalar(sql::ADD_SPACE)
            .bind(&space.model)
            .bind(&space.revision)
            .bind(space.dimensions as i64)
            .bind(space.normalized)
            .fetch_one(&mut *self.connection)
            .await
            .map_err(|error| backend("add a space", error))?;
        self.progress.spaces.insert(space.clone(), number);
        Ok(number)
    }
}
