//! Where Markdown has code, told while the text streams.
//!
//! The rules are `CommonMark`'s, but for what cannot be known in time. A fence is code to its end, or to the end of the text.
//! A run of backticks opens a span only if a run as long follows in the same paragraph and within [`SPAN`] bytes; so a span is
//! held back until it is closed, and an opening that is never closed is plain text. Indented blocks are plain text.

/// How far from its opening a span's closing run may begin, in bytes.
const SPAN: usize = 512;
/// How much may stand before a fence in its line: blanks, quote marks, the marks of lists.
const PREFIX: usize = 64;
/// The longest info string of a fence.
const INFO: usize = 256;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// So many bytes that are no code, at least one. They end at the latest with a line.
    Text(usize),
    /// So many bytes of code with the marks around it, at least one: a whole span, or a line of a fence or a part of it.
    Code(usize),
    /// More text is needed to tell.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fence {
    mark: u8,
    length: usize,
}

/// Whether a line is one that opens or closes a fence.
enum Line {
    /// It is, and ends after so many bytes.
    Fence(Fence, usize),
    No,
    More,
}

/// Follows a text.
#[derive(Clone, Debug)]
pub(crate) struct Markdown {
    line_start: bool,
    fence: Option<Fence>,
    /// A list has begun somewhere above: fences may stand deeper.
    list: bool,
}

impl Default for Markdown {
    fn default() -> Self {
        Self { line_start: true, fence: None, list: false }
    }
}

impl Markdown {
    /// What `rest` begins with; nothing follows it if it is the `last` of the text.
    pub(crate) fn next(&self, rest: &str, last: bool) -> Next {
        if rest.is_empty() {
            return Next::More;
        }
        let line = || rest.find('\n').map_or(rest.len(), |end| end + 1);
        if let Some(fence) = self.fence {
            return match if self.line_start { closing(rest, fence, last) } else { Line::No } {
                Line::Fence(_, end) => Next::Code(end),
                Line::No => Next::Code(line()),
                Line::More => Next::More,
            };
        }
        if self.line_start {
            match opening(rest, self.list, last) {
                Line::Fence(_, end) => return Next::Code(end),
                Line::More => return Next::More,
                Line::No => {}
            }
        }
        match rest.find(['`', '\\', '\n']) {
            None => Next::Text(rest.len()),
            Some(0) if rest.starts_with('`') => self.span(rest, last),
            Some(0) if rest.starts_with('\\') => match rest[1..].chars().next() {
                // An escaped backtick opens nothing.
                Some(c) if c.is_ascii_punctuation() => Next::Text(2),
                None if !last => Next::More,
                _ => Next::Text(1),
            },
            Some(at) if rest[at..].starts_with('\n') => Next::Text(at + 1),
            Some(at) => Next::Text(at),
        }
    }

    /// Goes on behind `taken`, which is what [`next`](Self::next) told of, or the beginning of it if it is text.
    pub(crate) fn consume(&mut self, taken: &str, code: bool) {
        if taken.is_empty() {
            return;
        }
        if self.line_start {
            match self.fence {
                Some(fence) if code => {
                    if let Line::Fence(..) = closing(taken, fence, true) {
                        self.fence = None;
                    }
                }
                None if code => {
                    if let Line::Fence(fence, _) = opening(taken, self.list, true) {
                        self.fence = Some(fence);
                    }
                }
                _ => {}
            }
            self.list |= self.fence.is_none() && !prefix(taken).1;
        }
        self.line_start = taken.ends_with('\n');
    }

    /// Whether `code`, which [`next`](Self::next) has told of, belongs to a fence.
    pub(crate) fn in_fence(&self, code: &str) -> bool {
        self.fence.is_some() || self.line_start && matches!(opening(code, self.list, true), Line::Fence(..))
    }

    fn span(&self, rest: &str, last: bool) -> Next {
        let bytes = rest.as_bytes();
        let run = |from: usize| bytes[from..].iter().take_while(|byte| **byte == b'`').count();
        let length = run(0);
        if length == rest.len() && !last {
            return if length > SPAN { Next::Text(length) } else { Next::More };
        }
        let mut at = length;
        while let Some(offset) = bytes[at..].iter().position(|byte| matches!(byte, b'`' | b'\n')) {
            at += offset;
            if at > SPAN {
                return Next::Text(length);
            }
            if bytes[at] == b'`' {
                let end = at + run(at);
                if end == rest.len() && !last {
                    return Next::More;
                }
                if end - at == length {
                    return Next::Code(end);
                }
                at = end;
                continue;
            }
            at += 1;
            let line = &rest[at..];
            let blank = line.trim_start_matches([' ', '\t', '\r']);
            if blank.starts_with('\n') {
                return Next::Text(length);
            }
            if blank.is_empty() && !last {
                return if rest.len() > SPAN + PREFIX { Next::Text(length) } else { Next::More };
            }
            match opening(line, self.list, last) {
                Line::Fence(..) => return Next::Text(length),
                Line::More => return Next::More,
                Line::No => {}
            }
        }
        if last || rest.len() > SPAN { Next::Text(length) } else { Next::More }
    }
}

