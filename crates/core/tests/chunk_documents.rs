//! Small documents, each with the one thing it is about, and the chunks they make.

#![allow(clippy::unwrap_used, clippy::format_collect)]

use ragflare_core::Error;
use ragflare_core::chunk::{Chunk, ChunkSettings, Chunker, Format, embedded_text};
use ragflare_core::tokens::WordPiece;

const SMALL: ChunkSettings = ChunkSettings { target: 32, code_target: 32, overlap: 0, prefix: 64 };

fn cut(text: &str, format: Format, settings: ChunkSettings) -> Vec<Chunk> {
    Chunker::new(settings).unwrap().chunks(text, format)
}

/// Heading path and text of each chunk.
fn markdown(text: &str) -> Vec<(String, &str)> {
    let chunks = cut(text, Format::Markdown, SMALL);
    chunks.into_iter().map(|chunk| (chunk.headings.join(" > "), &text[chunk.start..chunk.end])).collect()
}

fn plain(text: &str) -> Vec<&str> {
    cut(text, Format::Plain, SMALL).into_iter().map(|chunk| &text[chunk.start..chunk.end]).collect()
}

/// `count` words of one token each, with a full stop.
fn sentence(word: &str, count: usize) -> String {
    format!("{}.", vec![word; count].join(" "))
}

#[test]
fn sections_are_cut_at_headings_of_both_kinds() {
    let text = format!(
        "Title\n=====\n\n{}\n\nFirst\n-----\n\n{}\n\n## Second ##\n\n{}\n\n### Third\n\n{}\n",
        sentence("a", 20),
        sentence("b", 20),
        sentence("c", 20),
        sentence("d", 20),
    );
    let chunks = markdown(&text);
    let headings: Vec<&str> = chunks.iter().map(|(headings, _)| headings.as_str()).collect();
    assert_eq!(headings, ["Title", "Title > First", "Title > Second", "Title > Second > Third"]);
    assert!(chunks[1].1.starts_with("First\n-----\n\nb b") && chunks[1].1.ends_with("b b."));
}

#[test]
fn small_sections_share_a_chunk_as_long_as_they_fit() {
    let text = "# A\n\none two\n\n# B\n\nthree four\n\n# C\n\nfive six seven eight nine ten eleven twelve\n";
    let chunks = markdown(text);
    assert_eq!(chunks.len(), 1);
    assert_eq!(chunks[0].0, "A");
    let long = format!("# A\n\none two three\n\n# B\n\n{}\n", sentence("b", 28));
    let chunks = markdown(&long);
    assert_eq!(chunks.iter().map(|(headings, _)| headings.as_str()).collect::<Vec<_>>(), ["A", "B"]);
}

#[test]
fn a_heading_goes_with_the_text_below_it() {
    let text = format!("# Title\n\n## Section\n\n{}\n\n{}\n", sentence("a", 60), sentence("b", 20));
    let chunks = markdown(&text);
    assert!(chunks[0].1.starts_with("# Title\n\n## Section\n\na a"), "{chunks:?}");
    assert!(chunks[1..].iter().all(|(headings, _)| headings == "Title > Section"));
}

#[test]
fn what_looks_like_a_heading_is_not_one_in_code_quotes_and_front_matter() {
    let text = "---\ntitle: no heading\n---\n\n# Real\n\n```sh\n# comment\n```\n\n    # indented code\n\n> # quoted\n\n<!--\n# hidden\n-->\n\n\\# escaped, #hashtag\n";
    let all = cut(text, Format::Markdown, SMALL);
    let used: Vec<String> = all.into_iter().flat_map(|chunk| chunk.headings).collect();
    assert!(!used.is_empty() && used.iter().all(|heading| heading == "Real"), "{used:?}");
}

#[test]
fn headings_lose_their_markup() {
    let text = "# The `fetch` *handler* & [links](https://example.com) {#anchor}\n\ntext\n";
    assert_eq!(markdown(text)[0].0, "The fetch handler & links");
    assert_eq!(markdown("#\n\ntext\n")[0].0, "");
}

