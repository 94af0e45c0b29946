//! That a deployment remembers, recalls, corrects, forgets and caches, as its callers see it.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Deployment;
use super::check::{Check, Verdict};
use super::workload;

/// Every check, in an order in which a failure is met before what follows from it.
pub const CHECKS: &[Check] = &[
    Check { name: "readiness", goal: "every tier is ready", look: readiness },
    Check { name: "remember and recall", goal: "what was written is found first", look: remember_and_recall },
    Check { name: "one key, one effect", goal: "a write that is sent twice is one memory", look: idempotency },
    Check { name: "update", goal: "the new text is read, the former one is in the history", look: update },
    Check { name: "forget", goal: "it is gone from reads and recalls", look: forget },
    Check { name: "cache", goal: "served in other words, not to the opposite", look: cache },
    Check { name: "invalidation", goal: "a changed memory takes its cached answers along", look: invalidation },
    Check { name: "session", goal: "a conversation is kept, promoted and ended", look: session },
    Check { name: "cache hit rate", goal: "> 85 % of the bundled workload", look: workload::hit_rate },
    Check { name: "false hits", goal: workload::FALSE_HITS_GOAL, look: workload::false_hits },
];

impl Deployment {
    /// Writes a memory and gives its id and the token of the write.
    fn remember(&self, text: &str) -> Result<(String, Value)> {
        let body = json!({ "text": text, "scope": { "user": self.user() }, "metadata": { "verify": self.run } });
        let written = self.client.post("/v1/memories", &body)?.ok()?;
        Ok((text_of(&written, "id")?, written["token"].clone()))
    }

    /// The texts that are recalled for a question by a reader who has seen that write.
    fn recall(&self, query: &str, token: &Value) -> Result<Vec<String>> {
        let scope = json!({ "user": self.user() });
        let body = json!({ "query": query, "scope": scope, "limit": 5, "at_least": token });
        let found = self.client.post("/v1/memories/search", &body)?.ok()?;
        found["results"].as_array().context("no results")?.iter().map(|result| text_of(result, "text")).collect()
    }

    fn store(&self, prompt: &str, response: &str, depends_on: &[&str]) -> Result<()> {
        let body = json!({
            "prompt": prompt, "response": response, "scope": { "user": self.user() }, "model": "verify",
            "depends_on": depends_on, "tags": [self.run], "ttl_seconds": 600,
        });
        self.client.post("/v1/cache/entries", &body)?.ok().map(drop)
    }

    fn look_up(&self, prompt: &str) -> Result<Value> {
        let body = json!({ "prompt": prompt, "scope": { "user": self.user() }, "model": "verify" });
        self.client.post("/v1/cache/lookup", &body)?.ok()
    }
}

/// A field that is a text.
pub fn text_of(value: &Value, field: &str) -> Result<String> {
    value[field].as_str().map(str::to_owned).with_context(|| format!("no {field} in {value}"))
}

fn readiness(deployment: &mut Deployment) -> Result<Verdict> {
    let ready = deployment.client.get("/readyz")?.ok()?;
    let tiers = [&ready["short_term"], &ready["medium_term"]];
    let seen = format!("cache on {}, memories on {}", tiers[0]["provider"], tiers[1]["provider"]).replace('"', "");
    Ok(Verdict::of(tiers.iter().all(|tier| tier["status"] == "ready"), seen))
}

fn remember_and_recall(deployment: &mut Deployment) -> Result<Verdict> {
    deployment.remember("Ada keeps her sailing boat in the harbour of Rostock")?;
    let (_, token) = deployment.remember("The printer on the second floor needs blue ink")?;
    let found = deployment.recall("Where does Ada keep her boat?", &token)?;
    let first = found.first().cloned().unwrap_or_default();
    Ok(Verdict::of(first.contains("Rostock"), format!("first of {}: {first}", found.len())))
}

fn idempotency(deployment: &mut Deployment) -> Result<Verdict> {
    let body = json!({
        "text": "The key to the shed hangs behind the door", "scope": { "user": deployment.user() },
        "metadata": { "verify": deployment.run },
    });
    let key = format!("verify-{}", deployment.run);
    let write = || deployment.client.send("POST", "/v1/memories", &[("idempotency-key", &key)], Some(&body))?.ok();
    let (first, second) = (write()?, write()?);
    let same = first["id"] == second["id"] && second["replayed"] == true;
    Ok(Verdict::of(
        same,
        if same { "the second answer is the first again" } else { "the second write had its own effect" },
    ))
}

