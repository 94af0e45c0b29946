//! What is asked of Redis and what it answers, as pure functions.

use std::fmt::Write as _;

use memory_core::cache::TRIED;
use memory_core::{Embedding, Scope, Timestamp};
use redis::{Cmd, Pipeline, Value};

use crate::entry::{ENTRY, EXPIRES, GROUP, LINKS, SCOPE, blob};
use crate::keys::{Epoch, scope_tags};
use crate::schema::{Algorithm, VectorField};
use crate::tenants::State;

// The fields of a tenant.
const EPOCH: &str = "epoch";
const CHANGES: &str = "changes";
const REMOVALS: &str = "removals";

const DISTANCE: &str = "_distance";
const VECTOR: &str = "vector";

/// An entry that a search found.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    pub similarity: f32,
    /// The entry as JSON.
    pub document: Vec<u8>,
    pub key: String,
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct Nearest {
    /// Nearest first.
    pub found: Vec<Found>,
    /// How many had expired when they were found.
    pub gone: usize,
}

/// Reads a tenant's state.
pub(crate) fn state(key: &str) -> Cmd {
    let mut command = redis::cmd("HMGET");
    command.arg(key).arg(EPOCH).arg(CHANGES).arg(REMOVALS);
    command
}

/// Lets a tenant's cache begin with this epoch, unless it has begun, and reads its state.
pub(crate) fn begin(key: &str, epoch: Epoch) -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HSETNX").arg(key).arg(EPOCH).arg(epoch.to_string()).ignore();
    pipeline.add_command(state(key));
    pipeline
}

/// Lets a tenant's cache begin anew: no former entry is found from here on.
pub(crate) fn begin_anew(key: &str, epoch: Epoch) -> Cmd {
    let mut command = redis::cmd("HSET");
    command.arg(key).arg(EPOCH).arg(epoch.to_string());
    command
}

/// Counts that something was removed or replaced.
pub(crate) fn changed(key: &str) -> Cmd {
    let mut command = redis::cmd("HINCRBY");
    command.arg(key).arg(CHANGES).arg(1);
    command
}

/// Counts that something is going to be removed: what was filed by then is found by the removal, what comes late is not
/// filed any more.
pub(crate) fn removing(key: &str) -> Cmd {
    let mut command = redis::cmd("HINCRBY");
    command.arg(key).arg(REMOVALS).arg(1);
    command
}

/// Reads the entry at a key.
pub(crate) fn exact(key: &str) -> Cmd {
    let mut command = redis::cmd("HGET");
    command.arg(key).arg(ENTRY);
    command
}

/// The entries of a group nearest to a vector, of those that the part of a filter that is asked finds and, where a time is
/// given, that live after it.
pub(crate) fn nearest(
    index: &str,
    group: &str,
    vector: &VectorField,
    embedding: &Embedding,
    prefilter: &str,
    living_after: Option<Timestamp>,
    timeout_ms: u64,
) -> Cmd {
    let blob = blob(embedding.values(), vector.data_type);
    let mut query = String::with_capacity(192 + prefilter.len());
    query.extend(["(@", GROUP, ":{", group, "}"]);
    if let Some(now) = living_after {
        query.extend([" ", &unexpired(now)]);
    }
    if !prefilter.is_empty() {
        query.extend([" ", prefilter]);
    }
    let _ = write!(query, ")=>[KNN {TRIED} @{} ${VECTOR}", vector.name);
    if let Algorithm::Hnsw { ef_runtime, .. } = vector.algorithm {
        let _ = write!(query, " EF_RUNTIME {ef_runtime}");
    }
    query.extend([" AS ", DISTANCE, "]"]);
    let mut command = Cmd::with_capacity(17, 256 + query.len() + blob.len());
    command.arg("FT.SEARCH").arg(index).arg(query);
    command.arg("RETURN").arg(2).arg(DISTANCE).arg(ENTRY).arg("LIMIT").arg(0).arg(TRIED);
    command.arg("TIMEOUT").arg(timeout_ms.max(1));
    command.arg("PARAMS").arg(2).arg(VECTOR).arg(blob).arg("DIALECT").arg(2);
    command
}

/// The entries inside a scope that are unexpired at `now` and, where links are given, have one of them.
pub(crate) fn selection(scope: &Scope, epoch: Epoch, links: &[String], now: Timestamp) -> String {
    let mut parts = vec![of_scope(scope, epoch)];
    if !links.is_empty() {
        parts.push(format!("@{LINKS}:{{{}}}", links.join("|")));
    }
    parts.push(unexpired(now));
    parts.join(" ")
}

/// The entries inside a scope, expired ones too.
pub(crate) fn of_scope(scope: &Scope, epoch: Epoch) -> String {
    let parts: Vec<String> = scope_tags(scope, epoch).map(|tag| format!("@{SCOPE}:{{{tag}}}")).collect();
    parts.join(" ")
}

