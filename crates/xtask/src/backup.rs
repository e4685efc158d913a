//! `cargo xtask backup`: the rows of the D1 database in one file.

mod database;
mod dump;
pub mod restore;
mod sql;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use crate::data::DataDir;
use crate::{paths, report, setup};
use database::Database;
use dump::{Contents, Header, Sums, Writer};
use sql::{Table, Value};

/// What `cargo xtask backup --help` ends with.
pub const HELP: &str = "\
What it holds: every row of the database: documents, their generations and chunks (the texts), the ledger of vectors, API
keys (their hashes: the keys go on working), dead letters. The tables come from the migrations, and the keyword index is
built anew from the chunks by the restore: D1 exports no full-text tables, and its own export mixes up line breaks and the
two characters \\n.

What it does not hold:
  originals  the R2 bucket. Copy it right after the backup, without deleting anything in the copy (`rclone copy`); here:
             DIR/state/v3/r2. Objects never change, so a later copy of them fits an earlier backup.
  vectors    the Vectorize index. They can be made again: a re-index does it, and asks for the originals.
  messages   in the queue. The sweeper sends them again.

With --remote it reads the deployed database through wrangler (`wrangler login`, or CLOUDFLARE_API_TOKEN), which needs the
database's id in worker/ingest/wrangler.jsonc. If something is written meanwhile, it says so and leaves no file: try again
at a quieter time, or pause the uploads and `wrangler queues pause-delivery ragflare-ingest` first. The file is readable
for its owner only; keep it so: it holds your texts.";

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this data directory; `.ragflare` in the checkout when `None`.
    Data(Option<PathBuf>),
    /// Deployed.
    Remote,
}

/// The data directory to use.
fn data_path(given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| paths::checkout().join(".ragflare"), Path::to_path_buf)
}

/// The directory of D1's files below that of the simulators' state.
fn d1(state: &Path) -> PathBuf {
    state.join("v3/d1")
}

/// Sets up what is needed and writes a backup.
///
/// # Errors
/// As [`save`].
pub fn run(file: &Path, place: &Place) -> Result<()> {
    setup::run()?;
    save(file, place)
}

/// Writes a backup of the database to a new file. Wrangler must be there.
///
/// # Errors
/// When the file is there already, a stack runs on the data directory, the database cannot be read, or it was written to
/// meanwhile.
pub fn save(file: &Path, place: &Place) -> Result<()> {
    dump::ensure_absent(file)?;
    match place {
        Place::Remote => save_from(&Database::remote()?, file),
        Place::Data(path) => {
            let path = data_path(path.as_deref());
            ensure!(
                d1(&path.join("state")).is_dir(),
                "there is no database in {}\n  what to do: name the data directory with --data, or say --remote",
                path.display()
            );
            let data = DataDir::open(&path, false)?;
            save_from(&Database::local(data.path(), &data.path().join("state"))?, file)
        }
    }
}

fn save_from(database: &Database, file: &Path) -> Result<()> {
    let (shape, contents) = report::step("looking at the database", || {
        let shape = database.shape()?;
        let contents = database.contents(&shape.tables)?;
        Ok((shape, contents))
    })?;
    let header = Header { made: shape.now, migrations: shape.migrations, contents: contents.clone() };
    let mut writer = Writer::create(file, &header)?;
    let read = report::step(&format!("reading {} rows", contents.rows()), || {
        save_rows(database, &shape.tables, &mut writer)
    })?;
    for (table, last) in &contents.sequences {
        let table = Value::Text(table.clone()).literal();
        writer.line(&format!("DELETE FROM sqlite_sequence WHERE name = {table};"))?;
        writer.line(&format!("INSERT INTO sqlite_sequence (name, seq) VALUES ({table}, {last});"))?;
    }
    let after = report::step("comparing", || database.contents(&shape.tables))?;
    ensure!(
        after == contents,
        "the database was written to while it was read\n  what to do: try again, or pause the uploads and \
         `wrangler queues pause-delivery ragflare-ingest` first"
    );
    // Nothing may have been lost on the way either.
    let read = Contents { tables: read, sequences: contents.sequences.clone() };
    if let Some(difference) = read.difference(&contents) {
        bail!("what was read is not what the database holds: {difference}");
    }
    let bytes = writer.finish()?;
    report::line(&format!("\n{}: {} rows, {bytes} bytes", file.display(), contents.rows()));
    for sums in &contents.tables {
        report::line(&format!("    {}: {}", sums.table, sums.rows));
    }
    Ok(())
}

/// Writes all rows and adds them up.
fn save_rows(database: &Database, tables: &[Table], writer: &mut Writer) -> Result<Vec<Sums>> {
    let nothing = |table: &Table| Sums {
        table: table.name.clone(),
        rows: 0,
        columns: table.columns.iter().map(|column| (column.clone(), 0)).collect(),
    };
    let mut read: Vec<Sums> = tables.iter().map(nothing).collect();
    database.read(tables, |position, rows| {
        let sums = &mut read[position];
        for row in &rows {
            sums.rows += 1;
            for ((_, sum), value) in sums.columns.iter_mut().zip(row) {
                *sum += value.weight();
            }
        }
        for statement in tables[position].inserts(&rows) {
            writer.line(&statement)?;
        }
        Ok(())
    })?;
    Ok(read)
}

/// The database's tables must be those of the backup.
fn ensure_same_tables(header: &Header, migrations: &[String], tables: &[Table]) -> Result<()> {
    ensure!(
        header.migrations == migrations,
        "the backup was made with the migrations {}, the database has {}\n  what to do: restore with the version of \
         Ragflare that made the backup, into a database with its migrations; then update",
        header.migrations.join(", "),
        migrations.join(", ")
    );
    let shown = |name: &str, columns: Vec<&str>| format!("{name} ({})", columns.join(", "));
    let wanted: Vec<String> = header
        .contents
        .tables
        .iter()
        .map(|sums| shown(&sums.table, sums.columns.iter().map(|(name, _)| name.as_str()).collect()))
        .collect();
    let found: Vec<String> = tables
        .iter()
        .map(|table| shown(&table.name, table.columns.iter().map(String::as_str).collect()))
        .collect();
    if let Some(missing) = wanted.iter().find(|table| !found.contains(table)) {
        bail!("the migrations have the same names, but the database has no table {missing}");
    }
    ensure!(wanted.len() == found.len(), "the database has tables that the backup does not have");
    Ok(())
}
