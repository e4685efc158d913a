//! A configuration under test: the pipelines' settings and how a search is asked.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use ragflare_core::search::{MAX_TOP_K, Mode, SearchRequest};
use ragflare_core::settings::Settings;
use ragflare_local::ai::RERANKER_FOLDER;
use serde::Serialize;
use serde_json::Value;

/// How a search is asked and answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Config {
    /// Its name in reports.
    pub name: String,
    /// Settings of ingest and search.
    pub settings: Settings,
    /// Which legs look.
    pub mode: Mode,
    /// Whether the cross-encoder is asked.
    pub rerank: bool,
    /// Hits asked for; by the kind of the set when absent.
    pub top_k: Option<usize>,
}

/// [`Mode`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// Both legs, fused
    Hybrid,
    /// Embeddings alone
    Vector,
    /// Keywords alone
    Keyword,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Hybrid => Self::Hybrid,
            ModeArg::Vector => Self::Vector,
            ModeArg::Keyword => Self::Keyword,
        }
    }
}

impl Default for Config {
    /// The product's own, with the cross-encoder that the twin has, under its name and without a hurry.
    fn default() -> Self {
        let mut settings = Settings::default();
        RERANKER_FOLDER.clone_into(&mut settings.search.rerank_model);
        settings.search.rerank_timeout_ms = 60_000;
        settings.search.vector_timeout_ms = 60_000;
        Self { name: String::new(), settings, mode: Mode::default(), rerank: true, top_k: None }
    }
}

impl Config {
    /// The request for a question.
    pub(crate) fn request(&self, question: &str, top_k: usize) -> SearchRequest {
        SearchRequest { top_k, mode: self.mode, rerank: self.rerank, ..SearchRequest::new(question) }
    }

    /// This one changed by words: `key=value`, or the path of a JSON file with settings. `mode`, `rerank` and `top_k` are
    /// of the request, all other keys paths into the settings.
    pub(crate) fn with(&self, words: &str) -> Result<Self> {
        let mut changed = self.clone();
        for word in words.split_whitespace() {
            changed = match word.split_once('=') {
                Some((key, value)) => changed.set(key, value),
                None => changed.file(Path::new(word)),
            }
            .with_context(|| format!("cannot apply `{word}`"))?;
        }
        changed.settings.validate().with_context(|| format!("`{words}` makes invalid settings"))?;
        Ok(changed)
    }

    /// The same under another name.
    pub(crate) fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    fn set(mut self, key: &str, value: &str) -> Result<Self> {
        match key {
            "mode" => {
                let mode = ModeArg::from_str(value, true)
                    .map_err(|_| anyhow!("the mode `{value}` is none of hybrid, vector, keyword"))?;
                self.mode = mode.into();
            }
            "rerank" => {
                self.rerank = value.parse().map_err(|_| anyhow!("rerank is true or false, not `{value}`"))?;
            }
            "top_k" => {
                let hits = value.parse().ok().filter(|hits| (1..=MAX_TOP_K).contains(hits));
                self.top_k = Some(hits.with_context(|| format!("top_k is 1 to {MAX_TOP_K}, not `{value}`"))?);
            }
            path => {
                let mut settings = serde_json::to_value(&self.settings)?;
                let place = pointer(&mut settings, path)?;
                // A bare word is a string: nobody should have to quote twice for a shell.
                *place = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
                self.settings = serde_json::from_value(settings)?;
            }
        }
        Ok(self)
    }

    /// A file's settings over these: what it does not name stays.
    fn file(mut self, path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| {
            format!("{} is neither `key=value` nor a file of settings that can be read", path.display())
        })?;
        let over: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(over.is_object(), "{} is no JSON object", path.display());
        let mut settings = serde_json::to_value(&self.settings)?;
        merge(&mut settings, over);
        self.settings = serde_json::from_value(settings).with_context(|| path.display().to_string())?;
        Ok(self)
    }
}

fn pointer<'v>(settings: &'v mut Value, path: &str) -> Result<&'v mut Value> {
    let mut place = settings;
    for key in path.split('.') {
        let Value::Object(fields) = place else { bail!("there is nothing below `{path}`") };
        let known = fields.keys().cloned().collect::<Vec<_>>().join(", ");
        place = fields.get_mut(key).with_context(|| {
            format!("there is no `{key}` in `{path}`; there are {known} (and mode, rerank, top_k)")
        })?;
    }
    Ok(place)
}

fn merge(below: &mut Value, over: Value) {
    match (below, over) {
        (Value::Object(below), Value::Object(over)) => {
            for (key, value) in over {
                merge(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, over) => *below = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_change_settings_and_request() {
        let config = Config::default()
            .with("mode=keyword rerank=false top_k=5 search.vector_weight=0.25 search.rerank_model=other chunk.target=128")
            .unwrap();
        assert_eq!((config.mode, config.rerank, config.top_k), (Mode::Keyword, false, Some(5)));
        assert!((config.settings.search.vector_weight - 0.25).abs() < 1e-6);
        assert_eq!(config.settings.search.rerank_model, "other");
        assert_eq!(config.settings.chunk.target, 128);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fault = |words: &str| format!("{:#}", Config::default().with(words).unwrap_err());
        assert!(
            fault("search.nonsense=1")
                .contains("there is no `nonsense` in `search.nonsense`; there are candidates")
        );
        assert!(fault("search.candidates=500").contains("allowed are 1 to 100"));
        assert!(fault("search.candidates=many").contains("invalid type"));
        assert!(fault("mode=best").contains("none of hybrid, vector, keyword"));
        assert!(fault("top_k=0").contains("top_k is 1 to 100"));
        assert!(fault("nowhere.json").contains("neither `key=value` nor a file"));
    }

    #[test]
    fn a_file_changes_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.json");
        fs::write(&path, r#"{"search": {"candidates": 70}}"#).unwrap();
        let config = Config::default().with(&format!("{} chunk.target=100", path.display())).unwrap();
        assert_eq!((config.settings.search.candidates, config.settings.chunk.target), (70, 100));
        assert_eq!(config.settings.search.rerank_model, RERANKER_FOLDER);
        fs::write(&path, r#"{"serch": {}}"#).unwrap();
        assert!(Config::default().with(&path.display().to_string()).is_err(), "a typo is no setting");
    }
}