fn update(deployment: &mut Deployment) -> Result<Verdict> {
    let (id, _) = deployment.remember("Grace takes the train to work")?;
    let path = format!("/v1/memories/{id}");
    deployment.client.send("PATCH", &path, &[], Some(&json!({ "text": "Grace takes the ferry to work" })))?.ok()?;
    let now = text_of(&deployment.client.get(&path)?.ok()?, "text")?;
    let history = deployment.client.get(&format!("{path}/history"))?.ok()?;
    let versions = history["versions"].as_array().map_or(0, Vec::len);
    Ok(Verdict::of(now.contains("ferry") && versions == 2, format!("{versions} versions, now: {now}")))
}

fn forget(deployment: &mut Deployment) -> Result<Verdict> {
    let (id, _) = deployment.remember("The alarm code of the studio is 7713")?;
    let path = format!("/v1/memories/{id}");
    let receipt = deployment.client.send("DELETE", &path, &[], None)?.ok()?;
    let status = deployment.client.get(&path)?.status;
    let found = deployment.recall("alarm code of the studio", &receipt["token"])?;
    let gone = status == 404 && !found.iter().any(|text| text.contains("7713"));
    Ok(Verdict::of(gone, format!("a read is answered with {status}, a recall gives {} others", found.len())))
}

fn cache(deployment: &mut Deployment) -> Result<Verdict> {
    deployment.store("How do I turn on dark mode?", "Settings, Display, Dark", &[])?;
    let hits = ["how do I turn on dark mode", "Please, how do I turn on dark mode?", "How do I turn off dark mode?"];
    let hits = hits.map(|prompt| deployment.look_up(prompt).map(|found| found["hit"] == true));
    let [same, alike, opposite] = hits;
    let (same, alike, opposite) = (same?, alike?, opposite?);
    let seen = format!("served to the same: {same}, in other words: {alike}, to the opposite: {opposite}");
    Ok(Verdict::of(same && alike && !opposite, seen))
}

fn invalidation(deployment: &mut Deployment) -> Result<Verdict> {
    let (id, _) = deployment.remember("The shop opens at nine")?;
    deployment.store("When does the shop open?", "At nine.", &[&id])?;
    let before = deployment.look_up("When does the shop open?")?["hit"] == true;
    let body = json!({ "text": "The shop opens at ten" });
    deployment.client.send("PATCH", &format!("/v1/memories/{id}"), &[], Some(&body))?.ok()?;
    let after = deployment.look_up("When does the shop open?")?["hit"] == true;
    Ok(Verdict::of(before && !after, format!("served before the change: {before}, after it: {after}")))
}

fn session(deployment: &mut Deployment) -> Result<Verdict> {
    let path = format!("/v1/sessions/verify-{}/working", deployment.run);
    let user = deployment.user();
    let messages = json!([
        { "role": "user", "content": "Which seat did I book?", "metadata": { "verify": deployment.run } },
        { "role": "assistant", "content": "The window seat, 14A.", "metadata": { "verify": deployment.run } },
    ]);
    let body = json!({ "scope": { "user": user }, "messages": messages, "ttl_seconds": 600 });
    deployment.client.post(&path, &body)?.ok()?;
    let window = deployment.client.get(&format!("{path}?user={user}"))?.ok()?;
    let kept = window["messages"].as_array().map_or(0, Vec::len);
    let scope = json!({ "scope": { "user": user } });
    let promoted = deployment.client.post(&format!("{path}/promote"), &scope)?.ok()?;
    let ended = deployment.client.send("DELETE", &format!("{path}?user={user}"), &[], None)?.ok()?;
    let left = deployment.client.get(&format!("{path}?user={user}"))?.ok()?["total"].clone();
    let count = promoted["promoted"].as_array().map_or(0, Vec::len);
    let seen = format!("{kept} messages, {count} promoted, {} cleared", ended["cleared"]);
    Ok(Verdict::of(kept == 2 && count > 0 && ended["cleared"] == 2 && left == 0, seen))
}
