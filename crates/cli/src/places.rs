//! Where models and cache are on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::args::Target;
use crate::engine::models::Places;

/// From the arguments, else the cache that `cargo xtask setup` fills.
pub(crate) fn find(target: &Target) -> Result<Places> {
    let cache = cache();
    let models = match &target.models {
        Some(models) => models.clone(),
        None => cache.as_ref().context("no place for models: set HOME, or use --models")?.join("models"),
    };
    let onnxruntime = match (&target.onnxruntime, &cache) {
        (Some(library), _) => library.clone(),
        (None, cache) => {
            let folder = cache.as_ref().context("set HOME, or use --onnxruntime")?.join("onnxruntime");
            library(&folder).with_context(|| {
                format!("no ONNX Runtime library in {}\n  what to do: cargo xtask setup", folder.display())
            })?
        }
    };
    let kept = cache.filter(|_| !target.no_cache).map(|cache| cache.join("eval/outputs.redb"));
    Ok(Places { models, onnxruntime, cache: kept })
}

/// `$RAGFLARE_CACHE`, else `$XDG_CACHE_HOME/ragflare`, else `~/.cache/ragflare`, as `cargo xtask` has it.
fn cache() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("RAGFLARE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("ragflare")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/ragflare")))
}

fn library(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    // The newest of several versions.
    paths.filter(|path| path.to_string_lossy().contains("libonnxruntime")).max()
}
