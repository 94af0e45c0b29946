//! Writing, changing and forgetting memories.

use reqwest::Method;
use serde_json::{Value, json};

use super::{GROUP, KEPT_REQUESTS, Keyed, Mine, Token, Worker};
use crate::campaign::{Answered, cache_told};
use crate::client::{Reply, Request};
use crate::model::{Kind, Tick, View};
use crate::name::Name;

impl Worker {
    /// Writes memories, sent again until they are acknowledged: under a key, or with ids of the caller's.
    pub(super) async fn remember(&mut self, how_many: usize, keyed: bool) {
        let names: Vec<Name> = (0..how_many).map(|_| self.new_name()).collect();
        let mut memories: Vec<Value> = names.iter().map(|&name| self.draft(name)).collect();
        if !keyed {
            for memory in &mut memories {
                memory["id"] = json!(uuid::Uuid::now_v7());
            }
        }
        let body = if how_many == 1 { memories.remove(0) } else { json!({"memories": memories}) };
        let mut request = Request::new("remember", self.tenant, Method::POST, "/v1/memories").body(body);
        if keyed {
            request = request.header("idempotency-key", format!("{}-{}", self.campaign.seed, names[0]));
        }
        if let Some(ids) = self.write(&request, &names).await {
            let written = names.iter().zip(&ids);
            self.mine.extend(written.map(|(&name, id)| Mine {
                name,
                id: id.clone(),
                version: 1,
                attempt: 1,
                in_doubt: false,
            }));
            self.keep(keyed, request, names, ids);
        }
    }

    /// A write that is sent once: where its answer is lost, nobody knows whether it has its effect.
    pub(super) async fn remember_without_key(&mut self) {
        let how_many = if self.random.percent(30) { 3 } else { 1 };
        let names: Vec<Name> = (0..how_many).map(|_| self.new_name()).collect();
        let drafts: Vec<Value> = names.iter().map(|&name| self.draft(name)).collect();
        let request =
            Request::new("remember once", self.tenant, Method::POST, "/v1/memories").body(json!({"memories": drafts}));
        self.begin(&names);
        match self.campaign.once(&request, &names, &mut self.random).await.1 {
            Reply::Answered { status: 201, body } => {
                let ids = ids(&body);
                self.acknowledge(&names, &ids, &body);
                self.mine.extend(names.into_iter().zip(ids).map(|(name, id)| Mine {
                    name,
                    id,
                    version: 1,
                    attempt: 1,
                    in_doubt: false,
                }));
            }
            Reply::Answered { status, body } => {
                self.refuse(&names);
                self.campaign.senseless(&names, format!("a write was answered with {status}: {body}"));
            }
            Reply::Unsent => self.refuse(&names),
            Reply::InDoubt => self.lost_track.extend(names),
        }
    }

    /// Sends a write until it is acknowledged, and gives the ids.
    pub(super) async fn write(&mut self, request: &Request, names: &[Name]) -> Option<Vec<String>> {
        let since = self.begin(names);
        let Answered { status, body, .. } = self.campaign.until_answered(request, names, &mut self.random).await?;
        if status != 201 {
            self.campaign.senseless(names, format!("a write was answered with {status}: {body}"));
            return None;
        }
        let ids = ids(&body);
        self.acknowledge(names, &ids, &body);
        self.learn_token(&body, names[0], since);
        Some(ids)
    }

    /// Sends a write of before once more: its receipt is the same, and it has no effect.
    pub(super) async fn send_again(&mut self) {
        if self.keyed.is_empty() {
            return;
        }
        let at = self.random.below(self.keyed.len());
        let mut request = self.keyed[at].request.clone();
        request.kind = "replay";
        let names = self.keyed[at].names.clone();
        let Some(answer) = self.campaign.until_answered(&request, &names, &mut self.random).await else { return };
        if answer.status != 201 || ids(&answer.body) != self.keyed[at].ids {
            let what = format!("a replay was answered with {}: {}", answer.status, answer.body);
            self.campaign.model().violate(Kind::Duplicated, names[0], what);
        }
    }

