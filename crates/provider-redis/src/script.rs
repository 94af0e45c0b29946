//! Scripts that Redis keeps: called by their hash, and sent again when Redis has forgotten them.

use std::sync::LazyLock;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue, RedisError, ServerErrorKind, ToRedisArgs};

/// A Lua script. The keys that it uses are given to it and lie in one slot, so it runs in a cluster too.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    sha1: String,
}

pub(crate) static FILE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("file.lua")));
pub(crate) static APPEND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("working/append.lua")));
pub(crate) static WINDOW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("working/window.lua")));
pub(crate) static CLEAR: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("working/clear.lua")));

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, sha1: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Runs it: one round trip, and another when Redis does not know it, as after a restart.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        connection: &mut MultiplexedConnection,
        keys: &[String],
        arguments: &[impl ToRedisArgs],
    ) -> Result<T, RedisError> {
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        match command("EVALSHA", &self.sha1).query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                command("EVAL", self.code).query_async(connection).await
            }
            answer => answer,
        }
    }
}
