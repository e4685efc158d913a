//! A row of a table carries the table's header.

#![allow(clippy::unwrap_used)]

use ragflare_core::chunk::{Chunk, ChunkSettings, Chunker, Format, embedded_text, shown_text};
use ragflare_core::tokens::WordPiece;
use ragflare_core::tokens::wordpiece::{MAX_TOKENS, SPECIALS};

const SMALL: ChunkSettings = ChunkSettings { target: 40, code_target: 40, overlap: 0, prefix: 64 };

fn cut(text: &str, settings: ChunkSettings) -> Vec<Chunk> {
    Chunker::new(settings).unwrap().chunks(text, Format::Markdown)
}

fn table(rows: usize) -> String {
    let rows: String = (0..rows).map(|n| format!("| item {n} | {} EUR | in stock |\n", n * 3)).collect();
    format!("| Name | Price | State |\n|:-----|------:|-------|\n{rows}")
}

#[test]
fn chunks_that_begin_in_a_table_carry_its_header() {
    let text = format!("# Prices\n\nOf this year:\n\n{}\nThat is all.\n", table(30));
    let chunks = cut(&text, SMALL);
    assert!(chunks.len() > 5);
    for (nth, chunk) in chunks.iter().enumerate() {
        let body = &text[chunk.start..chunk.end];
        let begins_in_table = body.starts_with("| item");
        assert_eq!(begins_in_table, nth > 0, "{body:?}");
        let header = "| Name | Price | State |\n|---|---|---|";
        assert_eq!(chunk.table_header.as_deref(), begins_in_table.then_some(header));
        if begins_in_table {
            let shown = shown_text(chunk.table_header.as_deref(), body);
            assert_eq!(shown, format!("{header}\n{body}"));
            let table_header = chunk.table_header.as_deref();
            let embedded = embedded_text(Some("shop"), &chunk.headings, table_header, body, &SMALL);
            assert_eq!(embedded, format!("shop > Prices\n\n| Name | Price | State |\n{body}"));
        }
    }
    assert_eq!(shown_text(None, "body"), "body");
}

#[test]
fn a_header_is_the_one_of_its_own_table() {
    let other = "| Key | Value |\n|---|---|\n".to_owned() + &"| a | some words in a cell |\n".repeat(12);
    let text = format!("{}\n## Other\n\n{other}\nWords after it.\n", table(12));
    for chunk in cut(&text, SMALL) {
        let body = &text[chunk.start..chunk.end];
        let header = chunk.table_header.as_deref().and_then(|header| header.lines().next());
        let expected = match body {
            _ if body.starts_with("| item") => Some("| Name | Price | State |"),
            _ if body.starts_with("| a |") => Some("| Key | Value |"),
            _ => None,
        };
        assert_eq!(header, expected, "{body:?}");
    }
}

#[test]
fn a_table_in_a_list_or_a_quote_has_a_header_too() {
    for mark in ["> ", "  "] {
        let rows: String = table(20).lines().map(|line| format!("{mark}{line}\n")).collect();
        let text = if mark == "> " { rows } else { format!("- item\n\n{rows}") };
        let chunks = cut(&text, SMALL);
        assert!(chunks.len() > 3);
        let header = "| Name | Price | State |\n|---|---|---|";
        assert!(chunks[1..].iter().all(|chunk| chunk.table_header.as_deref() == Some(header)), "{chunks:?}");
    }
}

#[test]
fn a_wide_header_loses_the_ends_of_its_cells_then_columns() {
    let wide = |columns: usize, cell: &str| {
        let row = |cell: &str| format!("|{}\n", format!("{cell}|").repeat(columns));
        row(cell) + &row("-") + &row("x").repeat(200)
    };
    let header = |text: &str| {
        let chunk = cut(text, ChunkSettings::default()).pop().unwrap();
        chunk.table_header.unwrap().lines().next().unwrap().to_owned()
    };
    let cut_cells = header(&wide(
        6,
        "a name that goes on and on for quite some number of words, with more of them after",
    ));
    assert!(cut_cells.matches('|').count() == 7 && cut_cells.contains('…'), "{cut_cells}");
    let cut_columns = header(&wide(80, "column"));
    assert!((20..80).contains(&cut_columns.matches("column").count()), "{cut_columns}");
    for header in [cut_cells, cut_columns] {
        assert!((40..=96).contains(&WordPiece::count(&header)), "{header}");
    }
    let escaped = header(&wide(2, r"a \| b"));
    assert_eq!(escaped, r"| a \| b | a \| b |");
    // One that says nothing is none.
    assert!(cut(&wide(3, " "), SMALL).iter().all(|chunk| chunk.table_header.is_none()));
}

#[test]
fn all_of_it_fits_the_model_whatever_the_settings() {
    let text = format!("# Prices\n\n{}\nAnd some words.\n", table(300));
    let wide = text.replace("Name", "A long name of the first column that has many, many words in it");
    for text in [text, wide] {
        for (target, prefix, overlap) in
            [(510, 64, 0), (446, 64, 32), (510, 256, 0), (510, 0, 100), (160, 64, 16)]
        {
            let settings = ChunkSettings { target, overlap, prefix, ..ChunkSettings::default() };
            for chunk in cut(&text, settings) {
                let body = &text[chunk.start..chunk.end];
                let header = chunk.table_header.as_deref();
                let title = "word ".repeat(prefix);
                let embedded = embedded_text(Some(&title), &chunk.headings, header, body, &settings);
                let tokens = WordPiece::count(&embedded) + SPECIALS;
                assert!(tokens <= MAX_TOKENS, "{tokens} {settings:?}");
                assert_eq!(header.is_some(), body.starts_with("| item"), "{settings:?} {body:.80}");
            }
        }
    }
}

#[test]
fn a_row_that_fits_is_not_cut() {
    // A short row, then one that nearly fills a chunk.
    let rows: String = (0..10).map(|n| format!("| {n} | x |\n| {n} | {} |\n", "word, ".repeat(14))).collect();
    let text = format!("| a | b |\n|---|---|\n{rows}");
    for chunk in cut(&text, SMALL) {
        let body = &text[chunk.start..chunk.end];
        assert!(body.starts_with('|') && body.ends_with('|'), "{body:?}");
    }
}

#[test]
fn the_header_of_a_table_longer_than_a_piece_is_kept() {
    let text = format!("# Prices\n\n{}\n\n# End\n\nWords.\n", table(20_000));
    let mut stream = Chunker::new(ChunkSettings::default()).unwrap().stream(Format::Markdown);
    let mut chunks = Vec::new();
    loop {
        let wanted = stream.wants();
        let end = text.floor_char_boundary(wanted.end);
        let last = end == text.len();
        stream.feed(&text[wanted.start..end], last, |chunk| chunks.push(chunk));
        if last {
            break;
        }
        let state = serde_json::to_string(&stream).unwrap();
        assert!(state.len() < 16 * 1024);
        stream = serde_json::from_str(&state).unwrap();
    }
    assert!(text.len() > 4 * 128 * 1024 && chunks.len() > 1000);
    for chunk in &chunks {
        let body = &text[chunk.start..chunk.end];
        assert_eq!(chunk.table_header.is_some(), body.starts_with("| item"), "{body:.80}");
    }
}
