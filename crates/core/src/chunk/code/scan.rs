//! Reading source code: where its lines begin, how deep they lie, and what they are in.
//!
//! No grammar is followed. Comments and strings are skipped; brackets tell depth, or indentation where that is how the
//! language is written. What brackets say is held against indentation, so that one that was misread does not
//! change what comes after it for long. Whatever the text, every line is found.

use serde::{Deserialize, Serialize};

use crate::chunk::code::language::{Kind, Language, Layout, Quirk, Spec};
use crate::chunk::code::symbol;

/// Frames kept; deeper brackets are only counted.
const MAX_FRAMES: usize = 48;
/// Bytes of a statement that are looked at for what it introduces.
const MAX_HEAD: usize = 1024;
/// How far an item can be from where the comments before it begin, and where its body does. What is decided about a line is
/// decided when twice that has been read behind it.
pub(super) const REACH: usize = 4096;
/// How much of a line is looked at when it begins.
const LINE: usize = 256;
/// In longer lines, statements are told apart as lines are in others.
const LONG_LINE: usize = 200;

/// A place where code can be cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Border {
    pub(super) at: usize,
    pub(super) class: Class,
    /// How many brackets or blocks are open.
    pub(super) depth: usize,
    pub(super) indentation: usize,
    pub(super) quality: Quality,
    /// The item that begins there, or further on after comments: its number among [`Found::names`].
    pub(super) item: Option<usize>,
}

/// How good a place it is whatever the depth, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Between statements.
    Free,
    /// In a statement, or between what belongs together.
    Bound,
    /// In a comment or in a string.
    Inside,
}

/// How good a place it is among those of its depth, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Quality {
    Item,
    AfterBlank,
    Tight,
}

/// What a scan has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In order.
    pub(super) borders: Vec<Border>,
    pub(super) names: Vec<String>,
}

/// An open bracket, or a line that indented ones may follow.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Frame {
    /// `{`, `(`, `[`; `$` for `${` in a template, a blank for a line.
    bracket: char,
    /// How far its line is indented.
    indentation: usize,
    /// No line has followed.
    first: bool,
    /// What is in it is not indented.
    flat: bool,
    kind: Kind,
    symbol: Option<String>,
}

/// What the next character is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Inside {
    Code,
    LineComment,
    Directive,
    /// How many of its kind are open.
    Comment(usize, usize),
    String(usize),
    Raw(String),
    Template,
    Heredoc(String),
}

/// The statement being read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Head {
    text: String,
    start: usize,
    /// Where the comments before it begin, or it does.
    from: usize,
    indentation: usize,
    /// Nothing comes before it in its line.
    begins_line: bool,
}

/// Reads code from anywhere on. What it knows between two characters is some KiB.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Scanner {
    language: Language,
    /// The next byte to read.
    pub(super) at: usize,
    inside: Inside,
    frames: Vec<Frame>,
    /// Brackets beyond the last frame.
    deep: usize,
    /// Open brackets where indentation tells the structure.
    open: usize,
    head: Head,
    /// The last character of code that is no blank.
    last: char,
    /// Where the line begins.
    line: usize,
    indentation: usize,
    /// The line has something else than blanks.
    begun: bool,
    /// Its head is not complete before its end.
    is_head: bool,
    /// There is a blank line before.
    blank: bool,
    /// Where the comments and annotations right before begin.
    lead: Option<usize>,
    heredoc: Option<String>,
    /// Open `#if`s: how many frames there were.
    conditions: Vec<usize>,
    /// The item that ended with the last line of its indentation: what follows may be another clause of it.
    ended: Option<String>,
}

impl Scanner {
    pub(super) fn new(language: Language) -> Self {
        Self {
            language,
            at: 0,
            inside: Inside::Code,
            frames: Vec::new(),
            deep: 0,
            open: 0,
            head: Head::default(),
            last: '\n',
            line: 0,
            indentation: 0,
            begun: false,
            is_head: false,
            blank: true,
            lead: None,
            heredoc: None,
            conditions: Vec::new(),
            ended: None,
        }
    }

    /// Lets all offsets be counted from `start` on.
    pub(super) fn rebase(&mut self, start: usize) {
        for offset in [&mut self.at, &mut self.line, &mut self.head.start, &mut self.head.from] {
            *offset = offset.saturating_sub(start);
        }
        self.lead = self.lead.map(|lead| lead.saturating_sub(start));
    }

    /// The items around a place `depth` deep that comes next, outermost first.
    pub(super) fn path(&self, depth: usize) -> impl Iterator<Item = &str> {
        self.frames.iter().take(depth).filter_map(|frame| frame.symbol.as_deref())
    }

