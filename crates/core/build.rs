//! Makes the tables of `tokens::cl100k` (`tables/cl100k.rs`) and of `tokens::wordpiece` at compile time, so that
//! little or nothing is built when a worker starts. For the latter:
//!
//! - `words.fst` and `suffixes.fst`: the vocabulary (`data/bge_vocab.txt`) as two byte tries, entries that begin a
//!   word and entries that continue one (stored without their `##`), each with its token id as value;
//! - `chars.rs`: what the BERT normalizer and pre-tokenizer make of every Unicode scalar value.
//!
//! The character facts come from the very crates Hugging Face `tokenizers` asks (`unicode_categories`,
//! `unicode-normalization-alignments`, and `char::to_lowercase` of the standard library): their Unicode versions
//! are old and differ from each other, and an exact count has to be old in the same way.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use unicode_categories::UnicodeCategories as _;
use unicode_normalization_alignments::UnicodeNormalization as _;
use unicode_normalization_alignments::char::canonical_combining_class;

#[path = "tables/cl100k.rs"]
mod cl100k;

/// Codes of `chars.rs`; `tokens::wordpiece` knows the same ones by the constants written there.
const DROP: u16 = 0;
const SPACE: u16 = 1;
const WORD: u16 = 2;
const SINGLE: u16 = 3;
const HANGUL: u16 = 4;
const MAPPED: u16 = 8;

const PAGE: usize = 128;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=tables/cl100k.rs");
    println!("cargo::rerun-if-changed=data/bge_vocab.txt");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    let out = Path::new(&out);

    let vocabulary = fs::read_to_string("data/bge_vocab.txt").expect("the vocabulary is part of the crate");
    let (mut words, mut suffixes) = (BTreeMap::new(), BTreeMap::new());
    for (id, line) in (0_u64..).zip(vocabulary.lines()) {
        let entry = line.trim_end();
        match entry.strip_prefix("##") {
            Some(suffix) if !suffix.is_empty() => suffixes.insert(suffix, id),
            _ => words.insert(entry, id),
        };
    }
    assert_eq!(words.get("[UNK]"), Some(&100), "the id of [UNK] is a constant of tokens::wordpiece");
    write_fst(&out.join("words.fst"), &words);
    write_fst(&out.join("suffixes.fst"), &suffixes);

    check_order_is_irrelevant(&vocabulary);
    write_chars(&out.join("chars.rs"));

    cl100k::write(out);
}

fn write_fst(path: &Path, entries: &BTreeMap<&str, u64>) {
    let map = fst::Map::from_iter(entries.iter().map(|(entry, id)| (entry, *id)))
        .expect("a BTreeMap is sorted and has no duplicates");
    fs::write(path, map.as_fst().as_bytes()).expect("OUT_DIR is writable");
}

/// NFD also reorders combining marks. Those that survive the accent stripping could make a word differ from the
/// character-by-character mapping, but only if the vocabulary knew any of them: without, the word is [UNK] in any order.
fn check_order_is_irrelevant(vocabulary: &str) {
    for c in vocabulary.chars() {
        assert!(
            canonical_combining_class(c) == 0 || c.is_mark_nonspacing(),
            "{c:?} is in the vocabulary, can be reordered by NFD and is not stripped"
        );
    }
}

