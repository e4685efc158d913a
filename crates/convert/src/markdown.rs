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
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|text| cell(text)).collect()).collect();
    let width = rows.iter().map(Vec::len).max().unwrap_or(0);
    let used: Vec<usize> = (0..width)
        .filter(|column| rows.iter().any(|row| row.get(*column).is_some_and(|text| !text.is_empty())))
        .collect();
    let filled = rows.iter().rposition(|row| row.iter().any(|text| !text.is_empty())).map_or(0, |last| last + 1);
    if used.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    for (at, row) in rows[..filled].iter().enumerate() {
        out.push('|');
        for column in &used {
            out.push(' ');
            out.push_str(row.get(*column).map_or("", String::as_str));
            out.push_str(" |");
        }
        out.push('\n');
        if at == 0 {
            out.push('|');
            out.push_str(&" --- |".repeat(used.len()));
            out.push('\n');
        }
    }
    out
}

/// A heading of level 1 to 6; nothing for a text without a word.
pub(crate) fn heading(level: usize, text: &str) -> String {
    match line(text) {
        text if text.is_empty() => String::new(),
        text => format!("{} {text}\n\n", "#".repeat(level.clamp(1, 6))),
    }
}

/// Code between fences that nothing in it can close.
pub(crate) fn fenced(language: &str, code: &str) -> String {
    let longest = code.lines().map(|line| line.trim_start().bytes().take_while(|byte| *byte == b'`').count()).max();
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
    }

    #[test]
    fn a_fence_is_longer_than_those_within() {
        assert_eq!(fenced("md", "a\n```\nb\n```"), "````md\na\n```\nb\n```\n````\n\n");
    }
}
