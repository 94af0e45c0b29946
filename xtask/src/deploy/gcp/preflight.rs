//! What has to be there before a deployment: each thing that is missing is told with what to type.

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::Gcp;
use super::tools::ask;
use crate::http::Client;
use crate::process::root;

/// The least version of Terraform: earlier ones lack write-only arguments, by which secrets stay out of the state.
const TERRAFORM: (u32, u32) = (1, 11);

/// The APIs that the modules use.
const APIS: &[&str] = &[
    "alloydb.googleapis.com",
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudbilling.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "compute.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "memorystore.googleapis.com",
    "monitoring.googleapis.com",
    "networkconnectivity.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "servicenetworking.googleapis.com",
    "serviceusage.googleapis.com",
    "sts.googleapis.com",
];

/// What whoever deploys must be allowed to do, one permission for each kind of thing that is made.
const PERMISSIONS: &[&str] = &[
    "alloydb.clusters.create",
    "artifactregistry.repositories.create",
    "bigquery.datasets.create",
    "compute.networks.create",
    "memorystore.instances.create",
    "monitoring.dashboards.create",
    "pubsub.topics.create",
    "resourcemanager.projects.setIamPolicy",
    "run.jobs.run",
    "run.services.create",
    "secretmanager.secrets.create",
    "servicenetworking.services.addPeering",
];

/// What a first deployment takes besides, by a person: whoever has these can take any other right, so the account of the
/// workflow has none of them, and finds nothing to do there.
const FIRST: &[&str] = &[
    "iam.roles.create",
    "iam.serviceAccounts.create",
    "iam.workloadIdentityPools.create",
    "serviceusage.services.enable",
    "storage.buckets.create",
];

/// The quotas of which one more is taken by a first deployment.
const QUOTAS: &[&str] = &["NETWORKS", "SUBNETWORKS"];

/// Where permissions are asked for; the variable is gcloud's own, for the same purpose.
const RESOURCE_MANAGER: &str = "https://cloudresourcemanager.googleapis.com/";
const RESOURCE_MANAGER_VARIABLE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER";

/// Checks all of it.
///
/// # Errors
/// With everything that is missing; what cannot be asked for without what is missing before it is left out.
pub fn check(gcp: &Gcp) -> Result<()> {
    for stage in [tools as Stage, login, project, access] {
        let missing = stage(gcp)?;
        if !missing.is_empty() {
            let lines: Vec<_> = missing.iter().map(|Missing { what, fix }| format!("  {what}\n    {fix}")).collect();
            return Err(anyhow!("not ready to deploy:\n{}", lines.join("\n")));
        }
    }
    Ok(())
}

/// Looks at things that can be asked for together.
type Stage = fn(&Gcp) -> Result<Vec<Missing>>;

/// Something that is missing, and what to type.
struct Missing {
    what: String,
    fix: String,
}

fn missing(what: impl Into<String>, fix: impl Into<String>) -> Missing {
    Missing { what: what.into(), fix: fix.into() }
}

fn tools(gcp: &Gcp) -> Result<Vec<Missing>> {
    let mut lacks = Vec::new();
    if !answers(&mut gcp.tools.gcloud(&["version", "--format=json"])) {
        lacks.push(missing("gcloud does not run", "install it: https://cloud.google.com/sdk/docs/install"));
    }
    let mut terraform = std::process::Command::new(&gcp.tools.terraform);
    let version = ask(terraform.args(["version", "-json"])).ok().filter(|ended| ended.status == 0);
    let least = format!("{}.{}", TERRAFORM.0, TERRAFORM.1);
    match version.map(|ended| version_of(&ended.output)) {
        Some(Some(version)) if version >= TERRAFORM => {}
        Some(Some((major, minor))) => {
            let fix = format!("install {least} or later: https://developer.hashicorp.com/terraform/install");
            lacks.push(missing(format!("terraform is {major}.{minor}"), fix));
        }
        _ => {
            let fix = format!("install {least} or later: https://developer.hashicorp.com/terraform/install");
            lacks.push(missing("terraform does not run", fix));
        }
    }
    let mut docker = std::process::Command::new(&gcp.tools.docker);
    if gcp.image.is_none() && !answers(docker.args(["version", "--format", "{{.Server.Version}}"])) {
        lacks.push(missing(
            "no Docker engine answers",
            "start it, or name an image that was built elsewhere with --image",
        ));
    }
    let values = format!("{}/terraform.tfvars", gcp.root_module());
    if !root().join(&values).exists() {
        lacks.push(missing(format!("{values} is not there"), format!("cp {values}.example {values}, and fill it in")));
    }
    Ok(lacks)
}

fn answers(command: &mut std::process::Command) -> bool {
    ask(command).is_ok_and(|ended| ended.status == 0)
}

