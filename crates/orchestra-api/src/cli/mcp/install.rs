//! `orchestra mcp install`: what to write into which file, for the clients that people use.

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::cli::connect::API_KEY;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::screen::Screen;
use crate::cli::{Globals, connect};

/// Where a server listens that was not told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:7070";
/// The name of the memory among a client's servers.
const NAME: &str = "orchestra";

/// Print what a client needs to use this memory, and the file it belongs in.
///
/// Nothing is written. With --data, --url or --tenant the client starts the program with the same. With --http and an API
/// key in ORCHESTRA_API_KEY the client is told to send the key of its own environment; the key itself is not printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  orchestra mcp install                               for every client that is known
  orchestra mcp install --client vscode --data ./memory
  orchestra mcp install --client codex --http         the server that runs, and no program to start")]
pub struct Args {
    /// The client. Default: all of them.
    #[arg(long, value_enum, value_name = "NAME")]
    client: Option<Client>,
    /// Let it call the server over HTTP: that of --url, that on the folder, or one on 127.0.0.1:7070.
    #[arg(long)]
    http: bool,
}

/// A program that calls tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Client {
    ClaudeCode,
    ClaudeDesktop,
    Cursor,
    Vscode,
    Codex,
    Gemini,
}

/// What the client reaches.
enum Server {
    Program { command: String, arguments: Vec<String> },
    Url { url: String, asks_for_key: bool },
}

pub async fn run(args: Args, globals: &Globals, screen: &Screen) -> Outcome {
    let server = if args.http {
        let url = connect::url(globals).await?.unwrap_or_else(|| DEFAULT_URL.into());
        Server::Url { url: format!("{}/mcp", url.trim_end_matches('/')), asks_for_key: connect::has_key() }
    } else {
        program(globals)?
    };
    let chosen: Vec<Client> = args.client.map_or_else(|| Client::value_variants().to_vec(), |client| vec![client]);
    let snippets: Vec<(Client, String)> =
        chosen.into_iter().filter_map(|client| Some((client, client.snippet(&server)?))).collect();
    if snippets.is_empty() {
        return Err(Failure::mistake("this client starts a program, and takes no URL", "leave --http out"));
    }
    if screen.is_json() {
        let parts = |(client, snippet): &(Client, String)| json!({"client": client.name(), "file": client.file(), "snippet": snippet});
        return Ok(screen.json(&snippets.iter().map(parts).collect())?);
    }
    for (at, (client, snippet)) in snippets.iter().enumerate() {
        let gap = if at == 0 { "" } else { "\n" };
        screen.note(&format!("{gap}{}: add this to {}", client.name(), client.file()));
        screen.line(snippet)?;
    }
    Ok(())
}

/// This program, as a client starts it: by its whole path, since a client need not have ours.
fn program(globals: &Globals) -> Outcome<Server> {
    let command = std::env::current_exe().map_err(|error| Failure::io("this program's path", &error))?;
    let mut arguments = vec!["mcp".to_owned()];
    let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
    if let Some(data) = &globals.data {
        let data = std::path::absolute(data).map_err(|error| Failure::io(data.display(), &error))?;
        add("--data", data.display().to_string());
    }
    if let Some(url) = &globals.url {
        add("--url", url.clone());
    }
    if globals.tenant != "default" {
        add("--tenant", globals.tenant.clone());
    }
    Ok(Server::Program { command: command.display().to_string(), arguments })
}

impl Client {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The file, as people write it.
    fn file(self) -> &'static str {
        match self {
            Self::ClaudeCode => ".mcp.json in the project",
            Self::ClaudeDesktop if cfg!(target_os = "macos") => {
                "~/Library/Application Support/Claude/claude_desktop_config.json"
            }
            Self::ClaudeDesktop if cfg!(windows) => r"%APPDATA%\Claude\claude_desktop_config.json",
            Self::ClaudeDesktop => "~/.config/Claude/claude_desktop_config.json",
            Self::Cursor => "~/.cursor/mcp.json",
            Self::Vscode => ".vscode/mcp.json in the workspace",
            Self::Codex => "~/.codex/config.toml",
            Self::Gemini => "~/.gemini/settings.json",
        }
    }

    /// What belongs in the file; `None` where the client cannot be set up so in a file.
    fn snippet(self, server: &Server) -> Option<String> {
        let under = |key: &str, server: Value| Some(format!("{:#}", json!({key: {NAME: server}})));
        match (self, server) {
            (Self::Codex, Server::Program { command, arguments }) => {
                // A JSON text is a TOML text too.
                let (command, arguments) = (Value::from(command.as_str()), Value::from(arguments.as_slice()));
                Some(format!("[mcp_servers.{NAME}]\ncommand = {command}\nargs = {arguments}"))
            }
            (Self::Codex, Server::Url { url, asks_for_key }) => {
                let key = if *asks_for_key { format!("\nbearer_token_env_var = \"{API_KEY}\"") } else { String::new() };
                Some(format!("[mcp_servers.{NAME}]\nurl = {}{key}", Value::from(url.as_str())))
            }
            (Self::ClaudeDesktop, Server::Url { .. }) => None,
            (Self::Vscode, Server::Program { command, arguments }) => {
                under("servers", json!({"type": "stdio", "command": command, "args": arguments}))
            }
            (_, Server::Program { command, arguments }) => {
                under("mcpServers", json!({"command": command, "args": arguments}))
            }
            (_, Server::Url { url, asks_for_key }) => {
                let (key, mut entry) = match self {
                    Self::Vscode => ("servers", json!({"type": "http", "url": url})),
                    Self::ClaudeCode => ("mcpServers", json!({"type": "http", "url": url})),
                    Self::Gemini => ("mcpServers", json!({"httpUrl": url})),
                    _ => ("mcpServers", json!({"url": url})),
                };
                if *asks_for_key {
                    let variable = match self {
                        Self::Cursor | Self::Vscode => format!("${{env:{API_KEY}}}"),
                        _ => format!("${{{API_KEY}}}"),
                    };
                    entry["headers"] = json!({"Authorization": format!("Bearer {variable}")});
                }
                under(key, entry)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_gets_what_it_reads() {
        let program = Server::Program {
            command: r"C:\bin\orchestra.exe".into(),
            arguments: vec!["mcp".into(), "--data".into(), "D".into()],
        };
        let url = |asks_for_key| Server::Url { url: "http://127.0.0.1:7070/mcp".into(), asks_for_key };
        let (open, closed) = (url(false), url(true));
        let shown: Vec<String> = Client::value_variants()
            .iter()
            .flat_map(|client| [&program, &open, &closed].map(|server| (client, client.snippet(server))))
            .map(|(client, snippet)| format!("{}: {}", client.name(), snippet.unwrap_or_else(|| "-".into())))
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
