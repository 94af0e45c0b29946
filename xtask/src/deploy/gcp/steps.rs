//! The steps of the deployment to Google Cloud.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Gcp;
use super::service::API;
use super::tools::{ask, work};
use crate::deploy::runner::DIRTY;
use crate::deploy::step::{Step, StepName as S, failure};

/// What of the root module each step makes.
const NETWORK: &[&str] = &["module.network"];
const IAM: &[&str] = &["module.iam"];
const SECRETS: &[&str] = &["module.secrets"];
const REDIS: &[&str] = &["module.redis"];
const ALLOYDB: &[&str] = &["module.alloydb"];
const REPOSITORY: &[&str] = &["module.api.google_artifact_registry_repository.images"];
const MIGRATIONS: &[&str] = &["module.api.google_cloud_run_v2_job.migrations"];
const MONITORING: &[&str] = &["module.monitoring"];

/// Every step, in the order of what each needs.
pub const STEPS: &[Step<Gcp>] = &[
    Step {
        name: S::Network,
        about: "a private network, and the peering of the managed services",
        needs: &[],
        commands: |gcp| gcp.shown(NETWORK),
        is_done: |gcp| gcp.is_settled(S::Network, NETWORK),
        act: |gcp| gcp.apply("network"),
        verify: |gcp| gcp.settled_after(S::Network),
    },
    Step {
        name: S::Iam,
        about: "workload identity of the repository, service accounts, roles",
        needs: &[],
        commands: |gcp| gcp.shown(IAM),
        is_done: |gcp| gcp.is_settled(S::Iam, IAM),
        act: |gcp| gcp.apply("iam"),
        verify: |gcp| {
            let provider = gcp.output("workload_identity_provider")?;
            if !provider.starts_with("projects/") {
                bail!("{provider} is no full name of a provider");
            }
            Ok(format!("{provider}, deployed as {}", gcp.output("deploy_service_account")?))
        },
    },
    Step {
        name: S::Secrets,
        about: "secrets, with access for each; their values are yours to add",
        needs: &[S::Iam],
        commands: |gcp| gcp.shown(SECRETS),
        is_done: |gcp| gcp.is_settled(S::Secrets, SECRETS),
        act: |gcp| gcp.apply("secrets"),
        verify: Gcp::secrets_have_values,
    },
    Step {
        name: S::Redis,
        about: "Memorystore with vector search",
        needs: &[S::Network, S::Iam],
        commands: |gcp| gcp.shown(REDIS),
        is_done: |gcp| gcp.is_settled(S::Redis, REDIS),
        act: |gcp| gcp.apply("redis"),
        verify: |gcp| Ok(format!("answers at {}", gcp.output("redis_address")?)),
    },
    Step {
        name: S::Alloydb,
        about: "an AlloyDB cluster with its primary, backups and point-in-time recovery",
        needs: &[S::Network, S::Iam],
        commands: |gcp| gcp.shown(ALLOYDB),
        is_done: |gcp| gcp.is_settled(S::Alloydb, ALLOYDB),
        act: |gcp| gcp.apply("alloydb"),
        verify: |gcp| Ok(format!("the primary is at {}", gcp.output("alloydb_primary_address")?)),
    },
    Step {
        name: S::Ha,
        about: "look at the standby and the nodes of the read pool",
        needs: &[S::Alloydb],
        commands: |gcp| vec![format!("gcloud alloydb instances list --project {} …", gcp.project)],
        // The module alloydb makes both; here they are looked at.
        is_done: |_| Ok(true),
        act: |_| Ok(()),
        verify: Gcp::is_available,
    },
    Step {
        name: S::Image,
        about: "build the image, push it, and read its digest back",
        needs: &[],
        commands: |gcp| {
            if gcp.image.is_some() {
                return Vec::new();
            }
            [
                gcp.shown(REPOSITORY),
                vec!["docker build --platform linux/amd64 --tag … .".into(), "docker push …".into()],
            ]
            .concat()
        },
        is_done: |gcp| {
            let newest = gcp.record.revisions.last();
            let is_pushed = newest.is_some_and(|newest| newest.source == gcp.source && !gcp.source.ends_with(DIRTY));
            Ok(gcp.image.is_some() || is_pushed)
        },
        act: Gcp::build_image,
        verify: |gcp| {
            let image = gcp.wanted_image().context("no image was pushed")?;
            gcp.revision_of(&image);
            Ok(image)
        },
    },
    Step {
        name: S::Migrations,
        about: "bring the schema up to date, by a job inside of the network",
        needs: &[S::Network, S::Alloydb, S::Secrets, S::Image],
        commands: |gcp| {
            let job =
                format!("gcloud run jobs execute MIGRATIONS --project {} --region {} --wait", gcp.project, gcp.region);
            [gcp.shown(MIGRATIONS), vec![job]].concat()
        },
        // The job finds out by itself what is left to do; it may run twice.
        is_done: |_| Ok(false),
        act: |gcp| {
            if gcp.plan("migrations", MIGRATIONS)? {
                gcp.apply("migrations")?;
            }
            gcp.execute_job(&[])
        },
        verify: |gcp| Ok(format!("the job {} ran to its end", gcp.output("migrations_job")?)),
    },
    Step {
        name: S::Indexes,
        about: "build the vector indexes that are due, by the same job",
        needs: &[S::Migrations],
        commands: |gcp| {
            let place = format!("--project {} --region {}", gcp.project, gcp.region);
            vec![format!("gcloud run jobs execute MIGRATIONS --args=index,build {place} --wait")]
        },
        is_done: |_| Ok(false),
        act: |gcp| gcp.execute_job(&["--args=index,build"]),
        verify: |_| Ok("every space has the index that it is to have".into()),
    },
    Step {
        name: S::Api,
        about: "a revision that is tried without traffic, then serves",
        needs: &[S::Redis, S::Alloydb, S::Iam, S::Secrets, S::Image, S::Migrations],
        commands: |gcp| {
            let applied = gcp.shown(API);
            let tried = applied.iter().map(|command| command.replace(" -out", " -var=stable_revision=… -out"));
            tried.chain(applied.iter().cloned()).collect()
        },
        is_done: Gcp::serves_wanted,
        act: Gcp::let_serve,
        verify: |gcp| {
            let service = gcp.service_name()?;
            let serving = gcp.serving_revision(&service)?;
            gcp.check_revision(&serving)?;
            Ok(format!("{serving} serves at {}", gcp.output("api_url")?))
        },
    },
    Step {
        name: S::Monitoring,
        about: "cost tables and views, budget, alerts",
        needs: &[S::Redis, S::Alloydb, S::Api],
        commands: |gcp| gcp.shown(MONITORING),
        is_done: |gcp| gcp.is_settled(S::Monitoring, MONITORING),
        act: |gcp| gcp.apply("monitoring"),
        verify: |gcp| Ok(format!("budget messages go to {}", gcp.output("budget_topic")?)),
    },
    Step {
        name: S::Dashboards,
        about: "look whether the dashboards are there",
        needs: &[S::Monitoring],
        commands: |gcp| vec![format!("gcloud monitoring dashboards list --project {} …", gcp.project)],
        // The module monitoring makes them; here they are looked at.
        is_done: |_| Ok(true),
        act: |_| Ok(()),
        verify: Gcp::has_dashboards,
    },
];

