use secrecy::ExposeSecret;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn new_key(tenant: &str, expires_at: Option<Timestamp>) -> NewKey {
    NewKey { name: "CI".into(), tenant: Scope::tenant(tenant).unwrap(), access: "read".parse().unwrap(), expires_at }
}

fn prefix_of(key: &SecretString) -> String {
    key::prefix(key).unwrap().to_owned()
}

#[test]
fn a_key_is_known_until_it_expires() {
    let mut ring = KeyRing::default();
    let key = ring.create(new_key("acme", Some(at(60))), at(0)).unwrap();
    let identity = ring.identify(&key, at(59)).unwrap();
    assert_eq!(
        (identity.tenant.tenant_name(), &*identity.name, identity.access.to_string()),
        ("acme", "CI", "read".into())
    );
    assert_eq!(identity.key, Some(prefix_of(&key)));
    assert_eq!(ring.identify(&key, at(60)), Err(Refusal::Expired));
    let other = key::generate_under(&prefix_of(&key)).unwrap();
    assert_eq!(ring.identify(&other, at(0)), Err(Refusal::Unknown), "the right prefix with another secret");
    assert_eq!(ring.identify(&key::generate().unwrap(), at(0)), Err(Refusal::Unknown));
}

#[test]
fn rotation_overlaps_and_then_only_the_newest_holds() {
    let mut ring = KeyRing::default();
    let first = ring.create(new_key("acme", None), at(0)).unwrap();
    let prefix = prefix_of(&first);
    let second = ring.rotate(&prefix, Duration::from_secs(100), at(10)).unwrap();
    assert!(ring.identify(&first, at(109)).is_ok() && ring.identify(&second, at(10)).is_ok());
    assert_eq!(ring.identify(&first, at(110)), Err(Refusal::Unknown));
    // A shorter overlap ends what an earlier rotation left, too.
    let third = ring.rotate(&prefix, Duration::ZERO, at(20)).unwrap();
    assert_eq!(ring.identify(&first, at(20)), Err(Refusal::Unknown));
    assert_eq!(ring.identify(&second, at(20)), Err(Refusal::Unknown));
    assert!(ring.identify(&third, at(20)).is_ok());
    assert_eq!(ring.key(&prefix).unwrap().rotated_at, Some(at(20)));
    let forever = ring.rotate(&prefix, Duration::MAX, at(30)).unwrap();
    assert!(ring.identify(&third, at(1_000_000_000)).is_ok() && ring.identify(&forever, at(30)).is_ok());
}

#[test]
fn a_revoked_key_is_gone_and_its_sibling_stays() {
    let mut ring = KeyRing::default();
    let (one, sibling) =
        (ring.create(new_key("a", None), at(0)).unwrap(), ring.create(new_key("b", None), at(0)).unwrap());
    ring.rotate(&prefix_of(&one), Duration::from_secs(100), at(0)).unwrap();
    ring.revoke(&prefix_of(&one)).unwrap();
    assert_eq!(ring.identify(&one, at(1)), Err(Refusal::Unknown));
    assert!(ring.identify(&sibling, at(1)).is_ok());
    assert!(matches!(ring.revoke(&prefix_of(&one)), Err(KeysError::NoSuchKey(_))));
}

#[test]
fn the_file_holds_hashes_and_is_its_owners() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/keys.json");
    assert_eq!(load(&path).unwrap(), None);
    let key = change(&path, |ring| ring.create(new_key("acme", None), at(0))).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let secret = key.expose_secret().rsplit('_').next().unwrap();
    assert!(text.contains(&prefix_of(&key)) && !text.contains(secret), "{text}");
    assert!(load(&path).unwrap().unwrap().identify(&key, at(1)).is_ok());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // A change that fails leaves the file as it was.
    change(&path, |ring| ring.revoke("none").map(drop)).unwrap_err();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn changes_at_once_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| change(&path, |ring| ring.create(new_key("acme", None), at(0))).unwrap());
        }
    });
    assert_eq!(load(&path).unwrap().unwrap().keys().len(), 8);
}

#[test]
fn a_file_that_is_none_of_ours_says_where_and_quotes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    for (text, reason) in [
        ("{\"version\": 1,\n \"secret\"", "not a list of keys, at line 2"),
        ("{\"version\": 2, \"keys\": {}}", "its version is 2, this program reads 1"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(reason) && !error.contains("secret"), "{error}");
    }
}
