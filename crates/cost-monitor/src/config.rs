//! The watcher's settings: a YAML file for what is decided, the environment for what is secret.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use secrecy::SecretString;
use serde::Deserialize;

use crate::notify::{Channel, Mail, Tls};
use crate::policy::Policy;

/// What the file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is done at which thresholds.
    #[serde(default)]
    policy: Policy,
    /// Where notices go.
    #[serde(default)]
    channels: Vec<ChannelSettings>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum ChannelSettings {
    Slack { name: String, url_env: String },
    Chat { name: String, url_env: String },
    Webhook { name: String, url: Option<String>, url_env: Option<String>, secret_env: Option<String> },
    Email(EmailSettings),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmailSettings {
    name: String,
    relay: String,
    port: Option<u16>,
    #[serde(default)]
    tls: Tls,
    user: Option<String>,
    password_env: Option<String>,
    from: String,
    to: Vec<String>,
}

/// What is done, and whom it is told to, by name.
#[derive(Debug, Default)]
pub struct Config {
    /// What is done at which thresholds.
    pub policy: Policy,
    /// Where notices go; each name once.
    pub channels: Vec<(String, Channel)>,
}

impl Config {
    /// Reads the file; none stands for the defaults, which tell nobody.
    ///
    /// # Errors
    /// When it says something unknown, or a variable it names is not set.
    pub fn read(file: Option<&Path>) -> Result<Self> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(file).with_context(|| format!("{}: cannot be read", file.display()))?;
        Self::parse(&text, |name| std::env::var(name).ok()).with_context(|| format!("{}", file.display()))
    }

    fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let settings: Settings = yaml_serde::from_str(text)?;
        let variable = |name: &str| variable(name).with_context(|| format!("the variable {name} is not set"));
        let mut channels: Vec<(String, Channel)> = Vec::new();
        for channel in settings.channels {
            let (name, channel) = match channel {
                ChannelSettings::Slack { name, url_env } => (name, Channel::Slack(variable(&url_env)?.into())),
                ChannelSettings::Chat { name, url_env } => (name, Channel::Chat(variable(&url_env)?.into())),
                ChannelSettings::Webhook { name, url, url_env, secret_env } => {
                    let url = match (url, url_env) {
                        (Some(url), None) => url,
                        (None, Some(name)) => variable(&name)?,
                        _ => bail!("channel {name}: set one of url and url_env"),
                    };
                    let secret = secret_env.map(|name| variable(&name).map(SecretString::from)).transpose()?;
                    (name, Channel::Webhook { url: url.into(), secret })
                }
                ChannelSettings::Email(email) => {
                    let login = match (email.user, email.password_env) {
                        (Some(user), Some(password)) => Some((user, variable(&password)?)),
                        (None, None) => None,
                        _ => bail!("channel {}: set both of user and password_env, or neither", email.name),
                    };
                    let relay = (email.relay.as_str(), email.port, email.tls);
                    let mail = Mail::new(relay, login, &email.from, &email.to).map_err(anyhow::Error::msg);
                    let mail = mail.with_context(|| format!("channel {}", email.name))?;
                    (email.name, Channel::Email(Box::new(mail)))
                }
            };
            if channels.iter().any(|(known, _)| *known == name) {
                bail!("two channels are called {name}");
            }
            channels.push((name, channel));
        }
        Ok(Self { policy: settings.policy, channels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Action;

    const FILE: &str = include_str!("../examples/watch.yaml");

    #[test]
    fn the_example_is_read_and_its_secrets_are_not_shown() {
        let config = Config::parse(FILE, |name| Some(format!("https://host/{name}-value"))).unwrap();
        let names: Vec<&str> = config.channels.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["team", "space", "automation", "finance"]);
        assert!(config.policy.0.iter().any(|rule| rule.action == Action::RefuseEmbedding));
        assert!(!format!("{config:?}").contains("-value"));
    }

    #[test]
    fn what_is_missing_or_unknown_is_told() {
        let error = |text: &str| format!("{:#}", Config::parse(text, |_| None).unwrap_err());
        assert_eq!(error(FILE), "the variable SLACK_WEBHOOK_URL is not set");
        assert!(error("polcy: []").contains("unknown field"));
        let two = "channels:\n- {kind: webhook, name: a, url: 'http://h'}\n- {kind: webhook, name: a, url: 'http://h'}";
        assert_eq!(error(two), "two channels are called a");
        assert!(error("policy:\n- {kind: actual, at: -1, action: notify}").contains("0.8 is 80 %"));
    }
}
