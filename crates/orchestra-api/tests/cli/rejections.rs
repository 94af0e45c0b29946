//! `orchestra forget --reject` and `orchestra rejections`.

use super::support::Orchestra;

#[test]
fn a_rejected_value_is_refused_until_it_is_lifted() {
    let orchestra = Orchestra::new();
    let remember = ["remember", "Maya has a sister", "--user", "maya"];
    let id = orchestra.json(&remember)["id"].as_str().unwrap().to_owned();
    let ran = orchestra.ok(&["forget", &id, "--user", "maya", "--reject"]);
    assert_eq!(ran.out, "forgot one memory, one value rejected\n");
    let refused = orchestra.run(&remember);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("was rejected in its scope"), "{}", refused.err);
    let listed = orchestra.ok(&["rejections", "list"]).out;
    let key =
        orchestra.json(&["rejections", "list", "--user", "maya"])["rejections"][0]["key"].as_str().unwrap().to_owned();
    assert!(listed.contains(&key) && listed.contains("maya") && listed.contains("owner"), "{listed}");
    assert_eq!(orchestra.ok(&["rejections", "lift", &key]).out, format!("lifted {key}\n"));
    assert!(orchestra.ok(&["rejections", "lift", &key]).err.contains("no rejection of this key"));
    assert!(orchestra.ok(&["rejections", "list"]).err.contains("Nothing is rejected."));
    orchestra.ok(&remember);
}
