//! The structure of a text: its top-level blocks and its headings.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;

use pulldown_cmark::{BrokenLink, CodeBlockKind, CowStr, Event, LinkType, Options, Parser, Tag, TagEnd};
use serde::{Deserialize, Serialize};

use crate::chunk::prefix::one_line;
use crate::chunk::table::{self, Table};
use crate::chunk::{Format, Section};

/// Longer headings are cut: every chunk below one carries it.
const MAX_HEADING_BYTES: usize = 512;

/// The deepest nesting of quotes and lists that one line can open. Real documents stay far below; the parser's time grows
/// with depth times lines.
const MAX_MARKERS: usize = 64;

/// The structure of one text, from a top-level block on.
#[derive(Debug)]
pub(super) struct Outline<'a> {
    text: &'a str,
    /// Where it begins. What comes before is not looked at.
    from: usize,
    /// What the parser read: the lead-in, then the text, byte for byte as long, with markers beyond [`MAX_MARKERS`]
    /// blotted out.
    view: Cow<'a, str>,
    /// The length of the lead-in.
    lead_in: usize,
    format: Format,
    /// In order; together they cover everything but blanks, and begin and end with a non-blank.
    pub(super) blocks: Vec<Block>,
    /// In order.
    pub(super) headings: Vec<Heading>,
    /// Where front matter is, in order.
    pub(super) front_matter: Vec<Range<usize>>,
    /// In order, nested ones included.
    pub(super) tables: Vec<Table>,
    /// What the first block is, as the parser saw it, and where in `view` it begins.
    opener: Option<(Opener, usize)>,
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
    /// Whether it has no end here, for it goes on after the outlined text.
    pub(super) goes_on: bool,
    /// Whether it is a table.
    pub(super) is_table: bool,
}

/// What a block is, as far as it matters for cutting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A heading of the document.
    Heading,
    /// Text, which may be wrapped: a paragraph, a list, a quote.
    Text,
    /// What is written line by line: code, HTML, front matter, a table.
    Lines,
}

/// What a block is, as far as it matters for going on with it in a text of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opener {
    Text,
    Fence,
    IndentedCode,
    Html,
    List,
    Quote,
    Footnote,
    Table,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Heading {
    pub(super) start: usize,
    level: u8,
    text: String,
}

/// Where to go on in the next piece of a text.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) at: usize,
    /// What to put before the rest, so that it is read as the rest of the block that was cut.
    pub(super) lead_in: String,
}

impl<'a> Outline<'a> {
    /// The outline of `text[from..]`, where a block begins, or goes on if there is a `lead_in` from
    /// [`force_cut`](Self::force_cut).
    pub(super) fn new(format: Format, text: &'a str, from: usize, lead_in: &str) -> Self {
        let view = match format {
            Format::Plain | Format::Code(_) => Cow::Borrowed(&text[from..]),
            Format::Markdown if lead_in.is_empty() => as_read(Cow::Borrowed(&text[from..])),
            Format::Markdown => as_read(Cow::Owned([lead_in, &text[from..]].concat())),
        };
        let mut outline = Self {
            text,
            from,
            view,
            lead_in: if format == Format::Markdown { lead_in.len() } else { 0 },
            format,
            blocks: Vec::new(),
            headings: Vec::new(),
            front_matter: Vec::new(),
            tables: Vec::new(),
            opener: None,
        };
        match format {
            Format::Plain | Format::Code(_) => outline.read_plain(),
            Format::Markdown => outline.read_markdown(),
        }
        outline
    }

    /// Paragraphs between blank lines; no headings.
    fn read_plain(&mut self) {
        let mut starts = Vec::new();
        let mut at = self.from;
        let mut after_blank = true;
        for line in self.text[self.from..].split_inclusive('\n') {
            let blank = line.trim_start().is_empty();
            if after_blank && !blank {
                starts.push(Start { at, end: None, kind: Kind::Text, is_table: false });
            }
            after_blank = blank;
            at += line.len();
        }
        self.blocks = blocks(self.text, self.from, &starts);
    }