#[test]
fn headings_are_called_the_same_wherever_links_and_notes_are_defined() {
    let heading = "## [1.0.0] of [the *list*][list], [again][][^note] \\[^a] `[^b]` ![logo]\n\ntext\n";
    let defined = format!(
        "{heading}\n[1.0.0]: /1\n[list]: /list\n[again]: /again\n[logo]: /logo\n[^note]: it is\n[^a]: a\n[^b]: b\n"
    );
    for text in [heading, &defined] {
        assert_eq!(markdown(text)[0].0, "[1.0.0] of the list, again [^a] [^b] ![logo]");
    }
}

#[test]
fn a_chunk_that_begins_with_front_matter_is_under_the_heading_after_it() {
    let matter = "---\ntitle: a title\ntags: [b]\n---\n";
    assert_eq!(markdown(&format!("{matter}\n# Real\n\n## Part\n\ntext\n"))[0].0, "Real");
    assert_eq!(markdown(&format!("{matter}\ntext\n\n# Real\n"))[0].0, "");
    // A chunk of front matter alone is under none.
    let chunks =
        markdown(&format!("---\ntitle: {}\n---\n\n# Real\n\n{}\n", sentence("a", 20), sentence("b", 20)))
            .into_iter()
            .map(|(headings, _)| headings)
            .collect::<Vec<_>>();
    assert_eq!(chunks, ["", "Real"]);
}

#[test]
fn a_small_rest_gets_paragraphs_of_the_chunk_before() {
    let [a, b, c, d] = [("a", 13), ("b", 13), ("c", 1), ("d", 4)].map(|(word, count)| sentence(word, count));
    let text = [a.as_str(), &b, &c, &d].join("\n\n");
    assert_eq!(plain(&text), [a.clone(), [b.as_str(), &c, &d].join("\n\n")]);
    // At the end of a section too, but not across a heading, and a heading keeps its text.
    let text = format!("# A\n\n{text}\n\n# B\n\n{}\n", sentence("e", 28));
    let chunks = markdown(&text);
    let begins: Vec<&str> = chunks.iter().map(|(_, chunk)| chunk.lines().next().unwrap()).collect();
    assert_eq!(begins, ["# A", &b, "# B"]);
    let text = format!("{}\n\n## A\n\n{b}\n\n{d}\n", sentence("a", 12));
    assert_eq!(markdown(&text)[1].1, format!("## A\n\n{b}\n\n{d}"));
}

#[test]
fn fences_and_tables_that_fit_are_not_cut() {
    let fence = "```rust\nfn main() {\n\n    run();\n}\n```";
    let table = "| a | b |\n|---|---|\n| 1 | 2 |";
    let text = format!("{}\n\n{fence}\n\n{}\n\n{table}\n", sentence("a", 20), sentence("b", 20));
    let chunks = markdown(&text);
    for whole in [fence, table] {
        assert!(chunks.iter().any(|(_, chunk)| chunk.contains(whole)), "{chunks:?}");
    }
}

#[test]
fn a_long_table_is_cut_between_rows_and_long_code_between_lines() {
    let rows: String = (0..40).map(|n| format!("| row {n} | value |\n")).collect();
    let text = format!("| a | b |\n|---|---|\n{rows}");
    assert!(markdown(&text).iter().all(|(_, chunk)| chunk.starts_with('|') && chunk.ends_with('|')));

    let lines: String = (0..40).map(|n| format!("    let x{n} = call();\n")).collect();
    let text = format!("```rust\nfn main() {{\n{lines}}}\n```\n");
    let chunks = markdown(&text);
    assert!(chunks.len() > 5);
    for (_, chunk) in &chunks[1..chunks.len() - 1] {
        assert!(chunk.starts_with("    let") && chunk.ends_with("();"), "{chunk:?}");
    }
}