/// How long the blanks, quote marks and marks of lists are that a line begins with, and whether no list is among them.
fn prefix(line: &str) -> (usize, bool) {
    let bytes = line.as_bytes();
    let (mut at, mut plain) = (0, true);
    loop {
        let digits = bytes[at..].iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
        let mark = at + digits;
        let is_blank = |at: usize| matches!(bytes.get(at), Some(b' ' | b'\t'));
        match bytes.get(at) {
            Some(b' ' | b'\t' | b'>') => at += 1,
            Some(b'-' | b'*' | b'+') if is_blank(at + 1) => (at, plain) = (at + 2, false),
            Some(b'0'..=b'9') if matches!(bytes.get(mark), Some(b'.' | b')')) && is_blank(mark + 1) => {
                (at, plain) = (mark + 2, false);
            }
            _ => return (at, plain),
        }
    }
}

fn opening(line: &str, list: bool, last: bool) -> Line {
    let (start, plain) = prefix(line);
    let bytes = line.as_bytes();
    let indented = bytes[..start].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if start > PREFIX {
        return Line::No;
    }
    let rest = &line[start..];
    // What may still become the mark of a list.
    let may_go_on = rest.len() <= 10
        && (rest.is_empty()
            || matches!(rest, "-" | "*" | "+")
            || rest.trim_start_matches(|c: char| c.is_ascii_digit()).len() <= 1
                && rest.starts_with(|c: char| c.is_ascii_digit())
                && rest
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .trim_start_matches(['.', ')'])
                    .is_empty());
    if may_go_on {
        return if last { Line::No } else { Line::More };
    }
    if plain && !list && indented > 3 {
        return Line::No;
    }
    let mark = rest.as_bytes()[0];
    if !matches!(mark, b'`' | b'~') {
        return Line::No;
    }
    let length = rest.bytes().take_while(|byte| *byte == mark).count();
    if length == rest.len() && !last {
        return if length > PREFIX { Line::No } else { Line::More };
    }
    if !(3..=PREFIX).contains(&length) {
        return Line::No;
    }
    let info = &rest[length..];
    let end = info.find('\n');
    let info_end = end.unwrap_or(info.len());
    if info_end > INFO || mark == b'`' && info[..info_end].contains('`') {
        return Line::No;
    }
    match end {
        Some(end) => Line::Fence(Fence { mark, length }, start + length + end + 1),
        None if last => Line::Fence(Fence { mark, length }, line.len()),
        None => Line::More,
    }
}

fn closing(line: &str, fence: Fence, last: bool) -> Line {
    let rest = line.trim_start_matches([' ', '\t', '>']);
    let start = line.len() - rest.len();
    if start > PREFIX {
        return Line::No;
    }
    let length = rest.bytes().take_while(|byte| *byte == fence.mark).count();
    let after = &rest[length..];
    if after.is_empty() && !last {
        return if length > PREFIX { Line::No } else { Line::More };
    }
    if length < fence.length || length > PREFIX {
        return Line::No;
    }
    let blanks = after.len() - after.trim_start_matches([' ', '\t', '\r']).len();
    match after.as_bytes().get(blanks) {
        _ if blanks > PREFIX => Line::No,
        Some(b'\n') => Line::Fence(fence, start + length + blanks + 1),
        None if last => Line::Fence(fence, line.len()),
        None => Line::More,
        Some(_) => Line::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with its code in angle brackets.
    fn shown(text: &str) -> String {
        let (mut markdown, mut rest, mut shown) = (Markdown::default(), text, String::new());
        let mut was_code = false;
        while !rest.is_empty() {
            let (length, code) = match markdown.next(rest, true) {
                Next::Text(length) => (length, false),
                Next::Code(length) => (length, true),
                Next::More => panic!("{rest:?}"),
            };
            if code != was_code {
                shown.push(if code { '‹' } else { '›' });
            }
            was_code = code;
            shown.push_str(&rest[..length]);
            markdown.consume(&rest[..length], code);
            rest = &rest[length..];
        }
        shown
    }

    #[test]
    fn spans_and_fences() {
        for (text, expected) in [
            ("a `b` c", "a ‹`b`› c"),
            ("a ``b ` c`` d", "a ‹``b ` c``› d"),
            ("a `b c", "a `b c"),
            ("a `b\n\nc` d", "a `b\n\nc` d"),
            ("a \\`b` c", "a \\`b` c"),
            ("a `b\\` c", "a ‹`b\\`› c"),
            ("```rust\na[0]\n```\nb", "‹```rust\na[0]\n```\n›b"),
            ("~~~\n```\n~~~\nb", "‹~~~\n```\n~~~\n›b"),
            ("```\nopen", "‹```\nopen"),
            ("a ```\nb", "a ```\nb"),
            ("- x\n  - y\n    ```\n    z\n    ```\nb", "- x\n  - y\n‹    ```\n    z\n    ```\n›b"),
            ("    ```\nb", "    ```\nb"),
            ("`a\n```\nb\n```\nc`", "`a\n‹```\nb\n```\n›c`"),
            ("> ```\n> a\n> ```\nb", "‹> ```\n> a\n> ```\n›b"),
        ] {
            assert_eq!(shown(text), expected);
        }
        let far = format!("`{}`", "x".repeat(SPAN));
        assert_eq!(shown(&far), far, "too far");
    }
}
