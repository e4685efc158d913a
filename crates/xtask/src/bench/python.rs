//! The peers in Python, in a virtual environment of their own in the cache.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::table::{Row, Times};
use crate::process::Run;
use crate::scratch::{self, Scratch};
use crate::{hash, models, paths, report};

const REQUIREMENTS: &str = include_str!("../../../bench/python/requirements.txt");

/// The texts they get: what takes seconds for them is no news at 30 MB.
const TEXTS: [&str; 4] = ["markdown", "prose", "code", "chinese"];

fn place() -> Result<PathBuf> {
    Ok(paths::cache()?.join(format!("bench-python-{}", &hash::of_bytes(REQUIREMENTS.as_bytes())[..12])))
}

/// Installs them when they are missing.
///
/// # Errors
/// When there is no Python with `venv`, or pip fails.
pub fn install() -> Result<()> {
    let place = place()?;
    if place.is_dir() {
        return Ok(());
    }
    report::step("installing semantic-text-splitter and chonkie with pip", || {
        // The packages only: a virtual environment cannot be moved into its place when it is whole.
        let work = Scratch::new("bench-python")?;
        let list = work.path().join("requirements.txt");
        fs::write(&list, REQUIREMENTS)?;
        let packages = work.path().join("packages");
        Run::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"])
            .arg(&packages)
            .arg("--requirement")
            .arg(&list)
            .advice("Python 3.11 or later with pip must be installed, and its package index reachable")
            .run()?;
        scratch::put(work.path(), &place)
    })
}

/// Runs them on the ordinary texts of up to 1 MB.
///
/// # Errors
/// When one fails.
pub fn run(texts: &Path) -> Result<Vec<Row>> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(texts).with_context(|| format!("cannot read {}", texts.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let limit = if name.starts_with("markdown.") { "1MB" } else { "100KB" };
        if TEXTS.iter().any(|kind| name.starts_with(&format!("{kind}.")))
            && ["10KB", "100KB", limit].iter().any(|size| name.contains(&format!(".{size}.")))
        {
            files.insert(path);
        }
    }
    let printed = Run::new("python3")
        .arg(paths::checkout().join("crates/bench/python/peers.py"))
        .arg(models::dir()?.join("bge-small-en-v1.5/tokenizer.json"))
        .args(files)
        .env("PYTHONPATH", place()?.join("packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    String::from_utf8_lossy(&printed).lines().map(row).collect()
}

fn row(line: &str) -> Result<Row> {
    let mut cells = line.split('\t');
    let mut next = || cells.next().with_context(|| format!("not a row of peers.py: {line}"));
    let (subject, name) = (next()?, next()?);
    let mut parts = name.split('.');
    let mut part = || parts.next().with_context(|| format!("{name} is kind.size.extension"));
    let (kind, size) = (part()?, part()?);
    let samples = cells.map(str::parse).collect::<Result<Vec<f64>, _>>().with_context(|| line.to_owned())?;
    Ok(Row {
        group: "chunk".into(),
        subject: format!("python {subject}"),
        kind: kind.to_owned(),
        size: size.to_owned(),
        times: Times::of(samples),
        allocations: None,
    })
}
