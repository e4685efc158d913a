//! `SQuAD`'s format: articles of paragraphs, each with questions that it answers.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::{Document, Kind, Question, Set, Wanted, document_id, files, name};

#[derive(Deserialize)]
struct File {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    #[serde(default)]
    title: Option<String>,
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    id: String,
    question: String,
    /// `SQuAD` 2.0.
    #[serde(default)]
    is_impossible: bool,
}

/// A set per file.
pub(super) fn read(path: &Path) -> Result<Vec<Set>> {
    let paths = if path.is_file() { vec![path.to_owned()] } else { files::ending(path, ".json")? };
    ensure!(!paths.is_empty(), "{} has no *.json", path.display());
    paths.iter().map(|path| one(path)).collect()
}

fn one(path: &Path) -> Result<Set> {
    let file: File = files::json(path)?;
    let (mut documents, mut questions) = (Vec::new(), Vec::new());
    let mut positions: HashMap<String, usize> = HashMap::new();
    for article in file.data {
        let title = article.title.map(|title| title.replace('_', " "));
        for paragraph in article.paragraphs {
            let position = *positions.entry(paragraph.context.clone()).or_insert(documents.len());
            if position == documents.len() {
                let id = document_id(&format!("paragraph-{position}"))?;
                let (title, text) = (title.clone(), paragraph.context);
                documents.push(Document { id, title, text, media_type: "text/plain" });
            }
            for asked in paragraph.qas {
                let wanted = if asked.is_impossible {
                    Wanted::Nothing
                } else {
                    Wanted::Documents([(position, 1)].into())
                };
                questions.push(Question { id: asked.id, text: asked.question, wanted });
            }
        }
    }
    let name = name(path);
    Set::new(name.strip_suffix(".json").unwrap_or(&name).into(), Kind::Passages, documents, questions)
}
