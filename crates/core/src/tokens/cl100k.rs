//! Counting in `cl100k_base`, for the budgets of chat models.
//!
//! `cl100k_base` is a stand-in for the chat model's own tokenizer: on texts in English, German, Chinese,
//! Arabic and code its count was 1.00 to 1.52 times that of Llama 3, never below it.
//!
//! The reference is tiktoken, in the shape of tiktoken-rs, and every count is equal to its. In a Worker
//! tiktoken-rs adds 1.2 MB and takes 260 ms before its first count, so its vocabulary is laid out at compile
//! time here (`tables/cl100k.rs`): 0.45 MB, ready in 2 ms. A text is counted in three steps:
//!
//! 1. `pieces`: tiktoken's pattern cuts it into words, numbers, punctuation and blanks.
//! 2. `vocabulary`: most pieces are a token as they are.
//! 3. `merge`: byte-pair encoding of the other ones.

mod merge;
mod pieces;
mod vocabulary;

#[cfg(test)]
mod tests;

use vocabulary::Vocabulary;

/// The number of `cl100k_base` tokens of `text`. Special tokens spelled out in it (`<|endoftext|>`) are plain
/// text.
///
/// ```
/// use ragflare_core::tokens::cl100k;
///
/// assert_eq!(cl100k::count("tiktoken is great!"), 6);
/// ```
///
/// Time grows with the length of the text, whatever is in it. Natively, where no request waits for its 70 ms
/// of preparation, tiktoken-rs counts texts of up to 64 KiB as well, and has the last word.
pub fn count(text: &str) -> usize {
    let count = count_in_place(text);
    #[cfg(not(target_arch = "wasm32"))]
    if text.len() <= REFERENCE_BYTES {
        let reference = reference(text);
        debug_assert_eq!(count, reference, "{text:?}");
        return reference;
    }
    count
}

/// What tiktoken-rs itself counts.
///
/// It takes longer than linear time for some texts, and panics at a run of a million blanks
/// (measured with tiktoken-rs 0.12.1).
#[cfg(not(target_arch = "wasm32"))]
pub fn reference(text: &str) -> usize {
    tiktoken_rs::cl100k_base_singleton().encode_ordinary(text).len()
}

/// Up to here tiktoken-rs counts natively: any prompt, and nothing it could choke on.
#[cfg(not(target_arch = "wasm32"))]
const REFERENCE_BYTES: usize = 64 << 10;

fn count_in_place(text: &str) -> usize {
    let vocabulary = Vocabulary::get();
    let (mut at, mut count) = (0, 0);
    while at < text.len() {
        let end = pieces::end(text, at);
        count += merge::count(vocabulary, text.as_bytes(), at..end);
        at = end;
    }
    count
}
