//! BEIR's layout: `corpus.jsonl`, `queries.jsonl`, and judgements as TSV.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{Document, Kind, Question, Set, Wanted, document_id, files, name};

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "_id", alias = "id")]
    id: Id,
    #[serde(default)]
    title: Option<String>,
    text: String,
}

/// Written as a string in most sets, as a number in some.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

impl Id {
    fn into_string(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// A judgement: line, question, document, gain.
struct Judgement {
    line: usize,
    question: String,
    document: String,
    gain: i64,
}

pub(super) fn read(folder: &Path) -> Result<Set> {
    let mut documents = Vec::new();
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut blank = 0;
    let corpus = folder.join("corpus.jsonl");
    for (line, record) in files::json_lines::<Record>(&corpus)? {
        let id = record.id.into_string();
        let title = record.title.filter(|title| !title.trim().is_empty());
        let place = if record.text.trim().is_empty() && title.is_none() {
            // Nothing of it can be found. Its judgements count all the same.
            blank += 1;
            usize::MAX - blank
        } else {
            documents.push(document(&id, title, record.text)?);
            documents.len() - 1
        };
        if positions.insert(id.clone(), place).is_some() {
            bail!("{} line {line}: the document `{id}` is there twice", corpus.display());
        }
    }
    let qrels = qrels(folder)?;
    let mut wanted: HashMap<String, BTreeMap<usize, u32>> = HashMap::new();
    let (mut unknown, mut seen) = (0, HashSet::new());
    for judgement in judgements(&qrels)? {
        let Judgement { line, question, document, gain } = judgement;
        ensure!(
            seen.insert((question.clone(), document.clone())),
            "{} line {line}: question `{question}` and document `{document}` are judged twice",
            qrels.display()
        );
        // Judged as not relevant: like not judged at all.
        let Ok(gain) = u32::try_from(gain) else { continue };
        if gain == 0 {
            continue;
        }
        let place = positions.get(&document).copied().unwrap_or_else(|| {
            unknown += 1;
            usize::MAX / 2 - unknown
        });
        wanted.entry(question).or_default().insert(place, gain);
    }
    ensure!(!wanted.is_empty(), "{} judges nothing as relevant", qrels.display());
    let (mut questions, mut unjudged, mut ids) = (Vec::new(), 0, HashSet::new());
    let queries = folder.join("queries.jsonl");
    for (line, record) in files::json_lines::<Record>(&queries)? {
        let id = record.id.into_string();
        ensure!(
            ids.insert(id.clone()),
            "{} line {line}: the question `{id}` is there twice",
            queries.display()
        );
        match wanted.remove(&id) {
            Some(wanted) => {
                questions.push(Question { id, text: record.text, wanted: Wanted::Documents(wanted) });
            }
            None => unjudged += 1,
        }
    }
    let mut set = Set::new(name(folder), Kind::Judged, documents, questions)?;
    let mut note = |count: usize, what: &str| {
        if count > 0 {
            set.notes.push(format!("{count} {what}"));
        }
    };
    note(unjudged, "questions without a relevant document left out");
    note(wanted.len(), "judged questions that queries.jsonl does not have left out");
    note(unknown, "judgements name documents that corpus.jsonl does not have: they count as not found");
    note(blank, "documents without text or title left out");
    Ok(set)
}

fn document(id: &str, title: Option<String>, text: String) -> Result<Document> {
    // A document of a title only: the title is its text.
    let text = match &title {
        Some(title) if text.trim().is_empty() => title.clone(),
        _ => text,
    };
    Ok(Document { id: document_id(id)?, title, text, media_type: "text/plain" })
}

fn qrels(folder: &Path) -> Result<PathBuf> {
    ["qrels.tsv", "qrels/test.tsv", "qrels/dev.tsv", "qrels.txt"]
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("{} has no judgements: looked for qrels.tsv and qrels/test.tsv", folder.display())
        })
}

