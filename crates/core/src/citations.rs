//! Citations checked while they stream: `[S1]` markers in a model's text.

use crate::document::DocumentId;
use crate::search::Hit;
use serde::{Deserialize, Serialize};

/// The longest marker that is recognised, in bytes: nine digits. Only those of a source get through.
const LONGEST: usize = 12;

/// A marker of the answer, mapped to its source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Citation {
    /// Number of the source, from 1.
    pub source: usize,
    /// The marker as it stands in the text.
    pub marker: String,
    /// The chunk.
    pub chunk_id: String,
    /// Its document.
    pub document_id: DocumentId,
    /// First byte in the document's extracted text.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// Page, where the format has pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Heading path.
    pub headings: Vec<String>,
}

/// A step of the checked text.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    /// Text for the reader, valid markers included.
    Text(String),
    /// The marker at the end of the text so far.
    Citation(Citation),
}

/// Lets text through and holds back only what may still become a marker; markers without a source vanish.
#[derive(Debug)]
pub struct CitationFilter {
    citations: Vec<Citation>,
    held: String,
}

impl CitationFilter {
    /// For an answer from these sources.
    pub fn new(sources: &[Hit]) -> Self {
        let citations = sources
            .iter()
            .enumerate()
            .map(|(position, hit)| Citation {
                source: position + 1,
                marker: format!("[S{}]", position + 1),
                chunk_id: hit.chunk_id.clone(),
                document_id: hit.document_id.clone(),
                start: hit.start,
                end: hit.end,
                page: hit.page,
                headings: hit.headings.clone(),
            })
            .collect();
        Self { citations, held: String::new() }
    }

    /// Takes more of the model's text.
    pub fn push(&mut self, delta: &str) -> Vec<Checked> {
        self.held.push_str(delta);
        let held = std::mem::take(&mut self.held);
        let mut steps = Vec::new();
        let mut text = String::new();
        let mut rest = held.as_str();
        while let Some(position) = rest.find('[') {
            text.push_str(&rest[..position]);
            rest = &rest[position..];
            match marker(rest) {
                Marker::Complete { number, length } => {
                    let citation = number.checked_sub(1).and_then(|index| self.citations.get(index));
                    // `[S01]` is none of ours.
                    if let Some(citation) = citation.filter(|citation| citation.marker.len() == length) {
                        text.push_str(&rest[..length]);
                        steps.push(Checked::Text(std::mem::take(&mut text)));
                        steps.push(Checked::Citation(citation.clone()));
                    }
                    rest = &rest[length..];
                }
                Marker::None => {
                    text.push('[');
                    rest = &rest[1..];
                }
                Marker::Partial => {
                    rest.clone_into(&mut self.held);
                    rest = "";
                }
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            steps.push(Checked::Text(text));
        }
        steps
    }

    /// What was held back when the text ended: not a marker after all.
    pub fn finish(&mut self) -> Option<String> {
        (!self.held.is_empty()).then(|| std::mem::take(&mut self.held))
    }
}

enum Marker {
    Complete { number: usize, length: usize },
    Partial,
    None,
}

/// Reads `[S` digits `]` at the start of `text`.
fn marker(text: &str) -> Marker {
    let bytes = &text.as_bytes()[..text.len().min(LONGEST)];
    let mut number = 0;
    for (position, byte) in bytes.iter().enumerate() {
        match (position, byte) {
            (0, b'[') | (1, b'S') => {}
            (2.., b'0'..=b'9') => number = number * 10 + usize::from(byte - b'0'),
            (3.., b']') => return Marker::Complete { number, length: position + 1 },
            _ => return Marker::None,
        }
    }
    if bytes.len() < LONGEST { Marker::Partial } else { Marker::None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Scores;
    use proptest::prelude::*;

    fn hit(id: &str) -> Hit {
        Hit {
            chunk_id: id.into(),
            document_id: DocumentId::new(id).unwrap(),
            title: None,
            text: String::new(),
            start: 1,
            end: 2,
            page: None,
            headings: Vec::new(),
            metadata: serde_json::Map::new(),
            score: 1.0,
            scores: Scores::default(),
        }
    }

    fn run(pieces: &[&str], sources: usize) -> (String, Vec<usize>) {
        let hits: Vec<_> = (0..sources).map(|number| hit(&format!("c{number}"))).collect();
        let mut filter = CitationFilter::new(&hits);
        let (mut text, mut cited) = (String::new(), Vec::new());
        let mut steps: Vec<_> = pieces.iter().flat_map(|piece| filter.push(piece)).collect();
        steps.extend(filter.finish().map(Checked::Text));
        for step in steps {
            match step {
                Checked::Text(more) => text.push_str(&more),
                Checked::Citation(citation) => cited.push(citation.source),
            }
        }
        (text, cited)
    }

    #[test]
    fn valid_markers_are_cited_and_invalid_ones_vanish() {
        let (text, cited) = run(&["Yes [S1][S3]. No [S0] [S12345] [S01] [x] [S", "2] [S"], 2);
        assert_eq!(text, "Yes [S1]. No    [x] [S2] [S");
        assert_eq!(cited, [1, 2]);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(text in "(\\[S[0-9]{0,3}\\]?|[a-zé\\[\\]S1 ]){0,12}", cuts in prop::collection::vec(0usize..60, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| {
                let mut cut = cut.min(text.len());
                while !text.is_char_boundary(cut) { cut -= 1; }
                cut
            }).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts { pieces.push(&text[start..cut]); start = cut; }
            pieces.push(&text[start..]);
            prop_assert_eq!(run(&pieces, 3), run(&[&text], 3));
        }
    }
}
