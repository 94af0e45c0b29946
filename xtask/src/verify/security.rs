//! That nobody gets what is not theirs: probes over HTTP, and a look at what the deployment is made of.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::check::{Check, Verdict};
use super::functionality::text_of;
use super::{Deployment, roles, scan};
use crate::http::{Client, is_loopback};
use crate::process::{cargo, output, root};

/// Every check.
pub const CHECKS: &[Check] = &[
    Check { name: "transport", goal: "TLS, or only this machine reaches it", look: transport },
    Check { name: "authentication", goal: "every route but the public ones asks for a key", look: authentication },
    Check { name: "tenants apart", goal: "another tenant's key sees and changes nothing", look: isolation },
    Check { name: "tenant from identity", goal: "no request names a tenant", look: tenant_named },
    Check { name: "headers", goal: "an answer is no page, in no frame, and is not kept", look: headers },
    Check { name: "errors", goal: "problem documents, without the server's insides", look: errors },
    Check { name: "keys in the repository", goal: "no key material in what git tracks", look: scan::repository },
    Check { name: "keys in state and logs", goal: "no secret outside of its file", look: scan::deployment },
    Check { name: "database role", goal: "the server's role is under row security", look: database_role },
    Check { name: "workload identity", goal: "numeric ids in the condition, no key resource", look: roles::identity },
    Check { name: "least privilege", goal: "roles as in allowed_roles.txt", look: roles::granted },
    Check { name: "container", goal: "no root, no shell, nothing writable", look: container },
    Check { name: "dependencies", goal: "as deny.toml allows", look: dependencies },
    Check { name: "advisories", goal: "none is known of a dependency", look: advisories },
];

/// The routes that need no key; `/metrics` only where nobody else reaches it.
const PUBLIC: &[&str] = &["/docs", "/healthz", "/openapi.json", "/readyz"];
/// A word that is in no answer but of what is not theirs: ids hold none.
const MARK: &str = "marzipan";
/// In place of an id in a path.
const AN_ID: &str = "01890000-0000-7000-8000-000000000000";

fn transport(deployment: &mut Deployment) -> Result<Verdict> {
    let url = deployment.client.url().to_owned();
    let Some(rest) = url.strip_prefix("https://") else {
        let seen = format!("{url} is a loopback address, so there is nothing to encrypt on the way");
        return Ok(Verdict::of(
            is_loopback(&url),
            if is_loopback(&url) { seen } else { format!("{url} is in the clear") },
        ));
    };
    // That it answers at all says that its certificate is in order: the client checks it.
    deployment.client.get("/healthz")?;
    let plain = Client::new(&format!("http://{rest}"), None).get("/healthz").map(|answer| answer.status);
    Ok(match plain {
        Ok(status) if status < 300 => Verdict::Fail(format!("plain HTTP is answered too, with {status}")),
        Ok(status) => Verdict::Pass(format!("the certificate is in order, plain HTTP is answered with {status}")),
        Err(_) => Verdict::Pass("the certificate is in order, plain HTTP is not answered".into()),
    })
}

