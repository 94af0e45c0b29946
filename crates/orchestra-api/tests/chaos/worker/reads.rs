//! Reading: one memory, its history, lists, searches, and what belongs to others.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Token, WORDS, Worker};
use crate::campaign::Campaign;
use crate::client::{Reply, Request};
use crate::model::{Kind, Model, Tick, View};
use crate::name::{Name, TENANTS};
use memory_testkit::random::Random;

impl Worker {
    /// Any memory of the tenant, there or not.
    pub(super) async fn get(&mut self) {
        let Some((name, id)) = self.campaign.model().any(self.tenant, &mut self.random) else { return };
        get(&self.campaign, name, &id, &mut self.random).await;
    }

    /// The versions of any memory of the tenant.
    pub(super) async fn history(&mut self) {
        let Some((name, id)) = self.campaign.model().any(self.tenant, &mut self.random) else { return };
        history(&self.campaign, name, &id, &mut self.random).await;
    }

    /// Everything that this worker has, to the last page.
    pub(super) async fn list(&mut self) {
        let view = View::Since(self.campaign.model().now());
        let scope = format!("user=w{}", self.worker);
        let server = self.random.below(self.campaign.client.servers());
        let Some(seen) = list(&self.campaign, self.tenant, server, &scope, view).await else { return };
        let mut model = self.campaign.model();
        for name in model.names(self.tenant) {
            if name.worker == self.worker && !seen.contains(&name) {
                model.missed(name, view, &format!("list, server {server}"));
            }
        }
    }

    /// What this worker wrote or forgot last is seen by a search that carries its token, or the search is refused.
    pub(super) async fn search_with_token(&mut self) {
        let Some(Token { token, name, sent, known }) = self.last.clone() else { return };
        let query = format!("{name} {}", self.words());
        let filter = json!({"metadata.name": name.to_string()});
        let body = json!({"query": query, "scope": {"user": self.user()}, "at_least": token, "filter": filter});
        let request = Request::new("search", self.tenant, Method::POST, "/v1/memories/search").body(body);
        let (server, reply) = self.campaign.once(&request, &[name], &mut self.random).await;
        let Reply::Answered { status: 200, body } = reply else { return };
        {
            let place = format!("search with the token, server {server}");
            let mut model = self.campaign.model();
            if !judge(&mut model, self.tenant, &body, View::Since(known), &place).contains(&name) {
                model.missed(name, View::Since(known), &place);
            }
        }
        self.search_beside(&token, sent).await;
    }

    /// Others' memories are seen with the token as they were when the write that gave it was sent.
    async fn search_beside(&mut self, token: &str, sent: Tick) {
        let body = json!({"query": self.words(), "at_least": token, "limit": 20});
        let request = Request::new("search", self.tenant, Method::POST, "/v1/memories/search").body(body);
        let (server, reply) = self.campaign.once(&request, &[], &mut self.random).await;
        let Reply::Answered { status: 200, body } = reply else { return };
        let place = format!("search of the tenant with a token, server {server}");
        judge(&mut self.campaign.model(), self.tenant, &body, View::Since(sent), &place);
    }

    /// A replica may be behind; what it shows is this tenant's even so.
    pub(super) async fn search_without_token(&mut self) {
        let tenant = self.random.below(TENANTS.len());
        let stranger = self.campaign.model().any(tenant, &mut self.random).map(|(name, _)| name.to_string());
        let query = format!("{} {}", stranger.unwrap_or_default(), self.words());
        let request = Request::new("search", self.tenant, Method::POST, "/v1/memories/search")
            .body(json!({"query": query, "limit": 20}));
        let (server, reply) = self.campaign.once(&request, &[], &mut self.random).await;
        let Reply::Answered { status: 200, body } = reply else { return };
        let place = format!("search, server {server}");
        judge(&mut self.campaign.model(), self.tenant, &body, View::Anything, &place);
    }

