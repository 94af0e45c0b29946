//! [`SemanticCache`]: the tenant's state, the exact key and the search in one write, the decision by the core.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use memory_core::cache::{NEAR, Question, STORE_ROUNDING, TRIED, decide, validate_request};
use memory_core::{
    CacheEntry, CacheEntryId, CacheHit, CacheLookup, CacheMark, CacheMode, CachePolicy, CacheRequest, CacheStats,
    Error, HitKind, InvalidateRequest, NearMiss, NewCacheEntry, Refused, Result, Scope, SemanticCache, Timestamp,
};
use redis::{RedisError, Value};
use tracing::warn;
use uuid::Uuid;

use crate::entry::{Apart, Document};
use crate::error::damaged;
use crate::filter::prefilter;
use crate::index::{Capabilities, Live};
use crate::keys::{Epoch, Group, Keys, Shard};
use crate::provider::{Guarded, RedisSemanticCacheProvider};
use crate::query::{self, Nearest, exact, nearest, read_nearest, read_state};
use crate::schema::IndexSchema;
use crate::script;
use crate::tenants::{REPEAT_LEASE, State, Tenant};
use crate::verdicts::Pair;

/// What a look gave: an entry to serve, or the nearest that must not be served.
enum Look {
    Serve {
        document: Box<Document>,
        kind: HitKind,
        similarity: f32,
        key: String,
    },
    Miss(Option<NearMiss>),
    /// Expired entries took places among the nearest, and may hide one that stands.
    Crowded,
}

/// Whether entries that expired and that Redis still has take places among the nearest. Leaving them out costs the search
/// as much again in a small cache, so it is done only where they were in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expired {
    TakePlaces,
    AreLeftOut,
}

impl Expired {
    /// From when on an entry must live to have a place.
    fn left_out(self, now: Timestamp) -> Option<Timestamp> {
        (self == Self::AreLeftOut).then_some(now)
    }
}

/// What Redis answered to a lookup.
struct Answers {
    /// The tenant's state before the rest was read, if it was asked for and its cache has begun.
    state: Option<State>,
    exact: Option<Vec<u8>>,
    /// What the search found or why it did not; none when there was no vector to search with.
    search: Option<Result<Value, RedisError>>,
}

/// An entry as it was filed.
struct Filed {
    id: CacheEntryId,
    /// What it was filed for, if the index was another by then.
    outdated: Option<Arc<Live>>,
}

#[async_trait]
impl SemanticCache for RedisSemanticCacheProvider {
    async fn lookup(&self, request: &CacheRequest) -> Result<CacheLookup> {
        validate_request(request)?;
        if let Some(embedding) = &request.embedding {
            self.inner.config.space.expect(embedding.space())?;
        }
        let tenant = self.inner.tenants.get(request.scope.tenant_name());
        let found = self.look_up(request, &tenant).await;
        tenant.count(found.as_ref().ok(), request.embedding.is_some());
        self.inner.common.metrics.lookup(found.as_ref().ok(), request.embedding.is_some());
        found
    }

    async fn mark(&self, scope: &Scope) -> Result<CacheMark> {
        let tenant = self.inner.tenants.get(scope.tenant_name());
        // An old one is as good: where it is outdated it refuses, and then Redis has said what the state is.
        let state = match tenant.state() {
            Some(state) => state,
            None => self.begin_cache(scope, &tenant).await?,
        };
        Ok(mark_of(state))
    }

    async fn store_since(&self, entry: NewCacheEntry, since: &CacheMark) -> Result<Option<CacheEntryId>> {
        entry.validate()?;
        if let Some(embedding) = &entry.embedding {
            self.inner.config.space.expect(embedding.space())?;
        }
        let tenant = self.inner.tenants.get(entry.scope.tenant_name());
        let shard = self.inner.keys.shard(entry.scope.tenant_name());
        loop {
            let Some(Filed { id, outdated }) = self.file(&entry, &tenant, since).await? else { return Ok(None) };
            let Some(live) = outdated else { return Ok(Some(id)) };
            // A rebuild of the index began or ended: it is filed once more, so that the other one finds it.
            if !self.has_changed("store", self.inner.config.write_deadline, shard, &live).await? {
                return Ok(Some(id));
            }
        }
    }

    async fn invalidate(&self, request: &InvalidateRequest) -> Result<u64> {
        self.remove(request).await
    }

    async fn stats(&self, scope: &Scope) -> Result<CacheStats> {
        let whole = Scope::tenant(scope.tenant_name())?;
        let tenant = self.inner.tenants.get(scope.tenant_name());
        let shard = self.inner.keys.shard(scope.tenant_name());
        let entries = match self.state("stats", &whole, &tenant, Guarded::Yes).await? {
            None => 0,
            Some(State { epoch, .. }) => {
                let selection = query::selection(&whole, epoch, &[], self.now());
                self.keys_of("stats", shard, &selection, 0).await?.0
            }
        };
        Ok(tenant.stats(entries))
    }

