//! Conversations: turns are added at the end, read in their order, and forgotten together.

use reqwest::Method;
use serde_json::{Value, json};

use super::Worker;
use super::reads::shown;
use crate::client::{Reply, Request};
use crate::model::{Kind, View};
use crate::name::Name;

/// A worker has so many conversations at once.
const SESSIONS: usize = 3;

/// A conversation that goes on.
pub struct Session {
    id: String,
    /// Its turns, in their order.
    turns: Vec<Name>,
}

impl Worker {
    /// Adds turns to a conversation, sent again until they are acknowledged.
    pub(super) async fn say(&mut self) {
        let how_many = 1 + self.random.below(3);
        let names: Vec<Name> = (0..how_many).map(|_| self.new_name()).collect();
        if self.sessions.len() < SESSIONS {
            self.sessions.push(Session { id: format!("talk-{}", names[0]), turns: Vec::new() });
        }
        let at = self.random.below(self.sessions.len());
        let messages: Vec<Value> = names
            .iter()
            .map(|name| {
                let metadata = json!({"name": name.to_string()});
                json!({"role": "user", "content": name.text(1, &self.words()), "metadata": metadata})
            })
            .collect();
        let body = json!({"scope": {"user": self.user()}, "messages": messages});
        let path = format!("/v1/sessions/{}/messages", self.sessions[at].id);
        let request = Request::new("say", self.tenant, Method::POST, path)
            .header("idempotency-key", format!("{}-{}", self.campaign.seed, names[0]))
            .body(body);
        match self.write(&request, &names).await {
            Some(ids) => {
                self.sessions[at].turns.extend(&names);
                self.keep(true, request, names, ids);
            }
            // Where its turns stand is not known: it is left alone.
            None => drop(self.sessions.swap_remove(at)),
        }
    }

    /// Reads a conversation: its turns are all there, in their order.
    pub(super) async fn read_session(&mut self) {
        let Some(Session { id, turns }) = self.random.one_of(&self.sessions) else { return };
        let (id, turns) = (id.clone(), turns.clone());
        let view = View::Since(self.campaign.model().now());
        let path = format!("/v1/sessions/{id}/messages?user={}&limit=1000", self.user());
        let request = Request::new("list", self.tenant, Method::GET, path);
        let (server, reply) = self.campaign.once(&request, &turns, &mut self.random).await;
        let Reply::Answered { status: 200, body } = reply else { return };
        let place = format!("session, server {server}");
        let mut model = self.campaign.model();
        let mut seen = Vec::new();
        for (id, text) in shown(&body["messages"]) {
            seen.extend(model.saw(self.tenant, id, text, view, &place).map(|(name, _)| name));
        }
        for &name in turns.iter().filter(|name| !seen.contains(name)) {
            model.missed(name, view, &place);
        }
        if let Some(pair) = seen.windows(2).find(|pair| pair[0] >= pair[1]) {
            let kind = if pair[0] == pair[1] { Kind::Duplicated } else { Kind::Torn };
            model.violate(kind, pair[1], format!("{place}: it comes after {}", pair[0]));
        }
    }

    /// Forgets a conversation.
    pub(super) async fn forget_session(&mut self) {
        if self.sessions.is_empty() {
            return;
        }
        let at = self.random.below(self.sessions.len());
        let Session { id, turns } = self.sessions.swap_remove(at);
        let path = format!("/v1/sessions/{id}/messages?user={}", self.user());
        let request = Request::new("forget session", self.tenant, Method::DELETE, path);
        self.forget(&request, &turns).await;
    }
}
