//! Makes the tables of `tokens::cl100k`:
//!
//! - `cl100k_tokens.bin`: the bytes of all tokens in the order of their ranks, so that where a token begins
//!   serves as its rank; 8 zero bytes more, so that 8 bytes can be read from any of them;
//! - `cl100k_lengths.bin`: their lengths;
//! - `cl100k_pairs.bin`: for every two bytes where the token of them begins; else 1 if some token has them
//!   side by side, and 0 if none has;
//! - `cl100k_classes.rs`: what the pattern that cuts texts into pieces can tell of a character.
//!
//! The reference is asked for all of it: tiktoken-rs for its ranks, the crate behind its regexes for the
//! classes. So no copy of the vocabulary is kept here, and the Unicode versions cannot differ.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use regex_syntax::hir::{Class, HirKind};

/// Ranks 0 to 100,255; what comes after a gap are special tokens, which never come out of text.
const TOKENS: u32 = 100_256;

/// Characters to a page of the class table.
const PAGE: usize = 128;

/// The classes' codes; everything else is 0.
const CLASSES: [(&str, u8, &str); 3] =
    [("LETTER", 1, r"\p{L}"), ("NUMBER", 2, r"\p{N}"), ("BLANK", 3, r"\s")];

pub(crate) fn write(out: &Path) {
    write_tokens(out);
    write_classes(out);
}

fn write_tokens(out: &Path) {
    let reference = tiktoken_rs::cl100k_base().expect("tiktoken-rs brings the vocabulary along");
    assert!(reference.decode_bytes(&[TOKENS]).is_err(), "there are more tokens than thought");
    let (mut tokens, mut lengths, mut pairs) = (Vec::new(), Vec::new(), vec![0_u8; 4 << 16]);
    for rank in 0..TOKENS {
        let token = reference.decode_bytes(&[rank]).expect("ranks have no gap");
        // What `Vocabulary` builds on: single bytes are the first tokens.
        assert_eq!(rank < 256, token.len() == 1, "{token:?}");
        assert!((1..=128).contains(&token.len()), "a length fits 7 bits of a slot: {token:?}");
        for pair in token.windows(2) {
            let at = 4 * (usize::from(pair[0]) << 8 | usize::from(pair[1]));
            if token.len() == 2 {
                pairs[at..at + 4].copy_from_slice(&(tokens.len() as u32).to_le_bytes());
            } else if pairs[at..at + 4] == [0; 4] {
                pairs[at] = 1;
            }
        }
        lengths.push(u8::try_from(token.len()).expect("asserted above"));
        tokens.extend(token);
    }
    assert!(tokens.len() < 1 << 20, "where a token begins fits 20 bits of a slot");
    tokens.extend([0; 8]);
    for (name, bytes) in
        [("cl100k_tokens.bin", tokens), ("cl100k_lengths.bin", lengths), ("cl100k_pairs.bin", pairs)]
    {
        fs::write(out.join(name), bytes).expect("OUT_DIR is writable");
    }
}

fn write_classes(out: &Path) {
    let mut classes = vec![0_u8; 0x11_0000];
    let mut source = format!("const PAGE: usize = {PAGE};\npub(super) const OTHER: u8 = 0;\n");
    for (name, code, pattern) in CLASSES {
        let parsed = regex_syntax::parse(pattern).expect("the features for these classes are on");
        let HirKind::Class(Class::Unicode(class)) = parsed.kind() else { panic!("{pattern} is a class") };
        for range in class.iter() {
            let characters = &mut classes[range.start() as usize..=range.end() as usize];
            assert!(characters.iter().all(|&class| class == 0), "{pattern} overlaps another class");
            characters.fill(code);
        }
        writeln!(source, "pub(super) const {name}: u8 = {code};").expect("writing to a String");
    }
    let (mut pages, mut index, mut seen) = (Vec::new(), Vec::new(), HashMap::new());
    for page in classes.chunks(PAGE) {
        index.push(*seen.entry(page).or_insert_with(|| {
            pages.extend_from_slice(page);
            u8::try_from(pages.len() / PAGE - 1).expect("at most 256 different pages")
        }));
    }
    writeln!(source, "static INDEX: [u8; {}] = {index:?};", index.len()).expect("writing to a String");
    writeln!(source, "static PAGES: [u8; {}] = {pages:?};", pages.len()).expect("writing to a String");
    fs::write(out.join("cl100k_classes.rs"), source).expect("OUT_DIR is writable");
}