    /// The blocks of a Markdown document, and its ATX and setext headings.
    ///
    /// What a heading is called does not depend on link and footnote definitions elsewhere, which may be in another
    /// piece: `[text][id]` is `text`, `[text]` stays as it is, `[^note]` is left out.
    fn read_markdown(&mut self) {
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_HEADING_ATTRIBUTES;
        let view: &str = &self.view;
        let (from, lead_in) = (self.from, self.lead_in);
        let position = |offset: usize| offset.saturating_sub(lead_in) + from;
        let mut starts = Vec::new();
        // Not the parser's: that looks for the end of each `---` in a quote or a list up to the end of the text.
        let skip_matter = if from == 0 { front_matter(view) } else { 0 };
        if skip_matter > 0 {
            starts.push(Start { at: 0, end: Some(skip_matter), kind: Kind::Lines, is_table: false });
            self.front_matter.push(0..skip_matter);
        }
        let mut headings: Vec<Heading> = Vec::new();
        let mut depth = 0_usize;
        let in_heading = Cell::new(false);
        // In a heading: what closes the open links and images, and where a footnote reference ends.
        let mut brackets: Vec<&str> = Vec::new();
        let mut skip = 0;
        let resolve = |_: BrokenLink<'_>| in_heading.get().then(|| (CowStr::from(""), CowStr::from("")));
        let parser = Parser::new_with_broken_link_callback(&view[skip_matter..], options, Some(resolve));
        for (event, range) in parser.into_offset_iter() {
            let range = range.start + skip_matter..range.end + skip_matter;
            if let Event::Start(Tag::Table(_)) = event {
                let goes_on = range.start < lead_in;
                let header = (!goes_on).then(|| table::header(&view[range.clone()], usize::MAX)).flatten();
                let (start, end) = (position(range.start), position(range.end));
                self.tables.push(Table { start, end, header, goes_on });
            }
            if depth == 0 {
                let goes_on = range.start < lead_in;
                let kind = match &event {
                    Event::Start(Tag::Heading { .. }) if goes_on => Kind::Text,
                    Event::Start(Tag::Heading { level, .. }) => {
                        headings.push(Heading {
                            start: position(range.start),
                            level: *level as u8,
                            text: String::new(),
                        });
                        in_heading.set(true);
                        Kind::Heading
                    }
                    Event::Start(Tag::CodeBlock(_) | Tag::HtmlBlock | Tag::Table(_)) | Event::Rule => {
                        Kind::Lines
                    }
                    _ => Kind::Text,
                };
                if starts.last().is_none_or(|last: &Start| last.at < position(range.start)) {
                    if starts.is_empty() {
                        self.opener = Some((Opener::of(&event), range.start));
                    }
                    let end = (kind == Kind::Lines).then(|| position(range.end));
                    let is_table = matches!(event, Event::Start(Tag::Table(_)));
                    starts.push(Start { at: position(range.start), end, kind, is_table });
                }
            }
            if in_heading.get() {
                let is_shortcut =
                    |kind: &LinkType| matches!(kind, LinkType::Shortcut | LinkType::ShortcutUnknown);
                match &event {
                    Event::Text(_) if range.start < skip => {}
                    Event::Text(part) => match footnote_reference(view, range.start) {
                        Some(end) if part.starts_with('[') => skip = end,
                        _ => push_part(&mut headings, part),
                    },
                    Event::Code(part) => push_part(&mut headings, part),
                    Event::SoftBreak | Event::HardBreak => push_part(&mut headings, " "),
                    Event::Start(Tag::Link { link_type, .. } | Tag::Image { link_type, .. }) => {
                        let shortcut = is_shortcut(link_type);
                        let is_image = matches!(event, Event::Start(Tag::Image { .. }));
                        if shortcut {
                            push_part(&mut headings, if is_image { "![" } else { "[" });
                        }
                        brackets.push(if shortcut { "]" } else { "" });
                    }
                    Event::End(TagEnd::Link | TagEnd::Image) => {
                        push_part(&mut headings, brackets.pop().unwrap_or_default());
                    }
                    Event::End(TagEnd::Heading(_)) => in_heading.set(false),
                    _ => {}
                }
            }
            match event {
                Event::Start(_) => depth += 1,
                Event::End(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        for heading in &mut headings {
            heading.text = one_line(&heading.text);
        }
        self.headings = headings;
        self.blocks = blocks(self.text, from, &starts);
    }

    /// If the text goes on: how many blocks are sure to be what they are however it does. The one after them is sure
    /// to begin where it does, and a text can begin there.
    ///
    /// What begins after a blank line, or is a `#` heading, begins there however the text goes on, but for what may
    /// turn out to be a link definition. So the block before that one is the last that is sure to be one.
    pub(super) fn settled(&self) -> usize {
        let Some(border) = self.last_border() else { return 0 };
        (0..border).rev().find(|&block| self.cut_before(block).is_some()).unwrap_or(0)
    }

    /// The last block that certainly does not go on the one before it.
    fn last_border(&self) -> Option<usize> {
        (1..self.blocks.len()).rev().find(|&block| self.is_border(block))
    }

    fn is_border(&self, block: usize) -> bool {
        let Block { start, kind, .. } = self.blocks[block];
        if self.format != Format::Markdown {
            return true;
        }
        let Some(line) = self.cut_before(block) else { return false };
        let is_whole = self.text[start..].contains(['\n', '\r']);
        let is_atx = kind == Kind::Heading && self.text[start..].starts_with('#');
        is_whole && (is_atx || ends_with_blank_line(&self.text[self.from..line]))
    }

    /// Where to cut the text so that the block is the first of the rest: at the beginning of its line, if it is alone
    /// there.
    pub(super) fn cut_before(&self, block: usize) -> Option<usize> {
        let start = self.blocks.get(block)?.start;
        match self.format {
            Format::Plain | Format::Code(_) => Some(start),
            Format::Markdown => self.line_of(start),
        }
    }

    /// Where the line begins that has nothing but blanks before `offset`.
    fn line_of(&self, offset: usize) -> Option<usize> {
        let before = self.text[self.from..offset].trim_end_matches([' ', '\t']);
        (before.is_empty() || before.ends_with(['\n', '\r'])).then_some(self.from + before.len())
    }

    /// Where to cut a text that goes on and of which nothing is [settled](Self::settled): after its first block, or, if
    /// that has no end here, where [`cut_within`](Self::cut_within) is then to say. Also how many
    /// blocks to pack first.
    pub(super) fn force_cut(&mut self) -> (usize, Cut) {
        let place = self.cut_before(0);
        if self.blocks.is_empty() || place.is_some_and(|place| place > self.from) {
            // Nothing but blanks.
            let at = place.unwrap_or_else(|| match self.text[self.from..].rfind(['\n', '\r']) {
                Some(line_end) => self.from + line_end + 1,
                None => self.text.len(),
            });
            let mut lead_in = self.view[..self.lead_in].to_owned();
            if !lead_in.is_empty() && !lead_in.ends_with("\n\n") {
                lead_in.push('\n');
            }
            return (0, Cut { at, lead_in });
        }
        let border = self
            .last_border()
            .or_else(|| (1..self.blocks.len()).rev().find(|&block| self.cut_before(block).is_some()));
        if let Some((block, at)) = border.and_then(|block| Some((block, self.cut_before(block)?))) {
            return (block, Cut { at, lead_in: String::new() });
        }
        let (first, rest) = (&self.blocks[0], &self.blocks[1..]);
        let end = rest.last().unwrap_or(first).end;
        self.blocks = vec![Block { end, goes_on: true, ..*first }];
        (1, self.cut_within(self.text.len()))
    }

    /// Where to go on when the first block is packed up to `end`: in its line, if there are only blanks before it.
    pub(super) fn cut_within(&self, end: usize) -> Cut {
        let at = self.line_of(end).unwrap_or(end);
        Cut { at, lead_in: self.lead_in_at(at) }
    }

    /// What makes the parser read the text from `at` on as more of the first block.
    fn lead_in_at(&self, at: usize) -> String {
        /// What tells a fence or a tag is at the beginning of its line.
        const MAX_LINE: usize = 256;
        let Some((opener, start)) = self.opener else { return String::new() };
        let line = match opener {
            Opener::Fence | Opener::Html => {
                let line = self.view[start..].lines().next().unwrap_or_default();
                &line[..line.floor_char_boundary(MAX_LINE)]
            }
            Opener::IndentedCode => "    x",
            Opener::List => "- x",
            Opener::Quote => "> x",
            Opener::Footnote => "[^x]: x",
            Opener::Table => "|x|\n|-|",
            Opener::Text => "x",
        };
        let indentation = if opener == Opener::IndentedCode { "    " } else { "" };
        let mid_line = !self.text[..at].ends_with(['\n', '\r']);
        format!("{line}\n{}", if mid_line { format!("{indentation}x") } else { String::new() })
    }
}

impl Opener {
    fn of(event: &Event<'_>) -> Self {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_))) => Self::Fence,
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => Self::IndentedCode,
            Event::Start(Tag::HtmlBlock) => Self::Html,
            Event::Start(Tag::List(_)) => Self::List,
            Event::Start(Tag::BlockQuote(_)) => Self::Quote,
            Event::Start(Tag::FootnoteDefinition(_)) => Self::Footnote,
            Event::Start(Tag::Table(_)) => Self::Table,
            _ => Self::Text,
        }
    }
}

/// Whether a text of whole lines ends with one that has nothing but blanks.
fn ends_with_blank_line(text: &str) -> bool {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text).trim_end_matches([' ', '\t']);
    text.is_empty() || text.ends_with(['\n', '\r'])
}

/// Where the YAML front matter ends that the document begins with; 0 if it begins with none.
fn front_matter(text: &str) -> usize {
    /// What has more is none: whether it ends must not depend on how much of the document is seen at a time.
    const LONGEST: usize = 16 * 1024;
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_mark = |mark: &str| line.strip_prefix(mark).is_some_and(|rest| rest.trim().is_empty());
        at += line.len();
        match number {
            0 if !is_mark("---") => return 0,
            0 => {}
            1 if !line.contains(':') && !line.starts_with(['#', '-', '{', '[']) || is_mark("---") => {
                return 0;
            }
            _ if at > LONGEST => return 0,
            _ if is_mark("---") || is_mark("...") => return at,
            _ => {}
        }
    }
    0
}