    async fn begin_fill(&self, request: &CacheRequest, lease: Duration) -> Result<bool> {
        validate_request(request)?;
        self.begin(request, lease).await
    }

    async fn end_fill(&self, request: &CacheRequest) -> Result<()> {
        validate_request(request)?;
        self.end(request).await
    }
}

impl RedisSemanticCacheProvider {
    async fn look_up(&self, request: &CacheRequest, tenant: &Tenant) -> Result<CacheLookup> {
        let inner = &*self.inner;
        let now = self.now();
        let mut epoch = tenant.epoch();
        let mut expired = Expired::TakePlaces;
        loop {
            let known = match epoch {
                Some(epoch) => epoch,
                // Once for each tenant in a process, and again after its cache was emptied.
                None => match self.state("lookup", &request.scope, tenant, Guarded::Yes).await? {
                    Some(state) => state.epoch,
                    None => return Ok(CacheLookup::Miss(None)),
                },
            };
            let group = inner.keys.group(&request.scope, request.fingerprint, known);
            let place = Keys::place(&group, &request.prompt);
            let asked = Instant::now();
            if let Some(state) = tenant.confirmed(asked, REPEAT_LEASE).filter(|state| state.epoch == known)
                && let Some(repeat) = inner.repeats.get(place, state, asked)
                && repeat.document.entry.expires_at > now
                && repeat.document.answers(request)
                && !repeat.document.entry.is_due_to_slide(now)
            {
                return Ok(hit(repeat.document.entry.clone(), HitKind::Exact, 1.0, now));
            }
            let key = inner.keys.entry(place);
            let live = inner.common.indexes.live(group.shard);
            // Known well enough for what is asked at once, and asked for again before repeats need it.
            let state = tenant.confirmed(asked, REPEAT_LEASE / 2);
            let state_key = state.is_none().then(|| inner.keys.tenant(group.shard, request.scope.tenant_name()));
            let answers =
                self.ask(request, &group, &key, &live.schema, expired.left_out(now), state_key.as_deref()).await?;
            let state = match state {
                Some(state) => Some(state),
                None => {
                    tenant.learn(asked, answers.state);
                    answers.state
                }
            };
            epoch = state.map(|state| state.epoch);
            let Some(state) = state.filter(|state| state.epoch == known) else { continue };
            // Its vectors may be of another type since a moment ago.
            if matches!(answers.search, Some(Err(_)))
                && self.has_changed("lookup", inner.config.deadline, group.shard, &live).await.unwrap_or(false)
            {
                continue;
            }
            let (mut document, kind, similarity, key) = match self.judge(request, now, key, answers)? {
                Look::Crowded if expired == Expired::TakePlaces => {
                    expired = Expired::AreLeftOut;
                    continue;
                }
                Look::Crowded => return Ok(CacheLookup::Miss(None)),
                Look::Miss(near) => return Ok(CacheLookup::Miss(near)),
                Look::Serve { document, kind, similarity, key } => (document, kind, similarity, key),
            };
            if document.entry.is_due_to_slide(now) {
                self.prolong(&document, &key, now);
            }
            if document.apart {
                match self.response(group.shard, &document, &key).await? {
                    Some(response) => document.entry.response = response,
                    // Replaced or removed between the two looks.
                    None => return Ok(CacheLookup::Miss(None)),
                }
            }
            if kind == HitKind::Exact {
                inner.repeats.put(place, (*document).clone(), state, asked);
            }
            return Ok(hit(document.entry, kind, similarity, now));
        }
    }

    /// One round trip: the tenant's state, if its key is given, then the exact entry and, when the request has a vector, the
    /// nearest ones.
    async fn ask(
        &self,
        request: &CacheRequest,
        group: &Group,
        key: &str,
        schema: &IndexSchema,
        living_after: Option<Timestamp>,
        state_key: Option<&str>,
    ) -> Result<Answers> {
        let inner = &*self.inner;
        let limit = inner.config.deadline;
        let mut pipeline = redis::pipe();
        if let Some(state_key) = state_key {
            pipeline.add_command(query::state(state_key));
        }
        pipeline.add_command(exact(key)).ignore_errors();
        if let Some(embedding) = &request.embedding {
            let index = inner.keys.index(group.shard);
            let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            let terms = self.capabilities().map_or(0, Capabilities::filter_terms);
            let narrowed = request.filter.as_ref().map(|filter| prefilter(filter, schema, terms)).unwrap_or_default();
            let search = nearest(&index, &group.tag, &schema.vector, embedding, &narrowed, living_after, timeout_ms);
            pipeline.add_command(search);
        }
        let answers = self.call(group.shard, "lookup", limit, Guarded::Yes, async |mut connection| {
            let answers: Vec<Result<Value, RedisError>> = pipeline.query_async(&mut connection).await?;
            let mut answers = answers.into_iter();
            let state = if state_key.is_some() { answers.next().transpose()? } else { None };
            let exact = match answers.next().transpose()? {
                Some(Value::BulkString(json)) => Some(json),
                _ => None,
            };
            Ok((state, exact, answers.next()))
        });
        let (state, exact, search) = answers.await?;
        let state = match state {
            Some(state) => read_state(Some(&state)).map_err(|error| damaged("lookup", error))?,
            None => None,
        };
        Ok(Answers { state, exact, search })
    }

