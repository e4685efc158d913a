//! `cargo xtask restore`: the rows of a backup into an empty database, and the keyword index built anew from them.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::database::Database;
use super::dump::{Contents, Dump, Sums};
use super::sql::Table;
use super::{Place, d1, data_path, ensure_same_tables};
use crate::build::{self, Workers};
use crate::data::DataDir;
use crate::migrations::{self, Migration};
use crate::stack::{Stack, StackOptions};
use crate::{paths, report, scratch, setup};

/// What `cargo xtask restore --help` ends with.
pub const HELP: &str = "\
The database must be empty and have the migrations that the backup was made with. Everything is compared with the backup
before it counts; in a data directory, nothing is replaced until then.

With --data (or neither), the tables are made here, and the keyword index is built at once by the workers. --fresh takes the
place of a database that has rows; originals and vectors in the directory stay.

With --remote, restore BEFORE the workers are deployed on the new database: their sweeper deletes originals that no row
names, and an empty database names none.
  $ wrangler d1 create ragflare                 # its id into worker/ingest/wrangler.jsonc and worker/query/wrangler.jsonc
  $ wrangler d1 migrations apply ragflare --remote -c worker/ingest/wrangler.jsonc
  $ cargo xtask restore FILE --remote
  $ wrangler deploy -c worker/ingest/wrangler.jsonc && wrangler deploy -c worker/query/wrangler.jsonc
  $ ADMIN_KEY=… cargo xtask rebuild-keywords https://ragflare-query.YOURS.workers.dev

What was uploaded, changed or deleted since the backup has to be uploaded, changed or deleted again.

Originals: the R2 bucket as it was, or a copy made right after the backup (here: DIR/state/v3/r2). A document whose original
is gone is still found and answered from, but cannot be downloaded or made anew. Originals that are newer than the backup
are deleted by the sweeper.

Vectors: with the Vectorize index as it was, there is nothing to do; vectors that are newer than the backup stay in it and
are never shown. With a new, empty index, or after the loss of many days: for each tenant
  $ curl -X POST URL/v1/admin/reindex -H \"Authorization: Bearer $ADMIN_KEY\" -H 'content-type: application/json' \\
      -d '{\"tenant\": \"default\", \"force\": true}'
makes all vectors anew from the originals. Keyword search answers meanwhile.

API keys are in the backup, as hashes: they work as before. The ADMIN_KEY is not: it is a secret of the workers.";

/// The rows of about so many bytes of SQL go into the database together.
const SLICE: usize = 4 << 20;
/// For one slice of the keyword index.
const PATIENCE: Duration = Duration::from_mins(2);

/// Sets up and builds what is needed and restores a backup.
///
/// # Errors
/// As [`load`].
pub fn run(file: &Path, place: &Place, fresh: bool) -> Result<()> {
    // First what can be known at once.
    Dump::open(file)?;
    setup::run()?;
    if *place != Place::Remote {
        build::run(Workers::Shipping)?;
    }
    load(file, place, fresh)
}

/// Restores a backup. Wrangler, and for a data directory the twin and the workers, must be there.
///
/// # Errors
/// When the backup is damaged, the database is not empty (and not to be replaced: `fresh`) or has other migrations, or what
/// is in it afterwards is not what was in the backup.
pub fn load(file: &Path, place: &Place, fresh: bool) -> Result<()> {
    let dump = report::step("reading the backup", || Dump::open(file))?;
    report::line(&format!("    made {} with {}", dump.header.made, dump.header.migrations.join(", ")));
    match place {
        Place::Remote => load_remote(&dump),
        Place::Data(path) => load_local(&dump, &data_path(path.as_deref()), fresh),
    }
}

fn load_remote(dump: &Dump) -> Result<()> {
    let database = Database::remote()?;
    let shape = database.shape()?;
    ensure_same_tables(&dump.header, &shape.migrations, &shape.tables)?;
    let name = &database.about.name;
    ensure_empty(
        &database.contents(&shape.tables)?,
        &format!("make a new one: wrangler d1 delete {name}, wrangler d1 create {name}, then its migrations"),
    )?;
    let work = paths::dev().join("restore");
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    fill(&database, &shape.tables, dump, &work.join("slice.sql"))?;
    report::line(
        "\nThe rows are back. What is left, and what to do about originals and vectors:\n\
         `cargo xtask restore --help`; next the workers, then `cargo xtask rebuild-keywords URL`.",
    );
    Ok(())
}

