//! What a document is as text: its original, where that is text, or what a [converter](crate::ports::Converter) made of it.
//!
//! A converted text is an object beside its original, and what is known of it are two others: all have names made from the
//! original's, so they are found, and deleted, without being written down anywhere.

use crate::chunk::Format;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Raised when converters make another text of the same bytes: it is part of what a document was made with, so the next re-index
/// makes those texts anew.
pub const VERSION: u32 = 1;

/// Where a page or a row begins. What it says holds up to the next place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, Option<u32>, Option<u32>)", into = "(u64, Option<u32>, Option<u32>)")]
pub struct Place {
    /// A byte of the text.
    pub at: u64,
    /// Page, slide or sheet, from 1.
    pub page: Option<u32>,
    /// Row of a table, from 1, as a spreadsheet program counts.
    pub row: Option<u32>,
}

impl From<(u64, Option<u32>, Option<u32>)> for Place {
    fn from((at, page, row): (u64, Option<u32>, Option<u32>)) -> Self {
        Self { at, page, row }
    }
}

impl From<Place> for (u64, Option<u32>, Option<u32>) {
    fn from(place: Place) -> Self {
        (place.at, place.page, place.row)
    }
}

/// Rows of a table, first and last, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl Rows {
    /// Those that begin at, or are in force in, these places: of the first page, since each sheet has rows of its own.
    pub fn of(places: &[Place]) -> Option<Self> {
        let page = places.first()?.page;
        let rows = || places.iter().filter(|place| place.page == page).filter_map(|place| place.row);
        Some(Self { first: rows().min()?, last: rows().max()? })
    }
}

/// What a converter says of the text it made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversion {
    /// How the text is cut into chunks.
    pub format: Format,
    /// Bytes of the text.
    pub bytes: u64,
    /// Whether there is a [`TextMap`] beside it.
    pub mapped: bool,
}

/// Where what is in a converted text. A spreadsheet's may be as long as its text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextMap {
    /// Where pages and rows begin, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
    /// The chunks, where the uploader cut the text; empty where that is left to us.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<GivenChunk>,
}

impl TextMap {
    /// From its JSON.
    ///
    /// # Errors
    /// [`Error::Document`] `conversion_failed` when it is none of a text of so many bytes.
    pub fn read(json: &[u8], bytes: u64) -> Result<Self> {
        let wrong = |why: &str| Error::Document {
            code: "conversion_failed".into(),
            message: format!("what the converter says of the text is wrong: {why}"),
        };
        let map: Self = serde_json::from_slice(json).map_err(|error| wrong(&error.to_string()))?;
        if !map.places.is_sorted_by_key(|place| place.at) {
            return Err(wrong("its places are not in order"));
        }
        if map.chunks.iter().any(|chunk| chunk.start >= chunk.end || chunk.end > bytes) {
            return Err(wrong("a chunk is not in it"));
        }
        Ok(map)
    }
}

/// A chunk as its uploader cut it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenChunk {
    /// First byte in the text.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// Heading path.
    pub headings: Vec<String>,
}

/// Name of the object with the text made of an original.
pub fn text_key(original: &str) -> String {
    format!("{original}.v{VERSION}.txt")
}

/// Name of the object with the [`TextMap`], as JSON.
pub fn map_key(original: &str) -> String {
    format!("{original}.v{VERSION}.map")
}

/// Name of the object with the [`Conversion`], as JSON. It is written last: while it is there, the others are whole.
pub fn conversion_key(original: &str) -> String {
    format!("{original}.v{VERSION}.json")
}

/// Name of the object with what is done of a conversion that takes more than one invocation.
pub fn progress_key(original: &str) -> String {
    format!("{original}.v{VERSION}.part")
}

/// What the names of an original's objects end in.
const ENDINGS: [&str; 4] = [".txt", ".map", ".json", ".part"];

