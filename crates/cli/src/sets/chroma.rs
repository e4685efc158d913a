//! Chroma's chunking evaluation: texts, and questions whose references are ranges of characters.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Document, Kind, Question, Set, Wanted, document_id, files, name};
use crate::spans::{CharIndex, Span};

#[derive(Deserialize)]
struct Row {
    question: String,
    references: String,
    corpus_id: String,
}

#[derive(Deserialize)]
struct Reference {
    content: String,
    start_index: usize,
    end_index: usize,
}

pub(super) fn read(folder: &Path) -> Result<Set> {
    let mut documents = Vec::new();
    let mut positions: HashMap<String, usize> = HashMap::new();
    for path in files::ending(&folder.join("corpora"), ".md")? {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        // The offsets are those of a text read as Python reads it.
        let text = files::text(&path)?.replace("\r\n", "\n").replace('\r', "\n");
        positions.insert(stem.clone(), documents.len());
        let id = document_id(&format!("{stem}.md"))?;
        documents.push(Document { id, title: None, text, media_type: "text/markdown" });
    }
    let indexes: Vec<CharIndex> = documents.iter().map(|document| CharIndex::new(&document.text)).collect();
    let path = folder.join("questions_df.csv");
    let mut questions = Vec::new();
    let mut rows =
        csv::Reader::from_path(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for (number, row) in (1..).zip(rows.deserialize::<Row>()) {
        let place = || format!("{} question {number}", path.display());
        let row = row.with_context(place)?;
        let document = *positions
            .get(&row.corpus_id)
            .with_context(|| format!("{}: no corpora/{}.md", place(), row.corpus_id))?;
        let references: Vec<Reference> = serde_json::from_str(&row.references).with_context(place)?;
        ensure!(!references.is_empty(), "{} has no references", place());
        let mut spans = Vec::new();
        for reference in references {
            let Reference { content, start_index: start, end_index: end } = reference;
            let found = indexes[document].slice(&documents[document].text, start, end);
            ensure!(
                found == Some(content.as_str()),
                "{}: characters {start} to {end} of {} are not what the reference says",
                place(),
                row.corpus_id
            );
            spans.push(Span { document, start, end });
        }
        questions.push(Question { id: number.to_string(), text: row.question, wanted: Wanted::Spans(spans) });
    }
    Set::new(name(folder), Kind::Characters, documents, questions)
}
