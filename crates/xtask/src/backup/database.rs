//! A D1 database, read and written through wrangler: the one in a data directory or the deployed one.
//!
//! Not through `wrangler d1 export`: it refuses FTS5 tables (workers-sdk #6305), and where a text has both a line break and
//! the two characters `\n`, its output makes line breaks of both (workers-sdk #9042).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value as Json};

use super::dump::{Contents, Sums};
use super::sql::{self, Table, Value};
use crate::devconfig::{self, Production};
use crate::process::{forget_group, spawn_group};
use crate::{npm, paths, report, wrangler};

/// The worker whose configuration names the database and its migrations.
const WORKER: &str = "worker/ingest/wrangler.jsonc";
/// Where wrangler notes which migrations were applied.
const MIGRATIONS: &str = "d1_migrations";
/// What FTS5 calls the tables behind one of its own.
const SHADOWS: &[&str] = &["config", "content", "data", "docsize", "idx"];
/// How much a slice should bring, in bytes; how many rows the first one may have, and how many a later one.
const SLICE: usize = 4 << 20;
const FIRST_ROWS: usize = 1000;
const MOST_ROWS: usize = 10_000;

/// One database.
#[derive(Debug)]
pub(crate) struct Database {
    /// What the configuration calls it, and where its migrations are.
    pub(crate) about: devconfig::Database,
    /// The configuration.
    pub(crate) config: PathBuf,
    /// The arguments that say where it is.
    place: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
}

/// What a database is made of.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The migrations applied, in order.
    pub(crate) migrations: Vec<String>,
    /// The tables whose rows cannot be made from others.
    pub(crate) tables: Vec<Table>,
    /// The time now, UTC.
    pub(crate) now: String,
}