#[test]
fn a_nested_list_is_cut_between_items() {
    let items: String = (0..12)
        .map(|n| format!("- item {n} of the list\n  - first part of it\n  - second part of it\n"))
        .collect();
    let chunks = markdown(&items);
    assert!(chunks.len() > 3);
    assert!(
        chunks
            .iter()
            .all(|(_, chunk)| chunk.trim_start().starts_with("- ") && chunk.ends_with(['t', 'f', '0', '1']))
    );
}

#[test]
fn a_hard_wrapped_paragraph_is_cut_between_sentences() {
    let words = "The rain fell on the\nquiet town all night. Nobody went out before\nthe morning came. ";
    let text = words.repeat(6);
    let chunks = markdown(&text);
    assert!(chunks.len() > 2);
    assert!(chunks.iter().all(|(_, chunk)| chunk.ends_with('.')), "{chunks:?}");
}

#[test]
fn wrapped_text_is_cut_between_sentences_wherever_its_lines_end() {
    let text = "It rained on\nLondon and on Rye. It\nrained for a day. The Thames\nrose by a foot or more. "
        .repeat(6);
    for chunks in [plain(&text), markdown(&text).into_iter().map(|(_, chunk)| chunk).collect()] {
        assert!(chunks.len() > 2 && chunks.iter().all(|chunk| chunk.ends_with('.')), "{chunks:?}");
    }
}

#[test]
fn a_long_paragraph_is_cut_about_evenly() {
    let text =
        ["One", "Two", "Three", "Four"].map(|word| format!("{word} {}", sentence("word", 11))).join(" ");
    assert_eq!(plain(&text).len(), 2);
    let sizes: Vec<usize> = plain(&text).into_iter().map(WordPiece::count).collect();
    assert!(sizes[0].abs_diff(sizes[1]) < 10, "{sizes:?}");
}

#[test]
fn a_sentence_does_not_end_with_an_abbreviation_or_a_number() {
    for word in ["Dr.", "No.", "U.S.", "J.", "vs.", "1.", "12."] {
        let text = format!("The {} {word} Smith has one. ", vec!["word"; 16].join(" ")).repeat(4);
        let chunks = plain(&text);
        assert!(chunks.iter().all(|chunk| chunk.ends_with("one.")), "{chunks:?}");
    }
}

#[test]
fn a_title_goes_with_the_lines_below_it() {
    let part = |n| format!("{}\n= Part {n} =\n", sentence("word", 22));
    let text: String = (0..6).map(part).chain([sentence("word", 22)]).collect();
    for chunks in [plain(&text), markdown(&text).into_iter().map(|(_, chunk)| chunk).collect()] {
        assert_eq!(chunks.len(), 7);
        assert!(chunks[1..].iter().all(|chunk| chunk.starts_with("= Part")), "{chunks:?}");
    }
}

#[test]
fn json_on_one_line_is_cut_between_objects_and_at_its_line_ends() {
    let message =
        format!("{{\"role\": \"user\", \"text\": \"{}\\n\\n{}\"}}", sentence("a", 12), sentence("b", 5));
    let text = format!("[{}]", [message.as_str(); 5].join(", "));
    let chunks = plain(&text);
    assert!(chunks.len() > 3);
    assert!(
        chunks[1..].iter().all(|chunk| chunk.starts_with("{\"role") || chunk.starts_with("b b")),
        "{chunks:?}"
    );
}

#[test]
fn code_is_cut_between_functions() {
    let function = "fn f() {\n    let a = one();\n\n    let b = two(a);\n\n    a + b\n}\n\n";
    let text = function.repeat(6);
    for chunks in
        [plain(&text), markdown(&format!("```\n{text}```")).into_iter().map(|(_, chunk)| chunk).collect()]
    {
        assert!(chunks.len() > 4);
        assert!(chunks[1..].iter().all(|chunk| chunk.starts_with("fn f")), "{chunks:?}");
    }
}

