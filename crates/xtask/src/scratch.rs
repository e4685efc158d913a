//! A directory for work in progress inside the cache, so that what is finished can be moved into place at once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::paths;

/// Removed when dropped; one left by a killed process is removed by the next that needs it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A fresh, empty directory. The caller holds the set-up lock, so the name is its own.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let path = paths::cache()?.join("tmp").join(name);
        remove(&path)?;
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes a directory with all in it, if it is there.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Moves a finished directory into its place.
///
/// # Errors
/// When it cannot be moved.
pub fn put(finished: &Path, place: &Path) -> Result<()> {
    if let Some(dir) = place.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    if place.is_dir() {
        remove(place)?;
    }
    fs::rename(finished, place).with_context(|| format!("cannot move {} into place", place.display()))
}
