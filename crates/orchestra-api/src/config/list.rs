//! The list of settings. Flags, environment variables, the file, its schema and `config show` are all made from it.

use super::setting::{Kind, Setting, bool, choice, integer, list, number, path, secret, setting, text};

/// Every setting, in the order in which people read them.
pub const SETTINGS: &[Setting] = &[
    path(
        "data",
        "DIR",
        "The folder that holds the memory, in one file, memory.db. It is made when it is not there.\n\n\
         Default: orchestra in $XDG_DATA_HOME, or ~/.local/share/orchestra. With another provider it still holds \
         server.json, by which commands find the server.",
    ),
    setting(
        "listen",
        Kind::Address,
        "The address and port to answer HTTP on. Port 0 takes a free one and prints it.",
    )
    .or(super::DEFAULT_LISTEN),
    text("tenant", "NAME", "The tenant whose memory this server keeps. No request can name another.").or("default"),
    choice(
        "embedder",
        &[
            ("builtin", "The model inside this program, static-256: no download, no network"),
            ("minilm-int8", "A transformer in a file of 23 MB, run in this process: a few milliseconds a text"),
            ("openai", "A server that speaks OpenAI's embeddings interface"),
        ],
        "What turns texts into vectors: the model inside this program, one in a file (see --models), or a server that \
         speaks OpenAI's /v1/embeddings.\n\nMemories keep the model they were embedded with; vectors of two models are never compared.",
    )
    .or("builtin"),
    text("embedder_url", "URL", "With --embedder openai: the server's base URL, up to and including /v1.")
        .or("https://api.openai.com/v1"),
    text("embedder_model", "MODEL", "With --embedder openai: the model's name there.").or("text-embedding-3-small"),
    integer(
        "embedder_dimensions",
        (1, 4096), "With --embedder openai: how many values the model's vectors have, 1 to 4096.",
    )
    .or("1536"),
    bool(
        "embedder_send_dimensions",
        "With --embedder openai: ask the server for vectors of that many values. Only models that can shorten their \
         vectors take it, such as text-embedding-3-small; others refuse.",
    )
    .or("false"),
    integer(
        "embedder_timeout_ms",
        (1, 600_000), "How long a call waits for the embedder, in milliseconds. What is written then is stored, found by its \
         words, and embedded later; what is asked then is answered by words.",
    )
    .or("5000"),
    secret("embedder_api_key", "With --embedder openai: the server's key, where it wants one."),
    choice(
        "cache_embedder",
        &[
            ("auto", "The model minilm-int8 where it is found, else the memories' embedder"),
            ("static-256", "The model inside this program: quicker, but it takes more prompts for alike that are not"),
            ("minilm-int8", "A transformer in a file of 23 MB, run in this process: a few milliseconds a prompt"),
        ],
        "What the semantic cache compares prompts by. What was filed by another model is served to the same prompt \
         only.",
    )
    .or("auto"),
    path(
        "models",
        "DIR",
        "The folder of models; minilm-int8 is in the folder minilm-int8 of it.\n\nDefault: the first that has it of: \
         models in the data folder, models beside this program, and the target/assets of a checkout, where \
         `cargo xtask assets minilm-int8` places it.",
    ),
    number(
        "cache_threshold",
        (-1.0, 1.0),
        "a cosine similarity",
        "How alike two prompts must be, as a cosine similarity, before the semantic cache may give the answer of one \
         to the other. The guard checks numbers, names, negations and opposites on top of it.\n\nThe threshold belongs \
         to the model. Default: 0.85, and 0.90 with static-256.",
    ),
    integer(
        "cache_ttl_seconds",
        (1, 315_360_000), "How many seconds a cached answer lives unless its writer says otherwise.",
    )
    .or("3600"),
    integer(
        "max_body_bytes",
        (1024, 1 << 30), "The largest request body, in bytes. A larger one is answered with 413.",
    )
    .or("33554432"),
    integer("max_batch", (1, 100_000), "The most memories or messages in one request.").or("1000"),
    integer(
        "max_data_bytes",
        (1 << 20, 1 << 50), "How large the memory's file may grow, in bytes. A write that would go over it is answered with 507, as on a \
         full disk. Default: no limit but the disk's.",
    ),
    choice(
        "short_term_provider",
        &[
            ("embedded", "In the data folder"),
            ("redis", "On Redis, as the section redis says"),
            ("none", "Nowhere: every lookup is a miss and nothing is filed"),
        ],
        "Where the semantic cache lives. While it is away every lookup is a miss.",
    )
    .or("embedded"),
    text(
        "cache_follower",
        "NAME",
        "The name under which the cache is told of the changes of memories that are kept elsewhere. Servers that share a \
         cache share the name; another cache has another name. `orchestra db followers` shows them.",
    )
    .or("cache"),
    choice(
        "medium_term_provider",
        &[
            ("embedded", "In the data folder"),
            ("alloydb", "On AlloyDB or another Postgres with pgvector, as the section alloydb says"),
        ],
        "Where the memories live.",
    )
    .or("embedded"),
    path(
        "brake_file",
        "FILE",
        "The budget's brake, which is followed while the server runs: the brake.json of `cost-monitor watch`. While it says \
         so the cache answers more, consolidation waits, and nothing is embedded by --embedder openai. Default: none.",
    ),
    bool("long_term_enabled", "Whether facts and procedures (the kinds semantic and procedural) are kept and recalled.")
        .or("true"),
    bool(
        "allow_unauthenticated",
        "Answer without credentials on an address that other machines reach.\n\nEveryone who reaches the port can then \
         read, change and forget every memory. Without this flag, and without API keys, the server listens on loopback \
         addresses only. Where there are keys they are asked for all the same.",
    )
    .or("false"),
    integer(
        "startup_patience_seconds",
        (0, 3600), "How many seconds a start waits for the database of the memories to be there. The cache is not waited for.",
    )
    .or("30"),
    integer(
        "shutdown_grace_seconds",
        (0, 3600), "How many seconds requests in flight get to end when the server is told to stop.",
    )
    .or("10"),
    text("secret_manager_url", "URL", "Where secrets of Secret Manager are asked for.")
        .or("https://secretmanager.googleapis.com"),
    integer(
        "sessions.ttl_seconds",
        (1, 315_360_000),
        "How many seconds a session of the working memory lives after its last message, unless its writer says otherwise. \
         The working memory is where the semantic cache is: on Redis, or in the data folder, also where there is no cache \
         and the memories are in the data folder.",
    )
    .or("3600"),
    path(
        "auth.keys_file",
        "FILE",
        "The file of API keys, which `orchestra keys create` makes. While it is there, every request shows one of its keys \
         as `Authorization: Bearer om_…`, and the tenant is the key's. A change of it counts within a second.\n\nDefault: \
         keys.json in the data folder.",
    ),
    path(
        "auth.audit_file",
        "FILE",
        "The file to which each write and each deletion adds a line of JSON: when, who, what, which ids, how it ended, \
         and never a text. Default: the log, as events with the target audit.",
    ),
    number(
        "limits.rate",
        (0.001, 1_000_000.0),
        "",
        "How many requests a tenant may make in a second, in the long run. More are answered with 429. Default: any \
         number.",
    ),
    integer(
        "limits.burst",
        (1, 1_000_000),
        "With limits.rate: how many requests a tenant that was quiet may make at once. Default: those of one second.",
    ),
    integer(
        "limits.memories",
        (1, 1 << 50),
        "How many memories a tenant may have. A write that would go over it is answered with 403. Default: any number.",
    ),
    list(
        "http.cors_origins",
        "ORIGINS",
        "The web pages that may call this server from a browser, as origins such as https://app.example.com. Default: \
         none.",
    ),
    choice(
        "recall.strategy",
        &[
            ("weighted", "A weighted sum of both scores, with what the turns before and after lend"),
            ("rrf", "Reciprocal rank fusion: the places count and not the scores"),
        ],
        "How meaning and words are put together in a recall that does not say.",
    )
    .or("weighted"),
    number(
        "recall.recency",
        (0.0, 1.0),
        "",
        "With weighted: what a memory gets for being new, beside 1 for meaning and words together. It helps where what was \
         said last counts, and costs where old things are asked for.",
    )
    .or("0"),
    number(
        "recall.recency_half_life_days",
        (0.01, 36_500.0),
        "days",
        "After how many days half of that is left.",
    )
    .or("30"),
    number(
        "recall.importance",
        (0.0, 1.0),
        "",
        "With weighted: what a memory of importance 1 gets over one of importance 0.",
    )
    .or("0"),
    integer(
        "recall.deadline_ms",
        (1, 60_000),
        "How long a recall may take, in milliseconds, that does not say. Then it answers with what is there, and says what \
         is missing. Default: as long as it takes.",
    ),
    path(
        "move.record",
        "FILE",
        "The record of a move of this memory to another store, as `orchestra-migrate --record` names it. While it is named the \
         server follows it: it answers from the store that is in use, and a request that meets a switch waits for its end. This \
         server's own store is blue, the one that the memory is moved from.",
    ),
    secret(
        "move.record_url",
        "The Postgres with that record, as `orchestra-migrate --record-url` names it, in place of the file. Servers read it \
         only.",
    ),
    text("move.name", "NAME", "With move.record_url: the name of the move.").or("move"),
    path(
        "move.green",
        "FILE",
        "The configuration of the store that the memory is moved to. It is read alone, as `orchestra-migrate` reads it: neither \
         flags nor the environment change what it says. Its providers and its embedders count, and nothing of it that is \
         about the server itself.",
    ),
    integer(
        "move.wait_seconds",
        (0, 600),
        "How many seconds a request waits for the end of a switch before it is answered with 503 `fenced`.",
    )
    .or("10"),
    integer(
        "move.mirror_percent",
        (0, 100),
        "The percentage of searches that green answers too while blue is in use and green follows: beside the requests, to \
         compare. `GET /v1/replica/mirror` says how the answers compare.",
    )
    .or("0"),
    text(
        "telemetry.otlp_endpoint",
        "URL",
        "The collector of OpenTelemetry that traces are sent to by OTLP over HTTP, such as http://127.0.0.1:4318. Default: \
         that of OTEL_EXPORTER_OTLP_ENDPOINT, else none.",
    ),
    number(
        "telemetry.sample_ratio",
        (0.0, 1.0),
        "",
        "The share of the traces begun here that is taken. Of a trace that the caller began the caller decides.",
    )
    .or("1"),
    integer("usage.window_seconds", (1, 86_400), "Over how many seconds the usage of a tenant is added up.").or("60"),
    path(
        "usage.file",
        "FILE",
        "The file to which each window adds a line of JSON for each tenant and operation: how much, and never a text. \
         Default: none.",
    ),
    integer(
        "usage.max_file_bytes",
        (4096, 1 << 40), "How large that file may grow, in bytes, before another takes its place.",
    )
    .or("67108864"),
    secret("redis.url", "redis://, or with TLS rediss://, with user and password or not. In place of host and port."),
    text("redis.host", "HOST", "The server's host name or address, where there is no url."),
    integer("redis.port", (1, 65_535), "Its port.").or("6379"),
    bool("redis.tls", "With host: whether the connection is encrypted, and the server shows a certificate.")
        .or("false"),
    path("redis.ca_file", "FILE", "The certificate authority of the server, as PEM. Default: those of the system."),
    text("redis.username", "NAME", "The ACL user. Default: that of the url."),
    secret("redis.password", "The password. Default: that of the url."),
    bool(
        "redis.google_iam",
        "Whether an access token of the machine's service account, or that of GOOGLE_OAUTH_ACCESS_TOKEN, is shown in place \
         of a password, as Memorystore with IAM authentication wants it.",
    )
    .or("false"),
    bool("redis.cluster", "Whether it is a cluster, which is found by the server named here. Choose shards then.")
        .or("false"),
    list("redis.nodes", "HOST:PORT", "With cluster: further nodes to find it by when the first is gone."),
    path(
        "redis.index_schema",
        "FILE",
        "The index, in the format of RedisVL's index schemas. Default: one that fits the cache's embedder and \
         expected_entries.",
    ),
    integer(
        "redis.expected_entries",
        (1, 1 << 40), "How many entries there will be at once. Up to 30,000 all are compared; more are searched through a graph.",
    )
    .or("100000"),
    integer("redis.deadline_ms", (1, 60_000), "How long a lookup may take before it is a miss, in milliseconds.")
        .or("50"),
    integer("redis.write_deadline_ms", (1, 600_000), "How long anything else may take, in milliseconds.")
        .or("1000"),
    integer(
        "redis.repeat_bytes",
        (0, 1 << 40), "How many bytes of this process hold answers that were asked for lately; 0 for none.",
    )
    .or("67108864"),
    integer(
        "redis.shards",
        (1, 1000), "Over how many slots of a cluster tenants are spread: 1, or 16 to 64 for a cluster. To change it is to begin with \
         an empty cache.",
    )
    .or("1"),
    integer(
        "redis.breaker_failures",
        (1, 1_000_000), "After how many failures in a row lookups and stores are refused at once.",
    )
    .or("5"),
    integer(
        "redis.breaker_pause_ms",
        (1, 600_000), "For how long they are refused, in milliseconds; then one is let through to see.",
    )
    .or("250"),
    secret(
        "alloydb.url",
        "postgres://user:password@host:port/database?sslmode=require, in place of host, port, user and database.",
    ),
    text("alloydb.host", "HOST", "The primary's host name or address, where there is no url."),
    integer("alloydb.port", (1, 65_535), "Its port. Default: that of the url, else 5432."),
    text(
        "alloydb.user",
        "NAME",
        "The role to connect as: one with the rights of orchestra_app, as `orchestra db migrate --app-user` makes it. \
         Default: that of the url, else postgres.",
    ),
    secret("alloydb.password", "Its password. Default: that of the url."),
    bool(
        "alloydb.google_iam",
        "Whether an access token of the machine's service account, or that of GOOGLE_OAUTH_ACCESS_TOKEN, is shown in place \
         of a password, as AlloyDB with IAM authentication wants it.",
    )
    .or("false"),
    text("alloydb.database", "NAME", "The database. Default: that of the url, else postgres."),
    text(
        "alloydb.role",
        "NAME",
        "The role to take on once connected, such as orchestra_app where the user is a superuser.",
    ),
    choice(
        "alloydb.tls",
        &[
            ("disable", "Not at all"),
            ("prefer", "Where the server has it"),
            ("require", "Encrypted, to whoever answers"),
            ("verify-ca", "Encrypted, and the server shows a certificate of the authority"),
            ("verify-full", "As verify-ca, and the certificate names the host"),
        ],
        "How the connection is secured. Default: as the url says, else prefer.",
    ),
    path(
        "alloydb.ca_file",
        "FILE",
        "With tls verify-ca or verify-full: the certificate authority, as PEM. Default: the public ones.",
    ),
    bool("alloydb.high_availability", "Whether searches go to the read pool.").or("false"),
    list(
        "alloydb.read_hosts",
        "HOST:PORT",
        "The read pool's endpoints: one for all its nodes on AlloyDB, one for each replica elsewhere.",
    ),
    integer(
        "alloydb.vector_dim",
        (1, 4096), "The dimensions of the vectors. Default: those of the embedder, which it must be.",
    ),
    choice(
        "alloydb.storage",
        &[("vector", "4 bytes a dimension: as they came"), ("halfvec", "2 bytes a dimension: rounded")],
        "How vectors are kept.",
    )
    .or("vector"),
    choice("alloydb.index.kind", INDEX_KINDS, "The vector index of larger scopes.").or("ivfflat"),
    integer("alloydb.index.lists", (1, 32_768), "IVFFlat: at most so many lists.").or("1000"),
    integer("alloydb.index.m", (2, 100), "HNSW: the connections of a node.").or("16"),
    integer("alloydb.index.ef_construction", (4, 1000), "HNSW: the candidates while it is built, at least twice m.")
        .or("64"),
    integer("alloydb.index.min_rows", (0, 1 << 40), "From how many memories of a model on it gets an index.")
        .or("10000"),
    choice(
        "alloydb.index.scann_fallback",
        &[("exact", "None"), ("ivfflat", "Lists around centres"), ("hnsw", "A graph")],
        "What is built where scann is asked for and is not there. Default: an error.",
    ),
    integer("alloydb.index.build_memory_mib", (64, 1 << 20), "The memory of an HNSW build, in MiB.").or("1024"),
    integer("alloydb.index.build_workers", (0, 8), "How many workers help with a build.").or("2"),
    integer(
        "alloydb.index.measure_every",
        (0, u32::MAX as u64), "Every so many searches through an index one is repeated exactly, to know what is found; 0 for never.",
    )
    .or("1000"),
    integer("alloydb.exact_up_to", (0, u32::MAX as u64), "Up to how many memories a scope is searched whole.")
        .or("5000"),
    integer(
        "alloydb.recall_cache_mib",
        (0, 1 << 20),
        "The memory that holds users who are searched again and again, in MiB; 0 for none.",
    )
    .or("64"),
    number(
        "alloydb.recall_target",
        (0.5, 1.0),
        "",
        "The share of the true ten nearest that a search through the index is to find.",
    )
    .or("0.95"),
    integer("alloydb.max_connections", (1, 10_000), "At most so many connections to each endpoint.").or("16"),
    integer("alloydb.min_connections", (0, 10_000), "At least so many are kept open.").or("1"),
    integer(
        "alloydb.acquire_timeout_ms",
        (1, 600_000), "How long a call waits for a free connection or a new one, in milliseconds.",
    )
    .or("3000"),
    integer(
        "alloydb.max_lifetime_seconds",
        (1, 31_536_000), "After how many seconds a connection is replaced by a new one.",
    )
    .or("1800"),
    integer(
        "alloydb.statement_timeout_ms",
        (1, 86_400_000), "How long a statement may take, in milliseconds. Not with a pooler: set it for the role there.",
    )
    .or("30000"),
    integer(
        "alloydb.sweep_every_seconds",
        (0, 31_536_000), "How often what has expired is taken off the disk, in seconds; 0 for never.",
    )
    .or("60"),
    bool("alloydb.pooler", "Whether a pooler in transaction mode is between here and the server.").or("false"),
];

const INDEX_KINDS: &[(&str, &str)] = &[
    ("exact", "None: every memory of a scope is compared"),
    ("ivfflat", "Lists around centres: quick to build and small"),
    ("hnsw", "A graph: finds more for the same time, longer to build and slower to write to"),
    ("scann", "AlloyDB's ScaNN"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_and_variables_are_unique_and_defaults_are_allowed() {
        let variables: BTreeSet<String> = SETTINGS.iter().map(Setting::variable).collect();
        assert_eq!(variables.len(), SETTINGS.len());
        for setting in SETTINGS {
            let default = setting.default.map(|default| setting.parse(default));
            assert!(default.is_none_or(|parsed| parsed.is_ok()), "{}", setting.key);
        }
    }
}
