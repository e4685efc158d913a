//! What `ragflare_core::chunk` guarantees, for every text and every valid setting.

#![allow(clippy::unwrap_used, clippy::format_collect, clippy::format_push_string)]

use std::ops::Range;

use proptest::prelude::*;
use ragflare_core::chunk::{Chunk, ChunkSettings, Chunker, Format, MAX_CHUNK_BYTES, embedded_text};
use ragflare_core::tokens::WordPiece;
use ragflare_core::tokens::wordpiece::{MAX_TOKENS, SPECIALS};

fn chunks(text: &str, format: Format, settings: ChunkSettings) -> Vec<Chunk> {
    Chunker::new(settings).unwrap().chunks(text, format)
}

/// Checks everything the module promises.
fn check(text: &str, format: Format, settings: ChunkSettings) {
    let chunks = chunks(text, format, settings);
    let mut covered = 0;
    let mut previous: Option<&Chunk> = None;
    for (ordinal, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk.ordinal as usize, ordinal);
        let Range { start, end } = chunk.start..chunk.end;
        assert!(start < end && text.is_char_boundary(start) && text.is_char_boundary(end), "{start}..{end}");
        let body = &text[start..end];
        assert!(!body.trim().is_empty());
        if let Some(previous) = previous {
            assert!(previous.start < start && previous.end < end, "in order");
            if settings.overlap == 0 {
                assert!(previous.end <= start, "no overlap");
            } else if start < previous.end {
                assert!(WordPiece::count(&text[start..previous.end]) <= settings.overlap);
            }
        }
        let gap = &text[covered.min(start)..start];
        assert!(gap.trim().is_empty(), "left out: {gap:?}");
        covered = end;

        assert_eq!(chunk.tokens, WordPiece::count(body));
        assert!(chunk.tokens <= settings.target && chunk.tokens <= MAX_TOKENS - SPECIALS - settings.prefix);
        assert!(body.len() <= MAX_CHUNK_BYTES);
        let title = "A title: with \n control \u{7} characters, and long ".repeat(ordinal % 9);
        for title in [None, Some(title.as_str())] {
            let embedded = embedded_text(title, &chunk.headings, body, &settings);
            assert!(embedded.ends_with(body));
            let tokens = WordPiece::count(&embedded);
            assert!(
                tokens + SPECIALS <= MAX_TOKENS && tokens <= chunk.tokens + settings.prefix,
                "{embedded:?}"
            );
        }
        previous = Some(chunk);
    }
    assert!(text[covered..].trim().is_empty(), "left out at the end: {:?}", &text[covered..]);
    if format == Format::Plain {
        assert!(chunks.iter().all(|chunk| chunk.headings.is_empty()));
    }
    assert_eq!(chunks, self::chunks(text, format, settings), "deterministic");
}

fn settings() -> impl Strategy<Value = ChunkSettings> {
    let target = prop_oneof![32_usize..64, Just(256), 32_usize..=510];
    (target, 0_usize..=100, 0_usize..=256).prop_map(|(target, overlap, prefix)| {
        let most = ChunkSettings { target, overlap: 0, prefix }.max_tokens() / 2;
        ChunkSettings { target, overlap: most * overlap.saturating_sub(40) / 60, prefix }
    })
}

