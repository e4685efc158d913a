//! Filling chunks with blocks.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::chunk::border::indentation;
use crate::chunk::outline::{Block, Kind, Outline};
use crate::chunk::{MAX_CHUNK_BYTES, split, table};
use crate::tokens::{TokenIndex, WordPiece};

/// Measures ranges of one text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ruler<'a> {
    pub(super) text: &'a str,
    pub(super) index: &'a TokenIndex,
    pub(super) limit: usize,
    /// What the model can take of a chunk, if more than that is to be put before it.
    pub(super) window: usize,
}

impl Ruler<'_> {
    /// Tokens, or, where these are few, bytes on a scale on which [`MAX_CHUNK_BYTES`] is the limit.
    pub(super) fn size(&self, range: Range<usize>) -> usize {
        let by_bytes = range.len().saturating_mul(self.limit).div_ceil(MAX_CHUNK_BYTES);
        if by_bytes > self.limit {
            // Too big in any case: not worth counting.
            return by_bytes;
        }
        by_bytes.max(self.index.count(self.text, range))
    }

    /// The same, for chunks that so many tokens come before.
    fn after(self, tokens: usize) -> Self {
        // Some are left in any case: then what comes before is cut.
        let room = self.window.saturating_sub(tokens).max(self.limit / 2);
        Self { limit: self.limit.min(room), ..self }
    }

    pub(super) fn fits(&self, range: Range<usize>) -> bool {
        self.size(range) <= self.limit
    }

    fn trim(&self, range: Range<usize>) -> Range<usize> {
        let part = &self.text[range.clone()];
        let start = range.end - part.trim_start().len();
        start..(range.start + part.trim_end().len()).max(start)
    }
}

/// The chunk being filled.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Filling {
    current: Range<usize>,
    /// Where the headings at its end begin, or what introduces a list or code, if it ends with any: they go with what
    /// follows.
    lead: Option<usize>,
    /// Whether the last of them is no heading.
    introduces: bool,
    /// Where its blocks begin but for the first and those that follow a heading: where it may be cut.
    borders: Vec<usize>,
    /// Tokens of the header that comes before it, for it begins in a table.
    #[serde(default)]
    header: usize,
    /// The chunk before it, if blocks of that can move into this one, and its borders.
    before: Option<(Range<usize>, Vec<usize>)>,
}

impl Filling {
    /// The first byte that matters.
    pub(super) fn start(&self) -> Option<usize> {
        let before = self.before.as_ref().map(|(before, _)| before.start);
        before.or_else(|| (!self.current.is_empty()).then_some(self.current.start))
    }

    /// Lets all offsets be counted from `start` on.
    pub(super) fn rebase(&mut self, start: usize) {
        let range = |range: &mut Range<usize>| {
            *range = range.start.saturating_sub(start)..range.end.saturating_sub(start);
        };
        let all = |offsets: &mut [usize]| offsets.iter_mut().for_each(|offset| *offset -= start);
        range(&mut self.current);
        self.lead = self.lead.map(|lead| lead - start);
        all(&mut self.borders);
        if let Some((before, borders)) = &mut self.before {
            range(before);
            all(borders);
        }
    }
}

/// What comes after the blocks to pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing: the text ends.
    Nothing,
    /// More, and the first of it is the next block of the outline. Packing stops where it would have to know all of it.
    More,
    /// More that nothing is known about.
    Unknown,
}

/// Whether a block says what comes next.
fn introduces(ruler: &Ruler<'_>, block: &Block) -> bool {
    block.kind == Kind::Text
        && ruler.text[block.start..block.end].ends_with([':', '：'])
        && ruler.size(block.start..block.end) <= ruler.limit / 4
}

/// Fills chunks with blocks.
#[derive(Debug)]
pub(super) struct Packer<'a> {
    ruler: Ruler<'a>,
    filling: Filling,
    /// The chunks that are finished.
    done: Vec<Range<usize>>,
    /// Up to where a block is packed that goes on.
    within: Option<usize>,
    /// Tokens of the header of a table that the outline begins in.
    header: usize,
}