    /// The state of a tenant's cache; none when there never was an entry.
    pub(crate) async fn state(
        &self,
        operation: &'static str,
        scope: &Scope,
        tenant: &Tenant,
        guarded: Guarded,
    ) -> Result<Option<State>> {
        let inner = &*self.inner;
        let shard = inner.keys.shard(scope.tenant_name());
        let key = inner.keys.tenant(shard, scope.tenant_name());
        let limit = if guarded == Guarded::Yes { inner.config.deadline } else { inner.config.write_deadline };
        let asked = Instant::now();
        let answer = self.call(shard, operation, limit, guarded, async |mut connection| {
            query::state(&key).query_async::<Value>(&mut connection).await
        });
        let state = read_state(Some(&answer.await?)).map_err(|error| damaged(operation, error))?;
        tenant.learn(asked, state);
        Ok(state)
    }

    /// The state of a tenant's cache, which begins now unless it has begun.
    async fn begin_cache(&self, scope: &Scope, tenant: &Tenant) -> Result<State> {
        let inner = &*self.inner;
        let shard = inner.keys.shard(scope.tenant_name());
        let key = inner.keys.tenant(shard, scope.tenant_name());
        let pipeline = query::begin(&key, Epoch::new());
        let asked = Instant::now();
        let answer = self.call(shard, "store", inner.config.write_deadline, Guarded::Yes, async |mut connection| {
            pipeline.query_async::<(Value,)>(&mut connection).await
        });
        let state = read_state(Some(&answer.await?.0)).map_err(|error| damaged("store", error))?;
        tenant.learn(asked, state);
        state.ok_or_else(|| damaged("store", "an epoch that was just set is not there"))
    }

    /// Learns what the index is by now, and whether it is another than this.
    async fn has_changed(&self, operation: &'static str, limit: Duration, shard: Shard, from: &Live) -> Result<bool> {
        let common = self.inner.common.clone();
        let follow = async |mut connection| common.indexes.follow(&mut connection, shard).await;
        self.call(shard, operation, limit, Guarded::No, follow).await?;
        Ok(*self.inner.common.indexes.live(shard) != *from)
    }

    /// Files an entry, unless the tenant's cache is another than it was at the mark.
    async fn file(&self, entry: &NewCacheEntry, tenant: &Tenant, since: &CacheMark) -> Result<Option<Filed>> {
        let inner = &*self.inner;
        let (epoch, removals) = read_mark(since)?;
        let id = CacheEntryId(Uuid::now_v7());
        let group = inner.keys.group(&entry.scope, entry.fingerprint, epoch);
        let place = Keys::place(&group, &entry.prompt);
        let key = inner.keys.entry(place);
        let document = Document::new(entry, id, self.now());
        let live = inner.common.indexes.live(group.shard);
        let repeat = inner.repeats.is_on().then(|| document.clone());
        let mut arguments = vec![epoch.to_string().into_bytes(), removals.to_string().into_bytes()];
        let filing = document.filing(entry, &group, epoch, &live).map_err(|error| damaged("store", error))?;
        arguments.extend(filing);
        let mark_key = inner.common.indexes.mark_key(group.shard);
        let mut keys =
            vec![inner.keys.tenant(group.shard, entry.scope.tenant_name()), key.clone(), Keys::response(&key)];
        keys.extend(mark_key.clone());
        let asked = Instant::now();
        let answer =
            self.call(group.shard, "store", inner.config.write_deadline, Guarded::Yes, async |mut connection| {
                script::FILE.run::<(bool, Value, Option<String>)>(&mut connection, &keys, &arguments).await
            });
        let (is_filed, state, mark) = answer.await?;
        let state = read_state(Some(&state)).map_err(|error| damaged("store", error))?;
        tenant.learn(asked, state);
        if !is_filed {
            return Ok(None);
        }
        if let (Some(repeat), Some(state)) = (repeat, state) {
            inner.repeats.put(place, repeat, state, asked);
        }
        let is_current = mark_key.is_none() || live.is_current(mark.as_deref());
        Ok(Some(Filed { id, outdated: (!is_current).then_some(live) }))
    }

