//! Work side by side; above all the end-to-end tests, whose programs wait for queues and models most of the time.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::Run;
use crate::workspace::Package;
use crate::{build, models, paths, report};

/// How many at a time: of two cores, and they wait a lot.
pub const LANES: usize = 2;
/// The ones that take longest, longest first: begun last, one would keep a single lane busy at the end. The others come
/// after them, in any order.
const FIRST: [&str; 8] =
    ["load", "protocols", "faults", "isolation", "answers", "queue", "product", "search"];
/// They measure times, so nothing runs beside them.
const ALONE: [&str; 1] = ["latency"];

/// A built test program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    name: String,
    path: PathBuf,
}

/// Builds and runs all tests of the package. What a program prints is shown when it has ended, and kept in
/// `target/tests/logs`.
///
/// # Errors
/// When one does not compile, or some fail; they are named.
pub fn test(package: &Package, filter: Option<&str>) -> Result<()> {
    let (alone, together): (Vec<Program>, Vec<Program>) =
        programs(package)?.into_iter().partition(|program| ALONE.contains(&program.name.as_str()));
    let mut failed = run(package, together, filter, LANES)?;
    failed.extend(run(package, alone, filter, 1)?);
    if !failed.is_empty() {
        bail!(
            "failed: {}\n  what to do: the failed cases are named above; `cargo xtask test --filter NAME` runs only those with \
             NAME in theirs",
            failed.join(", ")
        );
    }
    Ok(())
}

/// Builds them; in the order in which they are to be started.
fn programs(package: &Package) -> Result<Vec<Program>> {
    let messages = Run::new("cargo")
        .args(["test", "--profile", "native", "--no-run", "--message-format", "json-render-diagnostics"])
        .args(["--package", &package.name])
        .dir(&paths::checkout())
        .envs(build::native_env())
        .output()?;
    let mut programs = parse(&String::from_utf8(messages).context("cargo's messages are UTF-8")?)?;
    programs.sort_by_key(|program| place(&program.name));
    Ok(programs)
}

fn place(name: &str) -> usize {
    FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len())
}

/// From cargo's messages, one JSON object a line.
fn parse(messages: &str) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).context("a message of cargo's is no JSON")?;
        if let (true, Some(path)) = (message["profile"]["test"] == true, message["executable"].as_str()) {
            let name = message["target"]["name"].as_str().context("a test program without a name")?;
            programs.push(Program { name: name.to_owned(), path: path.into() });
        }
    }
    Ok(programs)
}

/// Runs them in their order, so many at a time; the names of those that failed.
fn run(package: &Package, programs: Vec<Program>, filter: Option<&str>, lanes: usize) -> Result<Vec<String>> {
    let models = models::env()?;
    let outcomes = each(lanes, programs, |program| {
        let run = Run::new(&program.path)
            .args(filter)
            .dir(&package.dir)
            .envs(build::native_env())
            .envs(models.clone());
        (apart(&program.name, run), program.name)
    });
    Ok(outcomes.into_iter().filter_map(|(outcome, name)| outcome.is_err().then_some(name)).collect())
}

/// Runs a command of many: a line when it starts; all that it printed, in one piece, when it has ended.
///
/// # Errors
/// When it cannot be run or does not succeed; that has been shown then.
pub fn apart(name: &str, command: Run) -> Result<()> {
    let logs = paths::checkout().join("target/tests/logs");
    fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
    let log = logs.join(format!("{name}.log"));
    report::line(&format!("    {name} …"));
    let begun = Instant::now();
    let outcome = command.run_into(&log);
    let printed = fs::read(&log).unwrap_or_default();
    let mut piece = format!("\n==> {name}\n{}\n", String::from_utf8_lossy(&printed).trim());
    if let Err(error) = &outcome {
        let _ = writeln!(piece, "error: {error:#}");
    }
    let _ = writeln!(piece, "    {name}: {}\n", report::seconds(begun.elapsed()));
    let _ = io::stdout().lock().write_all(piece.as_bytes());
    outcome
}

/// Does this with each of them, so many at a time, begun in their order; gives the results in the order of their ends.
pub fn each<T: Send, R: Send>(lanes: usize, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let queue = Mutex::new(VecDeque::from(items));
    let results = Mutex::new(Vec::new());
    // The queue is not held while the work is done, as it would be in the head of a `while let`.
    let next = || locked(&queue).pop_front();
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                while let Some(item) = next() {
                    let result = work(item);
                    locked(&results).push(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_in_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"xtask","kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"name":"ragflare","kind":["bin"]},"profile":{"test":false},"executable":"/t/ragflare"}
{"reason":"compiler-artifact","target":{"name":"load","kind":["test"]},"profile":{"test":true},"executable":"/t/load-1"}
{"reason":"build-finished","success":true}
"#;
        let load = Program { name: "load".to_owned(), path: "/t/load-1".into() };
        assert_eq!(parse(messages).unwrap(), [load]);
    }

    #[test]
    fn lanes_share_the_work_and_leave_nothing() {
        let meeting = std::sync::Barrier::new(2);
        let mut done = each(2, vec![1, 2, 3, 4], |n| {
            meeting.wait();
            n * 10
        });
        done.sort_unstable();
        assert_eq!(done, [10, 20, 30, 40]);
    }

    #[test]
    fn those_named_here_are_there() {
        for name in FIRST.iter().chain(&ALONE) {
            assert!(paths::checkout().join(format!("tests/tests/{name}.rs")).is_file(), "{name}");
        }
    }
}