impl<'a> Packer<'a> {
    /// `header` is how many tokens the header of the table has that the outline begins in.
    pub(super) fn new(ruler: Ruler<'a>, filling: Filling, header: usize) -> Self {
        Self { ruler, filling, done: Vec::new(), within: None, header }
    }

    /// Up to where the last block is packed, if not up to its end.
    pub(super) fn within(&self) -> Option<usize> {
        self.within
    }

    /// Packs the first `count` blocks of an outline. Returns how many it has packed.
    pub(super) fn pack(&mut self, outline: &Outline<'_>, count: usize, after: After) -> usize {
        for (position, block) in outline.blocks[..count].iter().enumerate() {
            let is_heading = block.kind == Kind::Heading;
            if is_heading && self.filling.introduces {
                // What it introduced did not come.
                self.filling.lead = None;
                self.filling.introduces = false;
            }
            if is_heading && self.filling.lead.is_none() {
                match self.begins_chunk(outline, position, count, after) {
                    Some(true) => self.end_run(),
                    Some(false) => {}
                    None => return position,
                }
            }
            let filling = &mut self.filling;
            if filling.current.is_empty() {
                filling.current = block.start..block.start;
                filling.header = 0;
            }
            if filling.lead.is_none()
                && !self.ruler.after(filling.header).fits(filling.current.start..block.end)
            {
                self.end_before_outer_block(block.start);
            }
            let filling = &mut self.filling;
            let start = filling.current.start;
            if self.ruler.after(filling.header).fits(start..block.end) {
                if start < block.start && filling.lead.is_none() {
                    filling.borders.push(block.start);
                }
                filling.current.end = block.end;
                filling.introduces = introduces(&self.ruler, block);
                filling.lead =
                    (is_heading || filling.introduces).then(|| filling.lead.unwrap_or(block.start));
                continue;
            }
            // Headings that fill half a chunk by themselves stay behind, and those for which a table or code that fits
            // alone would have to be cut.
            let fits_alone = block.kind == Kind::Lines && self.ruler.fits(block.start..block.end);
            let goes_along = |lead: usize| {
                let size = self.ruler.size(lead..block.start);
                size <= self.ruler.limit / 2 && (!fits_alone || self.ruler.fits(lead..block.end))
            };
            // A line or two before a block that is cut in any case belong to its first piece.
            let is_small = !self.ruler.fits(block.start..block.end)
                && self.ruler.size(start..block.start) < self.ruler.limit / 4;
            let from = (filling.lead.filter(|&lead| goes_along(lead))).unwrap_or(if is_small {
                start
            } else {
                block.start
            });
            filling.introduces = false;
            let borders = std::mem::take(&mut filling.borders);
            if from > start {
                filling.header = 0;
            }
            filling.current = from..block.end;
            filling.lead = is_heading.then_some(from);
            self.finish(start..from);
            if !self.ruler.fits(from..block.end) {
                let header = self.header_of(outline, block);
                let mut pieces = split::block(&self.ruler.after(header), from, block);
                self.filling.lead = None;
                if pieces.len() > 1 {
                    self.filling.header = header;
                }
                self.filling.current = if block.goes_on {
                    self.within = pieces.last().map(|piece| piece.end);
                    0..0
                } else {
                    // The last piece has room for what follows.
                    pieces.pop().unwrap_or(from..block.end)
                };
                for piece in pieces {
                    self.finish(piece);
                }
            } else if from == block.start && !is_heading && !borders.is_empty() {
                self.filling.before = self.done.pop().map(|before| (before, borders));
            }
        }
        count
    }

    /// Tokens of the header of a block's later chunks.
    fn header_of(&self, outline: &Outline<'_>, block: &Block) -> usize {
        if !block.is_table {
            return 0;
        }
        let table = outline.tables.iter().find(|table| table.start == block.start);
        match table {
            Some(table) if !table.goes_on => {
                table.header.as_deref().map_or(0, |header| WordPiece::count(table::row(header)))
            }
            _ => self.header,
        }
    }

