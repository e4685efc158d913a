//! `cargo xtask bench`: the token engine and the chunker against their peers, natively, in workerd and in Python.

pub mod native;
pub mod python;
pub mod sizes;
pub mod table;
pub mod workerd;
pub mod workers;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::build::{self, Workers};
use crate::{paths, report, setup};
use table::{Row, Times, number};

/// Where to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Place {
    /// On this machine, in Rust.
    Native,
    /// On this machine, in Python.
    Python,
    /// In the workers' runtime.
    Workerd,
}

/// What to measure.
#[derive(Debug)]
pub struct Bench {
    /// Only there.
    pub only: Option<Place>,
    /// A directory with more texts, each file one.
    pub texts: Option<PathBuf>,
    /// Only the native benchmarks with this in their names.
    pub filter: Option<String>,
    /// Rewrite the snapshot of the workers' sizes, and measure nothing else.
    pub bless: bool,
    /// Put the tables into `docs/benchmarks.md`.
    pub save: bool,
}

/// Measures, and prints the tables on standard output.
///
/// # Errors
/// When something does not build, start or answer.
pub fn run(bench: &Bench) -> Result<()> {
    setup::run()?;
    if bench.bless {
        report::step("building the workers", || build::workers(Workers::Shipping))?;
        return sizes::bless();
    }
    let work = paths::checkout().join("target/bench");
    let texts = work.join("texts");
    report::step("making the texts", || native::texts(&texts, bench.texts.as_deref()))?;
    let is_wanted = |place| bench.only.is_none_or(|only| only == place);
    let mut results = Results::default();
    if is_wanted(Place::Native) {
        results.native = report::step("measuring natively", || native::run(&texts, bench.filter.as_deref()))?;
    }
    if is_wanted(Place::Python) {
        results.python = report::step("measuring in Python", || Ok(in_python(&texts)))?;
    }
    if is_wanted(Place::Workerd) {
        results.workerd = Some(in_workerd(&work.join("workerd"), &texts)?);
    }
    print!("{}", results.render(<[Row]>::to_vec)?);
    if bench.save {
        save(&paths::checkout().join("docs/benchmarks.md"), &results.render(table::largest)?)?;
    }
    Ok(())
}

/// The peers in Python, or a line that says why there are none: everything else is measured without.
fn in_python(texts: &Path) -> Vec<Row> {
    python::install().and_then(|()| python::run(texts)).unwrap_or_else(|error| {
        report::line(&format!("    the peers in Python are left out: {error:#}"));
        Vec::new()
    })
}

/// What came out.
#[derive(Debug, Default)]
struct Results {
    native: Vec<Row>,
    python: Vec<Row>,
    workerd: Option<InWorkerd>,
}

#[derive(Debug)]
struct InWorkerd {
    start_up: Vec<(String, Times)>,
    readiness: Vec<(String, Times, Times)>,
    sizes: Vec<(String, [u64; 3])>,
    rows: Vec<Row>,
}

fn in_workerd(work: &Path, texts: &Path) -> Result<InWorkerd> {
    report::step("building the workers that ship", || build::workers(Workers::Shipping))?;
    let names = report::step("building the measured workers", || {
        workers::install()?;
        workers::bundle(workers::EMPTY, &work.join(workers::EMPTY))?;
        workers::ALL.iter().try_for_each(|worker| worker.build(work))?;
        let mut names = vec![workers::EMPTY.to_owned()];
        names.extend(workers::shipping(work)?);
        names.extend(workers::ALL.iter().map(|worker| worker.script.to_owned()));
        Ok(names)
    })?;
    Ok(InWorkerd {
        start_up: report::step("measuring start-up", || workerd::start_up(work, &names))?,
        readiness: report::step("measuring the first count", || workerd::readiness(work))?,
        sizes: workers::sizes(work, &names)?,
        rows: report::step("measuring in workerd", || workerd::run(work, &workerd::texts(texts)?))?,
    })
}

impl Results {
    /// The tables, with the rows that `pick` takes.
    fn render(&self, pick: fn(&[Row]) -> Vec<Row>) -> Result<String> {
        let mut out = String::new();
        if !self.native.is_empty() || !self.python.is_empty() {
            let rows: Vec<Row> = self.native.iter().chain(&self.python).cloned().collect();
            let growth = table::growth(&self.native);
            writeln!(out, "### Native\n\n{growth}\n{}", table::full(&pick(&rows)))?;
        }
        let Some(workerd) = &self.workerd else { return Ok(out) };
        let cells = |times: &Times| [times.min, times.median, times.max].map(number).join(" | ");
        out += "### In workerd\n\n| start-up | min ms | median ms | max ms |\n|---|-:|-:|-:|\n";
        for (name, times) in &workerd.start_up {
            writeln!(out, "| {name} | {} |", cells(times))?;
        }
        out += "\n| `cl100k_base` in a fresh isolate | first: min ms | median | max | second: min ms | median | \
                max |\n|---|-:|-:|-:|-:|-:|-:|\n";
        for (name, first, second) in &workerd.readiness {
            writeln!(out, "| {name} | {} | {} |", cells(first), cells(second))?;
        }
        out += "\n| worker | script KiB | wasm KiB | both, gzip -9, KiB |\n|---|-:|-:|-:|\n";
        for (name, [script, wasm, gzip]) in &workerd.sizes {
            writeln!(out, "| {name} | {} | {} | {} |", script / 1024, wasm / 1024, gzip / 1024)?;
        }
        writeln!(out, "\n{}\n{}", table::growth(&workerd.rows), table::full(&pick(&workerd.rows)))?;
        Ok(out)
    }
}

/// Puts the tables between the marks of the document.
fn save(path: &Path, report: &str) -> Result<()> {
    const BEGIN: &str = "<!-- Tables: written by `cargo xtask bench --save` -->\n";
    const END: &str = "<!-- End of the tables -->\n";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (before, rest) = text.split_once(BEGIN).context("the mark before the tables is missing")?;
    let (_, after) = rest.split_once(END).context("the mark after the tables is missing")?;
    fs::write(path, format!("{before}{BEGIN}\n{}\n\n{END}{after}", report.trim()))
        .with_context(|| format!("cannot write {}", path.display()))
}
