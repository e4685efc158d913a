//! Token counts against their references on every file of this checkout's fixtures and documents, or of another directory:
//!
//! ```sh
//! TEXTS=directory cargo test -p ragflare-core --test equality --profile native -- --nocapture
//! ```
//!
//! A file is a text as it is, what is not UTF-8 replaced; and so is every string of a JSON file, of every line of a JSONL
//! file, and every line of a plain one.

#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::path::{Path, PathBuf};

use ragflare_core::tokens::{WordPiece, cl100k};
use serde_json::Value;
use tokenizers::Tokenizer;
use tokenizers::models::wordpiece::WordPiece as ReferenceModel;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

/// Longer texts are compared in parts of this many bytes: the reference takes hundreds of bytes for one.
const PART: usize = 1 << 18;

/// As `tokenizer.json` of bge-small-en-v1.5 configures it, without its special tokens.
fn reference() -> Tokenizer {
    let vocabulary = ReferenceModel::read_bytes(include_bytes!("../data/bge_vocab.txt")).unwrap();
    let model = ReferenceModel::builder().vocab(vocabulary).unk_token("[UNK]".into()).build().unwrap();
    let mut tokenizer = Tokenizer::new(model);
    let _ = tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, true)));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer
}

fn ids(reference: &Tokenizer, text: &str) -> Vec<u32> {
    reference.encode_fast(text, false).unwrap().get_ids().to_vec()
}

/// The files in `TEXTS` and below, in order; without it, those of the checkout.
fn files() -> Vec<PathBuf> {
    let own =
        || ["../../fixtures", "../../docs"].map(|place| Path::new(env!("CARGO_MANIFEST_DIR")).join(place));
    let roots = std::env::var_os("TEXTS").map_or_else(|| own().to_vec(), |root| vec![PathBuf::from(root)]);
    let (mut directories, mut files) = (roots, Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { &mut directories } else { &mut files }.push(path);
        }
    }
    files.sort();
    files
}

/// The text of a file, and the texts in it.
fn texts(path: &Path) -> (String, Vec<String>) {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    let mut inside = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => strings(serde_json::from_str(&text).unwrap_or_default(), &mut inside),
        Some("jsonl") => {
            let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            lines.for_each(|value| strings(value, &mut inside));
        }
        _ => inside.extend(text.lines().map(str::to_owned)),
    }
    (text, inside)
}

fn strings(value: Value, into: &mut Vec<String>) {
    match value {
        Value::String(string) => into.push(string),
        Value::Array(values) => values.into_iter().for_each(|value| strings(value, into)),
        Value::Object(fields) => fields.into_iter().for_each(|(key, value)| {
            into.push(key);
            strings(value, into);
        }),
        _ => {}
    }
}

fn parts(text: &str, len: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (part, after) = rest.split_at(rest.floor_char_boundary(len.min(rest.len())));
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// What was compared.
#[derive(Default)]
struct Compared {
    files: usize,
    texts: usize,
    bytes: usize,
    different: usize,
}

impl Compared {
    fn note(&mut self, path: &Path, text: &str, equal: bool) {
        self.texts += 1;
        self.bytes += text.len();
        if !equal {
            self.different += 1;
            println!("DIFFERENT in {}: {:.200?}", path.display(), text);
        }
    }

    fn end(&self, what: &str) {
        let Self { files, texts, bytes, different } = self;
        println!("{what}: {files} files, {texts} texts, {bytes} bytes, {different} different");
        assert!(*texts > 0 && *different == 0);
    }
}

#[test]
fn wordpiece_is_the_reference_on_all_texts() {
    let reference = reference();
    let mut compared = Compared::default();
    for path in files() {
        compared.files += 1;
        let (text, inside) = texts(&path);
        for text in parts(&text, PART).chain(inside.iter().flat_map(|text| parts(text, PART))) {
            let expected = ids(&reference, text);
            let equal = WordPiece::ids(text) == expected && WordPiece::count(text) == expected.len();
            compared.note(&path, text, equal);
        }
    }
    compared.end("WordPiece ids");
}

#[test]
fn an_index_counts_any_span_as_the_reference_counts_its_text() {
    const SPANS: usize = 64;
    let reference = reference();
    let (mut compared, mut spans) = (Compared::default(), 0);
    // The numbers are those of Knuth's MMIX: any will do.
    let mut state = 1_u64;
    let mut random = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % (end + 1)
    };
    for path in files() {
        compared.files += 1;
        let text = texts(&path).0;
        for text in parts(&text, PART) {
            let index = WordPiece::index(text);
            let mut equal = index.total() == WordPiece::count(text);
            for _ in 0..SPANS {
                let start = text.floor_char_boundary(random(text.len()));
                let most = [16, 256, 4096][random(2)];
                let len = random(most);
                let span: Range<usize> = start..text.floor_char_boundary((start + len).min(text.len()));
                if span.start > span.end {
                    continue;
                }
                spans += 1;
                let count = index.count(text, span.clone());
                let body = &text[span];
                equal &= count == WordPiece::count(body) && count == ids(&reference, body).len();
            }
            compared.note(&path, text, equal);
        }
    }
    println!("{spans} spans");
    compared.end("TokenIndex");
}

#[test]
fn cl100k_is_the_reference_on_all_texts() {
    // Shorter ones are counted by the reference itself, so they are repeated.
    const LEAST: usize = (64 << 10) + 1;
    let mut compared = Compared::default();
    for path in files() {
        compared.files += 1;
        let (text, inside) = texts(&path);
        for text in [text, inside.join("\u{2029}"), inside.join("'")] {
            if text.is_empty() {
                continue;
            }
            for part in parts(&text, 4 * PART) {
                let long = part.repeat(LEAST.div_ceil(part.len()));
                let equal = cl100k::count(&long) == cl100k::reference(&long);
                compared.note(&path, part, equal);
            }
        }
    }
    compared.end("cl100k_base counts");
}
