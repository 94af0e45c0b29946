//! The model as whoever moves it sees it.

use async_trait::async_trait;
use memory_core::{
    ChangeLag, ChangePosition, Error, FormerVersion, Gate, Item, ItemChange, ItemKey, Replica, ReplicaSize, Result,
    ScanPage, ScanPosition, Timestamp, WholeMemory, Writers,
};

use super::{Fault, Model, State};

#[async_trait]
impl Replica for Model {
    async fn capture(&self, stream: &str) -> Result<()> {
        let mut state = self.lock();
        let last = state.last;
        state.streams.entry(stream.to_owned()).or_insert(last);
        Ok(())
    }

    async fn release(&self, stream: &str) -> Result<()> {
        let mut state = self.lock();
        state.streams.remove(stream);
        state.drop_passed();
        Ok(())
    }

    async fn scan(&self, after: Option<&ScanPosition>, limit: usize) -> Result<ScanPage> {
        let now = self.clock.now();
        let state = self.lock();
        let mut places = state.places(after, limit + 1, now);
        let next = (places.len() > limit).then(|| ScanPosition(places[limit - 1].0.clone()));
        places.truncate(limit);
        Ok(ScanPage { items: places.iter().map(|(_, key)| self.item(&state, key, now)).collect(), next })
    }

    async fn read(&self, keys: &[ItemKey]) -> Result<Vec<Item>> {
        let now = self.clock.now();
        let state = self.lock();
        Ok(keys.iter().map(|key| self.item(&state, key, now)).collect())
    }

    async fn changed(&self, stream: &str, limit: usize) -> Result<Vec<ItemChange>> {
        let state = self.lock();
        let after = state.acknowledged(stream)?;
        let changes = state.changes.range(after + 1..).take(limit);
        let told = changes.map(|(position, (key, occurred_at))| ItemChange {
            position: ChangePosition(position.to_string()),
            key: key.clone(),
            occurred_at: *occurred_at,
        });
        Ok(told.collect())
    }

    async fn acknowledge(&self, stream: &str, position: &ChangePosition) -> Result<()> {
        let mut state = self.lock();
        let position = position.0.parse().map_err(|_| Error::invalid("position", &position.0, "a position of here"))?;
        let passed = state.acknowledged(stream)?.max(position);
        state.streams.insert(stream.to_owned(), passed);
        state.drop_passed();
        Ok(())
    }

    async fn lag(&self, stream: &str) -> Result<ChangeLag> {
        let state = self.lock();
        let after = state.acknowledged(stream)?;
        let mut behind = state.changes.range(after + 1..).map(|(_, (_, occurred_at))| *occurred_at);
        let oldest = behind.next();
        Ok(ChangeLag { changes: u64::from(oldest.is_some()) + behind.count() as u64, oldest })
    }

    async fn write(&self, epoch: u64, items: Vec<Item>) -> Result<()> {
        let now = self.clock.now();
        let mut state = self.lock();
        let is_open = state.gate == Gate { epoch, writers: Writers::Mover };
        if !is_open && !self.has(Fault::AnyEpochWrites) {
            return Err(Error::Fenced { epoch: state.gate.epoch });
        }
        for item in items {
            state.put(item, now, self.fault);
        }
        Ok(())
    }

    async fn size(&self) -> Result<ReplicaSize> {
        let state = self.lock();
        let others =
            state.tombstones.len() + state.forgotten_texts.len() + state.rejections.len() + state.answered.len();
        Ok(ReplicaSize { memories: state.memories.len() as u64, others: others as u64, bytes: 0 })
    }

    async fn gate(&self) -> Result<Gate> {
        Ok(self.lock().gate)
    }

    async fn set_gate(&self, gate: Gate) -> Result<()> {
        let mut state = self.lock();
        if gate.epoch < state.gate.epoch || gate.epoch == state.gate.epoch && gate != state.gate {
            return Err(Error::Fenced { epoch: state.gate.epoch });
        }
        state.gate = gate;
        Ok(())
    }
}

impl Model {
    fn item(&self, state: &State, key: &ItemKey, now: Timestamp) -> Item {
        let mut item = state.item(key, now);
        if let Item::Memory(whole) = &mut item
            && self.has(Fault::HistoryIsTorn)
        {
            whole.former.pop();
        }
        item
    }
}

impl State {
    fn acknowledged(&self, stream: &str) -> Result<u64> {
        let known = self.streams.get(stream).copied();
        known.ok_or_else(|| Error::invalid("stream", stream, "a stream that is captured"))
    }

    fn drop_passed(&mut self) {
        match self.streams.values().min() {
            Some(passed) => self.changes = self.changes.split_off(&(passed + 1)),
            None => self.changes.clear(),
        }
    }

