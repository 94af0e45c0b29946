//! What the server can do.

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};

use crate::keys::{Keys, Shard};
use crate::schema::DataType;

/// What a server can do, found out by trying: the texts of its errors are no promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Searches vectors, with a filter by tag and number: what the cache needs.
    pub vectors: bool,
    /// Indexes text.
    pub text: bool,
    /// Gives an index a second name, which can be moved to another: what rebuilding it while it is used needs.
    pub aliases: bool,
    /// Keeps vectors in 16-bit floats.
    pub float16: bool,
    /// Takes long queries, of a hundred terms; else a filter goes into the search in so far as it is short.
    pub long_queries: bool,
}

impl Capabilities {
    /// How many terms of a query a filter may take. Valkey's search module takes 16 in all, unless told otherwise.
    pub(crate) fn filter_terms(self) -> usize {
        if self.long_queries { LONG } else { 12 }
    }

    /// Whether vectors can be of this type.
    pub(crate) fn has(self, data_type: DataType) -> bool {
        match data_type {
            DataType::Float32 => self.vectors,
            DataType::Float16 => self.float16,
        }
    }
}

/// How many terms make a query long.
const LONG: usize = 100;

/// Finds out what the server can do, with an index that no key belongs to and that is dropped again.
pub(crate) async fn probe(
    connection: &mut (impl ConnectionLike + Send),
    keys: &Keys,
    shard: Shard,
) -> RedisResult<Capabilities> {
    let name = format!("{}:probe:{}", keys.index(shard), uuid::Uuid::now_v7().simple());
    let create = |data_type: &str, more: &[&str]| {
        let mut create = redis::cmd("FT.CREATE");
        create.arg(&name).arg("ON").arg("HASH").arg("PREFIX").arg(1).arg(format!("{name}:")).arg("SCHEMA");
        create.arg(&["g", "TAG", "e", "NUMERIC", "v", "VECTOR", "FLAT", "6", "TYPE", data_type]);
        create.arg(&["DIM", "2", "DISTANCE_METRIC", "COSINE"]).arg(more);
        create
    };
    let mut can = Capabilities { vectors: false, text: false, aliases: false, float16: false, long_queries: false };
    can.vectors = tried(connection, &create("FLOAT32", &[])).await?;
    if !can.vectors {
        return Ok(can);
    }
    let terms: Vec<String> = (0..LONG).map(|number| format!("t{number}")).collect();
    let mut search = redis::cmd("FT.SEARCH");
    search.arg(&name).arg(format!("@g:{{{}}}", terms.join("|"))).arg("DIALECT").arg(2);
    can.long_queries = tried(connection, &search).await?;
    let mut add = redis::cmd("FT.ALIASADD");
    add.arg(format!("{name}:alias")).arg(&name);
    can.aliases = match tried(connection, &add).await {
        // Having no right to them is having none.
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => false,
        tried => tried?,
    };
    let mut drop = redis::cmd("FT.DROPINDEX");
    drop.arg(&name);
    tried(connection, &drop).await?;
    for (has, create) in
        [(&mut can.text, create("FLOAT32", &["t", "TEXT"])), (&mut can.float16, create("FLOAT16", &[]))]
    {
        *has = tried(connection, &create).await?;
        if *has {
            tried(connection, &drop).await?;
        }
    }
    Ok(can)
}

/// Whether the server did it. A connection that fails is an error; a server that refuses is an answer.
pub(crate) async fn tried(connection: &mut (impl ConnectionLike + Send), command: &Cmd) -> RedisResult<bool> {
    match command.query_async::<Value>(connection).await {
        Ok(_) => Ok(true),
        Err(error) if is_refusal(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the server understood and said no, as against not being reached or not being ready.
pub(crate) fn is_refusal(error: &redis::RedisError) -> bool {
    // One without memory is not ready: what it was asked is not wrong.
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError) | ErrorKind::Extension)
        && error.code() != Some("OOM")
}
