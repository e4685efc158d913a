//! Counting in BERT-uncased `WordPiece` tokens: the tokenizer of BGE v1.5.
//!
//! The reference is Hugging Face `tokenizers` with the model's `tokenizer.json`: `BertNormalizer` (clean, space out
//! Chinese characters, strip accents, lower-case), `BertPreTokenizer` (split at blanks, isolate punctuation), `WordPiece`
//! (greedy longest match; a word of more than 100 characters or with an unknown part is one `[UNK]`). Counts here
//! are equal to it, token for token, with one intended exception: the reference reads a literal `[CLS]`, `[SEP]`,
//! `[PAD]`, `[MASK]` or `[UNK]` in a text as that one special token, we count the three or more tokens of its spelling.
//! So a count is never *below* what the embedder sees: brackets separate words anyway, all around stays the same.
//!
//! Every step of the reference but one looks at a single character, so they are one table lookup per character here,
//! made by `build.rs` from the reference's own Unicode tables. The exception is the reordering of combining marks in
//! NFD; `build.rs` checks that it cannot change a count. The vocabulary is walked in place. Nothing is built at start-up.

use std::ops::Range;

use fst::raw::Fst;

// What is included is written by build.rs, one table a line.
#[allow(clippy::unreadable_literal)]
mod tables {
    include!(concat!(env!("OUT_DIR"), "/chars.rs"));

    /// What becomes of a character.
    pub(super) enum Becomes {
        /// Nothing: a control character, an accent.
        Nothing,
        /// A blank: it ends a word.
        Space,
        /// Itself, as a part of a word.
        Word,
        /// Itself, as a word on its own.
        Single,
        /// A Hangul syllable: its two or three jamo, as a part of a word.
        Hangul,
        /// Other characters; `true` when they are a word on their own.
        Mapped(&'static str, bool),
    }

    pub(super) fn becomes(c: char) -> Becomes {
        let c = c as usize;
        match PAGES[usize::from(INDEX[c / PAGE]) * PAGE + c % PAGE] {
            DROP => Becomes::Nothing,
            SPACE => Becomes::Space,
            WORD => Becomes::Word,
            SINGLE => Becomes::Single,
            HANGUL => Becomes::Hangul,
            code => {
                let span = SPANS[usize::from(code - MAPPED)];
                let (start, len) = ((span >> 5) as usize, (span >> 1 & 0xf) as usize);
                Becomes::Mapped(&POOL[start..start + len], span & 1 == 1)
            }
        }
    }

    /// 0 dropped, 1 blank, else the lower-cased byte, with the high bit set when it is a word on its own.
    pub(super) fn ascii(byte: u8) -> u8 {
        ASCII[usize::from(byte)]
    }
}

/// Tokens the embedder adds to every text: `[CLS]` and `[SEP]`.
pub const SPECIALS: usize = 2;

/// What the BGE v1.5 models read of a text, in tokens, [`SPECIALS`] included; the rest is cut off unseen.
pub const MAX_TOKENS: usize = 512;

/// The id of `[UNK]`; `build.rs` checks it.
const UNK: u32 = 100;

/// `max_input_chars_per_word`: a longer word is one `[UNK]`.
const MAX_WORD_CHARS: usize = 100;

static WORDS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/words.fst"));
static SUFFIXES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/suffixes.fst"));

/// The `WordPiece` tokenizer of the BGE v1.5 models. It has no state: its tables are part of the binary.
#[derive(Debug, Clone, Copy, Default)]
pub struct WordPiece;

impl WordPiece {
    /// The number of tokens of `text`, [`SPECIALS`] not included.
    ///
    /// ```
    /// use ragflare_core::tokens::WordPiece;
    ///
    /// assert_eq!(WordPiece::count("Hello, wörld!"), 4); // hello , world !
    /// assert_eq!(WordPiece::count("tokenization"), 2); // token ##ization
    /// assert_eq!(WordPiece::count("向量"), 2);
    /// ```
    pub fn count(text: &str) -> usize {
        let vocabulary = Vocabulary::new();
        let mut count = 0;
        for_each_word(text, |_, word| count += vocabulary.count(word) as usize);
        count
    }

