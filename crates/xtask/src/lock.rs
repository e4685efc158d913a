//! One process at a time: a lock on a file, given up when the process ends, however it ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;

use anyhow::{Context, Result};

use crate::report;

/// Holds the lock until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

fn open(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open the lock {}", path.display()))
}

impl Lock {
    /// Waits for the lock, saying so when another process holds it.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn wait(path: &Path) -> Result<Self> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                report::line(&format!("    waiting for another process to release {}", path.display()));
                file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(Self { file })
    }

    /// The lock, or `None` when another process holds it.
    ///
    /// # Errors
    /// When the file cannot be made or locked.
    pub fn try_now(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone is not enough: a child that another thread is just starting has a copy of the file
        // until it becomes its program.
        let _ = self.file.unlock();
    }
}
