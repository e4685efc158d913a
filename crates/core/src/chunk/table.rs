//! The header of a table, for chunks that begin further down in it.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::chunk::outline::Outline;
use crate::chunk::prefix::one_line;
use crate::tokens::WordPiece;

/// The most tokens a header row has; what is wider loses the ends of its cells, then its last columns.
pub(super) const MAX_HEADER_TOKENS: usize = 96;

/// The same in bytes, for what has few tokens.
const MAX_HEADER_BYTES: usize = 768;

/// How much of a header row is read.
const MAX_ROW: usize = 16 * 1024;

/// Characters that cells are cut to, one after another, until all of them fit.
const WIDTHS: [usize; 5] = [48, 32, 24, 16, 12];

/// The text of a chunk with the header of the table that it begins in: a table again, for whoever reads it.
pub fn shown_text<'t>(table_header: Option<&str>, body: &'t str) -> Cow<'t, str> {
    match table_header {
        Some(header) => Cow::Owned(format!("{header}\n{}", body.trim_start_matches([' ', '\t']))),
        None => Cow::Borrowed(body),
    }
}

/// The header row and the line below it, from the header row of a table, with at most so many tokens in the former.
/// `None` if it says nothing, or nothing fits.
pub(super) fn header(row: &str, most: usize) -> Option<String> {
    let row = &row[..row.floor_char_boundary(MAX_ROW.min(row.len()))];
    let row = row.lines().next().unwrap_or_default();
    let mut cells = cells(row);
    if cells.iter().all(String::is_empty) {
        return None;
    }
    let most = most.min(MAX_HEADER_TOKENS);
    let fits = |row: &str| row.len() <= MAX_HEADER_BYTES && WordPiece::count(row) <= most;
    let mut written = as_row(&cells);
    for width in WIDTHS {
        if fits(&written) {
            break;
        }
        for cell in &mut cells {
            if let Some((at, _)) = cell.char_indices().nth(width) {
                // Not of what is the mark of the cut before this.
                let rest = cell[..at].trim_end_matches([' ', '…']);
                *cell = format!("{rest}…");
            }
        }
        written = as_row(&cells);
    }
    while !fits(&written) {
        let fewer = cells.len() - cells.len().div_ceil(8);
        cells.truncate(fewer);
        if cells.is_empty() {
            return None;
        }
        written = as_row(&cells);
    }
    Some(format!("{written}\n|{}", "---|".repeat(cells.len())))
}

/// The header row alone.
pub(super) fn row(header: &str) -> &str {
    header.lines().next().unwrap_or_default()
}

fn as_row(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// What is between the bars of a row, but for escaped ones.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim();
    let row = row.strip_prefix('|').unwrap_or(row);
    let mut cells = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in row.char_indices() {
        if c == '|' && !escaped {
            cells.push(one_line(&row[start..at]));
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    if !row[start..].trim().is_empty() {
        cells.push(one_line(&row[start..]));
    }
    cells
}

/// A table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) start: usize,
    pub(super) end: usize,
    /// `None` if it says nothing; or, in an outline that begins in the table, if it is not there.
    pub(super) header: Option<String>,
    /// Whether an outline began in it.
    #[serde(skip)]
    pub(super) goes_on: bool,
}

/// Walks down a text and knows the table it is in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tables {
    /// Not passed.
    ahead: VecDeque<Table>,
    /// Of the last one that was found.
    header: Option<String>,
}

impl Tables {
    /// Takes what an outline has found before `end`.
    pub(super) fn extend(&mut self, outline: &mut Outline<'_>, end: usize) {
        for table in outline.tables.drain(..).take_while(|table| table.start < end) {
            if !table.goes_on {
                self.header.clone_from(&table.header);
            }
            self.ahead.push_back(Table { header: self.header.clone(), ..table });
        }
    }

    /// The most tokens that the header of the table found last has.
    pub(super) fn tokens(&self) -> usize {
        self.header.as_deref().map_or(0, |header| WordPiece::count(row(header)))
    }

    /// Lets all offsets be counted from `start` on.
    pub(super) fn rebase(&mut self, start: usize) {
        for table in &mut self.ahead {
            table.start = table.start.saturating_sub(start);
            table.end = table.end.saturating_sub(start);
        }
    }

    /// The header of the table that `offset` is in, with at most so many tokens, if its header is before that. Asked for
    /// in order.
    pub(super) fn at(&mut self, offset: usize, most: usize) -> Option<String> {
        while self.ahead.pop_front_if(|table| table.end <= offset).is_some() {}
        let table = self.ahead.front().filter(|table| table.start < offset)?;
        let header = table.header.as_deref()?;
        if WordPiece::count(row(header)) <= most {
            return Some(header.to_owned());
        }
        self::header(row(header), most)
    }
}
