//! Where a command's calls go: a server, or the folder opened in this process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Globals;
use super::failure::{Failure, Outcome};
use crate::client::Client;
use crate::config::{ServerArgs, Settings};
use crate::http::{is_this_machine, router_for_owner};
use crate::serve::ServerFile;
use crate::state::AppState;

/// How long a server that announced itself may take to say that it lives.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);
/// The tenant that the flag names when nobody gave it: then the server's file may name another.
const DEFAULT_TENANT: &str = "default";
/// The environment variable with the API key for a server. There is no flag for it: flags show in process lists.
pub const API_KEY: &str = "ORCHESTRA_API_KEY";
/// How long the folder gets to be closed in order.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// A client, and the folder it works on when that is open in this process.
pub struct Session {
    client: Client,
    state: Option<AppState>,
    tenant: String,
}

/// Finds out where the calls go: to `--url`; else to the server that runs on the folder; else the folder is opened.
pub async fn open(globals: &Globals) -> Outcome<Session> {
    if let Some(url) = &globals.url {
        return remote(url, globals).await;
    }
    let settings = settings(globals)?;
    if let Some(url) = running(&settings.server_file()).await {
        tracing::debug!(url, "server found");
        return remote(&url, globals).await;
    }
    open_folder(&settings).await
}

/// The URL that [`open`] would call; `None` when it would open the folder.
pub async fn url(globals: &Globals) -> Outcome<Option<String>> {
    match &globals.url {
        Some(url) => Ok(Some(url.clone())),
        None => Ok(running(&settings(globals)?.server_file()).await),
    }
}

/// Opens the folder of `settings` in this process.
pub async fn open_folder(settings: &Settings) -> Outcome<Session> {
    let state = AppState::open(settings).await.map_err(|error| {
        let message = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        Failure::ours(
            message,
            "several programs share a folder by way of `orchestra serve`, which each of them finds: end the process that \
             has the folder, start that, and then the programs again; or name another folder with --data",
        )
    })?;
    Ok(Session {
        client: Client::local(router_for_owner(state.clone())),
        state: Some(state),
        tenant: settings.tenant.clone(),
    })
}

impl Session {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The tenant that the calls are for.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Closes the folder in order, if it is open here.
    pub async fn close(self) {
        if let Some(state) = self.state
            && let Err(error) = state.close(CLOSE_WITHIN).await
        {
            tracing::warn!(error = format!("{error:#}"), "folder not closed in order; what was acknowledged is safe");
        }
    }
}

/// Whether the environment has an API key.
pub fn has_key() -> bool {
    key().is_some()
}

fn key() -> Option<String> {
    std::env::var(API_KEY).ok().filter(|key| !key.trim().is_empty())
}

async fn remote(url: &str, globals: &Globals) -> Outcome<Session> {
    let mut client = Client::remote(url)?;
    if let Some(key) = key() {
        if !is_private(url) {
            tracing::warn!(url, "the API key is sent in the clear; use https");
        }
        client = client.with_key(&key.trim().into())?;
    }
    // A server knows whom we speak for, whatever we were told.
    let identity = client.get("/v1/identity").await?;
    let tenant = identity["tenant"].as_str().unwrap_or(&globals.tenant).to_owned();
    Ok(Session { client, state: None, tenant })
}

/// Whether nobody on the way reads what is sent to this URL.
fn is_private(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return true };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    is_this_machine(authority.rsplit('@').next().unwrap_or_default())
}

/// The URL of the server that announced itself in `file`, if it lives.
async fn running(file: &Path) -> Option<String> {
    let announced: ServerFile = serde_json::from_slice(&tokio::fs::read(file).await.ok()?).ok()?;
    let client = Client::remote(&announced.url).ok()?;
    let alive = tokio::time::timeout(ALIVE_WITHIN, client.get("/healthz")).await.ok()?.ok()?;
    (alive["status"] == "ok").then_some(announced.url)
}

/// What a server on the folder would be set to: the flags we have, and the server's own environment variables, among
/// them the one that names its file.
pub fn settings(globals: &Globals) -> Outcome<Settings> {
    // We do not listen, so where a server would does not matter.
    let mut args = ServerArgs::default().with("listen", "127.0.0.1:0");
    args.config = std::env::var_os("ORCHESTRA_CONFIG").filter(|file| !file.is_empty()).map(PathBuf::from);
    if globals.tenant != DEFAULT_TENANT {
        args = args.with("tenant", &globals.tenant);
    }
    if let Some(data) = &globals.data {
        args = args.with("data", data);
    }
    Settings::from_args(&args)
        .map_err(|error| Failure::mistake(error.to_string(), "`orchestra serve --help` lists every setting"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_in_the_clear_to_this_machine_only() {
        for url in ["https://memory.example", "http://localhost:7070", "http://127.0.0.1:7070/", "http://[::1]:80"] {
            assert!(is_private(url), "{url}");
        }
        for url in [
            "http://memory.example",
            "http://10.0.0.7:7070",
            "http://localhost.example",
            "http://127.evil.example",
            "http://localhost@evil.example",
        ] {
            assert!(!is_private(url), "{url}");
        }
    }
}