    fn spec(&self) -> &'static Spec {
        self.language.spec()
    }

    fn is_by_indentation(&self) -> bool {
        self.spec().layout == Layout::Indentation
    }

    fn depth(&self) -> usize {
        self.frames.len() + self.deep + self.open
    }

    fn line_at<'t>(&self, text: &'t str, at: usize) -> &'t str {
        let rest = &text[at..text.floor_char_boundary((at + LINE).min(text.len()))];
        rest.split(['\n', '\r']).next().unwrap_or_default()
    }

    /// Reads on up to `end`, and some bytes more if these belong together.
    pub(super) fn read(&mut self, text: &str, end: usize, found: &mut Found) {
        let bytes = text.as_bytes();
        while self.at < end {
            let at = self.at;
            let byte = bytes[at];
            if byte == b'\n' || byte == b'\r' && bytes.get(at + 1) != Some(&b'\n') {
                self.end_line(text, found);
                self.at += 1;
                self.line = self.at;
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
        match &self.inside {
            Inside::LineComment => self.inside = Inside::Code,
            Inside::Directive if !continued => self.inside = Inside::Code,
            Inside::String(which) if !self.spec().quotes[*which].lines && !continued => {
                self.inside = Inside::Code;
            }
            Inside::Heredoc(tag) => {
                let line = text[self.line.min(self.at)..self.at].trim();
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

    /// Looks at a line from its first character on.
    fn begin_line(&mut self, text: &str, found: &mut Found) {
        let at = self.at;
        let rest = self.line_at(text, at);
        let quality = if self.blank { Quality::AfterBlank } else { Quality::Tight };
        let indentation = self.effective(rest);
        let mut border =
            Border { at, class: Class::Free, depth: self.depth(), indentation, quality, item: None };
        if self.inside != Inside::Code {
            border.class = Class::Inside;
            found.borders.push(border);
            return;
        }
        let adjacent = !self.blank && self.lead.is_some();
        let is_directive = self.spec().has(Quirk::Preprocessor) && rest.starts_with('#');
        if self.is_comment(rest) || self.is_annotation(rest) {
            if adjacent {
                border.class = Class::Inside;
            } else {
                self.lead = Some(at);
                if self.is_by_indentation() && self.open == 0 {
                    border.depth = self.frames.iter().filter(|frame| frame.indentation < indentation).count();
                } else if !self.head.text.is_empty() && !self.ends_statement(indentation) {
                    border.class = Class::Bound;
                }
            }
            found.borders.push(border);
            if !self.is_comment(rest) {
                // Read as code, but it introduces nothing.
                self.end_statement(found);
                self.head = Head { start: at, from: at, indentation, ..Head::default() };
            }
            return;
        }
        let goes_on = is_directive || self.goes_on(rest) || self.last == '\\';
        if !adjacent {
            self.lead = None;
        }
        if is_directive {
            border.class = if adjacent { Class::Bound } else { Class::Free };
            found.borders.push(border);
            self.conditional(rest);
            self.inside = Inside::Directive;
            self.lead = None;
            return;
        }
        let in_block = if self.is_by_indentation() {
            self.begin_by_indentation(rest, indentation, goes_on)
        } else {
            self.begin_by_brackets(rest, indentation, goes_on, found)
        };
        border.depth = self.depth();
        if goes_on || adjacent || in_block {
            border.class = Class::Bound;
        }
        if adjacent {
            // The comments are as deep as what they are about.
            let from = self.lead.unwrap_or(at);
            for before in found.borders.iter_mut().rev().take_while(|before| before.at >= from) {
                before.depth = border.depth;
                before.indentation = border.indentation;
            }
        }
        found.borders.push(border);
        if self.head.text.is_empty() {
            self.begin_head(at, true);
            self.head.indentation = indentation;
        }
    }

    /// Returns whether the line belongs to the one before.
    fn begin_by_indentation(&mut self, rest: &str, indentation: usize, goes_on: bool) -> bool {
        if self.open > 0 {
            let is_item = || symbol::symbol(self.language, rest, None, true).is_some();
            if indentation > 0 || !is_item() {
                return self.ends_in(&['(', '[', '{']);
            }
            self.open = 0;
        }
        let ends =
            |frame: &Frame| frame.indentation > indentation || !goes_on && frame.indentation == indentation;
        self.ended = None;
        while let Some(frame) = self.frames.pop_if(|frame| ends(frame)) {
            if frame.indentation == indentation {
                self.ended = frame.symbol;
            }
        }
        self.deep = if self.frames.len() < MAX_FRAMES { 0 } else { self.deep };
        self.head.text.clear();
        self.is_head = !goes_on;
        self.frames.last_mut().is_some_and(|frame| std::mem::take(&mut frame.first))
    }

    /// Returns whether the line belongs to the one before.
    fn begin_by_brackets(
        &mut self,
        rest: &str,
        indentation: usize,
        goes_on: bool,
        found: &mut Found,
    ) -> bool {
        if !goes_on {
            let is_label = rest.ends_with(':');
            while self.deep == 0
                && !is_label
                && self
                    .frames
                    .pop_if(|top| top.bracket == '{' && !top.flat && top.indentation > indentation)
                    .is_some()
            {
                // Its closing bracket was misread.
                self.head.text.clear();
            }
            if let Some(top) = self.frames.last_mut()
                && std::mem::take(&mut top.first)
                && top.bracket == '{'
            {
                top.flat = indentation <= top.indentation;
            }
        }
        let ended = self.ends_statement(indentation) && !goes_on && !rest.starts_with('{');
        if ended && !self.in_parentheses() {
            self.end_statement(found);
        }
        self.ends_in(&['(', '[', '{']) || !ended
    }

    fn ends_in(&self, last: &[char]) -> bool {
        last.contains(&self.last)
    }

    fn in_parentheses(&self) -> bool {
        self.deep > 0 || self.frames.last().is_some_and(|frame| matches!(frame.bracket, '(' | '['))
    }

    /// Whether what was read last ends a statement, if a line with that indentation follows.
    fn ends_statement(&self, indentation: usize) -> bool {
        self.head.text.is_empty()
            || self.ends_in(&[',', ';', ':', '{', '}', '(', '['])
            || self.spec().layout == Layout::Braces && indentation <= self.head.indentation
    }

    fn is_comment(&self, rest: &str) -> bool {
        let spec = self.spec();
        let is_block = |(open, close): &(&str, &str)| {
            rest.strip_prefix(open).is_some_and(|rest| {
                // Code may follow in its line.
                rest.split_once(close).is_none_or(|(_, after)| after.trim().is_empty())
            })
        };
        spec.block.iter().any(is_block) || spec.line.iter().any(|mark| rest.starts_with(mark))
    }

    /// Whether a line has nothing but an annotation of what follows.
    fn is_annotation(&self, rest: &str) -> bool {
        let possible = match self.spec().layout {
            Layout::Semicolons => false,
            Layout::Braces => true,
            Layout::Indentation => matches!(self.language, Language::Python | Language::Elixir),
        };
        possible
            && rest.starts_with('@')
            && self.open == 0
            && (self.language == Language::Elixir || symbol::without_annotations(rest).is_empty())
    }

    /// Whether a line goes with the one before.
    fn goes_on(&self, rest: &str) -> bool {
        let is_css = self.language == Language::Css;
        if rest.starts_with(['}', ')', ']', ',']) || !is_css && rest.starts_with(['.', '?', ';']) {
            return true;
        }
        if rest.starts_with("&&") || rest.starts_with("||") {
            return true;
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let sql = self.language == Language::Sql;
        self.spec().goes_on.iter().any(|word| match end {
            0 => rest.starts_with(word),
            _ if sql => rest[..end].eq_ignore_ascii_case(word),
            _ => rest[..end] == **word,
        })
    }

    /// How far a line counts as indented.
    fn effective(&self, rest: &str) -> usize {
        let is = |marks: &[&str]| marks.iter().any(|mark| rest.starts_with(mark));
        match self.language {
            Language::Yaml => 2 * self.indentation + usize::from(is(&["- "]) || rest == "-"),
            Language::Toml => self.indentation + usize::from(!is(&["["])),
            Language::Vue | Language::Svelte => {
                self.indentation + usize::from(!is(&["<script", "<template", "<style", "</"]))
            }
            _ => self.indentation,
        }
    }

    /// `#else` and `#endif` lead back to where their `#if` was.
    fn conditional(&mut self, rest: &str) {
        const MAX_CONDITIONS: usize = 16;
        let directive = rest[1..].trim_start();
        if directive.starts_with("if") {
            if self.conditions.len() < MAX_CONDITIONS {
                self.conditions.push(self.frames.len());
            }
        } else if directive.starts_with("el") {
            if let Some(frames) = self.conditions.last() {
                self.frames.truncate(*frames);
            }
        } else if directive.starts_with("endif") {
            self.conditions.pop();
        }
    }

    fn begin_head(&mut self, at: usize, begins_line: bool) {
        self.head.text.clear();
        self.head.start = at;
        let lead = if begins_line { self.lead.take() } else { None };
        self.head.from = lead.filter(|from| at - from <= REACH).unwrap_or(at);
        self.head.indentation = self.indentation;
        self.head.begins_line = begins_line;
    }

    fn parent(&self, frames: usize) -> Option<Kind> {
        self.frames[..frames].last().map(|frame| frame.kind)
    }

    /// The item that the head introduces.
    fn item(&self, frames: usize, body: bool) -> Option<(String, Kind)> {
        if self.deep > 0 || self.at - self.head.start > REACH || self.head.text.trim().is_empty() {
            return None;
        }
        symbol::symbol(self.language, &self.head.text, self.parent(frames), body)
    }

    /// Notes that an item begins with the head, be it a new one or more of the one before.
    fn mark(&self, found: &mut Found, name: &str, is_new: bool) {
        if !self.head.begins_line {
            return;
        }
        let number = found.names.len();
        found.names.push(name.to_owned());
        let from = self.head.from;
        for border in found.borders.iter_mut().rev().take_while(|border| border.at >= from) {
            border.item = Some(number);
            if is_new && border.at == from {
                border.quality = Quality::Item;
            }
        }
    }

    /// A line that indented ones may follow.
    fn complete_line(&mut self, found: &mut Found) {
        let item = self.item(self.frames.len(), true);
        let (symbol, kind) = match item {
            Some((symbol, kind)) => {
                self.mark(found, &symbol, self.ended.as_ref() != Some(&symbol));
                (Some(symbol), kind)
            }
            None => (None, self.parent(self.frames.len()).unwrap_or(Kind::Container)),
        };
        self.head.text.clear();
        let indentation = self.head.indentation;
        self.push_frame(Frame { bracket: ' ', indentation, first: true, flat: false, kind, symbol });
    }

    /// A statement without a body.
    fn end_statement(&mut self, found: &mut Found) {
        if let Some((symbol, _)) = self.item(self.frames.len(), false) {
            self.mark(found, &symbol, true);
        }
        self.head.text.clear();
    }

    fn push_frame(&mut self, frame: Frame) {
        if self.frames.len() < MAX_FRAMES && self.deep == 0 {
            self.frames.push(frame);
        } else {
            self.deep += 1;
        }
    }

    fn push(&mut self, bracket: char, kind: Kind, symbol: Option<String>) {
        let indentation = if self.head.text.is_empty() || bracket == '$' {
            self.indentation
        } else {
            self.head.indentation.min(self.indentation)
        };
        self.push_frame(Frame { bracket, indentation, first: true, flat: false, kind, symbol });
    }

    fn open_brace(&mut self, found: &mut Found) {
        let mut frames = self.frames.len();
        let mut item = None;
        if self.head.begins_line && self.deep == 0 {
            // An item that is indented no more than what it seems to be in is not in it.
            while frames > 0 {
                let top = &self.frames[frames - 1];
                if top.bracket != '{' || top.flat || top.indentation < self.head.indentation {
                    break;
                }
                frames -= 1;
            }
            if frames < self.frames.len() {
                item = self.item(frames, true);
            }
        }
        if item.is_some() {
            self.frames.truncate(frames);
            for border in found.borders.iter_mut().rev().take_while(|border| border.at >= self.head.from) {
                border.depth = frames;
            }
        } else {
            item = self.item(self.frames.len(), true);
        }
        let (symbol, kind) = match item {
            Some((symbol, kind)) => {
                self.mark(found, &symbol, true);
                (Some(symbol), kind)
            }
            None => (None, Kind::Function),
        };
        self.push('{', kind, symbol);
        self.head.text.clear();
    }

    fn close(&mut self, bracket: char) {
        if self.deep > 0 {
            self.deep -= 1;
            return;
        }
        let opener = match bracket {
            ')' => '(',
            ']' => '[',
            _ => '{',
        };
        let is_opener = |frame: &Frame| frame.bracket == opener || opener == '{' && frame.bracket == '$';
        if let Some(frame) = self.frames.iter().rposition(is_opener) {
            if self.frames[frame].bracket == '$' {
                self.inside = Inside::Template;
            }
            self.frames.truncate(frame);
        }
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
            b'{' => {
                self.open_brace(found);
            }
            b'(' | b'[' => {
                self.keep(char::from(byte));
                self.push(char::from(byte), Kind::Value, None);
            }
            b'}' => {
                self.close('}');
                self.head.text.clear();
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
        if matches!(byte, b';' | b'}' | b',') && self.at - self.line > LONG_LINE {
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
            if self.head.start != at {
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
            if self.head.text.is_empty() && self.head.start != self.at - 1 {
                self.begin_head(self.at - 1, false);
            }
            self.head.text.push(c);
        }
    }

    /// Whether a comment or a string begins here.
    fn enters(&mut self, text: &str) -> bool {
        let (at, spec) = (self.at, self.spec());
        let rest = &text[at..];
        let before = text[..at].as_bytes();
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
                let len = character(rest).unwrap_or(1);
                self.enter(Inside::Code, len);
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
