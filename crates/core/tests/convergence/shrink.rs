//! Shortens a case that fails.

use crate::script::{Op, Script, Step};
use crate::world::{Trouble, run};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs at most to shorten a case.
const RUNS: usize = 3000;

/// [`run`], where a panic is a failure, too.
pub(crate) fn attempt(script: &Script, trace: bool) -> Result<crate::world::Taken, Trouble> {
    catch_unwind(AssertUnwindSafe(|| run(script, trace))).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_default();
        Err(Trouble { what: format!("panicked: {what}"), trace: Vec::new() })
    })
}

/// Leaves out steps, and makes documents smaller, as long as it fails.
pub(crate) fn shrink(script: &Script) -> Script {
    let mut best = script.clone();
    let mut runs = 0;
    let mut fails = |candidate: &Script| {
        runs += 1;
        runs <= RUNS && attempt(candidate, false).is_err()
    };
    loop {
        let before = best.steps.clone();
        let mut size = best.steps.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < best.steps.len() {
                let mut candidate = best.clone();
                candidate.steps.drain(at..(at + size).min(candidate.steps.len()));
                if fails(&candidate) {
                    best = candidate;
                } else {
                    at += size;
                }
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
        for at in 0..best.steps.len() {
            for simpler in simpler(&best.steps[at]) {
                let mut candidate = best.clone();
                candidate.steps[at] = simpler;
                if fails(&candidate) {
                    best = candidate;
                }
            }
        }
        if best.steps == before {
            return best;
        }
    }
}

/// The same step with less in it.
fn simpler(step: &Step) -> Vec<Step> {
    match step {
        Step::Start(Op::Put { doc, body, title, meta, condition, at_once }) => {
            let put = |body: &crate::texts::Body, title, meta| {
                let (body, doc, condition) = (body.clone(), *doc, *condition);
                Step::Start(Op::Put { doc, body, title, meta, condition, at_once: *at_once })
            };
            let none = crate::texts::Meta { lang: 0, kind: 0, note: 0 };
            let mut simpler = vec![put(body, None, none)];
            for kept in [1, body.paragraphs.len() / 2, body.paragraphs.len().saturating_sub(1)] {
                if kept < body.paragraphs.len() && kept > 0 {
                    let mut body = body.clone();
                    body.paragraphs.truncate(kept);
                    simpler.push(put(&body, *title, *meta));
                }
            }
            simpler
        }
        Step::Deliver { which, count, keep, early, budget } => {
            let deliver =
                |count, keep, early, budget| Step::Deliver { which: *which, count, keep, early, budget };
            let mut simpler = Vec::new();
            if (*count, *keep, *early, *budget) != (1, false, false, None) {
                simpler.push(deliver(1, false, false, None));
                simpler.push(deliver(*count, *keep, *early, None));
                simpler.push(deliver(1, *keep, *early, *budget));
            }
            simpler
        }
        Step::Fault { after, wrong } if *after > 0 => vec![Step::Fault { after: 0, wrong: *wrong }],
        _ => Vec::new(),
    }
}
