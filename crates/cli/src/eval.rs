//! `ragflare eval`.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::args::Eval;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::http::Http;
use crate::engine::models::Models;
use crate::engine::native::Native;
use crate::sets::Reading;
use crate::{places, print, report, run, sets};

/// Measures, prints the tables and writes the files.
pub(crate) fn run(arguments: &Eval) -> Result<()> {
    let started = Instant::now();
    let reading = Reading {
        no_titles: arguments.no_titles,
        own_chunks: arguments.own_chunks,
        limit: arguments.limit.map(|limit| limit as usize),
    };
    // All of them first: a typo in the last path should not cost the time of the others.
    let mut all = Vec::new();
    for path in &arguments.sets {
        all.extend(sets::read(path, arguments.format, reading)?);
    }
    let Plan { configs, compare } = plan(arguments)?;
    // The same goes for where the results are to go.
    for path in [&arguments.markdown, &arguments.json].into_iter().flatten() {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        file.with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut models = None;
    let mut engine: Box<dyn Engine> = if let Some(url) = &arguments.target.url {
        Box::new(Http::new(url, &arguments.target)?)
    } else {
        let opened = models.insert(Models::open(places::find(&arguments.target)?)?);
        Box::new(Native::new(opened.clone())?)
    };
    if !engine.takes_settings() {
        let base = Config::default().settings;
        ensure!(
            configs.iter().all(|config| config.settings == base),
            "a deployment has settings of its own: only mode, rerank and top_k can be chosen with --url"
        );
    }
    let mut reports = Vec::new();
    for set in &all {
        let report = run::set(engine.as_mut(), set, &configs, &compare, arguments.threshold)?;
        print(&report::markdown(std::slice::from_ref(&report)));
        reports.push(report);
    }
    if let Some(path) = &arguments.markdown {
        fs::write(path, report::markdown(&reports))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&reports)?;
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let computed = models.map_or_else(String::new, |models| {
        format!(", {} model outputs that the cache did not have", models.computed())
    });
    eprintln!("{:.1} s{computed}", started.elapsed().as_secs_f64());
    Ok(())
}

/// What to measure, and which pairs of it to compare.
struct Plan {
    configs: Vec<Config>,
    compare: Vec<(usize, usize)>,
}

fn plan(arguments: &Eval) -> Result<Plan> {
    let base = arguments.asking.config()?;
    if arguments.ablation {
        let of = |words: &str, name: &str| Ok::<_, anyhow::Error>(base.with(words)?.named(name));
        let mut configs = vec![
            of("mode=keyword rerank=false", "keyword")?,
            of("mode=vector rerank=false", "vector")?,
            of("mode=hybrid rerank=false", "hybrid")?,
        ];
        let mut compare = vec![(2, 0), (2, 1)];
        if base.rerank {
            configs.push(of("mode=hybrid rerank=true", "hybrid + rerank")?);
            compare.extend([(3, 0), (3, 1), (3, 2)]);
        }
        return Ok(Plan { configs, compare });
    }
    if let [first, second] = arguments.compare.as_slice() {
        let name = |words: &str, letter: &str| match words.trim() {
            "" => format!("{letter}: as it is"),
            words => format!("{letter}: {words}"),
        };
        let configs =
            vec![base.with(first)?.named(name(first, "A")), base.with(second)?.named(name(second, "B"))];
        return Ok(Plan { configs, compare: vec![(0, 1)] });
    }
    let mode = serde_json::to_value(base.mode)?;
    let name = format!("{}{}", mode.as_str().unwrap_or_default(), if base.rerank { " + rerank" } else { "" });
    Ok(Plan { configs: vec![base.named(name)], compare: Vec::new() })
}
