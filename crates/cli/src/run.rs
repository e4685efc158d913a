//! `ragflare eval`: asks every configuration every question, and reports.

use anyhow::{Context, Result};
use ragflare_core::prices;
use ragflare_core::search::SearchUsage;

use crate::config::Config;
use crate::engine::{Engine, STAGES, Stages};
use crate::progress::Progress;
use crate::report::{Answerability, Asked, Comparison, Cost, Measured, SetReport, Spread};
use crate::score::{Scorer, telling};
use crate::sets::{Kind, Question, Set, Wanted};
use crate::stats;

/// Rankings kept for the JSON output.
const KEPT_HITS: usize = 20;

/// Scores that are meant to be compared with a threshold.
const CALIBRATED: [&str; 2] = ["score", "relevance"];

/// What every question got from one configuration.
struct Answers {
    asked: Vec<Asked>,
    stages: Vec<Stages>,
    usage: SearchUsage,
    degraded: Vec<String>,
    /// Per answerable question, the first metric first.
    values: Vec<Vec<f64>>,
    /// Names of telling scores, with those of answerable and of unanswerable questions.
    telling: Vec<(String, Vec<f64>, Vec<f64>)>,
}

/// Measures configurations on a set. Those compared are the pairs of `compare`, by index.
pub(crate) fn set(
    engine: &mut dyn Engine,
    set: &Set,
    configs: &[Config],
    compare: &[(usize, usize)],
    threshold: f64,
) -> Result<SetReport> {
    let mut report = SetReport::new(set, engine.describe());
    let mut all = Vec::new();
    for config in configs {
        let top_k = config.top_k.unwrap_or(set.kind.top_k());
        report.indexed = engine.index(set, config).with_context(|| format!("{}: cannot index", set.name))?;
        let chunks = if set.kind == Kind::Characters { engine.chunks(set)? } else { Vec::new() };
        let scorer = Scorer::new(set, top_k, chunks);
        let answers = ask(engine, set, config, top_k, &scorer)?;
        report.configs.push(measured(set, config, top_k, &answers, threshold, report.indexed.tokens));
        all.push(answers);
    }
    for &(first, second) in compare {
        let metrics = set.kind.metrics(report.configs[first].top_k);
        let tests = metrics.iter().enumerate().map(|(nth, metric)| {
            let column =
                |answers: &Answers| -> Vec<f64> { answers.values.iter().map(|row| row[nth]).collect() };
            (metric.clone(), stats::paired(&column(&all[first]), &column(&all[second])))
        });
        report.comparisons.push(Comparison {
            first: configs[first].name.clone(),
            second: configs[second].name.clone(),
            tests: tests.collect(),
        });
    }
    Ok(report)
}

fn ask(
    engine: &mut dyn Engine,
    set: &Set,
    config: &Config,
    top_k: usize,
    scorer: &Scorer<'_>,
) -> Result<Answers> {
    let mut answers = Answers {
        asked: Vec::new(),
        stages: Vec::new(),
        usage: SearchUsage::default(),
        degraded: Vec::new(),
        values: Vec::new(),
        telling: Vec::new(),
    };
    let progress = Progress::new(&format!("{}: {}", set.name, config.name), set.questions.len());
    for question in &set.questions {
        let request = config.request(&question.text, top_k);
        let reply = engine
            .search(config, &request)
            .with_context(|| format!("{}: the question `{}` got no answer", set.name, question.id))?;
        let hits = &reply.response.hits;
        let values = scorer.score(question, hits);
        let scores = telling(hits);
        tell(&mut answers, question, &scores);
        answers.stages.push(reply.stages);
        answers.usage.embedding_tokens += reply.response.usage.embedding_tokens;
        answers.usage.rerank_tokens += reply.response.usage.rerank_tokens;
        answers.degraded.extend(reply.response.degraded.iter().cloned());
        let kept = hits.iter().take(KEPT_HITS);
        answers.asked.push(Asked {
            id: question.id.clone(),
            values: values.clone(),
            hits: kept.map(|hit| (hit.document_id.to_string(), hit.start, hit.score)).collect(),
            scores: scores.into_iter().collect(),
        });
        answers.values.extend(values);
        progress.advance(1);
    }
    progress.finish();
    Ok(answers)
}

