//! Files that are not what they should be, and files in use.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use memory_core::{AppendRequest, Error, MemoryStore, NewMessage, Role, WorkingMemory};
use memory_testkit::make;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::support::{Home, count, memory};

/// Why a file is refused. It must be left as it was.
async fn refusal(home: &Home) -> String {
    let before = fs::read(home.path()).ok();
    let error = EmbeddedProvider::open(home.config()).await.expect_err("the file is refused");
    assert!(matches!(error, Error::Unusable { .. }), "{error:?}");
    assert_eq!(fs::read(home.path()).ok(), before, "the file is left as it was");
    error.to_string()
}

async fn other_program(path: &Path, sql: &'static str) {
    let mut database = SqliteConnection::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.expect("open");
    database.execute(sql).await.expect("write");
    database.close().await.expect("close");
}

/// A closed store of some pages.
async fn written(home: &Home) {
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let memories = (0..500).map(|at| memory(&scope, &format!("entry {at} {}", "of some length ".repeat(20))));
    store.insert(make::batch(memories)).await.expect("insert");
    store.close().await.expect("close");
}

#[tokio::test]
async fn a_foreign_database_is_refused() {
    let home = Home::new();
    other_program(&home.path(), "CREATE TABLE theirs (id INTEGER PRIMARY KEY)").await;
    let reason = refusal(&home).await;
    assert!(
        reason.ends_with("is a SQLite database of another program; it was left as it is, give another path"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let home = Home::new();
    fs::write(home.path(), "a letter to grandmother, and not a database at all. ".repeat(9)).expect("write");
    let reason = refusal(&home).await;
    assert!(reason.ends_with("is not a SQLite database; it was left as it is, give another path"), "{reason}");
}

#[tokio::test]
async fn an_empty_file_is_refused() {
    let home = Home::new();
    File::create(home.path()).expect("create");
    let reason = refusal(&home).await;
    assert!(reason.contains("is empty and so not a memory store; remove it to start anew"), "{reason}");
}

#[tokio::test]
async fn a_folder_is_refused() {
    let home = Home::new();
    fs::create_dir(home.path()).expect("create");
    let reason = refusal(&home).await;
    assert!(reason.contains("is a folder; give the path of a file in it"), "{reason}");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let home = Home::new();
    written(&home).await;
    other_program(&home.path(), "PRAGMA user_version = 99").await;
    let reason = refusal(&home).await;
    assert!(reason.contains("was written by a newer version (schema 99, this one knows 8)"), "{reason}");
}

#[tokio::test]
async fn a_file_of_the_first_schema_is_brought_up_to_date() {
    let home = Home::new();
    written(&home).await;
    let back_to_the_first = "
        DROP TABLE session_key;
        DROP TABLE session_message;
        DROP TABLE session;
        ALTER TABLE cache_entry DROP COLUMN sliding_ttl;
        DROP TRIGGER memory_updated;
        DROP TRIGGER memory_removed;
        DROP TRIGGER memory_written_for_streams;
        DROP TRIGGER memory_changed_for_streams;
        DROP TRIGGER memory_removed_for_streams;
        DROP TRIGGER tombstone_written_for_streams;
        DROP TRIGGER tombstone_changed_for_streams;
        DROP TRIGGER text_forgotten_for_streams;
        DROP TRIGGER text_removed_for_streams;
        DROP TRIGGER key_written_for_streams;
        DROP TRIGGER key_removed_for_streams;
        DROP TRIGGER rejection_written_for_streams;
        DROP TRIGGER rejection_changed_for_streams;
        DROP TRIGGER rejection_lifted_for_streams;
        DROP TABLE follower;
        DROP TABLE change;
        DROP INDEX memory_without_vector;
        DROP TABLE rejection;
        DROP TABLE stream;
        DROP TABLE item_change;
        ALTER TABLE memory DROP COLUMN changed;
        ALTER TABLE store DROP COLUMN epoch;
        ALTER TABLE store DROP COLUMN writers;
        ALTER TABLE store DROP COLUMN clock;
        DELETE FROM _sqlx_migrations WHERE version > 1;
        PRAGMA user_version = 1";
    other_program(&home.path(), back_to_the_first).await;
    let scope = make::session("acme", "ann", "monday");
    for numbers in [1, 2] {
        let store = home.open().await;
        assert_eq!(count(&store, &make::user("acme", "ann"), "entry").await, 500, "what was there is there");
        let append = AppendRequest::new(scope.clone(), vec![NewMessage::new(Role::User, "hello")]);
        assert_eq!(store.append(append).await.expect("append").last, numbers, "a session outlives the process");
        store.close().await.expect("close");
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let home = Home::new();
    written(&home).await;
    let length = fs::metadata(home.path()).expect("metadata").len();
    for keep in [length / 2, length - 1, 512, 50] {
        let copy = Home::new();
        fs::copy(home.path(), copy.path()).expect("copy");
        File::options().write(true).open(copy.path()).and_then(|file| file.set_len(keep)).expect("truncate");
        let reason = refusal(&copy).await;
        assert!(reason.contains("is truncated") || reason.contains("is not a SQLite database"), "{keep}: {reason}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let home = Home::new();
    written(&home).await;
    let length = fs::metadata(home.path()).expect("metadata").len();
    for page in [0, 1, 2, length / 4096 / 2] {
        let copy = Home::new();
        fs::copy(home.path(), copy.path()).expect("copy");
        let mut file = File::options().write(true).open(copy.path()).expect("open");
        // Not the header on the first page, so that the file still says that it is ours.
        let start = if page == 0 { 100 } else { page * 4096 };
        file.seek(SeekFrom::Start(start)).expect("seek");
        file.write_all(&vec![0xA5; ((page + 1) * 4096 - start) as usize]).expect("write");
        drop(file);
        let reason = refusal(&copy).await;
        assert!(
            reason.contains("is damaged; restore a backup") || reason.contains("cannot be opened"),
            "page {page}: {reason}"
        );
    }
}

#[tokio::test]
async fn a_log_without_its_file_is_not_taken_for_a_new_store() {
    let home = Home::new();
    fs::write(home.folder.path().join("memory.db-wal"), [7; 100]).expect("write");
    let reason = refusal(&home).await;
    assert!(reason.contains("is missing, but its write-ahead log"), "{reason}");
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_refused() {
    let home = Home::new();
    let file = home.folder.path().join("file");
    fs::write(&file, "no folder").expect("write");
    let config = EmbeddedConfig::new(file.join("deep").join("memory.db"));
    let reason = EmbeddedProvider::open(config).await.expect_err("no folder can be made there").to_string();
    assert!(reason.contains("cannot be used as a folder") && reason.contains("deep"), "{reason}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_without_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let home = Home::new();
    fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o500)).expect("chmod");
    // Permission bits do not hold for root.
    if File::create(home.folder.path().join("probe")).is_err() {
        let reason = refusal(&home).await;
        assert!(reason.contains("cannot be written; give a folder this process may write to"), "{reason}");
    }
    fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
}

#[tokio::test]
async fn a_second_open_is_refused_until_the_first_is_closed() {
    let home = Home::new();
    let store = home.open().await;
    let clone = store.clone();
    let error = EmbeddedProvider::open(home.config()).await.expect_err("in use").to_string();
    assert!(
        error.contains(&format!("is in use by process {}; one process opens it at a time", std::process::id())),
        "{error}"
    );
    store.close().await.expect("close");
    let again = home.open().await;
    assert!(clone.health().await.is_err(), "a handle on the closed store stays closed");
    clone.close().await.expect("closing twice does nothing");
    again.health().await.expect("and does not touch the new one");
}

#[tokio::test]
async fn a_half_made_file_of_a_killed_process_is_made_again() {
    let home = Home::new();
    fs::write(home.folder.path().join("memory.db.new"), "half").expect("write");
    let store = home.open().await;
    assert_eq!(count(&store, &make::user("acme", "ann"), "entry").await, 0);
    assert!(!home.folder.path().join("memory.db.new").exists());
}

#[tokio::test]
async fn what_was_forgotten_is_not_in_the_files() {
    let home = Home::new();
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let secret = "xylophone-4711-marmalade";
    let one = memory(&scope, secret);
    let id = one.id;
    store.insert(make::batch([one, memory(&scope, "something else")])).await.expect("insert");
    let patch = memory_core::MemoryPatch { text: Some(format!("{secret} again")), ..Default::default() };
    store.update(&scope, id, patch).await.expect("update");
    assert!(holds(&home, secret), "the test looks in the right place");
    let request = memory_core::ForgetRequest {
        scope: scope.clone(),
        selection: memory_core::Selection::Ids(vec![id]),
        dry_run: false,
    };
    store.forget(&request).await.expect("forget");
    store.close().await.expect("close");
    assert!(!holds(&home, secret), "neither the file nor its log has the text any more");
}

fn holds(home: &Home, text: &str) -> bool {
    let files =
        fs::read_dir(home.folder.path()).expect("a folder").filter_map(|entry| fs::read(entry.ok()?.path()).ok());
    files.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}