fn authentication(deployment: &mut Deployment) -> Result<Verdict> {
    let document = deployment.client.get("/openapi.json")?.ok()?;
    let nobody = deployment.nobody();
    let mut routes: Vec<(String, String)> = vec![("POST".into(), "/mcp".into())];
    let mut public = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().context("the document has no paths")? {
        for (method, operation) in methods.as_object().context("a path has no methods")? {
            let is_public = operation["security"].as_array().is_none_or(Vec::is_empty);
            if is_public {
                public.insert(path.clone());
            } else {
                routes.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    let undeclared: Vec<_> = public.iter().filter(|path| !PUBLIC.contains(&path.as_str())).collect();
    if !undeclared.is_empty() {
        return Ok(Verdict::Fail(format!("public, and not meant to be: {undeclared:?}")));
    }
    let own_machine = is_loopback(deployment.client.url());
    let mut open = Vec::new();
    for (method, path) in &routes {
        if own_machine && path == "/metrics" {
            continue;
        }
        let probe = path.replace("{id}", AN_ID);
        let body = (method != "GET" && method != "DELETE").then(|| json!({}));
        for client in [&nobody, &nobody.with_bearer(Some("om_00000000_0".into()))] {
            let status = client.send(method, &probe, &[], body.as_ref())?.status;
            // In front of Cloud Run an invoker without a right is told 403.
            if !matches!(status, 401 | 403) {
                open.push(format!("{method} {path}: {status}"));
            }
        }
    }
    Ok(match open.first() {
        None => {
            Verdict::Pass(format!("{} routes refuse no key and a wrong one; {} are public", routes.len(), public.len()))
        }
        Some(_) => Verdict::Fail(open.join(", ")),
    })
}

fn isolation(deployment: &mut Deployment) -> Result<Verdict> {
    let Some(other) = deployment.other.clone() else {
        return Ok(Verdict::Skipped("it takes a key of another tenant: --other-api-key-env".into()));
    };
    let [ours, theirs] = [&deployment.client, &other].map(|client| client.get("/v1/identity")?.ok());
    let (ours, theirs) = (text_of(&ours?, "tenant")?, text_of(&theirs?, "tenant")?);
    if ours == theirs {
        return Ok(Verdict::Fail(format!("both keys are of the tenant {ours}")));
    }
    let secret = format!("The safe of {} opens with {MARK}", deployment.run);
    let user = deployment.user();
    let body = json!({ "text": secret, "scope": { "user": user }, "metadata": { "verify": deployment.run } });
    let id = text_of(&deployment.client.post("/v1/memories", &body)?.ok()?, "id")?;
    let cached = json!({ "prompt": secret, "response": MARK, "scope": { "user": user }, "tags": [deployment.run], "ttl_seconds": 600 });
    deployment.client.post("/v1/cache/entries", &cached)?.ok()?;
    let session = format!("/v1/sessions/{user}/working");
    let message =
        json!({ "scope": { "user": user }, "messages": [{ "role": "user", "content": secret }], "ttl_seconds": 600 });
    deployment.client.post(&session, &message)?.ok()?;

    let path = format!("/v1/memories/{id}");
    let mut leaks = Vec::new();
    let mut probe =
        |name: &str, method: &str, path: &str, body: Option<Value>, refused: fn(u16, &Value) -> bool| -> Result<()> {
            let answer = other.send(method, path, &[], body.as_ref())?;
            let told = answer.body.to_string();
            if told.contains(MARK) || !refused(answer.status, &answer.body) {
                leaks.push(format!("{name}: {}", answer.status));
            }
            Ok(())
        };
    let absent = |status: u16, _: &Value| status == 404;
    probe("read", "GET", &path, None, absent)?;
    probe("history", "GET", &format!("{path}/history"), None, absent)?;
    probe("change", "PATCH", &path, Some(json!({ "text": "mine now" })), absent)?;
    probe("delete", "DELETE", &path, None, |_, _| true)?;
    probe("list", "GET", &format!("/v1/memories?user={user}"), None, |status, body| {
        status == 200 && none(&body["memories"])
    })?;
    let search = json!({ "query": secret, "scope": { "user": user } });
    probe("search", "POST", "/v1/memories/search", Some(search), |status, body| {
        status == 200 && none(&body["results"])
    })?;
    let by_id = json!({ "ids": [id] });
    probe("forget", "POST", "/v1/memories/forget", Some(by_id), |_, _| true)?;
    let look_up = json!({ "prompt": "The safe opens with what?", "scope": { "user": user } });
    probe("cache", "POST", "/v1/cache/lookup", Some(look_up), |_, body| {
        body["hit"] == false && body["near_miss"].is_null()
    })?;
    let same = json!({ "tag": deployment.run });
    probe("invalidate", "POST", "/v1/cache/invalidate", Some(same), |_, body| body["removed"] == 0)?;
    probe("session", "GET", &format!("{session}?user={user}"), None, |_, body| none(&body["messages"]))?;
    // Whatever the others were told, nothing may have changed.
    let still = deployment.client.get(&path)?.ok()?["text"] == *secret;
    deployment.client.send("DELETE", &format!("{session}?user={user}"), &[], None)?.ok()?;
    if !still {
        leaks.push("the memory was changed or removed".into());
    }
    let seen = format!("10 probes of {theirs} against {ours}");
    Ok(if leaks.is_empty() { Verdict::Pass(seen) } else { Verdict::Fail(format!("{seen}: {}", leaks.join(", "))) })
}

fn none(list: &Value) -> bool {
    list.as_array().is_some_and(Vec::is_empty)
}

fn tenant_named(deployment: &mut Deployment) -> Result<Verdict> {
    let scope = json!({ "tenant": "neighbour" });
    let probes = [
        ("POST", "/v1/memories", json!({ "text": "x", "scope": scope })),
        ("POST", "/v1/memories/search", json!({ "query": "x", "scope": scope })),
        ("POST", "/v1/cache/lookup", json!({ "prompt": "x", "scope": scope })),
        ("POST", "/v1/memories/forget", json!({ "scope": scope, "ids": [AN_ID] })),
    ];
    let mut let_in = Vec::new();
    for (method, path, body) in &probes {
        let answer = deployment.client.send(method, path, &[], Some(body))?;
        if !(400..500).contains(&answer.status) {
            let_in.push(format!("{path}: {}", answer.status));
        }
    }
    let query = deployment.client.get("/v1/memories?tenant=neighbour")?.status;
    if !(400..500).contains(&query) {
        let_in.push(format!("a query: {query}"));
    }
    Ok(if let_in.is_empty() {
        Verdict::Pass("5 requests that name one are refused".into())
    } else {
        Verdict::Fail(let_in.join(", "))
    })
}

fn headers(deployment: &mut Deployment) -> Result<Verdict> {
    let wanted = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ];
    let mut lacks = Vec::new();
    for answer in [deployment.client.get("/v1/identity")?, deployment.nobody().get("/v1/identity")?] {
        let of =
            |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let wrong = wanted.iter().filter(|(name, value)| of(name) != *value);
        lacks.extend(wrong.map(|(name, _)| format!("{name} on {}", answer.status)));
        if !of("content-security-policy").contains("default-src 'none'") {
            lacks.push(format!("content-security-policy on {}", answer.status));
        }
    }
    Ok(if lacks.is_empty() {
        Verdict::Pass("5 headers, on answers and on refusals".into())
    } else {
        Verdict::Fail(lacks.join(", "))
    })
}

fn errors(deployment: &mut Deployment) -> Result<Verdict> {
    let answers = [
        deployment.client.post("/v1/memories", &json!({ "text": 7 }))?,
        deployment.client.get("/v1/memories/no-id")?,
        deployment.client.get("/no/such/route")?,
    ];
    let mut wrong = Vec::new();
    for answer in &answers {
        let kind = answer.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let told = answer.body.to_string();
        let inside =
            ["panicked", ".rs:", "sqlx", "postgres://", "redis://", "SELECT "].iter().any(|word| told.contains(word));
        if !(400..500).contains(&answer.status) || !kind.starts_with("application/problem+json") || inside {
            wrong.push(format!("{} {kind}", answer.status));
        }
    }
    Ok(if wrong.is_empty() {
        Verdict::Pass("3 mistakes are told as problem documents".into())
    } else {
        Verdict::Fail(wrong.join(", "))
    })
}

fn database_role(deployment: &mut Deployment) -> Result<Verdict> {
    let Some(local) = &deployment.local else {
        return Ok(Verdict::Skipped(
            "the database is not reached from here; the job of migrations makes the role".into(),
        ));
    };
    let role = "select count(*) from pg_roles where rolname = 'orchestra_server' and rolcanlogin \
                and not (rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication)";
    let owned =
        "select count(*) from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname = 'orchestra_server'";
    let open = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'orchestra' \
                and c.relkind in ('r', 'p') and not c.relrowsecurity and c.relname in ('memories', 'memory_versions', 'tombstones')";
    let [role, owned, open] = [role, owned, open].map(|statement| local.servers().ask(statement));
    let (role, owned, open) = (role?, owned?, open?);
    let seen = format!(
        "a login role without rights over others: {}, owns {owned} tables, {open} tables of memories without row security",
        role == "1"
    );
    Ok(Verdict::of(role == "1" && owned == "0" && open == "0", seen))
}

fn container(_: &mut Deployment) -> Result<Verdict> {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).context("there is no Dockerfile")?;
    let compose = fs::read_to_string(root().join("compose.yaml")).context("there is no compose.yaml")?;
    let user = dockerfile.lines().filter_map(|line| line.strip_prefix("USER ")).next_back().unwrap_or("root").trim();
    let number: u32 = user.split(':').next().unwrap_or_default().parse().unwrap_or(0);
    let runtime =
        dockerfile.lines().filter_map(|line| line.strip_prefix("ARG RUNTIME_IMAGE=")).next_back().unwrap_or("unknown");
    let hardened =
        ["read_only: true", "cap_drop: [ALL]", "no-new-privileges:true"].iter().all(|word| compose.contains(word));
    let seen = format!("user {user} on {runtime}; composed read-only and without capabilities: {hardened}");
    Ok(Verdict::of(number > 0 && runtime.contains("distroless") && hardened, seen))
}

fn dependencies(_: &mut Deployment) -> Result<Verdict> {
    if has("deny") {
        let checked = output(cargo().args(["deny", "--offline", "check", "bans", "licenses", "sources"]));
        return Ok(match checked {
            Ok(_) => Verdict::Pass("cargo deny: bans, licences and sources are in order".into()),
            Err(error) => Verdict::Fail(format!("{error:#}")),
        });
    }
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("there is no Cargo.lock")?;
    let deny = fs::read_to_string(root().join("deny.toml")).context("there is no deny.toml")?;
    Ok(scan::lock(&lock, &deny))
}

fn advisories(_: &mut Deployment) -> Result<Verdict> {
    if !has("audit") {
        return Ok(Verdict::Skipped("cargo-audit is not installed: cargo install cargo-audit".into()));
    }
    let database = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
    let database =
        database.unwrap_or_else(|| std::path::Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cargo"));
    if !database.join("advisory-db").exists() {
        return Ok(Verdict::Skipped(
            "there is no advisory database here: run `cargo audit` once with a network".into(),
        ));
    }
    Ok(match output(cargo().args(["audit", "--no-fetch", "--deny", "warnings"])) {
        Ok(_) => Verdict::Pass("cargo audit knows of none".into()),
        Err(error) => Verdict::Fail(format!("{error:#}")),
    })
}

/// Whether cargo has this subcommand.
fn has(subcommand: &str) -> bool {
    output(cargo().args([subcommand, "--version"])).is_ok()
}
