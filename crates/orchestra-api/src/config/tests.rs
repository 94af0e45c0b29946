//! From flags, variables and a file to settings.

use clap::Parser;
use memory_core::cache::{DEFAULT_TTL, MAX_TTL};

use super::*;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    server: ServerArgs,
}

fn settings_of(flags: &[&str], variables: &[(&str, &str)]) -> Result<Settings> {
    let args = Command::try_parse_from([&["orchestra"], flags].concat()).unwrap().server;
    let variable = |name: &str| match name {
        "HOME" => Some("/home/ann".into()),
        _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value)),
    };
    Settings::from_args_and_environment(&args, variable, None)
}

fn settings(flags: &[&str]) -> Result<Settings> {
    settings_of(flags, &[])
}

#[test]
fn the_defaults_need_nothing_but_a_home() {
    let settings = settings(&[]).unwrap();
    assert_eq!(settings.database(), PathBuf::from("/home/ann/.local/share/orchestra/memory.db"));
    assert_eq!((settings.listen.to_string(), settings.cache_threshold), (DEFAULT_LISTEN.into(), 0.90));
    assert_eq!(settings.limits, Limits { body_bytes: 33_554_432, batch: 1000, data_bytes: None });
    assert_eq!(settings.cache_ttl, DEFAULT_TTL);
    let ttl = SETTINGS.iter().find(|setting| setting.key == "cache_ttl_seconds").unwrap();
    assert!(matches!(ttl.kind, Kind::Integer(1, most) if most == MAX_TTL.as_secs()));
}

#[test]
fn a_remote_embedder_has_the_general_threshold_and_hides_its_key() {
    let flags = ["--embedder", "openai", "--embedder-url", "http://localhost:1234/v1"];
    let settings = settings_of(&flags, &[("ORCHESTRA_EMBEDDER_API_KEY", "sk-secret")]).unwrap();
    assert_eq!(settings.cache_threshold, 0.85);
    let debug = format!("{settings:?}");
    assert!(debug.contains("http://localhost:1234/v1\"") && !debug.contains("sk-secret"), "{debug}");
}

#[test]
fn a_flag_goes_before_the_environment_that_before_the_file_that_before_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orchestra.yaml");
    std::fs::write(&file, "max_batch: 1\ntenant: file\ncache_ttl_seconds: 60\n").unwrap();
    let variables = [("ORCHESTRA_MAX_BATCH", "2"), ("ORCHESTRA_TENANT", "environment"), ("ORCHESTRA_LISTEN", "")];
    let flags = ["--config", file.to_str().unwrap(), "--max-batch", "3"];
    let settings = settings_of(&flags, &variables).unwrap();
    assert_eq!((settings.limits.batch, &*settings.tenant, settings.cache_ttl.as_secs()), (3, "environment", 60));
    let source = |key: &str| {
        let mut values = settings.values().iter();
        values.find(|(setting, _)| setting.key == key).unwrap().1.unwrap().1
    };
    let sources = ["max_batch", "tenant", "cache_ttl_seconds", "listen"].map(source);
    assert_eq!(sources, [Source::Flag, Source::Environment, Source::File, Source::Default]);
}

#[test]
fn an_address_that_others_reach_needs_a_flag() {
    let error = settings(&["--listen", "0.0.0.0:7070"]).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"--listen: given 0.0.0.0:7070, allowed: a loopback address such as 127.0.0.1; other machines would reach this one, and there are no API keys to ask them for. Make one with `orchestra keys create`, or add --allow-unauthenticated if everyone who reaches it may read and change every memory");
    assert!(settings(&["--listen", "0.0.0.0:7070", "--allow-unauthenticated"]).is_ok());
    assert!(settings(&["--listen", "[::1]:7070"]).is_ok());
}

