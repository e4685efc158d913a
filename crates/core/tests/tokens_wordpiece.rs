//! `WordPiece` counting against its reference, Hugging Face `tokenizers`, built from the same vocabulary.

#![allow(clippy::unwrap_used, clippy::format_collect)]

use std::sync::LazyLock;

use proptest::prelude::*;
use ragflare_core::tokens::WordPiece;
use ragflare_core::tokens::wordpiece::{MAX_TOKENS, SPECIALS};
use tokenizers::models::wordpiece::WordPiece as ReferenceModel;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Tokenizer};

/// As `tokenizer.json` of bge-small-en-v1.5 configures it, without its special tokens.
static PLAIN: LazyLock<Tokenizer> = LazyLock::new(|| {
    let vocabulary = ReferenceModel::read_bytes(include_bytes!("../data/bge_vocab.txt")).unwrap();
    let model = ReferenceModel::builder()
        .vocab(vocabulary)
        .unk_token("[UNK]".into())
        .max_input_chars_per_word(100)
        .continuing_subword_prefix("##".into())
        .build()
        .unwrap();
    let mut tokenizer = Tokenizer::new(model);
    let _ = tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, true)));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer
});

/// The same with the special tokens it finds in a text.
static WITH_SPECIALS: LazyLock<Tokenizer> = LazyLock::new(|| {
    let mut tokenizer = PLAIN.clone();
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    tokenizer.add_special_tokens(specials.map(|s| AddedToken::from(s, true))).unwrap();
    tokenizer
});

fn reference(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec()
}

/// Pieces that meet each other badly: marks without a base, joiners, digits, all kinds of blanks, long words.
fn piece() -> impl Strategy<Value = String> {
    let fixed = [
        "\u{301}",
        "\u{338}",
        "\u{327}",
        "\u{302e}",
        "\u{1d165}",
        "\u{200d}",
        "\u{ad}",
        "\u{0}",
        "\u{fffd}",
        "\u{feff}",
        "\u{e000}",
        "\u{85}",
        "\u{a0}",
        "\u{2028}",
        "\u{3000}",
        "\r\n",
        "\t",
        "İ",
        "ẞ",
        "ﬁ",
        "ǅ",
        "Ω",
        "K",
        "Å",
        "≠",
        "\u{1fef}",
        "한국어",
        "각",
        "ㄱ",
        "가\u{11a8}",
        "向量",
        "\u{f900}",
        "\u{2f800}",
        "\u{2b820}",
        "ひらがな",
        "カタカナ",
        "हिन्दी",
        "ภาษาไทย",
        "العربية",
        "עברית",
        "Ελληνικά",
        "русский",
        "🙂",
        "👩‍👩‍👧",
        "🇩🇪",
        "[UNK]",
        "[SEP",
        "]",
        "##ing",
        "unbelievable",
        "tokenization",
        "don't",
        "a",
        "x_y",
        "«»",
        "“”",
        "–",
        "…",
        "¡",
        "§",
        "©",
        "€",
        "½",
        "²",
        "\u{10ffff}",
        "\u{1e900}",
        "Ⱥ",
        "Ա",
    ];
    prop_oneof![
        4 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        2 => "[ -~]{0,12}",
        2 => "\\PC{0,6}",
        1 => prop::char::any().prop_map(String::from),
        1 => (95_usize..106).prop_map(|n| "a".repeat(n)),
        1 => (45_usize..55).prop_map(|n| "각".repeat(n)),
        1 => (95_usize..105).prop_map(|n| "ä\u{200d}".repeat(n)),
        1 => Just(" ".to_owned()),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn tokens_are_those_of_the_reference(text in text()) {
        let ids = WordPiece::ids(&text);
        prop_assert_eq!(&ids, &reference(&PLAIN, &text));
        prop_assert_eq!(WordPiece::count(&text), ids.len());
    }

    #[test]
    fn a_count_is_never_below_what_the_embedder_sees(text in text(), special in "\\[(CLS|SEP|MASK|UNK|PAD)\\]", more in text()) {
        let text = [text, special, more].concat();
        prop_assert!(WordPiece::count(&text) >= reference(&WITH_SPECIALS, &text).len());
    }

    #[test]
    fn an_index_counts_any_range(text in text()) {
        let index = WordPiece::index(&text);
        prop_assert_eq!(index.total(), WordPiece::count(&text));
        let borders: Vec<usize> = (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect();
        let step = borders.len() / 16 + 1;
        for &start in borders.iter().step_by(step) {
            for &end in borders.iter().filter(|&&end| end >= start) {
                prop_assert_eq!(index.count(&text, start..end), WordPiece::count(&text[start..end]), "{}..{}", start, end);
            }
        }
    }
}

#[test]
fn every_character_is_read_as_the_reference_reads_it() {
    // Between letters, so that what a character does to its neighbours shows; in one text per 4,096 characters.
    let all: Vec<char> = (0..=0x0010_FFFF).filter_map(char::from_u32).collect();
    for block in all.chunks(4096) {
        let text: String = block.iter().flat_map(|&c| ['a', c, 'b', ' ', c, c, ' ']).collect();
        assert_eq!(WordPiece::ids(&text), reference(&PLAIN, &text), "from {:?}", block[0]);
    }
}

#[test]
fn every_entry_of_the_vocabulary_is_read_as_the_reference_reads_it() {
    for entry in include_str!("../data/bge_vocab.txt").lines() {
        let word = entry.strip_prefix("##").unwrap_or(entry);
        for text in [word.to_owned(), format!("{word}{word}"), format!("z{word}")] {
            assert_eq!(WordPiece::ids(&text), reference(&PLAIN, &text), "{text:?}");
        }
    }
}

#[test]
fn a_word_of_more_than_100_characters_is_one_token() {
    assert_eq!(WordPiece::count(&"ab".repeat(50)), WordPiece::ids(&"ab".repeat(50)).len());
    assert!(WordPiece::count(&"ab".repeat(50)) > 1);
    assert_eq!(WordPiece::count(&"ab".repeat(500_000)), 1);
    // A part of it may be many.
    let text = "ab".repeat(100);
    assert_eq!(WordPiece::index(&text).count(&text, 50..150), WordPiece::count(&text[50..150]));
}

#[test]
fn specials_in_a_text_are_counted_as_they_are_spelled() {
    assert_eq!(WordPiece::count("[CLS]"), WordPiece::count("[ cls ]"));
    assert_eq!(reference(&WITH_SPECIALS, "a [CLS] b").len(), 3);
    assert!(WordPiece::count("a [CLS] b") > 3);
}

#[test]
fn an_empty_text_has_no_tokens() {
    for text in ["", " ", "\u{301}", "\0\u{fffd}"] {
        assert_eq!((WordPiece::count(text), WordPiece::index(text).total()), (0, 0), "{text:?}");
    }
    assert_eq!((SPECIALS, MAX_TOKENS), (2, 512));
}