    /// The token ids of `text`, without `[CLS]` and `[SEP]`.
    pub fn ids(text: &str) -> Vec<u32> {
        let vocabulary = Vocabulary::new();
        let mut ids = Vec::new();
        for_each_word(text, |_, word| {
            let before = ids.len();
            if vocabulary.tokenize(word, |id| ids.push(id)).is_none() {
                // The parts found before the unknown one do not count.
                ids.truncate(before);
                ids.push(UNK);
            }
        });
        ids
    }

    /// Tokenizes `text` once, so that [`TokenIndex::count`] can tell the size of any part of it.
    ///
    /// # Panics
    /// If `text` is 4 GiB or longer.
    pub fn index(text: &str) -> TokenIndex {
        assert!(u32::try_from(text.len()).is_ok(), "a text to index is shorter than 4 GiB");
        let vocabulary = Vocabulary::new();
        let mut words = Vec::new();
        let mut before = 0;
        for_each_word(text, |span, word| {
            words.push(Word { start: span.start as u32, end: span.end as u32, before });
            before += vocabulary.count(word);
        });
        words.shrink_to_fit();
        TokenIndex { words, total: before }
    }
}

/// Where the words of one text are and how many tokens come before each: 12 bytes a word.
///
/// `WordPiece` never joins two words, so the count of a range is the sum over the words inside it; only the words the
/// range cuts in two, at most one at each edge, are tokenized again.
#[derive(Debug, Clone)]
pub struct TokenIndex {
    words: Vec<Word>,
    total: u32,
}

/// A word of the pre-tokenizer: bytes `start..end` of the text, and the tokens of all words before it.
#[derive(Debug, Clone, Copy)]
struct Word {
    start: u32,
    end: u32,
    before: u32,
}

impl TokenIndex {
    /// The number of tokens of the whole text, [`SPECIALS`] not included.
    pub fn total(&self) -> usize {
        self.total as usize
    }

    /// The number of tokens of `text[range]`, equal to `WordPiece::count(&text[range])`. `text` is the one the index
    /// was made from.
    ///
    /// Takes a binary search over the words, and time linear in the length of the words that `range` cuts.
    ///
    /// # Panics
    /// If `range` does not lie on character boundaries inside `text`.
    pub fn count(&self, text: &str, range: Range<usize>) -> usize {
        let part = &text[range.clone()];
        // The words that have at least a byte in the range: first..last.
        let first = self.words.partition_point(|word| word.end as usize <= range.start);
        let last = first + self.words[first..].partition_point(|word| (word.start as usize) < range.end);
        let Some(words @ ([head, .., tail] | [head @ tail])) = self.words.get(first..last) else {
            return 0;
        };
        let head_is_cut = (head.start as usize) < range.start;
        let tail_is_cut = range.end < tail.end as usize;
        if words.len() == 1 && (head_is_cut || tail_is_cut) {
            return WordPiece::count(part);
        }
        let mut whole = first..last;
        let mut count = 0;
        if head_is_cut {
            count += WordPiece::count(&text[range.start..head.end as usize]);
            whole.start += 1;
        }
        if tail_is_cut {
            count += WordPiece::count(&text[tail.start as usize..range.end]);
            whole.end -= 1;
        }
        count + (self.before(whole.end) - self.before(whole.start)) as usize
    }

    /// The tokens of all words before the `word`-th.
    fn before(&self, word: usize) -> u32 {
        self.words.get(word).map_or(self.total, |word| word.before)
    }
}

/// The two tries of the vocabulary.
struct Vocabulary {
    words: Fst<&'static [u8]>,
    suffixes: Fst<&'static [u8]>,
}

impl Vocabulary {
    /// Free: reads two headers.
    fn new() -> Self {
        let open = |bytes| Fst::new(bytes).expect("build.rs made it");
        Self { words: open(WORDS), suffixes: open(SUFFIXES) }
    }

    /// The number of tokens of a normalized word (`None`: one too long to look at).
    fn count(&self, word: Option<&[u8]>) -> u32 {
        self.tokenize(word, |_| {}).unwrap_or(1)
    }