    /// Changes a memory, if it is the version that this worker knows.
    pub(super) async fn update(&mut self) {
        if self.mine.is_empty() {
            return;
        }
        let at = self.random.below(self.mine.len());
        let Mine { name, id, version, .. } = self.mine[at].clone();
        let words = self.words();
        let (since, attempt) = {
            let mut model = self.campaign.model();
            (model.now(), model.write_sent(name))
        };
        let request = Request::new("update", self.tenant, Method::PATCH, format!("/v1/memories/{id}"))
            .header("if-match", format!("\"{version}\""))
            .body(json!({"text": name.text(attempt, &words)}));
        match self.campaign.once(&request, &[name], &mut self.random).await.1 {
            Reply::Answered { status: 200, body } => {
                self.campaign.model().write_known(name, attempt, &id, cache_told(&body));
                self.mine[at] = Mine { name, id, version: version + 1, attempt, in_doubt: false };
                self.learn_token(&body, name, since);
            }
            // One in doubt before this has had its effect meanwhile.
            Reply::Answered { status: 412, .. } if self.mine[at].in_doubt => {
                self.campaign.model().write_void(name, attempt);
                self.read_back(at).await;
            }
            Reply::Unsent => self.campaign.model().write_void(name, attempt),
            Reply::InDoubt => {
                self.mine[at].in_doubt = true;
                self.read_back(at).await;
            }
            Reply::Answered { status: 404, .. } => {
                let mut model = self.campaign.model();
                model.write_void(name, attempt);
                model.missed(name, View::Since(since), "update");
                drop(model);
                self.mine.swap_remove(at);
            }
            Reply::Answered { status, body } => {
                self.campaign.model().write_void(name, attempt);
                self.campaign.senseless(&[name], format!("an update was answered with {status}: {body}"));
            }
        }
    }

    /// Reads one of its memories whose state is in doubt.
    async fn read_back(&mut self, at: usize) {
        let Mine { name, id, .. } = self.mine[at].clone();
        let view = View::Since(self.campaign.model().now());
        let request = Request::new("get", self.tenant, Method::GET, format!("/v1/memories/{id}"));
        match self.campaign.until_answered(&request, &[name], &mut self.random).await {
            Some(Answered { status: 200, body, server, .. }) => {
                let text = body["text"].as_str().unwrap_or_default();
                let seen = self.campaign.model().saw(self.tenant, &id, text, view, &format!("get, server {server}"));
                if let (Some((_, attempt)), Some(version)) = (seen, body["version"].as_u64()) {
                    // The same version as before: the update may have its effect yet, until another takes its place.
                    let in_doubt = self.mine[at].in_doubt && attempt == self.mine[at].attempt;
                    self.mine[at] = Mine { name, id, version, attempt, in_doubt };
                }
            }
            Some(Answered { status: 404, server, .. }) => {
                self.campaign.model().missed(name, view, &format!("get, server {server}"));
                self.mine.swap_remove(at);
            }
            Some(Answered { status, body, .. }) => {
                self.campaign.senseless(&[name], format!("a get was answered with {status}: {body}"));
            }
            None => {}
        }
    }

    /// Forgets one memory, by its path or by its id in a list.
    pub(super) async fn forget_one(&mut self) {
        if self.mine.len() < 4 {
            return;
        }
        let at = self.random.below(self.mine.len());
        let Mine { name, id, .. } = self.mine.swap_remove(at);
        let request = if self.random.percent(50) {
            Request::new("forget", self.tenant, Method::DELETE, format!("/v1/memories/{id}"))
        } else {
            let body = json!({"ids": [id]});
            Request::new("forget", self.tenant, Method::POST, "/v1/memories/forget").body(body)
        };
        self.forget(&request, &[name]).await;
    }

