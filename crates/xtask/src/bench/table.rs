//! What was measured, and the tables made of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Whose rows the others are compared with.
pub const OURS: &str = "ragflare";

/// The fastest, the median and the slowest of a number of samples, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// The fastest.
    pub min: f64,
    /// The one in the middle.
    pub median: f64,
    /// The slowest.
    pub max: f64,
}

impl Times {
    /// Of samples in milliseconds, one at least.
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { min: samples[0], median: samples[samples.len() / 2], max: samples[samples.len() - 1] }
    }
}

/// One subject on one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What is done.
    pub group: String,
    /// Who does it.
    pub subject: String,
    /// The text's kind.
    pub kind: String,
    /// The name of its size.
    pub size: String,
    /// How long it took.
    pub times: Times,
    /// How often memory was asked for, where that is counted.
    pub allocations: Option<f64>,
}

impl Row {
    fn text(&self) -> String {
        format!("{} {}", self.kind, self.size)
    }

    /// Megabytes (10⁶ bytes) a second.
    fn speed(&self) -> f64 {
        bytes(&self.size) / 1e3 / self.times.median
    }
}

/// The bytes of a size's name.
pub fn bytes(size: &str) -> f64 {
    let digits = size.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = if size.ends_with("MB") { 1e6 } else { 1e3 };
    digits.parse::<f64>().unwrap_or_default() * unit
}

/// Every row, a table for each group, the texts in order and our row first within each.
pub fn full(rows: &[Row]) -> String {
    let mut out = String::new();
    let counted = rows.iter().any(|row| row.allocations.is_some());
    for group in unique(rows, |row| row.group.clone()) {
        let of_group: Vec<&Row> = rows.iter().filter(|row| row.group == group).collect();
        let (title, line) = if counted { (" allocations |", "-:|") } else { ("", "") };
        let _ = writeln!(
            out,
            "#### {group}\n\n| text | subject | min ms | median ms | max ms | MB/s | × ours |{title}"
        );
        let _ = writeln!(out, "|---|---|-:|-:|-:|-:|-:|{line}");
        for text in unique(&of_group, |row| row.text()) {
            let of_text: Vec<&&Row> = of_group.iter().filter(|row| row.text() == text).collect();
            let ours = of_text.iter().find(|row| row.subject == OURS).map(|row| row.times.median);
            for row in of_text {
                let Times { min, median, max } = row.times;
                let ratio = ours.map_or_else(|| "–".to_owned(), |ours| number(median / ours));
                let allocations = match row.allocations {
                    Some(count) => format!(" {count:.0} |"),
                    None if counted => " – |".to_owned(),
                    None => String::new(),
                };
                let _ = writeln!(
                    out,
                    "| {text} | {} | {} | {} | {} | {} | {ratio} |{allocations}",
                    row.subject,
                    number(min),
                    number(median),
                    number(max),
                    number(row.speed()),
                );
            }
        }
        out.push('\n');
    }
    out
}

/// For each peer and kind of text the row of the largest size that it has, and ours of the same sizes.
pub fn largest(rows: &[Row]) -> Vec<Row> {
    let mut sizes: BTreeMap<(&str, &str, &str), &str> = BTreeMap::new();
    for row in rows {
        let size = sizes.entry((&row.group, &row.kind, &row.subject)).or_insert(&row.size);
        if bytes(&row.size) > bytes(size) {
            *size = &row.size;
        }
    }
    let is_peers = |row: &Row| {
        sizes.iter().any(|((group, kind, subject), size)| {
            *group == row.group && *kind == row.kind && *subject != OURS && *size == row.size
        })
    };
    let is_kept = |row: &&Row| match row.subject.as_str() {
        OURS => is_peers(row),
        subject => sizes.get(&(&*row.group, &*row.kind, subject)) == Some(&&*row.size),
    };
    rows.iter().filter(is_kept).cloned().collect()
}

/// The speed of ours on every kind of text, growing from left to right.
pub fn growth(rows: &[Row]) -> String {
    let ours: Vec<&Row> = rows.iter().filter(|row| row.subject == OURS).collect();
    let sizes = unique(&ours, |row| row.size.clone());
    let mut speeds: BTreeMap<(String, String), BTreeMap<String, f64>> = BTreeMap::new();
    for row in ours {
        let key = (row.group.clone(), row.kind.clone());
        speeds.entry(key).or_default().insert(row.size.clone(), row.speed());
    }
    let mut out = format!("| ours, MB/s | text | {} |\n|---|---|", sizes.join(" | "));
    out += &"-:|".repeat(sizes.len());
    out.push('\n');
    for ((group, kind), of_sizes) in speeds {
        let cell = |size: &String| of_sizes.get(size).map_or_else(|| "–".to_owned(), |speed| number(*speed));
        let cells: Vec<String> = sizes.iter().map(cell).collect();
        let _ = writeln!(out, "| {group} | {kind} | {} |", cells.join(" | "));
    }
    out
}

/// The values of a key, each once, in the order in which they come.
fn unique<T>(rows: &[T], key: impl Fn(&T) -> String) -> Vec<String> {
    let mut all = Vec::new();
    for key in rows.iter().map(key) {
        if !all.contains(&key) {
            all.push(key);
        }
    }
    all
}

/// Three digits that say something.
pub fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(subject: &str, size: &str, median: f64) -> Row {
        Row {
            group: "chunk".into(),
            subject: subject.into(),
            kind: "prose".into(),
            size: size.into(),
            times: Times { min: median / 2.0, median, max: median * 2.0 },
            allocations: None,
        }
    }

    #[test]
    fn rows_are_compared_with_ours_on_the_same_text() {
        let rows = [row("ragflare", "1MB", 20.0), row("peer", "1MB", 500.0), row("peer", "10KB", 5.0)];
        let text = full(&rows);
        assert!(text.contains("| prose 1MB | ragflare | 10.0 | 20.0 | 40.0 | 50.0 | 1.00 |"), "{text}");
        assert!(text.contains("| prose 1MB | peer | 250 | 500 | 1000 | 2.00 | 25.0 |"), "{text}");
        assert!(text.contains("| prose 10KB | peer | 2.50 | 5.00 | 10.0 | 2.00 | – |"), "{text}");
    }

    #[test]
    fn the_largest_of_each_peer_is_kept_with_ours_beside_it() {
        let rows = [
            row("ragflare", "100KB", 2.0),
            row("ragflare", "1MB", 20.0),
            row("ragflare", "30MB", 600.0),
            row("slow", "10KB", 5.0),
            row("slow", "100KB", 50.0),
            row("fast", "1MB", 30.0),
        ];
        let kept = largest(&rows);
        let names: Vec<_> = kept.iter().map(|row| format!("{} {}", row.subject, row.size)).collect();
        assert_eq!(names, ["ragflare 100KB", "ragflare 1MB", "slow 100KB", "fast 1MB"]);
    }

    #[test]
    fn growth_has_a_column_for_each_size() {
        let text =
            growth(&[row("ragflare", "10KB", 1.0), row("ragflare", "1MB", 50.0), row("peer", "1MB", 1.0)]);
        assert!(text.starts_with("| ours, MB/s | text | 10KB | 1MB |\n"), "{text}");
        assert!(text.ends_with("| chunk | prose | 10.0 | 20.0 |\n"), "{text}");
    }

    #[test]
    fn times_are_sorted() {
        assert_eq!(Times::of(vec![3.0, 1.0, 2.0]), Times { min: 1.0, median: 2.0, max: 3.0 });
    }
}