    fn judge(&self, request: &CacheRequest, now: Timestamp, key: String, answers: Answers) -> Result<Look> {
        if let Some(json) = answers.exact
            && let Some(document) = self.read(&json)
            && document.entry.expires_at > now
            && document.answers(request)
        {
            return Ok(Look::Serve { document, kind: HitKind::Exact, similarity: 1.0, key });
        }
        let found = match answers.search {
            None => return Ok(Look::Miss(None)),
            Some(Ok(answer)) => read_nearest(answer).map_err(|error| damaged("lookup", error))?,
            Some(Err(error)) => {
                self.look_after_the_index(self.inner.keys.shard(request.scope.tenant_name()));
                return Err(crate::error::backend("lookup", error));
            }
        };
        let question = Question::new(&request.prompt, request.policy);
        let mut near: Option<NearMiss> = None;
        let Nearest { found, mut gone } = found;
        let is_full = found.len() + gone >= TRIED;
        for candidate in found {
            let similarity = candidate.similarity;
            // Neither near nor to be served: the rest is further away still, and what expired entries hide too.
            if similarity < NEAR && similarity + STORE_ROUNDING < request.policy.threshold {
                return Ok(Look::Miss(near));
            }
            let Some(document) = self.read(&candidate.document) else { continue };
            if document.entry.expires_at <= now {
                gone += 1;
                continue;
            }
            if !document.answers(request) {
                continue;
            }
            let refused = match self.decide(&question, request, &document, similarity) {
                Ok(()) => {
                    return Ok(Look::Serve { document, kind: HitKind::Semantic, similarity, key: candidate.key });
                }
                Err(refused) => refused,
            };
            let is_below = matches!(refused, Refused::BelowThreshold { .. });
            if near.is_none() && similarity >= NEAR {
                let entry = document.entry;
                near = Some(NearMiss { entry: entry.id, prompt: entry.prompt, similarity, refused });
            }
            if is_below {
                return Ok(Look::Miss(near));
            }
        }
        Ok(if is_full && gone > 0 { Look::Crowded } else { Look::Miss(near) })
    }

    /// Whether to serve the entry. What the guard let pass before it need not read again.
    fn decide(
        &self,
        question: &Question<'_>,
        request: &CacheRequest,
        document: &Document,
        similarity: f32,
    ) -> std::result::Result<(), Refused> {
        let CacheEntry { id, prompt, .. } = &document.entry;
        if request.policy.mode != CacheMode::Guarded {
            return question.decide(prompt, similarity);
        }
        let pair = Pair::new(&request.prompt, *id);
        if self.inner.verdicts.passed(pair) {
            let by_similarity = CachePolicy { mode: CacheMode::Threshold, ..request.policy };
            return decide(&request.prompt, prompt, similarity, by_similarity);
        }
        question.decide(prompt, similarity).inspect(|()| self.inner.verdicts.pass(pair))
    }

    /// The entry. What cannot be read is not served.
    fn read(&self, json: &[u8]) -> Option<Box<Document>> {
        match Document::read(json) {
            Ok(document) => Some(Box::new(document)),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "an entry in redis is damaged and is not served");
                None
            }
        }
    }

    /// The response that lies apart, if it is still this entry's.
    async fn response(&self, shard: Shard, document: &Document, key: &str) -> Result<Option<String>> {
        let response_key = Keys::response(key);
        let json = self.call(shard, "lookup", self.inner.config.deadline, Guarded::Yes, async |mut connection| {
            redis::cmd("GET").arg(response_key).query_async::<Option<Vec<u8>>>(&mut connection).await
        });
        let Some(json) = json.await? else { return Ok(None) };
        let apart: Apart = serde_json::from_slice(&json).map_err(|error| damaged("lookup", error))?;
        Ok((apart.id == document.entry.id).then_some(apart.response))
    }
}

fn mark_of(State { epoch, removals, .. }: State) -> CacheMark {
    CacheMark(format!("{epoch}-{removals}"))
}

/// The epoch and the count of removals of a mark.
fn read_mark(mark: &CacheMark) -> Result<(Epoch, u64)> {
    let parts =
        mark.0.split_once('-').and_then(|(epoch, removals)| Some((Epoch::parse(epoch)?, removals.parse().ok()?)));
    parts.ok_or_else(|| Error::invalid("mark", &mark.0, "a mark that this cache gave"))
}

fn hit(entry: CacheEntry, kind: HitKind, similarity: f32, now: Timestamp) -> CacheLookup {
    let age = (now - entry.created_at).to_std().unwrap_or_default();
    CacheLookup::Hit(Box::new(CacheHit { entry, kind, similarity, age }))
}
