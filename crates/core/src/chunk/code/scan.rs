//! Reading source code: where its lines begin, how deep they lie, and what they are in.
//!
//! No grammar is followed. Comments and strings are skipped; brackets tell depth, or indentation where that is how the
//! language is written. What brackets say is held against indentation, so that one that was misread does not
//! change what comes after it for long. Whatever the text, every line is found.

mod lex;
mod line;

use serde::{Deserialize, Serialize};

use crate::chunk::code::language::{Kind, Language, Layout, Spec};
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
    /// Before the text that is there if negative, as are the other places that are signed.
    start: isize,
    /// Where the comments before it begin, or it does.
    from: isize,
    indentation: usize,
    /// Nothing comes before it in its line.
    begins_line: bool,
}

/// Reads code from anywhere on. What it knows between two characters is some KiB.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact about the line, and any can hold with any other"
)]
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
    line: isize,
    indentation: usize,
    /// The line has something else than blanks.
    begun: bool,
    /// It is so long that statements in it are told apart.
    long: bool,
    /// Its head is not complete before its end.
    is_head: bool,
    /// There is a blank line before.
    blank: bool,
    /// Where the comments and annotations right before begin.
    lead: Option<isize>,
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
            long: false,
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
        self.at = self.at.saturating_sub(start);
        let start = start.cast_signed();
        for offset in [&mut self.line, &mut self.head.start, &mut self.head.from] {
            *offset -= start;
        }
        self.lead = self.lead.map(|lead| lead - start);
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

    fn begin_head(&mut self, at: usize, begins_line: bool) {
        self.head.text.clear();
        self.head.start = at.cast_signed();
        let lead = if begins_line { self.lead.take() } else { None };
        let at = at.cast_signed();
        self.head.from = lead.filter(|from| at - from <= REACH.cast_signed()).unwrap_or(at);
        self.head.indentation = self.indentation;
        self.head.begins_line = begins_line;
    }

    fn parent(&self, frames: usize) -> Option<Kind> {
        self.frames[..frames].last().map(|frame| frame.kind)
    }

    /// The item that the head introduces.
    fn item(&self, frames: usize, body: bool) -> Option<(String, Kind)> {
        if self.deep > 0
            || self.at.cast_signed() - self.head.start > REACH.cast_signed()
            || self.head.text.trim().is_empty()
        {
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
        for border in found.borders.iter_mut().rev().take_while(|border| border.at.cast_signed() >= from) {
            border.item = Some(number);
            if is_new && border.at.cast_signed() == from {
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
            for border in
                found.borders.iter_mut().rev().take_while(|border| border.at.cast_signed() >= self.head.from)
            {
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
}