#[test]
fn what_is_out_of_range_is_named_as_it_was_given() {
    for (flags, message) in [
        (["--cache-threshold", "1.5"], "--cache-threshold: given 1.5, allowed: -1.0 to 1.0, a cosine similarity"),
        (["--cache-threshold", "NaN"], "--cache-threshold: given NaN, allowed: -1.0 to 1.0, a cosine similarity"),
        (["--cache-ttl-seconds", "0"], "--cache-ttl-seconds: given 0, allowed: 1 to 315360000"),
        (["--max-batch", "0"], "--max-batch: given 0, allowed: 1 to 100000"),
        (["--tenant", ""], "--tenant: given , allowed: a name, not empty"),
        (["--tenant", "a\u{7}"], "--tenant: given a\u{7}, allowed: 1 to 256 bytes without control characters"),
    ] {
        assert_eq!(settings(&flags).unwrap_err().to_string(), message);
    }
    let error = settings_of(&[], &[("ORCHESTRA_REDIS_SHARDS", "many")]).unwrap_err().to_string();
    assert_eq!(error, "ORCHESTRA_REDIS_SHARDS: given many, allowed: 1 to 1000");
}

#[test]
fn what_only_several_settings_show_is_refused() {
    let redis = ("ORCHESTRA_SHORT_TERM_PROVIDER", "redis");
    let alloydb = ("ORCHESTRA_MEDIUM_TERM_PROVIDER", "alloydb");
    let host = ("ORCHESTRA_ALLOYDB_HOST", "db");
    let refused = |variables: &[(&str, &str)]| settings_of(&[], variables).unwrap_err().to_string();
    insta::assert_snapshot!(
        [
            refused(&[redis]),
            refused(&[redis, ("ORCHESTRA_REDIS_URL", "redis://:hunter2@a"), ("ORCHESTRA_REDIS_HOST", "b")]),
            refused(&[redis, ("ORCHESTRA_REDIS_HOST", "b"), ("ORCHESTRA_REDIS_NODES", "c:1")]),
            refused(&[redis, ("ORCHESTRA_REDIS_HOST", "b"), ("ORCHESTRA_REDIS_PASSWORD", "{env: ORCHESTRA_NOT_SET}")]),
            refused(&[redis, ("ORCHESTRA_REDIS_HOST", "b"), ("ORCHESTRA_REDIS_GOOGLE_IAM", "true")]),
            refused(&[
                redis,
                ("ORCHESTRA_REDIS_URL", "rediss://b"),
                ("ORCHESTRA_REDIS_GOOGLE_IAM", "true"),
                ("ORCHESTRA_REDIS_PASSWORD", "hunter2"),
            ]),
            refused(&[alloydb]),
            refused(&[alloydb, host, ("ORCHESTRA_ALLOYDB_GOOGLE_IAM", "true")]),
            refused(&[
                alloydb,
                host,
                ("ORCHESTRA_ALLOYDB_GOOGLE_IAM", "true"),
                ("ORCHESTRA_ALLOYDB_TLS", "require"),
                ("ORCHESTRA_ALLOYDB_PASSWORD", "hunter2"),
            ]),
            refused(&[alloydb, host, ("ORCHESTRA_ALLOYDB_HIGH_AVAILABILITY", "true")]),
            refused(&[alloydb, host, ("ORCHESTRA_ALLOYDB_READ_HOSTS", "replica")]),
            refused(&[alloydb, host, ("ORCHESTRA_ALLOYDB_MIN_CONNECTIONS", "17")]),
            refused(&[alloydb, host, ("ORCHESTRA_ALLOYDB_INDEX_M", "40")]),
            refused(&[alloydb, host, ("ORCHESTRA_ALLOYDB_CA_FILE", "ca.pem")]),
        ].join("\n"),
        @r#"
    redis.url: given nothing, allowed: redis://host:port, or redis.host in its place
    ORCHESTRA_REDIS_HOST: given b, allowed: nothing, as there is a redis.url
    ORCHESTRA_REDIS_NODES: given ["c:1"], allowed: nothing, unless redis.cluster is true
    ORCHESTRA_REDIS_PASSWORD: given {env: ORCHESTRA_NOT_SET}, allowed: a variable that is set, and is text
    redis.tls: given false, allowed: true, as redis.google_iam shows a token
    ORCHESTRA_REDIS_PASSWORD: given ***, allowed: nothing, as redis.google_iam is true
    alloydb.url: given nothing, allowed: postgres://user:password@host:port/database, or alloydb.host in its place
    alloydb.tls: given nothing, allowed: require, verify-ca or verify-full, as alloydb.google_iam shows a token
    ORCHESTRA_ALLOYDB_PASSWORD: given ***, allowed: nothing, as alloydb.google_iam is true
    alloydb.read_hosts: given nothing, allowed: the read pool's endpoints, as host:port
    ORCHESTRA_ALLOYDB_READ_HOSTS: given ["replica"], allowed: endpoints, each as host:port
    ORCHESTRA_ALLOYDB_MIN_CONNECTIONS: given 17, allowed: 0 to 16, which is max_connections
    alloydb.index.ef_construction: given 64, allowed: 80 (twice m) to 1000
    ORCHESTRA_ALLOYDB_CA_FILE: given ca.pem, allowed: nothing, unless alloydb.tls is verify-ca or verify-full
    "#
    );
    assert!(settings_of(&[], &[("ORCHESTRA_REDIS_PASSWORD", "{env: ORCHESTRA_NOT_SET}")]).is_ok(), "not asked for");
}

