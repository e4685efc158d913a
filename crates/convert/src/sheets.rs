//! Workbooks: each sheet a heading and a table. Cells are taken one by one, so that two cells at the far corners of a sheet are
//! two cells, and not the seventeen thousand million between them.

mod comments;
mod ods;

use crate::office::relations;
use crate::package::Package;
use crate::tree::Element;
use crate::{Converted, Limits, Place, Refusal, markdown};
use calamine::{Data, DataRef, Reader, Sheets, open_workbook_auto_from_rs};
use std::collections::{BTreeSet, HashSet};
use std::io::{Cursor, Read};

/// Sheets that a workbook may have.
const MOST_SHEETS: usize = 1000;

/// A sheet's cells that have something in them: row and column, both from 0, and text.
type Cells = Vec<(u32, u32, Box<str>)>;

fn broken(error: impl std::fmt::Display) -> Refusal {
    match error.to_string() {
        text if text.to_ascii_lowercase().contains("password") => Refusal::Encrypted,
        text => Refusal::broken("workbook", text),
    }
}

pub(crate) fn convert(bytes: &[u8], limits: &Limits) -> Result<Converted, Refusal> {
    let mut book =
        Book { limits, left: limits.nodes, text_left: limits.text, out: String::new(), places: Vec::new() };
    if bytes.starts_with(b"PK") {
        // The reader unpacks as much as there is: looked through first.
        let package = Package::open(bytes, "workbook", limits)?;
        let names = package.names();
        if names.iter().any(|name| name == "content.xml") {
            ods::read(&package, &mut book)?;
            return Ok(book.converted());
        }
        // Pictures are not unpacked.
        for name in names.iter().filter(|name| !name.starts_with("xl/media/")) {
            package.count(name)?;
        }
        apart(&package)?;
    } else {
        bounded_xls(bytes, limits)?;
    }
    let comments = if bytes.starts_with(b"PK") {
        comments::all(&Package::open(bytes, "workbook", limits)?)?
    } else {
        String::new()
    };
    let mut workbook = open_workbook_auto_from_rs(Cursor::new(bytes)).map_err(broken)?;
    let names = workbook.sheet_names();
    if names.len() > MOST_SHEETS {
        return Err(Refusal::TooLarge { what: "sheets", allowed: MOST_SHEETS as u64 });
    }
    for (at, name) in names.into_iter().enumerate() {
        let mut cells = Cells::new();
        // A sheet of charts has no cells.
        match &mut workbook {
            Sheets::Xlsx(workbook) => {
                let Ok(mut reader) = workbook.worksheet_cells_reader(&name) else { continue };
                while let Some(cell) = reader.next_cell().map_err(broken)? {
                    book.take(&mut cells, cell.get_position(), &shown(&owned(cell.get_value())))?;
                }
            }
            Sheets::Xlsb(workbook) => {
                let Ok(mut reader) = workbook.worksheet_cells_reader(&name) else { continue };
                while let Some(cell) = reader.next_cell().map_err(broken)? {
                    book.take(&mut cells, cell.get_position(), &shown(&owned(cell.get_value())))?;
                }
            }
            other => {
                let Ok(range) = other.worksheet_range(&name) else { continue };
                let (row, column) = range.start().unwrap_or_default();
                for (down, right, cell) in range.used_cells() {
                    book.take(&mut cells, (row + down as u32, column + right as u32), &shown(cell))?;
                }
            }
        }
        book.sheet(at + 1, &name, cells)?;
    }
    if !comments.is_empty() {
        book.places.push(Place { at: book.out.len() as u64, page: None, row: None });
        book.out.push_str(&comments);
    }
    Ok(book.converted())
}

/// That no two sheets are the same part: it would be read as often.
fn apart(package: &Package<'_>) -> Result<(), Refusal> {
    const MAIN: &str = "xl/workbook.xml";
    let Some(book) = package.xml(MAIN)? else { return Ok(()) };
    let targets = relations::of(package, MAIN)?;
    let mut seen = HashSet::new();
    for sheet in book.child("sheets").into_iter().flat_map(Element::elements) {
        let mut ids = sheet.attributes.iter().filter(|(name, _)| name == "id").map(|(_, id)| id);
        if let Some(part) = ids.find_map(|id| targets.get(id))
            && !seen.insert(part.to_ascii_lowercase())
        {
            return Err(Refusal::broken("workbook", "two of its sheets are the same part"));
        }
    }
    Ok(())
}

/// What is written so far.
struct Book<'a> {
    limits: &'a Limits,
    /// Cells that may still come.
    left: usize,
    /// Bytes of their text that may still come: a text of which there is one may stand in each.
    text_left: usize,
    out: String,
    places: Vec<Place>,
}

