//! Application default credentials, as the program finds them, against a server that stands in for Google's: its metadata
//! server, its exchange of tokens and its impersonation of service accounts.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::{Json, Router};
use serde_json::{Value, json};

/// What an identity provider has written down for the program.
const PROOF: &str = "proof-of-identity";
const FEDERATED: &str = "federated-token";
const FINAL: &str = "token-of-the-service-account";

/// What was asked of the stand-in, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// Its host, and what it was asked.
async fn google() -> (String, Asked) {
    let asked = Asked::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let app = Router::new().fallback(answer).with_state(asked.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (host, asked)
}

async fn answer(State(asked): State<Asked>, uri: Uri, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    asked.lock().unwrap().push(uri.path().to_owned());
    let has = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    let token = |token| json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600 });
    match uri.path() {
        "/computeMetadata/v1/instance/service-accounts/default/token" if has("metadata-flavor", "Google") => {
            (StatusCode::OK, Json(token(FINAL)))
        }
        "/exchange" if body.contains(&format!("subject_token={PROOF}")) => {
            let mut given = token(FEDERATED);
            given["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:access_token");
            (StatusCode::OK, Json(given))
        }
        "/impersonate" if has("authorization", &format!("Bearer {FEDERATED}")) => {
            (StatusCode::OK, Json(json!({ "accessToken": FINAL, "expireTime": "2100-01-01T00:00:00Z" })))
        }
        _ => (StatusCode::FORBIDDEN, Json(json!({ "error": "invalid_grant", "error_description": "not you" }))),
    }
}

/// `cost-monitor access`, with no other credentials than these.
async fn access(home: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_cost-monitor"));
    command.arg("access").env_remove("GOOGLE_APPLICATION_CREDENTIALS").env("HOME", home);
    command.envs(variables.iter().copied()).stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
}

/// A configuration of workload identity federation, and the proof beside it.
fn federation(folder: &Path, host: &str, proof: &str) -> String {
    std::fs::write(folder.join("proof"), proof).unwrap();
    let configuration = json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": format!("http://{host}/exchange"),
        "service_account_impersonation_url": format!("http://{host}/impersonate"),
        "credential_source": { "file": folder.join("proof") },
    });
    let file = folder.join("federation.json");
    std::fs::write(&file, configuration.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Both streams, with nothing in it that is secret.
fn shown(output: &Output) -> String {
    let shown = [&output.stdout[..], &output.stderr].concat();
    let shown = String::from_utf8(shown).unwrap();
    assert!(![PROOF, FEDERATED, FINAL].iter().any(|secret| shown.contains(secret)), "{shown}");
    shown
}

#[tokio::test]
async fn a_stand_in_for_the_metadata_server_gives_the_identity_of_the_machine() {
    let (host, asked) = google().await;
    let home = tempfile::tempdir().unwrap();
    let output = access(home.path(), &[("GCE_METADATA_HOST", &host)]).await;
    assert_eq!(shown(&output), "Google gives an access token\n");
    assert!(output.status.success());
    assert_eq!(*asked.lock().unwrap(), ["/computeMetadata/v1/instance/service-accounts/default/token"]);
}

#[tokio::test]
async fn a_stand_in_for_googles_exchange_takes_a_workload_identity() {
    let (host, asked) = google().await;
    let home = tempfile::tempdir().unwrap();
    let file = federation(home.path(), &host, PROOF);
    let output = access(home.path(), &[("GOOGLE_APPLICATION_CREDENTIALS", &file)]).await;
    assert_eq!(shown(&output), "Google gives an access token\n");
    assert_eq!(*asked.lock().unwrap(), ["/exchange", "/impersonate"]);
}

#[tokio::test]
async fn what_a_stand_in_for_google_refuses_is_told_without_the_proof() {
    let (host, _) = google().await;
    let home = tempfile::tempdir().unwrap();
    let file = federation(home.path(), &host, "proof-of-someone-else");
    let output = access(home.path(), &[("GOOGLE_APPLICATION_CREDENTIALS", &file)]).await;
    assert_eq!(output.status.code(), Some(2));
    let shown = shown(&output);
    assert!(shown.contains("no access token can be had") && !shown.contains("proof-of-someone-else"), "{shown}");
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_told_without_what_is_in_them() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("key.json");
    std::fs::write(&file, r#"{"type": "service_account", "private_key": "very-secret""#).unwrap();
    for named in [file.clone(), home.path().join("none.json")] {
        let output = access(home.path(), &[("GOOGLE_APPLICATION_CREDENTIALS", named.to_str().unwrap())]).await;
        let shown = shown(&output);
        assert!(!output.status.success());
        assert!(shown.contains("set GOOGLE_APPLICATION_CREDENTIALS"), "{shown}");
        assert!(!shown.contains("very-secret"), "{shown}");
    }
}
