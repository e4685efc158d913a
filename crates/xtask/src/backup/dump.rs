//! The backup file: SQL that inserts the rows, between a header that says what is in it and a line that seals it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Raised when an older `restore` would not understand the file.
const FORMAT: u64 = 1;
const TITLE: &str = "-- A backup of Ragflare's D1 database, for `cargo xtask restore`. It holds texts and hashes of API keys.";
const SEAL: &str = "-- sha256 ";

/// How many rows a table has, and for each column the sum of the values' weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums {
    /// The table.
    pub(crate) table: String,
    /// Its rows.
    pub(crate) rows: u64,
    /// By column.
    pub(crate) columns: Vec<(String, i64)>,
}

/// By what two states of a database are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Every table.
    pub(crate) tables: Vec<Sums>,
    /// The last number that each AUTOINCREMENT table gave.
    pub(crate) sequences: Vec<(String, i64)>,
}

impl Contents {
    /// All rows.
    pub(crate) fn rows(&self) -> u64 {
        self.tables.iter().map(|sums| sums.rows).sum()
    }

    /// The first difference from what is `found`, as a sentence.
    pub(crate) fn difference(&self, found: &Self) -> Option<String> {
        if self.tables.len() != found.tables.len() {
            return Some(format!("it has {} tables instead of {}", found.tables.len(), self.tables.len()));
        }
        let table = self.tables.iter().zip(&found.tables).find(|(wanted, found)| wanted != found);
        table.map(|(wanted, found)| wanted.difference(found)).or_else(|| {
            let same = self.sequences == found.sequences;
            (!same).then(|| "it would give numbers again that it gave before (sqlite_sequence)".to_owned())
        })
    }
}

impl Sums {
    fn difference(&self, found: &Self) -> String {
        if self.table != found.table {
            return format!("it has a table {} instead of {}", found.table, self.table);
        }
        if self.rows != found.rows {
            return format!("{} has {} rows instead of {}", found.table, found.rows, self.rows);
        }
        let column = self.columns.iter().zip(&found.columns).find(|(wanted, found)| wanted != found);
        let column = column.map_or("?", |((name, _), _)| name.as_str());
        format!("{}.{column} has other values", found.table)
    }
}

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// When it was made, UTC.
    pub(crate) made: String,
    /// The migrations that made the tables, in order.
    pub(crate) migrations: Vec<String>,
    /// What it holds.
    pub(crate) contents: Contents,
}

impl Header {
    fn to_json(&self) -> Value {
        let tables: Vec<Value> = self
            .contents
            .tables
            .iter()
            .map(|sums| json!({"table": sums.table, "rows": sums.rows, "columns": sums.columns}))
            .collect();
        json!({
            "format": FORMAT, "made": self.made, "migrations": self.migrations, "tables": tables,
            "sequences": self.contents.sequences,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let pairs = |value: &Value| -> Option<Vec<(String, i64)>> {
            value
                .as_array()?
                .iter()
                .map(|pair| Some((pair[0].as_str()?.to_owned(), pair[1].as_i64()?)))
                .collect()
        };
        let texts = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|text| Some(text.as_str()?.to_owned())).collect()
        };
        let tables = value["tables"].as_array()?.iter().map(|table| {
            Some(Sums {
                table: table["table"].as_str()?.to_owned(),
                rows: table["rows"].as_u64()?,
                columns: pairs(&table["columns"])?,
            })
        });
        Some(Self {
            made: value["made"].as_str()?.to_owned(),
            migrations: texts(&value["migrations"])?,
            contents: Contents {
                tables: tables.collect::<Option<_>>()?,
                sequences: pairs(&value["sequences"])?,
            },
        })
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A backup being written, beside its place; it goes away when dropped before [`Writer::finish`].
#[derive(Debug)]
pub(crate) struct Writer {
    out: BufWriter<File>,
    hash: Sha256,
    partial: PathBuf,
    place: PathBuf,
}

/// A backup is never overwritten.
pub(crate) fn ensure_absent(place: &Path) -> Result<()> {
    ensure!(
        !place.exists(),
        "{} is there already\n  what to do: give another name; a backup is never overwritten",
        place.display()
    );
    Ok(())
}

impl Writer {
    /// Begins a file for its owner's eyes only.
    ///
    /// # Errors
    /// When there is such a file already, or it cannot be written.
    pub(crate) fn create(place: &Path, header: &Header) -> Result<Self> {
        ensure_absent(place)?;
        let name = place.file_name().with_context(|| format!("{} names no file", place.display()))?;
        let partial = place.with_file_name(format!("{}.partial", name.display()));
        // What a killed run left.
        let _ = fs::remove_file(&partial);
        let out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .with_context(|| format!("cannot write {}", partial.display()))?;
        let (out, hash) = (BufWriter::new(out), Sha256::new());
        let mut writer = Self { out, hash, partial, place: place.to_path_buf() };
        writer.line(TITLE)?;
        writer.line(&format!("-- {}", header.to_json()))?;
        Ok(writer)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        for bytes in [line.as_bytes(), b"\n"] {
            self.hash.update(bytes);
            self.out.write_all(bytes).with_context(|| format!("cannot write {}", self.partial.display()))?;
        }
        Ok(())
    }

    /// Seals the file and puts it into its place. Returns its size in bytes.
    ///
    /// # Errors
    /// When it cannot be written, or a file has appeared there.
    pub(crate) fn finish(mut self) -> Result<u64> {
        let seal = hex(&self.hash.clone().finalize());
        self.line(&format!("{SEAL}{seal}"))?;
        let cannot = || format!("cannot write {}", self.partial.display());
        self.out.flush().and_then(|()| self.out.get_ref().sync_all()).with_context(cannot)?;
        ensure_absent(&self.place)?;
        fs::rename(&self.partial, &self.place).with_context(cannot)?;
        Ok(fs::metadata(&self.place)?.len())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.partial);
    }
}

/// A backup that was read through once and is whole.
#[derive(Debug)]
pub(crate) struct Dump {
    /// What it holds.
    pub(crate) header: Header,
    path: PathBuf,
}

impl Dump {
    /// Opens a backup.
    ///
    /// # Errors
    /// When it is none, is of another format, or was cut off or changed since it was made.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut lines = lines(path)?;
        let mut hash = Sha256::new();
        let (Some(title), Some(header)) = (lines.next().transpose()?, lines.next().transpose()?) else {
            bail!("{} is no backup of Ragflare", path.display());
        };
        hash.update(&title);
        hash.update(&header);
        let header: Value = String::from_utf8_lossy(&header)
            .strip_prefix("-- ")
            .and_then(|json| serde_json::from_str(json).ok())
            .with_context(|| format!("{} is no backup of Ragflare", path.display()))?;
        let format = header["format"].as_u64().unwrap_or_default();
        ensure!(
            format == FORMAT,
            "{} has the format {format}; this version knows {FORMAT}\n  \
             what to do: restore it with the version of Ragflare that made it",
            path.display()
        );
        let header = Header::from_json(&header).context("the header of the backup is incomplete")?;
        for line in lines {
            let line = line?;
            if line.starts_with(SEAL.as_bytes()) {
                let whole = line == format!("{SEAL}{}\n", hex(&hash.finalize())).as_bytes();
                ensure!(whole, "{} was changed since it was made: its hash is another", path.display());
                return Ok(Self { header, path: path.to_path_buf() });
            }
            hash.update(&line);
        }
        bail!("{} was cut off: it does not end with its hash", path.display())
    }

