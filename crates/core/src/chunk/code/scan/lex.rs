//! Characters of code: what is a comment, what a string, where brackets open.

use crate::chunk::code::language::{Kind, Quirk};
use crate::chunk::code::scan::{Border, Class, Found, Inside, LINE, MAX_HEAD, Quality, Scanner};

impl Scanner {
    /// Reads on up to `end`, and some bytes more if these belong together.
    pub(in crate::chunk::code) fn read(&mut self, text: &str, end: usize, found: &mut Found) {
        let bytes = text.as_bytes();
        while self.at < end {
            let at = self.at;
            let byte = bytes[at];
            if byte == b'\n' || byte == b'\r' && bytes.get(at + 1) != Some(&b'\n') {
                self.end_line(text, found);
                self.at += 1;
                self.line = self.at.cast_signed();
                continue;
            }
            if !self.begun {
                if byte.is_ascii_whitespace() {
                    self.indentation += match byte {
                        b' ' => 1,
                        b'\t' => 4,
                        _ => 0,
                    };
                    self.at += 1;
                    continue;
                }
                self.begun = true;
                self.begin_line(text, found);
            }
            match &self.inside {
                Inside::Code => self.read_code(text, end, found),
                Inside::LineComment | Inside::Directive | Inside::Heredoc(_) => {
                    self.at += 1;
                    self.skip(text, end, |byte| matches!(byte, b'\n' | b'\r'));
                }
                Inside::Comment(which, depth) => {
                    let (which, depth) = (*which, *depth);
                    self.read_comment(text, end, which, depth);
                }
                Inside::String(which) => {
                    let which = *which;
                    self.read_string(text, end, which);
                }
                Inside::Raw(close) => {
                    if text[at..].starts_with(close.as_str()) {
                        self.at += close.len();
                        self.inside = Inside::Code;
                    } else {
                        let first = close.as_bytes()[0];
                        self.at += 1;
                        self.skip(text, end, |byte| byte == first || matches!(byte, b'\n' | b'\r'));
                    }
                }
                Inside::Template => match byte {
                    b'`' => self.leave(1),
                    b'\\' => self.at += escaped(&bytes[at..]),
                    b'$' if bytes.get(at + 1) == Some(&b'{') => {
                        self.leave(2);
                        self.push('$', Kind::Value, None);
                    }
                    _ => {
                        self.at += 1;
                        self.skip(text, end, |byte| matches!(byte, b'`' | b'\\' | b'$' | b'\n' | b'\r'));
                    }
                },
            }
        }
    }

    /// Goes on up to a byte that is wanted.
    fn skip(&mut self, text: &str, end: usize, wanted: impl Fn(u8) -> bool) {
        let Some(rest) = text.as_bytes().get(self.at..end) else { return };
        self.at += rest.iter().position(|byte| wanted(*byte)).unwrap_or(rest.len());
    }

    fn leave(&mut self, len: usize) {
        self.at += len;
        self.inside = Inside::Code;
        self.last = '"';
    }

    fn read_comment(&mut self, text: &str, end: usize, which: usize, depth: usize) {
        let (open, close) = self.spec().block[which];
        let rest = &text[self.at..];
        if rest.starts_with(close) {
            self.at += close.len();
            self.inside = if depth > 1 { Inside::Comment(which, depth - 1) } else { Inside::Code };
        } else if self.spec().nested && rest.starts_with(open) {
            self.at += open.len();
            self.inside = Inside::Comment(which, depth + 1);
        } else {
            let (first, second) = (close.as_bytes()[0], open.as_bytes()[0]);
            self.at += 1;
            self.skip(text, end, |byte| byte == first || byte == second || matches!(byte, b'\n' | b'\r'));
        }
    }

    fn read_string(&mut self, text: &str, end: usize, which: usize) {
        let quote = self.spec().quotes[which];
        let rest = &text[self.at..];
        if quote.escapes && rest.starts_with('\\') {
            self.at += escaped(rest.as_bytes());
        } else if rest.starts_with(quote.close) {
            self.leave(quote.close.len());
        } else {
            let first = quote.close.as_bytes()[0];
            self.at += 1;
            self.skip(text, end, |byte| byte == first || matches!(byte, b'\\' | b'\n' | b'\r'));
        }
    }

    fn end_line(&mut self, text: &str, found: &mut Found) {
        let continued = text[..self.at].ends_with('\\');
        if self.inside == Inside::Code && !self.head.text.is_empty() {
            self.keep_on('\n');
        }
        match &self.inside {
            Inside::LineComment => self.inside = Inside::Code,
            Inside::Directive if !continued => self.inside = Inside::Code,
            Inside::String(which) if !self.spec().quotes[*which].lines && !continued => {
                self.inside = Inside::Code;
            }
            Inside::Heredoc(tag) => {
                let line = usize::try_from(self.line).map_or("", |line| text[line..self.at].trim());
                if line.strip_suffix(';').unwrap_or(line) == tag {
                    self.inside = Inside::Code;
                }
            }
            _ => {}
        }
        if let Some(tag) = self.heredoc.take() {
            self.inside = Inside::Heredoc(tag);
        }
        if std::mem::take(&mut self.is_head) {
            self.complete_line(found);
        }
        self.blank = !self.begun;
        self.begun = false;
        self.indentation = 0;
    }