fn load_local(dump: &Dump, path: &Path, fresh: bool) -> Result<()> {
    let data = DataDir::open(path, false)?;
    let place = d1(&data.path().join("state"));
    if place.is_dir() && !fresh {
        let old = Database::local(data.path(), &data.path().join("state"))?;
        ensure_empty(
            &old.contents(&old.shape()?.tables)?,
            "--fresh puts the backup into its place; or give another directory with --data",
        )?;
    }
    let work = data.path().join("restore");
    scratch::remove(&work)?;
    if let Err(error) = prepare(dump, data.path(), &work) {
        scratch::remove(&work)?;
        return Err(error);
    }
    // Complete and compared: now it takes the old one's place.
    if place.is_dir() {
        fs::rename(&place, work.join("old")).context("cannot put the old database aside")?;
    }
    fs::create_dir_all(place.parent().unwrap_or(&place))?;
    fs::rename(d1(&work.join("state")), &place).context("cannot put the database into place")?;
    scratch::remove(&work)?;
    let options = StackOptions::new(data.path());
    let rows = report::step("starting the twin and the workers", || Stack::start_on(data, &options))
        .and_then(|stack| rebuild_keywords(&stack.url, &stack.admin_key))
        .context(
            "the rows are back, the keyword index is not\n  what to do: `cargo xtask up`, and meanwhile `cargo xtask \
             rebuild-keywords` with the ADMIN_KEY, which is in the file admin-key of the data directory",
        )?;
    report::line(&format!(
        "\nThe rows are back, and the keyword index of {rows} chunks. What to do about originals and vectors:\n\
         `cargo xtask restore --help`."
    ));
    Ok(())
}

/// Makes the whole database below `work`.
fn prepare(dump: &Dump, data: &Path, work: &Path) -> Result<()> {
    let database = Database::local(data, &work.join("state"))?;
    let migration = Migration { database: database.about.clone(), config: database.config.clone() };
    report::step("making the tables", || migrations::apply(work, &[migration]))?;
    let shape = database.shape()?;
    ensure_same_tables(&dump.header, &shape.migrations, &shape.tables)?;
    fill(&database, &shape.tables, dump, &work.join("slice.sql"))
}

fn ensure_empty(contents: &Contents, advice: &str) -> Result<()> {
    let full = contents.tables.iter().find(|sums| sums.rows > 0);
    if let Some(Sums { table, rows, .. }) = full {
        anyhow::bail!("the database is not empty: {table} has {rows} rows\n  what to do: {advice}");
    }
    Ok(())
}

/// Loads the backup slice by slice by way of the file `slice`, and compares.
fn fill(database: &Database, tables: &[Table], dump: &Dump, slice: &Path) -> Result<()> {
    let wanted = &dump.header.contents;
    report::step(&format!("inserting {} rows", wanted.rows()), || {
        let mut writer = Slice::new(database, slice);
        for statement in dump.statements()? {
            writer.add(&statement?)?;
        }
        writer.flush()
    })?;
    report::step("comparing", || {
        let difference = wanted.difference(&database.contents(tables)?);
        ensure!(
            difference.is_none(),
            "the database is not what was backed up: {}",
            difference.unwrap_or_default()
        );
        Ok(())
    })
}

/// Statements that are to be run together.
struct Slice<'a> {
    database: &'a Database,
    file: PathBuf,
    statements: Vec<u8>,
    done: usize,
}

impl<'a> Slice<'a> {
    fn new(database: &'a Database, file: &Path) -> Self {
        Self { database, file: file.to_path_buf(), statements: Vec::new(), done: 0 }
    }

    fn add(&mut self, statement: &[u8]) -> Result<()> {
        if !self.statements.is_empty() && self.statements.len() + statement.len() > SLICE {
            self.flush()?;
        }
        self.statements.extend_from_slice(statement);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.statements.is_empty() {
            return Ok(());
        }
        let file =
            File::create(&self.file).with_context(|| format!("cannot write {}", self.file.display()))?;
        let mut out = BufWriter::new(file);
        out.write_all(&self.statements)?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        self.database.load(&self.file)?;
        fs::remove_file(&self.file)?;
        self.done += self.statements.len();
        self.statements.clear();
        report::line(&format!("    {} KiB of SQL", self.done / 1024));
        Ok(())
    }
}

/// Has the workers build the keyword index anew from the chunks. Returns how many chunks it has.
///
/// # Errors
/// When they do not answer, or the key is not the `ADMIN_KEY`.
pub fn rebuild_keywords(url: &str, key: &str) -> Result<u64> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into();
    let route = format!("{}/v1/admin/rebuild-keywords", url.trim_end_matches('/'));
    report::step("building the keyword index", || {
        let (mut rows, mut after) = (0, Value::Null);
        loop {
            let body = if after.is_null() { json!({}) } else { json!({ "after": after }) };
            let mut reply = agent
                .post(&route)
                .header("authorization", &format!("Bearer {key}"))
                .header("content-type", "application/json")
                .send(body.to_string())
                .with_context(|| format!("POST {route}"))?;
            let text = reply.body_mut().read_to_string().unwrap_or_default();
            let status = reply.status().as_u16();
            ensure!(status == 200, "POST {route} answered {status}: {text}");
            let answer: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
            rows += answer["rows"].as_u64().with_context(|| format!("no rows: {text}"))?;
            after = answer["next"].clone();
            if after.is_null() {
                return Ok(rows);
            }
            report::line(&format!("    {rows} chunks"));
        }
    })
}
