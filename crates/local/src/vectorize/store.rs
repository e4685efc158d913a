//! The durable vector store.
//!
//! A write is a *mutation*: it is logged in one transaction (and acknowledged), and applied in another after the
//! visibility delay, in the order of the log. What is applied is also held in memory, where queries are answered by
//! comparing with every vector: exact, at a cost that grows with the index.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::Rng;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::filter::{Filter, IndexedFields, index_fields, indexed_metadata};
use super::limits;
use crate::error::{Error, Result};

/// Index name to its JSON [`IndexConfig`].
const INDEXES: TableDefinition<&str, &[u8]> = TableDefinition::new("indexes");
/// (Index name, vector id) to a vector record.
const VECTORS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("vectors");
/// Sequence number to a mutation that is accepted but not applied.
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
/// Index name to JSON [`Progress`].
const PROGRESS: TableDefinition<&str, &[u8]> = TableDefinition::new("progress");

/// How vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Cosine similarity, 1 for the same direction; highest first.
    Cosine,
    /// Euclidean distance; lowest first.
    Euclidean,
    /// The negative dot product, lowest first: how Vectorize's page on indexes describes it (from memory, not re-read).
    DotProduct,
}

/// The type of a metadata index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Strings, by their first 64 bytes.
    String,
    /// Numbers, as f64.
    Number,
    /// Booleans.
    Boolean,
}

/// What an index is created with. Dimensions and metric can never change; metadata indexes can be added and apply to
/// what is written afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexConfig {
    /// Numbers per vector, 1 to 1536.
    pub dimensions: usize,
    /// How vectors are compared.
    pub metric: Metric,
    /// Field name (`.` for nesting) to type, at most 10.
    #[serde(default)]
    pub metadata_indexes: BTreeMap<String, FieldType>,
}

/// A vector with what belongs to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vector {
    /// At most 64 bytes.
    pub id: String,
    /// As many numbers as the index has dimensions.
    pub values: Vec<f32>,
    /// At most 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// At most 10 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// A change to an index.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Adds vectors; one whose id exists is ignored.
    Insert(Vec<Vector>),
    /// Adds vectors or replaces them whole.
    Upsert(Vec<Vector>),
    /// Removes vectors; an unknown id is ignored.
    Delete(Vec<String>),
}

/// How much metadata a query returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReturnMetadata {
    /// None of it.
    #[default]
    None,
    /// What the metadata indexes hold.
    Indexed,
    /// All of it.
    All,
}

/// A similarity query.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// As many numbers as the index has dimensions.
    pub vector: Vec<f32>,
    /// The most matches to return.
    pub top_k: usize,
    /// Only this namespace; all of them when absent.
    pub namespace: Option<String>,
    /// Only vectors that pass.
    pub filter: Option<Filter>,
    /// Return the vectors' values.
    pub return_values: bool,
    /// Return metadata.
    pub return_metadata: ReturnMetadata,
}

/// One result of a query.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Match {
    /// The vector's id.
    pub id: String,
    /// See [`Metric`].
    pub score: f32,
    /// When asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<f32>>,
    /// When the vector has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// When asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
}

/// What `describe()` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// Applied vectors.
    pub vector_count: usize,
    /// Numbers per vector.
    pub dimensions: usize,
    /// When the last mutation was applied, RFC 3339 in UTC; `None` before the first.
    pub processed_up_to_datetime: Option<String>,
    /// The last applied mutation; `None` before the first.
    pub processed_up_to_mutation: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Progress {
    mutation: String,
    at_ms: u64,
}

/// The JSON part of a log record; the values of all vectors follow as little-endian f32.
#[derive(Debug, Serialize, Deserialize)]
struct LogHeader {
    index: String,
    mutation: String,
    accepted_ms: u64,
    kind: Kind,
    /// The metadata indexes at the time of the write.
    indexes: BTreeMap<String, FieldType>,
    vectors: Vec<VectorHeader>,
    ids: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Insert,
    Upsert,
    Delete,
}

