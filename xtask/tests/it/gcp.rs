//! The deployment to Google Cloud, with stand-ins for its tools: what is run, in which order, and what comes of a failure.

use std::fs;

use serde_json::Value;

use super::google::{Project, TOKEN};

/// The steps of a run and what became of them.
fn states(out: &str) -> Vec<(String, String)> {
    let told: Value = serde_json::from_str(out).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    told["steps"].as_array().unwrap().iter().map(|step| (text(&step["name"]), text(&step["state"]))).collect()
}

#[test]
fn a_plan_changes_nothing() {
    let project = Project::new();
    let planned = project.deploy(&[], "abc", None);
    assert!(planned.ok && planned.out.contains("add --apply to do it"), "{planned:?}");
    assert!(planned.out.contains("terraform -chdir=") && planned.out.contains("docker build"), "{}", planned.out);
    assert_eq!(project.take_calls(), "");
    assert!(!project.path("home/gcp-dev.json").exists());
}

#[test]
fn a_first_deployment_runs_these_commands() {
    let project = Project::new();
    let deployed = project.deploy(&["--apply"], "abc", None);
    assert!(deployed.ok, "{}", deployed.err);
    insta::assert_snapshot!(project.take_calls());
    for address in ["https://orchestra-dev-api.example.run.app", "10.64.1.2:6379", "orchestra@sha256:0000"] {
        assert!(deployed.out.contains(address), "{}", deployed.out);
    }
    assert_eq!(project.record()["current"], 1);
    assert_eq!(project.record()["run"], Value::Null, "it ended");
}

#[test]
fn a_new_revision_is_tried_before_it_serves_and_a_rollback_goes_back() {
    let project = Project::new();
    assert!(project.deploy(&["--apply"], "abc", None).ok);
    project.take_calls();
    let second = project.deploy(&["image", "api", "--apply"], "def", None);
    assert!(second.ok, "{}", second.err);
    let calls = project.take_calls();
    insta::assert_snapshot!(
        "a_second_revision",
        calls[calls.find("gcloud auth configure-docker").unwrap()..].to_owned()
    );
    assert_eq!(project.record()["current"], 2);

    let planned = project.deploy(&["--rollback"], "def", None);
    assert!(planned.out.contains("would let revision orchestra-dev-api-00001 serve again"), "{planned:?}");
    assert_eq!(project.take_calls(), "");
    let back = project.deploy(&["--rollback", "--apply"], "def", None);
    assert!(back.ok, "{}", back.err);
    insta::assert_snapshot!("a_rollback", project.take_calls());
    assert_eq!(project.record()["current"], 1);
}

#[test]
fn a_revision_that_is_not_well_gets_no_requests() {
    let project = Project::new();
    assert!(project.deploy(&["--apply"], "abc", None).ok);
    let failed =
        project.deploy(&["image", "api", "--apply"], "def", Some("run revisions describe orchestra-dev-api-00002"));
    assert!(!failed.ok && failed.err.contains("step api failed"), "{}", failed.err);
    assert_eq!(project.record()["current"], 1);
    let state: Value = serde_json::from_slice(&fs::read(project.path("state.json")).unwrap()).unwrap();
    assert_eq!(state["stable"], "orchestra-dev-api-00001", "the former revision has all requests");
}