fn tell(answers: &mut Answers, question: &Question, scores: &[(String, f64)]) {
    for (name, score) in scores {
        let place = answers.telling.iter().position(|(known, ..)| known == name).unwrap_or_else(|| {
            answers.telling.push((name.clone(), Vec::new(), Vec::new()));
            answers.telling.len() - 1
        });
        let (_, answerable, unanswerable) = &mut answers.telling[place];
        let side = if question.wanted == Wanted::Nothing { unanswerable } else { answerable };
        side.push(*score);
    }
}

fn measured(
    set: &Set,
    config: &Config,
    top_k: usize,
    answers: &Answers,
    threshold: f64,
    corpus_tokens: u64,
) -> Measured {
    let metrics = set.kind.metrics(top_k);
    let column = |nth: usize| -> Vec<f64> { answers.values.iter().map(|row| row[nth]).collect() };
    let intervals =
        metrics.iter().enumerate().map(|(nth, name)| (name.clone(), stats::interval(&column(nth))));
    let mut degraded: Vec<(String, usize)> = Vec::new();
    for name in &answers.degraded {
        match degraded.iter_mut().find(|(known, _)| known == name) {
            Some((_, times)) => *times += 1,
            None => degraded.push((name.clone(), 1)),
        }
    }
    Measured {
        name: config.name.clone(),
        config: config.clone(),
        top_k,
        metrics: intervals.collect(),
        answerability: answerability(&answers.telling, threshold),
        stages: spreads(&answers.stages),
        cost: cost(config, answers.usage, answers.asked.len(), corpus_tokens),
        degraded,
        questions: answers.asked.clone(),
    }
}

fn answerability(telling: &[(String, Vec<f64>, Vec<f64>)], threshold: f64) -> Vec<Answerability> {
    let found = telling.iter().filter_map(|(name, answerable, unanswerable)| {
        let auc = stats::roc_auc(answerable, unanswerable)?;
        let (best_threshold, best_false_refusals, best_false_answers) =
            stats::best_threshold(answerable, unanswerable)?;
        let at = CALIBRATED.contains(&name.as_str()).then(|| {
            let (refusals, answers) = stats::errors_at(answerable, unanswerable, threshold);
            (threshold, refusals, answers)
        });
        Some(Answerability {
            by: name.clone(),
            auc,
            at_threshold: at,
            best: (best_threshold, best_false_refusals, best_false_answers),
        })
    });
    found.collect()
}

fn spreads(stages: &[Stages]) -> Vec<(String, Spread)> {
    let of = |nth: usize| {
        let mut values: Vec<f64> = stages.iter().map(|stages| stages[nth]).collect();
        values.sort_unstable_by(f64::total_cmp);
        let spread =
            Spread { median: stats::percentile(&values, 0.5), p95: stats::percentile(&values, 0.95) };
        (STAGES[nth].to_owned(), spread)
    };
    (0..STAGES.len()).map(of).collect()
}

fn cost(config: &Config, usage: SearchUsage, questions: usize, corpus_tokens: u64) -> Cost {
    let embedding = &config.settings.embedding.model;
    let per_question = |tokens: u64| tokens as f64 / questions.max(1) as f64;
    let neurons = |model: &str, tokens: u64| {
        let neurons = prices::neurons(model, tokens, 0);
        neurons.map(|neurons| neurons / questions.max(1) as f64)
    };
    let neurons_embed = neurons(embedding, usage.embedding_tokens);
    let neurons_rerank = neurons(&config.settings.search.rerank_model, usage.rerank_tokens);
    Cost {
        embedding_tokens: per_question(usage.embedding_tokens),
        rerank_tokens: per_question(usage.rerank_tokens),
        neurons: neurons_embed.zip(neurons_rerank).map(|(embed, rerank)| embed + rerank),
        corpus_neurons: prices::neurons(embedding, corpus_tokens, 0),
    }
}
