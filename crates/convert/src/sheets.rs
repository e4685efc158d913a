//! Workbooks: each sheet a heading and a table.

use crate::package::Package;
use crate::{Converted, Limits, Refusal, markdown};
use calamine::{Data, Reader, open_workbook_auto_from_rs};
use std::io::Cursor;

pub(crate) fn convert(bytes: &[u8], limits: &Limits) -> Result<Converted, Refusal> {
    if bytes.starts_with(b"PK") {
        // The reader unpacks as much as there is: looked through first.
        let package = Package::open(bytes, "workbook", limits)?;
        for name in package.names().iter().filter(|name| !name.ends_with('/') && !name.contains("/media/")) {
            package.bytes(name)?;
        }
    }
    let broken = |error: calamine::Error| match error.to_string() {
        text if text.to_ascii_lowercase().contains("password") => Refusal::Encrypted,
        text => Refusal::broken("workbook", text),
    };
    let mut workbook = open_workbook_auto_from_rs(Cursor::new(bytes)).map_err(broken)?;
    let mut out = String::new();
    let mut pages = Vec::new();
    let mut left = limits.nodes;
    for name in workbook.sheet_names() {
        // A sheet of charts has no cells.
        let Ok(range) = workbook.worksheet_range(&name) else { continue };
        left = left
            .checked_sub(range.get_size().0.saturating_mul(range.get_size().1))
            .ok_or_else(|| Refusal::too_many_nodes(limits))?;
        let rows: Vec<Vec<String>> = range.rows().map(|row| row.iter().map(shown).collect()).collect();
        let filled: Vec<Vec<String>> =
            rows.into_iter().filter(|row| row.iter().any(|text| !text.trim().is_empty())).collect();
        if filled.is_empty() {
            continue;
        }
        pages.push(out.len());
        out.push_str(&markdown::heading(2, &name));
        out.push_str(&markdown::table(&filled));
        out.push('\n');
    }
    Ok(Converted { pages, ..Converted::text(out) })
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
        Some(if hour + minute + second == 0 { date } else { format!("{date} {hour:02}:{minute:02}:{second:02}") })
    }
}
