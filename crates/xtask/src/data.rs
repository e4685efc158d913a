//! The data directory of a stack: documents, vectors and pending work, the logs, and what runs on them now.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::lock::Lock;
use crate::service::Service;
use crate::{group, report, scratch};

/// Marks a directory as ours, so that `--fresh` never empties another.
const MARKER: &str = "ragflare-data";
const LOCK: &str = "lock";
const RUNNING: &str = "running";
const ADMIN_KEY: &str = "admin-key";

/// An open data directory: one process has it at a time.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Lock,
}

impl DataDir {
    /// Opens the directory, making it when it is absent, emptying it when `fresh`. What an earlier process that
    /// was killed left running on it is ended first.
    ///
    /// # Errors
    /// When another process has it open, or it holds something that is not ours.
    pub fn open(path: &Path, fresh: bool) -> Result<Self> {
        let path = std::path::absolute(path).context("the data directory has no absolute path")?;
        if !path.join(MARKER).is_file() && !is_empty_or_absent(&path)? {
            bail!(
                "{} is not a data directory of Ragflare: it holds other files and no file named {MARKER}\n  \
                 what to do: give an empty or a new directory with --data",
                path.display()
            );
        }
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        // The marker first: a process killed after this line leaves a directory that is ours.
        fs::write(path.join(MARKER), "The data of a Ragflare stack; `cargo xtask up --fresh` empties it.\n")
            .with_context(|| format!("cannot write to {}", path.display()))?;
        let Some(lock) = Lock::try_now(&path.join(LOCK))? else {
            bail!(
                "another stack is running on {}\n  what to do: end it with Ctrl-C, or give another directory \
                 with --data",
                path.display()
            );
        };
        let dir = Self { path, _lock: lock };
        dir.end_leftovers();
        if fresh {
            dir.clear()?;
        }
        Ok(dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log of a service.
    pub fn log(&self, service: &str) -> PathBuf {
        self.path.join("logs").join(format!("{service}.log"))
    }

    fn clear(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == MARKER || name == LOCK {
                continue;
            }
            if entry.file_type()?.is_dir() {
                scratch::remove(&entry.path())?;
            } else {
                fs::remove_file(entry.path())
                    .with_context(|| format!("cannot remove {}", entry.path().display()))?;
            }
        }
        Ok(())
    }

    /// Writes down what runs, for the process that comes after a kill.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_running(&self, services: &[Service]) -> Result<()> {
        let text = services.iter().fold(String::new(), |mut text, service| {
            let (group, started) = service.group();
            let _ = writeln!(text, "{group} {started} {}", service.name());
            text
        });
        fs::write(self.path.join(RUNNING), text).context("cannot note what is running")
    }

    fn end_leftovers(&self) {
        let text = fs::read_to_string(self.path.join(RUNNING)).unwrap_or_default();
        let left: Vec<u32> = text
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(' ');
                Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
            })
            .filter(|(group, started)| group::is_same(*group, *started))
            .map(|(group, _)| group)
            .collect();
        if !left.is_empty() {
            report::line(&format!("ending what an earlier run left on {}", self.path.display()));
            group::end(&left);
        }
        let _ = fs::remove_file(self.path.join(RUNNING));
    }

    /// The stack's admin key: from the environment (`ADMIN_KEY`), else the one kept here, else a new one.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn admin_key(&self) -> Result<String> {
        if let Some(key) = env::var("ADMIN_KEY").ok().filter(|key| !key.is_empty()) {
            return Ok(key);
        }
        let path = self.path.join(ADMIN_KEY);
        if let Ok(key) = fs::read_to_string(&path) {
            return Ok(key.trim().to_owned());
        }
        let mut bytes = [0; 24];
        File::open("/dev/urandom")
            .and_then(|mut random| random.read_exact(&mut bytes))
            .context("no random numbers for the admin key")?;
        let key = bytes.iter().fold("rfadmin_".to_owned(), |mut key, byte| {
            let _ = write!(key, "{byte:02x}");
            key
        });
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(file, "{key}").with_context(|| format!("cannot write {}", path.display()))?;
        Ok(key)
    }
}

fn is_empty_or_absent(path: &Path) -> Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("ragflare-xtask-data-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn a_directory_with_other_files_is_never_touched() {
        let path = place("other");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("thesis.txt"), "years of work").unwrap();
        for fresh in [false, true] {
            let error = DataDir::open(&path, fresh).unwrap_err().to_string();
            assert!(error.contains("not a data directory"), "{error}");
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn fresh_empties_and_the_rest_survives() {
        let path = place("fresh");
        let dir = DataDir::open(&path, false).unwrap();
        let key = dir.admin_key().unwrap();
        fs::create_dir_all(path.join("state/v3")).unwrap();
        assert!(DataDir::open(&path, false).unwrap_err().to_string().contains("another stack"));
        drop(dir);
        let dir = DataDir::open(&path, false).unwrap();
        assert_eq!(dir.admin_key().unwrap(), key);
        assert!(path.join("state/v3").is_dir());
        drop(dir);
        let dir = DataDir::open(&path, true).unwrap();
        assert!(!path.join("state").exists());
        assert_ne!(dir.admin_key().unwrap(), key);
    }

    #[test]
    fn leftovers_are_ended() {
        let path = place("leftovers");
        let dir = DataDir::open(&path, false).unwrap();
        let mut service = Service::start("sleeper", Path::new("sleep"), &dir.log("sleeper"), |command| {
            command.arg("100");
        })
        .unwrap();
        dir.note_running(std::slice::from_ref(&service)).unwrap();
        drop(dir);
        assert!(group::alive(service.group().0));
        DataDir::open(&path, false).unwrap();
        assert!(!group::alive(service.group().0));
        service.reap();
    }
}
