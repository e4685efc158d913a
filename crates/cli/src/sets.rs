//! Evaluation sets: documents, questions, and what should be found.

mod beir;
mod chroma;
mod code;
mod files;
mod qa;
mod squad;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use ragflare_core::document::DocumentId;
use ragflare_core::identity::text_hash;

use crate::spans::Span;

/// How a set is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// By the files that are there
    #[default]
    Auto,
    /// `corpus.jsonl`, `queries.jsonl`, `qrels.tsv` or `qrels/test.tsv`, as BEIR publishes its sets
    Beir,
    /// `corpora/*.md` and `questions_df.csv`, as Chroma's `chunking_evaluation`
    Chroma,
    /// `codebase_chunks.json` and `evaluation_set.jsonl`, as Anthropic's contextual retrieval cookbook
    Code,
    /// `*_answerable.jsonl` and `*_unanswerable.jsonl`, as CLAP NQ's annotated data
    Qa,
    /// `*.json` with `data[].paragraphs[].qas[]`, as `SQuAD` and `XQuAD`; each file is a set
    Squad,
}

/// How the files of a set are read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Documents get no titles.
    pub no_titles: bool,
    /// Code: files are cut by our own chunker instead of coming as the set's chunks.
    pub own_chunks: bool,
    /// Only so many questions.
    pub limit: Option<usize>,
}

/// What is measured on a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Judged documents: nDCG, recall, MRR, MAP.
    Judged,
    /// One passage holds the answer: hit@k, MRR; with unanswerable questions, whether the score tells them apart.
    Passages,
    /// Chunks given by the set: Pass@k.
    GivenChunks,
    /// Golden chunks, our own chunks: Pass@k by covered characters.
    CoveredChunks,
    /// References in characters: recall, precision, `PrecisionΩ`, `IoU`.
    Characters,
}

/// A document to be searched.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Its id in the index.
    pub id: DocumentId,
    /// Its title.
    pub title: Option<String>,
    /// Its text.
    pub text: String,
    /// `text/plain`, `text/markdown`, or that of source code, e.g. `text/x-rust`.
    pub media_type: &'static str,
}

/// What should be found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// Documents by index with their gain, 1 or more. May name documents that are not there (`usize::MAX - n`): they
    /// can't be found, but count.
    Documents(BTreeMap<usize, u32>),
    /// Ranges of characters; each is one thing to be found.
    Spans(Vec<Span>),
    /// Nothing: the question has no answer here.
    Nothing,
}

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Its id, as errors and the JSON output name it.
    pub id: String,
    /// Its text.
    pub text: String,
    /// What should be found.
    pub wanted: Wanted,
}

/// A set.
#[derive(Debug)]
pub(crate) struct Set {
    /// The folder's or file's name.
    pub name: String,
    /// Where it was read from: two sets may have the same name.
    pub path: String,
    /// What is measured.
    pub kind: Kind,
    /// Never empty.
    pub documents: Vec<Document>,
    /// Never empty.
    pub questions: Vec<Question>,
    /// What a reader of the numbers should know about the data.
    pub notes: Vec<String>,
    by_id: HashMap<DocumentId, usize>,
}

impl Set {
    fn new(name: String, kind: Kind, documents: Vec<Document>, questions: Vec<Question>) -> Result<Self> {
        ensure!(!documents.is_empty(), "the set `{name}` has no documents");
        ensure!(
            !questions.is_empty(),
            "the set `{name}` has no questions to measure: every question needs a judgement"
        );
        let mut by_id = HashMap::new();
        for (index, document) in documents.iter().enumerate() {
            if by_id.insert(document.id.clone(), index).is_some() {
                bail!("the set `{name}` has two documents that become the id `{}`", document.id);
            }
        }
        Ok(Self { path: name.clone(), name, kind, documents, questions, notes: Vec::new(), by_id })
    }

    /// Documents without questions.
    pub(crate) fn to_search(documents: Vec<Document>) -> Result<Self> {
        let question = Question { id: String::new(), text: String::new(), wanted: Wanted::Nothing };
        let mut set = Self::new("folder".into(), Kind::Passages, documents, vec![question])?;
        set.questions.clear();
        Ok(set)
    }

    /// The index of a document.
    pub(crate) fn position(&self, id: &DocumentId) -> Option<usize> {
        self.by_id.get(id).copied()
    }
}

/// Reads all sets of a path: one, or one per file.
pub(crate) fn read(path: &Path, format: Format, reading: Reading) -> Result<Vec<Set>> {
    ensure!(path.exists(), "{} is not there", path.display());
    let format = if format == Format::Auto { detect(path)? } else { format };
    let sets = match format {
        Format::Auto | Format::Beir => beir::read(path).map(|set| vec![set]),
        Format::Chroma => chroma::read(path).map(|set| vec![set]),
        Format::Code => code::read(path, reading.own_chunks).map(|set| vec![set]),
        Format::Qa => qa::read(path).map(|set| vec![set]),
        Format::Squad => squad::read(path),
    };
    let mut sets = sets.with_context(|| format!("cannot use {} as an evaluation set", path.display()))?;
    for set in &mut sets {
        // A folder of SQuAD files holds several.
        set.path = format!("{}: {}", path.display(), set.name);
        if reading.no_titles {
            set.documents.iter_mut().for_each(|document| document.title = None);
            set.notes.push("titles left out".into());
        }
        if let Some(limit) = reading.limit.filter(|limit| *limit < set.questions.len()) {
            let all = set.questions.len();
            let mut number = 0..all;
            // Spread over all: kinds of questions often come in blocks.
            set.questions.retain(|_| number.next().is_some_and(|n| (n + 1) * limit / all > n * limit / all));
            set.notes.push(format!("only {limit} of {all} questions"));
        }
    }
    Ok(sets)
}

fn detect(path: &Path) -> Result<Format> {
    let has = |name: &str| path.join(name).exists();
    if path.is_file() {
        return Ok(Format::Squad);
    }
    if has("corpus.jsonl") {
        return Ok(Format::Beir);
    }
    if has("corpora") && has("questions_df.csv") {
        return Ok(Format::Chroma);
    }
    if has("codebase_chunks.json") {
        return Ok(Format::Code);
    }
    if !files::ending(path, "_answerable.jsonl")?.is_empty() {
        return Ok(Format::Qa);
    }
    if !files::ending(path, ".json")?.is_empty() {
        return Ok(Format::Squad);
    }
    bail!(
        "{} looks like no known set. Known are, by their files:\n  \
         beir    corpus.jsonl, queries.jsonl, qrels.tsv or qrels/test.tsv\n  \
         chroma  corpora/*.md, questions_df.csv\n  \
         code    codebase_chunks.json, evaluation_set.jsonl\n  \
         qa      *_answerable.jsonl, *_unanswerable.jsonl\n  \
         squad   *.json",
        path.display()
    )
}

/// The set's own id if it can be an id of a document, else a hash of it.
fn document_id(id: &str) -> Result<DocumentId> {
    DocumentId::new(id).or_else(|_| DocumentId::new(format!("h-{}", text_hash(id)))).map_err(Into::into)
}

fn name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.file_name().map_or_else(|| "set".into(), |name| name.to_string_lossy().into_owned())
}
