//! What `ragflare_core::chunk` guarantees, checked from outside, for every text and every valid setting.

#![allow(dead_code, clippy::unwrap_used)]

mod clock;

pub(crate) use clock::Clock;
use std::ops::Range;
use std::time::Duration;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};
use ragflare_core::chunk::{Chunk, ChunkSettings, Chunker, Format, MAX_CHUNK_BYTES, embedded_text};
use ragflare_core::tokens::WordPiece;
use ragflare_core::tokens::wordpiece::{MAX_TOKENS, SPECIALS};

pub(crate) fn chunks(text: &str, format: Format, settings: ChunkSettings) -> Vec<Chunk> {
    Chunker::new(settings).unwrap().chunks(text, format)
}

/// Checks everything the module promises. Returns how long making the chunks took.
pub(crate) fn check(text: &str, format: Format, settings: ChunkSettings) -> Duration {
    let clock = Clock::start();
    let chunks = chunks(text, format, settings);
    let time = clock.elapsed();
    let given = settings;
    let settings = given.of(format);
    let mut covered = 0;
    let mut previous: Option<&Chunk> = None;
    for (ordinal, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk.ordinal as usize, ordinal);
        let Range { start, end } = chunk.start..chunk.end;
        assert!(start < end && text.is_char_boundary(start) && text.is_char_boundary(end), "{start}..{end}");
        let body = &text[start..end];
        assert!(!body.trim().is_empty());
        if let Some(previous) = previous {
            assert!(previous.start < start && previous.end < end, "in order: {previous:?}, {chunk:?}");
            if settings.overlap == 0 {
                assert!(previous.end <= start, "no overlap: {previous:?}, {chunk:?}");
            } else if start < previous.end {
                assert!(WordPiece::count(&text[start..previous.end]) <= settings.overlap);
            }
        }
        let gap = &text[covered.min(start)..start];
        assert!(gap.trim().is_empty(), "left out: {gap:?}");
        covered = end;

        assert_eq!(chunk.tokens, WordPiece::count(body), "{chunk:?}");
        assert!(chunk.tokens <= settings.target && chunk.tokens <= MAX_TOKENS - SPECIALS - settings.prefix);
        assert!(body.len() <= MAX_CHUNK_BYTES, "{chunk:?}");
        let header = chunk.table_header.as_deref().map_or(0, |header| {
            assert!(header.lines().count() == 2 && header.starts_with('|'), "{header:?}");
            WordPiece::count(header.lines().next().unwrap())
        });
        let title = "A title: with \n control \u{7} characters, and long ".repeat(ordinal % 9);
        for title in [None, Some(title.as_str())] {
            let embedded =
                embedded_text(title, &chunk.headings, chunk.table_header.as_deref(), body, &settings);
            assert!(embedded.ends_with(body));
            let tokens = WordPiece::count(&embedded);
            assert!(
                tokens + SPECIALS <= MAX_TOKENS && tokens <= chunk.tokens + settings.prefix + header,
                "{embedded:?}"
            );
        }
        previous = Some(chunk);
    }
    assert!(text[covered..].trim().is_empty(), "left out at the end: {:?}", &text[covered..]);
    match format {
        Format::Plain => assert!(chunks.iter().all(|chunk| chunk.headings.is_empty())),
        Format::Markdown => check_blocks(text, settings, &chunks),
        Format::Code(_) => assert!(chunks.iter().all(|chunk| chunk.table_header.is_none())),
    }
    assert_eq!(chunks, self::chunks(text, format, given), "deterministic");
    time
}

/// No fence and no table is cut that fits in a chunk of its own. The reference for where they are is the parser, given
/// the whole text at once.
fn check_blocks(text: &str, settings: ChunkSettings, chunks: &[Chunk]) {
    let limit = settings.max_tokens() - settings.overlap;
    for block in fences_and_tables(text) {
        let body = &text[block.clone()];
        if body.len() <= MAX_CHUNK_BYTES && WordPiece::count(body) <= limit {
            let next = chunks.partition_point(|chunk| chunk.end <= block.start);
            let end = chunks.get(next).map_or(block.end, |chunk| chunk.end);
            assert!(end >= block.end, "cut at {end}, though it fits: {block:?} {body:?}");
        }
    }
}

/// Those at the top level of a document. None for one that the chunker may read differently: longer than it looks at
/// once, or nested beyond reason.
fn fences_and_tables(text: &str) -> Vec<Range<usize>> {
    const PIECE: usize = 128 * 1024;
    const DEPTH: usize = 32;
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES;
    let mut blocks = Vec::new();
    // Front matter is read by rules of the chunker's own.
    let may_be_front_matter = text.split(['\n', '\r']).any(|line| line.trim_end().ends_with("---"));
    if text.len() > PIECE || may_be_front_matter {
        return blocks;
    }
    // Lone carriage returns end lines everywhere, which the parser does not see in all places.
    let lines: Vec<String> = text.split("\r\n").map(|line| line.replace('\r', "\n")).collect();
    let text = &lines.join("\r\n");
    let mut depth = 0_usize;
    for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
        if depth == 0
            && matches!(event, Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(_)) | Tag::Table(_)))
        {
            let start = range.end - text[range.clone()].trim_start().len();
            blocks.push(start..(range.start + text[range].trim_end().len()).max(start));
        }
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            _ => {}
        }
        if depth > DEPTH {
            return Vec::new();
        }
    }
    blocks
}