    /// Reads some code: a run of plain characters, or one that means something.
    fn read_code(&mut self, text: &str, end: usize, found: &mut Found) {
        let bytes = text.as_bytes();
        let start = self.at;
        self.skip(text, end, |byte| SPECIAL[usize::from(byte)]);
        if self.at > start {
            self.take(&text[start..self.at]);
            return;
        }
        if self.enters(text) {
            return;
        }
        let byte = bytes[self.at];
        self.at += 1;
        if self.is_by_indentation() {
            if !byte.is_ascii_whitespace() {
                self.last = char::from(byte);
            }
            if !self.spec().has(Quirk::LooseBrackets) {
                match byte {
                    b'(' | b'[' | b'{' => self.open += 1,
                    b')' | b']' | b'}' => self.open = self.open.saturating_sub(1),
                    _ => {}
                }
            }
            self.keep(char::from(byte));
            return;
        }
        match byte {
            b'{' if self.in_annotation() => {
                self.keep('{');
                self.push('{', Kind::Value, None);
            }
            b'{' => self.open_brace(found),
            b'(' | b'[' => {
                self.keep(char::from(byte));
                self.push(char::from(byte), Kind::Value, None);
            }
            b'}' => {
                self.close('}');
                if self.in_annotation() {
                    self.keep('}');
                } else {
                    self.head.text.clear();
                }
            }
            b')' | b']' => {
                self.close(char::from(byte));
                self.keep(char::from(byte));
            }
            b';' if !self.in_parentheses() => self.end_statement(found),
            _ => self.keep(char::from(byte)),
        }
        if !byte.is_ascii_whitespace() {
            self.last = char::from(byte);
        }
        if self.long && matches!(byte, b';' | b'}' | b',') {
            self.soft_border(text, byte, found);
        }
    }

    /// In a long line: a border after what ends a statement.
    fn soft_border(&mut self, text: &str, byte: u8, found: &mut Found) {
        let blanks = text.as_bytes()[self.at..].iter().take(LINE).take_while(|byte| **byte == b' ').count();
        let at = self.at + blanks;
        let next = text.as_bytes().get(at);
        if next.is_none_or(|next| next.is_ascii_whitespace() || b";,)]}".contains(next)) {
            return;
        }
        found.borders.push(Border {
            at,
            class: if byte == b',' { Class::Bound } else { Class::Free },
            depth: self.depth(),
            indentation: self.indentation,
            quality: Quality::Tight,
            item: None,
        });
    }

    /// Adds plain code to the head.
    fn take(&mut self, code: &str) {
        let Some(last) = code.trim_end().chars().next_back() else {
            if !self.head.text.is_empty() {
                self.keep(' ');
            }
            return;
        };
        self.last = last;
        if self.head.text.is_empty() {
            let blanks = code.len() - code.trim_start().len();
            let at = self.at - code.len() + blanks;
            if self.head.start != at.cast_signed() {
                self.begin_head(at, false);
            }
            self.fill(&code[blanks..]);
        } else {
            self.fill(code);
        }
    }

    fn fill(&mut self, code: &str) {
        let room = MAX_HEAD.saturating_sub(self.head.text.len());
        self.head.text.push_str(&code[..code.floor_char_boundary(room)]);
    }

    fn keep(&mut self, c: char) {
        if self.head.text.len() < MAX_HEAD {
            if self.head.text.is_empty() && self.head.start != self.at.cast_signed() - 1 {
                self.begin_head(self.at - 1, false);
            }
            self.head.text.push(c);
        }
    }

