//! Where things are: in the checkout and in the cache outside it.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The root of the checkout.
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The cache of tools and models, shared by every checkout of this user: `$RAGFLARE_CACHE`, else
/// `$XDG_CACHE_HOME/ragflare`, else `~/.cache/ragflare`.
///
/// # Errors
/// When none of the three variables is set, or the path is relative to a directory that is gone.
pub fn cache() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = set("RAGFLARE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("ragflare")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/ragflare")))
        .context("no place for the cache of tools and models: set RAGFLARE_CACHE or HOME")?;
    std::path::absolute(&path).with_context(|| format!("no absolute path for the cache {}", path.display()))
}

/// Cargo's directory for what is built to run on this machine (the twin, the tests).
pub fn native_target() -> PathBuf {
    checkout().join("target/native")
}

/// Cargo's directory for the wasm workers: where `worker-build` looks for it.
pub fn wasm_target() -> PathBuf {
    checkout().join("target")
}

/// The twin's binary.
pub fn twin() -> PathBuf {
    native_target().join("native/ragflare-local")
}

/// Development files made once for all stacks of this checkout.
pub fn dev() -> PathBuf {
    checkout().join("target/dev")
}
