//! Keyword terms: folded, stemmed, CJK as bigrams. Made here for documents and queries alike, so that D1's tokenizer
//! never has to understand a language.

use crate::Tenant;
use crate::identity::digest;
use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

/// BM25's saturation of repeated terms (Anserini's value).
pub const K1: f64 = 0.9;
/// BM25's length normalisation (Anserini's value).
pub const B: f64 = 0.4;
/// A query's terms at most; more are dropped from the end.
pub const MAX_QUERY_TERMS: usize = 64;

/// English words that carry no meaning for retrieval.
const STOP_WORDS: [&str; 33] = [
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no",
    "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to",
    "was", "will", "with",
];

/// The terms of a document's text, in order, repeats included: words folded to lower case without accents and stemmed;
/// runs of Han, Kana, Hangul and Thai as single characters and bigrams.
pub fn terms(text: &str) -> Vec<String> {
    collect(text, true)
}

/// The distinct terms of a query, at most [`MAX_QUERY_TERMS`]. Of a CJK run only the bigrams are asked for, since each
/// of its characters alone is far more common.
pub fn query_terms(query: &str) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let mut terms = collect(query, false);
    terms.retain(|term| seen.insert(term.clone()));
    terms.truncate(MAX_QUERY_TERMS);
    terms
}

/// How a tenant's term is stored: 13 characters of `a-z 2-7`, a hash of tenant and term. Terms of two tenants never
/// meet, no text of a user reaches the full-text parser, and its tokenizer has nothing to decide.
pub fn stored_term(tenant: &Tenant, term: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = digest(&[tenant.as_str().as_bytes(), term.as_bytes()]);
    let mut bits = u64::from_be_bytes([
        digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
    ]);
    let mut stored = String::with_capacity(13);
    for _ in 0..13 {
        stored.push(char::from(ALPHABET[(bits & 31) as usize]));
        bits >>= 5;
    }
    stored
}

fn collect(text: &str, unigrams: bool) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    let mut terms = Vec::new();
    let mut run: Vec<char> = Vec::new();
    let mut run_end = 0;
    for (offset, word) in text.unicode_word_indices() {
        if word.chars().all(is_unspaced) {
            // Segmentation gives such scripts back in pieces; what follows without a gap is one run.
            if offset != run_end {
                flush(&mut run, &mut terms, unigrams);
            }
            run.extend(word.nfkc());
            run_end = offset + word.len();
            continue;
        }
        flush(&mut run, &mut terms, unigrams);
        let folded = fold(word);
        if !folded.is_empty() && STOP_WORDS.binary_search(&folded.as_str()).is_err() {
            terms.push(stemmer.stem(&folded).into_owned());
        }
    }
    flush(&mut run, &mut terms, unigrams);
    terms
}

fn flush(run: &mut Vec<char>, terms: &mut Vec<String>, unigrams: bool) {
    if unigrams || run.len() == 1 {
        terms.extend(run.iter().map(char::to_string));
    }
    terms.extend(run.windows(2).map(|pair| pair.iter().collect()));
    run.clear();
}

fn fold(word: &str) -> String {
    word.nfkd().filter(|letter| !is_combining_mark(*letter)).flat_map(char::to_lowercase).collect()
}

/// Scripts written without spaces between words.
fn is_unspaced(letter: char) -> bool {
    matches!(u32::from(letter),
        0x0E00..=0x0EFF // Thai, Lao
        | 0x1000..=0x109F // Myanmar
        | 0x1100..=0x11FF | 0x3130..=0x318F | 0xAC00..=0xD7AF // Hangul
        | 0x1780..=0x17FF // Khmer
        | 0x2E80..=0x2FDF | 0x3005..=0x3007 | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF // Han
        | 0x3040..=0x30FF | 0x31F0..=0x31FF | 0xFF66..=0xFF9D // Kana
        | 0x20000..=0x3FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_and_stemmed() {
        assert_eq!(terms("The Running CAFÉS, naïvely"), ["run", "cafe", "naiv"]);
    }

    #[test]
    fn chinese_is_found_by_two_characters() {
        let stored = terms("全文检索很快。");
        for term in query_terms("检索") {
            assert!(stored.contains(&term), "{term} in {stored:?}");
        }
        assert_eq!(query_terms("检索"), ["检索"]);
        assert_eq!(query_terms("检"), ["检"]);
    }

    #[test]
    fn stop_words_are_sorted_for_the_search() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn stored_terms_differ_by_tenant_and_are_plain() {
        let stored = |tenant: &str| stored_term(&Tenant::new(tenant).unwrap(), "cat");
        assert_ne!(stored("a"), stored("b"));
        assert_eq!(stored("a").len(), 13);
        assert!(stored("a").bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn hostile_queries_are_only_terms() {
        let terms = query_terms("\" OR NEAR(a* -b) ^ {col}: '; DROP TABLE\0");
        assert!(terms.iter().all(|term| term.chars().all(char::is_alphanumeric)), "{terms:?}");
        assert_eq!(
            query_terms(&(0..500).map(|n| format!("w{n} ")).collect::<String>()).len(),
            MAX_QUERY_TERMS
        );
    }
}
