//! How often the hot paths ask for memory, against the snapshot in `fixtures/snapshots/allocations.json`.
//!
//! `BLESS=1 cargo test --profile native --package ragflare-core --test allocations` rewrites the snapshot.

// A counting allocator is an unsafe trait; this one only counts and leaves the rest to the system's.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::{env, fs};

use ragflare_core::chunk::{ChunkSettings, Chunker, Format};
use ragflare_core::tokens::{WordPiece, cl100k};
use serde_json::{Value, json};

thread_local! {
    /// Of this thread only: the test harness has one of its own.
    static COST: Cell<Cost> = const { Cell::new(Cost { allocations: 0, bytes: 0 }) };
}

struct Counting;

fn count(bytes: usize) {
    let Cost { allocations, bytes: before } = COST.get();
    COST.set(Cost { allocations: allocations + 1, bytes: before + bytes });
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps what `alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: the caller keeps what `realloc` asks for.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps what `dealloc` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// More than this part of what the snapshot has is too much.
const GROWTH: f64 = 1.02;

/// How often something asks for memory, and for how much in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    allocations: usize,
    bytes: usize,
}

/// The second time is what counts: the first may fill what is kept for good.
fn measure<T>(work: impl Fn() -> T) -> Cost {
    drop(black_box(work()));
    COST.set(Cost { allocations: 0, bytes: 0 });
    let kept = black_box(work());
    let cost = COST.get();
    drop(kept);
    cost
}

/// 100 KB of Markdown: longer than what tiktoken-rs counts as well.
fn markdown() -> String {
    let guide = include_str!("../../../fixtures/lighthouse.md");
    let copies = (1..).map(|number| guide.replace("Skerry Light", &format!("Skerry Light {number}")));
    let mut text = String::new();
    for copy in copies {
        if text.len() >= 100_000 {
            break;
        }
        text += &copy;
    }
    text
}

/// What costs more than in the snapshot, a line each.
fn grown(before: &Value, now: &BTreeMap<&str, Cost>) -> String {
    let mut lines = String::new();
    for (name, cost) in now {
        for (what, now) in [("allocations", cost.allocations), ("bytes", cost.bytes)] {
            match before[name][what].as_u64() {
                Some(before) if now as f64 <= before as f64 * GROWTH => {}
                Some(before) => writeln!(lines, "{name}: {what} grew from {before} to {now}").unwrap(),
                None => writeln!(lines, "{name}: the snapshot has no {what}").unwrap(),
            }
        }
    }
    lines
}

#[test]
fn no_more_memory_is_asked_for_than_in_the_snapshot() {
    let text = markdown();
    let settings = ChunkSettings { target: 256, ..ChunkSettings::default() };
    let chunker = Chunker::new(settings).unwrap();
    let overlapping = Chunker::new(ChunkSettings { overlap: 32, ..settings }).unwrap();
    let now = BTreeMap::from([
        ("chunk Markdown", measure(|| chunker.chunks(&text, Format::Markdown))),
        ("chunk Markdown, overlap", measure(|| overlapping.chunks(&text, Format::Markdown))),
        ("chunk plain text", measure(|| chunker.chunks(&text, Format::Plain))),
        ("WordPiece::count", measure(|| WordPiece::count(&text))),
        ("WordPiece::index", measure(|| WordPiece::index(&text))),
        ("cl100k::count", measure(|| cl100k::count(&text))),
    ]);

    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/snapshots/allocations.json");
    if env::var_os("BLESS").is_some() {
        let rows: BTreeMap<_, _> = now
            .iter()
            .map(|(name, cost)| (name, json!({ "allocations": cost.allocations, "bytes": cost.bytes })))
            .collect();
        fs::write(place, format!("{:#}\n", json!(rows))).unwrap();
        return;
    }
    let before: Value = serde_json::from_str(&fs::read_to_string(place).unwrap()).unwrap();
    let grown = grown(&before, &now);
    assert!(
        grown.is_empty(),
        "{grown}if it has to be so, BLESS=1 rewrites the snapshot: say why in the commit"
    );

    // That it would be noticed.
    let twice = |cost: &Cost| Cost { allocations: 2 * cost.allocations.max(1), bytes: 2 * cost.bytes.max(1) };
    let more: BTreeMap<_, _> = now.iter().map(|(name, cost)| (*name, twice(cost))).collect();
    assert_eq!(self::grown(&before, &more).lines().count(), 2 * now.len());
}
