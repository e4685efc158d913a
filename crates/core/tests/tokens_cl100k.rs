//! The budget count.

#![allow(clippy::unwrap_used, clippy::format_collect)]

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
    for text in ["a", " ", "🙂", "\n", "'", "a b c ", "1", " \n", "\u{a0}"] {
        // tiktoken itself panics at a million blanks before another character.
        let long = text.repeat(2_100_000 / text.len()) + "x";
        let start = std::time::Instant::now();
        let count = cl100k::count(&long);
        println!("{text:?}: {count} tokens in {:?}", start.elapsed());
        assert!(count > 0 && start.elapsed().as_secs() < 60);
    }
}

#[test]
fn long_runs_of_blanks_are_counted_as_tiktoken_counts_them_where_it_can() {
    let text = format!("a{}b", " ".repeat(900_000));
    let tiktoken = tiktoken_rs::cl100k_base_singleton().encode_ordinary(&text).len();
    let ours = cl100k::count(&text);
    assert!((tiktoken..=tiktoken + 1).contains(&ours), "{ours}, tiktoken {tiktoken}");
}