/// Three columns (question, document, gain) with or without a header, or TREC's four (question, 0, document, gain).
fn judgements(path: &Path) -> Result<Vec<Judgement>> {
    let text = files::text(path)?;
    let mut judgements = Vec::new();
    let mut order = [0, 1, 2];
    for (line, row) in (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
        let fields: Vec<&str> = if row.contains('\t') {
            row.split('\t').map(str::trim).collect()
        } else {
            row.split_whitespace().collect()
        };
        let is_header = line == 1 && fields.last().is_some_and(|last| last.parse::<i64>().is_err());
        if is_header {
            order = columns(&fields).unwrap_or(order);
            continue;
        }
        let [question, document, gain] = match fields.len() {
            3 => order.map(|column| fields[column]),
            4 => [fields[0], fields[2], fields[3]],
            count => bail!("{} line {line} has {count} columns instead of 3 or 4", path.display()),
        };
        let gain = gain
            .parse()
            .with_context(|| format!("{} line {line}: `{gain}` is no whole number", path.display()))?;
        judgements.push(Judgement { line, question: question.into(), document: document.into(), gain });
    }
    ensure!(!judgements.is_empty(), "{} holds no judgements", path.display());
    Ok(judgements)
}

/// Where a header says that question, document and gain are.
fn columns(header: &[&str]) -> Option<[usize; 3]> {
    let find = |names: &[&str]| {
        header.iter().position(|column| names.contains(&column.to_lowercase().replace('_', "-").as_str()))
    };
    Some([
        find(&["query-id", "qid", "query", "topic"])?,
        find(&["corpus-id", "doc-id", "docid", "did", "document"])?,
        find(&["score", "rel", "relevance", "label", "gain"])?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn set(corpus: &str, queries: &str, qrels: &str) -> Result<Set> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels.tsv", qrels)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        read(folder.path())
    }

    const CORPUS: &str =
        "{\"_id\": \"a\", \"title\": \"T\", \"text\": \"alpha\"}\n{\"_id\": \"b\", \"text\": \"beta\"}\n";
    const QUERIES: &str = "{\"_id\": \"1\", \"text\": \"first\"}\n{\"_id\": 2, \"text\": \"second\"}\n";

    #[test]
    fn headers_and_column_orders_are_recognised() {
        for qrels in [
            "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t1\n",
            "1\ta\t2\n1\tb\t1\n",
            "score\tcorpus-id\tquery-id\n2\ta\t1\n1\tb\t1\n",
            "1 0 a 2\n1 0 b 1\n",
        ] {
            let set = set(CORPUS, QUERIES, qrels).unwrap();
            assert_eq!(set.questions.len(), 1, "the unjudged one is left out");
            assert_eq!(set.questions[0].wanted, Wanted::Documents([(0, 2), (1, 1)].into()), "{qrels}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let fault = |corpus: &str, queries: &str, qrels: &str| {
            format!("{:#}", set(corpus, queries, qrels).unwrap_err())
        };
        assert!(
            fault(&format!("{CORPUS}{{\"_id\": \"c\"\n"), QUERIES, "1\ta\t1").contains("corpus.jsonl line 3")
        );
        assert!(
            fault(&format!("{CORPUS}{CORPUS}"), QUERIES, "1\ta\t1")
                .contains("line 3: the document `a` is there twice")
        );
        assert!(fault(CORPUS, QUERIES, "1\ta\tyes\n1\ta\tno").contains("line 2: `no` is no whole number"));
        assert!(fault(CORPUS, QUERIES, "1\ta\t0").contains("judges nothing as relevant"));
        assert!(fault(CORPUS, QUERIES, "9\ta\t1").contains("no questions to measure"));
        assert!(
            fault(CORPUS, QUERIES, "1\ta\t1\n1\ta\t1")
                .contains("line 2: question `1` and document `a` are judged twice")
        );
        assert!(fault(CORPUS, "", "1\ta\t1").contains("queries.jsonl is empty"));
    }

    #[test]
    fn a_document_that_is_not_there_counts_as_wanted() {
        let set = set(CORPUS, QUERIES, "1\tgone\t1\n1\ta\t1").unwrap();
        assert!(matches!(&set.questions[0].wanted, Wanted::Documents(wanted) if wanted.len() == 2));
        assert_eq!(set.notes.len(), 2);
    }
}
