//! What the user reads while the tasks run: steps, their times, and a closing table. All on standard error.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Runs one step under its name: a line at its start, a line with its time when it took more than a moment.
///
/// # Errors
/// The step's own, with the step named.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    line(&format!("==> {name}"));
    let started = Instant::now();
    let result = work().with_context(|| format!("the step \"{name}\" failed"));
    let took = started.elapsed();
    if result.is_ok() && took > Duration::from_secs(2) {
        line(&format!("    {name}: {}", seconds(took)));
    }
    result
}

/// One line of progress, whole even when several threads write.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A duration as a person reads it.
pub fn seconds(time: Duration) -> String {
    let secs = time.as_secs();
    if secs >= 60 {
        format!("{} min {:02} s", secs / 60, secs % 60)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// The steps of a long run: later ones are tried although an earlier one failed.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    took: Duration,
    error: Option<String>,
}

impl Table {
    /// Runs a step and keeps its outcome; the value is `None` when it failed.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let started = Instant::now();
        let result = step(name, work);
        let took = started.elapsed();
        let (value, error) = match result {
            Ok(value) => (Some(value), None),
            Err(error) => {
                line(&format!("error: {error:#}"));
                (None, Some(error.root_cause().to_string()))
            }
        };
        self.rows.push(Row { name: name.to_owned(), took, error });
        value
    }

    /// Names of the steps that failed.
    pub fn failed(&self) -> Vec<&str> {
        self.rows.iter().filter(|row| row.error.is_some()).map(|row| row.name.as_str()).collect()
    }

    /// The table, one line per step.
    pub fn render(&self) -> String {
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        for row in &self.rows {
            let mark = if row.error.is_some() { "FAILED" } else { "ok" };
            let _ = write!(out, "{:<width$}  {:>12}  {mark}", row.name, seconds(row.took));
            if let Some(error) = &row.error {
                let _ = write!(out, "  ({})", error.lines().next().unwrap_or_default());
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_is_named_and_the_next_still_runs() {
        let mut table = Table::default();
        assert_eq!(table.step("one", || -> Result<u8> { anyhow::bail!("because") }), None);
        assert_eq!(table.step("two", || Ok(2)), Some(2));
        assert_eq!(table.failed(), ["one"]);
        let text = table.render();
        assert!(text.contains("FAILED  (because)"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn times_read_well() {
        assert_eq!(seconds(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}