#[derive(Debug, Serialize, Deserialize)]
struct VectorHeader {
    id: String,
    namespace: Option<String>,
    metadata: Option<Map<String, Value>>,
}

/// The JSON part of a vector record; the values follow as little-endian f32.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    id: String,
    namespace: Option<String>,
    metadata: Option<Map<String, Value>>,
    indexes: BTreeMap<String, FieldType>,
    #[serde(skip)]
    fields: IndexedFields,
}

/// What is applied of one index.
#[derive(Debug)]
struct Index {
    config: IndexConfig,
    positions: HashMap<String, usize>,
    entries: Vec<Entry>,
    /// `entries.len() × dimensions`.
    values: Vec<f32>,
    progress: Progress,
}

struct Pending {
    sequence: u64,
    accepted_ms: u64,
    record: Vec<u8>,
}

struct Writer {
    next: u64,
    pending: VecDeque<Pending>,
    delay: Duration,
}

/// A set of indexes in one file. All methods block; reads are answered from memory.
pub struct VectorStore {
    database: Database,
    writer: Mutex<Writer>,
    indexes: RwLock<BTreeMap<String, Index>>,
}

/// A process that was just killed may hold the file until its last thread is gone.
fn create(file: &Path) -> Result<Database> {
    const PATIENCE: Duration = Duration::from_secs(5);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Database::create(file) {
            Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            outcome => return Ok(outcome?),
        }
    }
}

impl std::fmt::Debug for VectorStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VectorStore").finish_non_exhaustive()
    }
}

impl VectorStore {
    /// Opens the file, or creates it. Mutations that were accepted but not applied when the process ended are pending
    /// again, in order.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be opened (another process may hold it) or is damaged.
    pub fn open(file: &Path, delay: Duration) -> Result<Self> {
        let database = create(file)?;
        let transaction = database.begin_write()?;
        transaction.open_table(INDEXES)?;
        transaction.open_table(VECTORS)?;
        transaction.open_table(LOG)?;
        transaction.open_table(PROGRESS)?;
        transaction.commit()?;

        let transaction = database.begin_read()?;
        let mut indexes = BTreeMap::new();
        let progress = transaction.open_table(PROGRESS)?;
        for row in transaction.open_table(INDEXES)?.iter()? {
            let (name, config) = row?;
            let progress: Progress = match progress.get(name.value())? {
                Some(bytes) => from_json(bytes.value())?,
                None => Progress::default(),
            };
            indexes.insert(name.value().to_owned(), Index::new(from_json(config.value())?, progress));
        }
        for row in transaction.open_table(VECTORS)?.iter()? {
            let (key, record) = row?;
            if let Some(index) = indexes.get_mut(key.value().0) {
                let (entry, values) = split_record::<Entry>(record.value())?;
                index.put(entry, &values);
            }
        }
        let mut pending = VecDeque::new();
        for row in transaction.open_table(LOG)?.iter()? {
            let (sequence, record) = row?;
            let (header, _) = split_record::<LogHeader>(record.value())?;
            pending.push_back(Pending {
                sequence: sequence.value(),
                accepted_ms: header.accepted_ms,
                record: record.value().to_vec(),
            });
        }
        drop(transaction);
        let next = pending.back().map_or(0, |p| p.sequence + 1);
        let writer = Mutex::new(Writer { next, pending, delay });
        Ok(Self { database, writer, indexes: RwLock::new(indexes) })
    }