/// Major and minor out of `terraform version -json`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let told: Value = serde_json::from_str(text).ok()?;
    let mut numbers = told["terraform_version"].as_str()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn login(gcp: &Gcp) -> Result<Vec<Missing>> {
    let mut lacks = Vec::new();
    let account = ask(&mut gcp.tools.gcloud(&["auth", "list", "--filter=status:ACTIVE", "--format=value(account)"]))?;
    if account.status != 0 || account.output.is_empty() {
        lacks.push(missing("gcloud is not logged in", "gcloud auth login"));
    }
    // Terraform has credentials of its own. The token is looked at by nobody.
    if !answers(&mut gcp.tools.gcloud(&["auth", "application-default", "print-access-token", "--quiet"])) {
        lacks.push(missing("Terraform has no credentials", "gcloud auth application-default login"));
    }
    Ok(lacks)
}

fn project(gcp: &Gcp) -> Result<Vec<Missing>> {
    let mut lacks = Vec::new();
    let id = &gcp.project;
    let described = ask(&mut gcp.tools.gcloud(&["projects", "describe", id, "--format=json"]))?;
    let told: Value = serde_json::from_str(&described.output).unwrap_or_default();
    if described.status != 0 || told["lifecycleState"] != "ACTIVE" {
        let fix = format!("gcloud projects create {id}, or name another with --project");
        return Ok(vec![missing(format!("the project {id} is not there, or not active"), fix)]);
    }
    let billing =
        ask(&mut gcp.tools.gcloud(&["billing", "projects", "describe", id, "--format=value(billingEnabled)"]))?;
    if !billing.output.eq_ignore_ascii_case("true") {
        let fix = format!("gcloud billing projects link {id} --billing-account=ACCOUNT");
        lacks.push(missing(format!("billing is not enabled for {id}"), fix));
    }
    let enabled =
        ask(&mut gcp.tools.gcloud(&["services", "list", "--enabled", "--project", id, "--format=value(config.name)"]))?
            .or_fix("see that you may list the services of the project")?;
    let absent: Vec<&str> = APIS.iter().copied().filter(|api| !enabled.lines().any(|line| line == *api)).collect();
    if !absent.is_empty() {
        let fix = format!("gcloud services enable {} --project {id}", absent.join(" "));
        lacks.push(missing(format!("{} APIs are not enabled", absent.len()), fix));
    }
    Ok(lacks)
}

fn access(gcp: &Gcp) -> Result<Vec<Missing>> {
    let mut lacks = Vec::new();
    let id = &gcp.project;
    let token = ask(&mut gcp.tools.gcloud(&["auth", "print-access-token", "--quiet"]))?.or_fix("gcloud auth login")?;
    let place = std::env::var(RESOURCE_MANAGER_VARIABLE).unwrap_or_else(|_| RESOURCE_MANAGER.to_owned());
    let wanted = [PERMISSIONS, FIRST].concat();
    let path = format!("/v3/projects/{id}:testIamPermissions");
    let asked = Client::new(&place, Some(token)).post(&path, &json!({ "permissions": wanted }))?.ok()?;
    let granted: Vec<&str> = asked["permissions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let lacked = |wanted: &[&'static str]| -> Vec<&str> {
        wanted.iter().copied().filter(|permission| !granted.contains(permission)).collect()
    };
    if !lacked(FIRST).is_empty() {
        eprintln!("      you may not change accounts and roles: step iam, and the bucket, must need nothing");
    }
    let denied = lacked(PERMISSIONS);
    if !denied.is_empty() {
        let fix = format!("ask an owner of {id} for them");
        lacks.push(missing(format!("you lack the permissions {}", denied.join(", ")), fix));
    }
    // What stands already takes no more.
    if gcp.record.steps.contains_key(&crate::deploy::step::StepName::Network) {
        return Ok(lacks);
    }
    let told = ask(&mut gcp.tools.gcloud(&["compute", "project-info", "describe", "--project", id, "--format=json"]))?
        .or_fix("see that you may read the quotas of the project")?;
    let told: Value = serde_json::from_str(&told).unwrap_or_default();
    for quota in told["quotas"].as_array().into_iter().flatten() {
        let name = quota["metric"].as_str().unwrap_or_default();
        let of = |field: &str| quota[field].as_f64().unwrap_or(0.0);
        if QUOTAS.contains(&name) && of("usage") + 1.0 > of("limit") {
            let fix = format!("ask for more: https://console.cloud.google.com/iam-admin/quotas?project={id}");
            lacks.push(missing(format!("the quota {name} is used up: {} of {}", of("usage"), of("limit")), fix));
        }
    }
    Ok(lacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_terraform_tells_it() {
        assert_eq!(version_of(r#"{"terraform_version": "1.11.4"}"#), Some((1, 11)));
        assert!(version_of(r#"{"terraform_version": "1.9.0"}"#).unwrap() < TERRAFORM);
        assert_eq!(version_of("Terraform v1.11.4"), None);
    }
}
