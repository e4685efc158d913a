//! The workers' sizes against the snapshot in `fixtures/snapshots/wasm.json`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::process::Run;
use crate::workspace::{self, Package};
use crate::{paths, report};

/// How much a worker that ships may grow before the snapshot has to say so.
const GROWTH: f64 = 1.02;
/// What it may have, compressed: half of the smallest limit of the platform.
const LIMIT: u64 = 3 << 19;
/// The one that reads PDF and Office, loaded for nothing else, and all that the platform's smallest limit allows.
const CONVERTER: (&str, u64) = ("ragflare-convert-worker", 3 << 20);

/// Bytes of one worker's wasm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    plain: u64,
    gzip: u64,
    /// Whether it ships: the others are measured, but may have what size they like.
    ships: bool,
}

fn place() -> PathBuf {
    paths::checkout().join("fixtures/snapshots/wasm.json")
}

/// Measures every worker that is built, and compares.
///
/// # Errors
/// Says which worker grew from what to what, or is over the limit.
pub fn check(packages: &[Package]) -> Result<()> {
    let now = measure(packages)?;
    let path = place();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let before =
        parse(&serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?);
    for (name, size) in &now {
        let known = before.get(name).map_or_else(String::new, |before| {
            let percent = (size.gzip as f64 / before.gzip as f64 - 1.0) * 100.0;
            format!(", {percent:+.2} % against the snapshot")
        });
        let (plain, gzip) = (size.plain / 1024, size.gzip / 1024);
        report::line(&format!("    {name}: {plain} KiB wasm, {gzip} KiB gzip -9{known}"));
    }
    let wrong = compare(&before, &now);
    if !wrong.is_empty() {
        bail!(
            "{wrong}  what to do: if it has to be so, `cargo xtask bench --bless`, and say why in the commit"
        );
    }
    Ok(())
}

/// Writes the snapshot of the workers that ship, as they are built now.
///
/// # Errors
/// When none is built, or the file cannot be written.
pub fn bless() -> Result<()> {
    let now = measure(&workspace::packages()?)?;
    let path = place();
    let rows: BTreeMap<&String, Value> = now
        .iter()
        .filter(|(_, size)| size.ships)
        .map(|(name, size)| (name, json!({ "wasm": size.plain, "gzip": size.gzip })))
        .collect();
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    fs::write(&path, format!("{:#}\n", json!(rows)))
        .with_context(|| format!("cannot write {}", path.display()))?;
    report::line(&format!("wrote {}", path.display()));
    Ok(())
}

fn measure(packages: &[Package]) -> Result<BTreeMap<String, Size>> {
    let mut sizes = BTreeMap::new();
    for worker in packages.iter().filter(|package| package.worker) {
        let wasm = worker.build().join("index_bg.wasm");
        if wasm.is_file() {
            let plain = fs::metadata(&wasm)?.len();
            sizes.insert(worker.name.clone(), Size { plain, gzip: gzip(&wasm)?, ships: worker.ships() });
        }
    }
    if sizes.is_empty() {
        bail!("no worker is built\n  what to do: cargo xtask build");
    }
    Ok(sizes)
}

/// Bytes after `gzip -9`.
///
/// # Errors
/// When gzip fails.
pub fn gzip(path: &Path) -> Result<u64> {
    let packed = Run::new("gzip").args(["-9", "-n", "-c"]).arg(path).output();
    Ok(packed.with_context(|| format!("cannot compress {}", path.display()))?.len() as u64)
}

fn parse(snapshot: &Value) -> BTreeMap<String, Size> {
    let size = |value: &Value| Size {
        plain: value["wasm"].as_u64().unwrap_or_default(),
        gzip: value["gzip"].as_u64().unwrap_or_default(),
        ships: false,
    };
    snapshot.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), size(value))).collect()
}

/// What is wrong, a line each.
fn compare(before: &BTreeMap<String, Size>, now: &BTreeMap<String, Size>) -> String {
    let mut wrong = String::new();
    for (name, size) in now.iter().filter(|(_, size)| size.ships) {
        match before.get(name) {
            None => {
                let _ = writeln!(wrong, "{name} is not in the snapshot");
            }
            Some(before) if size.gzip as f64 > before.gzip as f64 * GROWTH => {
                let _ = writeln!(
                    wrong,
                    "{name} grew from {} to {} bytes of gzip -9 ({} to {} of wasm)",
                    before.gzip, size.gzip, before.plain, size.plain
                );
            }
            Some(_) => {}
        }
        let limit = if name == CONVERTER.0 { CONVERTER.1 } else { LIMIT };
        if size.gzip > limit {
            let _ = writeln!(wrong, "{name} has {} bytes of gzip -9: the limit is {limit}", size.gzip);
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(gzip: u64, ships: bool) -> BTreeMap<String, Size> {
        BTreeMap::from([("ingest".to_owned(), Size { plain: 2 * gzip, gzip, ships })])
    }

    #[test]
    fn says_what_grew() {
        assert_eq!(compare(&one(1_000_000, true), &one(1_020_000, true)), "");
        assert_eq!(
            compare(&one(1_000_000, true), &one(1_020_001, true)),
            "ingest grew from 1000000 to 1020001 bytes of gzip -9 (2000000 to 2040002 of wasm)\n"
        );
        assert_eq!(compare(&BTreeMap::new(), &one(1, true)), "ingest is not in the snapshot\n");
    }

    #[test]
    fn what_ships_has_a_limit() {
        let big = 1_572_865;
        assert_eq!(
            compare(&one(big, true), &one(big, true)),
            "ingest has 1572865 bytes of gzip -9: the limit is 1572864\n"
        );
        assert_eq!(compare(&one(1, true), &one(big, false)), "");
    }

    #[test]
    fn the_snapshot_names_the_workers_that_ship() {
        let snapshot = parse(&serde_json::from_str(&fs::read_to_string(place()).unwrap()).unwrap());
        for package in workspace::packages().unwrap().iter().filter(|package| package.ships()) {
            let size = snapshot.get(&package.name).unwrap_or_else(|| panic!("{} is missing", package.name));
            assert!(size.plain > size.gzip && size.gzip > 10_000, "{size:?}");
        }
    }
}