    /// Ends the chunk, if the block at `next` does not fit, before the last of those in its second half that are indented
    /// least, so as to cut between functions rather than in one. The rest goes with what follows.
    fn end_before_outer_block(&mut self, next: usize) {
        let Ruler { text, limit, .. } = self.ruler;
        let Filling { current, borders, header, .. } = &mut self.filling;
        let start = current.start;
        let half = borders.partition_point(|&border| self.ruler.size(start..border) < limit / 2);
        let order = |border: usize| (indentation(text, border), usize::MAX - border);
        if let Some(border) = borders[half..].iter().copied().min_by_key(|&border| order(border))
            && order(border) < order(next)
        {
            current.start = border;
            *header = 0;
            *borders = borders.split_off(borders.partition_point(|&other| other <= border));
            self.finish(start..border);
        }
    }

    /// Ends the text.
    pub(super) fn end(&mut self) {
        self.end_run();
        self.release();
    }

    /// What is finished, and what is not, when the text goes on at `cut`. What lies too far behind for anything that
    /// comes to join it is finished.
    pub(super) fn settle(mut self, cut: usize) -> (Vec<Range<usize>>, Filling) {
        let current = self.filling.current.clone();
        // Headings at its end, which could still leave it, are within the first half.
        let is_far = cut.saturating_sub(current.start) > 2 * MAX_CHUNK_BYTES;
        if !current.is_empty() && (is_far || !self.ruler.fits(current)) {
            self.end_run();
        }
        let end = cut.max(self.filling.current.end);
        if (self.filling.before.as_ref()).is_some_and(|(before, _)| end - before.end > MAX_CHUNK_BYTES) {
            self.release();
        }
        (self.done, self.filling)
    }

    /// Whether the heading at `position` begins a new chunk; `None` if what is not among the first `count` blocks
    /// decides it.
    fn begins_chunk(
        &self,
        outline: &Outline<'_>,
        position: usize,
        count: usize,
        after: After,
    ) -> Option<bool> {
        let current = &self.filling.current;
        let size = self.ruler.size(current.clone());
        if current.is_empty() || size >= self.ruler.limit / 2 {
            return Some(true);
        }
        if size < self.ruler.limit / 8 {
            return Some(false);
        }
        let known = &outline.blocks[..if after == After::More { count + 1 } else { count }];
        let next = known[position + 1..].iter().position(|block| block.kind == Kind::Heading);
        let end = match (next, after) {
            (Some(next), _) => known[position + next].end,
            (None, After::Nothing) => known.last()?.end,
            // Unless the section is known to go on for too long.
            (None, After::More)
                if known.last()?.start - current.start <= MAX_CHUNK_BYTES
                    && outline.cut_before(position).is_some() =>
            {
                return None;
            }
            (None, _) => return Some(true),
        };
        Some(!self.ruler.fits(current.start..end))
    }

    /// Finishes the last chunk before the end of the text or of a section. A small one gets blocks of the one before.
    fn end_run(&mut self) {
        let Filling { mut current, before, .. } = std::mem::take(&mut self.filling);
        if let Some((mut before, borders)) = before {
            let smaller = |cut: usize| {
                let moved = cut..current.end;
                let size = self.ruler.size(moved.clone());
                if size > self.ruler.limit { 0 } else { size.min(self.ruler.size(before.start..cut)) }
            };
            let size = self.ruler.size(current.clone());
            let best = borders.into_iter().max_by_key(|&border| smaller(border));
            if let Some(cut) = best.filter(|&cut| size < self.ruler.limit / 4 && smaller(cut) > size) {
                before = self.ruler.trim(before.start..cut);
                current.start = cut;
            }
            self.done.push(before);
        }
        self.finish(current);
    }

    /// Nothing moves out of the chunk before any more.
    fn release(&mut self) {
        self.done.extend(self.filling.before.take().map(|(before, _)| before));
    }

    /// Takes a range as a chunk, or as several if it breaks a limit: structure has done what it could, this makes it
    /// certain.
    fn finish(&mut self, range: Range<usize>) {
        self.release();
        let mut rest = self.ruler.trim(range);
        while !self.ruler.fits(rest.clone()) {
            let cut = split::cut(&self.ruler, Kind::Text, rest.clone(), rest.start);
            self.done.push(self.ruler.trim(rest.start..cut));
            rest = self.ruler.trim(cut..rest.end);
        }
        if !rest.is_empty() {
            self.done.push(rest);
        }
    }
}
