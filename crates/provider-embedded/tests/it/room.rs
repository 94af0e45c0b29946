//! A store without room: by its own limit, and on a full disk.

use memory_core::{Error, ForgetRequest, MemoryStore, Scope, Selection};
use memory_testkit::make;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};

use crate::support::{Home, count, memory};

fn scope() -> Scope {
    make::user("acme", "ann")
}

fn large(at: usize) -> memory_core::InsertBatch {
    make::batch((0..10).map(|part| memory(&scope(), &format!("entry {at} {part} {}", "filling the file ".repeat(100)))))
}

/// Writes until there is no room; gives how many memories were acknowledged.
async fn fill(store: &EmbeddedProvider) -> usize {
    for at in 0..10_000 {
        match store.insert(large(at)).await {
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, Error::StorageFull { provider: "embedded", .. }), "{error:?}");
                assert!(error.is_retryable());
                return at * 10;
            }
        }
    }
    panic!("the store has no end");
}

async fn serves_reads_and_recovers(store: &EmbeddedProvider, written: usize) {
    store.health().await.expect("it still reads");
    assert_eq!(count(store, &scope(), "entry").await, written, "what was acknowledged is there and nothing else");
    let stats = MemoryStore::stats(store, &scope()).await.expect("stats");
    assert_eq!(stats.memories as usize, written, "nothing is half written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_refuses_writes_and_lets_them_in_again() {
    let home = Home::new();
    let config = EmbeddedConfig { max_size_bytes: Some(2 << 20), ..home.config() };
    let store = EmbeddedProvider::open(config.clone()).await.expect("open");
    let written = fill(&store).await;
    serves_reads_and_recovers(&store, written).await;

    // One that does not fit takes none of the small ones with it that wait beside it.
    let small = (0..8).map(|at| store.insert(make::batch([memory(&scope(), &format!("small {at}"))])));
    let (too_large, small) = tokio::join!(store.insert(large(0)), futures(small));
    assert!(matches!(too_large, Err(Error::StorageFull { .. })), "{too_large:?}");
    let fitted = small.iter().filter(|result| result.is_ok()).count();
    assert_eq!(count(&store, &scope(), "small").await, fitted);

    let page = memory_core::ListRequest {
        scope: scope(),
        filter: None,
        limit: 200,
        cursor: None,
        newest_first: false,
        with_embeddings: false,
    };
    let old = store.list(&page).await.expect("list").memories.iter().map(|(memory, _)| memory.id).collect();
    let forget = ForgetRequest { scope: scope(), selection: Selection::Ids(old), dry_run: false };
    assert_eq!(store.forget(&forget).await.expect("forgetting needs no room").forgotten.len(), 200);
    store.insert(large(0)).await.expect("there is room again");
    store.close().await.expect("close");
    let store = EmbeddedProvider::open(config).await.expect("open");
    assert_eq!(
        MemoryStore::stats(&store, &scope()).await.expect("stats").memories as usize,
        written + fitted - 200 + 10
    );
}

async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut results = Vec::new();
    for one in all {
        results.push(one.await);
    }
    results
}

/// A small file system, where this process may mount one.
#[cfg(target_os = "linux")]
struct SmallDisk {
    home: Home,
}

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount() -> Option<Self> {
        let home = Home::new();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(home.folder.path());
        let mounted = mount.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(Self { home })
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.home.folder.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_lets_them_in_again() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: this process may not mount a small file system");
        return;
    };
    let ballast = disk.home.folder.path().join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).expect("the ballast fits");
    let store = disk.home.open().await;
    let written = fill(&store).await;
    serves_reads_and_recovers(&store, written).await;
    std::fs::remove_file(&ballast).expect("remove");
    store.insert(large(0)).await.expect("there is room again");
    store.close().await.expect("close");
    let store = disk.home.open().await;
    assert_eq!(count(&store, &scope(), "entry").await, written + 10);
    store.close().await.expect("close");
}
