//! Single writes of one tenant that meet. One statement is under way at a time, or a few; writes that come meanwhile wait, and
//! are then written in one transaction: many callers at once cost a flush to disk and a round trip for many memories, and one
//! caller waits for nobody.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memory_core::{Error, InsertReceipt, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{PROVIDER, is_passing};
use crate::provider::AlloyDbMemoryProvider;
use crate::write::Write;

/// The most memories of one statement.
const MOST: usize = 64;
/// How many have to wait so that a second statement is under way beside the first: the server works at the one while the
/// other is made.
const SECOND: usize = 3;
/// The most statements of one tenant that are under way.
const UNDER_WAY: usize = 4;

/// The writes of each tenant that has any.
#[derive(Debug, Default)]
pub(crate) struct Together(Mutex<HashMap<String, Line>>);

#[derive(Debug, Default)]
struct Line {
    under_way: usize,
    waiting: VecDeque<Waiting>,
}

impl Line {
    /// Whether another statement may be under way beside the first.
    fn may_begin(&self) -> bool {
        match self.under_way {
            1 => self.waiting.len() >= SECOND,
            under_way => self.waiting.len() >= MOST && under_way < UNDER_WAY,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    write: Box<Write>,
    answer: oneshot::Sender<Result<InsertReceipt>>,
}

enum Place {
    /// To be written now.
    First(Box<Write>),
    /// To be written with others, for which another statement `begins`.
    InLine { answer: oneshot::Receiver<Result<InsertReceipt>>, begins: bool },
}

impl Together {
    fn lines(&self) -> MutexGuard<'_, HashMap<String, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, tenant: &str, write: Box<Write>) -> Place {
        let mut lines = self.lines();
        if !lines.contains_key(tenant) {
            lines.insert(tenant.to_owned(), Line::default());
        }
        let Some(line) = lines.get_mut(tenant) else { return Place::First(write) };
        if line.under_way == 0 {
            line.under_way = 1;
            return Place::First(write);
        }
        let (answer, receiver) = oneshot::channel();
        line.waiting.push_back(Waiting { write, answer });
        let begins = line.may_begin();
        line.under_way += usize::from(begins);
        Place::InLine { answer: receiver, begins }
    }

    /// Ends a statement, unless somebody waits for it to end.
    fn end(&self, tenant: &str) -> bool {
        let mut lines = self.lines();
        let Some(line) = lines.get_mut(tenant) else { return true };
        if !line.waiting.is_empty() {
            return false;
        }
        line.under_way -= 1;
        if line.under_way == 0 {
            lines.remove(tenant);
        }
        true
    }

    /// Those that are written next, no two of them of one id or key.
    fn next(&self, tenant: &str) -> Vec<Waiting> {
        let mut lines = self.lines();
        let Some(line) = lines.get_mut(tenant) else { return Vec::new() };
        let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
        let is_new = |Waiting { write, .. }: &&Waiting| {
            let key = write.idempotency.as_ref().map(|key| key.key.clone());
            ids.insert(write.item.memory.id) && key.is_none_or(|key| keys.insert(key))
        };
        let count = line.waiting.iter().take(MOST).take_while(is_new).count();
        line.waiting.drain(..count).collect()
    }
}

/// One of the statements of a tenant that are under way. When it ends, however it ends, those who wait have their turn.
struct Turn {
    provider: AlloyDbMemoryProvider,
    tenant: String,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    /// Of a caller, who may go away.
    First,
    /// Of a task of its own.
    Next,
    Ended,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let together = &self.provider.inner.together;
        if self.stage == Stage::Ended || together.end(&self.tenant) {
            return;
        }
        if self.stage == Stage::First
            && let Ok(runtime) = Handle::try_current()
        {
            let next = Self { provider: self.provider.clone(), tenant: self.tenant.clone(), stage: Stage::Next };
            runtime.spawn(next.go_on());
            return;
        }
        // The runtime is shut down under those who wait.
        while !together.end(&self.tenant) {
            together.next(&self.tenant);
        }
    }
}

impl Turn {
    async fn go_on(mut self) {
        loop {
            // Who was just answered may write again at once, and then comes along.
            tokio::task::yield_now().await;
            self.write(self.provider.inner.together.next(&self.tenant)).await;
            if self.provider.inner.together.end(&self.tenant) {
                self.stage = Stage::Ended;
                return;
            }
        }
    }

    async fn write(&self, waiting: Vec<Waiting>) {
        if waiting.len() > 1 {
            let writes: Vec<&Write> = waiting.iter().map(|waiting| &*waiting.write).collect();
            match self.provider.write_together(&writes).await {
                Ok(Some(receipts)) => {
                    for (waiting, receipt) in waiting.into_iter().zip(receipts) {
                        waiting.answer(Ok(receipt));
                    }
                    return;
                }
                // Each would wait for the same server again.
                Err(error) if is_passing(&error) => {
                    let error = Arc::new(error);
                    for waiting in waiting {
                        let source = Box::new(error.clone());
                        waiting.answer(Err(Error::Backend {
                            provider: PROVIDER,
                            operation: "insert",
                            retryable: true,
                            source,
                        }));
                    }
                    return;
                }
                // One of them is not simple, or is wrong.
                Ok(None) | Err(_) => {}
            }
        }
        for waiting in waiting {
            let provider = self.provider.clone();
            tokio::spawn(async move {
                let answer = provider.write_alone(&waiting.write).await;
                waiting.answer(answer);
            });
        }
    }
}

impl Waiting {
    fn answer(self, answer: Result<InsertReceipt>) {
        // Who does not wait any more has given up the answer, not the write.
        let _ = self.answer.send(answer);
    }
}

impl AlloyDbMemoryProvider {
    /// Writes one memory: at once, or with others when it is their turn.
    pub(crate) async fn write_in_turn(&self, write: Write) -> Result<InsertReceipt> {
        let tenant = write.item.memory.scope.tenant_name().to_owned();
        match self.inner.together.enter(&tenant, Box::new(write)) {
            Place::First(write) => {
                let _turn = Turn { provider: self.clone(), tenant, stage: Stage::First };
                self.write_alone(&write).await
            }
            Place::InLine { answer, begins } => {
                if begins {
                    let turn = Turn { provider: self.clone(), tenant, stage: Stage::Next };
                    tokio::spawn(turn.go_on());
                }
                answer.await.unwrap_or_else(|_| {
                    let source = "the runtime was shut down before the write had its turn".into();
                    Err(Error::Backend { provider: PROVIDER, operation: "insert", retryable: true, source })
                })
            }
        }
    }
}
