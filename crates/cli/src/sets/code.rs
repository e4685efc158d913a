//! Anthropic's contextual retrieval set: files of code in fixed chunks, and questions with golden chunks.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Document, Kind, Question, Set, Wanted, document_id, files, name};
use crate::spans::Span;

#[derive(Deserialize)]
struct File {
    original_uuid: String,
    content: String,
    chunks: Vec<Chunk>,
}

#[derive(Deserialize)]
struct Chunk {
    original_index: usize,
    content: String,
}

#[derive(Deserialize)]
struct Asked {
    query: String,
    golden_chunk_uuids: Vec<(String, usize)>,
}

pub(super) fn read(folder: &Path, own_chunks: bool) -> Result<Set> {
    let path = folder.join("codebase_chunks.json");
    let corpus: Vec<File> = files::json(&path)?;
    let mut documents = Vec::new();
    // Where a golden chunk is: its document, and its characters in it.
    let mut places: HashMap<(String, usize), Span> = HashMap::new();
    for file in corpus {
        let mut next = 0;
        for chunk in &file.chunks {
            let key = (file.original_uuid.clone(), chunk.original_index);
            let length = chunk.content.chars().count();
            // Repeated lines make some chunks occur twice: they come in order, so the search goes on behind the last.
            let byte = file.content[next..].find(&chunk.content).map(|at| next + at).with_context(|| {
                format!("{}: chunk {} of {} is not in its file", path.display(), key.1, key.0)
            })?;
            let start = file.content[..byte].chars().count();
            next = byte + chunk.content.len();
            let span = if own_chunks {
                Span { document: documents.len(), start, end: start + length }
            } else {
                Span { document: documents.len(), start: 0, end: length }
            };
            let twice = places.insert(key, span).is_some();
            ensure!(
                !twice,
                "{}: chunk {} of {} is there twice",
                path.display(),
                chunk.original_index,
                file.original_uuid
            );
            if !own_chunks {
                let id = document_id(&format!("{}/{}", file.original_uuid, chunk.original_index))?;
                documents.push(plain(id, chunk.content.clone()));
            }
        }
        if own_chunks {
            let media_type = media_type(&file.content);
            let id = document_id(&file.original_uuid)?;
            documents.push(Document { media_type, ..plain(id, file.content) });
        }
    }
    let path = folder.join("evaluation_set.jsonl");
    let mut questions = Vec::new();
    for (line, asked) in files::json_lines::<Asked>(&path)? {
        let mut spans = Vec::new();
        for golden in asked.golden_chunk_uuids {
            let span = places.get(&golden).with_context(|| {
                format!(
                    "{} line {line}: the golden chunk {} of {} is not in the codebase",
                    path.display(),
                    golden.1,
                    golden.0
                )
            })?;
            spans.push(*span);
        }
        ensure!(!spans.is_empty(), "{} line {line} has no golden chunks", path.display());
        let wanted = if own_chunks {
            Wanted::Spans(spans)
        } else {
            Wanted::Documents(spans.iter().map(|span| (span.document, 1)).collect::<BTreeMap<_, _>>())
        };
        questions.push(Question { id: format!("line-{line}"), text: asked.query, wanted });
    }
    let kind = if own_chunks { Kind::CoveredChunks } else { Kind::GivenChunks };
    Set::new(name(folder), kind, documents, questions)
}

fn plain(id: ragflare_core::document::DocumentId, text: String) -> Document {
    Document { id, title: None, text, media_type: "text/plain" }
}

/// How lines begin in the languages of the set, which tells no file names.
const BEGINNINGS: [(&str, &[&str]); 4] = [
    ("text/x-rust", &["fn ", "pub ", "let ", "impl", "use ", "match "]),
    ("text/x-python", &["def ", "from ", "self.", "elif ", "if __name__"]),
    ("text/x-java", &["package ", "import java", "import org", "public ", "private ", "@"]),
    ("text/x-cpp", &["#include", "#if", "#endif", "#define", "namespace ", "std::", "template", "static "]),
];

/// The media type of a file of code.
fn media_type(text: &str) -> &'static str {
    let count = |beginnings: &[&str]| {
        let begins =
            |line: &&str| beginnings.iter().any(|beginning| line.trim_start().starts_with(beginning));
        text.lines().filter(begins).count()
    };
    let counted = BEGINNINGS.iter().map(|(media_type, beginnings)| (count(beginnings), *media_type));
    counted
        .max_by_key(|(count, _)| *count)
        .filter(|(count, _)| *count > 0)
        .map_or("text/plain", |(_, found)| found)
}
