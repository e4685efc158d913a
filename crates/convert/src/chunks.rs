//! Documents that come as chunks of the uploader's own.

use crate::{Converted, Limits, Refusal};
use ragflare_core::conversion::{GivenChunk, Place};
use serde::Deserialize;
use std::num::NonZeroU32;

/// Chunks of a document at most: what its flip and its clean-up can carry.
const MOST: usize = 50_000;
/// Headings of a chunk at most, and bytes of each.
const HEADINGS: usize = 16;
const HEADING_BYTES: usize = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    chunks: Vec<OwnChunk>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnChunk {
    text: String,
    #[serde(default)]
    headings: Vec<String>,
    page: Option<NonZeroU32>,
    row: Option<NonZeroU32>,
}

pub(crate) fn convert(json: &str, limits: &Limits) -> Result<Converted, Refusal> {
    let broken = |detail: String| Refusal::broken("list of chunks", detail);
    let given: Given = serde_json::from_str(json).map_err(|error| broken(error.to_string()))?;
    if given.chunks.len() > MOST.min(limits.nodes) {
        return Err(Refusal::TooLarge { what: "chunks", allowed: MOST as u64 });
    }
    let mut made = Converted::default();
    for (number, chunk) in given.chunks.into_iter().enumerate() {
        // A byte order mark comes from files that were cut without looking.
        let body = chunk.text.replace('\0', " ").replace('\u{feff}', "");
        let body = body.trim();
        if body.is_empty() {
            return Err(broken(format!("chunk {number} has no text")));
        }
        if chunk.headings.len() > HEADINGS
            || chunk.headings.iter().any(|heading| heading.len() > HEADING_BYTES)
        {
            return Err(broken(format!(
                "chunk {number} has more than {HEADINGS} headings, or one of more than {HEADING_BYTES} bytes"
            )));
        }
        if !made.text.is_empty() {
            made.text.push_str("\n\n");
        }
        let start = made.text.len() as u64;
        made.text.push_str(body);
        made.chunks.push(GivenChunk { start, end: made.text.len() as u64, headings: chunk.headings });
        made.places.push(Place {
            at: start,
            page: chunk.page.map(NonZeroU32::get),
            row: chunk.row.map(NonZeroU32::get),
        });
    }
    if made.places.iter().all(|place| place.page.is_none() && place.row.is_none()) {
        made.places.clear();
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_stay_as_they_were_cut() {
        let json = r#"{"chunks": [{"text": "\ufeff One. ", "headings": ["A", "B"], "page": 2}, {"text": "Two\u0000."}]}"#;
        let made = convert(json, &Limits::default()).unwrap();
        assert_eq!(made.text, "One.\n\nTwo .");
        let of = |chunk: &GivenChunk| &made.text[chunk.start as usize..chunk.end as usize];
        assert_eq!(made.chunks.iter().map(of).collect::<Vec<_>>(), ["One.", "Two ."]);
        assert_eq!(made.chunks[0].headings, ["A", "B"]);
        assert_eq!(made.places[0], Place { at: 0, page: Some(2), row: None });
        assert_eq!(made.places[1], Place { at: 6, page: None, row: None });
    }

    #[test]
    fn what_is_no_list_of_chunks_is_refused() {
        for json in [
            "[]",
            "{}",
            r#"{"chunks": [{}]}"#,
            r#"{"chunks": [{"text": "\ufeff "}]}"#,
            r#"{"chunks": [{"text": "x", "page": 0}]}"#,
            r#"{"chunks": [{"text": "x", "more": 1}]}"#,
        ] {
            assert_eq!(convert(json, &Limits::default()).unwrap_err().code(), "unreadable", "{json}");
        }
    }
}
