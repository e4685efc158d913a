//! Model outputs on disk: what a model said about a text never changes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition};
use sha2::{Digest, Sha256};

/// Hash of model and input, to microseconds and values, all little-endian.
const VALUES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("values");
/// Another process writes for milliseconds.
const PATIENCE: Duration = Duration::from_mins(1);
/// Values kept back until they are written together,
const BATCH: usize = 1000;
/// and how long at most, so that little is lost when the run is broken off.
const KEPT_BACK: Duration = Duration::from_secs(10);

/// Names a model's input.
pub(crate) type Key = [u8; 16];

/// A model's output for one input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Output {
    /// How long it took when it was made.
    pub micros: u32,
    /// A vector, or a score.
    pub values: Vec<f32>,
}

/// A file of outputs that several processes can use: it is open only while it is read or written.
#[derive(Debug)]
pub(crate) struct Cache {
    path: Option<PathBuf>,
    known: RefCell<HashMap<Key, Output>>,
    unwritten: RefCell<Vec<Key>>,
    written: Cell<Instant>,
}

/// Hashes the parts that name an input.
pub(crate) fn key(parts: &[&str]) -> Key {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut key = Key::default();
    key.copy_from_slice(&digest[..16]);
    key
}

impl Cache {
    /// Of a file; `None` keeps nothing beyond this run.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self> {
        if let Some(folder) = path.as_deref().and_then(Path::parent) {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let written = Cell::new(Instant::now());
        Ok(Self { path, known: RefCell::default(), unwritten: RefCell::default(), written })
    }

    /// The outputs of these inputs, where they are known.
    pub(crate) fn get(&self, keys: &[Key]) -> Result<Vec<Option<Output>>> {
        let missing: Vec<Key> = {
            let known = self.known.borrow();
            keys.iter().filter(|key| !known.contains_key(*key)).copied().collect()
        };
        if !missing.is_empty() {
            let found = self.with_file(|database| read(database, &missing))?.unwrap_or_default();
            self.known.borrow_mut().extend(found);
        }
        let known = self.known.borrow();
        Ok(keys.iter().map(|key| known.get(key).cloned()).collect())
    }

    /// Keeps an output.
    pub(crate) fn put(&self, key: Key, output: Output) -> Result<()> {
        self.known.borrow_mut().insert(key, output);
        let mut unwritten = self.unwritten.borrow_mut();
        unwritten.push(key);
        let full = unwritten.len() >= BATCH || self.written.get().elapsed() >= KEPT_BACK;
        drop(unwritten);
        if full { self.flush() } else { Ok(()) }
    }

    /// Writes what was kept back.
    pub(crate) fn flush(&self) -> Result<()> {
        let keys = std::mem::take(&mut *self.unwritten.borrow_mut());
        self.written.set(Instant::now());
        if keys.is_empty() {
            return Ok(());
        }
        let known = self.known.borrow();
        let rows: Vec<(Key, &Output)> =
            keys.iter().filter_map(|key| known.get(key).map(|output| (*key, output))).collect();
        self.with_file(|database| write(database, &rows)).map(drop)
    }

    /// Opens the file for a moment. One that is damaged is begun anew.
    fn with_file<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<Option<T>> {
        let Some(path) = &self.path else { return Ok(None) };
        let deadline = Instant::now() + PATIENCE;
        let mut renewed = false;
        loop {
            // Some damage makes redb panic instead of saying so.
            let tried = catch_unwind(AssertUnwindSafe(|| match Database::create(path) {
                Ok(database) => work(&database).map(Some),
                Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => Ok(None),
                Err(error) => Err(error.into()),
            }));
            let fault = match tried {
                Ok(Ok(Some(done))) => return Ok(Some(done)),
                Ok(Ok(None)) => {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => redb::Error::Corrupted("its structure makes no sense".to_owned()),
            };
            if renewed || !is_damage(&fault) {
                bail!(
                    "the cache {} cannot be used: {fault}\n  what to do: remove it, or use --no-cache",
                    path.display()
                );
            }
            renewed = true;
            eprintln!("warning: the cache {} is damaged ({fault}) and is begun anew", path.display());
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // Lost outputs are made again.
        let _ = self.flush();
    }
}

/// Whether the file's contents are at fault, rather than the disk or another process.
fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. } => true,
        redb::Error::Io(error) => {
            matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

fn read(database: &Database, keys: &[Key]) -> Result<Vec<(Key, Output)>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(VALUES) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for key in keys {
        if let Some(output) = table.get(key.as_slice())?.and_then(|bytes| decode(bytes.value())) {
            found.push((*key, output));
        }
    }
    Ok(found)
}

fn write(database: &Database, rows: &[(Key, &Output)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(VALUES)?;
        for (key, output) in rows {
            table.insert(key.as_slice(), encode(output).as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn encode(output: &Output) -> Vec<u8> {
    let values = output.values.iter().flat_map(|value| value.to_le_bytes());
    output.micros.to_le_bytes().into_iter().chain(values).collect()
}

fn decode(bytes: &[u8]) -> Option<Output> {
    let (words, rest) = bytes.as_chunks::<4>();
    let (micros, values) = words.split_first().filter(|_| rest.is_empty())?;
    let values = values.iter().map(|word| f32::from_le_bytes(*word)).collect();
    Some(Output { micros: u32::from_le_bytes(*micros), values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(value: f32) -> Output {
        Output { micros: 7, values: vec![value, -value] }
    }

    #[test]
    fn outputs_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/cache.redb");
        let (a, b) = (key(&["m", "a"]), key(&["m", "b"]));
        let cache = Cache::open(Some(path.clone())).unwrap();
        assert_eq!(cache.get(&[a]).unwrap(), [None]);
        cache.put(a, output(0.5)).unwrap();
        drop(cache);
        let cache = Cache::open(Some(path)).unwrap();
        assert_eq!(cache.get(&[b, a]).unwrap(), [None, Some(output(0.5))]);
    }

    #[test]
    fn two_at_once_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.redb");
        let write = |name: &'static str| {
            let path = path.clone();
            std::thread::spawn(move || {
                let cache = Cache::open(Some(path)).unwrap();
                for n in 0..2000 {
                    cache.put(key(&[name, &n.to_string()]), output(n as f32)).unwrap();
                }
            })
        };
        for thread in [write("x"), write("y")] {
            thread.join().unwrap();
        }
        let cache = Cache::open(Some(path)).unwrap();
        for name in ["x", "y"] {
            assert_eq!(cache.get(&[key(&[name, "1999"])]).unwrap(), [Some(output(1999.0))]);
        }
    }

    #[test]
    fn a_damaged_file_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.redb");
        let a = key(&["a"]);
        for damage in [&b"this is not a database"[..], &[0u8; 8192]] {
            fs::write(&path, damage).unwrap();
            let cache = Cache::open(Some(path.clone())).unwrap();
            assert_eq!(cache.get(&[a]).unwrap(), [None]);
            cache.put(a, output(1.0)).unwrap();
            cache.flush().unwrap();
            let again = Cache::open(Some(path.clone())).unwrap();
            assert_eq!(again.get(&[a]).unwrap(), [Some(output(1.0))]);
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
    }
}
