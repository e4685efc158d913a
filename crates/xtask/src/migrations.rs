//! The tables of the local D1 databases: migrations are applied once per set of files, then copied.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::devconfig::Database;
use crate::lock::Lock;
use crate::process::Run;
use crate::{hash, npm, paths, scratch, wrangler};

const STAMP: &str = "migrated";

/// A database and the development configuration that names it.
#[derive(Debug, Clone)]
pub struct Migration {
    /// The database.
    pub database: Database,
    /// The development configuration of a worker that has it.
    pub config: PathBuf,
}

/// Brings every database in `data` up to date. A new directory gets a copy of tables made before.
///
/// # Errors
/// When a migration fails.
pub fn apply(data: &Path, migrations: &[Migration]) -> Result<()> {
    if migrations.is_empty() {
        return Ok(());
    }
    let id = identity(migrations)?;
    let state = data.join("state");
    let stamp = data.join(STAMP);
    if state.is_dir() && fs::read_to_string(&stamp).is_ok_and(|old| old == id) {
        return Ok(());
    }
    if state.is_dir() {
        run(&state, &data.join("wrangler"), migrations)?;
    } else {
        let template = template(&id, migrations)?;
        let new = data.join("state.new");
        scratch::remove(&new)?;
        copy(&template, &new)?;
        fs::rename(&new, &state).context("cannot put the new databases into place")?;
    }
    fs::write(&stamp, id).context("cannot note that the migrations are applied")
}

/// The state directory with just these tables, made when it is not there yet.
fn template(id: &str, migrations: &[Migration]) -> Result<PathBuf> {
    let place = paths::dev().join("d1").join(&id[..16]);
    let _lock = Lock::wait(&paths::dev().join("d1/lock"))?;
    if !place.is_dir() {
        let work = paths::dev().join("d1/new");
        scratch::remove(&work)?;
        run(&work, &paths::dev().join("wrangler"), migrations)?;
        scratch::put(&work, &place)?;
    }
    Ok(place)
}

fn run(state: &Path, place: &Path, migrations: &[Migration]) -> Result<()> {
    for Migration { database, config } in migrations {
        Run::new(npm::node()?)
            .arg(npm::wrangler()?)
            .args(["d1", "migrations", "apply", &database.name, "--local", "--persist-to"])
            .arg(state)
            .arg("--config")
            .arg(config)
            .envs(wrangler::env(place)?)
            .advice("read the migration named above; with throw-away data, start with --fresh")
            .run_quietly()?;
    }
    Ok(())
}

/// A hash of the databases' names and migration files.
fn identity(migrations: &[Migration]) -> Result<String> {
    let mut parts = vec![npm::wrangler()?.display().to_string().into_bytes()];
    for Migration { database, .. } in migrations {
        parts.push(database.name.clone().into_bytes());
        let mut files: Vec<PathBuf> =
            fs::read_dir(&database.migrations)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        for file in files.into_iter().filter(|file| file.is_file()) {
            parts.push(file.file_name().unwrap_or_default().to_string_lossy().into_owned().into_bytes());
            parts.push(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
        }
    }
    Ok(hash::of_parts(parts.iter().map(Vec::as_slice)))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_migration_is_another_identity() {
        let dir = std::env::temp_dir().join(format!("ragflare-xtask-migrations-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let migrations = [Migration {
            database: Database { name: "db".into(), migrations: dir.clone() },
            config: PathBuf::new(),
        }];
        let empty = identity(&migrations).unwrap();
        fs::write(dir.join("0001_a.sql"), "select 1").unwrap();
        let one = identity(&migrations).unwrap();
        assert_ne!(empty, one);
        assert_eq!(one, identity(&migrations).unwrap());
    }
}
