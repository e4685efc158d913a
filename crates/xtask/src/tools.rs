//! The Rust tools that build the workers: the wasm target, `worker-build` and the `wasm-bindgen` command.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::process::Run;
use crate::scratch::{self, Scratch};
use crate::{paths, report};

const WORKER_BUILD: &str = "0.8.7";
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// A tool installed by `cargo install` into its own directory of the cache.
#[derive(Debug)]
struct Tool {
    package: &'static str,
    version: String,
    binary: &'static str,
}

impl Tool {
    fn worker_build() -> Self {
        Self { package: "worker-build", version: WORKER_BUILD.to_owned(), binary: "worker-build" }
    }

    fn wasm_bindgen() -> Result<Self> {
        let lock = paths::checkout().join("Cargo.lock");
        let text = fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
        let version =
            locked_version(&text, "wasm-bindgen").context("Cargo.lock does not name wasm-bindgen")?;
        Ok(Self { package: "wasm-bindgen-cli", version: version.to_owned(), binary: "wasm-bindgen" })
    }

    fn dir(&self) -> Result<PathBuf> {
        Ok(paths::cache()?.join("tools").join(format!("{}-{}", self.package, self.version)))
    }

    fn path(&self) -> Result<PathBuf> {
        Ok(self.dir()?.join("bin").join(self.binary))
    }

    fn ready(&self) -> Result<bool> {
        Ok(self.path()?.is_file())
    }

    fn install(&self) -> Result<()> {
        if self.ready()? {
            return Ok(());
        }
        report::step(&format!("compiling {} {} (a few minutes, once)", self.package, self.version), || {
            let root = Scratch::new(self.package)?;
            Run::new("cargo")
                .args(["install", "--root"])
                .arg(root.path())
                .arg(self.package)
                .args(["--version", &format!("={}", self.version)])
                // These tools spend their time elsewhere: compile them quickly.
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env("CARGO_TARGET_DIR", target_dir()?)
                .env("RUSTFLAGS", "")
                .advice("the Rust package registry must be reachable, and a C linker installed (Debian: g++)")
                .run()?;
            scratch::put(root.path(), &self.dir()?)
        })
    }
}

/// Where the tools are compiled: shared by them, and removed after.
fn target_dir() -> Result<PathBuf> {
    Ok(paths::cache()?.join("tmp/tools-target"))
}

/// The version of a package in a `Cargo.lock`.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

/// The `worker-build` binary.
///
/// # Errors
/// When there is no place for the cache.
pub fn worker_build() -> Result<PathBuf> {
    Tool::worker_build().path()
}

/// The `wasm-bindgen` binary of the version in `Cargo.lock`.
///
/// # Errors
/// When `Cargo.lock` does not name it.
pub fn wasm_bindgen() -> Result<PathBuf> {
    Tool::wasm_bindgen()?.path()
}

/// Whether both tools are installed.
///
/// # Errors
/// When the cache or `Cargo.lock` cannot be found.
pub fn ready() -> Result<bool> {
    Ok(Tool::worker_build().ready()? && Tool::wasm_bindgen()?.ready()?)
}

/// Installs what is missing. The caller holds the set-up lock.
///
/// # Errors
/// When a tool does not compile.
pub fn install() -> Result<()> {
    Tool::wasm_bindgen()?.install()?;
    Tool::worker_build().install()?;
    scratch::remove(&target_dir()?)
}

/// Adds the wasm target to the toolchain when it is missing.
///
/// # Errors
/// When `rustup` cannot add it.
pub fn wasm_target() -> Result<()> {
    let sysroot = Run::new("rustc").args(["--print", "sysroot"]).dir(&paths::checkout()).output()?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim());
    if sysroot.join("lib/rustlib").join(WASM_TARGET).join("lib").is_dir() {
        return Ok(());
    }
    report::step(&format!("adding the Rust target {WASM_TARGET}"), || {
        Run::new("rustup")
            .args(["target", "add", WASM_TARGET])
            .dir(&paths::checkout())
            .advice(
                "with rustup, make its server reachable and run the same command; a toolchain that does not come \
                 from rustup needs its distribution's package of this target (Debian: libstd-rust-dev-wasm32, or \
                 rust-src to build it from source), of the same version as rustc",
            )
            .run()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_version_from_a_lock_file() {
        let lock = "[[package]]\nname = \"wasm-bindgen-futures\"\nversion = \"0.4.1\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen"), Some("0.2.130"));
        assert_eq!(locked_version(lock, "worker"), None);
    }

    #[test]
    fn the_checkout_locks_wasm_bindgen() {
        assert!(Tool::wasm_bindgen().unwrap().version.starts_with("0.2."));
    }
}