/// The end of the `[^label]` that begins there.
fn footnote_reference(text: &str, start: usize) -> Option<usize> {
    let label = text[start..].strip_prefix("[^")?;
    let end = label.find(|c: char| c == ']' || c == '[' || c.is_whitespace())?;
    let is_reference = end > 0 && label[end..].starts_with(']') && !text[..start].ends_with('\\');
    is_reference.then_some(start + 2 + end + 1)
}

/// Adds to the last heading what still fits.
fn push_part(headings: &mut [Heading], part: &str) {
    if let Some(heading) = headings.last_mut() {
        let room = MAX_HEADING_BYTES - heading.text.len();
        heading.text.push_str(&part[..part.floor_char_boundary(room)]);
    }
}

/// Blocks from their first bytes. What the parser reports no block for (link definitions) goes with the block before.
fn blocks(text: &str, from: usize, starts: &[Start]) -> Vec<Block> {
    let mut blocks = Vec::with_capacity(starts.len() + 1);
    let mut push = |start: usize, end: usize, kind, is_table| {
        let part = &text[start..end];
        let start = end - part.trim_start().len();
        if start < end {
            blocks.push(Block {
                start,
                end: start + text[start..end].trim_end().len(),
                kind,
                goes_on: false,
                is_table,
            });
        }
    };
    push(from, starts.first().map_or(text.len(), |start| start.at), Kind::Lines, false);
    for (position, &Start { at, end, kind, is_table }) in starts.iter().enumerate() {
        let next = starts.get(position + 1).map_or(text.len(), |next| next.at);
        let end = end.map_or(next, |end| end.clamp(at, next));
        push(at, end, kind, is_table);
        push(end, next, Kind::Text, false);
    }
    blocks
}