#[tokio::test]
async fn the_sections_reach_the_providers() {
    let variables = [
        ("ORCHESTRA_SHORT_TERM_PROVIDER", "redis"),
        ("ORCHESTRA_REDIS_HOST", "::1"),
        ("ORCHESTRA_REDIS_TLS", "true"),
        ("ORCHESTRA_REDIS_SHARDS", "16"),
        ("ORCHESTRA_REDIS_DEADLINE_MS", "20"),
        ("ORCHESTRA_MEDIUM_TERM_PROVIDER", "alloydb"),
        ("ORCHESTRA_ALLOYDB_URL", "postgres://ann:s3cret@db:6543/memory"),
        ("ORCHESTRA_ALLOYDB_USER", "bob"),
        ("ORCHESTRA_ALLOYDB_HIGH_AVAILABILITY", "true"),
        ("ORCHESTRA_ALLOYDB_READ_HOSTS", "replica-1:5432, replica-2:5432"),
        ("ORCHESTRA_ALLOYDB_INDEX_KIND", "hnsw"),
        ("ORCHESTRA_ALLOYDB_SWEEP_EVERY_SECONDS", "0"),
    ];
    let settings = settings_of(&[], &variables).unwrap();
    let space = Arc::new(EmbeddingSpace::new("m", "1", 8).unwrap());
    let redis = settings.redis(space).await.unwrap();
    assert_eq!(secrecy::ExposeSecret::expose_secret(&redis.url), "rediss://[::1]:6379");
    assert_eq!((redis.shards, redis.deadline, redis.threshold), (16, Duration::from_millis(20), 0.90));
    let database = settings.alloydb(8).await.unwrap();
    assert_eq!((&*database.host, database.port, &*database.user), ("db", 6543, "bob"));
    assert_eq!((database.vector_dim, database.index.kind.name(), database.sweep_every), (8, "hnsw", None));
    assert_eq!((database.high_availability, database.read_hosts.len()), (true, 2));
    assert!(!format!("{settings:?}").contains("s3cret"));
}

#[tokio::test]
async fn an_account_of_google_takes_the_place_of_passwords() {
    // As terraform/envs gives them.
    let variables = [
        ("ORCHESTRA_SHORT_TERM_PROVIDER", "redis"),
        ("ORCHESTRA_REDIS_HOST", "10.64.1.2"),
        ("ORCHESTRA_REDIS_TLS", "true"),
        ("ORCHESTRA_REDIS_GOOGLE_IAM", "true"),
        ("ORCHESTRA_MEDIUM_TERM_PROVIDER", "alloydb"),
        ("ORCHESTRA_ALLOYDB_HOST", "10.65.0.2"),
        ("ORCHESTRA_ALLOYDB_USER", "orchestra-dev-api@example-project.iam"),
        ("ORCHESTRA_ALLOYDB_TLS", "require"),
        ("ORCHESTRA_ALLOYDB_GOOGLE_IAM", "true"),
    ];
    let settings = settings_of(&[], &variables).unwrap();
    let space = Arc::new(EmbeddingSpace::new("m", "1", 8).unwrap());
    let (redis, database) = (settings.redis(space).await.unwrap(), settings.alloydb(8).await.unwrap());
    assert!(redis.credentials.is_some() && redis.password.is_none());
    assert!(database.password_provider.is_some() && database.password.is_none());
}

