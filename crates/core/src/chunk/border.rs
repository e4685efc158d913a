//! Where a text can be cut: between lines, sentences, words.
//!
//! What lines say about structure is read off them alone, without parsing anything again: lists, quotes, code and
//! paragraphs alike are about as deep in it as they are indented. A text that is all one line has borders, too, where
//! JSON would have line ends.

use std::ops::Range;

use crate::chunk::outline::Kind;

/// How many bytes before what is looked at may be looked at, too, for its indentation.
pub(super) const MARGIN: usize = 64;

/// Longer lines are all the same: no text is wrapped at so much.
const LONG_LINE: usize = 256;

/// Titles are shorter.
const TITLE: usize = 80;

/// A place to cut, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Border {
    /// Before a line that seems to be a title.
    Title,
    /// Between lines. Best where the second is indented least, then after a blank line.
    Line { indentation: usize, tight: bool },
    /// Between sentences.
    Sentence,
    /// Between lines that belong together.
    Bound,
    /// At a comma, a colon, a dash, a bracket.
    Clause,
    /// Between words.
    Word,
}

/// Calls `on_border` for the borders from `range.start` to `range.end`. Of the text, `seen` decides about them.
pub(super) fn borders(
    text: &str,
    seen: Range<usize>,
    range: Range<usize>,
    kind: Kind,
    mut on_border: impl FnMut(usize, Border),
) {
    let is_line_start = |at: usize| at == 0 || text.as_bytes()[at - 1] == b'\n';
    let margin = seen.start - blanks_before(text, seen.start);
    let start = if is_line_start(margin) { margin } else { seen.start };
    // Of a long line, it does not matter how it goes on.
    let end = text.floor_char_boundary(seen.end.min(range.end + 2 * LONG_LINE));
    let line_start = |at: usize| text[start..at].rfind('\n').map_or(start, |offset| start + offset + 1);
    // From the line before on: it may be a title.
    let mut at = line_start(line_start(range.start).saturating_sub(1).max(start));
    let mut before = Before::default();
    while at <= range.end {
        let stop = text[at..end].find('\n').map_or(end, |offset| at + offset);
        let mut line = Line::new(&text[at..stop]);
        if !is_line_start(at) {
            // The rest of a line: nothing counts as indented more.
            line.indentation = usize::MAX;
        }
        let first = at + line.start;
        at = stop + 1;
        if line.text.is_empty() {
            before.tight = false;
            continue;
        }
        let border = before.border(line, &text[stop..end], kind);
        if let Some(border) = border
            && (range.start..=range.end).contains(&first)
        {
            on_border(first, border);
        }
        within_line(text, first..stop, &range, &mut on_border);
    }
}

/// How much what begins there is indented: the most if it is a closing bracket, which goes with what is before it.
pub(super) fn indentation(text: &str, at: usize) -> usize {
    if text[at..].starts_with(['}', ')', ']']) { usize::MAX } else { blanks_before(text, at) }
}

/// The number of blanks right before, up to [`MARGIN`].
fn blanks_before(text: &str, at: usize) -> usize {
    let bytes = &text.as_bytes()[at.saturating_sub(MARGIN)..at];
    bytes.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// A line, without the blanks and quote marks it begins with and the blanks it ends with.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    text: &'a str,
    /// How many bytes of blanks are before it.
    start: usize,
    /// How many blanks are before it, also after quote marks.
    indentation: usize,
}

impl<'a> Line<'a> {
    fn new(line: &'a str) -> Self {
        let text = line.trim_start_matches(|c: char| c.is_whitespace() || c == '>');
        let before = &line[..line.len() - text.len()];
        let width = |byte| match byte {
            b' ' => 1,
            b'\t' => 4,
            _ => 0,
        };
        Self {
            text: text.trim_end(),
            start: line.len() - line.trim_start().len(),
            indentation: before.bytes().map(width).sum(),
        }
    }

    fn first(&self) -> char {
        self.text.chars().next().unwrap_or(' ')
    }

    /// Whether it could be a title: short, and without a stop at its end.
    fn is_short(&self) -> bool {
        let last = self.text.chars().next_back().unwrap_or(' ');
        self.text.len() < TITLE && (last.is_alphanumeric() || matches!(last, '=' | '"' | ')'))
    }

    /// Whether it begins as no line of wrapped text does: as an item, a row, a heading, code.
    fn is_marked(&self) -> bool {
        let after_number = self.text.trim_start_matches(|c: char| c.is_ascii_digit());
        let after_mark = if after_number.len() < self.text.len() {
            after_number.strip_prefix(['.', ')'])
        } else {
            self.text.strip_prefix(['-', '*', '+'])
        };
        after_mark.is_some_and(|rest| rest.starts_with(' '))
            || matches!(self.first(), '|' | '#' | '<' | '{' | '}' | '[' | '=' | '~')
    }

    /// Whether it has but brackets and the like: the end of a block, the line below a table's head.
    fn is_rule(&self) -> bool {
        !self.text.chars().take(LONG_LINE).any(char::is_alphanumeric)
    }
}

/// What comes before a line.
#[derive(Default)]
struct Before<'a> {
    /// The last line that is not blank.
    line: Option<Line<'a>>,
    /// The length of the line before that one.
    earlier: usize,
    is_title: bool,
    /// No blank line has followed.
    tight: bool,
}

