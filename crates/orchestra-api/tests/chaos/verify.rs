//! The last look: everything is well again, nothing is under way, and all that was ever acknowledged is looked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::campaign::Campaign;
use crate::client::{Reply, Request};
use crate::model::{Kind, View};
use crate::name::{Name, TENANTS};
use crate::worker::{answers, reads};
use memory_testkit::random::Random;

/// How long the cache and the replica may take to catch up.
const PATIENCE: Duration = Duration::from_secs(45);
/// As many memories of a tenant are searched for, with all of them listed.
const SEARCHED: usize = 60;

/// Looks at everything of every tenant, through every server.
pub async fn verify(campaign: &Arc<Campaign>) {
    let deadline = Instant::now() + PATIENCE;
    let mut tenants = JoinSet::new();
    for tenant in 0..TENANTS.len() {
        let campaign = Arc::clone(campaign);
        tenants.spawn(async move { verify_tenant(&campaign, tenant, deadline).await });
    }
    tenants.join_all().await;
    let mut model = campaign.model();
    let view = View::Since(model.now());
    model.check_batches(view);
}

async fn verify_tenant(campaign: &Campaign, tenant: usize, deadline: Instant) {
    let mut random = Random::of_part(campaign.seed, 1000 + tenant as u64);
    for server in 0..campaign.client.servers() {
        verify_list(campaign, tenant, server, deadline).await;
    }
    // A write that was never there has no id.
    let written: Vec<(Name, String)> = {
        let model = campaign.model();
        model.names(tenant).into_iter().filter_map(|name| Some((name, model.id(name)?))).collect()
    };
    for (name, id) in &written {
        // What is there was just listed, with its text.
        if campaign.model().is_forgotten(*name) {
            reads::get(campaign, *name, id, &mut random).await;
            reads::history(campaign, *name, id, &mut random).await;
        }
    }
    for _ in 0..SEARCHED {
        if let Some((name, _)) = random.one_of(&written) {
            verify_search(campaign, *name, &mut random, deadline).await;
        }
    }
    let answered = campaign.model().answered(tenant);
    for name in answered {
        verify_answer(campaign, name, &mut random, deadline).await;
    }
}

/// Everything is listed as it is known to be, and counted so.
async fn verify_list(campaign: &Campaign, tenant: usize, server: usize, deadline: Instant) {
    let view = View::Since(campaign.model().now());
    let seen = loop {
        match reads::list(campaign, tenant, server, "", view).await {
            Some(seen) => break seen,
            None if Instant::now() > deadline => {
                return campaign.senseless(&[], format!("server {server} lists nothing when all is well"));
            }
            None => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    };
    let place = format!("last list, server {server}");
    let (at_least, at_most) = {
        let mut model = campaign.model();
        for name in model.names(tenant) {
            if !seen.contains(&name) {
                model.missed(name, view, &place);
            }
        }
        model.count(tenant)
    };
    if !(at_least..=at_most).contains(&seen.len()) {
        let what = format!("{place}: {} memories of {}, not {at_least} to {at_most}", seen.len(), TENANTS[tenant]);
        campaign.senseless(&[], what);
    }
    let request = Request::new("stats", tenant, Method::GET, "/v1/stats");
    let (_, reply) = campaign.client.send(server, &request).await;
    let counted = if let Reply::Answered { body, .. } = reply { body["store"]["memories"].as_u64() } else { None };
    if counted != Some(seen.len() as u64) {
        campaign.senseless(&[], format!("{place}: {} memories are listed, {counted:?} are counted", seen.len()));
    }
}

/// The replica has what is there, and nothing else, a moment later at the latest.
async fn verify_search(campaign: &Campaign, name: Name, random: &mut Random, deadline: Instant) {
    let view = View::Since(campaign.model().now());
    let filter = json!({"metadata.name": name.to_string()});
    let request = Request::new("search", name.tenant, Method::POST, "/v1/memories/search")
        .body(json!({"query": name.to_string(), "filter": filter}));
    loop {
        let (server, reply) = campaign.once(&request, &[name], random).await;
        let is_late = Instant::now() > deadline;
        if let Reply::Answered { status: 200, body } = reply {
            let is_there = reads::shown(&body["results"]).next().is_some();
            if is_there != campaign.model().is_forgotten(name) || is_late {
                let mut model = campaign.model();
                let place = format!("last search, server {server}");
                if !reads::judge(&mut model, name.tenant, &body, view, &place).contains(&name) {
                    model.missed(name, view, &place);
                }
                return;
            }
        } else if is_late {
            return campaign.senseless(&[name], "it is not searched for when all is well".into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// No answer is served that is about what was changed since.
async fn verify_answer(campaign: &Campaign, name: Name, random: &mut Random, deadline: Instant) {
    loop {
        let is_late = Instant::now() > deadline;
        match answers::look_up(campaign, name.tenant, name, is_late, random).await {
            Some(false) => return,
            Some(true) if is_late => return,
            None if is_late => {
                return campaign.model().violate(Kind::Senseless, name, "the cache does not answer".into());
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