    /// Its statements.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn statements(&self) -> Result<impl Iterator<Item = Result<Vec<u8>>>> {
        let comment = |line: &Result<Vec<u8>>| line.as_ref().is_ok_and(|line| line.starts_with(b"--"));
        Ok(lines(&self.path)?.filter(move |line| !comment(line)))
    }
}

/// The lines of a file with their ends.
fn lines(path: &Path) -> Result<impl Iterator<Item = Result<Vec<u8>>>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let path = path.to_path_buf();
    let mut reader = BufReader::new(file);
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = reader.read_until(b'\n', &mut line);
        match read.with_context(|| format!("cannot read {}", path.display())) {
            Ok(0) => None,
            Ok(_) => Some(Ok(line)),
            Err(error) => Some(Err(error)),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents() -> Contents {
        Contents {
            tables: vec![Sums { table: "t".to_owned(), rows: 1, columns: vec![("k".to_owned(), -3)] }],
            sequences: vec![("t".to_owned(), 9)],
        }
    }

    fn header() -> Header {
        Header {
            made: "2026-11-21T07:00:00Z".to_owned(),
            migrations: vec!["0001_a.sql".to_owned()],
            contents: contents(),
        }
    }

    fn place(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ragflare-xtask-dump-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir.join("a.sql")
    }

    #[test]
    fn what_is_written_is_read() {
        let place = place("whole");
        let mut writer = Writer::create(&place, &header()).unwrap();
        writer.line("INSERT 1;").unwrap();
        writer.line("INSERT 2;").unwrap();
        assert!(!place.exists());
        writer.finish().unwrap();
        let dump = Dump::open(&place).unwrap();
        assert_eq!(dump.header, header());
        let statements: Vec<_> = dump.statements().unwrap().map(Result::unwrap).collect();
        assert_eq!(statements, [b"INSERT 1;\n", b"INSERT 2;\n"]);
        let error = Writer::create(&place, &header()).unwrap_err().to_string();
        assert!(error.contains("never overwritten"), "{error}");
    }

    #[test]
    fn a_difference_is_named() {
        let difference = |change: fn(&mut Contents)| {
            let mut found = contents();
            change(&mut found);
            contents().difference(&found).unwrap_or_default()
        };
        assert_eq!(difference(|_| ()), "");
        assert_eq!(difference(|found| found.tables[0].rows = 2), "t has 2 rows instead of 1");
        assert_eq!(difference(|found| found.tables[0].columns[0].1 = 0), "t.k has other values");
        assert_eq!(difference(|found| found.tables.clear()), "it has 0 tables instead of 1");
        assert!(difference(|found| found.sequences.clear()).contains("sqlite_sequence"));
    }

    #[test]
    fn what_is_not_finished_goes_away() {
        let place = place("partial");
        let mut writer = Writer::create(&place, &header()).unwrap();
        writer.line("INSERT 1;").unwrap();
        drop(writer);
        assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn damage_is_noticed() {
        let place = place("damage");
        let mut writer = Writer::create(&place, &header()).unwrap();
        writer.line("INSERT 1;").unwrap();
        writer.finish().unwrap();
        let whole = fs::read_to_string(&place).unwrap();
        for (damaged, words) in [
            (whole.replace("INSERT 1", "INSERT 2"), "was changed"),
            (whole[..whole.len() - 80].to_owned(), "was cut off"),
            (whole.replace("\"format\":1", "\"format\":2"), "has the format 2"),
            ("SELECT 1;\nSELECT 2;\n".to_owned(), "no backup"),
            (String::new(), "no backup"),
        ] {
            fs::write(&place, damaged).unwrap();
            let error = Dump::open(&place).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
