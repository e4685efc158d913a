//! Lines of code: how deep one lies, and whether it goes with the one before.

use crate::chunk::code::language::{Language, Layout, Quirk};
use crate::chunk::code::scan::{
    Border, Class, Found, Frame, Head, Inside, LINE, LONG_LINE, MAX_FRAMES, Quality, Scanner,
};
use crate::chunk::code::symbol;

impl Scanner {
    /// Looks at a line from its first character on.
    pub(super) fn begin_line(&mut self, text: &str, found: &mut Found) {
        let at = self.at;
        let rest = line_at(text, at);
        self.long = rest.len() > LONG_LINE;
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
                self.lead = Some(at.cast_signed());
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
                let at = at.cast_signed();
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
            if !rest[1..].trim_start().starts_with("if") {
                self.lead = None;
            } else if !adjacent {
                // It goes with what it is about.
                self.lead = Some(at.cast_signed());
            }
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
            let from = self.lead.unwrap_or(at.cast_signed());
            for before in found.borders.iter_mut().rev().take_while(|before| before.at.cast_signed() >= from)
            {
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

    pub(super) fn in_parentheses(&self) -> bool {
        self.deep > 0 || self.frames.last().is_some_and(|frame| matches!(frame.bracket, '(' | '['))
    }

    /// Whether the parentheses are those of an annotation: `@Name({…})`.
    pub(super) fn in_annotation(&self) -> bool {
        self.in_parentheses() && self.head.text.starts_with('@')
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
                let end = if spec.nested { rest.rfind(close) } else { rest.find(close) };
                end.is_none_or(|end| rest[end + close.len()..].trim().is_empty())
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
}

/// The line from a place on, as far as it is looked at.
fn line_at(text: &str, at: usize) -> &str {
    let rest = &text[at..text.floor_char_boundary((at + LINE).min(text.len()))];
    rest.split(['\n', '\r']).next().unwrap_or_default()
}