impl Gcp {
    /// The commands by which Terraform makes these modules.
    fn shown(&self, modules: &[&str]) -> Vec<String> {
        let targets: Vec<_> = modules.iter().map(|module| format!(" -target={module}")).collect();
        vec![format!(
            "terraform -chdir={} plan -out=… {}, then apply of that plan",
            self.root_module(),
            targets.concat().trim()
        )]
    }

    /// Plans the modules of a step; where there are changes the plan is kept, to be applied as it is.
    fn is_settled(&self, step: S, modules: &[&str]) -> Result<bool> {
        Ok(!self.plan(step.as_str(), modules)?)
    }

    /// What is seen after the modules of a step were applied.
    fn settled_after(&self, step: S) -> Result<String> {
        self.outputs()?;
        Ok(format!("module {step} is as it is written"))
    }

    /// Every secret of this deployment has a value: the service would not start without.
    fn secrets_have_values(&mut self) -> Result<String> {
        let outputs = self.outputs()?;
        let names: Vec<&str> = outputs
            .get("secrets")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(_, id)| id.as_str())
            .collect();
        let mut lacks = Vec::new();
        for name in &names {
            let of = ["secrets", "versions", "list", name, "--project", &self.project];
            let words = [&of[..], &["--filter=state:ENABLED", "--limit=1", "--format=value(name)"]].concat();
            let found = ask(&mut self.tools.gcloud(&words))?.or_fix("see that you may list versions of secrets")?;
            if found.is_empty() {
                lacks.push((*name).to_owned());
            }
        }
        if let Some(first) = lacks.first() {
            let fix = format!(
                "give each a value, out of a file or a pipe and never as an argument: \
                 gcloud secrets versions add {first} --project {} --data-file=-",
                self.project
            );
            return Err(failure(format!("these secrets have no value: {}", lacks.join(", ")), fix));
        }
        Ok(format!("{} of {} secrets have a value", names.len(), names.len()))
    }

    /// Builds, pushes, and reads back what the registry calls it.
    fn build_image(&mut self) -> Result<()> {
        if self.plan("image", REPOSITORY)? {
            self.apply("image")?;
        }
        let repository = self.output("artifact_repository")?;
        let host = repository.split('/').next().unwrap_or_default();
        let tagged = format!("{repository}/orchestra:{}", self.source);
        let fix = "see that you may write to the repository (roles/artifactregistry.writer)";
        ask(&mut self.tools.gcloud(&["auth", "configure-docker", host, "--quiet"]))?.or_fix("gcloud auth login")?;
        let mut build = Command::new(&self.tools.docker);
        work(build.args(["build", "--platform", "linux/amd64", "--tag", &tagged, "."]))?
            .or_fix("read the build's output")?;
        let mut push = Command::new(&self.tools.docker);
        work(push.args(["push", &tagged]))?.or_fix(fix)?;
        let describe = ["artifacts", "docker", "images", "describe", &tagged, "--format=value(image_summary.digest)"];
        let digest = ask(&mut self.tools.gcloud(&describe))?.or_fix(fix)?;
        if !digest.starts_with("sha256:") {
            return Err(failure(format!("the registry gave no digest for {tagged}: {digest:?}"), fix));
        }
        self.revision_of(&format!("{repository}/orchestra@{digest}"));
        self.record.write()
    }

    /// Runs the job of migrations, with other arguments or its own.
    fn execute_job(&self, arguments: &[&str]) -> Result<()> {
        let job = self.output("migrations_job")?;
        let place = ["--project", &self.project, "--region", &self.region, "--wait"];
        let words = [&["run", "jobs", "execute", &job][..], arguments, &place].concat();
        let fix = format!("gcloud logging read 'resource.labels.job_name={job}' --project {}", self.project);
        work(&mut self.tools.gcloud(&words))?.or_fix(&fix).map(drop)
    }

    /// The standby of the primary, and the read pool, as AlloyDB describes them.
    fn is_available(&mut self) -> Result<String> {
        let cluster = format!("orchestra-{}", self.environment.as_str());
        let place = ["--project", &self.project, "--region", &self.region, "--format=json"];
        let list = [&["alloydb", "instances", "list", "--cluster", &cluster][..], &place].concat();
        let text = ask(&mut self.tools.gcloud(&list))?.or_fix("see that you may list instances")?;
        let instances: Value = serde_json::from_str(&text).context("gcloud gave no JSON")?;
        let of_kind = |kind: &str| {
            let all = instances.as_array().into_iter().flatten();
            all.clone().find(|instance| instance["instanceType"] == kind).cloned()
        };
        let primary = of_kind("PRIMARY").context("there is no primary")?;
        let nodes = of_kind("READ_POOL").and_then(|pool| pool["readPoolConfig"]["nodeCount"].as_u64()).unwrap_or(0);
        let kind = primary["availabilityType"].as_str().unwrap_or("unknown").to_owned();
        let is_dev = self.environment == crate::deploy::Environment::Dev;
        if !is_dev && (kind != "REGIONAL" || nodes < 3) {
            return Err(failure(
                format!("the primary is {kind} and the read pool has {nodes} nodes, not REGIONAL and 3"),
                format!("read the sizes in {}", self.root_module()),
            ));
        }
        Ok(format!("the primary is {kind}, the read pool has {nodes} nodes"))
    }

    /// Whether the wanted image serves, and Terraform agrees.
    fn serves_wanted(&mut self) -> Result<bool> {
        let wanted = self.wanted_image().context("step image was not done")?;
        let live = self.record.live().is_some_and(|live| live.image == wanted);
        Ok(live && !self.plan("api", API)?)
    }

    /// Lets the wanted image serve. The first time Terraform makes the service; later a revision is tried beside the one
    /// that serves before it gets the traffic, and Terraform writes down what is so by then.
    fn let_serve(&mut self) -> Result<()> {
        let wanted = self.wanted_image().context("step image was not done")?;
        let number = self.revision_of(&wanted);
        let service = self.outputs()?.get("api_service_name").and_then(Value::as_str).map(str::to_owned);
        let stands = match service.filter(|service| !service.is_empty()) {
            Some(service) => self.described_service(&service)?.map(|_| service),
            None => None,
        };
        if let Some(service) = &stands {
            let stable = self.serving_revision(service)?;
            self.try_revision(service, &stable)?;
        }
        if self.plan("api", API)? {
            self.apply("api")?;
        }
        let service = self.service_name()?;
        let (serving, variables) = (self.serving_revision(&service)?, self.variables());
        if let Some(revision) = self.record.revision(number) {
            revision.service_revision = serving;
            revision.variables = variables;
            revision.was_live = true;
        }
        self.record.current = Some(number);
        self.record.write()
    }

    /// The dashboards that Terraform names are there.
    fn has_dashboards(&mut self) -> Result<String> {
        let list = ["monitoring", "dashboards", "list", "--project", &self.project, "--format=value(displayName)"];
        let titles = ask(&mut self.tools.gcloud(&list))?.or_fix("see that you may list dashboards")?;
        let wanted = self.outputs()?.get("dashboards").map_or(0, |dashboards| match dashboards {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        });
        let count = titles.lines().count();
        if count < wanted || wanted == 0 {
            let fix = "run `cargo xtask deploy monitoring` for the same target again";
            return Err(failure(format!("{count} of {wanted} dashboards are there"), fix));
        }
        Ok(titles.lines().collect::<Vec<_>>().join(", "))
    }
}
