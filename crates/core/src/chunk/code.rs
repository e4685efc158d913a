//! The chunks of source code.
//!
//! The text is read line by line ([`scan`]): how deep each lies, what it goes with, which item begins there. Chunks are then
//! filled one after another, each up to the best of the places that are left when it is full ([`cut`]): between items, the
//! outermost first, else between statements, else where lines end. What decides about a chunk are the next few KiB behind its
//! beginning, so that however the text is fed, its chunks are the same.

mod cut;
mod language;
mod scan;
mod symbol;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::chunk::Section;
use crate::chunk::pack::Ruler;
use scan::{Class, Found, Scanner};

pub use language::Language;

/// How much of the text has to be there behind what is cut, if it goes on.
pub(super) const LOOKAHEAD: usize = cut::NEEDED;

/// Cuts code from a place on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cutter {
    scanner: Scanner,
}

/// A chunk of code.
pub(super) struct Cut {
    pub(super) span: Range<usize>,
    /// The items it begins in, and the one that it begins with.
    pub(super) path: Vec<String>,
    /// Items that begin in it, and where outer ones go on.
    pub(super) sections: Vec<Section>,
    /// Whether it begins with one.
    pub(super) is_item: bool,
}

impl Cutter {
    /// What begins in a chunk behind its beginning, which is under `path`.
    fn sections(&mut self, text: &str, span: &Range<usize>, found: &Found, path: &[String]) -> Vec<Section> {
        let mut sections: Vec<Section> = Vec::new();
        let first = found.borders.partition_point(|border| border.at <= span.start);
        for border in found.borders[first..].iter().take_while(|border| border.at < span.end) {
            if border.class != Class::Free {
                continue;
            }
            self.scanner.read(text, border.at, &mut Found::default());
            let mut headings: Vec<String> = self.scanner.path(border.depth).map(str::to_owned).collect();
            headings.extend(border.item.map(|item| found.names[item].clone()));
            let before = sections.last().map_or(path, |section| &section.headings);
            if before != headings {
                sections.push(Section { at: border.at - span.start, headings });
            }
        }
        sections
    }

    pub(super) fn new(language: Language) -> Self {
        Self { scanner: Scanner::new(language) }
    }

    /// Lets all offsets be counted from `start` on.
    pub(super) fn rebase(&mut self, start: usize) {
        self.scanner.rebase(start);
    }

    /// Cuts the text from `from` on, up to where more of it is needed if it goes on. Returns where that is.
    pub(super) fn cut(
        &mut self,
        ruler: &Ruler<'_>,
        from: usize,
        last: bool,
        mut on_cut: impl FnMut(Cut),
    ) -> usize {
        let text = ruler.text;
        let mut found = Found::default();
        self.scanner.clone().read(text, text.len(), &mut found);
        let mut start = from;
        loop {
            // What was found behind is not needed twice.
            let mut passed = Found::default();
            start = text.len() - text[start..].trim_start().len();
            if start == text.len() || !last && text.len() - start < LOOKAHEAD {
                // Of blanks alone, the next piece is to have the last line.
                self.scanner.read(text, start, &mut passed);
                return start;
            }
            self.scanner.read(text, start, &mut passed);
            let end = cut::end(ruler, &found, start);
            let border = found.borders.binary_search_by_key(&start, |border| border.at);
            let border = border.ok().map(|position| &found.borders[position]);
            let depth = border.map_or(usize::MAX, |border| border.depth);
            let item = border.and_then(|border| border.item);
            let mut path: Vec<String> = self.scanner.path(depth).map(str::to_owned).collect();
            path.extend(item.map(|item| found.names[item].clone()));
            let is_item = item.is_some() && border.is_some_and(|border| border.class == Class::Free);
            let span = start..start + text[start..end].trim_end().len();
            let sections = self.sections(text, &span, &found, &path);
            on_cut(Cut { span, path, sections, is_item });
            start = end;
        }
    }
}
