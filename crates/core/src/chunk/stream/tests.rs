//! However long the pieces are that a text is fed in, its chunks are the same, and what the chunker promises holds.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::chunk::Language;

/// The chunks of a text fed in pieces of that length, and how many bytes were fed in all. Between two pieces the state is
/// written and read again.
fn in_pieces(text: &str, format: Format, settings: ChunkSettings, piece: usize) -> (Vec<Chunk>, usize) {
    let mut stream = ChunkStream { piece, ..ChunkStream::new(settings, format) };
    let (mut chunks, mut fed) = (Vec::new(), 0);
    loop {
        let Range { start, end } = stream.wants();
        let end = text.floor_char_boundary(end);
        fed += end - start;
        stream.feed(&text[start..end], end == text.len(), |chunk| chunks.push(chunk));
        if end == text.len() {
            return (chunks, fed);
        }
        let state = serde_json::to_string(&stream).unwrap();
        assert!(state.len() < 64 * 1024, "{} bytes of state", state.len());
        stream = serde_json::from_str(&state).unwrap();
        assert!(fed <= 8 * (text.len() + 20 * MAX_CHUNK_BYTES) * (1 + 5 * MAX_CHUNK_BYTES / piece), "stuck");
    }
}

/// Words, with a sentence's end now and then.
fn prose(words: usize, seed: usize) -> String {
    const WORDS: [&str; 8] =
        ["the", "vector", "store", "Answers", "questions", "of", "everyone.", "tokenization"];
    let word = |n: usize| WORDS[(n.wrapping_mul(seed * 2 + 1) >> 3) % WORDS.len()];
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

/// A block of an ordinary document.
fn block() -> impl Strategy<Value = String> {
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let heading =
        (1_usize..5, 0_usize..99).prop_map(|(level, n)| format!("{} Part {n}\n\n", "#".repeat(level)));
    prop_oneof![
        3 => heading,
        1 => (0_usize..99).prop_map(|n| format!("Chapter {n}\n---\nIt begins.\n\n")),
        1 => (0_usize..99).prop_map(|n| format!("## [{n}.0] of [the *list*][list] {n}[^n]\n")),
        6 => (1_usize..300, 0_usize..99).prop_map(|(words, seed)| prose(words, seed) + "\n\n"),
        2 => (1_usize..40, 0_usize..99).prop_map(|(words, seed)| prose(words, seed).replace("s ", "s\n") + "\n"),
        2 => (1_usize..60).prop_map(move |n| {
            format!("```sh\n# comment\n{}```\n\n", lines(n, &|n| format!("run --all {n}\n\n")))
        }),
        2 => (1_usize..50, any::<bool>()).prop_map(move |(n, loose)| {
            let end = if loose { "\n\n" } else { "\n" };
            lines(n, &|n| format!("- item {n}{end}  - {}{end}", prose(n, n))) + "\n"
        }),
        1 => (1_usize..50).prop_map(move |n| lines(n, &|n| format!("{n}. {}\n", prose(n, n))) + "\n"),
        2 => (1_usize..80).prop_map(move |n| {
            format!("| a | b |\n|---|---|\n{}\n", lines(n, &|n| format!("| {n} | {} |\n", prose(4, n))))
        }),
        1 => (1_usize..30).prop_map(move |n| lines(n, &|n| format!("> quoted {n}\n>\n")) + "\n"),
        1 => (1_usize..30).prop_map(move |n| lines(n, &|n| format!("[{n}.0]: https://example.com/{n}\n")) + "\n"),
        1 => (1_usize..9).prop_map(move |n| format!("[^n]: a note\n\n    {}\n\n", prose(n * 9, n))),
        1 => (1_usize..30).prop_map(move |n| format!("<div>\n{}</div>\n\n", lines(n, &|n| format!("<p>{n}\n")))),
        1 => (1_usize..20).prop_map(move |n| format!("---\ntitle: {n}\n{}---\n", lines(n, &|n| format!("k{n}: v\n")))),
        1 => (1_usize..20).prop_map(move |n| lines(n, &|n| format!("    indented {n}\n\n")) + "\n"),
        1 => Just("---\n\n".to_owned()),
        1 => (1_usize..2000).prop_map(|n| "\n".repeat(n)),
    ]
}

fn document() -> impl Strategy<Value = String> {
    prop::collection::vec(block(), 50..400).prop_map(|blocks| blocks.concat())
}

fn settings() -> impl Strategy<Value = ChunkSettings> {
    let settings = |(target, overlap, prefix)| ChunkSettings { target, code_target: target, overlap, prefix };
    (
        prop_oneof![32_usize..64, Just(256), 32_usize..=510],
        prop_oneof![Just(0_usize), 0_usize..16],
        0_usize..=256,
    )
        .prop_map(settings)
}

/// What makes parsers stumble.
fn hostile() -> impl Strategy<Value = String> {
    let fixed = [
        "# ",
        "## ",
        "#",
        "\n\n",
        "\n",
        "\r\n",
        "\r",
        "\n---\n",
        "---\n",
        "\n===\n",
        "```\n",
        "\n````\n",
        "~~~\n",
        "- ",
        "  - ",
        "\n1. ",
        "1) ",
        "> ",
        "| a |\n|---|\n| 1 |\n",
        "|",
        "[a](b) ",
        "[id]: <x>\n",
        "[id]: x 'title\n",
        "[^1]: note\n",
        "[^1]",
        "![",
        "]",
        "][",
        "**b** ",
        "`",
        "<div>\n",
        "</div>\n",
        "<!-- ",
        "-->",
        "<pre>",
        "    code\n",
        "\t",
        " ",
        "      ",
        "Words. ",
        "向量数据库。",
        "🙂👩‍👩‍👧 ",
        "\u{301}",
        "\u{0}",
        "\u{feff}",
        "\u{2028}",
        "\u{85}",
        "\u{3000}",
        "\\",
        "A\n=\n",
        "x",
    ];
    let part = prop_oneof![
        8 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        1 => (prop::sample::select(fixed.to_vec()), 1_usize..2000).prop_map(|(part, n)| part.repeat(n)),
        1 => (1_usize..300, 0_usize..99).prop_map(|(words, seed)| prose(words, seed)),
    ];
    prop::collection::vec(part, 0..80).prop_map(|parts| parts.concat())
}

/// A source file of many items, as different languages have them.
fn source() -> impl Strategy<Value = String> {
    let lines = |count: usize, line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let item = prop_oneof![
        3 => (1_usize..60).prop_map(move |n| {
            let calls = lines(n, &|n| format!("    call({n});\n"));
            format!("/// Documented.\n#[inline]\npub fn f{n}(a: u8) -> u8 {{\n{calls}}}\n\n")
        }),
        2 => (1_usize..12).prop_map(move |n| {
            let method = |n| {
                let statements = lines(n * 3, &|n| format!("        \"{n}\".len();\n"));
                format!("    // Not a {{.\n    fn m{n}(&self) {{\n{statements}    }}\n\n")
            };
            format!("impl A{n} for B {{\n{}}}\n\n", lines(n, &method))
        }),
        2 => (1_usize..40).prop_map(move |n| {
            let statements = lines(n, &|n| format!("        x = {n}\n\n"));
            format!("class C{n}(object):\n    def m(self):\n{statements}\n\n")
        }),
        1 => (1_usize..40).prop_map(move |n| {
            let said = lines(n, &|n| format!("    {}\n", prose(7, n)));
            format!("def g{n}():\n    \"\"\"\n{said}    \"\"\"\n\n")
        }),
        1 => (1_usize..60).prop_map(move |n| format!("/*\n{} */\n", lines(n, &|n| format!(" * {}\n", prose(9, n))))),
        1 => (1_usize..60).prop_map(move |n| lines(n, &|n| format!("import a{n};\n")) + "\n"),
        1 => (1_usize..300).prop_map(move |n| lines(n, &|n| format!("function f{n}(){{return `${{a}}`}};")) + "\n"),
        1 => (1_usize..60).prop_map(move |n| {
            format!("data{n}:\n{}", lines(n, &|n| format!("  - key{n}: value\n    more:\n      a: b\n")))
        }),
        1 => (1_usize..600).prop_map(|n| "\n".repeat(n)),
        1 => Just("#if A\nint f() {\n#else\nint g() {\n#endif\n}\n".to_owned()),
        1 => (1_usize..3000).prop_map(|n| format!("let s = \"{}\";\n", "word ".repeat(n))),
    ];
    prop::collection::vec(item, 20..120).prop_map(|items| items.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    #[test]
    fn source_code_has_the_same_chunks_in_pieces_of_any_length(
        text in source(),
        language in prop::sample::select(Language::ALL.to_vec()),
        settings in settings(),
        piece in 1_000_usize..60_000,
    ) {
        let format = Format::Code(language);
        let (whole, _) = in_pieces(&text, format, settings, usize::MAX / 2);
        let (chunks, fed) = in_pieces(&text, format, settings, piece);
        for (chunk, expected) in chunks.iter().zip(&whole) {
            prop_assert_eq!(chunk, expected);
        }
        prop_assert_eq!(chunks.len(), whole.len());
        prop_assert!(fed <= (3 + 3 * LOOKAHEAD / piece) * (text.len() + piece), "{} of {} bytes fed", fed, text.len());
    }

    #[test]
    fn ordinary_documents_have_the_same_chunks_in_pieces_of_any_length(
        text in document(),
        settings in settings(),
        piece in 28_000_usize..80_000,
        markdown in prop::bool::weighted(0.8),
    ) {
        let format = if markdown { Format::Markdown } else { Format::Plain };
        let (whole, _) = in_pieces(&text, format, settings, usize::MAX / 2);
        let (chunks, fed) = in_pieces(&text, format, settings, piece);
        for (chunk, expected) in chunks.iter().zip(&whole) {
            prop_assert_eq!(chunk, expected);
        }
        prop_assert_eq!(chunks.len(), whole.len());
        prop_assert!(fed <= 3 * text.len(), "{} of {} bytes fed", fed, text.len());
    }

    #[test]
    fn hostile_texts_keep_the_promises_in_pieces_of_any_length(
        text in hostile(),
        settings in settings(),
        piece in 64_usize..20_000,
        format in prop::sample::select(vec![
            Format::Plain,
            Format::Markdown,
            Format::Markdown,
            Format::Code(Language::Cpp),
            Format::Code(Language::Python),
        ]),
    ) {
        // Code is looked ahead for some 25 KB in any case.
        let piece = if matches!(format, Format::Code(_)) { 10 * piece } else { piece };
        let (chunks, _) = in_pieces(&text, format, settings, piece);
        let mut covered = 0;
        for (ordinal, chunk) in chunks.iter().enumerate() {
            let body = &text[chunk.start..chunk.end];
            prop_assert_eq!(chunk.ordinal as usize, ordinal);
            prop_assert_eq!(chunk.tokens, WordPiece::count(body));
            prop_assert!(chunk.tokens <= settings.of(format).max_tokens() && body.len() <= MAX_CHUNK_BYTES);
            prop_assert!(!body.trim().is_empty() && chunk.end > covered);
            if settings.overlap == 0 {
                prop_assert!(covered <= chunk.start);
            }
            prop_assert!(text[covered.min(chunk.start)..chunk.start].trim().is_empty());
            covered = chunk.end;
        }
        prop_assert!(text[covered..].trim().is_empty());
    }
}

/// A block that is longer than a piece: it begins like this, then has many of these, then ends like that.
const LONG: [(&str, &str, &str); 8] = [
    ("```sh\n", "# comment\n\nrun all\n- x\n", "```\n"),
    ("<!--\n", "# hidden\n\n--- | |\n", "-->\n"),
    ("| a | b |\n|---|---|\n", "| a cell | # another |\n", ""),
    ("", "- an item\n\n  # of a list\n  with text\n", ""),
    ("", "> # quoted\n> and more\n", ""),
    ("", "a long line of text with # signs, 1. numbers and - dashes. ", "\n"),
    ("", "lines of text\n    and indented ones\n", ""),
    ("", "    # indented code\n\n", ""),
];

#[test]
fn a_block_longer_than_a_piece_is_cut_as_if_it_were_seen_as_a_whole() {
    for (begin, part, end) in LONG {
        let part_count = 150_000 / part.len();
        let text = format!(
            "# Title\n\ntext\n\n{begin}{}{end}\n\n# End\n\n{}\n",
            part.repeat(part_count),
            prose(250, 1)
        );
        let settings = ChunkSettings::default();
        let (whole, _) = in_pieces(&text, Format::Markdown, settings, usize::MAX / 2);
        let (chunks, fed) = in_pieces(&text, Format::Markdown, settings, 40_000);
        assert_eq!(chunks, whole, "{part:?}");
        assert_eq!(chunks.last().unwrap().headings, ["End"], "{part:?}");
        let is_known = |chunk: &Chunk| chunk.headings == ["Title"] || chunk.headings == ["End"];
        assert!(chunks.iter().all(is_known), "{part:?}");
        assert!(fed < 3 * text.len());
    }
}
