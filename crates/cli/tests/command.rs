//! The command as a user runs it, on small sets written for this project, with the real models.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/eval")
}

/// The command with a cache of its own and this machine's models.
fn ragflare(cache: &Path, arguments: &[&str]) -> Output {
    let installed = || PathBuf::from(env::var_os("HOME").unwrap()).join(".cache/ragflare");
    let cached = env::var_os("RAGFLARE_CACHE").map_or_else(installed, PathBuf::from);
    let models = env::var_os("RAGFLARE_MODELS").map_or_else(|| cached.join("models"), PathBuf::from);
    let library = env::var_os("RAGFLARE_ONNXRUNTIME").map_or_else(
        || fs::read_dir(cached.join("onnxruntime")).unwrap().next().unwrap().unwrap().path(),
        PathBuf::from,
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_ragflare"));
    command.env("RAGFLARE_CACHE", cache).env("RAGFLARE_MODELS", models).env("RAGFLARE_ONNXRUNTIME", library);
    command.env_remove("ADMIN_KEY").env_remove("RAGFLARE_KEY");
    command.args(arguments).current_dir(fixtures()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs an evaluation that must succeed, and reads its JSON.
fn eval(cache: &Path, arguments: &[&str]) -> (Value, String) {
    let file = cache.join("report.json");
    let json = file.to_string_lossy().into_owned();
    let output = ragflare(cache, &[&["eval", "--json", &json], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    (report, text(&output.stderr))
}

fn refused(arguments: &[&str]) -> String {
    let cache = tempfile::tempdir().unwrap();
    let output = ragflare(cache.path(), arguments);
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}

fn mean(report: &Value, config: usize, metric: &str) -> f64 {
    let metrics = report["configs"][config]["metrics"].as_array().unwrap();
    let found = metrics.iter().find(|pair| pair[0] == metric);
    found.unwrap_or_else(|| panic!("no {metric} in {metrics:?}"))[1]["mean"].as_f64().unwrap()
}

#[test]
fn every_format_is_measured() {
    let cache = tempfile::tempdir().unwrap();
    let (reports, _) = eval(cache.path(), &["beir", "chroma", "code", "qa", "squad"]);
    let names: Vec<&str> =
        reports.as_array().unwrap().iter().map(|one| one["set"].as_str().unwrap()).collect();
    assert_eq!(names, ["beir", "chroma", "code", "qa", "harbour.en"]);
    let [beir, chroma, code, qa, squad] = [0, 1, 2, 3, 4].map(|nth| &reports[nth]);
    assert_eq!((&beir["answerable"], &beir["indexed"]["documents"]), (&6.into(), &10.into()));
    assert!(mean(beir, 0, "nDCG@10") > 0.8 && mean(beir, 0, "Recall@100") > 0.99, "{beir:#}");
    // Ten short documents: five hits return everything that was asked for.
    assert!(mean(chroma, 0, "recall@5") > 0.9, "{chroma:#}");
    assert!(mean(chroma, 0, "IoU@5") < mean(chroma, 0, "PrecisionΩ"), "{chroma:#}");
    assert!(mean(code, 0, "Pass@5") > 0.99, "four chunks in all");
    assert!(mean(squad, 0, "hit@5") > 0.99, "three paragraphs in all");
    assert_eq!((&qa["answerable"], &qa["unanswerable"]), (&4.into(), &3.into()));
    assert_eq!(qa["configs"][0]["answerability"][0]["by"], "score");
}

#[test]
fn a_second_run_asks_no_model_and_says_the_same() {
    let cache = tempfile::tempdir().unwrap();
    let asked = |report: &Value| report[0]["configs"][0]["questions"].clone();
    let (first, told) = eval(cache.path(), &["beir"]);
    assert!(!told.contains(" 0 model outputs"), "{told}");
    let (second, told) = eval(cache.path(), &["beir"]);
    assert!(told.contains(" 0 model outputs"), "{told}");
    assert_eq!(asked(&first), asked(&second));
    // Nor does a model that is asked anew say something else.
    let (third, _) = eval(cache.path(), &["beir", "--no-cache"]);
    assert_eq!(asked(&first), asked(&third));
}

#[test]
fn a_damaged_cache_is_begun_anew() {
    let cache = tempfile::tempdir().unwrap();
    let (first, _) = eval(cache.path(), &["squad"]);
    let file = cache.path().join("eval/outputs.redb");
    fs::write(&file, b"no database").unwrap();
    let (second, told) = eval(cache.path(), &["squad"]);
    assert!(told.contains("is damaged"), "{told}");
    assert_eq!(first[0]["configs"][0]["metrics"], second[0]["configs"][0]["metrics"]);
}

#[test]
fn two_configurations_are_compared_question_by_question() {
    let cache = tempfile::tempdir().unwrap();
    let (report, _) = eval(cache.path(), &["beir", "--compare", "mode=vector", "mode=vector rerank=false"]);
    let tests = &report[0]["comparisons"][0]["tests"];
    assert_eq!(tests[0][0], "nDCG@10");
    let sum = ["wins", "ties", "losses"].iter().map(|name| tests[0][1][name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum, 6, "every judged question is in one of the three");
    let difference = mean(&report[0], 0, "nDCG@10") - mean(&report[0], 1, "nDCG@10");
    assert!((tests[0][1]["difference"]["mean"].as_f64().unwrap() - difference).abs() < 1e-9);
    let (same, _) = eval(cache.path(), &["beir", "--compare", "", "search.candidates=50"]);
    assert_eq!(same[0]["comparisons"][0]["tests"][0][1]["ties"], 6);
}

#[test]
fn an_ablation_measures_each_stage_and_writes_a_table() {
    let cache = tempfile::tempdir().unwrap();
    let table = cache.path().join("table.md");
    let (report, _) = eval(cache.path(), &["beir", "--ablation", "--markdown", &table.to_string_lossy()]);
    let configs = report[0]["configs"].as_array().unwrap();
    let names: Vec<&str> = configs.iter().map(|config| config["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["keyword", "vector", "hybrid", "hybrid + rerank"]);
    let neurons = |nth: usize| configs[nth]["cost"]["neurons"].as_f64().unwrap();
    assert!(neurons(0).abs() < 1e-12 && neurons(1) > 0.0 && neurons(3) > neurons(1));
    let table = fs::read_to_string(table).unwrap();
    assert!(table.starts_with("## beir\n") && table.contains("| hybrid + rerank"), "{table}");
}

#[test]
fn golden_chunks_are_found_by_our_own_chunks_too() {
    let cache = tempfile::tempdir().unwrap();
    let (report, _) = eval(cache.path(), &["code", "--own-chunks", "--set", "chunk.target=64"]);
    assert_eq!(report[0]["indexed"]["documents"], 2);
    assert!(mean(&report[0], 0, "Pass@20") > 0.99, "{report:#}");
}

#[test]
fn what_is_wrong_is_said() {
    assert!(refused(&["eval", "nowhere"]).contains("nowhere is not there"));
    assert!(refused(&["eval", "."]).contains("looks like no known set"));
    assert!(refused(&["eval", "chroma", "--format", "beir"]).contains("corpus.jsonl"));
    assert!(refused(&["eval", "beir", "--set", "search.nonsense=1"]).contains("there is no `nonsense`"));
    assert!(refused(&["eval", "beir", "--top-k", "0"]).contains("top_k is 1 to 100"));
    assert!(
        refused(&["eval", "beir", "--url", "http://127.0.0.1:9"]).contains("does not answer as Ragflare")
    );
    assert!(refused(&["search", "x"]).contains("--dir"));
}

#[test]
fn a_search_shows_every_stage_s_score() {
    let cache = tempfile::tempdir().unwrap();
    let folder = fixtures().join("chroma");
    let arguments =
        ["search", "when does the auction begin", "--dir", &folder.to_string_lossy(), "--top-k", "2"];
    let output = ragflare(cache.path(), &arguments);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(shown.starts_with("  1  "), "{shown}");
    for part in ["corpora/visitors.md", "vector 0.", "keyword ", "fused ", "rerank ", "Yachts & fish"] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
}
