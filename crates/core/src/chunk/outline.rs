//! The structure of a text: its top-level blocks and its headings.

use std::borrow::Cow;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::chunk::prefix::one_line;

/// Longer headings are cut: every chunk below one carries it.
const MAX_HEADING_BYTES: usize = 512;

/// The deepest nesting of quotes and lists that one line can open. Real documents stay far below; the parser's time grows
/// with depth times lines.
const MAX_MARKERS: usize = 64;

/// The structure of one text.
#[derive(Debug)]
pub(super) struct Outline<'a> {
    /// What the parser read: the text, byte for byte as long, with markers beyond [`MAX_MARKERS`] blotted out.
    pub(super) view: Cow<'a, str>,
    /// In order; together they cover everything but blanks, and begin and end with a non-blank.
    pub(super) blocks: Vec<Block>,
    /// In order.
    pub(super) headings: Vec<Heading>,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
}

/// What a block is, as far as it matters for cutting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A heading of the document.
    Heading,
    /// A Markdown paragraph: line ends are blanks.
    Paragraph,
    /// A list, a table, a quote: has Markdown structure inside.
    Markup,
    /// Lines: code, HTML, front matter, a paragraph of plain text.
    Lines,
}

#[derive(Debug)]
pub(super) struct Heading {
    pub(super) start: usize,
    level: u8,
    text: String,
}

impl<'a> Outline<'a> {
    /// Paragraphs between blank lines; no headings.
    pub(super) fn plain(text: &'a str) -> Self {
        let mut starts = Vec::new();
        let mut at = 0;
        let mut after_blank = true;
        for line in text.split_inclusive('\n') {
            let blank = line.trim_start().is_empty();
            if after_blank && !blank {
                starts.push((at, Kind::Lines));
            }
            after_blank = blank;
            at += line.len();
        }
        Self { view: text.into(), blocks: blocks(text, &starts), headings: Vec::new() }
    }

    /// The blocks of a Markdown document, and its ATX and setext headings.
    pub(super) fn markdown(text: &'a str) -> Self {
        let view = blot_deep_markers(text);
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS
            | Options::ENABLE_HEADING_ATTRIBUTES
            | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
        let mut starts = Vec::new();
        let mut headings: Vec<Heading> = Vec::new();
        let mut depth = 0_usize;
        let mut in_heading = false;
        for (event, range) in Parser::new_ext(&view, options).into_offset_iter() {
            if depth == 0 {
                let kind = match &event {
                    Event::Start(Tag::Heading { level, .. }) => {
                        headings.push(Heading {
                            start: range.start,
                            level: *level as u8,
                            text: String::new(),
                        });
                        in_heading = true;
                        Kind::Heading
                    }
                    Event::Start(Tag::Paragraph) => Kind::Paragraph,
                    Event::Start(Tag::CodeBlock(_) | Tag::HtmlBlock | Tag::MetadataBlock(_))
                    | Event::Rule => Kind::Lines,
                    _ => Kind::Markup,
                };
                if starts.last().is_none_or(|(last, _)| *last < range.start) {
                    starts.push((range.start, kind));
                }
            }
            match event {
                Event::Start(_) => depth += 1,
                Event::End(tag) => {
                    depth = depth.saturating_sub(1);
                    in_heading &= !matches!(tag, TagEnd::Heading(_));
                }
                Event::Text(part) | Event::Code(part) if in_heading => push_part(&mut headings, &part),
                Event::SoftBreak | Event::HardBreak if in_heading => push_part(&mut headings, " "),
                _ => {}
            }
        }
        for heading in &mut headings {
            heading.text = one_line(&heading.text);
        }
        let blocks = blocks(text, &starts);
        Self { view, blocks, headings }
    }

    /// Whether a heading begins at `offset`.
    pub(super) fn has_heading_at(&self, offset: usize) -> bool {
        self.headings.binary_search_by_key(&offset, |heading| heading.start).is_ok()
    }

    /// The headings in force, asked for ascending offsets.
    pub(super) fn path(&self) -> Path<'_> {
        Path { rest: &self.headings, open: Vec::new() }
    }
}

/// Adds to the last heading what still fits.
fn push_part(headings: &mut [Heading], part: &str) {
    if let Some(heading) = headings.last_mut() {
        let room = MAX_HEADING_BYTES - heading.text.len();
        heading.text.push_str(&part[..part.floor_char_boundary(room)]);
    }
}

/// Blocks from their first bytes. What the parser reports no block for (link definitions) goes with the block before.
fn blocks(text: &str, starts: &[(usize, Kind)]) -> Vec<Block> {
    let mut blocks = Vec::with_capacity(starts.len() + 1);
    let mut push = |start: usize, end: usize, kind| {
        let part = &text[start..end];
        let start = end - part.trim_start().len();
        if start < end {
            blocks.push(Block { start, end: start + text[start..end].trim_end().len(), kind });
        }
    };
    push(0, starts.first().map_or(text.len(), |(start, _)| *start), Kind::Lines);
    for (position, &(start, kind)) in starts.iter().enumerate() {
        push(start, starts.get(position + 1).map_or(text.len(), |(next, _)| *next), kind);
    }
    blocks
}

/// The text with the quote and list markers that open a line replaced by an `x` from the [`MAX_MARKERS`]th on.
fn blot_deep_markers(text: &str) -> Cow<'_, str> {
    let mut blots = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let bytes = line.as_bytes();
        let mut markers = 0;
        let mut position = 0;
        while let Some(&byte) = bytes.get(position) {
            let blank_follows = |position: usize| {
                matches!(bytes.get(position + 1), Some(b' ' | b'\t' | b'\r' | b'\n') | None)
            };
            match byte {
                b' ' | b'\t' => {
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
                _ => break,
            }
            markers += 1;
            if markers > MAX_MARKERS {
                blots.push(at + position);
            }
            position += 1;
        }
        at += line.len();
    }
    if blots.is_empty() {
        return text.into();
    }
    let mut bytes = text.as_bytes().to_vec();
    for blot in blots {
        bytes[blot] = b'x';
    }
    // Only ASCII characters were replaced, by another one.
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Walks down a text and knows the headings it is under.
#[derive(Debug)]
pub(super) struct Path<'a> {
    rest: &'a [Heading],
    open: Vec<&'a Heading>,
}

impl Path<'_> {
    /// The headings at `offset`, outermost first, empty ones left out. Offsets never go back.
    pub(super) fn at(&mut self, offset: usize) -> Vec<String> {
        while let Some((heading, rest)) =
            self.rest.split_first().filter(|(heading, _)| heading.start <= offset)
        {
            self.open.retain(|open| open.level < heading.level);
            self.open.push(heading);
            self.rest = rest;
        }
        self.open.iter().map(|heading| heading.text.clone()).filter(|text| !text.is_empty()).collect()
    }
}
