//! [`SemanticCache`]: the exact key and the search in one write, the decision by the core.

use async_trait::async_trait;
use memory_core::cache::{decide, validate_request};
use memory_core::{
    CacheEntryId, CacheHit, CacheLookup, CacheRequest, CacheStats, HitKind, InvalidateRequest, NearMiss, NewCacheEntry,
    Refused, Result, Scope, SemanticCache, Timestamp,
};
use redis::{RedisError, Value};
use tracing::warn;
use uuid::Uuid;

use crate::entry::{Apart, Document};
use crate::error::damaged;
use crate::keys::Keys;
use crate::provider::{Guarded, RedisSemanticCacheProvider};
use crate::query::{self, exact, nearest, read_nearest};

/// The least similarity of an entry that a miss names as near.
const NEAR: f32 = 0.5;

/// What a look gave: an entry to serve, or the nearest that must not be served.
enum Look {
    Serve { document: Box<Document>, kind: HitKind, similarity: f32, key: String },
    Miss(Option<NearMiss>),
}

/// What Redis answered to a lookup: the exact entry, and what the search found or why it did not.
type Answers = (Option<Vec<u8>>, Option<Result<Value, RedisError>>);

#[async_trait]
impl SemanticCache for RedisSemanticCacheProvider {
    async fn lookup(&self, request: &CacheRequest) -> Result<CacheLookup> {
        validate_request(request)?;
        if let Some(embedding) = &request.embedding {
            self.inner.config.space.expect(embedding.space())?;
        }
        let counters = self.inner.counters.tenant(request.scope.tenant_name());
        let found = self.look_up(request).await;
        counters.count(found.as_ref().ok(), request.embedding.is_some());
        found
    }

    async fn store(&self, entry: NewCacheEntry) -> Result<CacheEntryId> {
        entry.validate()?;
        if let Some(embedding) = &entry.embedding {
            self.inner.config.space.expect(embedding.space())?;
        }
        let keys = &self.inner.keys;
        let id = CacheEntryId(Uuid::now_v7());
        let group = keys.group(&entry.scope, entry.fingerprint);
        let key = keys.entry(&group, &entry.prompt);
        let document = Document::new(&entry, id, self.now());
        let pipeline =
            document.store(&entry, &key, &group, &self.inner.schema).map_err(|error| damaged("store", error))?;
        self.call("store", self.inner.config.write_deadline, Guarded::Yes, async |mut connection| {
            pipeline.exec_async(&mut connection).await
        })
        .await?;
        Ok(id)
    }

    async fn invalidate(&self, request: &InvalidateRequest) -> Result<u64> {
        self.remove(request).await
    }

    async fn stats(&self, scope: &Scope) -> Result<CacheStats> {
        let tenant = Scope::tenant(scope.tenant_name())?;
        let shard = self.inner.keys.shard(scope.tenant_name());
        let selection = query::selection(&tenant, &[], self.now());
        let (entries, _) = self.keys_of("stats", shard, &selection, 0).await?;
        Ok(self.inner.counters.tenant(scope.tenant_name()).stats(entries))
    }
}

impl RedisSemanticCacheProvider {
    async fn look_up(&self, request: &CacheRequest) -> Result<CacheLookup> {
        let now = self.now();
        let (key, answers) = self.ask(request, now).await?;
        let look = self.judge(request, now, key, answers)?;
        let (mut document, kind, similarity, key) = match look {
            Look::Miss(near) => return Ok(CacheLookup::Miss(near)),
            Look::Serve { document, kind, similarity, key } => (document, kind, similarity, key),
        };
        if document.apart {
            match self.response(&document, &key).await? {
                Some(response) => document.entry.response = response,
                // Replaced or removed between the two looks.
                None => return Ok(CacheLookup::Miss(None)),
            }
        }
        let entry = document.entry;
        let age = (now - entry.created_at).to_std().unwrap_or_default();
        Ok(CacheLookup::Hit(Box::new(CacheHit { entry, kind, similarity, age })))
    }