    /// Every key behind a place in the order of scanning, with its place.
    fn places(&self, after: Option<&ScanPosition>, limit: usize, now: Timestamp) -> Vec<(String, ItemKey)> {
        let mut places: Vec<(String, ItemKey)> = Vec::new();
        for (tenant, key) in self.answered.keys() {
            let item = ItemKey::IdempotencyKey { tenant: tenant.clone(), key: key.clone() };
            places.push((format!("a {tenant} {key}"), item));
        }
        for rejection in self.rejections.values() {
            places.push((format!("b {}", rejection.keys.reads), Item::Rejection(rejection.clone()).key()));
        }
        for (scope, hash) in &self.forgotten_texts {
            let place = format!("c {scope:?} {}", String::from(*hash));
            places.push((place, ItemKey::ForgottenText { scope: scope.clone(), hash: *hash }));
        }
        for (id, (scope, _)) in &self.tombstones {
            places.push((format!("d {id}"), super::key_of(scope, *id)));
        }
        for (id, whole) in self.memories.iter().filter(|(_, whole)| !whole.current.memory.is_expired(now)) {
            places.push((format!("e {:020}", whole.ordinal), super::key_of(&whole.current.memory.scope, *id)));
        }
        places.retain(|(place, _)| after.is_none_or(|after| *place > after.0));
        places.sort_by(|a, b| a.0.cmp(&b.0));
        places.truncate(limit);
        places
    }

    fn item(&self, key: &ItemKey, now: Timestamp) -> Item {
        let found = match key {
            ItemKey::Rejection { tenant, key } => {
                let is_it = |rejection: &&memory_core::Rejection| {
                    rejection.keys.reads == *key && rejection.scope.tenant_name() == tenant
                };
                self.rejections.values().find(is_it).cloned().map(Item::Rejection)
            }
            ItemKey::ForgottenText { scope, hash } => self
                .forgotten_texts
                .contains(&(scope.clone(), *hash))
                .then(|| Item::ForgottenText { scope: scope.clone(), hash: *hash }),
            ItemKey::Memory { tenant, id } => {
                let whole = self.memories.get(id).filter(|whole| {
                    let memory = &whole.current.memory;
                    memory.scope.tenant_name() == tenant && !memory.is_expired(now)
                });
                let tombstone = self.tombstones.get(id).filter(|(scope, _)| scope.tenant_name() == tenant);
                match (whole, tombstone) {
                    (Some(whole), _) => Some(Item::Memory(Box::new(whole.clone()))),
                    (None, Some((scope, at))) => {
                        Some(Item::Tombstone { scope: scope.clone(), id: *id, forgotten_at: *at })
                    }
                    (None, None) => None,
                }
            }
            ItemKey::IdempotencyKey { tenant, key } => {
                self.answered.get(&(tenant.clone(), key.clone())).cloned().map(Item::IdempotencyKey)
            }
        };
        found.unwrap_or_else(|| Item::Absent(key.clone()))
    }

    /// Makes an item what it is given as.
    fn put(&mut self, item: Item, now: Timestamp, fault: Option<Fault>) {
        let key = item.key();
        if self.item(&key, now) == item {
            return;
        }
        match item {
            Item::Absent(ItemKey::Rejection { key, .. }) => {
                self.rejections.retain(|_, rejection| rejection.keys.reads != key);
            }
            Item::Absent(ItemKey::ForgottenText { scope, hash }) => {
                self.forgotten_texts.remove(&(scope, hash));
            }
            Item::Absent(ItemKey::Memory { id, .. }) => {
                self.memories.remove(&id);
            }
            Item::Absent(ItemKey::IdempotencyKey { tenant, key }) => {
                self.answered.remove(&(tenant, key));
            }
            Item::Rejection(rejection) => {
                self.rejections.retain(|_, kept| kept.keys.reads != rejection.keys.reads);
                let at = self.next();
                self.rejections.insert(at, rejection);
            }
            Item::ForgottenText { scope, hash } => {
                self.forgotten_texts.insert((scope, hash));
            }
            Item::Tombstone { scope, id, forgotten_at } => {
                self.memories.remove(&id);
                self.tombstones.insert(id, (scope, forgotten_at));
            }
            Item::Memory(whole) => {
                let id = whole.current.memory.id;
                if self.tombstones.contains_key(&id) && fault != Some(Fault::ForgottenComesBack) {
                    return;
                }
                self.put_memory(*whole, fault);
            }
            Item::IdempotencyKey(answered) => {
                self.answered.insert((answered.tenant.clone(), answered.key.clone()), answered);
            }
        }
        self.note(key, now);
    }

    fn put_memory(&mut self, mut whole: WholeMemory, fault: Option<Fault>) {
        if fault == Some(Fault::OrdinalsAreLost) {
            whole.ordinal = self.next();
        }
        // What clients write later comes behind it.
        self.last = self.last.max(whole.ordinal);
        for FormerVersion { version, superseded_at } in &mut whole.former {
            version.memory.superseded_at = Some(*superseded_at);
        }
        self.memories.insert(whole.current.memory.id, whole);
    }
}