/// The keys of a selection, at most `limit`, and how many there are.
pub(crate) fn keys_of(index: &str, selection: &str, limit: usize, timeout_ms: u64) -> Cmd {
    let mut command = redis::cmd("FT.SEARCH");
    command.arg(index).arg(selection).arg("NOCONTENT").arg("LIMIT").arg(0).arg(limit);
    command.arg("TIMEOUT").arg(timeout_ms.max(1)).arg("DIALECT").arg(2);
    command
}

fn unexpired(now: Timestamp) -> String {
    format!("@{EXPIRES}:[({} +inf]", now.timestamp_millis())
}

/// What [`state`] answered; none when the tenant's cache never began.
///
/// # Errors
/// What in the answer is not as it should be.
pub(crate) fn read_state(answer: Option<&Value>) -> Result<Option<State>, String> {
    let Some(Value::Array(fields)) = answer else { return Err("HMGET did not answer with a list".into()) };
    let Some(epoch) = fields.first().and_then(text) else { return Ok(None) };
    let epoch = Epoch::parse(epoch).ok_or("a tenant's epoch is damaged")?;
    let count = |at| fields.get(at).and_then(text).and_then(|text| text.parse().ok()).unwrap_or_default();
    Ok(Some(State { epoch, changes: count(1), removals: count(2) }))
}

/// The entries that [`nearest`] found.
///
/// # Errors
/// What in the answer is not as it should be.
pub(crate) fn read_nearest(answer: Value) -> Result<Nearest, String> {
    let Value::Array(items) = answer else { return Err("FT.SEARCH did not answer with a list".into()) };
    let mut items = items.into_iter().skip(1);
    let (mut found, mut gone) = (Vec::with_capacity(TRIED), 0);
    while let (Some(key), Some(fields)) = (items.next(), items.next()) {
        let Value::Array(fields) = fields else {
            gone += 1;
            continue;
        };
        let (mut distance, mut document) = (None, None);
        let mut fields = fields.into_iter();
        while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
            let (Value::BulkString(name), Value::BulkString(value)) = (name, value) else { continue };
            if name == ENTRY.as_bytes() {
                document = Some(value);
            } else if name == DISTANCE.as_bytes() {
                distance = std::str::from_utf8(&value).ok().and_then(|text| text.parse::<f32>().ok());
            }
        }
        let (Some(distance), Some(document), Value::BulkString(key)) = (distance, document, key) else { continue };
        let Ok(key) = String::from_utf8(key) else { continue };
        // Slightly under 0 for equal vectors.
        found.push(Found { similarity: (1.0 - distance).clamp(-1.0, 1.0), document, key });
    }
    // Redis gives them in no order.
    found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| a.key.cmp(&b.key)));
    Ok(Nearest { found, gone })
}

/// The keys that [`keys_of`] found, and how many there are in all.
///
/// # Errors
/// What in the answer is not as it should be.
pub(crate) fn read_keys(answer: &Value) -> Result<(u64, Vec<String>), String> {
    let wrong = || "FT.SEARCH did not answer with a count and keys".to_owned();
    let Value::Array(items) = answer else { return Err(wrong()) };
    let Some(Value::Int(total)) = items.first() else { return Err(wrong()) };
    let keys = items[1..].iter().filter_map(text).map(str::to_owned).collect();
    Ok((u64::try_from(*total).map_err(|_| wrong())?, keys))
}

