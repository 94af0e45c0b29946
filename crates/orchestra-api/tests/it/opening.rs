//! Data folders that cannot be used: each a clear error, and nothing in them changed.

use std::path::Path;

use orchestra_api::config::Settings;
use orchestra_api::error::chain;
use orchestra_api::state::AppState;

async fn refusal(data: &Path) -> String {
    let error = AppState::open(&Settings::for_data(data)).await.unwrap_err();
    chain(error.as_ref()).replace(&data.display().to_string(), "<data>")
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("memory.db");
    let foreign = b"This is somebody's letter and no database. ".repeat(200);
    std::fs::write(&file, &foreign).unwrap();
    let said = refusal(folder.path()).await;
    assert!(said.contains("<data>/memory.db"), "{said}");
    assert_eq!(std::fs::read(&file).unwrap(), foreign);
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::for_data(folder.path());
    AppState::open(&settings).await.unwrap().close(settings.shutdown_grace).await.unwrap();
    let file = settings.database();
    let mut bytes = std::fs::read(&file).unwrap();
    // The header stays, so that it is still one of ours at first sight.
    for byte in bytes.iter_mut().skip(100) {
        *byte ^= 0xa5;
    }
    std::fs::write(&file, &bytes).unwrap();
    let said = refusal(folder.path()).await;
    assert!(said.contains("<data>/memory.db"), "{said}");
}

#[tokio::test]
async fn a_file_in_the_place_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data");
    std::fs::write(&file, "").unwrap();
    let said = refusal(&file).await;
    assert!(said.starts_with("cannot make the data folder <data>: "), "{said}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a/b");
    let settings = Settings::for_data(&data);
    AppState::open(&settings).await.unwrap().close(settings.shutdown_grace).await.unwrap();
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn what_was_written_is_there_after_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::for_data(folder.path());
    for count in 0..3 {
        let state = AppState::open(&settings).await.unwrap();
        let router = orchestra_api::http::router(state.clone());
        let page = crate::send(&router, axum::http::Method::GET, "/v1/memories", &[], "").await.ok(200);
        assert_eq!(page["memories"].as_array().unwrap().len(), count);
        crate::send(&router, axum::http::Method::POST, "/v1/memories", &[], "{\"text\":\"one more\"}").await.ok(201);
        state.close(settings.shutdown_grace).await.unwrap();
        let late = crate::send(&router, axum::http::Method::GET, "/v1/memories", &[], "").await;
        assert!(late.problem().starts_with("503 shutting_down"), "{}", late.problem());
    }
}
