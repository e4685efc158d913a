//! How well `supported` tells the right source: answers of a set in the format of `ClapNQ`, with passages they rest on.
//!
//!     cargo run -p ragflare-core --profile native --example supported -- clapnq_dev_answerable.jsonl

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool")]

use ragflare_core::answer::Source;
use ragflare_core::citations::{Checked, CitationFilter};
use ragflare_core::document::DocumentId;
use ragflare_core::keyword;
use ragflare_core::search::{Hit, Scores};
use serde_json::Value;
use std::collections::BTreeSet;

/// The share of pairs in which the true one has more; a half for ties.
fn auc(of_true: &[f32], of_false: &[f32]) -> f64 {
    let mut sum = 0.0;
    for own in of_true {
        for other in of_false {
            sum += if own > other {
                1.0
            } else if own < other {
                0.0
            } else {
                0.5
            };
        }
    }
    sum / (of_true.len() * of_false.len()) as f64
}

fn hit(id: &str, text: &str) -> Hit {
    Hit {
        chunk_id: id.into(),
        document_id: DocumentId::new(id).unwrap(),
        title: None,
        text: text.into(),
        start: 0,
        end: text.len() as u64,
        page: None,
        rows: None,
        table_header: None,
        sections: Vec::new(),
        places: Vec::new(),
        headings: Vec::new(),
        metadata: serde_json::Map::new(),
        score: 1.0,
        scores: Scores::default(),
    }
}

/// `supported` of each citation, and the sentence pointed at.
fn cited(sources: &[Source], text: &str) -> Vec<(f32, Option<String>)> {
    let mut filter = CitationFilter::new(sources);
    let mut steps = filter.push(text);
    steps.extend(filter.finish());
    let citation = |step| match step {
        Checked::Citation(citation) => {
            Some((citation.supported, citation.sentence.map(|sentence| sentence.text)))
        }
        Checked::Text(_) => None,
    };
    steps.into_iter().filter_map(citation).collect()
}

fn main() {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("name the file of answers");
        std::process::exit(2);
    };
    let lines: Vec<Value> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |line: &Value| line["passages"][0]["text"].as_str().unwrap().to_owned();
    let passages: Vec<String> = lines.iter().map(text).collect();
    let terms: Vec<BTreeSet<String>> =
        passages.iter().map(|passage| keyword::terms(passage).into_iter().collect()).collect();
    let (mut own, mut near, mut random, mut other_sentence) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut hits, mut judged) = (0, 0);
    for (at, line) in lines.iter().enumerate() {
        // The passages that the own one would be found with: the four that share most words, and one by chance.
        let question: BTreeSet<String> =
            keyword::terms(line["input"].as_str().unwrap()).into_iter().collect();
        let mut others: Vec<usize> =
            (0..lines.len()).filter(|other| passages[*other] != passages[at]).collect();
        others.sort_by_key(|other| {
            let common = terms[*other].intersection(&terms[at]).count()
                + 5 * terms[*other].intersection(&question).count();
            std::cmp::Reverse(common)
        });
        let picked = [at, others[0], others[1], others[2], others[3], others[(at * 37 + 11) % others.len()]];
        let sources: Vec<Source> = picked
            .iter()
            .enumerate()
            .map(|(number, passage)| {
                Source::new(number + 1, hit(&format!("c{passage}"), &passages[*passage]))
            })
            .collect();
        for output in line["output"].as_array().unwrap() {
            let answer = output["answer"].as_str().unwrap().trim();
            let chosen: Vec<&str> =
                output["selected_sentences"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            // Each sentence of the answer, as it would be cited.
            for sentence in answer.split_inclusive(". ").filter(|sentence| sentence.split(' ').count() > 3) {
                let cited = cited(&sources, &format!("{sentence} [S1][S2][S3][S4][S5][S6]"));
                own.push(cited[0].0);
                near.push(cited[1..5].iter().map(|cited| cited.0).fold(0.0, f32::max));
                random.push(cited[5].0);
                if let Some(best) = &cited[0].1 {
                    judged += 1;
                    let same = |chosen: &&&str| {
                        let (one, two) = (keyword::terms(chosen), keyword::terms(best));
                        one == two || !two.is_empty() && two.iter().all(|term| one.contains(term))
                    };
                    hits += usize::from(chosen.iter().find(same).is_some());
                }
            }
            // A sentence of the same passage that the answer does not use, said of a source without it.
            let sentences = line["passages"][0]["sentences"].as_array().unwrap();
            let unused: Vec<&str> = sentences
                .iter()
                .filter_map(Value::as_str)
                .filter(|sentence| !chosen.contains(sentence))
                .collect();
            if let (Some(unused), false) = (unused.first(), chosen.is_empty()) {
                let mut without = sources.clone();
                without[0].hit.text = chosen.join(" ");
                without[0].jumps.clear();
                other_sentence.push(cited(&without, &format!("{unused} [S1]"))[0].0);
            }
        }
    }
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    println!("{} sentences of {} answers' questions", own.len(), lines.len());
    println!(
        "mean supported: own {:.3}, best of four near {:.3}, by chance {:.3}",
        mean(&own),
        mean(&near),
        mean(&random)
    );
    println!(
        "ROC-AUC: own against the best of four near passages {:.4}, against one by chance {:.4}",
        auc(&own, &near),
        auc(&own, &random)
    );
    println!(
        "ROC-AUC: own against a statement of the same article that the source has not {:.4}",
        auc(&own, &other_sentence)
    );
    let below = |limit: f32| own.iter().filter(|value| **value < limit).count() as f32 / own.len() as f32;
    let above = |limit: f32| near.iter().filter(|value| **value >= limit).count() as f32 / near.len() as f32;
    for limit in [0.2, 0.3, 0.4, 0.5] {
        println!("at {limit}: own below {:.3}, near at or above {:.3}", below(limit), above(limit));
    }
    println!("the sentence pointed at is one that the annotators chose: {hits} of {judged}");
}