    /// Creates an index, or adds metadata indexes to it.
    ///
    /// # Errors
    /// [`Error::Config`] when the index exists with other dimensions, another metric or another type of a field, or
    /// when a number is out of range.
    pub fn create_index(&self, name: &str, config: &IndexConfig) -> Result<()> {
        let _writer = self.writer();
        let bad = |text: String| Err(Error::Config(text));
        if name.is_empty() || name.len() > 64 {
            return bad(format!("index name {name:?} must be 1 to 64 bytes long"));
        }
        if !(1..=limits::DIMENSIONS).contains(&config.dimensions) {
            return bad(format!(
                "dimensions {} of index {name} must be 1 to {}",
                config.dimensions,
                limits::DIMENSIONS
            ));
        }
        let mut merged = config.clone();
        if let Some(index) = self.read().get(name) {
            let old = &index.config;
            if (old.dimensions, old.metric) != (config.dimensions, config.metric) {
                return bad(format!(
                    "index {name} exists with {} dimensions and metric {:?}; these cannot be changed",
                    old.dimensions, old.metric
                ));
            }
            for (field, kind) in &old.metadata_indexes {
                if merged.metadata_indexes.insert(field.clone(), *kind).is_some_and(|asked| asked != *kind) {
                    return bad(format!("metadata index {field} of index {name} exists with type {kind:?}"));
                }
            }
        }
        if merged.metadata_indexes.len() > limits::METADATA_INDEXES {
            return bad(format!(
                "index {name} would have more than {} metadata indexes",
                limits::METADATA_INDEXES
            ));
        }
        let transaction = self.database.begin_write()?;
        transaction.open_table(INDEXES)?.insert(name, to_json(&merged)?.as_slice())?;
        transaction.commit()?;
        let mut indexes = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        match indexes.get_mut(name) {
            Some(index) => index.config = merged,
            None => {
                indexes.insert(name.to_owned(), Index::new(merged, Progress::default()));
            }
        }
        Ok(())
    }

    /// The names of all indexes.
    pub fn index_names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// The settings of an index.
    pub fn config(&self, index: &str) -> Option<IndexConfig> {
        self.read().get(index).map(|i| i.config.clone())
    }

    /// Accepts a write and returns its mutation id. It is durable when this returns, and visible after the delay.
    /// The caller has checked the limits.
    ///
    /// # Errors
    /// [`Error::Input`] for an unknown index or a vector of the wrong length, [`Error::Store`].
    pub fn write(&self, index: &str, write: Write) -> Result<String> {
        let config =
            self.config(index).ok_or_else(|| Error::Input(format!("there is no index named {index:?}")))?;
        let (kind, vectors, ids) = match write {
            Write::Insert(vectors) => (Kind::Insert, vectors, Vec::new()),
            Write::Upsert(vectors) => (Kind::Upsert, vectors, Vec::new()),
            Write::Delete(ids) => (Kind::Delete, Vec::new(), ids),
        };
        if let Some(wrong) = vectors.iter().find(|v| v.values.len() != config.dimensions) {
            return Err(Error::Input(format!("vector {:?} has {} dimensions", wrong.id, wrong.values.len())));
        }
        let mut values = Vec::with_capacity(vectors.len() * config.dimensions);
        let mut headers = Vec::with_capacity(vectors.len());
        for vector in vectors {
            values.extend_from_slice(&vector.values);
            headers.push(VectorHeader {
                id: vector.id,
                namespace: vector.namespace,
                metadata: vector.metadata,
            });
        }
        let mutation = new_uuid();
        let mut writer = self.writer();
        // Taken under the lock, so that the log is in the order of time.
        let accepted_ms = now_ms();
        let header = LogHeader {
            index: index.to_owned(),
            mutation: mutation.clone(),
            accepted_ms,
            kind,
            indexes: config.metadata_indexes,
            vectors: headers,
            ids,
        };
        let record = join_record(&header, &values)?;
        let sequence = writer.next;
        let transaction = self.database.begin_write()?;
        transaction.open_table(LOG)?.insert(sequence, record.as_slice())?;
        transaction.commit()?;
        writer.next += 1;
        writer.pending.push_back(Pending { sequence, accepted_ms, record });
        Ok(mutation)
    }

