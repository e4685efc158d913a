//! CLAP NQ's annotated data: questions with their passage, some of which it does not answer.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::{Document, Kind, Question, Set, Wanted, document_id, files, name};

#[derive(Deserialize)]
struct Record {
    id: String,
    input: String,
    passages: Vec<Passage>,
}

#[derive(Deserialize, PartialEq, Eq, Hash, Clone)]
struct Passage {
    title: String,
    text: String,
}

pub(super) fn read(folder: &Path) -> Result<Set> {
    let (mut documents, mut questions) = (Vec::new(), Vec::new());
    let mut positions: HashMap<Passage, usize> = HashMap::new();
    let answerable = files::ending(folder, "_answerable.jsonl")?;
    let unanswerable = files::ending(folder, "_unanswerable.jsonl")?;
    ensure!(!answerable.is_empty(), "{} has no *_answerable.jsonl", folder.display());
    let all = answerable.iter().map(|path| (path, true)).chain(unanswerable.iter().map(|path| (path, false)));
    for (path, has_answer) in all {
        for (line, record) in files::json_lines::<Record>(path)? {
            ensure!(!record.passages.is_empty(), "{} line {line} has no passages", path.display());
            let mut golds = Vec::new();
            for passage in record.passages {
                let position = *positions.entry(passage.clone()).or_insert(documents.len());
                if position == documents.len() {
                    documents.push(Document {
                        id: document_id(&format!("passage-{position}"))?,
                        title: Some(passage.title),
                        text: passage.text,
                        media_type: "text/plain",
                    });
                }
                golds.push((position, 1));
            }
            let wanted =
                if has_answer { Wanted::Documents(golds.into_iter().collect()) } else { Wanted::Nothing };
            questions.push(Question { id: record.id, text: record.input, wanted });
        }
    }
    Set::new(name(folder), Kind::Passages, documents, questions)
}