#[test]
fn what_introduces_a_list_goes_with_it() {
    let items: String = (0..6).map(|n| format!("- item {n} has some words\n")).collect();
    for between in ["## Needed\n\nYou will need:\n\n", "You will need:\n\n"] {
        let text = format!("{}\n\n{between}{items}", sentence("word", 25));
        let chunks = markdown(&text);
        let (_, with_items) = chunks.iter().find(|(_, chunk)| chunk.contains("item 0")).unwrap();
        assert!(with_items.contains(between.trim_end()), "{chunks:?}");
    }
    // Where it is cut in any case, what little there is before goes with it, too.
    assert!(markdown(&format!("A word first.\n\n{items}"))[0].1.contains("item 0"));
    // But not with a heading.
    let text = format!("{}\n\nSee below:\n\n# Next\n\n{}", sentence("word", 15), sentence("next", 20));
    assert!(markdown(&text)[1].1.starts_with("# Next"), "{:?}", markdown(&text));
}

#[test]
fn lone_carriage_returns_end_lines() {
    let chunks = markdown("# Guide\r\rText here.\r\r## Install\r\rRun it.\r");
    assert_eq!(chunks[0].0, "Guide");
}

#[test]
fn a_rule_at_the_beginning_is_no_front_matter() {
    let text = format!(
        "---\nA document that begins with a rule.\n\n# One\n\n{}\n\n---\n\n# Two\n\n{}",
        sentence("a", 30),
        sentence("b", 30)
    );
    let headings: Vec<_> = markdown(&text).into_iter().map(|(headings, _)| headings).collect();
    assert!(headings.contains(&"One".to_owned()), "{headings:?}");
}

#[test]
fn a_quoted_list_is_cut_between_its_items() {
    let items: String = (0..20).map(|n| format!("> - item {n} of it\n>   goes on here\n")).collect();
    let chunks = markdown(&items);
    assert!(chunks.len() > 4 && chunks.iter().all(|(_, chunk)| chunk.starts_with("> - item")), "{chunks:?}");
}

#[test]
fn plain_text_is_cut_between_paragraphs() {
    let (a, b, c) = (sentence("a", 20), sentence("b", 20), sentence("c", 8));
    assert_eq!(plain(&format!("{a}\n\n{b}\n \n\t\n{c}\n\n")), [a.clone(), format!("{b}\n \n\t\n{c}")]);
    assert_eq!(plain("# not a heading\n\ntext"), ["# not a heading\n\ntext"]);
}

#[test]
fn windows_line_ends_change_nothing_but_the_offsets() {
    let unix = format!("# A\n\n{}\n\n- one\n- two\n\n## B\n\n{}\n", sentence("a", 40), sentence("b", 25));
    let windows = unix.replace('\n', "\r\n");
    let chunks: Vec<(String, String)> = markdown(&windows)
        .into_iter()
        .map(|(headings, chunk)| (headings, chunk.replace("\r\n", "\n")))
        .collect();
    let expected: Vec<(String, String)> =
        markdown(&unix).into_iter().map(|(headings, chunk)| (headings, chunk.to_owned())).collect();
    assert_eq!(chunks, expected);
    let paragraphs = unix.replace('#', "");
    let there: Vec<String> =
        plain(&paragraphs.replace('\n', "\r\n")).iter().map(|s| s.replace("\r\n", "\n")).collect();
    assert_eq!(there, plain(&paragraphs));
}

#[test]
fn text_without_blanks_is_cut_where_it_can_be() {
    let chinese = "向量数据库可以存储嵌入。它支持相似度搜索。".repeat(5);
    let chunks = plain(&chinese);
    assert!(chunks.len() > 2 && chunks.iter().all(|chunk| chunk.ends_with('。')), "{chunks:?}");
    // A character of several is not cut.
    let flags = "🇩🇪🇫🇷".repeat(40);
    assert!(plain(&flags).iter().all(|chunk| chunk.chars().count() % 2 == 0));
    // One unknown word each, however long: cut by bytes.
    let chunks = plain(&"👩‍👩‍👧".repeat(2_000)).len();
    assert!(chunks >= 4);
}