/// The objects of an original: itself and what was ever made of it.
pub fn objects(original: &str) -> Vec<String> {
    let made = (1..=VERSION)
        .flat_map(|version| ENDINGS.iter().map(move |ending| format!("{original}.v{version}{ending}")));
    std::iter::once(original.to_owned()).chain(made).collect()
}

/// The original that an object belongs to; itself if it is one.
pub fn original(object: &str) -> &str {
    let stem = ENDINGS.iter().find_map(|ending| object.strip_suffix(ending));
    let Some((stem, version)) = stem.and_then(|stem| stem.rsplit_once(".v")) else { return object };
    if version.parse::<u32>().is_ok() { stem } else { object }
}

/// The places that matter to a piece of the text, counted from its beginning; the first says what holds there.
pub fn within(places: &[Place], range: Range<u64>) -> Vec<Place> {
    let first = places.partition_point(|place| place.at <= range.start).saturating_sub(1);
    let mut found: Vec<Place> = Vec::new();
    for place in &places[first..] {
        if place.at >= range.end {
            break;
        }
        if place.at <= range.start {
            found.clear();
        }
        if found.last().is_none_or(|last| (last.page, last.row) != (place.page, place.row)) {
            found.push(Place { at: place.at.saturating_sub(range.start), ..*place });
        }
    }
    found.retain(|place| place.page.is_some() || place.row.is_some() || place.at > 0);
    if found.iter().all(|place| place.page.is_none() && place.row.is_none()) {
        found.clear();
    }
    found
}

/// The place in force at a byte.
pub fn at(places: &[Place], byte: u64) -> Option<&Place> {
    places[..places.partition_point(|place| place.at <= byte)].last()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn place(at: u64, page: u32, row: Option<u32>) -> Place {
        Place { at, page: Some(page), row }
    }

    #[test]
    fn objects_belong_to_an_original() {
        let names = objects("originals/t/abc");
        assert_eq!(names[0], "originals/t/abc");
        for key in [text_key, map_key, conversion_key, progress_key] {
            assert!(names.contains(&key("originals/t/abc")));
        }
        for name in names {
            assert_eq!(original(&name), "originals/t/abc");
        }
        assert_eq!(original("originals/t/a.txt"), "originals/t/a.txt");
        assert_eq!(original("originals/t/a.vx.txt"), "originals/t/a.vx.txt");
    }

    #[test]
    fn a_piece_knows_where_it_begins_and_what_begins_in_it() {
        let places = [place(0, 1, None), place(100, 2, None), place(120, 2, Some(7)), place(140, 2, Some(9))];
        assert_eq!(within(&places, 10..90), [place(0, 1, None)]);
        assert_eq!(within(&places, 90..130), [place(0, 1, None), place(10, 2, None), place(30, 2, Some(7))]);
        assert_eq!(within(&places, 120..500), [place(0, 2, Some(7)), place(20, 2, Some(9))]);
        assert_eq!(within(&places[1..], 10..90), []);
        assert_eq!(within(&[], 0..9), []);
        assert_eq!(at(&places, 125), Some(&place(120, 2, Some(7))));
        assert_eq!(at(&places[1..], 5), None);
    }

    #[test]
    fn rows_are_those_of_one_sheet() {
        let places =
            [place(0, 1, None), place(9, 1, Some(2)), place(20, 1, Some(3)), place(30, 2, Some(400))];
        assert_eq!(Rows::of(&places), Some(Rows { first: 2, last: 3 }));
        assert_eq!(Rows::of(&places[..1]), None);
    }

    #[test]
    fn places_are_short_as_json() {
        let json =
            serde_json::to_string(&[place(5, 2, Some(7)), Place { at: 9, page: None, row: None }]).unwrap();
        assert_eq!(json, "[[5,2,7],[9,null,null]]");
        let back: Vec<Place> = serde_json::from_str(&json).unwrap();
        assert_eq!(back[0], place(5, 2, Some(7)));
    }
}
