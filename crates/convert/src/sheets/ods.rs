//! `OpenDocument` tables. Rows and cells say how often they stand there: a sheet ends with a row that stands a million times.

use super::{Book, Cells};
use crate::Refusal;
use crate::package::Package;
use crate::tree::Element;

pub(super) fn read(package: &Package<'_>, book: &mut Book<'_>) -> Result<(), Refusal> {
    if package
        .bytes("META-INF/manifest.xml")?
        .is_some_and(|it| memchr::memmem::find(&it, b"encryption-data").is_some())
    {
        return Err(Refusal::Encrypted);
    }
    let content = package.required("content.xml")?;
    let sheets = content.path(&["body", "spreadsheet"]).into_iter().flat_map(Element::elements);
    for (at, sheet) in sheets.filter(|element| element.name == "table").enumerate() {
        let mut cells = Cells::new();
        let mut rows = Vec::new();
        sheet.all("table-row", &mut rows);
        let mut number = 0_u32;
        for row in rows {
            let times = repeated(row, "number-rows-repeated");
            let filled = filled(row);
            // Empty rows have a number, but no cells.
            for again in 0..if filled.is_empty() { 0 } else { times } {
                for (column, text, times) in &filled {
                    for right in 0..*times {
                        let place = (number.saturating_add(again), column.saturating_add(right));
                        book.take(&mut cells, place, text)?;
                    }
                }
            }
            number = number.saturating_add(times);
        }
        book.sheet(at + 1, sheet.attribute("name").unwrap_or("Sheet"), cells)?;
    }
    Ok(())
}

/// A row's cells with something in them: their first column, and how many have the same.
fn filled(row: &Element) -> Vec<(u32, String, u32)> {
    let mut out = Vec::new();
    let mut column = 0_u32;
    for cell in
        row.elements().filter(|cell| matches!(cell.name.as_str(), "table-cell" | "covered-table-cell"))
    {
        let times = repeated(cell, "number-columns-repeated");
        let lines: Vec<String> =
            cell.elements().filter(|child| child.name == "p").map(Element::text).collect();
        let text = lines.join(" ");
        if !text.trim().is_empty() {
            // No one fills more columns with the same text than a screen has.
            out.push((column, text, times.min(256)));
        }
        column = column.saturating_add(times);
    }
    out
}

fn repeated(element: &Element, name: &str) -> u32 {
    element.attribute(name).and_then(|times| times.parse().ok()).unwrap_or(1)
}
