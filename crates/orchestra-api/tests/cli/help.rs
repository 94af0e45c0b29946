//! What --help says is read by people: a change of it is seen in review.

use super::support::{bare, ran};

fn help(command: &[&str]) -> String {
    let ran = ran(&bare(&[command, &["--help"]].concat()).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.out
}

#[test]
fn every_command_teaches_itself() {
    let commands: [&[&str]; 51] = [
        &[],
        &["serve"],
        &["remember"],
        &["recall"],
        &["ask"],
        &["get"],
        &["list"],
        &["update"],
        &["forget"],
        &["rejections"],
        &["rejections", "list"],
        &["rejections", "lift"],
        &["history"],
        &["import"],
        &["export"],
        &["consolidate"],
        &["session"],
        &["session", "append"],
        &["session", "window"],
        &["session", "promote"],
        &["session", "clear"],
        &["cache"],
        &["cache", "get"],
        &["cache", "put"],
        &["cache", "invalidate"],
        &["cache", "feedback"],
        &["stats"],
        &["usage"],
        &["mcp"],
        &["mcp", "install"],
        &["db"],
        &["db", "migrate"],
        &["db", "status"],
        &["db", "followers"],
        &["db", "unfollow"],
        &["index"],
        &["index", "status"],
        &["index", "build"],
        &["index", "tune"],
        &["config"],
        &["config", "check"],
        &["config", "show"],
        &["config", "schema"],
        &["keys"],
        &["keys", "create"],
        &["keys", "list"],
        &["keys", "rotate"],
        &["keys", "revoke"],
        &["openapi"],
        &["demo"],
        &["completions"],
    ];
    for command in commands {
        let text = help(command);
        assert!(command.is_empty() || text.contains("Example"), "{command:?} shows no example");
        insta::assert_snapshot!(
            format!("help_{}", if command.is_empty() { "orchestra".into() } else { command.join("_") }),
            text
        );
    }
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = ran(&bare(&["completions", shell]).output().unwrap());
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("recall"), "{shell}");
    }
}

#[test]
fn the_version_is_told() {
    assert_eq!(ran(&bare(&["--version"]).output().unwrap()).out, format!("orchestra {}\n", env!("CARGO_PKG_VERSION")));
}
