//! What `compose.yaml` asks of the program. No engine runs here: its containers are the program with that environment.

use std::path::Path;

use memory_testkit::services::{self, Service};
use serde_json::Value;

use super::support::{Orchestra, ran};

/// What compose.yaml says of a service.
fn service(name: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../compose.yaml");
    let compose: Value = yaml_serde::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    compose["services"][name].clone()
}

/// Its environment, with the passwords of an `.env`.
fn environment(name: &str) -> Vec<(String, String)> {
    let service = service(name);
    let written = service["environment"].as_object().unwrap().iter();
    let filled = |value: &Value| {
        let value = value.as_str().unwrap();
        value
            .replace("${ORCHESTRA_APP_PASSWORD:?set it in .env}", "app")
            .replace("${POSTGRES_PASSWORD:?set it in .env}", "owner")
    };
    let environment: Vec<_> = written.map(|(name, value)| (name.clone(), filled(value))).collect();
    assert!(environment.iter().all(|(_, value)| !value.contains("${")), "{environment:?}");
    environment
}

#[test]
fn the_server_of_the_compose_file_can_be_set_so() {
    let orchestra = Orchestra::new();
    let check = |change: Option<(&str, &str)>| {
        let mut command = orchestra.command(&["config", "check"]);
        ran(&command.envs(environment("orchestra")).envs(change).output().unwrap())
    };
    assert_eq!(check(None).code, 0, "{:?}", check(None));
    assert_eq!(check(Some(("ORCHESTRA_ALLOYDB_TLS", "perhaps"))).code, 1, "the control");
}

#[test]
fn the_server_of_the_image_needs_a_key() {
    let orchestra = Orchestra::new();
    let serve = || {
        let mut command = orchestra.command(&["serve"]);
        command.env("ORCHESTRA_LISTEN", "0.0.0.0:0").envs([("ORCHESTRA_SHORT_TERM_PROVIDER", "none")]);
        command
    };
    let refused = ran(&serve().output().unwrap());
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("keys create"), "{}", refused.err);
}

#[tokio::test]
async fn the_migration_of_the_compose_file_prepares_a_database() {
    let Some(server) = services::private(Service::Postgres) else { return };
    let written = service("migrate")["command"].as_str().unwrap().to_owned();
    let arguments: Vec<&str> = written.split_whitespace().collect();
    let orchestra = Orchestra::new();
    let mut command = orchestra.command(&arguments);
    command.envs(environment("migrate")).env("DATABASE_URL", server.url());
    let migrated = ran(&command.output().unwrap());
    assert_eq!(migrated.code, 0, "{migrated:?}");
    let mut check = orchestra.command(&["config", "check", "--connect"]);
    check.envs(environment("orchestra")).env("ORCHESTRA_SHORT_TERM_PROVIDER", "none");
    check.env("ORCHESTRA_ALLOYDB_HOST", "127.0.0.1").env("ORCHESTRA_ALLOYDB_PORT", server.port().to_string());
    check.env("ORCHESTRA_ALLOYDB_DATABASE", "postgres");
    let checked = ran(&check.output().unwrap());
    assert_eq!(checked.code, 0, "{checked:?}");
}