/// A value as text, if it is.
pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// A command as it would be typed, for snapshots.
#[cfg(test)]
pub(crate) fn shown(command: &Cmd) -> String {
    let words = command.args_iter().map(|argument| match argument {
        redis::Arg::Simple(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if text.chars().all(|c| !c.is_control()) => text.to_owned(),
            _ => format!("<{} bytes>", bytes.len()),
        },
        _ => "<cursor>".to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use memory_core::EmbeddingSpace;
    use proptest::prelude::*;

    use super::*;
    use crate::keys::{Keys, label_tag};
    use crate::schema::IndexSchema;

    fn epoch() -> Epoch {
        Epoch::parse("00000000000000ab").unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_timestamp_millis(1_780_315_200_000).unwrap()
    }

    #[test]
    fn commands_are_the_common_subset() {
        let space = Arc::new(EmbeddingSpace::new("m", "1", 2).unwrap());
        let embedding = Embedding::new(space, vec![0.6, 0.8]).unwrap();
        let scope = Scope::tenant("acme").unwrap().with_user("ann").unwrap();
        let hnsw = IndexSchema::sized(2, 100_000).vector;
        let flat = IndexSchema::sized(2, 100).vector;
        insta::assert_snapshot!(
            [
                shown(&state("p:1:{00}:t:0abc")),
                shown(&changed("p:1:{00}:t:0abc")),
                shown(&removing("p:1:{00}:t:0abc")),
                shown(&begin_anew("p:1:{00}:t:0abc", epoch())),
                shown(&exact("p:1:{00}:e:0abc")),
                shown(&nearest("i:1:{00}", "0abc", &hnsw, &embedding, "", None, 50)),
                shown(&nearest("i:1:{00}", "0abc", &flat, &embedding, "@price:[1.0 2.0]", Some(now()), 50)),
                shown(&keys_of("i:1:{00}", &selection(&scope, epoch(), &[label_tag("x")], now()), 10, 1000)),
            ].join("\n"),
            @"
        HMGET p:1:{00}:t:0abc epoch changes removals
        HINCRBY p:1:{00}:t:0abc changes 1
        HINCRBY p:1:{00}:t:0abc removals 1
        HSET p:1:{00}:t:0abc epoch 00000000000000ab
        HGET p:1:{00}:e:0abc _entry
        FT.SEARCH i:1:{00} (@_group:{0abc})=>[KNN 8 @prompt_vector $vector EF_RUNTIME 100 AS _distance] RETURN 2 _distance _entry LIMIT 0 8 TIMEOUT 50 PARAMS 2 vector <8 bytes> DIALECT 2
        FT.SEARCH i:1:{00} (@_group:{0abc} @_expires:[(1780315200000 +inf] @price:[1.0 2.0])=>[KNN 8 @prompt_vector $vector AS _distance] RETURN 2 _distance _entry LIMIT 0 8 TIMEOUT 50 PARAMS 2 vector <8 bytes> DIALECT 2
        FT.SEARCH i:1:{00} @_scope:{tc17947333d53a92256e5a78cc2b5f5dc} @_scope:{ue8ff67337868178e77f9e0fbed27f975} @_links:{l3ae7d805f6789a6402acb70ad4096a85} @_expires:[(1780315200000 +inf] NOCONTENT LIMIT 0 10 TIMEOUT 1000 DIALECT 2
        "
        );
    }

    #[test]
    fn a_tenant_without_an_epoch_never_began() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let read = |fields: &[Value]| read_state(Some(&Value::Array(fields.to_vec())));
        assert_eq!(read(&[Value::Nil, bulk("7")]), Ok(None));
        assert_eq!(read(&[bulk("ab"), Value::Nil]), Ok(Some(State { epoch: epoch(), changes: 0, removals: 0 })));
        let state = State { epoch: epoch(), changes: 7, removals: 3 };
        assert_eq!(read(&[bulk("ab"), bulk("7"), bulk("3")]), Ok(Some(state)));
        assert!(read(&[bulk("?"), bulk("7")]).is_err() && read_state(None).is_err());
    }

    #[test]
    fn answers_are_read_nearest_first() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let answer = Value::Array(vec![
            Value::Int(4),
            bulk("far"),
            Value::Array(vec![bulk("_distance"), bulk("0.5"), bulk("_entry"), bulk("{}")]),
            bulk("same"),
            Value::Array(vec![bulk("_entry"), bulk("{1}"), bulk("_distance"), bulk("-1.19209289551e-07")]),
            bulk("expired"),
            Value::Nil,
            bulk("no entry"),
            Value::Array(vec![bulk("_distance"), bulk("0.1")]),
        ]);
        let Nearest { found, gone } = read_nearest(answer).unwrap();
        assert_eq!(gone, 1);
        let found: Vec<_> = found.iter().map(|found| (found.key.as_str(), found.similarity)).collect();
        assert_eq!(found, [("same", 1.0), ("far", 0.5)]);
        assert!(read_nearest(Value::Array(vec![Value::Int(0)])).unwrap().found.is_empty());
        assert!(read_nearest(Value::Okay).is_err());
    }

    proptest! {
        #[test]
        fn text_of_callers_never_reaches_a_query(tenant in "\\PC{1,20}", user in "\\PC{1,20}", label in "\\PC{1,20}") {
            let scope = Scope::tenant(tenant).unwrap().with_user(user).unwrap();
            let query = selection(&scope, epoch(), &[label_tag(&label)], now());
            prop_assert_eq!(
                shape(&query),
                "@_scope:{tH} @_scope:{uH} @_links:{lH} @_expires:[(1780315200000 +inf]"
            );
            let space = EmbeddingSpace::new("m", "1", 2).unwrap();
            let keys = Keys::new(&IndexSchema::sized(2, 1), 1, &space);
            let group = keys.group(&scope, memory_core::Fingerprint([0; 32]), epoch());
            prop_assert_eq!(shape(&group.tag), "H");
            prop_assert_eq!(shape(&keys.entry(Keys::place(&group, &label))), "agent_memory:2:{00}:e:H");
            prop_assert_eq!(shape(&keys.tenant(group.shard, scope.tenant_name())), "agent_memory:2:{00}:t:H");
        }
    }

    /// The text with every run of 32 hexadecimal digits as `H`.
    fn shape(text: &str) -> String {
        let mut shape = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte)).count();
            let (taken, shown) = if digits == 32 { (32, "H") } else { (c.len_utf8(), &rest[..c.len_utf8()]) };
            shape.push_str(shown);
            rest = &rest[taken..];
        }
        shape
    }
}
