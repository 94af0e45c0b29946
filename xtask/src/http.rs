//! Calls of a server over HTTP, on connections that are kept open. What it answers is given as it came: no status is an
//! error, no redirect is followed.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use ureq::http::{HeaderMap, Request};
use ureq::{Agent, Proxy};

/// Longer than any answer of a server that is well.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The OpenAPI document is the largest answer.
const MOST_BYTES: u64 = 64 << 20;

/// A server, and the key that is shown to it.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    url: String,
    bearer: Option<String>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null where it is no JSON.
    pub body: Value,
}

impl Client {
    /// Calls the server at `url`, with `bearer` as the key or token where there is one.
    pub fn new(url: &str, bearer: Option<String>) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        // A proxy of the environment does not reach this machine's own addresses.
        let proxy = if is_loopback(&url) { None } else { Proxy::try_from_env() };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(TIMEOUT))
            .proxy(proxy);
        Self { agent: config.build().into(), url, bearer }
    }

    /// The same server, with another key or none.
    pub fn with_bearer(&self, bearer: Option<String>) -> Self {
        Self { bearer, ..self.clone() }
    }

    /// Where the server is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let what = || format!("{method} {}{path}", self.url);
        let answer = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string());
                self.agent.run(request.with_context(what)?)
            }
            None => self.agent.run(request.body(()).with_context(what)?),
        };
        let mut answer = answer.with_context(what)?;
        let text = answer.body_mut().with_config().limit(MOST_BYTES).read_to_vec().with_context(what)?;
        Ok(Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: serde_json::from_slice(&text).unwrap_or(Value::Null),
        })
    }

    /// Reads.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], None)
    }

    /// Sends a body.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("POST", path, &[], Some(body))
    }
}

impl Answer {
    /// The body, where it is a success.
    ///
    /// # Errors
    /// When it is none; the message has what the server said.
    pub fn ok(self) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("answered {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }
}

/// Whether a URL names an address that only this machine reaches.
pub fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    #[test]
    fn loopback_is_told_by_the_host_alone() {
        for url in ["http://127.0.0.1:7070", "http://localhost/x", "https://[::1]:8443/"] {
            assert!(super::is_loopback(url), "{url}");
        }
        for url in ["https://example.com", "https://127.0.0.1.example.com", "https://example.com/127.0.0.1"] {
            assert!(!super::is_loopback(url), "{url}");
        }
    }
}
