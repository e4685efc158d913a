//! A running stack: the twin and the workers in the real runtime, on one data directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::data::DataDir;
use crate::devconfig::Production;
use crate::migrations::{self, Migration};
use crate::process::Run;
use crate::service::Service;
use crate::{group, http, indexes, models, npm, paths, scratch, wrangler};

/// Loading the models takes a second or two; a machine with other work to do gets a minute.
const TWIN_PATIENCE: Duration = Duration::from_mins(1);
/// Compiling the wasm of several workers takes a few seconds.
const WORKERS_PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(25);
/// What a line of a worker's ledger begins with.
const LEDGER: &str = "ragflare-ledger ";
/// Moves every time in the simulators' databases below a directory back by some milliseconds, and prints the keys of the
/// objects in their buckets.
const AGE: &str = r#"
const { DatabaseSync } = require("node:sqlite"), fs = require("node:fs"), path = require("node:path");
const [dir, by] = [process.argv[1], Number(process.argv[2])];
const files = ["d1", "r2"].flatMap((kind) => {
  const place = path.join(dir, "v3", kind);
  const inside = fs.existsSync(place) ? fs.readdirSync(place, { recursive: true }) : [];
  return inside.filter((name) => name.endsWith(".sqlite") && path.basename(name) !== "metadata.sqlite")
    .map((name) => path.join(place, name));
});
const keys = [];
for (const file of files) {
  const db = new DatabaseSync(file);
  for (const { name } of db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all()) {
    for (const column of by > 0 ? db.prepare("SELECT name FROM pragma_table_info(?)").all(name) : [])
      if (/(_at|_before|uploaded|reindexing)$/.test(column.name))
        db.prepare(`UPDATE "${name}" SET "${column.name}" = "${column.name}" - ?1
          WHERE typeof("${column.name}") = 'integer' AND "${column.name}" > 1000000000000`).run(by);
    if (name === "_mf_objects") keys.push(...db.prepare("SELECT key FROM _mf_objects ORDER BY key").all());
  }
  db.close();
}
process.stdout.write(JSON.stringify(keys.map(({ key }) => key)));
"#;

/// What to start and where.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The data directory, below the checkout unless absolute; what is in it survives.
    pub data: PathBuf,
    /// Empties the data directory first.
    pub fresh: bool,
    /// The port of the first worker; a free one when `None`.
    pub port: Option<u16>,
    /// The workers' directories in the checkout; the first one answers requests from outside.
    pub workers: Vec<PathBuf>,
    /// Answers 200 once the stack is ready.
    pub health: String,
    /// Variables over those of the configurations.
    pub vars: BTreeMap<String, String>,
    /// More arguments for the twin.
    pub twin_args: Vec<String>,
}

impl StackOptions {
    /// The product's workers on a free port.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            fresh: false,
            port: None,
            workers: vec!["worker/query".into(), "worker/ingest".into(), "worker/convert".into()],
            health: "/healthz".to_owned(),
            vars: BTreeMap::new(),
            twin_args: Vec::new(),
        }
    }

    /// Other workers, the first one answering requests from outside.
    pub fn workers<P: Into<PathBuf>>(mut self, dirs: impl IntoIterator<Item = P>) -> Self {
        self.workers = dirs.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a variable of every worker.
    pub fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds an argument of the twin.
    pub fn twin_arg(mut self, arg: &str) -> Self {
        self.twin_args.push(arg.to_owned());
        self
    }
}

/// Lets time pass for a data directory that no stack runs on: to what is stored there it will seem that much later. The
/// twin's vectors know no time.
///
/// # Errors
/// When the databases cannot be changed.
pub fn age(data: &Path, by: Duration) -> Result<()> {
    simulators(data, by).map(drop)
}

/// The keys of all objects in the buckets of a data directory that no stack runs on.
///
/// # Errors
/// When the databases cannot be read.
pub fn objects(data: &Path) -> Result<Vec<String>> {
    simulators(data, Duration::ZERO)
}

fn simulators(data: &Path, by: Duration) -> Result<Vec<String>> {
    let printed = Run::new(npm::node()?)
        .args(["--no-warnings", "-e", AGE, "--"])
        .arg(paths::checkout().join(data).join("state"))
        .arg(by.as_millis().to_string())
        .output()?;
    serde_json::from_slice(&printed).context("the keys of the objects are no JSON")
}

/// A running stack. Dropping it ends every process it started.
#[derive(Debug)]
pub struct Stack {
    /// Where the first worker answers, without a slash at the end.
    pub url: String,
    /// Where the twin answers.
    pub twin_url: String,
    /// A key with the scope `admin`.
    pub admin_key: String,
    services: Vec<Service>,
    data: DataDir,
}

impl Stack {
    /// Starts a stack and waits until it answers. Everything must have been built.
    ///
    /// # Errors
    /// When a part does not start; the message ends with the last lines of its log.
    pub fn start(options: &StackOptions) -> Result<Self> {
        let data = DataDir::open(&paths::checkout().join(&options.data), options.fresh)?;
        Self::start_on(data, options)
    }

