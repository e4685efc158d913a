//! How much memory it takes to cut a text into chunks.

// A counting allocator is an unsafe trait; this one only counts and leaves the rest to the system's.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ragflare_core::chunk::{Chunk, ChunkSettings, Chunker, Format, Language};

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it is. `realloc` is the provided one, which holds the
// old and the new block at once: the worst that an allocator does.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller keeps what `alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps what `dealloc` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The chunks of a text, and the most bytes in use at a time while they were made, besides those of the result.
fn measure(text: &str, format: Format, settings: ChunkSettings) -> (Vec<Chunk>, usize) {
    let chunker = Chunker::new(settings).unwrap();
    PEAK.store(NOW.load(Relaxed), Relaxed);
    let chunks = chunker.chunks(text, format);
    (chunks, PEAK.load(Relaxed) - NOW.load(Relaxed))
}

/// The only test here: others would run at the same time and be counted too.
#[test]
fn memory_does_not_grow_with_the_text() {
    const LIMIT: usize = 24 << 20;
    let parts = [
        (
            "manual",
            "## Section\n\nSome *text* with [a link](https://example.com) and `code`.\n\n- one\n- two\n\n```sh\nrun\n```\n\n",
        ),
        ("brackets", "["),
        ("images", "!["),
        ("shortcuts", "[a]"),
        ("emphasis", "**a** "),
        ("marks", "*a_ "),
        ("code", "`a"),
        ("lines", "a\n"),
        ("paragraphs", "a\n\n"),
        ("headings", "#\n"),
        ("linked headings", "# [a][b]\n"),
        ("items", "- \n"),
        ("nested items", "- - - a\n"),
        ("quotes", "> > > > a\n"),
        ("rows", "|a|b|\n|-|-|\n"),
        ("cells", "|"),
        ("definitions", "[a]: b\n"),
        ("notes", "[^a]: b\n\n"),
        ("rules", "---\n"),
        ("front matter", "---\na: b\n---\n\n"),
        ("fences", "```\n"),
        ("tags", "<a>"),
        ("entities", "&lt;"),
        ("escapes", "\\!"),
        ("one word", "a"),
        ("punctuation", "!"),
        ("blanks", " "),
        ("line ends", "\n"),
        ("NULs", "\0"),
        ("Chinese", "向"),
        ("emoji", "🙂"),
    ];
    for (name, part) in parts {
        // What takes the most is also seen for eight times as long.
        let size = if ["brackets", "shortcuts"].contains(&name) { 8 << 20 } else { 1 << 20 };
        let text = part.repeat(size / part.len());
        for format in [Format::Plain, Format::Markdown, Format::Code(Language::TypeScript)] {
            let (chunks, peak) = measure(&text, format, ChunkSettings::default());
            println!(
                "{name:16} {format:?}: {} chunks, {:.1} MiB",
                chunks.len(),
                peak as f64 / f64::from(1 << 20)
            );
            assert!(peak <= LIMIT, "{name} as {format:?} took {peak} bytes");
        }
    }
    let text = "a ".repeat(1 << 20);
    let settings = ChunkSettings { target: 32, code_target: 32, overlap: 16, prefix: 0 };
    let (_, peak) = measure(&text, Format::Markdown, settings);
    assert!(peak <= LIMIT, "small chunks took {peak} bytes");
}
