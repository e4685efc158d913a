//! Tiktoken's pattern, by hand:
//!
//! ```text
//! '(?i:[sdmt]|ll|ve|re)
//! |[^\r\n\p{L}\p{N}]?+\p{L}++
//! |\p{N}{1,3}+
//! | ?[^\s\p{L}\p{N}]++[\r\n]*+
//! |\s++$
//! |\s*[\r\n]
//! |\s+(?!\S)
//! |\s
//! ```
//!
//! The first alternative that matches wins, and at every character one does. Which one, the classes of two
//! characters tell, except among blanks; so no character is looked at more than a few times.

use tables::{BLANK, LETTER, NUMBER, OTHER};

// What is included is written by tables/cl100k.rs, one table a line.
#[allow(clippy::unreadable_literal)]
mod tables {
    include!(concat!(env!("OUT_DIR"), "/cl100k_classes.rs"));

    pub(super) fn of_ascii(byte: u8) -> u8 {
        // Page 0 stands first and holds all of ASCII.
        PAGES[usize::from(byte)]
    }

    pub(super) fn of(c: char) -> u8 {
        let c = c as usize;
        PAGES[usize::from(INDEX[c / PAGE]) * PAGE + c % PAGE]
    }
}

/// Where the piece ends that begins at `start`, which is inside the text.
pub(super) fn end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let Some((first, len)) = class(text, start) else { return start };
    let second = start + len;
    match first {
        LETTER => run(text, second, LETTER),
        NUMBER => {
            let third = second + len_of(text, second, NUMBER);
            if third > second { third + len_of(text, third, NUMBER) } else { second }
        }
        OTHER => {
            let contraction = if bytes[start] == b'\'' { contraction(&bytes[second..]) } else { 0 };
            if contraction > 0 {
                return second + contraction;
            }
            match len_of(text, second, LETTER) {
                0 => newlines(bytes, run(text, second, OTHER)),
                len => run(text, second + len, LETTER),
            }
        }
        _ => match class(text, second) {
            Some((LETTER, len)) if !is_newline(bytes[start]) => run(text, second + len, LETTER),
            Some((OTHER, len)) if bytes[start] == b' ' => newlines(bytes, run(text, second + len, OTHER)),
            _ => blanks(text, start),
        },
    }
}

/// Where a piece ends that begins with blanks and is nothing but blanks.
fn blanks(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut end, mut last, mut line) = (start, start, None);
    while let Some((BLANK, len)) = class(text, end) {
        last = end;
        end += len;
        if is_newline(bytes[last]) {
            line = Some(end);
        }
    }
    match line {
        _ if end == text.len() => end,
        Some(line) => line,
        // The last blank is left to what follows.
        None if last > start => last,
        None => end,
    }
}

/// The length of what makes `'` a contraction: (?i:[sdmt]|ll|ve|re), 0 if nothing does.
fn contraction(after: &[u8]) -> usize {
    match after {
        [b's' | b'S' | b'd' | b'D' | b'm' | b'M' | b't' | b'T', ..] => 1,
        // The last is U+017F, the long s: an `s` where case does not matter.
        [b'l' | b'L', b'l' | b'L', ..] | [b'v' | b'V' | b'r' | b'R', b'e' | b'E', ..] | [0xC5, 0xBF, ..] => 2,
        _ => 0,
    }
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

fn newlines(bytes: &[u8], start: usize) -> usize {
    start + bytes[start..].iter().take_while(|&&byte| is_newline(byte)).count()
}

/// Where the run of characters of one class ends.
fn run(text: &str, start: usize, wanted: u8) -> usize {
    let mut end = start;
    loop {
        match len_of(text, end, wanted) {
            0 => return end,
            len => end += len,
        }
    }
}

/// The length of the character at a position if it is of this class, else 0.
#[inline]
fn len_of(text: &str, at: usize, wanted: u8) -> usize {
    class(text, at).map_or(0, |(class, len)| if class == wanted { len } else { 0 })
}

/// Class and length of the character at a position, if the text does not end there.
#[inline]
fn class(text: &str, at: usize) -> Option<(u8, usize)> {
    let byte = *text.as_bytes().get(at)?;
    if byte.is_ascii() {
        return Some((tables::of_ascii(byte), 1));
    }
    let c = text[at..].chars().next()?;
    Some((tables::of(c), c.len_utf8()))
}
