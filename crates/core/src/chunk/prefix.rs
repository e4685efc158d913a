//! What is put before a chunk's body when it is embedded.

use crate::chunk::{ChunkSettings, table};
use crate::tokens::WordPiece;

/// The text to embed for a chunk: `Title > Heading > Heading`, an empty line, the body. Before this, the header row of the
/// table that it begins in ([`Chunk::table_header`](crate::chunk::Chunk::table_header)).
///
/// The prefix has at most [`ChunkSettings::prefix`] tokens: what is too long loses its outermost parts first, and the
/// innermost one, if alone too long, its last words. So with a body of at most [`ChunkSettings::max_tokens`] tokens
/// the whole fits the model's window. A title that the first heading repeats is written once. Line ends and control
/// characters in title and headings become blanks.
pub fn embedded_text(
    title: Option<&str>,
    headings: &[String],
    table_header: Option<&str>,
    body: &str,
    settings: &ChunkSettings,
) -> String {
    let mut parts: Vec<String> = title.map(one_line).into_iter().collect();
    parts.extend(headings.iter().map(|heading| one_line(heading)));
    if title.is_some() && parts.len() > 1 && parts[0] == parts[1] {
        parts.remove(0);
    }
    parts.retain(|part| !part.is_empty());
    let prefix = (0..parts.len())
        .map(|outermost| parts[outermost..].join(" > "))
        .find(|prefix| WordPiece::count(prefix) <= settings.prefix)
        .unwrap_or_else(|| parts.last().map_or("", |part| first_words(part, settings.prefix)).to_owned());
    let mut text = prefix;
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    if let Some(header) = table_header {
        text.push_str(table::row(header));
        text.push('\n');
    }
    text.push_str(body);
    text
}

/// The text with every run of blanks and control characters as one blank, and none around it.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// The most words from the beginning of a line that have at most `limit` tokens together; of a single word that has more,
/// the most characters.
fn first_words(line: &str, limit: usize) -> &str {
    let index = WordPiece::index(line);
    let fits = |end: &usize| index.count(line, 0..*end) <= limit;
    let words: Vec<usize> = line.match_indices(' ').map(|(at, _)| at).collect();
    match words.partition_point(fits) {
        0 => {
            let first = &line[..words.first().copied().unwrap_or(line.len())];
            // Not a binary search: the count of a growing piece of one word can also fall.
            let ends = first.char_indices().map(|(at, c)| at + c.len_utf8());
            let end = ends.take_while(fits).last().unwrap_or(0);
            &line[..end]
        }
        fitting => &line[..words[fitting - 1]],
    }
}