    /// Applies every mutation whose delay is over; returns how long until the next one is due.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn apply_due(&self) -> Result<Option<Duration>> {
        let mut writer = self.writer();
        loop {
            let Some(first) = writer.pending.front() else { return Ok(None) };
            let due = Duration::from_millis(first.accepted_ms) + writer.delay;
            let wait = due.saturating_sub(Duration::from_millis(now_ms()));
            if !wait.is_zero() {
                return Ok(Some(wait));
            }
            self.apply_first(&mut writer)?;
        }
    }

    /// Applies every pending mutation now; returns how many there were.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn flush(&self) -> Result<usize> {
        let mut writer = self.writer();
        let count = writer.pending.len();
        while !writer.pending.is_empty() {
            self.apply_first(&mut writer)?;
        }
        Ok(count)
    }

    /// Mutations accepted and not applied.
    pub fn pending(&self) -> usize {
        self.writer().pending.len()
    }

    /// Changes the visibility delay, also of what is pending.
    pub fn set_delay(&self, delay: Duration) {
        self.writer().delay = delay;
    }

    /// The visibility delay.
    pub fn delay(&self) -> Duration {
        self.writer().delay
    }

    fn apply_first(&self, writer: &mut Writer) -> Result<()> {
        let Some(first) = writer.pending.front() else { return Ok(()) };
        let (header, values) = split_record::<LogHeader>(&first.record)?;
        let progress = Progress { mutation: header.mutation, at_ms: now_ms() };
        let name = header.index.as_str();
        let Some(dimensions) = self.read().get(name).map(|i| i.config.dimensions) else {
            return Err(Error::Store(format!("the log names an unknown index {name:?}")));
        };
        let mut puts: Vec<(Entry, &[f32])> = Vec::with_capacity(header.vectors.len());
        for (vector, values) in header.vectors.into_iter().zip(values.chunks_exact(dimensions)) {
            let exists = header.kind == Kind::Insert
                && (self.read().get(name).is_some_and(|i| i.positions.contains_key(&vector.id))
                    || puts.iter().any(|(e, _)| e.id == vector.id));
            if !exists {
                let VectorHeader { id, namespace, metadata } = vector;
                let indexes = header.indexes.clone();
                puts.push((Entry { id, namespace, metadata, indexes, fields: IndexedFields::new() }, values));
            }
        }
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(VECTORS)?;
            for (entry, values) in &puts {
                table.insert((name, entry.id.as_str()), join_record(entry, values)?.as_slice())?;
            }
            for id in &header.ids {
                table.remove((name, id.as_str()))?;
            }
            transaction.open_table(LOG)?.remove(first.sequence)?;
            transaction.open_table(PROGRESS)?.insert(name, to_json(&progress)?.as_slice())?;
        }
        transaction.commit()?;
        let mut indexes = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = indexes.get_mut(name) {
            for (entry, values) in puts {
                index.put(entry, values);
            }
            for id in &header.ids {
                index.remove(id);
            }
            index.progress = progress;
        }
        drop(indexes);
        writer.pending.pop_front();
        Ok(())
    }

    /// Answers a query from what is applied.
    ///
    /// # Errors
    /// [`Error::Input`] for an unknown index or a vector of the wrong length.
    pub fn query(&self, index: &str, query: &Query) -> Result<Vec<Match>> {
        let indexes = self.read();
        let index =
            indexes.get(index).ok_or_else(|| Error::Input(format!("there is no index named {index:?}")))?;
        if query.vector.len() != index.config.dimensions {
            return Err(Error::Input(format!(
                "the query has {} dimensions, the index {}",
                query.vector.len(),
                index.config.dimensions
            )));
        }
        Ok(index.query(query))
    }

    /// Applied vectors by id, in the order asked; unknown ids are left out.
    ///
    /// # Errors
    /// [`Error::Input`] for an unknown index.
    pub fn get(&self, index: &str, ids: &[String]) -> Result<Vec<Vector>> {
        let indexes = self.read();
        let index =
            indexes.get(index).ok_or_else(|| Error::Input(format!("there is no index named {index:?}")))?;
        Ok(ids.iter().filter_map(|id| index.positions.get(id)).map(|&at| index.vector(at)).collect())
    }

    /// All applied ids, sorted.
    pub fn ids(&self, index: &str) -> Option<Vec<String>> {
        let mut ids: Vec<String> = self.read().get(index)?.positions.keys().cloned().collect();
        ids.sort_unstable();
        Some(ids)
    }

    /// What `describe()` says.
    pub fn info(&self, index: &str) -> Option<Info> {
        let indexes = self.read();
        let index = indexes.get(index)?;
        let at = index.progress.at_ms;
        Some(Info {
            vector_count: index.entries.len(),
            dimensions: index.config.dimensions,
            processed_up_to_datetime: (at > 0).then(|| rfc3339(at)),
            processed_up_to_mutation: (at > 0).then(|| index.progress.mutation.clone()),
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Index>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn new(config: IndexConfig, progress: Progress) -> Self {
        Self { config, positions: HashMap::new(), entries: Vec::new(), values: Vec::new(), progress }
    }

    fn put(&mut self, mut entry: Entry, values: &[f32]) {
        entry.fields = index_fields(entry.metadata.as_ref(), &entry.indexes);
        let width = self.config.dimensions;
        if let Some(&at) = self.positions.get(&entry.id) {
            self.values[at * width..(at + 1) * width].copy_from_slice(values);
            self.entries[at] = entry;
        } else {
            self.positions.insert(entry.id.clone(), self.entries.len());
            self.entries.push(entry);
            self.values.extend_from_slice(values);
        }
    }

    fn remove(&mut self, id: &str) {
        let Some(at) = self.positions.remove(id) else { return };
        let width = self.config.dimensions;
        let last = self.entries.len() - 1;
        self.entries.swap_remove(at);
        if at != last {
            self.values.copy_within(last * width..(last + 1) * width, at * width);
            self.positions.insert(self.entries[at].id.clone(), at);
        }
        self.values.truncate(last * width);
    }

    fn row(&self, at: usize) -> &[f32] {
        let width = self.config.dimensions;
        &self.values[at * width..(at + 1) * width]
    }

    fn vector(&self, at: usize) -> Vector {
        let entry = &self.entries[at];
        Vector {
            id: entry.id.clone(),
            values: self.row(at).to_vec(),
            namespace: entry.namespace.clone(),
            metadata: entry.metadata.clone(),
        }
    }

    fn query(&self, query: &Query) -> Vec<Match> {
        let metric = self.config.metric;
        let wanted = |entry: &Entry| {
            query.namespace.as_ref().is_none_or(|n| entry.namespace.as_ref() == Some(n))
                && query.filter.as_ref().is_none_or(|f| f.matches(&entry.fields))
        };
        let mut scored: Vec<(usize, f32)> = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| wanted(entry))
            .map(|(at, _)| (at, score(metric, &query.vector, self.row(at))))
            .collect();
        // Equal scores in the order of their ids, so that an answer does not depend on the order of writing.
        let better = |a: &(usize, f32), b: &(usize, f32)| -> Ordering {
            let by_score = if metric == Metric::Cosine { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) };
            by_score.then_with(|| self.entries[a.0].id.cmp(&self.entries[b.0].id))
        };
        if query.top_k > 0 && scored.len() > query.top_k {
            scored.select_nth_unstable_by(query.top_k - 1, better);
        }
        scored.truncate(query.top_k);
        scored.sort_unstable_by(better);
        scored
            .into_iter()
            .map(|(at, score)| {
                let entry = &self.entries[at];
                Match {
                    id: entry.id.clone(),
                    score,
                    values: query.return_values.then(|| self.row(at).to_vec()),
                    namespace: entry.namespace.clone(),
                    metadata: match query.return_metadata {
                        ReturnMetadata::None => None,
                        ReturnMetadata::Indexed => Some(indexed_metadata(&entry.fields)),
                        ReturnMetadata::All => entry.metadata.clone(),
                    },
                }
            })
            .collect()
    }
}

