//! The service on Cloud Run: a new revision is tried without traffic before it gets all of it.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Gcp;
use super::tools::{ask, work};
use crate::deploy::step::failure;
use crate::http::Client;

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

    /// Makes a revision of this image that gets no request, looks whether it is well, and gives its name.
    pub(super) fn try_revision(&self, service: &str, image: &str) -> Result<String> {
        let place = ["--project", &self.project, "--region", &self.region, "--quiet"];
        let words = ["run", "services", "update", service, "--image", image, "--no-traffic", "--tag", CANARY];
        let fix = "read the revision's log; the former revision still serves";
        work(&mut self.tools.gcloud(&[&words[..], &place].concat()))?.or_fix(fix)?;
        let described = self.described_service(service)?.context("the service is not there")?;
        let revision = described["status"]["latestCreatedRevisionName"].as_str().context("it has no revision")?;
        self.check_revision(revision)?;
        if described["metadata"]["annotations"]["run.googleapis.com/ingress"] == "all" {
            let traffic = described["status"]["traffic"].as_array().cloned().unwrap_or_default();
            let canary = traffic.iter().find(|target| target["tag"] == CANARY);
            let url = canary.and_then(|target| target["url"].as_str()).context("the revision has no address")?;
            self.check_health(url)?;
        }
        Ok(revision.to_owned())
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
        let token =
            ask(&mut self.tools.gcloud(&["auth", "print-identity-token", "--quiet"]))?.or_fix("gcloud auth login")?;
        let invoker = format!("Bearer {token}");
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

    /// Gives all requests to the newest revision, and takes the tag away.
    pub(super) fn traffic_to_latest(&self, service: &str) -> Result<()> {
        self.update_traffic(service, &["--to-latest", "--remove-tags", CANARY])
    }

    /// Gives all requests to this revision.
    pub(super) fn traffic_to(&self, service: &str, revision: &str) -> Result<()> {
        if revision.is_empty() {
            bail!("the record does not name the revision on Cloud Run");
        }
        self.update_traffic(service, &["--to-revisions", &format!("{revision}=100")])
    }

    fn update_traffic(&self, service: &str, to: &[&str]) -> Result<()> {
        let place = ["--project", &self.project, "--region", &self.region, "--quiet"];
        let words = [&["run", "services", "update-traffic", service][..], to, &place].concat();
        work(&mut self.tools.gcloud(&words))?
            .or_fix("see that you may change the service (roles/run.developer)")
            .map(drop)
    }
}