#[test]
fn a_failure_names_step_command_and_fix_and_the_next_run_goes_on_there() {
    let project = Project::new();
    let order = "network iam secrets redis alloydb ha image migrations indexes api monitoring dashboards";
    let place = |step: &str| order.split(' ').position(|name| name == step).unwrap();
    for (step, call) in [
        ("network", "apply -input=false -lock-timeout=5m STATE/home/gcp-dev/network.tfplan"),
        ("iam", "-target=module.iam"),
        ("secrets", "secrets versions list"),
        ("redis", "-target=module.redis"),
        ("alloydb", "-target=module.alloydb"),
        ("ha", "alloydb instances list"),
        ("image", "docker push"),
        ("migrations", "run jobs execute orchestra-dev-migrations --project"),
        ("indexes", "--args=index,build"),
        ("api", "-target=module.api"),
        ("monitoring", "-target=module.monitoring"),
        ("dashboards", "monitoring dashboards list"),
    ] {
        let failed = project.deploy(&["--apply"], "abc", Some(call));
        assert!(!failed.ok && failed.err.contains(&format!("step {step} failed")), "{step}: {}", failed.err);
        for word in ["command: ", "the stand-in was told to fail", "fix:     "] {
            assert!(failed.err.contains(word), "{step}: {}", failed.err);
        }
        // All but the step that failed the last time, which is done now.
        let before = place(step).saturating_sub(1);
        assert_eq!(failed.err.matches("was done: ").count(), before, "{step}: {}", failed.err);
        assert_eq!(project.record()["run"]["at"], step);
    }
    project.take_calls();
    let resumed = project.deploy(&["--apply", "--json"], "abc", None);
    assert!(resumed.ok, "{}", resumed.err);
    let states = states(&resumed.out);
    let done = states.iter().filter(|(_, state)| state == "before").count();
    assert_eq!((done, states.len()), (place("dashboards"), 12), "{states:?}");
    assert!(!project.take_calls().contains("network.tfplan"), "what is done is not planned again");
}

#[test]
fn what_is_missing_is_told_with_what_to_type() {
    let project = Project::new();
    let fixes = [
        ("gcloud auth list", "gcloud auth login"),
        ("application-default", "gcloud auth application-default login"),
        ("gcloud projects describe", "gcloud projects create example-project"),
        ("gcloud billing", "gcloud billing projects link example-project"),
        ("docker version", "start it, or name an image"),
    ];
    for (call, fix) in fixes {
        let refused = project.deploy(&["--apply"], "abc", Some(call));
        assert!(
            !refused.ok && refused.err.contains("not ready to deploy") && refused.err.contains(fix),
            "{}",
            refused.err
        );
    }
    fs::remove_file(project.path("envs/dev/terraform.tfvars")).unwrap();
    let refused = project.deploy(&["--apply"], "abc", None);
    assert!(refused.err.contains("terraform.tfvars is not there"), "{}", refused.err);
    assert!(!project.take_calls().contains("apply"), "nothing was made");
}

#[test]
fn another_machine_deploys_a_step_when_what_it_needs_is_there() {
    let project = Project::new();
    let refused = project.deploy(&["image", "api", "--apply"], "abc", None);
    assert!(!refused.ok && refused.err.contains("step api needs redis: name both, or deploy all"), "{}", refused.err);
    assert!(project.deploy(&["--apply"], "abc", None).ok);
    fs::remove_file(project.path("home/gcp-dev.json")).unwrap();
    let elsewhere = project.deploy(&["image", "api", "--apply"], "def", None);
    assert!(elsewhere.ok && elsewhere.err.contains("redis is there"), "{}", elsewhere.err);
}

#[test]
fn drift_is_told_at_the_end() {
    let project = Project::new();
    assert!(project.deploy(&["--apply"], "abc", None).ok);
    let file = project.path("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    state["drift"] = true.into();
    fs::write(file, state.to_string()).unwrap();
    let told = project.deploy(&["--apply"], "abc", None);
    assert!(!told.ok && told.err.contains("a full plan of Terraform still has changes"), "{}", told.err);
}

#[test]
fn no_token_is_shown_passed_on_or_kept() {
    let project = Project::new();
    let first = project.deploy(&["--apply"], "abc", None);
    let second = project.deploy(&["image", "api", "--apply", "--json"], "def", None);
    let calls = project.take_calls();
    assert!(calls.contains("print-access-token") && calls.contains("print-identity-token"), "{calls}");
    let record = fs::read_to_string(project.path("home/gcp-dev.json")).unwrap();
    for text in [&first.out, &first.err, &second.out, &second.err, &calls, &record] {
        assert!(!text.contains(TOKEN), "{text}");
    }
    let left = fs::read_dir(project.path("home/gcp-dev")).unwrap().count();
    assert_eq!(left, 0, "plans that were applied are removed");
}
