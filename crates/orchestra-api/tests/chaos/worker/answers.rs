//! Cached answers, each about one memory: what it says is the memory's text when it was filed.

use reqwest::Method;
use serde_json::json;

use super::{Mine, Worker};
use crate::campaign::Campaign;
use crate::client::{Reply, Request};
use crate::name::{Name, TENANTS};
use memory_testkit::random::Random;

impl Worker {
    /// Files an answer about a memory, in place of the one before.
    pub(super) async fn file_answer(&mut self) {
        let Some(Mine { name, id, version, attempt, .. }) = self.certain() else { return };
        self.campaign.model().answer_sent(name);
        let body = json!({
            "prompt": name.question(), "response": name.text(attempt, "it is said"), "model": name.to_string(),
            "made_of": [{"id": id, "version": version}],
        });
        let request = Request::new("file answer", self.tenant, Method::POST, "/v1/cache/entries").body(body);
        match self.campaign.once(&request, &[name], &mut self.random).await.1 {
            // Where nobody heard of it, it may be filed yet, and is as right then as now: not after the memory was changed.
            // One that another worker forgot meanwhile is a conflict.
            Reply::Answered { status: 200 | 201 | 409, .. } | Reply::Unsent | Reply::InDoubt => {}
            Reply::Answered { status, body } => {
                self.campaign.senseless(&[name], format!("filing an answer was answered with {status}: {body}"));
            }
        }
    }

    /// Asks for an answer, now and then for one of another tenant.
    pub(super) async fn look_up(&mut self) {
        let of = if self.random.percent(10) { self.random.below(TENANTS.len()) } else { self.tenant };
        let Some(name) = self.campaign.model().any_answered(of, &mut self.random) else { return };
        look_up(&self.campaign, self.tenant, name, false, &mut self.random).await;
    }
}

/// Asks for an answer, and judges it. Whether it is one that was not to be served; `None` when nobody answered.
pub async fn look_up(
    campaign: &Campaign,
    tenant: usize,
    name: Name,
    settled: bool,
    random: &mut Random,
) -> Option<bool> {
    let since = campaign.model().now();
    let body = json!({"prompt": name.question(), "model": name.to_string()});
    let request = Request::new("lookup", tenant, Method::POST, "/v1/cache/lookup").body(body);
    let (server, reply) = campaign.once(&request, &[name], random).await;
    let Reply::Answered { status: 200, body } = reply else { return None };
    let Some(response) = body["response"].as_str() else { return Some(false) };
    let mut model = campaign.model();
    let is_outdated = model.is_outdated(response);
    model.hit(tenant, name, response, since, settled, &format!("lookup, server {server}"));
    Some(is_outdated)
}
