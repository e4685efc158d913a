//! The benchmarks on this machine: runs divan and reads its tables.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::table::{Row, Times};
use crate::process::Run;
use crate::{build, paths};

/// Writes the texts into a directory; `own` has more of them.
///
/// # Errors
/// When they cannot be made.
pub fn texts(out: &Path, own: Option<&Path>) -> Result<()> {
    cargo("run").args(["--bin", "ragflare-bench", "--"]).arg(out).args(own).run()
}

fn cargo(command: &str) -> Run {
    Run::new("cargo")
        .args([command, "--profile", "bench", "--package", "ragflare-bench"])
        .dir(&paths::checkout())
        .envs(build::native_env())
}

/// Runs all benchmarks with `filter` in their names.
///
/// # Errors
/// When they do not compile or one fails.
pub fn run(texts: &Path, filter: Option<&str>) -> Result<Vec<Row>> {
    let printed = cargo("bench")
        .args(["--features", "native", "--bench", "native", "--"])
        .args(["--sort", "location", "--bytes-format", "decimal", "--color", "never"])
        .args(filter)
        .env("RAGFLARE_BENCH_TEXTS", texts)
        .output()?;
    let printed = String::from_utf8(printed).context("divan prints UTF-8")?;
    let rows = parse(&printed)?;
    ensure!(!rows.is_empty() || filter.is_some(), "divan printed no rows:\n{printed}");
    Ok(rows)
}

/// Reads divan's tree: groups, in them subjects, in them texts (`kind.size`) with their times.
fn parse(printed: &str) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let (mut group, mut subject) = (String::new(), String::new());
    let mut lines = printed.lines();
    while let Some(line) = lines.next() {
        let Some((branch, rest)) = line.split_once("─ ") else {
            if line.trim_start_matches(['│', ' ']).starts_with("alloc:") {
                let counts = lines.next().context("a line of numbers follows")?;
                if let (Some(row), Some(count)) = (rows.last_mut(), cells(counts).get(2)) {
                    row.allocations = count.parse().ok();
                }
            }
            continue;
        };
        // Three columns for each level.
        let depth = branch.chars().count() / 3;
        let name = rest.split_whitespace().next().unwrap_or_default();
        match depth {
            0 => name.clone_into(&mut group),
            1 => name.clone_into(&mut subject),
            _ => {
                let (kind, size) = name.split_once('.').with_context(|| format!("{name} is kind.size"))?;
                let cells = cells(rest.trim_start().trim_start_matches(name));
                let [min, max, median, ..] = &cells[..] else {
                    anyhow::bail!("not a row of divan's: {line}")
                };
                rows.push(Row {
                    group: group.clone(),
                    subject: subject.clone(),
                    kind: kind.to_owned(),
                    size: size.to_owned(),
                    times: Times {
                        min: milliseconds(min)?,
                        median: milliseconds(median)?,
                        max: milliseconds(max)?,
                    },
                    // divan says nothing where there are none.
                    allocations: Some(0.0),
                });
            }
        }
    }
    Ok(rows)
}

/// The cells of a line, without the branches of the tree at its start.
fn cells(line: &str) -> Vec<String> {
    line.trim_start_matches(['│', ' ']).split('│').map(|cell| cell.trim().to_owned()).collect()
}

fn milliseconds(cell: &str) -> Result<f64> {
    let (value, unit) = cell.split_once(' ').with_context(|| format!("{cell} is a time"))?;
    let value: f64 = value.parse().with_context(|| format!("{cell} is a time"))?;
    let factor = match unit {
        "ns" => 1e-6,
        "µs" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => anyhow::bail!("{unit} is no unit of divan's"),
    };
    Ok(value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
Timer precision: 20 ns
native                   fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ chunk                               │               │               │               │         │
│  ╰─ ragflare                         │               │               │               │         │
│     ├─ prose.10KB      41.14 µs      │ 4.139 ms      │ 51.99 µs      │ 93.97 µs      │ 100     │ 100
│     │                  24.3 MB/s     │ 241.5 KB/s    │ 19.23 MB/s    │ 10.64 MB/s    │         │
│     │                  max alloc:    │               │               │               │         │
│     │                    1001        │ 1001          │ 1001          │ 1001          │         │
│     │                    32 KB       │ 32 KB         │ 32 KB         │ 32 KB         │         │
│     │                  alloc:        │               │               │               │         │
│     │                    1002        │ 1002          │ 1003          │ 1002          │         │
│     ╰─ prose.1MB       1.5 s         │ 2 s           │ 1.75 s        │ 1.75 s        │ 41      │ 41
╰─ floor                               │               │               │               │         │
   ╰─ utf8                             │               │               │               │         │
      ╰─ prose.10KB      340.2 ns      │ 385.5 ns      │ 370.1 ns      │ 366.8 ns      │ 100     │ 6400
                         29.39 GB/s    │ 25.93 GB/s    │ 27.01 GB/s    │ 27.25 GB/s    │         │
";

    #[test]
    fn reads_the_tree() {
        let rows = parse(PRINTED).unwrap();
        let names: Vec<_> = rows
            .iter()
            .map(|row| format!("{}/{}/{} {}", row.group, row.subject, row.kind, row.size))
            .collect();
        assert_eq!(names, ["chunk/ragflare/prose 10KB", "chunk/ragflare/prose 1MB", "floor/utf8/prose 10KB"]);
        assert_eq!(rows[0].times, Times { min: 0.041_14, median: 0.051_99, max: 4.139 });
        assert_eq!(rows[1].times, Times { min: 1500.0, median: 1750.0, max: 2000.0 });
        assert_eq!((rows[0].allocations, rows[1].allocations), (Some(1003.0), Some(0.0)));
        assert!((rows[2].times.median - 0.000_370_1).abs() < 1e-12);
    }
}