/// Where a block begins, as far as the parser tells.
#[derive(Clone, Copy, Debug)]
struct Start {
    at: usize,
    /// Where it ends, if what follows it is not to be kept with it: a link definition is no block to the parser.
    end: Option<usize>,
    kind: Kind,
    is_table: bool,
}

/// What the parser gets to see: as many bytes, but lone carriage returns, which it does not take for line ends everywhere, as
/// line feeds, and no deep nesting.
fn as_read(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_lone =
        |bytes: &[u8], at: usize| bytes[at] == b'\r' && bytes.get(at + 1).is_some_and(|next| *next != b'\n');
    let bytes = text.as_bytes();
    let text = if (0..bytes.len()).any(|at| is_lone(bytes, at)) {
        let mut bytes = text.into_owned().into_bytes();
        for at in 0..bytes.len() {
            if is_lone(&bytes, at) {
                bytes[at] = b'\n';
            }
        }
        Cow::Owned(String::from_utf8(bytes).expect("an ASCII character was replaced by another one"))
    } else {
        text
    };
    blot_deep_markers(text)
}

/// The text with the quote and list markers that open a line replaced by an `x` from the [`MAX_MARKERS`]th on.
fn blot_deep_markers(text: Cow<'_, str>) -> Cow<'_, str> {
    // What a line goes on with takes two columns or a marker each, what it begins a marker.
    let is_deep = |markers: usize, columns: usize| markers >= MAX_MARKERS || columns > 2 * MAX_MARKERS;
    let mut blots = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive(['\n', '\r']) {
        let bytes = line.as_bytes();
        let (mut markers, mut columns) = (0, 0);
        let mut position = 0;
        while let Some(&byte) = bytes.get(position) {
            let blank_follows = |position: usize| {
                matches!(bytes.get(position + 1), Some(b' ' | b'\t' | b'\r' | b'\n') | None)
            };
            match byte {
                b' ' | b'\t' => {
                    columns += if byte == b' ' { 1 } else { 4 };
                    position += 1;
                    continue;
                }
                b'0'..=b'9' => {
                    position +=
                        bytes[position..].iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
                    if !matches!(bytes.get(position), Some(b'.' | b')')) || !blank_follows(position) {
                        break;
                    }
                }
                b'>' => {}
                b'-' | b'*' | b'+' if blank_follows(position) => {}
                b'[' if bytes[position + 1..].first() == Some(&b'^') => {
                    // A footnote. Its label may have brackets in it.
                    let Some(label) = line[position..].find("]:") else { break };
                    if is_deep(markers, columns) {
                        blots.push(at + position);
                    }
                    markers += 1;
                    position += label + 2;
                    continue;
                }
                _ => break,
            }
            if is_deep(markers, columns) {
                blots.push(at + position);
            }
            markers += 1;
            position += 1;
        }
        at += line.len();
    }
    if blots.is_empty() {
        return text;
    }
    let mut bytes = text.into_owned().into_bytes();
    for blot in blots {
        bytes[blot] = b'x';
    }
    Cow::Owned(String::from_utf8(bytes).expect("an ASCII character was replaced by another one"))
}

fn shown(open: &[Heading]) -> Vec<String> {
    open.iter().map(|heading| heading.text.clone()).filter(|text| !text.is_empty()).collect()
}

/// Walks down a text and knows the headings it is under.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Path {
    /// Found, but not reached.
    ahead: VecDeque<Heading>,
    /// In force, outermost first. What matters no more is where they begin.
    open: Vec<Heading>,
    /// Front matter not passed.
    front_matter: VecDeque<Range<usize>>,
}