fn score(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    match metric {
        Metric::DotProduct => -dot(a, b),
        Metric::Euclidean => a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f32>().sqrt(),
        Metric::Cosine => {
            let norms = (dot(a, a) * dot(b, b)).sqrt();
            if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
        }
    }
}

/// Eight sums side by side, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += x[i] * y[i];
        }
    }
    sums.iter().sum::<f32>() + rest
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::Store(e.to_string()))
}

fn from_json<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::Store(e.to_string()))
}

/// Length of the JSON (u32, little-endian), the JSON, the numbers (f32, little-endian).
fn join_record<T: Serialize>(header: &T, values: &[f32]) -> Result<Vec<u8>> {
    let header = to_json(header)?;
    let mut record = Vec::with_capacity(4 + header.len() + values.len() * 4);
    let length = u32::try_from(header.len()).map_err(|e| Error::Store(e.to_string()))?;
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&header);
    for value in values {
        record.extend_from_slice(&value.to_le_bytes());
    }
    Ok(record)
}

fn split_record<'b, T: Deserialize<'b>>(record: &'b [u8]) -> Result<(T, Vec<f32>)> {
    let damaged = || Error::Store("a record is damaged".to_owned());
    let (length, rest) = record.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (header, values) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
    let (values, _) = values.as_chunks::<4>();
    Ok((from_json(header)?, values.iter().map(|v| f32::from_le_bytes(*v)).collect()))
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// A random (version 4) UUID.
pub(crate) fn new_uuid() -> String {
    let mut b = [0u8; 16];
    rand::rng().fill_bytes(&mut b);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().fold(String::with_capacity(32), |mut s, byte| {
        use std::fmt::Write as _;
        let _ = write!(s, "{byte:02x}");
        s
    });
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `2026-11-21T03:54:00.123Z`. The calendar is Howard Hinnant's `civil_from_days`.
pub(crate) fn rfc3339(ms: u64) -> String {
    let (days, ms) = ((ms / 86_400_000) as i64, ms % 86_400_000);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NEVER: Duration = Duration::from_hours(1);

    fn config(metric: Metric) -> IndexConfig {
        let metadata_indexes = [("lang".to_owned(), FieldType::String)].into();
        IndexConfig { dimensions: 2, metric, metadata_indexes }
    }

    fn vector(id: &str, values: [f32; 2], namespace: Option<&str>, lang: &str) -> Vector {
        Vector {
            id: id.to_owned(),
            values: values.to_vec(),
            namespace: namespace.map(str::to_owned),
            metadata: json!({"lang": lang, "more": 1}).as_object().cloned(),
        }
    }

    fn query(vector: [f32; 2]) -> Query {
        Query {
            vector: vector.to_vec(),
            top_k: 10,
            namespace: None,
            filter: None,
            return_values: false,
            return_metadata: ReturnMetadata::None,
        }
    }

    fn open(folder: &Path) -> VectorStore {
        let store = VectorStore::open(&folder.join("v.redb"), NEVER).unwrap();
        store.create_index("i", &config(Metric::Cosine)).unwrap();
        store
    }

    fn found(store: &VectorStore, query: &Query) -> Vec<String> {
        store.query("i", query).unwrap().into_iter().map(|m| m.id).collect()
    }

    #[test]
    fn writes_wait_for_their_delay_and_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.write("i", Write::Upsert(vec![vector("a", [1.0, 0.0], None, "en")])).unwrap();
        let last = store.write("i", Write::Delete(vec!["a".into()])).unwrap();
        assert!(store.apply_due().unwrap().is_some_and(|wait| wait > Duration::from_secs(3500)));
        assert_eq!((store.pending(), store.info("i").unwrap().vector_count), (2, 0));
        assert_eq!(store.info("i").unwrap().processed_up_to_mutation, None);
        store.set_delay(Duration::ZERO);
        assert_eq!(store.apply_due().unwrap(), None);
        assert_eq!((store.pending(), store.info("i").unwrap().vector_count), (0, 0));
        assert_eq!(store.info("i").unwrap().processed_up_to_mutation, Some(last));
    }

    #[test]
    fn insert_keeps_the_first_and_upsert_replaces_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let first = vector("a", [1.0, 0.0], Some("n"), "en");
        let second = Vector { metadata: None, namespace: None, ..vector("a", [0.0, 1.0], None, "de") };
        store.write("i", Write::Insert(vec![first.clone(), second.clone()])).unwrap();
        store.write("i", Write::Insert(vec![second.clone()])).unwrap();
        store.flush().unwrap();
        assert_eq!(store.get("i", &["a".into(), "b".into()]).unwrap(), [first]);
        store.write("i", Write::Upsert(vec![second.clone()])).unwrap();
        store.flush().unwrap();
        assert_eq!(store.get("i", &["a".into()]).unwrap(), [second]);
    }

    #[test]
    fn everything_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let b = vector("b", [0.0, 1.0], Some("n"), "de");
        store.write("i", Write::Upsert(vec![vector("a", [1.0, 0.0], None, "en"), b.clone()])).unwrap();
        store.flush().unwrap();
        store.write("i", Write::Delete(vec!["a".into()])).unwrap();
        store.write("i", Write::Upsert(vec![vector("c", [1.0, 1.0], None, "en")])).unwrap();
        let before = store.info("i").unwrap();
        drop(store);

        let store = VectorStore::open(&folder.path().join("v.redb"), NEVER).unwrap();
        assert_eq!(store.info("i").unwrap(), before);
        assert_eq!(store.ids("i").unwrap(), ["a", "b"]);
        assert_eq!(store.get("i", &["b".into()]).unwrap(), [b]);
        assert_eq!(store.pending(), 2);
        assert_eq!(store.flush().unwrap(), 2);
        assert_eq!(store.ids("i").unwrap(), ["b", "c"]);
        // New mutations come after the old ones.
        store.write("i", Write::Delete(vec!["c".into()])).unwrap();
        drop(store);
        let store = VectorStore::open(&folder.path().join("v.redb"), Duration::ZERO).unwrap();
        assert_eq!(store.apply_due().unwrap(), None);
        assert_eq!(store.ids("i").unwrap(), ["b"]);
    }

    #[test]
    fn queries_honour_namespace_filter_and_what_to_return() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store
            .write(
                "i",
                Write::Upsert(vec![
                    vector("a", [1.0, 0.0], Some("n"), "en"),
                    vector("b", [2.0, 0.1], None, "de"),
                    vector("c", [0.0, 3.0], Some("n"), "de"),
                ]),
            )
            .unwrap();
        store.flush().unwrap();
        assert_eq!(found(&store, &query([1.0, 0.0])), ["a", "b", "c"]);
        assert_eq!(found(&store, &Query { top_k: 1, ..query([0.0, 1.0]) }), ["c"]);
        assert_eq!(found(&store, &Query { namespace: Some("n".into()), ..query([1.0, 0.0]) }), ["a", "c"]);
        let filter = Filter::parse(&json!({"lang": "de"})).ok();
        assert_eq!(found(&store, &Query { filter: filter.clone(), ..query([1.0, 0.0]) }), ["b", "c"]);
        let unindexed = Filter::parse(&json!({"more": 1})).ok();
        assert!(found(&store, &Query { filter: unindexed, ..query([1.0, 0.0]) }).is_empty());

        let plain = &store.query("i", &query([1.0, 0.0])).unwrap()[0];
        assert_eq!((plain.values.as_ref(), plain.metadata.as_ref()), (None, None));
        assert!((plain.score - 1.0).abs() < 1e-6);
        let full = Query { return_values: true, return_metadata: ReturnMetadata::All, ..query([1.0, 0.0]) };
        let full = &store.query("i", &full).unwrap()[0];
        assert_eq!(full.values, Some(vec![1.0, 0.0]));
        assert_eq!(full.metadata, json!({"lang": "en", "more": 1}).as_object().cloned());
        let indexed = Query { return_metadata: ReturnMetadata::Indexed, ..query([1.0, 0.0]) };
        assert_eq!(
            store.query("i", &indexed).unwrap()[0].metadata,
            json!({"lang": "en"}).as_object().cloned()
        );
        store.write("i", Write::Delete(vec!["a".into()])).unwrap();
        store.flush().unwrap();
        assert_eq!(found(&store, &query([0.0, 1.0])), ["c", "b"]);
    }

    #[test]
    fn a_metadata_index_covers_only_what_is_written_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.write("i", Write::Upsert(vec![vector("old", [1.0, 0.0], None, "en")])).unwrap();
        let mut wider = config(Metric::Cosine);
        wider.metadata_indexes.insert("more".into(), FieldType::Number);
        store.create_index("i", &wider).unwrap();
        store.write("i", Write::Upsert(vec![vector("new", [1.0, 0.0], None, "en")])).unwrap();
        store.flush().unwrap();
        let by_more = Query { filter: Filter::parse(&json!({"more": 1})).ok(), ..query([1.0, 0.0]) };
        assert_eq!(found(&store, &by_more), ["new"]);
        drop(store);
        let store = VectorStore::open(&folder.path().join("v.redb"), NEVER).unwrap();
        assert_eq!(found(&store, &by_more), ["new"]);
        store.write("i", Write::Upsert(vec![vector("old", [1.0, 0.0], None, "en")])).unwrap();
        store.flush().unwrap();
        assert_eq!(found(&store, &by_more), ["new", "old"]);
    }

    #[test]
    fn metrics_score_and_sort_as_documented() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        for (name, metric, expected) in [
            ("e", Metric::Euclidean, [("near", 1.0), ("far", 3.0)]),
            ("d", Metric::DotProduct, [("far", -4.0), ("near", -2.0)]),
        ] {
            store.create_index(name, &config(metric)).unwrap();
            let vectors = vec![vector("near", [2.0, 0.0], None, "x"), vector("far", [4.0, 0.0], None, "x")];
            store.write(name, Write::Upsert(vectors)).unwrap();
            store.flush().unwrap();
            let got = store.query(name, &query([1.0, 0.0])).unwrap();
            for (m, (id, score)) in got.iter().zip(expected) {
                assert_eq!(m.id, id);
                assert!((m.score - score).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn an_index_cannot_change_its_shape() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        assert!(store.create_index("i", &IndexConfig { dimensions: 3, ..config(Metric::Cosine) }).is_err());
        assert!(store.create_index("i", &config(Metric::Euclidean)).is_err());
        let other = IndexConfig {
            metadata_indexes: [("lang".to_owned(), FieldType::Number)].into(),
            ..config(Metric::Cosine)
        };
        assert!(store.create_index("i", &other).is_err());
        assert!(
            store.create_index("big", &IndexConfig { dimensions: 1537, ..config(Metric::Cosine) }).is_err()
        );
        let many = (0..11).map(|i| (format!("f{i}"), FieldType::String)).collect();
        assert!(
            store
                .create_index("many", &IndexConfig { metadata_indexes: many, ..config(Metric::Cosine) })
                .is_err()
        );
    }

    #[test]
    fn dates_and_ids_have_their_form() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_123), "2000-02-29T00:00:00.123Z");
        let id = new_uuid();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'));
    }
}