#[test]
fn link_definitions_belong_to_a_chunk() {
    let text = "[a]: https://example.com/a\n[b]: https://example.com/b\n\ntext [a] [b]\n\n[c]: https://example.com/c\n";
    let joined: String = markdown(text).into_iter().map(|(_, chunk)| chunk).collect();
    for link in ["/a", "/b", "/c"] {
        assert!(joined.contains(&format!("https://example.com{link}")));
    }
}

#[test]
fn overlap_repeats_the_sentence_before_but_not_across_a_heading() {
    let sentences: String = (0..20).map(|n| format!("This is sentence {n} here. ")).collect();
    let text = format!("# A\n\n{sentences}\n\n# B\n\n{sentences}\n");
    let settings = ChunkSettings { target: 32, overlap: 8, ..SMALL };
    let chunks = cut(&text, Format::Markdown, settings);
    for pair in chunks.windows(2) {
        let body = &text[pair[1].start..pair[1].end];
        if body.starts_with("# B") {
            assert!(pair[1].start >= pair[0].end);
        } else if !body.starts_with("# ") {
            assert!(pair[1].start < pair[0].end && body.starts_with("This is"), "{body:?}");
            assert!(WordPiece::count(&text[pair[1].start..pair[0].end]) <= 8);
        }
    }
}

#[test]
fn the_prefix_is_title_and_headings() {
    let settings = ChunkSettings::default();
    let headings = ["Setup".to_owned(), "On\nLinux".to_owned()];
    assert_eq!(
        embedded_text(Some("Guide"), &headings, None, "body", &settings),
        "Guide > Setup > On Linux\n\nbody"
    );
    assert_eq!(embedded_text(None, &headings[..1], None, "body", &settings), "Setup\n\nbody");
    assert_eq!(embedded_text(Some("Setup"), &headings, None, "body", &settings), "Setup > On Linux\n\nbody");
    assert_eq!(embedded_text(Some(" \0 "), &[], None, "body", &settings), "body");
    assert_eq!(embedded_text(None, &[], None, "body", &settings), "body");
}

#[test]
fn a_long_prefix_loses_its_outer_parts_then_its_last_words() {
    let settings = ChunkSettings { prefix: 4, ..ChunkSettings::default() };
    let headings = ["one".to_owned(), "two".to_owned()];
    assert_eq!(embedded_text(Some("title"), &headings, None, "body", &settings), "one > two\n\nbody");
    assert_eq!(
        embedded_text(Some("a title of six whole words"), &[], None, "body", &settings),
        "a title of six\n\nbody"
    );
    let cut = embedded_text(Some(&"ab1".repeat(30)), &[], None, "body", &settings);
    assert!(cut.starts_with("ab1") && WordPiece::count(&cut) <= 5);
    let none = ChunkSettings { prefix: 0, ..ChunkSettings::default() };
    assert_eq!(embedded_text(Some("title"), &headings, None, "body", &none), "body");
}

#[test]
fn settings_out_of_range_are_named() {
    let message = |settings: ChunkSettings| match Chunker::new(settings) {
        Err(error @ Error::Invalid { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let default = ChunkSettings::default();
    assert_eq!(
        message(ChunkSettings { target: 31, ..default }),
        "chunk.target: is 31; allowed are 32 to 510"
    );
    assert_eq!(
        message(ChunkSettings { overlap: 81, ..default }),
        "chunk.overlap: is 81; allowed are 0 to 80"
    );
    assert_eq!(
        message(ChunkSettings { prefix: 257, ..default }),
        "chunk.prefix: is 257; allowed are 0 to 256"
    );
    assert_eq!(ChunkSettings { target: 510, ..default }.max_tokens(), 446);
}

#[test]
fn settings_and_formats_are_written_in_snake_case() {
    let settings: ChunkSettings = serde_json::from_str("{\"target\": 128}").unwrap();
    assert_eq!(settings, ChunkSettings { target: 128, ..ChunkSettings::default() });
    assert!(serde_json::from_str::<ChunkSettings>("{\"size\": 128}").is_err());
    assert_eq!(serde_json::to_string(&Format::Markdown).unwrap(), "\"markdown\"");
}
