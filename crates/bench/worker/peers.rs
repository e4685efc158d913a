//! text-splitter with two tokenizers in wasm, for `js/rust-peers.js`.

use std::cell::RefCell;
use std::sync::LazyLock;

use ragflare_bench::TARGET;
use text_splitter::{ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};
use tokenizers::Tokenizer;
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
}

#[path = "../benches/bge.rs"]
mod reference;

static BGE: LazyLock<Tokenizer> = LazyLock::new(reference::tokenizer);

fn count_bge(text: &str) -> usize {
    BGE.encode_fast(text, false).expect("every text can be encoded").len()
}

fn count_cl100k(text: &str) -> usize {
    tiktoken_rs::cl100k_base_singleton().encode_ordinary(text).len()
}

struct Sizer(fn(&str) -> usize);

impl ChunkSizer for Sizer {
    fn size(&self, chunk: &str) -> usize {
        self.0(chunk)
    }
}

fn chunks(markdown: bool, size: fn(&str) -> usize) -> usize {
    let config = ChunkConfig::new(TARGET).with_sizer(Sizer(size));
    TEXT.with_borrow(|text| {
        if markdown {
            MarkdownSplitter::new(config).chunk_indices(text).count()
        } else {
            TextSplitter::new(config).chunk_indices(text).count()
        }
    })
}

/// Keeps the text that the others work on.
#[wasm_bindgen]
pub fn hold(text: String) {
    TEXT.set(text);
}

/// The number of its chunks, sized by tokenizers.
#[wasm_bindgen]
pub fn chunk_tokenizers(markdown: bool) -> usize {
    chunks(markdown, count_bge)
}

/// The number of its chunks, sized by tiktoken-rs.
#[wasm_bindgen]
pub fn chunk_tiktoken(markdown: bool) -> usize {
    chunks(markdown, count_cl100k)
}

/// The number of its BGE tokens.
#[wasm_bindgen]
pub fn bge() -> usize {
    TEXT.with_borrow(|text| count_bge(text))
}

/// The number of its `cl100k_base` tokens.
#[wasm_bindgen]
pub fn cl100k() -> usize {
    TEXT.with_borrow(|text| count_cl100k(text))
}
