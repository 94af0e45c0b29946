//! `orchestra keys`.

use std::path::PathBuf;
use std::time::Duration;

use chrono::Utc;
use clap::Subcommand;
use memory_core::{Scope, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::arguments::duration;
use super::failure::{Failure, Outcome};
use super::screen::{Column, Screen};
use super::{Globals, connect, words};
use crate::identity::keyring::{self, Key, KeysError, NewKey};
use crate::identity::{Access, key};

/// Make, show, replace and revoke the API keys of a server.
///
/// A key speaks for one tenant and may read, write or administer. The server asks every caller for a key as soon as the
/// file of keys is there, keys.json in its data folder; what is changed here counts within a second. The file holds hashes:
/// a key is shown once, when it is made.
///
/// Commands show a server the key in the environment variable ORCHESTRA_API_KEY. A folder that is opened needs none.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra keys create --tenant acme --name CI --scopes read,write --expires 90d
  orchestra keys list
  ORCHESTRA_API_KEY=om_… orchestra recall 'where does maya like to sit?' --url https://memory.example.com")]
pub struct Args {
    #[command(subcommand)]
    command: Command,

    /// The file of keys. Default: keys.json in the data folder.
    #[arg(long, env = "ORCHESTRA_AUTH_KEYS_FILE", value_name = "FILE", global = true)]
    keys_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Create),
    List(List),
    Rotate(Rotate),
    Revoke(Revoke),
}

/// Make a key for the tenant that --tenant names, and show it once.
///
/// The key alone goes to the standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra keys create --tenant acme --name CI --expires 90d
  export ORCHESTRA_API_KEY=$(orchestra keys create --tenant acme --scopes read)")]
struct Create {
    /// What you call it; lists show it.
    #[arg(long, default_value = "")]
    name: String,
    /// What it may do. read: reads, searches, cache lookups. write: writes, corrections, forgetting what is named, cache
    /// entries. admin: forgetting a whole scope, and the stats of the process. move: the whole store, of every tenant, for
    /// whoever moves it. None includes another.
    #[arg(long, value_name = "LIST", default_value = "read,write")]
    scopes: Access,
    /// How long it is valid, such as 90d. Default: until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    expires: Option<Duration>,
}

/// Show the keys, oldest first. None of them can be read back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra keys list --json")]
struct List {}

/// Replace the secret of a key, and show the new one once.
///
/// The new one is valid at once. What was valid before goes on for a while, so that the programs that have it can be given
/// the new one. Prefix, tenant, scopes and expiry stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra keys rotate 3f9a01bc
  orchestra keys rotate 3f9a01bc --overlap 0s    # at once, when the old one is known to others")]
struct Rotate {
    /// The key's prefix, as `orchestra keys list` shows it.
    prefix: String,
    /// How long what was valid before still is.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "24h")]
    overlap: Duration,
}

/// Take a key out for good, and with it what rotations left.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  orchestra keys revoke 3f9a01bc")]
struct Revoke {
    /// The key's prefix, as `orchestra keys list` shows it.
    prefix: String,
}