impl Database {
    /// The one in a data directory, its files below `state`. No stack may run on it.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub(crate) fn local(data: &Path, state: &Path) -> Result<Self> {
        let (production, about) = production()?;
        let plugin = paths::checkout().join("worker/dev-plugin");
        let config = data.join("dev/database/wrangler.json");
        fs::create_dir_all(data.join("dev/database"))?;
        fs::write(&config, production.development(&plugin, &BTreeMap::new())?.to_string())
            .with_context(|| format!("cannot write {}", config.display()))?;
        let place = vec!["--local".into(), "--persist-to".into(), state.into()];
        Ok(Self { about, config, place, env: wrangler::env(&data.join("wrangler"))? })
    }

    /// The deployed one.
    ///
    /// # Errors
    /// When the worker's configuration is wrong.
    pub(crate) fn remote() -> Result<Self> {
        let (_, about) = production()?;
        let mut env = wrangler::env(&paths::dev().join("wrangler"))?;
        // There wrangler keeps who is logged in.
        env.retain(|(name, _)| *name != "XDG_CONFIG_HOME");
        Ok(Self { about, config: paths::checkout().join(WORKER), place: vec!["--remote".into()], env })
    }

    /// Runs statements and returns each one's rows.
    ///
    /// # Errors
    /// When one fails, with what D1 said.
    pub(crate) fn query(&self, statements: &str) -> Result<Vec<Vec<Map<String, Json>>>> {
        let printed = self.execute(&["--command".into(), statements.into()])?;
        let Json::Array(results) = printed else { bail!("wrangler printed no list: {printed}") };
        let rows = |mut result: Json| match result["results"].take() {
            Json::Array(rows) => rows
                .into_iter()
                .map(|row| if let Json::Object(row) = row { Ok(row) } else { bail!("{row} is no row") })
                .collect(),
            other => bail!("wrangler printed no rows: {other}"),
        };
        results.into_iter().map(rows).collect()
    }

    /// Runs the statements of a file in one transaction.
    ///
    /// # Errors
    /// When one fails, with what D1 said; then none has had an effect.
    pub(crate) fn load(&self, file: &Path) -> Result<()> {
        self.execute(&["--file".into(), file.into(), "--yes".into()]).map(drop)
    }

    fn execute(&self, what: &[OsString]) -> Result<Json> {
        let mut command = Command::new(npm::node()?);
        command.arg(npm::wrangler()?).args(["d1", "execute", &self.about.name, "--json", "--config"]);
        command.arg(&self.config).args(&self.place).args(what).envs(self.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = spawn_group(&mut command).context("wrangler cannot be started")?;
        let group = child.id();
        let output = child.wait_with_output();
        forget_group(group);
        let output = output?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let json = json_in(&stdout);
        match json {
            Some(json) if output.status.success() => Ok(json),
            Some(json) if json["error"]["text"].is_string() => {
                bail!("D1: {}", json["error"]["text"].as_str().unwrap_or_default())
            }
            _ => bail!(
                "`wrangler d1 execute` failed ({}):\n{stdout}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }

    /// Its migrations and tables.
    ///
    /// # Errors
    /// When it has no migrations, or a table without a primary key.
    pub(crate) fn shape(&self) -> Result<Shape> {
        let results = self
            .query(&format!(
                "SELECT name, sql, strftime('%Y-%m-%dT%H:%M:%SZ', 'now') AS now FROM sqlite_master WHERE type = 'table'; \
                 SELECT m.name AS name, p.name AS field, p.pk AS pk FROM sqlite_master m, pragma_table_info(m.name) p \
                 WHERE m.type = 'table' AND m.sql NOT LIKE 'CREATE VIRTUAL %' ORDER BY m.name, p.cid; \
                 SELECT name FROM {MIGRATIONS} ORDER BY id;"
            ))
            .with_context(|| {
                format!(
                    "the database has no tables yet, or cannot be read\n  what to do, in the first case: wrangler d1 \
                     migrations apply {} --remote -c {WORKER}",
                    self.about.name
                )
            })?;
        let [all, columns, applied] = &results[..] else {
            bail!("wrangler printed {} results instead of 3", results.len());
        };
        let tables = tables(all, columns);
        if let Some(table) = tables.iter().find(|table| table.key.is_empty()) {
            bail!("the table {} has no primary key, by which its rows could be read in slices", table.name);
        }
        Ok(Shape {
            migrations: applied.iter().map(|row| text(row, "name")).collect(),
            tables,
            now: all.first().map(|row| text(row, "now")).unwrap_or_default(),
        })
    }

    /// Counts these tables' rows and adds their values up.
    ///
    /// # Errors
    /// When a table has values that a backup cannot hold.
    pub(crate) fn contents(&self, tables: &[Table]) -> Result<Contents> {
        let mut statements: String = tables.iter().map(count).collect();
        statements += "SELECT name, seq FROM sqlite_sequence ORDER BY name;";
        let mut results = self.query(&statements).context("the rows cannot be counted")?;
        ensure!(results.len() == tables.len() + 1, "wrangler printed {} results", results.len());
        let sequences = results.pop().unwrap_or_default();
        let tables = tables
            .iter()
            .zip(results)
            .map(|(table, rows)| {
                let row = rows.first().context("a count without a row")?;
                ensure!(
                    row["other"].as_f64() == Some(0.0),
                    "the table {} holds fractions or bytes, which a backup cannot hold",
                    table.name
                );
                let sum = |at: usize| row[&format!("c{at}")].as_i64().unwrap_or_default();
                Ok(Sums {
                    table: table.name.clone(),
                    rows: row["n"].as_u64().context("a count that is no number")?,
                    columns: table
                        .columns
                        .iter()
                        .enumerate()
                        .map(|(at, name)| (name.clone(), sum(at)))
                        .collect(),
                })
            })
            .collect::<Result<_>>()?;
        let sequences = sequences
            .iter()
            .filter_map(|row| Some((row["name"].as_str()?.to_owned(), row["seq"].as_i64()?)))
            .filter(|(name, _)| name != MIGRATIONS)
            .collect();
        Ok(Contents { tables, sequences })
    }

    /// Hands the rows of all these tables over by key, in slices: the position of a table and some of its rows.
    ///
    /// # Errors
    /// Its own, and those of `slice`.
    pub(crate) fn read(
        &self,
        tables: &[Table],
        mut slice: impl FnMut(usize, Vec<Vec<Value>>) -> Result<()>,
    ) -> Result<()> {
        let mut open: Vec<Cursor> = (0..tables.len())
            .map(|position| Cursor { position, after: String::new(), limit: FIRST_ROWS })
            .collect();
        let mut done = 0;
        while !open.is_empty() {
            let statements: String =
                open.iter().map(|cursor| cursor.select(&tables[cursor.position])).collect();
            let results = self.query(&statements).context("the rows cannot be read")?;
            ensure!(results.len() == open.len(), "wrangler printed {} results", results.len());
            let size = SLICE / open.len();
            let mut next = Vec::new();
            done += results.iter().map(Vec::len).sum::<usize>();
            report::line(&format!("    {done} rows"));
            for (cursor, rows) in open.into_iter().zip(results) {
                let (position, table) = (cursor.position, &tables[cursor.position]);
                let rows: Vec<_> = rows.into_iter().map(|row| values(table, row)).collect::<Result<_>>()?;
                next.extend(cursor.advance(table, &rows, size));
                slice(position, rows)?;
            }
            open = next;
        }
        Ok(())
    }
}

/// Where the reading of a table is.
#[derive(Debug)]
struct Cursor {
    position: usize,
    /// The condition that leaves out what was read.
    after: String,
    limit: usize,
}

impl Cursor {
    fn select(&self, table: &Table) -> String {
        format!(
            "SELECT {} FROM {}{} ORDER BY {} LIMIT {}; ",
            sql::names(&table.columns),
            sql::name(&table.name),
            self.after,
            sql::names(&table.key_names()),
            self.limit
        )
    }

    /// For the rows after these, of which the next slice is to have about `size` bytes; `None` when these were the last.
    fn advance(self, table: &Table, rows: &[Vec<Value>], size: usize) -> Option<Self> {
        let last = rows.last().filter(|_| rows.len() == self.limit)?;
        let last: Vec<String> = table.key.iter().map(|position| last[*position].literal()).collect();
        let mean = rows.iter().flatten().map(Value::size).sum::<usize>() / rows.len();
        Some(Self {
            position: self.position,
            after: format!(" WHERE ({}) > ({})", sql::names(&table.key_names()), last.join(",")),
            limit: (size / mean.max(1)).clamp(1, MOST_ROWS),
        })
    }
}

/// What wrangler printed as JSON; before it may stand how far the upload of a file is.
fn json_in(printed: &str) -> Option<Json> {
    let start = printed.split_inclusive('\n').scan(0, |at, line| {
        *at += line.len();
        Some((*at - line.len(), line))
    });
    start
        .filter(|(_, line)| line.starts_with(['[', '{']))
        .find_map(|(at, _)| serde_json::from_str(&printed[at..]).ok())
}

fn text(row: &Map<String, Json>, key: &str) -> String {
    row[key].as_str().unwrap_or_default().to_owned()
}

/// Tables with their columns, from the names and SQL of all tables, and the columns of those that are not virtual.
fn tables(all: &[Map<String, Json>], columns: &[Map<String, Json>]) -> Vec<Table> {
    let is_virtual = |row: &&Map<String, Json>| {
        text(row, "sql").get(..15).is_some_and(|sql| sql.eq_ignore_ascii_case("CREATE VIRTUAL "))
    };
    let virtuals: Vec<String> = all.iter().filter(is_virtual).map(|row| text(row, "name")).collect();
    let mut tables: Vec<Table> = Vec::new();
    let mut keys: Vec<(i64, usize)> = Vec::new();
    for row in columns.iter().filter(|row| is_own(&text(row, "name"), &virtuals)) {
        let name = text(row, "name");
        if tables.last().is_none_or(|table| table.name != name) {
            tables.push(Table { name, columns: Vec::new(), key: Vec::new() });
            keys.clear();
        }
        let Some(table) = tables.last_mut() else { continue };
        if let Some(place @ 1..) = row["pk"].as_i64() {
            keys.push((place, table.columns.len()));
            keys.sort_unstable();
            table.key = keys.iter().map(|(_, position)| *position).collect();
        }
        table.columns.push(text(row, "field"));
    }
    tables
}

/// The statement for a table's [`Sums`].
fn count(table: &Table) -> String {
    let others: Vec<String> = table
        .columns
        .iter()
        .map(|column| format!("typeof({}) IN ('blob', 'real')", sql::name(column)))
        .collect();
    let sums: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| format!("{} AS c{at}", sql::weight(column)))
        .collect();
    format!(
        "SELECT count(*) AS n, total({}) AS other, {} FROM {}; ",
        others.join(" OR "),
        sums.join(", "),
        sql::name(&table.name)
    )
}

fn production() -> Result<(Production, devconfig::Database)> {
    let production = Production::read(&paths::checkout().join(WORKER))?;
    let about = production.databases().into_iter().next().context("the ingest worker has no database")?;
    Ok((production, about))
}

/// Whether a table's rows belong into a backup: neither one of D1's and what it runs on, nor a part of a full-text index.
fn is_own(name: &str, virtuals: &[String]) -> bool {
    let is_shadow = virtuals.iter().any(|table| {
        name.strip_prefix(table.as_str())
            .and_then(|rest| rest.strip_prefix('_'))
            .is_some_and(|rest| SHADOWS.contains(&rest))
    });
    !is_shadow && name != MIGRATIONS && !name.starts_with("sqlite_") && !name.starts_with("_cf_")
}

fn values(table: &Table, mut row: Map<String, Json>) -> Result<Vec<Value>> {
    table
        .columns
        .iter()
        .map(|column| {
            let value = row.remove(column).with_context(|| format!("a row without {column}"))?;
            Value::from_json(value).with_context(|| format!("{}.{column}", table.name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_found_behind_progress() {
        let printed = "├ Checking\n│ Uploading\n\n[\n  {\n    \"results\": []\n  }\n]\n";
        assert_eq!(json_in(printed), Some(serde_json::json!([{ "results": [] }])));
        assert_eq!(json_in("nothing\n"), None);
    }

    #[test]
    fn only_own_tables_are_taken() {
        let virtuals = ["keyword_index".to_owned(), "keyword_terms".to_owned()];
        for name in ["sqlite_sequence", "_cf_KV", "d1_migrations", "keyword_index_data", "keyword_index_idx"]
        {
            assert!(!is_own(name, &virtuals), "{name}");
        }
        for name in ["chunks", "keys", "keyword_index_notes", "cf_x"] {
            assert!(is_own(name, &virtuals), "{name}");
        }
    }
}
