//! The budget count.

use ragflare_core::tokens::cl100k;

#[test]
fn counts_known_texts() {
    // `tiktoken.get_encoding("cl100k_base").encode_ordinary`
    assert_eq!(cl100k::count(""), 0);
    assert_eq!(cl100k::count("hello world"), 2);
    assert_eq!(cl100k::count("tiktoken is great!"), 6);
}

#[test]
fn spelled_out_specials_are_plain_text() {
    assert!(cl100k::count("<|endoftext|>") > 1);
}

#[test]
fn hostile_texts_are_counted_in_time_and_without_a_panic() {
    for text in ["a", " ", "🙂", "\n", "'", "a b c ", "1"] {
        let long = text.repeat(1_000_000 / text.len());
        let start = std::time::Instant::now();
        let count = cl100k::count(&long);
        println!("{text:?}: {count} tokens in {:?}", start.elapsed());
        assert!(count > 0);
    }
}
