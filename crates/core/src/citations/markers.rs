//! Markers in a model's text: `[S1]`, and lists like `[S1, S3]`.

use super::markdown::{Markdown, Next};

/// The longest marker that is recognised, in bytes: more than a list of fifty sources takes.
const LONGEST: usize = 512;
/// Blanks in a row between the members of a list.
const BLANKS: usize = 2;

/// A piece of the text without markers that have no source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text, code included.
    Text(String),
    /// A marker as it is to stand, and the sources it names, from 1.
    Marker(String, Vec<usize>),
}

/// Takes markers without a source out of a text while it streams. Held back are what may still become a marker and what
/// may still become a span of code.
#[derive(Debug)]
pub(crate) struct Markers {
    sources: usize,
    /// What a marker leaves that goes as a whole.
    gap: &'static str,
    markdown: Markdown,
    held: String,
}

impl Markers {
    /// For an answer from so many sources.
    pub(crate) fn new(sources: usize, gap: &'static str) -> Self {
        Self { sources, gap, markdown: Markdown::default(), held: String::new() }
    }

    /// Takes more text.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        self.run(false)
    }

    /// The rest: what was held back is judged as it stands.
    pub(crate) fn finish(&mut self) -> Vec<Piece> {
        self.run(true)
    }

    fn run(&mut self, last: bool) -> Vec<Piece> {
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_str();
        let (mut pieces, mut text) = (Vec::new(), String::new());
        loop {
            let (length, code) = match self.markdown.next(rest, last) {
                Next::Code(length) => (length, true),
                Next::Text(length) => (rest[..length].find('[').unwrap_or(length), false),
                Next::More => break,
            };
            self.markdown.consume(&rest[..length], code);
            text.push_str(&rest[..length]);
            rest = &rest[length..];
            if code || !rest.starts_with('[') {
                continue;
            }
            let length = match marker(rest) {
                Marker::Part if !last => break,
                Marker::Part | Marker::No => {
                    text.push('[');
                    1
                }
                Marker::List { members, length } => {
                    let (marker, sources) = valid(&members, self.sources);
                    if sources.is_empty() {
                        text.push_str(self.gap);
                    } else {
                        if !text.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut text)));
                        }
                        pieces.push(Piece::Marker(marker, sources));
                    }
                    length
                }
            };
            self.markdown.consume(&rest[..length], false);
            rest = &rest[length..];
        }
        rest.clone_into(&mut self.held);
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        pieces
    }
}

/// The marker without the members that name no source. What stood before a member that stays, stays.
fn valid(members: &[(&str, &str)], count: usize) -> (String, Vec<usize>) {
    let (mut marker, mut sources) = (String::from("["), Vec::new());
    for (separator, digits) in members {
        // `[S01]` is none of ours.
        let number = digits.parse::<usize>().ok().filter(|_| !digits.starts_with('0'));
        if let Some(number) = number.filter(|number| *number <= count) {
            if !sources.is_empty() {
                marker.push_str(separator);
            }
            marker.push('S');
            marker.push_str(digits);
            sources.push(number);
        }
    }
    marker.push(']');
    (marker, sources)
}

enum Marker<'a> {
    /// Of each member what separates it from the one before, and its digits.
    List {
        members: Vec<(&'a str, &'a str)>,
        length: usize,
    },
    Part,
    No,
}

/// Reads `[` `S` digits (separator `S` digits)* `]` at the start of `text`; a separator is a comma or a semicolon, also as
/// Chinese and Japanese write it, with at most two blanks on either side.
fn marker(text: &str) -> Marker<'_> {
    let too_long = text.len() >= LONGEST;
    let text = &text[..text.floor_char_boundary(LONGEST)];
    let unfinished = || if too_long { Marker::No } else { Marker::Part };
    let mut members = Vec::new();
    let (mut at, mut separator) = (1, "");
    loop {
        match text.as_bytes().get(at) {
            Some(b'S') => at += 1,
            None => return unfinished(),
            Some(_) => return Marker::No,
        }
        let rest = &text[at..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == rest.len() {
            return unfinished();
        }
        if digits == 0 {
            return Marker::No;
        }
        members.push((separator, &rest[..digits]));
        let rest = &rest[digits..];
        at += digits;
        if rest.starts_with(']') {
            return Marker::List { members, length: at + 1 };
        }
        let mut letters = rest.char_indices().peekable();
        let mut blanks = || {
            let mut count = 0;
            while letters.next_if(|(_, c)| matches!(c, ' ' | '\u{A0}' | '\u{3000}')).is_some() {
                count += 1;
            }
            (count <= BLANKS, letters.next())
        };
        match blanks() {
            (true, Some((_, ',' | ';' | '，' | '；' | '、'))) => {}
            (true, None) => return unfinished(),
            _ => return Marker::No,
        }
        let (few, after) = blanks();
        let length = match (few, after) {
            (true, Some((length, _))) => length,
            (true, None) => return unfinished(),
            _ => return Marker::No,
        };
        separator = &rest[..length];
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str) -> (String, Vec<Vec<usize>>) {
        let mut markers = Markers::new(3, "");
        let (mut clean, mut cited) = (String::new(), Vec::new());
        for piece in markers.push(text).into_iter().chain(markers.finish()) {
            match piece {
                Piece::Text(text) => clean.push_str(&text),
                Piece::Marker(marker, sources) => {
                    clean.push_str(&marker);
                    cited.push(sources);
                }
            }
        }
        (clean, cited)
    }

    #[test]
    fn of_a_list_the_members_with_a_source_stay() {
        for (text, expected, sources) in [
            ("a [S1][S3].", "a [S1][S3].", vec![vec![1], vec![3]]),
            ("a [S1, S9; S3]", "a [S1; S3]", vec![vec![1, 3]]),
            ("a [S9,S2]", "a [S2]", vec![vec![2]]),
            ("[S1、S2] [S1，S4]", "[S1、S2] [S1]", vec![vec![1, 2], vec![1]]),
            ("a [S7, S8].", "a .", vec![]),
            ("[S0][S01][S123456789012345678901234567890]", "", vec![]),
            (
                "[s1] [S] [ S1] [S1,] [S1 S2] [S1, p. 3] [S1",
                "[s1] [S] [ S1] [S1,] [S1 S2] [S1, p. 3] [S1",
                vec![],
            ),
            ("[[S1]] [[S9]]", "[[S1]] []", vec![vec![1]]),
            ("[S[S9]1]", "[S1]", vec![]),
            ("`[S9]` [S9]", "`[S9]` ", vec![]),
        ] {
            assert_eq!(cleaned(text), (expected.to_owned(), sources), "{text}");
        }
    }
}
