//! Tables of separated values.

use crate::{Converted, Limits, Place, Refusal, markdown};

/// Lines that are looked at to tell the separator.
const LOOKED_AT: usize = 20;

/// As one table, the first record its header.
pub(crate) fn convert(text: &str, limits: &Limits) -> Result<Converted, Refusal> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator(text))
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    let mut cells = 0;
    // Empty lines are no records, but rows: told by how many lines a record took.
    let mut numbers = Vec::new();
    let (mut row, mut line) = (0, 1);
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| Refusal::broken("CSV", error))? {
        let within: usize = record.iter().map(|cell| cell.matches('\n').count()).sum();
        let taken = usize::try_from(reader.position().line() - line).unwrap_or(1);
        line = reader.position().line();
        row += taken.saturating_sub(within).max(1);
        numbers.push(row);
        cells += record.len();
        if cells > limits.nodes {
            return Err(Refusal::too_many_nodes(limits));
        }
        rows.push(record.iter().map(str::to_owned).collect());
    }
    let (text, begin) = markdown::table_with_rows(&rows);
    let places = begin.into_iter().zip(numbers).map(|(at, row)| Place { at, page: None, row: u32::try_from(row).ok() });
    Ok(Converted { places: places.collect(), ..Converted::text(text) })
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
    fn the_separator_is_told() {
        for text in ["a,b\n1,\"x;y\"\n", "a;b\n1;\"x;y\"\n", "a\tb\n1\tx;y\n", "a|b\n1|x;y\n"] {
            let text = convert(text, &Limits::default()).unwrap().text;
            assert_eq!(text, "| a | b |\n| --- | --- |\n| 1 | x;y |\n");
        }
    }
}