pub fn run(args: Args, globals: &Globals, screen: &Screen) -> Outcome {
    let file = match args.keys_file {
        Some(file) => file,
        None => connect::settings(globals)?.keys_file(),
    };
    let now = Utc::now();
    match args.command {
        Command::Create(create) => {
            let tenant = Scope::tenant(globals.tenant.as_str()).map_err(|error| {
                Failure::mistake(error.to_string(), "name the tenant with --tenant, such as --tenant acme")
            })?;
            let first = !file.exists();
            let expires_at = create.expires.map(|expires| ends(now, expires)).transpose()?;
            let new = NewKey { name: create.name, tenant, access: create.scopes, expires_at };
            let (text, kept) = keyring::change(&file, |ring| {
                let text = ring.create(new, now)?;
                let kept = ring.key(key::prefix(&text).unwrap_or_default()).cloned();
                Ok((text, kept))
            })
            .map_err(failure)?;
            show_once(&text, kept, screen)?;
            screen.note("This is the only time the key is shown. Commands take it from ORCHESTRA_API_KEY.");
            if first {
                screen.note("It is the first: from now on the server of this file asks every caller for a key.");
            }
            Ok(())
        }
        Command::List(List {}) => list(&keyring::load(&file).map_err(failure)?.unwrap_or_default().keys(), now, screen),
        Command::Rotate(Rotate { prefix, overlap }) => {
            let rotated = keyring::change(&file, |ring| {
                let text = ring.rotate(&prefix, overlap, now)?;
                Ok((text, ring.key(&prefix).cloned()))
            });
            let (text, kept) = rotated.map_err(failure)?;
            show_once(&text, kept, screen)?;
            screen.note(&match overlap.as_secs() {
                0 => "This is the only time the key is shown. The one before is no longer valid.".into(),
                _ => format!(
                    "This is the only time the key is shown. The one before is valid until {}.",
                    ends(now, overlap).map_or_else(|_| "it is revoked".into(), minute),
                ),
            });
            Ok(())
        }
        Command::Revoke(Revoke { prefix }) => {
            let key = keyring::change(&file, |ring| ring.revoke(&prefix)).map_err(failure)?;
            if screen.is_json() {
                return Ok(screen.json(&json!({"revoked": body(&prefix, &key)}))?);
            }
            Ok(screen.line(&format!("revoked {prefix} of {}: servers refuse it within a second", key.tenant))?)
        }
    }
}

/// The key alone, so that a shell can take it.
fn show_once(text: &SecretString, kept: Option<Key>, screen: &Screen) -> Outcome {
    let text = text.expose_secret();
    if !screen.is_json() {
        return Ok(screen.line(text)?);
    }
    let prefix = text.split('_').nth(1).unwrap_or_default();
    let mut shown = kept.map_or_else(|| json!({}), |kept| body(prefix, &kept));
    shown["key"] = text.into();
    Ok(screen.json(&shown)?)
}

fn list(keys: &[(&str, &Key)], now: Timestamp, screen: &Screen) -> Outcome {
    if screen.is_json() {
        let keys: Vec<Value> = keys.iter().map(|(prefix, key)| body(prefix, key)).collect();
        return Ok(screen.json(&json!({"keys": keys}))?);
    }
    if keys.is_empty() {
        screen.note("There are no keys: `orchestra keys create` makes one.");
        return Ok(());
    }
    let columns = [
        Column::new("Prefix"),
        Column::new("Name").wraps(),
        Column::new("Tenant").cyan(),
        Column::new("Scopes"),
        Column::new("Created").grey(),
        Column::new("Expires"),
        Column::new("Rotated").grey(),
    ];
    let row = |(prefix, key): &(&str, &Key)| {
        let expires = match key.expires_at {
            None => "never".into(),
            Some(end) if end <= now => format!("expired {}", words::relative(end, now)),
            Some(end) => minute(end),
        };
        vec![
            (*prefix).into(),
            key.name.clone(),
            key.tenant.clone(),
            key.scopes.to_string(),
            words::relative(key.created_at, now),
            expires,
            key.rotated_at.map_or_else(|| "never".into(), |at| words::relative(at, now)),
        ]
    };
    Ok(screen.table(&columns, keys.iter().map(row).collect())?)
}

/// What of a key is no secret. Its hash is none either, and is nobody's business.
fn body(prefix: &str, key: &Key) -> Value {
    json!({
        "prefix": prefix,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": key.scopes,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "rotated_at": key.rotated_at,
    })
}

fn ends(now: Timestamp, after: Duration) -> Outcome<Timestamp> {
    let end = chrono::Duration::from_std(after).ok().and_then(|after| now.checked_add_signed(after));
    end.ok_or_else(|| Failure::mistake("that is longer than a calendar goes", "leave it out for a key without an end"))
}

fn minute(moment: Timestamp) -> String {
    format!("{} UTC", moment.format("%Y-%m-%d %H:%M"))
}

fn failure(error: KeysError) -> Failure {
    let message = crate::error::chain(&error);
    match error {
        KeysError::NoSuchKey(_) => Failure::mistake(message, "`orchestra keys list` shows the prefixes"),
        KeysError::File { path, source, .. } => Failure::io(path.display(), &source),
        KeysError::Broken { .. } => {
            Failure::mistake(message, "put a copy of the file back, or remove it and make new keys")
        }
        _ => Failure::ours(message, "try again"),
    }
}
