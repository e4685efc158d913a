//! Pieces of Markdown.

/// A picture of which nothing is said.
pub(crate) const PICTURE: &str = "![](data:image/png;base64...)";

/// Text on one line, blanks as single ones.
pub(crate) fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}

/// Rows as a table; the first is its header. Columns that no row has anything in are left out, and so are empty rows at the
/// end.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let is_filled = |text: &String| !text.trim().is_empty();
    let mut columns = vec![false; rows.iter().map(Vec::len).max().unwrap_or(0)];
    for row in rows {
        columns.iter_mut().zip(row).for_each(|(column, text)| *column |= is_filled(text));
    }
    let used: Vec<usize> = (0..columns.len()).filter(|column| columns[*column]).collect();
    let filled = rows.iter().rposition(|row| row.iter().any(is_filled)).map_or(0, |last| last + 1);
    // One wide row does not make all of many short ones as wide as itself.
    let cells: usize = rows[..filled].iter().map(Vec::len).sum();
    let is_whole = used.len().saturating_mul(filled) <= cells.saturating_mul(8).max(10_000);
    let mut table = Table::new(used);
    for row in &rows[..filled] {
        let width = if is_whole { columns.len() } else { row.len() };
        table.row_until(width, |column| row.get(column).map_or("", String::as_str));
    }
    table.out
}

/// A table that is written row by row; the first one is its header.
pub(crate) struct Table {
    used: Vec<usize>,
    pub(crate) out: String,
}

impl Table {
    /// Of some of the columns that its rows have.
    pub(crate) fn new(used: Vec<usize>) -> Self {
        Self { used, out: String::new() }
    }

    /// Adds a row by its cells; returns where it begins.
    pub(crate) fn row<'a>(&mut self, text: impl Fn(usize) -> &'a str) -> usize {
        self.row_until(usize::MAX, text)
    }

    /// The same of a row that ends before a column; the header has all of them.
    fn row_until<'a>(&mut self, width: usize, text: impl Fn(usize) -> &'a str) -> usize {
        let begin = self.out.len();
        if self.used.is_empty() {
            return begin;
        }
        self.out.push('|');
        for column in self.used.iter().filter(|column| **column < width || begin == 0) {
            self.out.push(' ');
            self.out.push_str(&cell(text(*column)));
            self.out.push_str(" |");
        }
        self.out.push('\n');
        if begin == 0 {
            self.out.push('|');
            self.out.push_str(&" --- |".repeat(self.used.len()));
            self.out.push('\n');
        }
        begin
    }
}

/// A heading of level 1 to 6; nothing for a text without a word.
pub(crate) fn heading(level: usize, text: &str) -> String {
    match line(text) {
        text if text.is_empty() => String::new(),
        text => format!("{} {text}\n\n", "#".repeat(level.clamp(1, 6))),
    }
}

/// Text that is no Markdown, as such that shows it: none of its lines is a heading, makes one of the line above, or opens a fence.
pub(crate) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // To Markdown a return ends a line by itself.
    for line in text.lines().flat_map(|line| line.split('\r')) {
        let inner = line.trim_start_matches(' ');
        let indent = line.len() - inner.len();
        // What stands further in is never one of them.
        let is_block = indent < 4 && is_block(inner.trim_end());
        out.push_str(&line[..indent]);
        out.push_str(if is_block { "\\" } else { "" });
        out.push_str(inner);
        out.push('\n');
    }
    out
}

fn is_block(line: &str) -> bool {
    let text = line.trim_start_matches('#');
    let is_heading =
        (1..=6).contains(&(line.len() - text.len())) && (text.is_empty() || text.starts_with([' ', '\t']));
    let is_only = |mark: char| !line.is_empty() && line.trim_start_matches(mark).is_empty();
    is_heading || line.starts_with("```") || line.starts_with("~~~") || is_only('-') || is_only('=')
}

/// Code between fences that nothing in it can close.
pub(crate) fn fenced(language: &str, code: &str) -> String {
    let longest =
        code.lines().map(|line| line.trim_start().bytes().take_while(|byte| *byte == b'`').count()).max();
    let fence = "`".repeat(longest.unwrap_or(0).max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n\n", code.trim_end_matches('\n'))
}

/// At most one empty line in a row, and none at the beginning; bullets are stars, as readers of such text are used to.
pub(crate) fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    let mut code = false;
    for line in text.lines() {
        code ^= line.trim_start().starts_with("```");
        let inner = line.trim_start();
        let bullet = (!code).then(|| inner.strip_prefix("- ")).flatten();
        let starred = bullet.map(|rest| format!("{}* {rest}", &line[..line.len() - inner.len()]));
        let line = starred.as_deref().unwrap_or(line);
        if line.trim().is_empty() {
            empty += 1;
            continue;
        }
        if empty > 0 && !out.is_empty() {
            out.push('\n');
        }
        empty = 0;
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect()
    }

    #[test]
    fn a_table_keeps_its_shape() {
        let made = table(&rows(&[&["a", "", "b|c"], &["1\n2", "", "x", ""], &["", ""]]));
        assert_eq!(made, "| a | b\\|c |\n| --- | --- |\n| 1 2 | x |\n");
        assert_eq!(table(&rows(&[&["", " "]])), "");
        let mut long = vec![vec!["x".to_owned()]; 20_000];
        long[1] = vec!["y".to_owned(); 20_000];
        assert!(table(&long).len() < 1 << 20);
    }

    #[test]
    fn text_makes_no_headings_and_fences() {
        let text = "# apt install\r\nAda\n-- \n===\r#\n```sh\n ~~~\n";
        assert_eq!(literal(text), "\\# apt install\nAda\n\\-- \n\\===\n\\#\n\\```sh\n \\~~~\n");
        let text = "#1 of #tags\n- one\n    # indented\n\na -- b\n`x`\n";
        assert_eq!(literal(text), text);
    }

    #[test]
    fn a_fence_is_longer_than_those_within() {
        assert_eq!(fenced("md", "a\n```\nb\n```"), "````md\na\n```\nb\n```\n````\n\n");
    }
}