/// Pieces of Markdown, some of them not closed.
fn piece() -> impl Strategy<Value = String> {
    let fixed = [
        "# ",
        "## ",
        "### Heading ",
        "\n\n",
        "\n",
        "\r\n",
        "\r\n\r\n",
        "\n---\n",
        "\n===\n",
        "```rust\n",
        "\n```\n",
        "~~~\n",
        "- ",
        "  - ",
        "\n1. ",
        "> ",
        "> > ",
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "| x | y |\n",
        "[link](https://example.com/a/b) ",
        "[id]: <x>\n",
        "[^1]: note\n",
        "**bold** ",
        "`code` ",
        "<div>\n",
        "</div>\n",
        "<!-- ",
        "---\ntitle: x\n---\n",
        "    indented\n",
        "\t",
        " ",
        "Dr. Smith went home. Then he slept! Why? ",
        "向量数据库可以存储嵌入。",
        "한국어 문장입니다. ",
        "🙂👩‍👩‍👧🇩🇪 ",
        "Ünïcödé ",
        "\u{301}",
        "\u{0}",
        "\u{202e}",
        "\u{feff}",
        "\u{2028}",
        "\u{85}",
        "\\",
        "*",
        "_",
        "<",
        "&amp;",
        "# # #",
        "#\n",
        "A\n=\n",
    ];
    prop_oneof![
        8 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        3 => "[a-z]{1,12} ",
        2 => "(\\PC{0,8} ){1,4}",
        1 => (any::<char>(), 1_usize..3000).prop_map(|(c, n)| c.to_string().repeat(n)),
        1 => ("[ -~]{1,9}\n?", 1_usize..400).prop_map(|(s, n)| s.repeat(n)),
        1 => ("[a-z]{2,8} [a-z]{2,8}[.,]? ", 1_usize..200).prop_map(|(s, n)| s.repeat(n)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn markdown_keeps_the_promises(text in text(), settings in settings()) {
        check(&text, Format::Markdown, settings);
    }

    #[test]
    fn plain_text_keeps_the_promises(text in text(), settings in settings()) {
        check(&text, Format::Plain, settings);
    }

    #[test]
    fn a_chunk_is_under_the_headings_above_it(levels in prop::collection::vec((1_usize..=6, 0_usize..120), 1..30)) {
        // Written and computed apart: the text here, the path there.
        let mut text = String::new();
        let mut paths: Vec<(usize, Vec<String>)> = Vec::new();
        let mut open: Vec<(usize, String)> = Vec::new();
        for (number, (level, words)) in levels.into_iter().enumerate() {
            let heading = format!("Heading {number}");
            open.retain(|(other, _)| *other < level);
            open.push((level, heading.clone()));
            paths.push((text.len(), open.iter().map(|(_, heading)| heading.clone()).collect()));
            if level <= 2 && number % 2 == 0 {
                text += &format!("{heading}\n{}\n", if level == 1 { "====" } else { "----" });
            } else {
                text += &format!("{} {heading}\n", "#".repeat(level));
            }
            text += &format!("\n{}\n\n```\n# not a heading\n```\n\n> # nor this\n\n", "word ".repeat(words));
        }
        for chunk in chunks(&text, Format::Markdown, ChunkSettings { target: 64, ..Default::default() }) {
            let above = paths.iter().rev().find(|(start, _)| *start <= chunk.start).map(|(_, path)| path.clone());
            prop_assert_eq!(chunk.headings, above.unwrap_or_default());
        }
    }
}

#[test]
fn hostile_texts_keep_the_promises() {
    let texts: [String; 16] = [
        String::new(),
        " \n\t\u{3000}".into(),
        "a".repeat(40_000),
        "a b c ".repeat(7_000),
        "\n".repeat(40_000),
        format!("a{}b", " ".repeat(40_000)),
        "\0".repeat(40_000),
        "> ".repeat(20_000),
        "- ".repeat(20_000) + &"x\n".repeat(10_000),
        "1. ".repeat(20_000) + &"\nx\n".repeat(5_000),
        "```\n".repeat(9_999),
        format!("```\n{}", "let x = 1;\n".repeat(4_000)),
        format!("# {}\n\nbody", "long heading ".repeat(4_000)),
        "# h\n".repeat(8_000),
        format!("{}\n{}\n{}\n", "|a".repeat(10_000), "|-".repeat(10_000), "|b".repeat(10_000)),
        "👩‍👩‍👧".repeat(3_000),
    ];
    for text in &texts {
        for format in [Format::Plain, Format::Markdown] {
            check(text, format, ChunkSettings::default());
            check(text, format, ChunkSettings { target: 32, overlap: 16, prefix: 256 });
            check(text, format, ChunkSettings { target: 510, overlap: 0, prefix: 0 });
        }
    }
}

#[test]
fn a_megabyte_of_anything_takes_seconds_at_most() {
    let mebibyte = |s: &str| s.repeat((1 << 20) / s.len());
    let manual = "## Section\n\nSome *text* with [a link](https://example.com) and `code`. It goes on for a while, as \
        text does.\n\n- one\n- two\n  - three\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```sh\ncargo test\n```\n\n";
    let nested = "- ".repeat(1 << 18) + "a\n" + &"x\n".repeat(1 << 18);
    let list: String =
        (0..20_000).map(|n| format!("- item {n} of a list that does not end, ever\n")).collect();
    let table: String = (0..30_000).map(|n| format!("| {n} | name {n} | a value |\n")).collect();
    let texts = [
        ("a", mebibyte("a")),
        ("a b c", mebibyte("a b c ")),
        ("line ends", mebibyte("\n")),
        ("> > > >", mebibyte("> ")),
        ("> lines", mebibyte(&(("> ".repeat(60)) + "a\n"))),
        ("nested list", nested),
        ("Markdown", mebibyte(manual)),
        ("one list", list),
        ("one table", format!("| a | b | c |\n|---|---|---|\n{table}")),
        ("open fence", format!("```\n{}", mebibyte("let x = call(1, 2);\n"))),
        ("sentences", mebibyte("It was a dark and stormy night. The rain fell in torrents, mostly. ")),
        ("Chinese", mebibyte("向量数据库可以存储嵌入，并且支持相似度搜索。")),
        ("brackets", mebibyte("[")),
        ("emphasis", mebibyte("*a_ ")),
        ("zero-width", mebibyte("\u{200b}")),
        ("marks", format!("a{}", mebibyte("\u{301}"))),
        ("headings", mebibyte("# a\n")),
    ];
    for (name, text) in &texts {
        for format in [Format::Plain, Format::Markdown] {
            let start = std::time::Instant::now();
            let count = chunks(text, format, ChunkSettings::default()).len();
            let elapsed = start.elapsed();
            println!("{name:12} {format:?}: {:.0} ms, {count} chunks", elapsed.as_secs_f64() * 1e3);
            // Generous, for a debug build on a busy machine.
            assert!(elapsed.as_secs() < 30, "{name} as {format:?} took {elapsed:?}");
        }
    }
}