impl<'a> Before<'a> {
    /// The border before a line that `rest` follows; the line is then the one before.
    fn border(&mut self, line: Line<'a>, rest: &'a str, kind: Kind) -> Option<Border> {
        let next = || rest.lines().map(|line| line.trim().len()).find(|&len| len > 0);
        let Self { line: before, earlier, is_title: after_title, tight } = *self;
        let is_new = !tight || before.is_none_or(|before| ends_sentence(before.text, line.first()));
        let is_title = kind == Kind::Text && is_new && line.is_short() && next() > Some(2 * line.text.len());
        *self = Self {
            line: Some(line),
            earlier: before.map_or(0, |before| before.text.len()),
            is_title,
            tight: true,
        };
        let before = before?;
        Some(if after_title || before.text.ends_with(':') {
            Border::Bound
        } else if is_title {
            Border::Title
        } else if tight && (line.indentation > before.indentation || line.is_rule()) {
            Border::Bound
        } else if tight && kind == Kind::Text && !is_new && may_be_wrapped(before, line, earlier) {
            let first = line.first();
            let goes_on =
                first.is_lowercase() || matches!(first, ',' | ';' | ':' | '.' | '@' | '-' | '–' | '—');
            if goes_on { between_words(before.text, first) } else { Border::Bound }
        } else {
            Border::Line { indentation: line.indentation, tight }
        })
    }
}

/// Whether a line may be one with the one before but for its length; by that of the lines around.
fn may_be_wrapped(before: Line<'_>, line: Line<'_>, earlier: usize) -> bool {
    let word = line.text.find(char::is_whitespace).unwrap_or(line.text.len());
    let longest = line.text.len().max(earlier);
    before.text.len() < LONG_LINE && !line.is_marked() && 4 * (before.text.len() + 1 + word) > 3 * longest
}

/// The borders inside a line.
fn within_line(
    text: &str,
    line: Range<usize>,
    range: &Range<usize>,
    on_border: &mut impl FnMut(usize, Border),
) {
    let from = range.start.max(line.start);
    let to = text.floor_char_boundary((range.end + 1).min(line.end));
    if from >= to {
        return;
    }
    let mut previous = text[line.start..from].chars().next_back();
    for (offset, c) in text[from..to].char_indices() {
        let at = from + offset;
        if let Some(previous) = previous
            && !c.is_whitespace()
        {
            let before = &text[line.start..at];
            let border = if previous.is_whitespace() {
                Some(between_words(before, c))
            } else if matches!(previous, 'n' | ',') {
                in_json(before, c)
            } else if previous.is_ascii() {
                None
            } else {
                unspaced(before, c)
            };
            if let Some(border) = border {
                on_border(at, border);
            }
        }
        previous = Some(c);
    }
}

/// The border where one word ends and, after a blank, `next` begins the next.
fn between_words(before: &str, next: char) -> Border {
    let before = before.trim_end();
    match before.chars().next_back() {
        Some(',') => in_json(before, next).unwrap_or(Border::Clause),
        Some(';' | ':' | '–' | '—' | '،' | '؛') => Border::Clause,
        Some(last) if !last.is_alphanumeric() && ends_sentence(before, next) => Border::Sentence,
        Some(')') => Border::Clause,
        _ if matches!(next, '(' | '–' | '—') => Border::Clause,
        _ => Border::Word,
    }
}

/// The border in a script that has no blanks.
fn unspaced(before: &str, next: char) -> Option<Border> {
    if is_closing(next) {
        return None;
    }
    match before.trim_end_matches(is_closing).chars().next_back()? {
        '。' | '！' | '？' | '．' => Some(Border::Sentence),
        '，' | '、' | '；' | '：' => Some(Border::Clause),
        _ => None,
    }
}

/// The border between two objects, or where a string has a line end after a sentence or two line ends.
fn in_json(before: &str, next: char) -> Option<Border> {
    let line = |tight| Some(Border::Line { indentation: 0, tight });
    if next == '{' && before.ends_with("},") {
        return line(true);
    }
    if next == '\\' {
        // One of several: the last counts, and looking back from each would take the square of their number.
        return None;
    }
    let rest = before.trim_end_matches("\\n");
    match before.len() - rest.len() {
        0 => None,
        2 => ends_sentence(rest, next).then(|| line(true)).flatten(),
        _ => line(false),
    }
}

/// Whether a sentence ends there if `next` is what follows.
fn ends_sentence(before: &str, next: char) -> bool {
    if next.is_lowercase() {
        return false;
    }
    let before = before.trim_end_matches(is_closing);
    match before.chars().next_back() {
        Some('!' | '?' | '…' | '。' | '！' | '？' | '．' | '؟' | '۔' | '।' | '॥' | '։' | '።' | '។' | '။') => {
            true
        }
        Some('.') => {
            // A number or an abbreviation alone is none, nor is the end of one.
            let before = before[..before.len() - 1].trim_end();
            let word = before.rsplit(|c: char| c.is_whitespace() || is_closing(c) || c == '(').next();
            word.is_none_or(|word| word.len() < before.len() && !is_abbreviation(word))
        }
        _ => false,
    }
}

/// Whether a full stop after this word is likely to be a part of it.
fn is_abbreviation(word: &str) -> bool {
    let first = word.chars().next().unwrap_or('x');
    match word.chars().take(4).count() {
        1 => true,
        2 if first.is_ascii_digit() => true,
        2 | 3 if first.is_uppercase() => true,
        _ => word.contains('.') || matches!(word, "vs" | "cf" | "al" | "Prof" | "Corp"),
    }
}

/// Whether it can stand between the end of a sentence and the blank after it.
fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '*' | '_' | '”' | '’' | '»' | '」' | '』' | '）' | '】' | '》')
}
