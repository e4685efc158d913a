//! Citations checked while they stream: `[S1]` markers in a model's text.
//!
//! A marker is `[S1]`, or a list such as `[S1, S3]`. Members without a source are taken out of the text, markers without any
//! member left with them; nothing else changes. What only becomes a marker by that leaves `…`, if it has no source. In code
//! (spans and fences of Markdown, by the rules of `markdown`) markers are left as they are and cite nothing.

pub(crate) mod markdown;
pub(crate) mod markers;
mod sentences;
mod support;

use crate::answer::Source;
use crate::document::DocumentId;
use markers::{Markers, Piece};
use serde::{Deserialize, Serialize};
use support::{Statement, Support};

/// A marker of the answer, mapped to its source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Citation {
    /// Number of the source, from 1.
    pub source: usize,
    /// The marker as it stands in the text; of a list, the whole list.
    pub marker: String,
    /// The chunk that the sentence is in; without one, the first of the source.
    pub chunk_id: String,
    /// Its document.
    pub document_id: DocumentId,
    /// First byte of the source in the document's extracted text.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// The sentence of the source that says best what the answer says before the marker; absent when none has a word of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentence: Option<Sentence>,
    /// How much of what the answer says before the marker the source says, 0–1, by words: the rarer among the sources, the
    /// more a word counts. Another language than the source's counts as nothing said. docs/evaluation.md says how well it
    /// tells the right source.
    #[serde(default)]
    pub supported: f32,
    /// The page of the sentence, else the one that the chunk begins on, where the format has pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// The row of the sentence in a spreadsheet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u32>,
    /// The heading path of the sentence, else of the chunk.
    pub headings: Vec<String>,
}

/// A sentence of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sentence {
    /// First byte in the document's extracted text.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// It.
    pub text: String,
}

/// A step of the checked text.
#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    /// Text for the reader, valid markers included.
    Text(String),
    /// The marker at the end of the text so far; one for each source that it names.
    Citation(Citation),
}

/// Lets text through and holds back only what may still become a marker or code; markers without a source vanish.
#[derive(Debug)]
pub struct CitationFilter {
    sources: Vec<Source>,
    /// Made when the first marker comes.
    support: Option<Support>,
    statement: Statement,
    /// Takes out what names no source.
    first: Markers,
    /// Takes out what has become a marker by that.
    second: Markers,
}

impl CitationFilter {
    /// For an answer from these sources.
    pub fn new(sources: &[Source]) -> Self {
        Self {
            support: None,
            statement: Statement::default(),
            first: Markers::new(sources.len(), ""),
            second: Markers::new(sources.len(), "…"),
            sources: sources.to_vec(),
        }
    }

    /// Takes more of the model's text.
    pub fn push(&mut self, delta: &str) -> Vec<Checked> {
        let clean = self.clean(delta);
        self.cite(&clean)
    }

    /// What was held back when the text ended.
    pub fn finish(&mut self) -> Vec<Checked> {
        let clean = self.clean_rest();
        let mut steps = self.cite(&clean);
        steps.extend(self.cite_rest());
        steps
    }

    /// The first half of [`push`](Self::push): the text without markers that name no source.
    pub(crate) fn clean(&mut self, delta: &str) -> String {
        text_of(self.first.push(delta))
    }

    /// The first half of [`finish`](Self::finish).
    pub(crate) fn clean_rest(&mut self) -> String {
        text_of(self.first.finish())
    }

    /// The second half of [`push`](Self::push), which may take something else than the first half gave.
    pub(crate) fn cite(&mut self, text: &str) -> Vec<Checked> {
        let pieces = self.second.push(text);
        self.steps(pieces)
    }

    /// The second half of [`finish`](Self::finish).
    pub(crate) fn cite_rest(&mut self) -> Vec<Checked> {
        let pieces = self.second.finish();
        self.steps(pieces)
    }

    fn steps(&mut self, pieces: Vec<Piece>) -> Vec<Checked> {
        let mut steps = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    self.statement.push(&text);
                    push_text(&mut steps, &text);
                }
                Piece::Marker(marker, numbers) => {
                    push_text(&mut steps, &marker);
                    let citations = numbers.into_iter().map(|number| self.citation(number, &marker));
                    steps.extend(citations.collect::<Vec<_>>().into_iter().map(Checked::Citation));
                }
            }
        }
        steps
    }

    fn citation(&mut self, number: usize, marker: &str) -> Citation {
        let support = self.support.get_or_insert_with(|| Support::new(&self.sources));
        let best = support.best(number - 1, self.statement.text());
        let source = &self.sources[number - 1];
        let sentence = best.sentence.map(|(start, end)| Sentence {
            start: source.place(start),
            // Of the byte before: the byte after may be another chunk's.
            end: source.place(end - 1) + 1,
            text: source.hit.text[start..end].to_owned(),
        });
        // Of several chunks, the one that has the sentence.
        let at = sentence.as_ref().map_or(source.hit.start, |sentence| sentence.start);
        let chunk = source.chunk_at(at);
        let place = chunk.and_then(|chunk| chunk.place_at(at));
        let headings = chunk.map_or(&source.hit.headings[..], |chunk| chunk.headings_at(at)).to_vec();
        Citation {
            source: number,
            marker: marker.to_owned(),
            chunk_id: chunk.map_or(&source.hit.chunk_id, |chunk| &chunk.chunk_id).clone(),
            document_id: source.hit.document_id.clone(),
            start: source.hit.start,
            end: source.hit.end,
            sentence,
            supported: best.supported,
            page: place.and_then(|place| place.page),
            row: place.and_then(|place| place.row),
            headings,
        }
    }
}

/// Of each source the sentence that has most of a question's words, by its bytes; `None` where none has any.
pub(crate) fn sentences_about(sources: &[Source], question: &str) -> Vec<Option<(usize, usize)>> {
    let support = Support::new(sources);
    (0..sources.len()).map(|source| support.best(source, question).sentence).collect()
}

fn push_text(steps: &mut Vec<Checked>, more: &str) {
    match steps.last_mut() {
        Some(Checked::Text(text)) => text.push_str(more),
        _ => steps.push(Checked::Text(more.to_owned())),
    }
}

fn text_of(pieces: Vec<Piece>) -> String {
    let text = |piece| match piece {
        Piece::Text(text) | Piece::Marker(text, _) => text,
    };
    pieces.into_iter().map(text).collect()
}
