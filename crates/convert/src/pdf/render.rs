//! A page's blocks as Markdown.

use crate::{Place, markdown};
use pdfboss_output::{Block, Cell, Line, PageLayout, Role};
use std::collections::HashSet;
use unicode_normalization::UnicodeNormalization;

/// Letters that a line has at least before it is taken for one that goes on in the next.
const WRAPPED: usize = 30;
/// A heading that is longer is a paragraph in large letters.
const LONGEST_HEADING: usize = 200;

/// Text so far.
#[derive(Default)]
pub(super) struct Writer {
    out: String,
    places: Vec<Place>,
    /// Headers and footers that stood on a page before, without their numbers.
    running: HashSet<String>,
}

impl Writer {
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(self) -> (String, Vec<Place>) {
        (self.out, self.places)
    }

    /// Adds a page. Its number is the one that it has in the file, from 1.
    pub(super) fn page(&mut self, number: u32, layout: &PageLayout) {
        self.places.push(Place { at: self.out.len() as u64, page: Some(number), row: None });
        for block in &layout.blocks {
            let text = match block {
                Block::Heading { level, lines, .. } => {
                    let text = joined(lines, true);
                    if text.chars().count() > LONGEST_HEADING {
                        markdown::literal(&text)
                    } else {
                        markdown::heading(usize::from(*level), &text)
                    }
                }
                Block::Paragraph { lines, role: Role::Body, .. } => markdown::literal(&joined(lines, false)),
                Block::Paragraph { lines, role: Role::Quote, .. } => format!("> {}", joined(lines, true)),
                Block::Paragraph { lines, role: Role::PageHeader | Role::PageFooter, .. } => {
                    self.first_time(lines)
                }
                Block::List { items, .. } => {
                    let items = items.iter().map(|item| {
                        let text = joined(&item.lines, true);
                        let text = text.chars().skip(item.marker_len).collect::<String>();
                        match &item.marker {
                            pdfboss_output::Marker::Bullet => format!("* {}", text.trim()),
                            pdfboss_output::Marker::Number(number) => format!("{number}. {}", text.trim()),
                        }
                    });
                    items.collect::<Vec<_>>().join("\n")
                }
                Block::Table { rows, .. } => table(rows),
            };
            if !text.trim().is_empty() {
                self.out.push_str(text.trim());
                self.out.push_str("\n\n");
            }
        }
    }

    /// A running header or footer where it stands first: later it only cuts the text in pieces.
    fn first_time(&mut self, lines: &[Line]) -> String {
        let text = joined(lines, false);
        let key = text.chars().filter(|c| !c.is_numeric() && !c.is_whitespace()).collect();
        if self.running.insert(key) { markdown::literal(&text) } else { String::new() }
    }
}

fn table(rows: &[Vec<Cell>]) -> String {
    let cell = |cell: &Cell| cell.line.as_ref().map(text_of).unwrap_or_default();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            // A cell over several columns stands in the first of them.
            row.iter()
                .flat_map(|one| {
                    let rest = usize::from(one.colspan.max(1)) - 1;
                    std::iter::once(cell(one)).chain(std::iter::repeat_n(String::new(), rest))
                })
                .collect()
        })
        .collect();
    markdown::table(&rows)
}

/// A line's letters, without those that only printers use.
fn text_of(line: &Line) -> String {
    let mut out = String::new();
    for inline in &line.inlines {
        for c in inline.text.chars() {
            match c {
                // Ligatures and the shapes that Arabic letters take in a word.
                '\u{FB00}'..='\u{FB06}' | '\u{FB13}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFC}' => {
                    out.extend(std::iter::once(c).nfkc());
                }
                '\u{0}'..='\u{8}' | '\u{B}'..='\u{1F}' | '\u{7F}' | '\u{200B}' | '\u{FEFF}' => {}
                '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{202F}' => out.push(' '),
                c => out.push(c),
            }
        }
    }
    out.trim().to_owned()
}

/// Lines as text: those that were broken where the page ended go on, others stay lines.
fn joined(lines: &[Line], always: bool) -> String {
    let left = lines.iter().map(|line| line.x).fold(f32::INFINITY, f32::min);
    let right = lines.iter().map(|line| line.end_x).fold(f32::NEG_INFINITY, f32::max);
    let mut out = String::new();
    let mut wrapped = false;
    for line in lines {
        let text = text_of(line);
        if text.is_empty() {
            continue;
        }
        if !out.is_empty() {
            if always || wrapped { join(&mut out, &text) } else { out.push('\n') }
        }
        out.push_str(&text);
        let is_full = line.end_x - line.x >= (right - left) * 0.8;
        // A table of contents has full lines, and each is one of its own.
        let is_entry = text.contains("....") || text.contains(". . .");
        wrapped = is_full
            && !is_entry
            && text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum::<usize>() >= WRAPPED;
    }
    out
}

/// What stands between a line's end and the beginning of the next one.
fn join(out: &mut String, next: &str) {
    let mut ending = out.chars().rev();
    let (last, before) = (ending.next(), ending.next());
    let first = next.chars().next();
    match last {
        Some('\u{AD}') => {
            out.pop();
        }
        // A word that was divided: `divi-` and `ded`, not `x-` and `Ray`.
        Some('-' | '\u{2010}')
            if before.is_some_and(char::is_lowercase) && first.is_some_and(char::is_lowercase) =>
        {
            out.pop();
        }
        Some('-' | '\u{2010}') if before.is_some_and(char::is_alphanumeric) => {}
        Some(last) if is_wide(last) && first.is_some_and(is_wide) => {}
        _ => out.push(' '),
    }
}

/// Letters that stand without blanks between words: those of Chinese and Japanese.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{2E80}'..='\u{312F}' | '\u{31A0}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}')
}
