//! Tables of separated values.

use crate::{Converted, Limits, Place, Refusal, markdown};

/// Lines that are looked at to tell the separator.
const LOOKED_AT: usize = 20;
/// Columns that a table may have; spreadsheet programs take 16,384.
const MOST_COLUMNS: usize = 100_000;

/// As one table, the first record its header. Read twice, first for the columns that are in use: kept are only the text and the
/// table.
pub(crate) fn convert(text: &str, limits: &Limits) -> Result<Converted, Refusal> {
    let delimiter = separator(text);
    let widest = text.lines().map(|line| line.bytes().filter(|byte| *byte == delimiter).count()).max();
    if widest > Some(MOST_COLUMNS) {
        return Err(Refusal::TooLarge { what: "columns", allowed: MOST_COLUMNS as u64 });
    }
    let reader = || {
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true).delimiter(delimiter).from_reader(text.as_bytes())
    };
    let broken = |error: csv::Error| Refusal::broken("CSV", error);
    let mut record = csv::StringRecord::new();
    let mut used: Vec<bool> = Vec::new();
    // Records up to the last one with something in it.
    let (mut records, mut count) = (0, 0);
    let mut first = reader();
    while first.read_record(&mut record).map_err(broken)? {
        count += 1;
        if count > limits.nodes / 2 {
            return Err(Refusal::TooLarge { what: "rows", allowed: limits.nodes as u64 / 2 });
        }
        for (column, _) in record.iter().enumerate().filter(|(_, cell)| !cell.trim().is_empty()) {
            used.resize(used.len().max(column + 1), false);
            used[column] = true;
            records = count;
        }
    }
    let used = used.iter().enumerate().filter(|(_, used)| **used).map(|(column, _)| column).collect();
    let mut table = markdown::Table::new(used);
    let mut places = Vec::new();
    let mut row = 0;
    let mut second = reader();
    while places.len() < records && second.read_record(&mut record).map_err(broken)? {
        let begin = record.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(0));
        row += 1 + empty_lines(text.as_bytes(), begin);
        let at = table.row(|column| record.get(column).unwrap_or_default());
        places.push(Place { at: at as u64, page: None, row: u32::try_from(row).ok() });
        if table.out.len() > limits.text {
            return Err(Refusal::TooLarge { what: "bytes of text", allowed: limits.text as u64 });
        }
    }
    Ok(Converted { places, ..Converted::text(table.out) })
}

/// Lines that are no records, but rows: those before the record that is read from a byte on.
fn empty_lines(text: &[u8], mut at: usize) -> usize {
    // The record before it ended at the first half of its line end.
    if at > 0 && text[at - 1] == b'\r' && text.get(at) == Some(&b'\n') {
        at += 1;
    }
    let mut lines = 0;
    while let Some(byte @ (b'\r' | b'\n')) = text.get(at) {
        lines += 1;
        at += if *byte == b'\r' && text.get(at + 1) == Some(&b'\n') { 2 } else { 1 };
    }
    lines
}

/// The one that most lines have equally often, outside of quotes.
fn separator(text: &str) -> u8 {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).take(LOOKED_AT).collect();
    let count = |line: &str, wanted: u8| {
        let mut quoted = false;
        let outside = line.bytes().filter(|byte| {
            quoted ^= *byte == b'"';
            !quoted && *byte == wanted
        });
        outside.count()
    };
    let score = |wanted: u8| {
        let counts: Vec<usize> = lines.iter().map(|line| count(line, wanted)).collect();
        let first = counts.first().copied().unwrap_or(0);
        if first == 0 { (0, 0) } else { (counts.iter().filter(|count| **count == first).count(), first) }
    };
    // Of two that fit as well, the more usual one.
    [b'|', b';', b'\t', b','].into_iter().max_by_key(|wanted| score(*wanted)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbered_as_spreadsheets_do() {
        let converted = convert("a,b\n\n1,\"x\ny\"\n2,z", &Limits::default()).unwrap();
        assert_eq!(converted.text, "| a | b |\n| --- | --- |\n| 1 | x y |\n| 2 | z |\n");
        let rows = |text: &str| {
            let converted = convert(text, &Limits::default()).unwrap();
            converted.places.iter().filter_map(|place| place.row).collect::<Vec<_>>()
        };
        assert_eq!(rows("a,b\n\n1,\"x\ny\"\n2,z"), [1, 3, 4]);
        assert_eq!(rows("a,b\r\n1,2\r\n\r\n\r\n3,4"), [1, 2, 5]);
        assert_eq!(rows("\r\n\r\na,b\r\n1,\"2\r\n\r\n\"\r\n3,4\r\n"), [3, 4, 5]);
        assert_eq!(rows("a,b\r\r1,2\r"), [1, 3]);
    }

    #[test]
    fn there_are_only_so_many_rows() {
        let few = Limits { nodes: 20, ..Limits::default() };
        assert_eq!(convert(&"1\n".repeat(10), &few).unwrap().places.len(), 10);
        assert_eq!(convert(&"1\n".repeat(11), &few).unwrap_err().code(), "too_large_expanded");
    }

    #[test]
    fn the_separator_is_told() {
        for text in ["a,b\n1,\"x;y\"\n", "a;b\n1;\"x;y\"\n", "a\tb\n1\tx;y\n", "a|b\n1|x;y\n"] {
            let text = convert(text, &Limits::default()).unwrap().text;
            assert_eq!(text, "| a | b |\n| --- | --- |\n| 1 | x;y |\n");
        }
    }
}