/// What becomes of one character: the steps of `BertNormalizer` and the classes of `BertPreTokenizer`.
fn code_of(c: char, mapped: &mut Vec<String>, known: &mut HashMap<String, u16>) -> u16 {
    let control = !matches!(c, '\t' | '\n' | '\r') && c.is_other();
    if c == '\0' || c == '\u{fffd}' || control {
        return DROP;
    }
    if c.is_whitespace() {
        return SPACE;
    }
    let cjk = matches!(c as u32,
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F | 0x2B740..=0x2B81F
        | 0x2B920..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F);
    let becomes: String = c
        .to_string()
        .nfd()
        .map(|(c, _)| c)
        .filter(|c| !c.is_mark_nonspacing())
        .flat_map(char::to_lowercase)
        .collect();
    assert!(!becomes.contains(char::is_whitespace), "{c:?} becomes a blank");
    let punctuation = becomes.contains(|c: char| c.is_ascii_punctuation() || c.is_punctuation());
    let single = cjk || punctuation;
    // This is what lets `TokenIndex` add up words: no character is a part of two of them.
    assert!(!single || becomes.chars().count() == 1, "{c:?} is a part of several words");
    if becomes.is_empty() {
        return DROP;
    }
    if becomes.chars().eq([c]) {
        return if single { SINGLE } else { WORD };
    }
    if ('\u{AC00}'..='\u{D7A3}').contains(&c) {
        let s = c as u32 - 0xAC00;
        let mut jamo = vec![0x1100 + s / 588, 0x1161 + s % 588 / 28];
        jamo.extend((!s.is_multiple_of(28)).then_some(0x11A7 + s % 28));
        assert!(becomes.chars().map(u32::from).eq(jamo), "{c:?} is not decomposed by the formula");
        return HANGUL;
    }
    assert!(becomes.len() <= 15, "{c:?} becomes more than the table's length field can say");
    let entry = format!("{}{becomes}", if single { '1' } else { '0' });
    *known.entry(entry.clone()).or_insert_with(|| {
        mapped.push(entry);
        MAPPED + u16::try_from(mapped.len() - 1).expect("fewer than 65,528 mappings")
    })
}

fn write_chars(path: &Path) {
    let (mut mapped, mut known) = (Vec::new(), HashMap::new());
    let codes: Vec<u16> =
        // A surrogate is no `char`; nothing looks it up.
        (0..=0x0010_FFFF).map(|u| char::from_u32(u).map_or(WORD, |c| code_of(c, &mut mapped, &mut known))).collect();

    let (mut pages, mut index, mut seen) = (Vec::new(), Vec::new(), HashMap::new());
    for page in codes.chunks(PAGE) {
        index.push(*seen.entry(page).or_insert_with(|| {
            pages.extend_from_slice(page);
            u8::try_from(pages.len() / PAGE - 1).expect("at most 256 different pages")
        }));
    }

    // Per mapping: where its text starts in the pool, its length in bytes, and whether it is a word on its own.
    let (mut pool, mut spans) = (String::new(), Vec::new());
    for entry in &mapped {
        let (single, text) = entry.split_at(1);
        let at = pool.find(text).unwrap_or_else(|| {
            pool.push_str(text);
            pool.len() - text.len()
        });
        let single = u32::from(single == "1");
        spans.push(
            u32::try_from(at).expect("small") << 5 | u32::try_from(text.len()).expect("small") << 1 | single,
        );
    }

    // ASCII: 0 dropped, 1 blank, else the lower-cased byte, with the high bit set when it is a word on its own.
    let ascii: Vec<u8> = (0..128_u8)
        .map(|b| match codes[usize::from(b)] {
            DROP => 0,
            SPACE => 1,
            SINGLE => b | 0x80,
            _ => b.to_ascii_lowercase(),
        })
        .collect();

    let mut source = String::new();
    for (name, value) in [
        ("DROP", DROP),
        ("SPACE", SPACE),
        ("WORD", WORD),
        ("SINGLE", SINGLE),
        ("HANGUL", HANGUL),
        ("MAPPED", MAPPED),
    ] {
        writeln!(source, "const {name}: u16 = {value};").expect("writing to a String");
    }
    write!(
        source,
        "const PAGE: usize = {PAGE};\n\
         static ASCII: [u8; 128] = {ascii:?};\n\
         static INDEX: [u8; {}] = {index:?};\n\
         static PAGES: [u16; {}] = {pages:?};\n\
         static SPANS: [u32; {}] = {spans:?};\n\
         static POOL: &str = {pool:?};\n",
        index.len(),
        pages.len(),
        spans.len(),
    )
    .expect("writing to a String");
    fs::write(path, source).expect("OUT_DIR is writable");
}
