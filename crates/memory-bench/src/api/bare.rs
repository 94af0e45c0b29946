//! A bare axum handler that does the one call of a cache hit: the honest limit of an HTTP hop.

use anyhow::Result;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// Where it takes what it answers.
#[derive(clap::Args)]
pub struct Args {
    /// The Redis to ask
    #[arg(long)]
    redis: String,
}

#[derive(Deserialize)]
struct Asked {
    prompt: String,
}

#[derive(Serialize)]
struct Hit {
    response: String,
}

/// The key under which the bare handler looks for a prompt.
pub fn key(prompt: &str) -> String {
    format!("bare:{prompt}")
}

/// Serves until it is ended; says its address in the first line that it prints.
pub async fn serve(args: &Args) -> Result<()> {
    let redis = redis::Client::open(args.redis.as_str())?.get_multiplexed_async_connection().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let router = Router::new().route("/hit", post(hit)).with_state(redis);
    let listener = axum::serve::ListenerExt::tap_io(listener, |connection| {
        let _ = connection.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}

async fn hit(
    State(mut redis): State<MultiplexedConnection>,
    Json(asked): Json<Asked>,
) -> Result<Json<Hit>, StatusCode> {
    let found: Option<String> =
        redis.hget(key(&asked.prompt), "response").await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    found.map(|response| Json(Hit { response })).ok_or(StatusCode::NOT_FOUND)
}
