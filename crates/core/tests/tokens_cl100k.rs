//! The budget count. That it is tiktoken's on all kinds of texts is tested where its parts can be seen
//! (`src/tokens/cl100k/tests.rs`).

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
fn hard_texts_are_counted_as_tiktoken_counts_them() {
    // Long enough to be counted without tiktoken's help, with each text at the end, as in the middle.
    let filling = "All work and no play makes Jack a dull boy.\n".repeat(1_600);
    for text in [
        "I'm you're they'll WE'VE he'd it's 'tis o'clock 'S 'LL 'Ve 'rE '\u{17f} '' ''s 'lL'l'v'r",
        "1 12 123 1234 1234567 ٣٤٥٦ ⅷ½² 1,000.50 0x1F",
        "a  b   c\t\td \t e\n f\n\n\n g \n \n h\r\n\r\n  i\u{a0}j\u{a0}\u{a0}k\u{3000}l\u{2028}m\u{85}n",
        "fn main() {\n    println!(\"{}\", a[0]);\n}\n\n\n// ---- ====\n",
        "\t\tif x != y && z >= w { return; }\r\n  \r\n",
        "🙂👨‍👩‍👧‍👦🇩🇪👍🏽❤️ ☃ ™ ½ € ¿que? „Anführung“ …",
        "Größe, naïve, Ελληνικά, Русский, עברית, العربية, हिन्दी, ไทย, 中文，日本語のテキスト、한국어",
        "e\u{301} u\u{308}\u{301} \u{301}a \u{200d} \u{feff} \u{fffd}",
        "\u{202e}abc\u{202c} \0\0 \u{1}\u{7f} \u{10ffff}",
        "https://example.org/a?b=c&d=%20e#f user@example.org C:\\Users\\x --flag=value",
        "<|endoftext|> <|fim_prefix|>",
        "aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQ=eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
        "antidisestablishmentarianism Donaudampfschifffahrtsgesellschaftskapitän",
        "trailing blanks   ",
        "trailing lines\n\n \n",
        "  \n  ",
        "\t",
        "'",
    ] {
        let text = format!("{text}{filling}{text}");
        assert_eq!(cl100k::count(&text), cl100k::reference(&text), "{text:?}");
    }
}

#[test]
fn hostile_texts_are_counted_in_time_and_without_a_panic() {
    for text in ["a", " ", "🙂", "中", "\n", "'", "a b c ", "1", " \n", "\u{a0}", "ab", "="] {
        // tiktoken itself panics at a million blanks before another character.
        let long = text.repeat(2_100_000 / text.len()) + "x";
        let start = std::time::Instant::now();
        let count = cl100k::count(&long);
        println!("{text:?}: {count} tokens in {:?}", start.elapsed());
        assert!(count > 0 && start.elapsed().as_secs() < 60);
    }
}

#[test]
fn long_runs_are_counted_as_tiktoken_counts_them_where_it_can() {
    for text in [" ", "\n", "a", "=", "🙂", "的"] {
        let text = format!("a{}b", text.repeat(300_000));
        assert_eq!(cl100k::count(&text), cl100k::reference(&text));
    }
}
