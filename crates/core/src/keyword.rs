//! Keyword terms: folded, stemmed, CJK as bigrams. Made here for documents and queries alike, so that D1's tokenizer
//! never has to understand a language.

use crate::Tenant;
use crate::document::ChunkRow;
use crate::identity::digest;
use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// BM25's saturation of repeated terms (Anserini's value).
pub const K1: f64 = 0.9;
/// BM25's length normalisation (Anserini's value).
pub const B: f64 = 0.4;
/// A query's terms at most; more are dropped from the end.
pub const MAX_QUERY_TERMS: usize = 96;
/// Letters of a stem that count: a cheap stemmer for languages that have none here, German's compounds above all.
const STEM_CHARS: usize = 8;
/// Letters of the pieces that words of other alphabets count by, since nothing is known of their endings and prefixes.
const GRAM_CHARS: usize = 4;

/// English words that carry no meaning for retrieval, those of questions among them.
const STOP_WORDS: [&str; 79] = [
    "a", "about", "am", "an", "and", "are", "as", "at", "be", "been", "being", "but", "by", "can", "could",
    "did", "do", "does", "for", "from", "had", "has", "have", "having", "he", "her", "him", "his", "how",
    "i", "if", "in", "into", "is", "it", "its", "may", "me", "might", "must", "my", "no", "not", "of", "on",
    "or", "our", "shall", "she", "should", "such", "than", "that", "the", "their", "them", "then", "there",
    "these", "they", "this", "to", "us", "was", "we", "were", "what", "when", "where", "which", "who",
    "whom", "whose", "why", "will", "with", "would", "you", "your",
];

/// Characters before and after a chunk whose words count as its own: what is asked for often stands beside what
/// answers it. Measured in docs/evaluation.md.
const CONTEXT_CHARS: usize = 200;

/// A chunk and what it stands in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passage<'a> {
    /// The document's title, as it is embedded.
    pub title: Option<&'a str>,
    /// The chunk's heading path.
    pub headings: &'a [String],
    /// The header of the table that it begins in.
    pub table_header: Option<&'a str>,
    /// The text before; of more than 200 characters the last.
    pub before: &'a str,
    /// The chunk.
    pub text: &'a str,
    /// The text after; of more than 200 characters the first.
    pub after: &'a str,
}

/// What of the chunk before stands before `start`: without what the two have in common.
pub fn before(previous: (u64, &str), start: u64) -> &str {
    let (from, text) = previous;
    text.get(..start.saturating_sub(from) as usize).unwrap_or(text)
}

/// What of the chunk after stands after `end`.
pub fn after(next: (u64, &str), end: u64) -> &str {
    let (from, text) = next;
    text.get(end.saturating_sub(from) as usize..).unwrap_or_default()
}

/// The terms of a chunk, in order, repeats included: of title, headings, the table's header, the text before, its own, the text after.
///
/// Words are folded to lower case without accents, stemmed as English and cut to eight letters; words that have other
/// letters than a–z then count whole and by their runs of four letters; an identifier counts by its parts and as a whole;
/// runs of Han, Kana, Hangul and Thai count as single characters and bigrams.
pub fn passage_terms(passage: &Passage<'_>) -> Vec<String> {
    let mut terms = Terms::new(true);
    let headings = passage.headings.iter().map(String::as_str);
    for part in passage.title.into_iter().chain(headings).chain(passage.table_header) {
        terms.read(part);
    }
    let start = passage.before.char_indices().rev().take(CONTEXT_CHARS).last().map_or(0, |(at, _)| at);
    terms.read(&passage.before[start..]);
    terms.read(passage.text);
    let end = passage.after.char_indices().nth(CONTEXT_CHARS).map_or(passage.after.len(), |(at, _)| at);
    terms.read(&passage.after[..end]);
    terms.found
}

/// Gives the chunks of a part, in order, their terms. A part's first and last chunk have nothing beside them: so the terms
/// of a chunk can be made again from the rows of its part.
pub fn add_terms(chunks: &mut [ChunkRow], title: Option<&str>) {
    for position in 0..chunks.len() {
        let chunk = &chunks[position];
        let previous = position.checked_sub(1).and_then(|previous| chunks.get(previous));
        let next = chunks.get(position + 1);
        let passage = Passage {
            title,
            headings: &chunk.headings,
            table_header: chunk.table_header.as_deref(),
            before: previous.map_or("", |previous| before((previous.start, &previous.text), chunk.start)),
            text: &chunk.text,
            after: next.map_or("", |next| after((next.start, &next.text), chunk.end)),
        };
        chunks[position].terms = passage_terms(&passage);
    }
}

/// The terms of a text, as [`passage_terms`] makes them.
pub fn terms(text: &str) -> Vec<String> {
    passage_terms(&Passage { text, ..Passage::default() })
}