impl Path {
    /// Takes what an outline has found before `end`.
    pub(super) fn extend(&mut self, outline: &mut Outline<'_>, end: usize) {
        self.ahead.extend(outline.headings.drain(..).take_while(|heading| heading.start < end));
        self.front_matter.extend(outline.front_matter.drain(..).take_while(|matter| matter.start < end));
    }

    /// Lets all offsets be counted from `start` on.
    pub(super) fn rebase(&mut self, start: usize) {
        for heading in &mut self.ahead {
            heading.start = heading.start.saturating_sub(start);
        }
        for matter in &mut self.front_matter {
            *matter = matter.start.saturating_sub(start)..matter.end.saturating_sub(start);
        }
    }

    /// Whether a heading ahead begins at `offset`.
    pub(super) fn has_heading_at(&self, offset: usize) -> bool {
        self.ahead.binary_search_by_key(&offset, |heading| heading.start).is_ok()
    }

    /// The headings at the first non-blank of a chunk, outermost first, empty ones left out; if it begins with front
    /// matter, at the first non-blank after that. Chunks are asked for in order.
    pub(super) fn at(&mut self, text: &str, chunk: &Range<usize>) -> Vec<String> {
        let first_of = |range: Range<usize>| range.end - text[range].trim_start().len();
        let mut first = first_of(chunk.clone());
        while let Some(matter) = self.front_matter.pop_front_if(|matter| matter.start <= first) {
            if matter.start == first && matter.end < chunk.end {
                first = first_of(matter.end..chunk.end);
            }
        }
        while let Some(heading) = self.ahead.pop_front_if(|heading| heading.start <= first) {
            self.open.retain(|open| open.level < heading.level);
            self.open.push(heading);
        }
        shown(&self.open)
    }

    /// The headings that begin in a chunk behind the first, each with those it is under. To be asked for after [`Self::at`].
    pub(super) fn sections(&self, chunk: &Range<usize>) -> Vec<Section> {
        let mut open = self.open.clone();
        let mut sections = Vec::new();
        for heading in self.ahead.iter().take_while(|heading| heading.start < chunk.end) {
            open.retain(|open| open.level < heading.level);
            open.push(heading.clone());
            sections.push(Section { at: heading.start.saturating_sub(chunk.start), headings: shown(&open) });
        }
        sections
    }
}
