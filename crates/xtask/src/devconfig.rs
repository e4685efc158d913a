//! A worker's development configuration, made from its production one: only here the twin is known.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// The plugin's name, in `worker/dev-plugin`.
const PLUGIN: &str = "ragflare-twin";
/// A variable with calls a minute; without it a laptop's owner may call as often as they like.
const RATE_LIMIT: &str = "RATE_LIMIT";
/// The worker that has buckets as sources, and what its development configuration has of them: in production they are the
/// user's own.
const INGEST: &str = "ragflare-ingest";
const SOURCE: &str = "SOURCE";
const SOURCE_NAME: &str = "ragflare-source";
/// What has no meaning on a laptop, or would reach for an account.
const DROPPED: &[&str] = &[
    "$schema",
    "account_id",
    "ai",
    "build",
    "env",
    "route",
    "routes",
    "secrets",
    "secrets_store_secrets",
    "tail_consumers",
    "vectorize",
];

/// A production configuration and where it lies.
#[derive(Debug, Clone)]
pub struct Production {
    config: Map<String, Value>,
    dir: PathBuf,
}

/// A D1 database of a worker and the migrations that make its tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name, the same in every worker that uses it.
    pub name: String,
    /// Its migration files.
    pub migrations: PathBuf,
}

impl Production {
    /// Reads a `wrangler.jsonc`.
    ///
    /// # Errors
    /// When it cannot be read or is no JSONC object.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let dir = path.parent().unwrap_or(path).to_path_buf();
        Self::parse(&text, dir).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str, dir: PathBuf) -> Result<Self> {
        let value: Value = jsonc_parser::parse_to_serde_value(text, &jsonc_parser::ParseOptions::default())
            .context("this is not JSON with comments")?;
        match value {
            Value::Object(config) => Ok(Self { config, dir }),
            _ => bail!("a configuration must be an object"),
        }
    }

    #[cfg(test)]
    pub(crate) fn parse_for_test(text: &str) -> Self {
        Self::parse(text, "/x".into()).unwrap()
    }

    /// The worker's name.
    ///
    /// # Errors
    /// When it has none.
    pub fn name(&self) -> Result<&str> {
        self.config.get("name").and_then(Value::as_str).context("the configuration has no name")
    }

    /// The script it starts.
    pub fn main(&self) -> Option<PathBuf> {
        Some(self.dir.join(self.config.get("main")?.as_str()?))
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.config.get(key).and_then(Value::as_array).into_iter().flatten()
    }

    /// The databases whose migrations this worker carries.
    pub fn databases(&self) -> Vec<Database> {
        self.list("d1_databases")
            .filter_map(|database| {
                let name = database["database_name"].as_str()?.to_owned();
                let migrations = self.dir.join(database["migrations_dir"].as_str().unwrap_or("migrations"));
                migrations.is_dir().then_some(Database { name, migrations })
            })
            .collect()
    }

    /// The names of its Vectorize indexes.
    pub fn indexes(&self) -> Vec<String> {
        self.list("vectorize").filter_map(|index| Some(index["index_name"].as_str()?.to_owned())).collect()
    }

    /// A variable as text.
    pub fn var(&self, name: &str) -> Option<String> {
        match self.config.get("vars")?.get(name)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// The development configuration: the genuine bindings by way of the plugin, absolute paths, local ids, and
    /// these variables over its own.
    ///
    /// # Errors
    /// When a binding has no name.
    pub fn development(&self, plugin: &Path, vars: &BTreeMap<String, String>) -> Result<Value> {
        let mut config = self.config.clone();
        for key in DROPPED {
            config.remove(*key);
        }
        config.insert("send_metrics".into(), false.into());
        if let Some(main) = self.main() {
            config.insert("main".into(), text(&main));
        }
        for (key, field) in [("assets", "directory"), ("site", "bucket")] {
            if let Some(Value::String(dir)) = config.get_mut(key).and_then(|section| section.get_mut(field)) {
                *dir = self.dir.join(&*dir).display().to_string();
            }
        }
        for database in list_mut(&mut config, "d1_databases") {
            let name = database
                .get("database_name")
                .and_then(Value::as_str)
                .context("a D1 binding without a name")?;
            let id = format!("local-{name}");
            let migrations = database.get("migrations_dir").and_then(Value::as_str).unwrap_or("migrations");
            let migrations = self.dir.join(migrations);
            database.insert("database_id".into(), id.into());
            database.remove("preview_database_id");
            if migrations.is_dir() {
                database.insert("migrations_dir".into(), text(&migrations));
            }
        }
        if self.name().is_ok_and(|name| name == INGEST) {
            add_source(&mut config);
        }
        match vars.get(RATE_LIMIT) {
            None => drop(config.remove("ratelimits")),
            Some(limit) => {
                let limit: u32 = limit.parse().with_context(|| format!("{RATE_LIMIT} is `{limit}`"))?;
                for limiter in list_mut(&mut config, "ratelimits") {
                    limiter.insert("simple".into(), json!({ "limit": limit, "period": 60 }));
                }
            }
        }
        let all_vars = config.entry("vars").or_insert_with(|| json!({}));
        let all_vars = all_vars.as_object_mut().context("vars must be an object")?;
        all_vars.extend(vars.iter().map(|(name, value)| (name.clone(), value.clone().into())));

        let plugin = json!({ "package": plugin, "name": PLUGIN });
        let mut bindings = Vec::new();
        if let Some(ai) = self.config.get("ai") {
            let name = ai["binding"].as_str().context("the ai binding has no name")?;
            bindings.push(json!({ "name": name, "type": "ai", "dev": { "plugin": plugin } }));
        }
        for index in self.list("vectorize") {
            let name = index["binding"].as_str().context("a vectorize binding has no name")?;
            let index = index["index_name"].as_str().context("a vectorize binding has no index_name")?;
            bindings.push(json!({
                "name": name,
                "type": "vectorize",
                "index_name": index,
                // Wrangler hands the plugin nothing but `dev`.
                "dev": { "plugin": plugin, "options": { "index_name": index } },
            }));
        }
        if !bindings.is_empty() {
            config.insert("unsafe".into(), json!({ "bindings": bindings }));
        }
        Ok(Value::Object(config))
    }
}