/// The distinct terms of a query, at most [`MAX_QUERY_TERMS`]. Of a CJK run only the bigrams are asked for, since each
/// of its characters alone is far more common.
pub fn query_terms(query: &str) -> Vec<String> {
    let mut terms = Terms::new(false);
    terms.read(query);
    let mut terms = terms.found;
    let mut seen = std::collections::HashSet::new();
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

/// The terms found so far.
struct Terms {
    /// Whether single characters of scripts without spaces count beside the bigrams.
    unigrams: bool,
    stemmer: Stemmer,
    found: Vec<String>,
}

impl Terms {
    fn new(unigrams: bool) -> Self {
        Self { unigrams, stemmer: Stemmer::create(Algorithm::English), found: Vec::new() }
    }

    /// Takes the words of a text: runs of letters, marks, digits, underscores, and apostrophes between letters.
    fn read(&mut self, text: &str) {
        let mut rest = text;
        while let Some(start) = rest.find(char::is_alphanumeric) {
            rest = &rest[start..];
            let unspaced = rest.starts_with(is_unspaced);
            let mut end = rest.len();
            for (at, c) in rest.char_indices() {
                let next_is_letter = || rest[at + c.len_utf8()..].starts_with(char::is_alphabetic);
                let goes_on = if unspaced {
                    is_unspaced(c) || is_combining_mark(c)
                } else {
                    !is_unspaced(c)
                        && (c.is_alphanumeric()
                            || c == '_'
                            || is_combining_mark(c)
                            || is_apostrophe(c) && next_is_letter())
                };
                if !goes_on {
                    end = at;
                    break;
                }
            }
            let (word, after) = rest.split_at(end);
            rest = after;
            if unspaced { self.run(word) } else { self.word(word) }
        }
    }

    fn run(&mut self, run: &str) {
        let run: Vec<char> = run.nfkc().collect();
        if self.unigrams || run.len() == 1 {
            self.found.extend(run.iter().map(char::to_string));
        }
        self.found.extend(run.windows(2).map(|pair| pair.iter().collect()));
    }

    fn word(&mut self, word: &str) {
        let word = word.trim_end_matches('_');
        let word =
            word.strip_suffix(['s', 'S']).and_then(|word| word.strip_suffix(is_apostrophe)).unwrap_or(word);
        let parts = identifier_parts(word);
        if parts.len() > 1 {
            for part in &parts {
                self.term(part);
            }
            self.term(&parts.concat());
        } else {
            self.term(word);
        }
    }

    fn term(&mut self, word: &str) {
        let kept = word
            .nfkd()
            .filter(|letter| !is_combining_mark(*letter) && !is_apostrophe(*letter) && *letter != '_');
        let mut folded: String = kept.flat_map(char::to_lowercase).collect();
        if folded.contains('ß') {
            folded = folded.replace('ß', "ss");
        }
        if folded.is_empty() || STOP_WORDS.binary_search(&folded.as_str()).is_ok() {
            return;
        }
        if folded.is_ascii() {
            let mut stem = self.stemmer.stem(&folded).into_owned();
            stem.truncate(STEM_CHARS);
            self.found.push(stem);
            return;
        }
        let letters: Vec<char> = folded.chars().collect();
        if letters.len() > GRAM_CHARS {
            self.found.extend(letters.windows(GRAM_CHARS).map(|gram| gram.iter().collect()));
        }
        self.found.push(folded);
    }
}

/// The parts of `snake_case`, `camelCase`, `HTTPServer`, `utf8`; one part if it is no identifier.
fn identifier_parts(word: &str) -> Vec<&str> {
    #[derive(Clone, Copy, PartialEq)]
    enum Class {
        Upper,
        Lower,
        Digit,
        Joint,
    }
    let class = |letter: char| match letter {
        '_' => Class::Joint,
        _ if letter.is_numeric() => Class::Digit,
        _ if letter.is_uppercase() => Class::Upper,
        _ => Class::Lower,
    };
    let mut parts = Vec::new();
    let mut start = 0;
    // Where the letter before begins, and what it is.
    let mut before: Option<(usize, Class)> = None;
    for (at, letter) in word.char_indices() {
        let class = class(letter);
        if let Some((previous, last)) = before
            && last != class
        {
            let cut = match (last, class) {
                // The last of several capitals begins the next part.
                (Class::Upper, Class::Lower) => previous,
                _ => at,
            };
            if last != Class::Joint && cut > start {
                parts.push(&word[start..cut]);
            }
            start = if last == Class::Joint { at } else { cut };
        }
        before = Some((at, class));
    }
    if before.is_some_and(|(_, last)| last != Class::Joint) {
        parts.push(&word[start..]);
    }
    parts.retain(|part| !part.starts_with('_'));
    parts
}

fn is_apostrophe(letter: char) -> bool {
    matches!(letter, '\'' | '’')
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
    fn a_title_headings_and_what_stands_beside_count() {
        let headings = ["Wicks".to_owned()];
        let (before, after) = (format!("far {}", "near ".repeat(40)), format!("{}far", "near ".repeat(40)));
        let passage = Passage {
            title: Some("Lamp's oil"),
            headings: &headings,
            table_header: None,
            before: &before,
            text: "Don't.",
            after: &after,
        };
        let terms = passage_terms(&passage);
        assert_eq!(terms[..3], ["lamp", "oil", "wick"]);
        assert_eq!(terms[43], "dont");
        assert_eq!(terms.iter().filter(|term| *term == "near").count(), 80);
        assert!(!terms.contains(&"far".to_owned()));
    }

    #[test]
    fn an_identifier_is_found_by_its_parts_and_whole() {
        let cases: [(&str, &[&str]); 8] = [
            ("snake_case", &["snake", "case", "snakecas"]),
            ("__getUserID", &["get", "user", "id", "getuseri"]),
            ("HTTPServer2", &["http", "server", "2", "httpserv"]),
            ("utf8", &["utf", "8", "utf8"]),
            ("Paris", &["pari"]),
            ("NASA", &["nasa"]),
            ("a_", &[]),
            ("2026", &["2026"]),
        ];
        for (word, expected) in cases {
            assert_eq!(terms(word), expected, "{word}");
        }
    }

    #[test]
    fn words_without_a_stemmer_meet_by_their_beginnings_and_pieces() {
        assert_eq!(terms("Straßenbahn"), terms("STRASSENBAHNEN"));
        let (with, without) = (terms("والكتاب"), terms("كتاب"));
        assert!(without.iter().any(|term| with.contains(term)), "{with:?} {without:?}");
        assert_eq!(terms("маяка"), ["маяк", "аяка", "маяка"]);
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