#[tokio::test]
async fn the_defaults_of_the_sections_are_the_providers() {
    let variables = [("ORCHESTRA_REDIS_HOST", "localhost"), ("ORCHESTRA_ALLOYDB_HOST", "localhost")];
    let settings = settings_of(&[], &variables).unwrap();
    let space = Arc::new(EmbeddingSpace::new("m", "1", 1536).unwrap());
    let (mut ours, theirs) = (settings.redis(space.clone()).await.unwrap(), RedisConfig::new("", space));
    ours.threshold = theirs.threshold;
    let shown = |config: &RedisConfig| {
        let RedisConfig { expected_entries, write_deadline, repeat_bytes, breaker_failures, breaker_pause, .. } =
            config;
        format!(
            "{expected_entries} {write_deadline:?} {repeat_bytes} {breaker_failures} {breaker_pause:?} {:?} {} {:?}",
            config.deadline, config.shards, config.ttl
        )
    };
    assert_eq!(shown(&ours), shown(&theirs));
    let (ours, theirs) = (settings.alloydb(1536).await.unwrap(), AlloyDbConfig::new("localhost"));
    assert_eq!(ours.index, theirs.index);
    let shown = |config: &AlloyDbConfig| {
        let AlloyDbConfig { port, user, database, tls, storage, exact_up_to, recall_target, .. } = config;
        let AlloyDbConfig { max_connections, min_connections, acquire_timeout, max_lifetime, .. } = config;
        let AlloyDbConfig { statement_timeout, sweep_every, pooler, high_availability, .. } = config;
        format!(
            "{port} {user} {database} {tls:?} {storage:?} {exact_up_to} {recall_target} {max_connections} \
             {min_connections} {acquire_timeout:?} {max_lifetime:?} {statement_timeout:?} {sweep_every:?} {pooler} \
             {high_availability}"
        )
    };
    assert_eq!(shown(&ours), shown(&theirs));
}

#[test]
fn a_move_needs_a_record_and_a_green_store() {
    let (record, green) = (("ORCHESTRA_MOVE_RECORD", "move.json"), ("ORCHESTRA_MOVE_GREEN", "green.yaml"));
    let url = ("ORCHESTRA_MOVE_RECORD_URL", "postgres://ann:s3cret@db/records");
    let refused = |variables: &[(&str, &str)]| settings_of(&[], variables).unwrap_err().to_string();
    insta::assert_snapshot!(
        [
            refused(&[record]),
            refused(&[green]),
            refused(&[record, url, green]),
            refused(&[record, green, ("ORCHESTRA_MOVE_NAME", "spring")]),
            refused(&[("ORCHESTRA_MOVE_MIRROR_PERCENT", "5")]),
            refused(&[record, green, ("ORCHESTRA_MOVE_MIRROR_PERCENT", "101")]),
        ].join("\n"),
        @r"
    move.green: given nothing, allowed: the configuration of the store that the memory is moved to
    ORCHESTRA_MOVE_GREEN: given green.yaml, allowed: nothing, unless there is a move.record or a move.record_url
    ORCHESTRA_MOVE_RECORD: given move.json, allowed: nothing, as there is a move.record_url
    ORCHESTRA_MOVE_NAME: given spring, allowed: nothing, unless there is a move.record_url: a file has one move
    ORCHESTRA_MOVE_MIRROR_PERCENT: given 5, allowed: nothing, unless there is a move.record or a move.record_url
    ORCHESTRA_MOVE_MIRROR_PERCENT: given 101, allowed: 0 to 100
    "
    );
    assert_eq!(settings(&[]).unwrap().moves, None);
    let moves = settings_of(&[], &[url, green, ("ORCHESTRA_MOVE_NAME", "spring")]).unwrap().moves.unwrap();
    assert_eq!((&*moves.name, moves.wait, moves.mirror_percent), ("spring", Duration::from_secs(10), 0));
}