/// A bucket to take documents from, and the queue that its events would come by.
fn add_source(config: &mut Map<String, Value>) {
    let is = |value: &Value, field: &str, name: &str| value[field] == name;
    let buckets = config.entry("r2_buckets").or_insert_with(|| json!([]));
    if let Some(buckets) = buckets.as_array_mut()
        && !buckets.iter().any(|bucket| is(bucket, "binding", SOURCE))
    {
        buckets.push(json!({ "binding": SOURCE, "bucket_name": SOURCE_NAME }));
    }
    let consumers = config.get_mut("queues").and_then(|queues| queues.get_mut("consumers"));
    if let Some(consumers) = consumers.and_then(Value::as_array_mut)
        && !consumers.iter().any(|consumer| is(consumer, "queue", SOURCE_NAME))
    {
        consumers.push(json!({ "queue": SOURCE_NAME, "max_batch_size": 10, "max_batch_timeout": 1 }));
    }
}

fn text(path: &Path) -> Value {
    path.display().to_string().into()
}

fn list_mut<'a>(
    config: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> + use<'a> {
    config.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{
        // a comment
        "$schema": "x.json",
        "name": "ragflare-ingest",
        "main": "build/index.js",
        "routes": ["example.com"],
        "build": { "command": "worker-build --release" },
        "ai": { "binding": "AI" },
        "vectorize": [{ "binding": "VECTORIZE", "index_name": "ragflare" }],
        "d1_databases": [{ "binding": "DB", "database_name": "ragflare", "database_id": "…" }],
        "r2_buckets": [{ "binding": "BUCKET", "bucket_name": "docs" }],
        "assets": { "directory": "../web" },
        "ratelimits": [{ "name": "LIMITER", "namespace_id": "1", "simple": { "limit": 600, "period": 60 } }],
        "vars": { "CHUNK_TOKENS": "300", "N": 3, },
    }"#;

    fn production() -> Production {
        Production::parse(CONFIG, "/x/ingest".into()).unwrap()
    }

    #[test]
    fn the_bindings_go_through_the_plugin_and_the_rest_stays() {
        let vars = BTreeMap::from([("N".to_owned(), "4".to_owned()), ("LEDGER".to_owned(), "1".to_owned())]);
        let dev = production().development(Path::new("/x/dev-plugin"), &vars).unwrap();
        for key in DROPPED {
            assert!(dev.get(key).is_none(), "{key}");
        }
        let plugin = json!({ "package": "/x/dev-plugin", "name": "ragflare-twin" });
        assert_eq!(
            dev["unsafe"]["bindings"],
            json!([
                { "name": "AI", "type": "ai", "dev": { "plugin": plugin } },
                { "name": "VECTORIZE", "type": "vectorize", "index_name": "ragflare",
                  "dev": { "plugin": plugin, "options": { "index_name": "ragflare" } } },
            ])
        );
        assert_eq!(dev["main"], "/x/ingest/build/index.js");
        assert_eq!(dev["assets"]["directory"], "/x/ingest/../web");
        assert_eq!(dev["d1_databases"][0]["database_id"], "local-ragflare");
        assert_eq!(dev["vars"], json!({ "CHUNK_TOKENS": "300", "N": "4", "LEDGER": "1" }));
        let source = json!({ "binding": "SOURCE", "bucket_name": "ragflare-source" });
        assert_eq!(dev["r2_buckets"], json!([{ "binding": "BUCKET", "bucket_name": "docs" }, source]));
    }

    #[test]
    fn a_source_of_its_own_stays() {
        let config = r#"{ "name": "ragflare-ingest", "r2_buckets": [{ "binding": "SOURCE", "bucket_name": "mine" }],
            "queues": { "consumers": [{ "queue": "ragflare-ingest" }] } }"#;
        let dev = Production::parse_for_test(config).development(Path::new("/p"), &BTreeMap::new()).unwrap();
        assert_eq!(dev["r2_buckets"], json!([{ "binding": "SOURCE", "bucket_name": "mine" }]));
        assert_eq!(dev["queues"]["consumers"][1]["queue"], "ragflare-source");
    }

    #[test]
    fn calls_are_limited_when_asked_for_only() {
        let dev = |vars: &BTreeMap<String, String>| production().development(Path::new("/p"), vars);
        assert!(dev(&BTreeMap::new()).unwrap().get("ratelimits").is_none());
        let limited = dev(&BTreeMap::from([("RATE_LIMIT".to_owned(), "3".to_owned())])).unwrap();
        assert_eq!(limited["ratelimits"][0]["simple"], json!({ "limit": 3, "period": 60 }));
        assert!(dev(&BTreeMap::from([("RATE_LIMIT".to_owned(), "often".to_owned())])).is_err());
    }

    #[test]
    fn a_worker_without_such_bindings_gets_no_unsafe_section() {
        let production = Production::parse(r#"{ "name": "plain" }"#, "/x".into()).unwrap();
        let dev = production.development(Path::new("/p"), &BTreeMap::new()).unwrap();
        assert_eq!(dev, json!({ "name": "plain", "send_metrics": false, "vars": {} }));
    }

    #[test]
    fn indexes_and_variables_are_read() {
        assert_eq!(production().indexes(), ["ragflare"]);
        assert_eq!(production().var("CHUNK_TOKENS").as_deref(), Some("300"));
        assert_eq!(production().var("N").as_deref(), Some("3"));
        assert_eq!(production().var("none"), None);
        assert!(production().databases().is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        assert!(Production::parse("[1]", "/x".into()).is_err());
        let production = Production::parse(r#"{ "vectorize": [{ "binding": "V" }] }"#, "/x".into()).unwrap();
        let error = production.development(Path::new("/p"), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("index_name"), "{error}");
    }
}
