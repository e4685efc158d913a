//! The official clients that the end-to-end tests point at the product: npm and pip packages, pinned by `tests/clients`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::lock::Lock;
use crate::process::Run;
use crate::scratch::{self, Scratch};
use crate::{hash, npm, paths, report};

const PACKAGE: &str = include_str!("../../../tests/clients/package.json");
const LOCK: &str = include_str!("../../../tests/clients/package-lock.json");
const REQUIREMENTS: &str = include_str!("../../../tests/clients/requirements.txt");

/// Where they are, of this set of versions.
fn dir() -> Result<PathBuf> {
    let id = hash::of_parts([PACKAGE.as_bytes(), LOCK.as_bytes(), REQUIREMENTS.as_bytes()]);
    Ok(paths::cache()?.join(format!("clients-{}", &id[..12])))
}

/// Installs them when they are missing. [`npm`]'s tools must be there.
///
/// # Errors
/// When npm or pip fails.
pub fn install() -> Result<()> {
    let place = dir()?;
    if place.is_dir() {
        return Ok(());
    }
    let _lock = Lock::wait(&paths::cache()?.join("setup.lock"))?;
    if place.is_dir() {
        return Ok(());
    }
    report::step("installing the official clients with npm and pip", || {
        let work = Scratch::new("clients")?;
        fs::write(work.path().join("package.json"), PACKAGE)?;
        fs::write(work.path().join("package-lock.json"), LOCK)?;
        Run::new("npm")
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .dir(work.path())
            .env("PATH", npm::path()?)
            .advice("the npm registry must be reachable")
            .run()?;
        let list = work.path().join("requirements.txt");
        fs::write(&list, REQUIREMENTS)?;
        Run::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"])
            .arg(work.path().join("python"))
            .arg("--requirement")
            .arg(&list)
            .advice("Python 3.11 or later with pip must be installed, and its package index reachable")
            .run()?;
        scratch::put(work.path(), &place)
    })
}

/// A script that uses them, by its name in `tests/clients`. Node finds packages beside a script only, so it is run as a
/// copy in `work`, beside a link to them.
///
/// # Errors
/// When it fails; with what it printed.
pub fn run(script: &str, work: &Path, env: &[(&'static str, &str)]) -> Result<String> {
    let clients = paths::checkout().join("tests/clients");
    let place = dir()?;
    let python = Path::new(script).extension().is_some_and(|ending| ending == "py");
    let (program, path) = if python {
        (PathBuf::from("python3"), clients.join(script))
    } else {
        (npm::node()?, beside_packages(&clients, script, work, &place)?)
    };
    let printed = Run::new(program)
        .arg(path)
        .envs(env.iter().copied())
        .env("PYTHONPATH", place.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    String::from_utf8(printed).context("a script prints UTF-8")
}

fn beside_packages(clients: &Path, script: &str, work: &Path, place: &Path) -> Result<PathBuf> {
    fs::create_dir_all(work).with_context(|| format!("cannot create {}", work.display()))?;
    for name in ["setup.mjs", script] {
        fs::copy(clients.join(name), work.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    let link = work.join("node_modules");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(place.join("node_modules"), &link)
        .with_context(|| format!("cannot link {}", link.display()))?;
    Ok(work.join(script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_names_no_host() {
        assert!(!LOCK.contains("\"resolved\"") && !LOCK.contains("registry"));
    }

    #[test]
    fn versions_are_exact() {
        for line in REQUIREMENTS.lines() {
            assert!(line.contains("=="), "{line}");
        }
        let package: serde_json::Value = serde_json::from_str(PACKAGE).unwrap();
        for (name, version) in package["dependencies"].as_object().unwrap() {
            let version = version.as_str().unwrap();
            assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{name} {version}");
        }
    }
}
