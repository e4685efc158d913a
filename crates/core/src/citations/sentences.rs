//! Sentences of sources and answers.

/// Longer sentences end at the next line end: tables, lists of numbers, code.
const LONG: usize = 400;

/// Whether it can stand between the end of a sentence and the blank after it.
fn is_closing(c: char) -> bool {
    matches!(c, '"' | '\'' | ')' | ']' | '*' | '_' | '”' | '’' | '»' | '」' | '』' | '）' | '】' | '》')
}

/// Signs that end a sentence wherever they stand.
fn always_ends(c: char) -> bool {
    matches!(c, '。' | '！' | '？' | '．' | '؟' | '۔' | '।' | '॥' | '։' | '።' | '။' | '។')
}

/// Where the sentence that begins a text ends, with the signs that close it; `None` if it has no end in sight.
///
/// A sentence ends after `.`, `!`, `?` or `…` with a blank behind, unless a small letter or a lone initial says
/// otherwise; after the signs of scripts without blanks; at an empty line; before and after a heading, a list item, a row; and,
/// in an answer, at every line end (`lines`).
pub(super) fn end(text: &str, lines: bool) -> Option<usize> {
    let mut letters = text.char_indices().peekable();
    while let Some((at, c)) = letters.next() {
        let mut stop = at + c.len_utf8();
        if c == '\n' {
            let line = text[..at].rsplit('\n').next().unwrap_or_default();
            if at > 0 && (lines || at > LONG || ends_block(line, &text[stop..])) {
                return Some(at);
            }
            continue;
        }
        if !matches!(c, '.' | '!' | '?' | '…') && !always_ends(c) {
            continue;
        }
        while let Some((at, c)) =
            letters.next_if(|(_, c)| is_closing(*c) || matches!(c, '.' | '!' | '?' | '…') || always_ends(*c))
        {
            stop = at + c.len_utf8();
        }
        let after = &text[stop..];
        let next = after.trim_start().chars().next();
        let is_over = always_ends(c)
            || after.starts_with(char::is_whitespace)
                && !next.is_some_and(char::is_lowercase)
                && (c != '.' || !is_abbreviation(&text[..at]));
        if is_over {
            return Some(stop);
        }
    }
    None
}

/// Whether a line and the one after do not belong together.
fn ends_block(line: &str, after: &str) -> bool {
    let is_block = |line: &str| {
        let line = line.trim_start();
        let numbered = line.trim_start_matches(|c: char| c.is_ascii_digit());
        line.is_empty()
            || line.starts_with(['#', '|', '>'])
            || ["- ", "* ", "+ ", "```", "~~~"].iter().any(|mark| line.starts_with(mark))
            || numbered.len() < line.len() && (numbered.starts_with(". ") || numbered.starts_with(") "))
    };
    let heading = |line: &str| line.trim_start().starts_with(['#', '|']);
    heading(line) || is_block(after.split('\n').next().unwrap_or_default())
}

/// Whether a full stop after this belongs to its last word.
fn is_abbreviation(before: &str) -> bool {
    let word = before.rsplit(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    let mut letters = word.chars();
    match (letters.next(), letters.next()) {
        // An initial; a number at the beginning of a line.
        (Some(c), None) => c.is_uppercase() || c.is_ascii_digit() && word.len() == before.trim_start().len(),
        _ => {
            word.contains('.')
                || matches!(
                    word,
                    "Dr" | "Mr" | "Mrs" | "Ms" | "Prof" | "St" | "vs" | "No" | "Nr" | "Fig" | "etc"
                )
        }
    }
}

/// The sentences of a text by their bytes, without the blanks around them.
pub(super) fn spans(text: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let rest = &text[start..];
        let length = end(rest, false).unwrap_or(rest.len());
        let sentence = &rest[..length];
        let blanks = sentence.len() - sentence.trim_start().len();
        if !sentence.trim().is_empty() {
            spans.push((start + blanks, start + blanks + sentence.trim().len()));
        }
        start += length.max(1);
        // The line end that ended it.
        while !text.is_char_boundary(start) {
            start += 1;
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<&str> {
        spans(text).into_iter().map(|(start, end)| &text[start..end]).collect()
    }

    #[test]
    fn sentences_end_where_they_do() {
        assert_eq!(
            sentences(
                "# Lamp\nThe lamp, by J. Smith, burns\noil. It is 3.5 m high (approx.) or so. \"Why?\" he said.\n\n- one\n- two"
            ),
            [
                "# Lamp",
                "The lamp, by J. Smith, burns\noil.",
                "It is 3.5 m high (approx.) or so.",
                "\"Why?\" he said.",
                "- one",
                "- two"
            ]
        );
        assert_eq!(
            sentences("灯塔很高。它建于1850年！「真的？」是。"),
            ["灯塔很高。", "它建于1850年！", "「真的？」", "是。"]
        );
        assert_eq!(sentences("  \n\n "), Vec::<&str>::new());
        assert_eq!(sentences("\nOne line."), ["One line."]);
    }
}