    /// As [`Stack::start`], on a data directory that is open already.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub fn start_on(data: DataDir, options: &StackOptions) -> Result<Self> {
        let admin_key = data.admin_key()?;
        let workers = production(&options.workers)?;
        let configs = write_configs(&data, &workers, &admin_key, &options.vars)?;
        let mut stack =
            Self { url: String::new(), twin_url: String::new(), admin_key, services: Vec::new(), data };
        // The models load while the tables are made.
        stack.start_twin(&workers, &options.twin_args)?;
        migrations::apply(stack.data.path(), &pending(&workers, &configs))?;
        stack.twin_url = stack.wait_for_line("ragflare-local listening on ", TWIN_PATIENCE)?;
        stack.start_workers(&configs, options.port)?;
        stack.url = stack.wait_for_line("Ready on ", WORKERS_PATIENCE)?;
        stack.wait_for_health(&options.health)?;
        Ok(stack)
    }

    /// The log of the workers.
    pub fn log(&self) -> PathBuf {
        self.data.log("wrangler")
    }

    /// The log of the twin.
    pub fn twin_log(&self) -> PathBuf {
        self.data.log("twin")
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// What the workers wrote into their ledgers since the start, oldest first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn ledger(&self) -> Result<Vec<Value>> {
        let log = self.log();
        let bytes = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(ledger_lines(&String::from_utf8_lossy(&bytes)))
    }

    /// The name and the last words of a part that has ended by itself.
    pub fn dead(&mut self) -> Option<String> {
        let service = self.services.iter_mut().find_map(|service| (!service.alive()).then_some(service))?;
        Some(format!(
            "{} has ended; the end of its log {}:\n{}",
            service.name(),
            service.log().display(),
            service.tail(30)
        ))
    }

    /// Ends every process of the stack, giving each the time to end well.
    pub fn stop(self) {
        drop(self);
    }

    /// Ends every process of the stack with KILL, as a crash would. The data directory is free for another start.
    pub fn kill(mut self) {
        group::kill(&self.groups());
        self.reap();
    }

    fn groups(&self) -> Vec<u32> {
        self.services.iter().map(|service| service.group().0).collect()
    }

    fn reap(&mut self) {
        for mut service in self.services.drain(..) {
            service.reap();
        }
    }

    fn add(&mut self, service: Service) -> Result<()> {
        self.services.push(service);
        self.data.note_running(&self.services)
    }

    fn start_twin(&mut self, workers: &[Production], args: &[String]) -> Result<()> {
        let models = models::dir()?;
        let onnxruntime = models::onnxruntime()?;
        let twin = self.data.path().join("twin");
        fs::create_dir_all(&twin).with_context(|| format!("cannot create {}", twin.display()))?;
        let indexes = indexes::of(workers)?;
        let service = Service::start("twin", &paths::twin(), &self.twin_log(), |command| {
            if !args.iter().any(|arg| arg == "--listen") {
                command.args(["--listen", "127.0.0.1:0"]);
            }
            command.arg("--models").arg(models).arg("--onnxruntime").arg(onnxruntime).arg("--data").arg(twin);
            for index in indexes {
                command.arg("--index").arg(index);
            }
            command.args(args);
        })?;
        self.add(service)
    }

    fn start_workers(&mut self, configs: &[PathBuf], port: Option<u16>) -> Result<()> {
        let place = self.data.path().join("wrangler");
        let env = wrangler::env(&place)?;
        let script = npm::wrangler()?;
        let state = self.data.path().join("state");
        let service = Service::start("wrangler", &npm::node()?, &self.log(), |command| {
            command.arg(script).arg("dev");
            for config in configs {
                command.arg("--config").arg(config);
            }
            command.args(["--ip", "127.0.0.1", "--port", &port.unwrap_or(0).to_string()]);
            command.args(["--inspector-port", "0", "--show-interactive-dev-session=false", "--persist-to"]);
            command.arg(state).envs(env).env("RAGFLARE_TWIN", &self.twin_url);
        })?;
        self.add(service)
    }

    /// Waits for a line of the newest service's log and returns the address after `before`.
    fn wait_for_line(&mut self, before: &str, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        let index = self.services.len() - 1;
        loop {
            // Ended parts first: a part may print the line and end.
            let dead = self.dead();
            let service = &self.services[index];
            let text = fs::read(service.log()).unwrap_or_default();
            if let Some(url) = address_after(&String::from_utf8_lossy(&text), before) {
                return Ok(url);
            }
            if let Some(dead) = dead {
                bail!(dead);
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not start within {} s; the end of its log {}:\n{}",
                    service.name(),
                    patience.as_secs(),
                    service.log().display(),
                    service.tail(30)
                );
            }
            thread::sleep(PAUSE);
        }
    }

    fn wait_for_health(&mut self, path: &str) -> Result<()> {
        let url = format!("{}{path}", self.url);
        let deadline = Instant::now() + WORKERS_PATIENCE;
        loop {
            let answer = http::get(&url, Duration::from_secs(10));
            if matches!(answer, Ok(200)) {
                return Ok(());
            }
            if let Some(dead) = self.dead() {
                bail!(dead);
            }
            if Instant::now() > deadline {
                let last =
                    answer.map_or_else(|error| format!("{error:#}"), |status| format!("status {status}"));
                let tail = self.services.last().map(|service| service.tail(30)).unwrap_or_default();
                bail!("{url} does not answer 200 ({last}); the end of {}:\n{tail}", self.log().display());
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        group::end(&self.groups());
        self.reap();
        let _ = self.data.note_running(&[]);
    }
}

fn production(dirs: &[PathBuf]) -> Result<Vec<Production>> {
    ensure!(!dirs.is_empty(), "a stack needs a worker");
    let built = |path: &Path, what: &str| -> Result<()> {
        ensure!(
            path.is_file(),
            "{what} is not built: {} is missing\n  what to do: cargo xtask build",
            path.display()
        );
        Ok(())
    };
    built(&paths::twin(), "the twin")?;
    dirs.iter()
        .map(|dir| {
            let worker = Production::read(&paths::checkout().join(dir).join("wrangler.jsonc"))?;
            if let Some(main) = worker.main() {
                built(&main, worker.name()?)?;
            }
            Ok(worker)
        })
        .collect()
}

/// Settings of the development workers.
const SETTINGS: &str = r#"{"search":{"rerank_model":"ms-marco-MiniLM-L-12-v2","rerank_timeout_ms":30000,"condense_timeout_ms":30000},"answer":{"timeout_ms":120000}}"#;

/// The settings of the development workers with those of a file put over them, member by member.
///
/// # Errors
/// When the file cannot be read or holds no JSON object.
pub fn settings_with(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let over: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    ensure!(over.is_object(), "{} must hold an object", file.display());
    let mut settings = serde_json::from_str(SETTINGS).context("the built-in settings")?;
    put_over(&mut settings, over);
    Ok(settings.to_string())
}

fn put_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                put_over(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

/// Writes the development configurations and returns their paths, in the order of the workers.
fn write_configs(
    data: &DataDir,
    workers: &[Production],
    admin_key: &str,
    vars: &BTreeMap<String, String>,
) -> Result<Vec<PathBuf>> {
    let plugin = paths::checkout().join("worker/dev-plugin");
    let mut all = BTreeMap::from([
        ("ADMIN_KEY".to_owned(), admin_key.to_owned()),
        ("ANONYMOUS_TENANT".to_owned(), "default".to_owned()),
        ("CONTEXT_TOKENS".to_owned(), "900".to_owned()),
        ("LEDGER".to_owned(), "1".to_owned()),
        // The twin's chat model takes 8,192 of its own tokens, of which a text has a few more than `cl100k_base`.
        ("MODEL_WINDOW".to_owned(), "7000".to_owned()),
        // The twin's cross-encoder by its own name, and time for machines that are slow or busy.
        ("SETTINGS".to_owned(), SETTINGS.to_owned()),
    ]);
    all.extend(vars.clone());
    // With what wrangler left beside the configurations of a run that was killed.
    scratch::remove(&data.path().join("dev"))?;
    workers
        .iter()
        .map(|worker| {
            let dir = data.path().join("dev").join(worker.name()?);
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
            let path = dir.join("wrangler.json");
            let config = worker.development(&plugin, &all)?;
            fs::write(&path, format!("{config:#}\n"))
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        })
        .collect()
}

/// Each database once, though several workers may carry its migrations.
fn pending(workers: &[Production], configs: &[PathBuf]) -> Vec<Migration> {
    let mut all: Vec<Migration> = Vec::new();
    for (worker, config) in workers.iter().zip(configs) {
        for database in worker.databases() {
            if all.iter().all(|migration| migration.database != database) {
                all.push(Migration { database, config: config.clone() });
            }
        }
    }
    all
}

/// The `http://…` that follows these words.
fn address_after(text: &str, before: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    // The line may not be whole yet.
    let (line, _) = rest.split_once('\n')?;
    line.starts_with("http://").then(|| line.trim().trim_end_matches('/').to_owned())
}

fn ledger_lines(log: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| {
            let (_, json) = line.split_once(LEDGER)?;
            serde_json::Deserializer::from_str(json).into_iter().next()?.ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ledger_lines_are_found_among_others() {
        let log = "[query] ragflare-ledger {\"a\":1}\n[wrangler:info] GET / 200 OK (33ms)\n\
                   ragflare-ledger {\"b\":2} trailing\nragflare-ledger {\"c\":";
        assert_eq!(ledger_lines(log), [json!({ "a": 1 }), json!({ "b": 2 })]);
    }

    #[test]
    fn an_address_is_read_from_a_whole_line_only() {
        let before = "Ready on ";
        assert_eq!(address_after("x\n[wrangler:info] Ready on http://127.0.0.1:33", before), None);
        let line = "[wrangler:info] Ready on http://127.0.0.1:33227\n";
        assert_eq!(address_after(line, before).as_deref(), Some("http://127.0.0.1:33227"));
    }
}
