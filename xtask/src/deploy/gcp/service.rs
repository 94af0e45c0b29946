//! The service on Cloud Run: a new revision is tried without traffic before it gets all of it.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Gcp;
use super::tools::ask;
use crate::deploy::step::failure;
use crate::http::Client;

/// What of the root module is the service.
pub const API: &[&str] = &["module.api"];
/// The tag of the revision that is tried: it has an address of its own.
const CANARY: &str = "canary";

impl Gcp {
    /// The service's name.
    pub(super) fn service_name(&self) -> Result<String> {
        self.output("api_service_name")
    }

    /// The service as Cloud Run describes it; none where there is none yet.
    pub(super) fn described_service(&self, service: &str) -> Result<Option<Value>> {
        let place = ["--project", &self.project, "--region", &self.region, "--format=json"];
        let described = ask(&mut self.tools.gcloud(&[&["run", "services", "describe", service][..], &place].concat()))?;
        if described.status != 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&described.output).context("gcloud gave no JSON")?))
    }

    /// The revision that gets all requests.
    pub(super) fn serving_revision(&self, service: &str) -> Result<String> {
        let described = self.described_service(service)?.context("the service is not there")?;
        let traffic = described["status"]["traffic"].as_array().cloned().unwrap_or_default();
        let all = traffic.iter().find(|target| target["percent"] == 100);
        let name = all.and_then(|target| target["revisionName"].as_str());
        name.map(str::to_owned).context("no revision gets all requests")
    }

    /// Makes a revision of the wanted image that gets no request while `stable` gets all, and looks whether it is well.
    pub(super) fn try_revision(&self, service: &str, stable: &str) -> Result<()> {
        if self.plan_with("canary", API, &[("stable_revision", stable), ("canary_percent", "0")])? {
            self.apply("canary")?;
        }
        let described = self.described_service(service)?.context("the service is not there")?;
        let revision = described["status"]["latestCreatedRevisionName"].as_str().context("it has no revision")?;
        self.check_revision(revision)?;
        if described["metadata"]["annotations"]["run.googleapis.com/ingress"] == "all" {
            let traffic = described["status"]["traffic"].as_array().cloned().unwrap_or_default();
            let canary = traffic.iter().find(|target| target["tag"] == CANARY);
            let url = canary.and_then(|target| target["url"].as_str()).context("the revision has no address")?;
            self.check_health(url)?;
        }
        Ok(())
    }

    /// Checks that Cloud Run found a revision ready: its start-up probe asks the server whether it is.
    pub(super) fn check_revision(&self, revision: &str) -> Result<()> {
        let place = ["--project", &self.project, "--region", &self.region, "--format=json"];
        let described =
            ask(&mut self.tools.gcloud(&[&["run", "revisions", "describe", revision][..], &place].concat()))?
                .or_fix("see that you may describe revisions")?;
        let described: Value = serde_json::from_str(&described).context("gcloud gave no JSON")?;
        let conditions = described["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        if ready.is_some_and(|ready| ready["status"] == "True") {
            return Ok(());
        }
        let reason = ready.and_then(|ready| ready["message"].as_str()).unwrap_or("it does not say why");
        Err(failure(
            format!("revision {revision} is not ready: {reason}"),
            format!("gcloud logging read 'resource.labels.revision_name={revision}' --project {}", self.project),
        ))
    }

    /// Asks the server itself. Its invoker shows an identity in a header of its own, because the API key is in the other.
    pub(super) fn check_health(&self, url: &str) -> Result<()> {
        let token = ask(&mut self.tools.gcloud(&["auth", "print-identity-token", "--quiet"]))?;
        if token.status != 0 {
            // Some credentials of workflows have none. That Cloud Run found it ready has to do then.
            eprintln!("      the server is not asked itself: gcloud has no identity token");
            return Ok(());
        }
        let invoker = format!("Bearer {}", token.output);
        let answer =
            Client::new(url, None).send("GET", "/readyz", &[("x-serverless-authorization", &invoker)], None)?;
        if answer.status != 200 {
            return Err(failure(
                format!("{url}/readyz answered {}", answer.status),
                "403: grant yourself roles/run.invoker on the service; 503: read the revision's log",
            ));
        }
        Ok(())
    }
}
