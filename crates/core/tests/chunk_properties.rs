//! What `ragflare_core::chunk` guarantees, for every text and every valid setting.

#![allow(clippy::unwrap_used, clippy::format_collect, clippy::format_push_string)]

mod promises;

use promises::{Clock, check, chunks};
use proptest::prelude::*;
use ragflare_core::chunk::{ChunkSettings, Format, Language};

fn settings() -> impl Strategy<Value = ChunkSettings> {
    let target = prop_oneof![32_usize..64, Just(256), 32_usize..=510];
    (target, 0_usize..=100, 0_usize..=256).prop_map(|(target, overlap, prefix)| {
        let most = ChunkSettings { target, code_target: target, overlap: 0, prefix }.max_tokens() / 2;
        ChunkSettings { target, code_target: target, overlap: most * overlap.saturating_sub(40) / 60, prefix }
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

/// Pieces of code, of no language in particular.
fn code() -> impl Strategy<Value = String> {
    let fixed = [
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "{\n",
        "}\n",
        "\n\n",
        ";\n",
        ",\n",
        ":\n",
        "\n",
        "\n    ",
        "\n        ",
        "\n\t",
        "\r\n",
        "\"",
        "'",
        "`",
        "\"\"\"",
        "'''",
        "\\",
        "\\\n",
        "//",
        "/*",
        "*/",
        "# ",
        "--",
        "--[[",
        "]]",
        "(*",
        "*)",
        "<!-- ",
        "-->",
        "{-",
        "-}",
        "=begin\n",
        "=end\n",
        "<<EOF\n",
        "EOF\n",
        "R\"x(",
        ")x\"",
        "r#\"",
        "\"#",
        "${",
        "#{",
        "/[/]/",
        "#if x\n",
        "#else\n",
        "#endif\n",
        "fn f() ",
        "def f(a):\n",
        "class A ",
        "impl B for C ",
        "func (s *S) Run() ",
        "public int f(int a) ",
        "CREATE TABLE t (",
        "key:\n",
        "- item: x\n",
        "[section]\n",
        "(defn f [x] ",
        "f() {\n",
        "f <- function(x) ",
        "@Name(1)\n",
        "#[test]\n",
        "/// doc\n",
        "end\n",
        "else ",
        "let x = 1;\n",
        "return x\n",
        "'a",
        "1'000",
        "向量",
        "\u{301}",
        "\u{a0}",
    ];
    let part = prop_oneof![
        8 => prop::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        2 => "[a-z_]{1,9}[ .=(]?",
        1 => (prop::sample::select(fixed.to_vec()), 1_usize..600).prop_map(|(part, n)| part.repeat(n)),
        1 => ("[ -~]{1,9}\n?", 1_usize..400).prop_map(|(s, n)| s.repeat(n)),
    ];
    prop::collection::vec(part, 0..80).prop_map(|parts| parts.concat())
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
    fn code_keeps_the_promises(
        text in code(),
        language in prop::sample::select(Language::ALL.to_vec()),
        settings in settings(),
    ) {
        check(&text, Format::Code(language), settings);
    }

    #[test]
    fn any_text_read_as_code_keeps_the_promises(
        text in text(),
        language in prop::sample::select(Language::ALL.to_vec()),
        settings in settings(),
    ) {
        check(&text, Format::Code(language), settings);
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

const FORMATS: [Format; 5] = [
    Format::Plain,
    Format::Markdown,
    Format::Code(Language::Rust),
    Format::Code(Language::TypeScript),
    Format::Code(Language::Python),
];

/// Texts of about `len` bytes that break what is made for real ones.
fn hostile(len: usize) -> Vec<(&'static str, String)> {
    let fill = |unit: &str| unit.repeat(len / unit.len() + 1);
    let manual = "## Section\n\nSome *text* with [a link](https://example.com) and `code`. It goes on for a while, as \
        text does.\n\n- one\n- two\n  - three\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```sh\ncargo test\n```\n\n";
    let columns = |cell: &str| format!("{}|\n", cell.repeat(10_000));
    // 64 levels a line, each line further in.
    let stairs = |blank: &str, width: usize| {
        let lines = (0..40).map(|line| format!("{}{}a\n", blank.repeat(line * 128 / width), "- ".repeat(64)));
        format!("{}{}", lines.collect::<String>(), fill("x\n"))
    };
    let lazy = |opener: String, line: &str| format!("{opener}{}", fill(line));
    let named = [
        ("NULs", fill("\0")),
        ("bidi controls", fill("\u{202e}a\u{202c}\u{2066}b. \u{2069}")),
        ("one word", fill("a")),
        ("an unknown word", fill("\u{10ffff}")),
        ("words", fill("a b c ")),
        ("nested quotes", "> ".repeat(100_000)),
        ("nested quotes, close", ">".repeat(100_000) + "a"),
        ("nested lists", "- ".repeat(100_000) + "a"),
        ("nested numbers", "1. ".repeat(100_000) + "a"),
        ("nested notes", "[^a]: ".repeat(50_000) + "a"),
        ("list, lazy lines", lazy("- ".repeat(20_000) + "a\n", "x\n")),
        ("CR list, lazy lines", lazy("x\r\r".to_owned() + &"- ".repeat(20_000) + "a\r", "x\r")),
        ("quote, lazy lines", lazy("> ".repeat(20_000) + "a\n", "x\n")),
        ("notes, lazy lines", lazy("[^a]: > ".repeat(10_000) + "a\n", "x\n")),
        ("stairs of lists", stairs(" ", 1)),
        ("stairs of lists, tabs", stairs("\t", 4)),
        ("quotes of 60", fill(&("> ".repeat(60) + "a\n"))),
        ("items", fill("- item of a list that does not end, ever\n")),
        ("open fence", format!("```\n{}", fill("let x = call(1, 2);\n"))),
        ("fences", fill("```\n")),
        ("fences in items", fill("- ```\n  a\n")),
        ("a wide table", columns("|a") + &columns("|-") + &columns("|b")),
        ("a wide table, short rows", columns("|a") + &columns("|-") + &fill("|\n")),
        ("a long table", format!("| a | b |\n|---|---|\n{}", fill("| 1 | a value |\n"))),
        ("front matter in quotes", fill(">---\nx\n")),
        ("front matter in items", fill("* ---\n  x\n\n")),
        ("front matter", fill("---\na: b\n")),
        ("literal line ends", fill("\\n")),
        ("sentences, literal ends", fill("A.\\n")),
        (")", fill(")")),
        ("\u{ff09}", fill("\u{ff09}")),
        ("ellipses", fill("….")),
        ("a. ", fill("a. ")),
        ("A. ", fill("A. ")),
        ("{},", fill("{},")),
        ("},{", fill("},{")),
        ("line ends", fill("\n")),
        ("blanks", format!("a{}b", fill(" "))),
        ("blank lines", fill("a\n\n\n\n \n\t\n\n")),
        ("CJK without stops", fill("向量数据库")),
        ("CJK", fill("向量数据库可以存储嵌入，并且支持相似度搜索。")),
        ("marks", format!("a{}", fill("\u{301}"))),
        ("words of marks", fill(&format!("a{} ", "\u{301}".repeat(4_000)))),
        ("linkers", fill("क\u{94d}")),
        ("RTL", fill("שלום עולם، مرحبا بالعالم. ")),
        ("escapes of surrogates", fill("\\ud83d\\ude00")),
        ("families", fill("👩\u{200d}👩\u{200d}👧")),
        ("flags", fill("🇩🇪")),
        ("CRLF", fill(&manual.replace('\n', "\r\n"))),
        ("CR", fill(&manual.replace('\n', "\r"))),
        ("form feeds", fill("A word. And\u{c}")),
        ("line separators", fill("A word. And\u{2028}\u{2029}\u{85}")),
        ("tabs", fill("a\t\tb\n\t")),
        ("zero width", fill("\u{200b}")),
        ("paragraphs of nothing", fill("\u{200b}\n\n")),
        ("brackets", fill("[")),
        ("links", fill("[a](<")),
        ("linked headings", fill("# [a][b] [^c]\n")),
        ("definitions", fill("[a]: <b> 'c\n")),
        ("emphasis", fill("*a_ ")),
        ("tags", fill("<a b='c ")),
        ("headings", fill("# a\n")),
        ("one heading", format!("# {}", fill("word "))),
        ("Markdown", fill(manual)),
        ("sentences", fill("It was a dark and stormy night. The rain fell in torrents, mostly. ")),
        ("nothing", String::new()),
        ("braces", fill("{")),
        ("braces, closed", fill("}")),
        ("blocks", fill("{}")),
        ("lines of braces", fill("{\n")),
        ("statements", fill("a;")),
        ("functions", fill("fn f(a: u8) { g(a); }\n")),
        ("functions in functions", fill("fn f() {\n")),
        ("a function's long head", format!("fn f({}) {{}}", fill("a: u8, "))),
        ("stairs", (0..len / 200).map(|step| format!("{}if a:\n", " ".repeat(step % 400))).collect()),
        ("annotations", fill("@A\n")),
        ("comments", fill("// a\n")),
        ("comments after blanks", fill("\n\n/* a */\n")),
        ("an open comment", format!("/*{}", fill(" * a\n"))),
        ("nested comments", fill("/*")),
        ("an open string", format!("\"\"\"{}", fill("a\n"))),
        ("quotes", fill("\"")),
        ("templates", fill("`${")),
        ("regexes", fill("=/a")),
        ("shifts", fill("<<A\n")),
        ("conditions", fill("#if a\n")),
    ];
    named.into()
}

#[test]
fn hostile_texts_keep_the_promises() {
    let settings = [(256, 0, 64), (32, 16, 256), (510, 0, 0), (40, 3, 0)];
    for (number, (name, text)) in hostile(12_000).iter().enumerate() {
        for format in FORMATS {
            println!("{name}, {format:?}");
            let (target, overlap, prefix) = settings[number % settings.len()];
            check(text, format, ChunkSettings { target, code_target: target, overlap, prefix });
        }
    }
}

/// A quarter of a megabyte with one of three settings each, in turn; a megabyte with all of them, and their pace:
/// `EVERY_SETTING=1 cargo test -p ragflare-core --test chunk_properties --profile native -- --nocapture long_hostile`
#[test]
fn long_hostile_texts_keep_the_promises() {
    const SETTINGS: [(usize, usize); 3] = [(256, 0), (32, 16), (510, 0)];
    let every = std::env::var_os("EVERY_SETTING").is_some();
    let mut turn = 0;
    for (name, text) in &hostile(if every { 1 << 20 } else { 1 << 18 }) {
        let mebibytes = text.len().max(1) as f64 / f64::from(1 << 20);
        for format in FORMATS {
            turn += 1;
            let mine = SETTINGS.iter().enumerate().filter(|(nth, _)| every || turn % SETTINGS.len() == *nth);
            for (_, &(target, overlap)) in mine {
                let time =
                    check(text, format, ChunkSettings { target, code_target: target, overlap, prefix: 0 });
                let pace = time.as_secs_f64() / mebibytes;
                println!("{name:24} {format:8?} {target} with overlap {overlap}: {pace:.2} s/MiB");
            }
        }
    }
}

#[test]
fn anything_takes_time_in_proportion_to_its_length() {
    // Two of the pieces that a text is looked at in: what takes the square of a piece takes minutes of these.
    for (name, text) in &hostile(1 << 18) {
        for format in FORMATS {
            let clock = Clock::start();
            let count = chunks(text, format, ChunkSettings::default()).len();
            let time = clock.elapsed();
            println!("{name:24} {format:8?} {:.0} ms, {count} chunks", time.as_secs_f64() * 1e3);
            // Generous, for a debug build on a busy machine.
            assert!(time.as_secs_f64() < 3.0, "{name} as {format:?} took {time:?}");
        }
    }
}

#[test]
fn code_and_tables_that_fit_are_whole_below_headings() {
    for heading in 1..16 {
        for size in 1..12 {
            let heading = "# ".to_owned() + &"word ".repeat(heading);
            let blocks = [
                format!("```\n{}```", "a b\n".repeat(size)),
                format!("|a|b|\n|-|-|\n{}", "|x|y|\n".repeat(size)),
            ];
            for block in blocks {
                let text = format!("before\n\n{heading}\n\n#{heading}\n\n{block}\n\nafter\n");
                check(
                    &text,
                    Format::Markdown,
                    ChunkSettings { target: 32, code_target: 32, overlap: 0, prefix: 0 },
                );
            }
        }
    }
}

#[test]
fn characters_of_several_are_whole_whatever_comes_before() {
    for before in ["", "x", "xy", "A b. "] {
        for character in ["🇩🇪", "👩\u{200d}👩\u{200d}👧", "e\u{301}\u{302}"] {
            let text = before.to_owned() + &character.repeat(3_000);
            for target in [32, 256] {
                let chunks = chunks(
                    &text,
                    Format::Plain,
                    ChunkSettings { target, code_target: target, overlap: 0, prefix: 0 },
                );
                let is_whole =
                    |at: usize| at <= before.len() || (at - before.len()).is_multiple_of(character.len());
                assert!(
                    chunks.iter().all(|chunk| is_whole(chunk.start)),
                    "{before:?} {character:?} {chunks:?}"
                );
            }
        }
    }
}