    /// One round trip: the exact entry and, when the request has a vector, the nearest ones.
    async fn ask(&self, request: &CacheRequest, now: Timestamp) -> Result<(String, Answers)> {
        let inner = &*self.inner;
        let group = inner.keys.group(&request.scope, request.fingerprint);
        let key = inner.keys.entry(&group, &request.prompt);
        let exact = exact(&key);
        let limit = inner.config.deadline;
        let Some(embedding) = &request.embedding else {
            let found = self.call("lookup", limit, Guarded::Yes, async |mut connection| {
                exact.query_async::<Option<Vec<u8>>>(&mut connection).await
            });
            return Ok((key, (found.await?, None)));
        };
        let index = inner.keys.index(group.shard);
        let timeout_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let search = nearest(&index, &group.tag, &inner.schema.vector, embedding, now, timeout_ms);
        let mut pipeline = redis::pipe();
        pipeline.add_command(exact).add_command(search).ignore_errors();
        let answers = self.call("lookup", limit, Guarded::Yes, async |mut connection| {
            let answers: Vec<Result<Value, RedisError>> = pipeline.query_async(&mut connection).await?;
            let mut answers = answers.into_iter();
            let exact = match answers.next() {
                Some(Ok(Value::BulkString(json))) => Some(json),
                Some(Err(error)) => return Err(error),
                _ => None,
            };
            Ok((exact, answers.next()))
        });
        Ok((key, answers.await?))
    }

    fn judge(&self, request: &CacheRequest, now: Timestamp, key: String, (exact, search): Answers) -> Result<Look> {
        if let Some(json) = exact
            && let Some(document) = self.standing(request, now, &json)
        {
            return Ok(Look::Serve { document, kind: HitKind::Exact, similarity: 1.0, key });
        }
        let found = match search {
            None => return Ok(Look::Miss(None)),
            Some(Ok(answer)) => read_nearest(answer).map_err(|error| damaged("lookup", error))?,
            Some(Err(error)) => {
                self.look_after_the_index();
                return Err(crate::error::backend("lookup", error));
            }
        };
        let mut near: Option<NearMiss> = None;
        for candidate in found {
            let Some(document) = self.standing(request, now, &candidate.document) else { continue };
            let similarity = candidate.similarity;
            match decide(&request.prompt, &document.entry.prompt, similarity, request.policy) {
                Ok(()) => {
                    return Ok(Look::Serve { document, kind: HitKind::Semantic, similarity, key: candidate.key });
                }
                Err(refused) if near.is_none() && similarity >= NEAR => {
                    let entry = document.entry;
                    near = Some(NearMiss { entry: entry.id, prompt: entry.prompt, similarity, refused });
                }
                // The rest is further away still.
                Err(Refused::BelowThreshold { .. }) => break,
                Err(_) => {}
            }
        }
        Ok(Look::Miss(near))
    }

    /// The entry, if it may answer this request. What cannot be read is not served.
    fn standing(&self, request: &CacheRequest, now: Timestamp, json: &[u8]) -> Option<Box<Document>> {
        match Document::read(json) {
            Ok(document) => document.stands(&request.scope, request.fingerprint, now).then(|| Box::new(document)),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "an entry in redis is damaged and is not served");
                None
            }
        }
    }

    /// The response that lies apart, if it is still this entry's.
    async fn response(&self, document: &Document, key: &str) -> Result<Option<String>> {
        let response_key = Keys::response(key);
        let json = self.call("lookup", self.inner.config.deadline, Guarded::Yes, async |mut connection| {
            redis::cmd("GET").arg(response_key).query_async::<Option<Vec<u8>>>(&mut connection).await
        });
        let Some(json) = json.await? else { return Ok(None) };
        let apart: Apart = serde_json::from_slice(&json).map_err(|error| damaged("lookup", error))?;
        Ok((apart.id == document.entry.id).then_some(apart.response))
    }
}