    /// Forgets the memories of one group by a filter, where nothing of it is in doubt.
    pub(super) async fn forget_group(&mut self) {
        let Some(Mine { name, .. }) = self.certain() else { return };
        let group = group(name);
        if self.lost_track.iter().any(|&lost| self::group(lost) == group) {
            return;
        }
        let (going, staying) = self.mine.drain(..).partition(|mine| self::group(mine.name) == group);
        self.mine = staying;
        let going: Vec<Mine> = going;
        let names: Vec<Name> = going.iter().map(|mine| mine.name).collect();
        // A deletion in doubt may have its effect later: nothing new comes into this group.
        self.named = (self.named / GROUP + 1) * GROUP - 1;
        let body = json!({"scope": {"user": self.user()}, "filter": {"metadata.group": group}});
        let request = Request::new("forget group", self.tenant, Method::POST, "/v1/memories/forget").body(body);
        self.forget(&request, &names).await;
    }

    /// Sends a deletion until it is acknowledged.
    pub(super) async fn forget(&mut self, request: &Request, names: &[Name]) {
        let since = {
            let mut model = self.campaign.model();
            for &name in names {
                model.delete_sent(name);
            }
            model.now()
        };
        match self.campaign.until_answered(request, names, &mut self.random).await {
            Some(Answered { status: 200, body, .. }) => {
                let cache_told = cache_told(&body);
                let mut model = self.campaign.model();
                for &name in names {
                    model.delete_known(name, cache_told);
                }
                drop(model);
                if let Some(&name) = names.first() {
                    self.learn_token(&body, name, since);
                }
            }
            Some(Answered { status, body, .. }) => {
                self.campaign.senseless(names, format!("a deletion was answered with {status}: {body}"));
            }
            None => self.lost_track.extend(names),
        }
    }

    fn draft(&mut self, name: Name) -> Value {
        let text = name.text(1, &self.words());
        let metadata = json!({"name": name.to_string(), "group": group(name)});
        json!({"text": text, "scope": {"user": self.user()}, "metadata": metadata})
    }

    /// Tells the model that first attempts are sent, and gives since when.
    fn begin(&self, names: &[Name]) -> Tick {
        let mut model = self.campaign.model();
        for &name in names {
            model.write_sent(name);
        }
        if names.len() > 1 {
            model.batch_sent(names);
        }
        model.now()
    }

    fn acknowledge(&self, names: &[Name], ids: &[String], body: &Value) {
        if names.len() != ids.len() {
            self.campaign.senseless(names, format!("{} memories were acknowledged by {body}", names.len()));
            return;
        }
        let mut model = self.campaign.model();
        for (&name, id) in names.iter().zip(ids) {
            model.write_known(name, 1, id, true);
        }
    }

    fn refuse(&self, names: &[Name]) {
        let mut model = self.campaign.model();
        for &name in names {
            model.write_void(name, 1);
        }
    }

    pub(super) fn keep(&mut self, keyed: bool, request: Request, names: Vec<Name>, ids: Vec<String>) {
        if keyed {
            self.keyed.push_back(Keyed { request, names, ids });
            if self.keyed.len() > KEPT_REQUESTS {
                self.keyed.pop_front();
            }
        }
    }

    fn learn_token(&mut self, body: &Value, name: Name, sent: Tick) {
        if let Some(token) = body["token"].as_str() {
            let known = self.campaign.model().now();
            self.last = Some(Token { token: token.to_owned(), name, sent, known });
        }
    }
}

/// The group of a memory, which its metadata says.
fn group(name: Name) -> String {
    format!("g{}", name.number / GROUP)
}

/// The ids of a receipt, of one memory or of many.
fn ids(body: &Value) -> Vec<String> {
    let one = |body: &Value| body["id"].as_str().map(str::to_owned);
    match body["items"].as_array() {
        Some(items) => items.iter().filter_map(one).collect(),
        None => one(body).into_iter().collect(),
    }
}
