//! Ours in wasm, for `js/ragflare.js`.

use std::cell::RefCell;

use ragflare_bench::TARGET;
use ragflare_core::chunk::{ChunkSettings, Chunker, Format};
use ragflare_core::tokens::{WordPiece, cl100k};
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps the text that the others work on.
#[wasm_bindgen]
pub fn hold(text: String) {
    TEXT.set(text);
}

/// The number of its chunks.
#[wasm_bindgen]
pub fn chunk(markdown: bool) -> usize {
    let settings = ChunkSettings { target: TARGET, ..ChunkSettings::default() };
    let format = if markdown { Format::Markdown } else { Format::Plain };
    let chunker = Chunker::new(settings).expect("these settings are valid");
    TEXT.with_borrow(|text| chunker.chunks(text, format).len())
}

/// The number of its BGE tokens.
#[wasm_bindgen]
pub fn bge() -> usize {
    TEXT.with_borrow(|text| WordPiece::count(text))
}

/// The number of its `cl100k_base` tokens.
#[wasm_bindgen]
pub fn cl100k() -> usize {
    TEXT.with_borrow(|text| cl100k::count(text))
}

/// The sum of its bytes: each read once.
#[wasm_bindgen]
pub fn floor() -> usize {
    TEXT.with_borrow(|text| text.bytes().map(usize::from).sum())
}
