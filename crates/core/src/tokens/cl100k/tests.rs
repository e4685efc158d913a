//! Against tiktoken-rs, piece by piece and as a whole.

use proptest::prelude::*;

use super::merge::{MARGIN, WINDOW, count_long, ends_of_tokens};
use super::vocabulary::{LOOKUPS, Vocabulary};
use super::{count_in_place, reference};

#[track_caller]
fn assert_equal(text: &str) {
    assert_eq!(count_in_place(text), reference(text), "{text:?}");
}

/// Letters, digits, blanks and signs of several scripts, and everything the pattern makes an exception for.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z]{1,12}",
        "[ \t]{1,5}",
        "[\r\n]{1,3}",
        r"\s{1,4}",
        "'(?i:s|d|m|t|ll|ve|re|l|v|r|\u{17f})",
        r"[\p{N}]{1,7}",
        "[!-/:-@\\[-`{-~]{1,6}",
        r"\p{L}{1,6}",
        r"\p{M}{1,3}",
        r"\p{S}{1,3}",
        "[äöüßéèñçøå]{1,3}",
        "[а-яА-Я]{1,8}",
        "[ء-ي]{1,8}",
        "[一-龥]{1,12}",
        "[ぁ-んァ-ヶ]{1,8}",
        "[가-힣]{1,8}",
        "[ก-๛]{1,8}",
        "[अ-ह][ा-्]?",
        "[\u{1F300}-\u{1F6FF}]\u{200d}?\u{fe0f}?",
        "<\\|endoftext\\|>",
        "(a{1,40}|={1,40}|-{1,40}| {1,90})",
        any::<String>(),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn texts_are_counted_as_tiktoken_counts_them(text in texts()) {
        prop_assert_eq!(count_in_place(&text), reference(&text));
    }

    #[test]
    fn long_words_are_counted_as_tiktoken_counts_them(
        text in "[abst]{60,600}|[a-z]{60,600}|[的一是不了]{20,200}",
    ) {
        prop_assert_eq!(count_in_place(&text), reference(&text));
    }

    #[test]
    fn windows_make_no_difference(text in "[ab]{300,2000}|[aeiost]{300,2000}", margin in 1_usize..8) {
        let vocabulary = Vocabulary::get();
        let whole = ends_of_tokens(vocabulary, text.as_bytes()).len();
        // Here windows disagree often, so that both ways are gone.
        prop_assert_eq!(count_long(vocabulary, text.as_bytes(), 256, margin), whole);
    }
}

#[test]
fn every_character_is_of_the_class_it_has_for_tiktoken() {
    // After a letter, a digit, a quotation mark, a newline and blanks, and before them.
    // Most planes are unassigned as a whole: some of their characters will do.
    let characters: Vec<char> =
        ('\0'..=char::MAX).filter(|&c| c < '\u{34000}' || u32::from(c).is_multiple_of(64)).collect();
    for page in characters.chunks(0x1000) {
        assert_equal(
            &page.iter().map(|c| format!("x{c}x 1{c}1{c}{c}'{c} {c}\n {c}  {c}")).collect::<String>(),
        );
    }
}

#[test]
fn every_token_is_encoded_as_itself() {
    let vocabulary = Vocabulary::get();
    for token in Vocabulary::tokens() {
        assert_eq!(ends_of_tokens(vocabulary, token), [token.len()], "{token:?}");
    }
}

#[test]
fn looking_up_takes_few_steps() {
    assert!(Vocabulary::get().longest_search() <= 32);
}

#[test]
fn work_grows_with_the_length_alone() {
    let mut state = 1_u64;
    let mut random = |alphabet: &str, len| -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        let next = || {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
            alphabet[(state >> 33) as usize % alphabet.len()]
        };
        std::iter::repeat_with(next).take(len).collect()
    };
    for len in [10_000, 300_000] {
        let mut texts: Vec<String> = [
            "a", " ", "\n", "\u{a0}", " \n", "'", "=", "🙂", "中", "的", "ab", "-a", "1", "a b ", "\0",
            "\u{202e}",
        ]
        .map(|unit| unit.repeat(len / unit.len()))
        .into();
        let base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        texts.extend(
            ["ab", "aeiost", base64, " \t", "的一是不了", "=-*"].map(|alphabet| random(alphabet, len)),
        );
        for text in texts {
            LOOKUPS.set(0);
            count_in_place(&text);
            let a_byte = LOOKUPS.get() as f64 / text.len() as f64;
            assert!(
                a_byte < 4.0,
                "{a_byte} look-ups a byte for {:?}…",
                text.chars().take(20).collect::<String>()
            );
        }
    }
}

#[test]
fn windows_agree_on_hostile_texts() {
    let vocabulary = Vocabulary::get();
    for unit in ["a", " ", "=", "ab", "的的是"] {
        let text = unit.repeat(3 * WINDOW);
        let whole = ends_of_tokens(vocabulary, text.as_bytes()).len();
        assert_eq!(count_long(vocabulary, text.as_bytes(), WINDOW, MARGIN), whole);
    }
}

/// Every file under a directory that is UTF-8, as a whole and line by line; this checkout's fixtures, or another's files:
/// `TEXTS=directory cargo test -p ragflare-core --lib --profile native -- --nocapture texts_of`
#[test]
fn texts_of_a_directory_are_counted_as_tiktoken_counts_them() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");
    let root = std::env::var_os("TEXTS").map_or_else(|| own.into(), std::path::PathBuf::from);
    let (mut directories, mut texts, mut bytes) = (vec![root], 0, 0);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if let Ok(text) = String::from_utf8(std::fs::read(&path).unwrap()) {
                bytes += text.len();
                texts += 1 + text.lines().count();
                assert_equal(&text);
                text.lines().for_each(assert_equal);
                text.split_inclusive('\n').for_each(assert_equal);
            }
        }
    }
    println!("{texts} texts, {bytes} bytes in files");
    assert!(texts > 0);
}