    /// Another tenant's memory is neither shown nor changed nor forgotten, whoever knows its id.
    pub(super) async fn ask_for_others(&mut self) {
        let other = (self.tenant + 1 + self.random.below(TENANTS.len() - 1)) % TENANTS.len();
        let Some((name, id)) = self.campaign.model().any(other, &mut self.random) else { return };
        let path = format!("/v1/memories/{id}");
        let word = self.random.one_of(WORDS).copied().unwrap_or_default();
        let (request, allowed) = match self.random.below(3) {
            0 => (Request::new("foreign", self.tenant, Method::GET, path), 404),
            1 => {
                let request = Request::new("foreign", self.tenant, Method::PATCH, path);
                (request.body(json!({"text": word})), 404)
            }
            _ => (Request::new("foreign", self.tenant, Method::DELETE, path), 200),
        };
        let (server, reply) = self.campaign.once(&request, &[name], &mut self.random).await;
        let Reply::Answered { status, body } = reply else { return };
        let forgot = body["forgotten"].as_array().is_some_and(|ids| !ids.is_empty());
        if status != allowed || forgot {
            let what = format!("server {server} answered another tenant's {} with {status}: {body}", request.method);
            self.campaign.model().violate(Kind::Leaked, name, what);
        }
    }
}

/// Reads one memory and judges it.
pub async fn get(campaign: &Campaign, name: Name, id: &str, random: &mut Random) {
    let view = View::Since(campaign.model().now());
    let request = Request::new("get", name.tenant, Method::GET, format!("/v1/memories/{id}"));
    match campaign.once(&request, &[name], random).await {
        (server, Reply::Answered { status: 200, body }) => {
            let text = body["text"].as_str().unwrap_or_default();
            campaign.model().saw(name.tenant, id, text, view, &format!("get, server {server}"));
        }
        (server, Reply::Answered { status: 404, .. }) => {
            campaign.model().missed(name, view, &format!("get, server {server}"));
        }
        (_, Reply::Answered { status, body }) => {
            campaign.senseless(&[name], format!("a get was answered with {status}: {body}"));
        }
        _ => {}
    }
}

/// Reads a memory's versions and judges them.
pub async fn history(campaign: &Campaign, name: Name, id: &str, random: &mut Random) {
    let view = View::Since(campaign.model().now());
    let request = Request::new("history", name.tenant, Method::GET, format!("/v1/memories/{id}/history"));
    match campaign.once(&request, &[name], random).await {
        (server, Reply::Answered { status: 200, body }) => {
            let place = format!("history, server {server}");
            let texts: Vec<&str> =
                body["versions"].as_array().into_iter().flatten().filter_map(|one| one["text"].as_str()).collect();
            let mut model = campaign.model();
            let Some((current, former)) = texts.split_last() else { return };
            for text in former {
                model.saw_former(name.tenant, id, text, view, &place);
            }
            model.saw(name.tenant, id, current, view, &place);
        }
        (server, Reply::Answered { status: 404, .. }) => {
            campaign.model().missed(name, view, &format!("history, server {server}"));
        }
        _ => {}
    }
}

/// Lists everything of a scope, judges what is there and gives its names; `None` when a page was not given.
pub async fn list(campaign: &Campaign, tenant: usize, server: usize, scope: &str, view: View) -> Option<HashSet<Name>> {
    let mut seen = HashSet::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/memories?limit=200{cursor}&{scope}");
        let request = Request::new("list", tenant, Method::GET, path.trim_end_matches('&'));
        let (_, Reply::Answered { status: 200, body }) = campaign.client.send(server, &request).await else {
            return None;
        };
        let place = format!("list, server {server}");
        let mut model = campaign.model();
        for (id, text) in shown(&body["memories"]) {
            let Some((name, _)) = model.saw(tenant, id, text, view, &place) else { continue };
            if !seen.insert(name) {
                model.violate(Kind::Duplicated, name, format!("{place}: listed twice"));
            }
        }
        match body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Some(seen),
        }
    }
}

/// Judges the results of a search, and gives their names.
pub fn judge(model: &mut Model, tenant: usize, body: &Value, view: View, place: &str) -> HashSet<Name> {
    let results = shown(&body["results"]);
    results.filter_map(|(id, text)| model.saw(tenant, id, text, view, place)).map(|(name, _)| name).collect()
}

/// The ids and texts of a list of memories.
pub fn shown(memories: &Value) -> impl Iterator<Item = (&str, &str)> {
    let memories = memories.as_array().map(Vec::as_slice).unwrap_or_default();
    memories
        .iter()
        .map(|memory| (memory["id"].as_str().unwrap_or_default(), memory["text"].as_str().unwrap_or_default()))
}
