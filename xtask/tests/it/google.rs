//! What stands in for Google Cloud: the three tools, and a server for what is asked over HTTP.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::Ran;

/// What the stand-in of gcloud gives out as a token.
pub const TOKEN: &str = "stand-in-token-that-nobody-may-see";

/// A project, its tools and the record of its deployment.
pub struct Project {
    pub folder: TempDir,
    url: String,
    apis: String,
}

impl Project {
    /// A project in which nothing is deployed yet, and everything is ready for it.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let module = folder.path().join("envs/dev");
        fs::create_dir_all(&module).unwrap();
        fs::write(module.join("terraform.tfvars"), "").unwrap();
        // Every API that is asked for is enabled.
        let preflight = include_str!("../../src/deploy/gcp/preflight.rs").split('"');
        let apis = preflight.filter(|word| word.ends_with(".googleapis.com"));
        let apis = apis.collect::<Vec<_>>().join(",");
        Self { folder, url: answer(), apis }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `cargo xtask deploy` on it. A call that contains `fail` fails.
    pub fn deploy(&self, arguments: &[&str], revision: &str, fail: Option<&str>) -> Ran {
        let stand_ins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stand_ins");
        let mut deploy = Command::new(env!("CARGO_BIN_EXE_xtask"));
        deploy.args(["deploy", "--target", "gcp", "--project", "example-project", "--revision", revision]);
        deploy.arg("--home").arg(self.path("home")).arg("--modules").arg(self.path("envs")).args(arguments);
        for tool in ["gcloud", "terraform", "docker"] {
            let variable = format!("ORCHESTRA_{}", tool.to_uppercase());
            deploy.env(variable, stand_ins.join(format!("{tool}-stand-in")));
        }
        deploy
            .env("STAND_IN_STATE", self.folder.path())
            .env("STAND_IN_URL", &self.url)
            .env("STAND_IN_APIS", &self.apis);
        deploy.env("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER", &self.url).env("RUST_BACKTRACE", "0");
        match fail {
            Some(call) => deploy.env("STAND_IN_FAIL", call),
            None => deploy.env_remove("STAND_IN_FAIL"),
        };
        deploy.output().unwrap().into()
    }

    /// The calls of the tools since they were last taken.
    pub fn take_calls(&self) -> String {
        let file = self.path("calls");
        let calls = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        calls
    }

    pub fn record(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path("home/gcp-dev.json")).unwrap()).unwrap()
    }
}

/// Starts a server that grants every permission it is asked about and is always ready, and gives where it is. It ends with
/// the test's process.
fn answer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A caller that went away is nobody's loss.
            let _ = stream.and_then(|stream| respond(&stream));
        }
    });
    url
}

fn respond(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    // What is asked for is granted.
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut writer = stream;
    write!(writer, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n")?;
    writer.write_all(&body)
}
