//! Tables that are read in a terminal as well as on a page.

use std::fmt::Write;

use super::{Comparison, Measured, SetReport};
use ragflare_core::prices::dollars;

/// All sets.
pub(crate) fn markdown(reports: &[SetReport]) -> String {
    let mut text = String::new();
    for report in reports {
        let _ = writeln!(text, "## {}\n", report.set);
        let _ = writeln!(text, "{}\n", facts(report));
        text += &metrics(report);
        text += &comparisons(report);
        text += &answerability(report);
        text += &stages(report);
    }
    text
}

fn facts(report: &SetReport) -> String {
    let size = &report.indexed;
    let mut facts =
        format!("{} documents, {} chunks, {} questions", size.documents, size.chunks, report.answerable);
    if report.unanswerable > 0 {
        let _ = write!(facts, " and {} that cannot be answered", report.unanswerable);
    }
    let _ = write!(facts, "; {}.", report.engine);
    for note in &report.notes {
        let _ = write!(facts, " Note: {note}.");
    }
    for config in &report.configs {
        for (stage, times) in &config.degraded {
            let _ = write!(facts, " `{}`: {times} questions with `{stage}`.", config.name);
        }
    }
    facts
}

fn metrics(report: &SetReport) -> String {
    let Some(first) = report.configs.first() else { return String::new() };
    let header = ["mean [95 % interval]".to_owned()].into_iter();
    let header: Vec<String> = header.chain(first.metrics.iter().map(|(name, _)| name.clone())).collect();
    let row = |config: &Measured| {
        let cells = config.metrics.iter().map(|(name, value)| {
            let write = |value| report.kind.format(name, value);
            format!("{} [{}, {}]", write(value.mean), write(value.low), write(value.high))
        });
        [config.name.clone()].into_iter().chain(cells).collect()
    };
    table(&header, &report.configs.iter().map(row).collect::<Vec<_>>())
}

fn comparisons(report: &SetReport) -> String {
    let header = ["paired bootstrap", "metric", "difference [95 % interval]", "p", "better / same / worse"];
    let rows = |comparison: &Comparison| -> Vec<Vec<String>> {
        let row = |(metric, test): &(String, crate::stats::Paired)| {
            let sign = |value: f64| {
                let text = report.kind.format(metric, value);
                if value >= 0.0 { format!("+{text}") } else { text }
            };
            let difference = &test.difference;
            vec![
                format!("{} − {}", comparison.first, comparison.second),
                metric.clone(),
                format!("{} [{}, {}]", sign(difference.mean), sign(difference.low), sign(difference.high)),
                format!("{:.4}", test.p),
                format!("{} / {} / {}", test.wins, test.ties, test.losses),
            ]
        };
        comparison.tests.iter().map(row).collect()
    };
    let rows: Vec<Vec<String>> = report.comparisons.iter().flat_map(rows).collect();
    if rows.is_empty() { String::new() } else { table(&header.map(str::to_owned), &rows) }
}

fn answerability(report: &SetReport) -> String {
    let header = [
        "answerable or not",
        "by",
        "ROC-AUC",
        "threshold",
        "false refusals",
        "false answers",
        "best threshold",
        "false refusals there",
        "false answers there",
    ];
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let mut rows = Vec::new();
    for config in &report.configs {
        for found in &config.answerability {
            let at = found.at_threshold.map_or_else(
                || ["–"; 3].map(str::to_owned),
                |(threshold, refusals, answers)| {
                    [format!("{threshold:.3}"), percent(refusals), percent(answers)]
                },
            );
            let (threshold, refusals, answers) = found.best;
            let mut row = vec![config.name.clone(), found.by.clone(), format!("{:.3}", found.auc)];
            row.extend(at);
            row.extend([format!("{threshold:.3}"), percent(refusals), percent(answers)]);
            rows.push(row);
        }
    }
    if rows.is_empty() { String::new() } else { table(&header.map(str::to_owned), &rows) }
}

fn stages(report: &SetReport) -> String {
    let Some(first) = report.configs.first() else { return String::new() };
    let head = ["ms, median (95 % below)".to_owned()].into_iter();
    let head = head.chain(first.stages.iter().map(|(name, _)| name.clone()));
    let costs = ["tokens embedded", "tokens reranked", "neurons", "$ per 1,000 questions"];
    let header: Vec<String> = head.chain(costs.map(str::to_owned)).collect();
    let row = |config: &Measured| {
        let cost = &config.cost;
        let neurons = cost.neurons;
        let costs = [
            format!("{:.0}", cost.embedding_tokens),
            format!("{:.0}", cost.rerank_tokens),
            neurons.map_or("?".into(), |neurons| format!("{neurons:.3}")),
            neurons.map_or("?".into(), |neurons| format!("{:.4}", dollars(neurons * 1000.0))),
        ];
        let cells = config.stages.iter().map(|(_, spread)| match spread.p95 {
            0.0 => "–".to_owned(),
            p95 => format!("{:.1} ({p95:.1})", spread.median),
        });
        [config.name.clone()].into_iter().chain(cells).chain(costs).collect()
    };
    table(&header, &report.configs.iter().map(row).collect::<Vec<_>>())
}

/// Columns are padded, so that the source is a table to look at, too.
fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain(header.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| {
            let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
            format!(" {cell}{blanks} |")
        });
        format!("|{}\n", padded.collect::<String>())
    };
    let rule: String = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2))).collect();
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{}|{rule}\n{body}\n", line(header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let text = table(&["a".into(), "bb".into()], &[vec!["Ω".into(), "1".into()]]);
        assert_eq!(text, "| a | bb |\n|---|----|\n| Ω | 1  |\n\n");
    }
}