    /// Whether a comment or a string begins here.
    fn enters(&mut self, text: &str) -> bool {
        let (at, spec) = (self.at, self.spec());
        let rest = &text[at..];
        let before = &text.as_bytes()[..at];
        let before = |back: usize| before.len().checked_sub(back).map_or(b'\n', |at| before[at]);
        let starts_line = before(1).is_ascii_whitespace();
        for (which, (open, _)) in spec.block.iter().enumerate() {
            if rest.starts_with(open) && (!open.starts_with('=') || matches!(before(1), b'\n')) {
                self.inside = Inside::Comment(which, 1);
                self.at += open.len();
                return true;
            }
        }
        let spaced = !spec.has(Quirk::SpacedComments) || starts_line;
        if spaced && spec.line.iter().any(|mark| rest.starts_with(mark)) {
            self.inside = Inside::LineComment;
            return true;
        }
        if spec.has(Quirk::Templates) {
            if rest.starts_with('`') {
                self.enter(Inside::Template, 1);
                return true;
            }
            if rest.starts_with('/')
                && let Some(len) = self.regex(rest)
            {
                self.enter(Inside::Code, len);
                return true;
            }
        }
        if spec.has(Quirk::Heredoc) && rest.starts_with("<<") && self.heredoc.is_none() {
            self.heredoc = heredoc(rest);
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if rest.starts_with('\'') {
            if spec.has(Quirk::RustStrings) || !spec.quotes.iter().any(|quote| quote.open.starts_with('\'')) {
                // A character, else a lifetime or a prime.
                match character(rest) {
                    Some(len) => self.enter(Inside::Code, len),
                    None => self.keep_byte(b'\''),
                }
                return true;
            }
            // An apostrophe in text among the code, or in a number; but `b'…'` is a string.
            let prefix = |byte: u8| b"fFrRbBuULeEnN8".contains(&byte);
            let is_prefix =
                prefix(before(1)) && (!is_word(before(2)) || prefix(before(2)) && !is_word(before(3)));
            if is_word(before(1)) && !is_prefix {
                self.keep_byte(b'\'');
                return true;
            }
        }
        if rest.starts_with('"') {
            let hashes = (1..=16).take_while(|back| before(*back) == b'#').count();
            if spec.has(Quirk::RustStrings) && before(hashes + 1) == b'r' {
                self.enter(Inside::Raw(format!("\"{}", "#".repeat(hashes))), 1);
                return true;
            }
            if spec.has(Quirk::CppStrings)
                && before(1) == b'R'
                && let Some(open) = rest.bytes().take(18).position(|byte| byte == b'(')
            {
                self.enter(Inside::Raw(format!("){}\"", &rest[1..open])), open + 1);
                return true;
            }
        }
        if let Some(which) = spec.quotes.iter().position(|quote| rest.starts_with(quote.open)) {
            self.enter(Inside::String(which), spec.quotes[which].open.len());
            return true;
        }
        false
    }

    /// Goes into a string, which the head has as an empty one.
    fn enter(&mut self, inside: Inside, len: usize) {
        self.at += 1;
        self.keep('"');
        if inside != Inside::Code {
            self.keep_on('"');
        }
        self.at += len - 1;
        self.inside = inside;
        self.last = '"';
    }

    fn keep_on(&mut self, c: char) {
        if self.head.text.len() < MAX_HEAD {
            self.head.text.push(c);
        }
    }

    fn keep_byte(&mut self, byte: u8) {
        self.at += 1;
        self.keep(char::from(byte));
    }

    /// The length of the regular expression that begins here, if one does and not a division.
    fn regex(&self, rest: &str) -> Option<usize> {
        let after_word =
            ["return", "typeof", "case"].iter().any(|word| self.head.text.trim_end().ends_with(word));
        if !after_word && !"(,=:[!&|?{};+-*%<>~^\n".contains(self.last) {
            return None;
        }
        let mut in_class = false;
        let mut bytes = rest.bytes().enumerate().skip(1).take(LINE);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'\\' => {
                    bytes.next();
                }
                b'\n' | b'\r' => return None,
                b'[' => in_class = true,
                b']' => in_class = false,
                b'/' if !in_class => return (at > 1).then_some(at + 1),
                _ => {}
            }
        }
        None
    }
}

/// The tag of a heredoc that begins here.
fn heredoc(rest: &str) -> Option<String> {
    let tag = rest[2..].strip_prefix('<').unwrap_or(&rest[2..]).trim_start_matches(['-', '~']);
    let tag = tag.trim_start_matches(' ');
    let unquoted = tag.trim_start_matches(['"', '\'']);
    let end = unquoted.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    let tag = &unquoted[..end];
    let is_tag = tag.len() <= 64 && tag.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
    is_tag.then(|| tag.to_owned())
}

/// The length of the character literal that begins here.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    if chars.next()?.1 == '\\' {
        chars.next();
        return chars.take(10).find(|(_, c)| *c == '\'').map(|(at, _)| at + 1);
    }
    chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
}

/// The length of a backslash and the character after it, without a line end: that is to be seen.
fn escaped(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        None | Some(b'\n' | b'\r') => 1,
        Some(0xf0..) => 5,
        Some(0xe0..) => 4,
        Some(0xc0..) => 3,
        _ => 2,
    }
}

/// Bytes of code that may mean something to any language.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let bytes = b"\n\r\"'`/#-%;,(){}[]<=*@\\";
    let mut at = 0;
    while at < bytes.len() {
        special[bytes[at] as usize] = true;
        at += 1;
    }
    special
};
