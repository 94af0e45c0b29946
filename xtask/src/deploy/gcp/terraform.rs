//! What Terraform does: its state in a bucket, plans that are kept and then applied as they are, outputs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Gcp;
use super::tools::{ask, work};
use crate::deploy::step::failure;

impl Gcp {
    /// The folder of the environment's root module, from the checkout's root.
    pub(super) fn root_module(&self) -> String {
        format!("{}/{}", self.modules.trim_end_matches('/'), self.environment.as_str())
    }

    /// Makes the bucket of the state unless it is there, and sees to it that it is versioned and never public.
    pub(super) fn make_bucket(&self) -> Result<()> {
        let bucket = format!("gs://{}", self.bucket);
        let describe = ["storage", "buckets", "describe", &bucket, "--format=json"];
        let fix =
            "see that you may make buckets in the project (roles/storage.admin), or name another with --state-bucket";
        let found = ask(&mut self.tools.gcloud(&describe))?;
        if found.status != 0 {
            let place = ["--project", &self.project, "--location", &self.region];
            let safe = ["--uniform-bucket-level-access", "--public-access-prevention"];
            let create = [&["storage", "buckets", "create", &bucket][..], &place, &safe].concat();
            ask(&mut self.tools.gcloud(&create))?.or_fix(fix)?;
        } else if is_safe(&found.output) {
            return Ok(());
        }
        let safe = ["--versioning", "--uniform-bucket-level-access", "--public-access-prevention"];
        ask(&mut self.tools.gcloud(&[&["storage", "buckets", "update", &bucket][..], &safe].concat()))?.or_fix(fix)?;
        if !is_safe(&ask(&mut self.tools.gcloud(&describe))?.or_fix(fix)?) {
            return Err(failure(format!("{bucket} is not versioned, or may be made public"), fix));
        }
        Ok(())
    }

    /// Connects the root module to its state.
    pub(super) fn init(&self) -> Result<()> {
        let mut init = self.terraform("init");
        init.args(["-input=false", "-reconfigure", &format!("-backend-config=bucket={}", self.bucket)]);
        init.arg(format!("-backend-config=prefix=orchestra/{}", self.environment.as_str()));
        work(&mut init)?.or_fix("see that you may read and write the bucket of the state").map(drop)
    }

    /// Plans these modules, all of them where none is named, and keeps the plan. Gives whether it has changes.
    pub(super) fn plan(&self, name: &str, modules: &[&str]) -> Result<bool> {
        self.plan_with(name, modules, &[])
    }

    /// As [`plan`](Self::plan), with further variables.
    pub(super) fn plan_with(&self, name: &str, modules: &[&str], further: &[(&str, &str)]) -> Result<bool> {
        let mut plan = self.terraform("plan");
        plan.args(["-input=false", "-lock-timeout=5m", "-detailed-exitcode"]);
        plan.arg(format!("-out={}", self.plan_file(name).display()));
        for (variable, value) in self.variables() {
            plan.arg(format!("-var={variable}={value}"));
        }
        plan.args(further.iter().map(|(variable, value)| format!("-var={variable}={value}")));
        plan.args(modules.iter().map(|module| format!("-target={module}")));
        let ended = work(&mut plan)?;
        match ended.status {
            0 => {
                self.forget_plan(name)?;
                Ok(false)
            }
            2 => Ok(true),
            _ => {
                let fix = format!("read the reason; values are in {}/terraform.tfvars", self.root_module());
                Err(ended.failure(&fix))
            }
        }
    }

    /// Applies the plan that was kept, and nothing else.
    pub(super) fn apply(&self, name: &str) -> Result<()> {
        let mut apply = self.terraform("apply");
        apply.args(["-input=false", "-lock-timeout=5m"]).arg(self.plan_file(name));
        let applied = work(&mut apply)?.or_fix("read the reason, mend it, and run it again: what was made is kept");
        self.forget_plan(name)?;
        applied.map(drop)
    }

    /// What the root module gives out. Some of it may be secret.
    pub(super) fn outputs(&self) -> Result<BTreeMap<String, Value>> {
        let mut output = self.terraform("output");
        let text = ask(output.arg("-json"))?.or_fix("run `cargo xtask deploy network` first: there is no state yet")?;
        let outputs: BTreeMap<String, Value> = serde_json::from_str(&text).context("terraform output gave no JSON")?;
        Ok(outputs.into_iter().map(|(name, mut output)| (name, output["value"].take())).collect())
    }

    /// One of them, as a text that is not empty.
    pub(super) fn output(&self, name: &str) -> Result<String> {
        let value = self.outputs()?.remove(name);
        let text = value.as_ref().and_then(Value::as_str).filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or_else(|| {
            failure(
                format!("Terraform's output {name} is empty, so what it names was not made"),
                "run the step that makes it; `cargo xtask deploy --target gcp` lists the steps",
            )
        })
    }

    /// What is given on the command line; none of it is secret. The rest is in terraform.tfvars.
    pub(super) fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::from([
            ("project_id".to_owned(), self.project.clone()),
            ("region".to_owned(), self.region.clone()),
            ("state_bucket".to_owned(), self.bucket.clone()),
        ]);
        if let Some(image) = self.wanted_image() {
            variables.insert("image".to_owned(), image);
        }
        variables
    }

    fn terraform(&self, command: &str) -> Command {
        let mut terraform = Command::new(&self.tools.terraform);
        terraform.arg(format!("-chdir={}", self.root_module())).arg(command).env("TF_IN_AUTOMATION", "1");
        terraform
    }

    fn plan_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.tfplan"))
    }

    fn forget_plan(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.plan_file(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Whether a described bucket is versioned, and can never be public.
fn is_safe(described: &str) -> bool {
    let bucket: Value = serde_json::from_str(described).unwrap_or_default();
    bucket["versioning_enabled"] == true
        && bucket["uniform_bucket_level_access"] == true
        && bucket["public_access_prevention"] == "enforced"
}