    /// The number of parts of a normalized word, and the ids of its parts as they are found; `None` when the word turns
    /// out to be `[UNK]`.
    fn tokenize(&self, word: Option<&[u8]>, mut part: impl FnMut(u32)) -> Option<u32> {
        let mut rest = word?;
        let mut count = 0;
        let mut entries = &self.words;
        while !rest.is_empty() {
            let (id, len) = longest_match(entries, rest)?;
            part(id);
            count += 1;
            rest = &rest[len..];
            entries = &self.suffixes;
        }
        Some(count)
    }
}

/// The longest entry `text` begins with: its id and its length.
fn longest_match(entries: &Fst<&'static [u8]>, text: &[u8]) -> Option<(u32, usize)> {
    let mut node = entries.root();
    let mut output = 0;
    let mut longest = None;
    for (position, &byte) in text.iter().enumerate() {
        let Some(transition) = node.find_input(byte) else { break };
        let transition = node.transition(transition);
        output += transition.out.value();
        node = entries.node(transition.addr);
        if node.is_final() {
            longest = Some(((output + node.final_output().value()) as u32, position + 1));
        }
    }
    longest
}

/// The normalized form of the word being read.
struct Buffer {
    /// Big enough for 100 characters; what goes beyond is not kept, as such a word is not looked at.
    bytes: [u8; MAX_WORD_CHARS * 4],
    len: usize,
    chars: usize,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Adds characters that stand for the bytes `start..end` of the text.
    #[inline]
    fn push(&mut self, normalized: &[u8], chars: usize, start: usize, end: usize) {
        if self.chars == 0 {
            self.start = start;
        }
        self.end = end;
        self.chars += chars;
        if self.chars <= MAX_WORD_CHARS {
            self.bytes[self.len..self.len + normalized.len()].copy_from_slice(normalized);
            self.len += normalized.len();
        }
    }

    /// Ends the word, if there is one.
    #[inline]
    fn flush(&mut self, on_word: &mut impl FnMut(Range<usize>, Option<&[u8]>)) {
        if self.chars > 0 {
            let word = (self.chars <= MAX_WORD_CHARS).then_some(&self.bytes[..self.len]);
            on_word(self.start..self.end, word);
            (self.chars, self.len) = (0, 0);
        }
    }
}

/// Calls `on_word` for every word of the pre-tokenizer, in order, with the bytes of `text` it stands for (from its first
/// character to its last; dropped characters around it belong to no word) and its normalized form, `None` if that
/// has more than 100 characters.
fn for_each_word(text: &str, mut on_word: impl FnMut(Range<usize>, Option<&[u8]>)) {
    let bytes = text.as_bytes();
    let mut word = Buffer { bytes: [0; _], len: 0, chars: 0, start: 0, end: 0 };
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii() {
            match tables::ascii(byte) {
                0 => {}
                1 => word.flush(&mut on_word),
                lower if lower.is_ascii() => word.push(&[lower], 1, at, at + 1),
                single => {
                    word.flush(&mut on_word);
                    on_word(at..at + 1, Some(&[single & 0x7f]));
                }
            }
            at += 1;
            continue;
        }
        let Some(c) = text[at..].chars().next() else { break };
        let end = at + c.len_utf8();
        let mut single = |normalized: &[u8]| {
            word.flush(&mut on_word);
            on_word(at..end, Some(normalized));
        };
        match tables::becomes(c) {
            tables::Becomes::Nothing => {}
            tables::Becomes::Space => word.flush(&mut on_word),
            tables::Becomes::Single => single(&bytes[at..end]),
            tables::Becomes::Mapped(to, true) => single(to.as_bytes()),
            tables::Becomes::Word => word.push(&bytes[at..end], 1, at, end),
            tables::Becomes::Mapped(to, false) => word.push(to.as_bytes(), to.chars().count(), at, end),
            tables::Becomes::Hangul => {
                let (jamo, chars) = decompose_hangul(c);
                word.push(&jamo[..chars * 3], chars, at, end);
            }
        }
        at = end;
    }
    word.flush(&mut on_word);
}

/// The jamo of a Hangul syllable, three bytes of UTF-8 each, and their number (The Unicode Standard, section 3.12).
fn decompose_hangul(c: char) -> ([u8; 9], usize) {
    let syllable = c as u32 - 0xAC00;
    let jamo = [0x1100 + syllable / 588, 0x1161 + syllable % 588 / 28, 0x11A7 + syllable % 28];
    let chars = if syllable.is_multiple_of(28) { 2 } else { 3 };
    let mut bytes = [0; 9];
    for (slot, jamo) in bytes.chunks_exact_mut(3).zip(jamo) {
        slot.copy_from_slice(&[
            0xE0 | (jamo >> 12) as u8,
            0x80 | (jamo >> 6 & 0x3F) as u8,
            0x80 | (jamo & 0x3F) as u8,
        ]);
    }
    (bytes, chars)
}
