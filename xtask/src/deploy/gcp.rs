//! The deployment to a project of Google Cloud, by the tools that people use: gcloud, terraform, docker.

mod preflight;
mod service;
mod steps;
mod terraform;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub use steps::STEPS;

use self::service::API;
use self::tools::Tools;
use super::record::{Record, Revision};
use super::runner::Target;
use super::step::failure;
use super::{Environment, Summary, cost};

/// Which project, and where in it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --target gcp")]
#[group(skip)]
pub struct Settings {
    /// The project's id
    #[arg(long, value_name = "ID", env = "CLOUDSDK_CORE_PROJECT")]
    project: Option<String>,
    /// The region of everything that has one
    #[arg(long, value_name = "REGION", default_value = "us-central1")]
    region: String,
    /// The bucket of Terraform's state. Default: orchestra-state after the project's id
    #[arg(long, value_name = "NAME")]
    state_bucket: Option<String>,
    /// Where the root modules of the environments are
    #[arg(long, value_name = "DIR", default_value = "terraform/envs")]
    modules: String,
    /// Deploy this image, by digest, in place of one that is built here
    #[arg(long, value_name = "IMAGE@sha256:…")]
    image: Option<String>,
}

/// The deployment.
#[derive(Debug)]
pub struct Gcp {
    record: Record,
    environment: Environment,
    project: String,
    region: String,
    bucket: String,
    image: Option<String>,
    source: String,
    /// Where the root modules are.
    modules: String,
    /// Plans that are not applied yet: only their owner enters it, because a plan may hold what is secret.
    folder: PathBuf,
    tools: Tools,
}

impl Target for Gcp {
    fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    fn source(&self) -> &str {
        &self.source
    }

    fn run_name(&self) -> String {
        let image = self.image.as_ref().map(|image| format!(" image={image}")).unwrap_or_default();
        format!("{} project={} region={}{image}", self.source, self.project, self.region)
    }
}

impl Gcp {
    /// The deployment of `environment` in the project of `settings`.
    ///
    /// # Errors
    /// When no project is named, or the image has no digest.
    pub fn new(
        record: Record,
        home: &Path,
        environment: Environment,
        settings: Settings,
        source: String,
    ) -> Result<Self> {
        let project = settings.project.ok_or_else(|| {
            failure("no project is named", "add --project ID; `gcloud projects list` shows those there are")
        })?;
        if settings.image.as_ref().is_some_and(|image| !image.contains("@sha256:")) {
            return Err(failure("--image names no digest, so it may change under you", "add @sha256:… to it"));
        }
        Ok(Self {
            record,
            environment,
            bucket: settings.state_bucket.unwrap_or_else(|| format!("{project}-orchestra-state")),
            project,
            region: settings.region,
            image: settings.image,
            source,
            modules: settings.modules,
            folder: home.join(format!("gcp-{}", environment.as_str())),
            tools: Tools::from_environment(),
        })
    }

    /// What is done before the steps, for the plan.
    pub fn preparation(&self) -> Vec<String> {
        let bucket = &self.bucket;
        vec![
            "before the steps: check the tools, the login, the project, its billing, APIs, quotas and your permissions;".into(),
            format!("make gs://{bucket} unless it is there (versioned, never public) and keep Terraform's state in it"),
            String::new(),
        ]
    }

    /// Checks what has to be there, and makes the bucket of Terraform's state.
    ///
    /// # Errors
    /// With everything that is missing, each with what to type.
    pub fn prepare(&mut self) -> Result<()> {
        self.make_folder()?;
        eprintln!("checking what has to be there");
        preflight::check(self)?;
        self.make_bucket()?;
        self.init()
    }

    /// Lets the former revision serve again: first it gets the requests, then its image is what is deployed.
    ///
    /// # Errors
    /// When there is none, or a command fails.
    pub fn roll_back(&mut self) -> Result<()> {
        let former = self.record.former()?.clone();
        if former.service_revision.is_empty() {
            return Err(failure("the record does not name the revision on Cloud Run", "deploy its commit again"));
        }
        self.make_folder()?;
        self.init()?;
        let service = self.service_name()?;
        eprintln!("[1/2] {} gets the requests", former.service_revision);
        self.image = self.record.live().map(|live| live.image.clone());
        if self.plan_with("traffic", API, &[("stable_revision", &former.service_revision), ("canary_percent", "0")])? {
            self.apply("traffic")?;
        }
        eprintln!("[2/2] {} is deployed", former.image);
        self.image = Some(former.image.clone());
        if self.plan("rollback", API)? {
            self.apply("rollback")?;
        }
        let serving = self.serving_revision(&service)?;
        self.record.current = Some(former.number);
        if let Some(revision) = self.record.revision(former.number) {
            revision.service_revision = serving;
        }
        self.record.write()?;
        self.check_settled()
    }

    /// Checks that Terraform has nothing left to do.
    ///
    /// # Errors
    /// When it has; something else changed the project meanwhile.
    pub fn check_settled(&mut self) -> Result<()> {
        eprintln!("checking that a full plan has no changes");
        if self.plan("settled", &[])? {
            return Err(failure(
                "every step is done, and a full plan of Terraform still has changes",
                format!("read `terraform -chdir={} plan`, then deploy all again", self.root_module()),
            ));
        }
        Ok(())
    }

    /// Where things are, and what a month of them costs.
    pub fn summary(&self) -> Result<Summary> {
        let outputs = self.outputs()?;
        let names = [
            ("API", "api_url"),
            ("database", "alloydb_primary_address"),
            ("read pool", "alloydb_read_address"),
            ("Redis", "redis_address"),
            ("images", "artifact_repository"),
            ("workload identity", "workload_identity_provider"),
            ("plans as", "plan_service_account"),
            ("deploys as", "deploy_service_account"),
            ("budget messages", "budget_topic"),
        ];
        let mut facts: Vec<_> = names
            .iter()
            .filter_map(|(name, output)| Some((*name, outputs.get(*output)?.as_str()?.to_owned())))
            .collect();
        let console = "https://console.cloud.google.com/monitoring/dashboards";
        facts.push(("dashboards", format!("{console}?project={}", self.project)));
        if let Some(live) = self.record.live() {
            facts.push(("image", live.image.clone()));
        }
        let url = outputs.get("api_url").and_then(|url| url.as_str()).unwrap_or("URL");
        facts.push(("try", format!("cargo xtask verify all --url {url} --api-key-env ORCHESTRA_API_KEY")));
        Ok(Summary { facts, cost: cost::estimate(&self.root_module()) })
    }

    fn make_folder(&self) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| format!("{}: cannot be made", self.folder.display()))?;
        #[cfg(unix)]
        fs::set_permissions(&self.folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(())
    }

    /// The image that is to serve: the one that was given, else the newest that was pushed.
    fn wanted_image(&self) -> Option<String> {
        self.image.clone().or_else(|| self.record.revisions.last().map(|revision| revision.image.clone()))
    }

    /// The revision of this image; a new one where it is none yet.
    fn revision_of(&mut self, image: &str) -> u32 {
        if let Some(revision) = self.record.revisions.iter().rev().find(|revision| revision.image == image) {
            return revision.number;
        }
        let number = self.record.next_number();
        let (source, image) = (self.source.clone(), image.to_owned());
        self.record.revisions.push(Revision { number, source, image, ..Revision::default() });
        number
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn steps_come_after_what_they_need() {
        super::super::step::check_order(super::STEPS);
    }
}
