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
        for (column, _) in record.iter().enumerate().filter(|(_, cell)| !cell.trim().is_empty()) {
            used.resize(used.len().max(column + 1), false);
            used[column] = true;
            records = count;
        }
    }
    let used = used.iter().enumerate().filter(|(_, used)| **used).map(|(column, _)| column).collect();
    let mut table = markdown::Table::new(used);
    let mut places = Vec::new();
    // Empty lines are no records, but rows: told by how many lines a record took.
    let (mut row, mut line) = (0, 1);
    let mut second = reader();
    while places.len() < records && second.read_record(&mut record).map_err(broken)? {
        let within: usize = record.iter().map(|cell| cell.matches('\n').count()).sum();
        let taken = usize::try_from(second.position().line() - line).unwrap_or(1);
        line = second.position().line();
        row += taken.saturating_sub(within).max(1);
        let at = table.row(|column| record.get(column).unwrap_or_default());
        places.push(Place { at: at as u64, page: None, row: u32::try_from(row).ok() });
        if table.out.len() > limits.text {
            return Err(Refusal::TooLarge { what: "bytes of text", allowed: limits.text as u64 });
        }
    }
    Ok(Converted { places, ..Converted::text(table.out) })
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
        assert_eq!(converted.places.iter().filter_map(|place| place.row).collect::<Vec<_>>(), [1, 3, 4]);
    }

    #[test]
    fn the_separator_is_told() {
        for text in ["a,b\n1,\"x;y\"\n", "a;b\n1;\"x;y\"\n", "a\tb\n1\tx;y\n", "a|b\n1|x;y\n"] {
            let text = convert(text, &Limits::default()).unwrap().text;
            assert_eq!(text, "| a | b |\n| --- | --- |\n| 1 | x;y |\n");
        }
    }
}
