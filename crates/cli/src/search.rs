//! `ragflare search`: how each hit got its score.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ragflare_core::document::DocumentId;
use ragflare_core::identity::text_hash;
use ragflare_core::search::{Hit, SearchResponse};

use crate::args::Search;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::http::Http;
use crate::engine::models::Models;
use crate::engine::native::Native;
use crate::sets::{Document, Set};
use crate::{places, print};

/// Hits when not said.
const HITS: usize = 10;
/// Characters shown of a hit's text.
const SNIPPET: usize = 240;

/// Searches and prints.
pub(crate) fn run(arguments: &Search) -> Result<()> {
    let config = arguments.asking.config()?;
    let request = config.request(&arguments.query, config.top_k.unwrap_or(HITS));
    let mut engine: Box<dyn Engine> = if let Some(url) = &arguments.target.url {
        ensure!(
            config.settings == Config::default().settings,
            "a deployment has settings of its own: --set is for --dir"
        );
        Box::new(Http::new(url, &arguments.target)?)
    } else {
        let folder = arguments.dir.as_deref().context("--dir or --url is needed")?;
        let mut native = Native::new(Models::open(places::find(&arguments.target)?)?)?;
        native.index(&folder_set(folder)?, &config)?;
        Box::new(native)
    };
    let response = engine.search(&config, &request)?.response;
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&response)?));
    } else {
        print(&shown(&response));
    }
    Ok(())
}

/// The Markdown and text files below a folder.
fn folder_set(folder: &Path) -> Result<Set> {
    let mut paths = BTreeSet::new();
    collect(folder, &mut paths)?;
    let mut documents = Vec::new();
    for path in paths {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let Ok(text) = String::from_utf8(bytes) else {
            eprintln!("warning: {} is not UTF-8 and is left out", path.display());
            continue;
        };
        if text.trim().is_empty() {
            continue;
        }
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let id =
            DocumentId::new(name.clone()).or_else(|_| DocumentId::new(format!("h-{}", text_hash(&name))))?;
        let media_type = if is(&path, &["md", "markdown"]) { "text/markdown" } else { "text/plain" };
        documents.push(Document { id, title: Some(name), text, media_type });
    }
    if documents.is_empty() {
        bail!("{} has no .md, .markdown or .txt files with text", folder.display());
    }
    Set::to_search(documents)
}

fn collect(folder: &Path, paths: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        // Links are not followed: they may lead in circles.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), paths)?;
        } else if kind.is_file() && is(&entry.path(), &["md", "markdown", "txt"]) {
            paths.insert(entry.path());
        }
    }
    Ok(())
}

fn is(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| extensions.contains(&extension.as_str()))
}

fn shown(response: &SearchResponse) -> String {
    let hits = response.hits.iter().enumerate().map(|(position, hit)| one(position + 1, hit));
    let mut text: String = hits.collect();
    if response.hits.is_empty() {
        text += "nothing found\n";
    }
    for stage in &response.degraded {
        let _ = writeln!(text, "note: {stage}");
    }
    let usage = response.usage;
    text + &format!(
        "{} ms; {} tokens embedded, {} reranked\n",
        response.timings_ms.total, usage.embedding_tokens, usage.rerank_tokens
    )
}

fn one(rank: usize, hit: &Hit) -> String {
    // Whatever stages there are.
    let scores = serde_json::to_value(hit.scores).unwrap_or_default();
    let stages = scores
        .as_object()
        .into_iter()
        .flatten()
        .map(|(stage, score)| format!("{stage} {:.3}", score.as_f64().unwrap_or_default()));
    let stages: Vec<String> = stages.collect();
    let path = [hit.title.clone().into_iter().collect(), hit.headings.clone()].concat().join(" > ");
    let words = hit.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut snippet: String = words.chars().take(SNIPPET).collect();
    if snippet.len() < words.len() {
        snippet.push('…');
    }
    format!(
        "{rank:>3}  {:.4}  {}\n     {} bytes {}–{}{}\n     {snippet}\n\n",
        hit.score,
        stages.join("  "),
        hit.document_id,
        hit.start,
        hit.end,
        if path.is_empty() { String::new() } else { format!("  {path}") },
    )
}