impl Book<'_> {
    fn take(&mut self, cells: &mut Cells, (row, column): (u32, u32), text: &str) -> Result<(), Refusal> {
        if text.trim().is_empty() {
            return Ok(());
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| Refusal::too_many_nodes(self.limits))?;
        let too_long = Refusal::TooLarge { what: "bytes of text", allowed: self.limits.text as u64 };
        self.text_left = self.text_left.checked_sub(text.len()).ok_or(too_long)?;
        cells.push((row, column, text.into()));
        Ok(())
    }

    /// Adds a sheet: the columns and rows that have something in them. Its number is from 1.
    fn sheet(&mut self, number: usize, name: &str, mut cells: Cells) -> Result<(), Refusal> {
        if cells.is_empty() {
            return Ok(());
        }
        // Cells of a file need not be in order.
        cells.sort_by_key(|(row, column, _)| (*row, *column));
        let columns: BTreeSet<u32> = cells.iter().map(|(_, column, _)| *column).collect();
        let rows = cells.chunk_by(|one, other| one.0 == other.0);
        // Of a table with a few cells in each of many columns, most would be the marks between them.
        if rows.clone().count().saturating_mul(columns.len()) > self.limits.nodes * 4 {
            return Err(Refusal::too_many_nodes(self.limits));
        }
        let page = u32::try_from(number).ok();
        self.places.push(Place { at: self.out.len() as u64, page, row: None });
        self.out.push_str(&markdown::heading(2, name));
        let mut table = markdown::Table::new(columns.iter().map(|column| *column as usize).collect());
        for row in rows {
            let begin = table.row(|column| {
                let found = row.binary_search_by_key(&(column as u32), |(_, column, _)| *column);
                found.map_or("", |at| &row[at].2)
            });
            self.places.push(Place {
                at: (self.out.len() + begin) as u64,
                page,
                row: row[0].0.checked_add(1),
            });
        }
        self.out.push_str(&table.out);
        self.out.push('\n');
        if self.out.len() > self.limits.text {
            return Err(Refusal::TooLarge { what: "bytes of text", allowed: self.limits.text as u64 });
        }
        Ok(())
    }

    fn converted(self) -> Converted {
        Converted { places: self.places, ..Converted::text(self.out) }
    }
}

/// The reader of the old format fills the rectangle of each sheet's cells as it opens the file: its size is looked at first
/// ([MS-XLS] 2.4: records of a type, a length and so many bytes; those of cells begin with row and column).
fn bounded_xls(bytes: &[u8], limits: &Limits) -> Result<(), Refusal> {
    const SHEET_BEGINS: u16 = 0x0809;
    const CELLS: [u16; 10] = [0x0006, 0x00BD, 0x00BE, 0x00D6, 0x00FD, 0x0201, 0x0203, 0x0204, 0x0205, 0x027E];
    let mut file = cfb::CompoundFile::open(Cursor::new(bytes)).map_err(broken)?;
    let path = ["/Workbook", "/Book"].into_iter().find(|path| file.is_stream(path)).unwrap_or("/Workbook");
    let mut stream = Vec::new();
    file.open_stream(path).map_err(broken)?.take(limits.unpacked).read_to_end(&mut stream).map_err(broken)?;
    let number = |at: usize| stream.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let (mut at, mut total) = (0, 0_usize);
    let mut corners: Option<[u16; 4]> = None;
    let area = |corners: Option<[u16; 4]>| {
        corners.map_or(0, |[top, left, bottom, right]| {
            (usize::from(bottom - top) + 1) * (usize::from(right - left) + 1)
        })
    };
    while let (Some(kind), Some(length)) = (number(at), number(at + 2)) {
        if kind == SHEET_BEGINS {
            total += area(corners.take());
        } else if CELLS.contains(&kind)
            && let (Some(row), Some(column)) = (number(at + 4), number(at + 6))
        {
            // A record of several cells ends with the last one's column.
            let last =
                if matches!(kind, 0x00BD | 0x00BE) { number(at + 2 + usize::from(length)) } else { None };
            let last = last.unwrap_or(column).max(column);
            let [top, left, bottom, right] = corners.unwrap_or([row, column, row, last]);
            corners = Some([top.min(row), left.min(column), bottom.max(row), right.max(last)]);
        }
        at += 4 + usize::from(length);
    }
    if total + area(corners) > limits.nodes {
        return Err(Refusal::too_many_nodes(limits));
    }
    Ok(())
}

fn owned(cell: &DataRef<'_>) -> Data {
    Data::from(cell.clone())
}

fn shown(cell: &Data) -> String {
    match cell {
        Data::Empty => String::new(),
        Data::DateTime(time) => match time.as_datetime_parts() {
            Some(text) => text,
            None => time.to_string(),
        },
        Data::DateTimeIso(text) | Data::DurationIso(text) | Data::String(text) => text.clone(),
        // 3.0 is written 3.
        Data::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => format!("{number:.0}"),
        other => other.to_string(),
    }
}

trait Parts {
    fn as_datetime_parts(&self) -> Option<String>;
}

impl Parts for calamine::ExcelDateTime {
    /// `2024-05-31`, with the time of day where there is one.
    fn as_datetime_parts(&self) -> Option<String> {
        if !self.is_datetime() {
            return None;
        }
        let (year, month, day, hour, minute, second, _) = self.to_ymd_hms_milli();
        let date = format!("{year:04}-{month:02}-{day:02}");
        Some(if hour + minute + second == 0 {
            date
        } else {
            format!("{date} {hour:02}:{minute:02}:{second:02}")
        })
    }
}
