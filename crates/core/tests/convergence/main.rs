//! Whatever is uploaded, replaced, changed and deleted, in whatever order calls and messages arrive, fail, repeat or are cut
//! off: once nothing moves any more, everything is as a fresh build of the last uploads would make it.
//!
//! Each case is made from a number. `CONVERGENCE_CASES` says how many there are, `CONVERGENCE_START` from which number on;
//! `CONVERGENCE_SEED=n` runs one of them and prints what happens.

#![allow(
    clippy::unwrap_used,
    clippy::option_option,
    reason = "a test; a title not changed, or changed to none"
)]

mod check;
mod model;
mod script;
mod shrink;
mod texts;
mod world;

use script::{Condition, Doc, Op, Script, Step, Why, Wrong};
use shrink::{attempt, shrink};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;
use texts::{Body, Kind, Meta};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

/// Shortens a case that failed, and tells how.
fn report(script: &Script, how_to_repeat: &str) -> ! {
    let least = shrink(script);
    let trouble =
        attempt(&least, true).expect_err("failed before: something in it is not determined by the seed");
    panic!(
        "\n{}\n\nshortest case found:\n{least}\nwhat happens there:\n{}\n\nto repeat: {how_to_repeat}\n",
        trouble.what,
        trouble.trace.join("\n")
    );
}

#[test]
fn random_histories_converge() {
    let (start, cases) = match number("CONVERGENCE_SEED") {
        Some(seed) => (seed, 1),
        None => (number("CONVERGENCE_START").unwrap_or(0), number("CONVERGENCE_CASES").unwrap_or(10_000)),
    };
    let begun = Instant::now();
    // Each core has its share of the cases, taken in turn.
    let shares = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let failed = AtomicBool::new(false);
    let run = |share: u64| {
        let (mut calls, mut generations) = (0, 0);
        for seed in (start + share..start + cases).step_by(shares as usize) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            match attempt(&Script::generate(seed), false) {
                Ok(taken) => {
                    calls += taken.calls;
                    generations += taken.generations;
                }
                Err(trouble) => {
                    failed.store(true, Ordering::Relaxed);
                    return Err((seed, trouble.what));
                }
            }
        }
        Ok((calls, generations))
    };
    let (mut calls, mut generations) = (0, 0);
    for outcome in thread::scope(|scope| {
        let threads: Vec<_> = (0..shares)
            .map(|share| {
                scope.spawn({
                    let run = &run;
                    move || run(share)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    }) {
        match outcome {
            Ok((more_calls, more_generations)) => {
                calls += more_calls;
                generations += more_generations;
            }
            Err((seed, what)) => {
                println!("seed {seed}: {what}");
                let repeat = format!(
                    "CONVERGENCE_SEED={seed} cargo test -p ragflare-core --features testing --test convergence random"
                );
                report(&Script::generate(seed), &repeat);
            }
        }
    }
    println!(
        "seeds {start}..{}: {generations} generations, {calls} calls, {:.1} s",
        start + cases,
        begun.elapsed().as_secs_f64()
    );
}

const NOTE: Doc = Doc(0, 0);
const META: Meta = Meta { lang: 2, kind: 1, note: 0 };

fn put(doc: Doc, paragraphs: impl IntoIterator<Item = u16>) -> Step {
    let body = Body { kind: Kind::Markdown, paragraphs: paragraphs.into_iter().collect() };
    Step::Start(Op::Put { doc, body, title: Some(1), meta: META, condition: Condition::None, at_once: false })
}

fn start(op: Op) -> Vec<Step> {
    vec![Step::Start(op), Step::Finish, Step::DeliverAll]
}

fn put_and_process(doc: Doc, paragraphs: impl IntoIterator<Item = u16>) -> Vec<Step> {
    vec![put(doc, paragraphs), Step::Finish, Step::DeliverAll]
}

fn process(polls: u8) -> Vec<Step> {
    vec![
        Step::Deliver { which: 0, count: 1, keep: false, early: true, budget: None },
        Step::Run { which: 0, polls },
    ]
}

/// Small histories in which every call is made to go wrong in turn.
fn histories() -> Vec<(&'static str, Vec<Step>)> {
    let configure = |variant, batch_api| vec![Step::Configure { variant, batch_api }];
    let reindex = || start(Op::Reindex { tenant: 0, document: None, force: false });
    let patch = |meta| {
        start(Op::Patch { doc: NOTE, title: Some(Some(2)), meta: Some(meta), condition: Condition::None })
    };
    let delete = || start(Op::Delete { doc: NOTE, condition: Condition::None });
    let sweep = || {
        let sweep = Op::Sweep { older_than: 1000, objects: true };
        [vec![Step::WaitLong(2)], start(sweep)].concat()
    };
    let first = || put_and_process(NOTE, [1, 2, 3, 1]);
    vec![
        ("put", first()),
        ("put at once", {
            let body = Body { kind: Kind::Bom, paragraphs: vec![1, 2, 3] };
            start(Op::Put {
                doc: NOTE,
                body,
                title: None,
                meta: META,
                condition: Condition::None,
                at_once: true,
            })
        }),
        ("put, the same again, replace", [first(), first(), put_and_process(NOTE, [1, 4, 3])].concat()),
        (
            "replace before the first is processed",
            [vec![put(NOTE, [1, 2]), Step::Finish], put_and_process(NOTE, [2, 3])].concat(),
        ),
        (
            "delete while it is processed",
            [vec![put(NOTE, [1, 2]), Step::Finish], process(24), delete(), first()].concat(),
        ),
        (
            "replace while it is processed",
            [vec![put(NOTE, [1, 2]), Step::Finish], process(27), put_and_process(NOTE, [2, 3])].concat(),
        ),
        ("delete, put again", [first(), delete(), first(), sweep()].concat()),
        (
            "patch",
            [first(), patch(Meta { lang: 2, kind: 2, note: 1 }), patch(Meta { lang: 3, kind: 2, note: 1 })]
                .concat(),
        ),
        (
            "unreadable",
            [first(), put_and_process(NOTE, [1, Body::POISON, 2]), put_and_process(NOTE, [1, 5])].concat(),
        ),
        (
            "another embedding",
            [
                first(),
                put_and_process(Doc(0, 1), [1, 7]),
                vec![put(NOTE, [1, 2, 9]), Step::Finish],
                configure(2, false),
                reindex(),
                put_and_process(NOTE, [9, 2]),
                put_and_process(Doc(0, 2), [4]),
                sweep(),
            ]
            .concat(),
        ),
        ("other chunks", [first(), configure(1, false), reindex(), first(), sweep()].concat()),
        ("many parts", [put_and_process(NOTE, 0..115), put_and_process(NOTE, 3..112)].concat()),
        ("many parts, bit by bit", {
            let bit = Step::Deliver { which: 0, count: 4, keep: false, early: true, budget: Some(2) };
            let bits = (0..5).flat_map(|_| [bit.clone(), Step::Finish]).collect();
            [vec![put(NOTE, 0..115), Step::Finish], bits, vec![Step::DeliverAll]].concat()
        }),
        (
            "asynchronous batches",
            [
                configure(0, true),
                first(),
                vec![Step::Wait(200)],
                put_and_process(NOTE, [1, 6]),
                vec![Step::Wait(200), Step::DeliverAll],
                sweep(),
            ]
            .concat(),
        ),
        (
            "two documents together",
            [
                vec![put(NOTE, [1, 2]), Step::Finish, put(Doc(0, 1), [2, 3]), Step::Finish],
                vec![
                    Step::Deliver { which: 0, count: 4, keep: true, early: false, budget: None },
                    Step::Finish,
                    Step::DeliverAll,
                ],
            ]
            .concat(),
        ),
        (
            "given up and replayed",
            [
                vec![put(NOTE, [1, 2]), Step::Finish],
                start(Op::GiveUp { doc: NOTE }),
                start(Op::Replay { doc: NOTE }),
            ]
            .concat(),
        ),
    ]
}

/// What goes wrong, and how many calls later.
fn disturbances() -> Vec<Vec<(u16, Wrong)>> {
    let alone = [
        Wrong::Crash,
        Wrong::CrashAfter,
        Wrong::Kill,
        Wrong::KillAfter,
        Wrong::AnyRefused,
        Wrong::AnyDenied,
        Wrong::Late(Why::Backoff),
    ];
    let twice = (1..4).flat_map(|later| {
        [Wrong::AnyRefused, Wrong::AnyDenied].map(|wrong| vec![(0, wrong), (later, Wrong::AnyRefused)])
    });
    alone.into_iter().map(|wrong| vec![(0, wrong)]).chain(twice).collect()
}

#[test]
fn a_history_converges_wherever_a_call_goes_wrong() {
    let begun = Instant::now();
    let mut cases = 0;
    for (name, steps) in histories() {
        let undisturbed = Script { seed: 0, steps };
        let taken = match attempt(&undisturbed, false) {
            Ok(taken) => taken,
            Err(trouble) => {
                println!("{name}: {}", trouble.what);
                report(&undisturbed, name)
            }
        };
        // The last calls are those of the settling, which nothing disturbs.
        for after in 0..taken.calls as u16 {
            for disturbance in disturbances() {
                let faults = disturbance
                    .iter()
                    .map(|(later, wrong)| Step::Fault { after: after + later, wrong: *wrong });
                let script =
                    Script { seed: 0, steps: faults.chain(undisturbed.steps.iter().cloned()).collect() };
                cases += 1;
                if let Err(trouble) = attempt(&script, false) {
                    println!("{name}, {disturbance:?} from call {after} on: {}", trouble.what);
                    report(&script, name);
                }
            }
        }
        println!("{name}: {} calls", taken.calls);
    }
    println!("{cases} cases, {:.1} s", begun.elapsed().as_secs_f64());
}

/// What somebody does while a task is held: a name and the steps.
type Meanwhile = (&'static str, Vec<Step>);

/// Tasks to be held at every point: what comes before, and the step that starts the task.
fn held() -> Vec<Meanwhile> {
    let op = |op| Step::Start(op);
    let consume = |keep| Step::Deliver { which: 0, count: 1, keep, early: true, budget: None };
    let first = || put_and_process(NOTE, [1, 2, 3, 1]);
    let meta = Some(Meta { lang: 3, kind: 2, note: 1 });
    let replaced = || [first(), vec![put(NOTE, [1, 4, 3]), Step::Finish]].concat();
    let deleted = || {
        let delete = op(Op::Delete { doc: NOTE, condition: Condition::None });
        [first(), vec![delete, Step::Finish]].concat()
    };
    let patch = op(Op::Patch { doc: NOTE, title: Some(Some(2)), meta, condition: Condition::None });
    let given_up = vec![put(NOTE, [1, 2]), Step::Finish, op(Op::GiveUp { doc: NOTE }), Step::Finish];
    let reindex = || op(Op::Reindex { tenant: 0, document: None, force: false });
    let other = Step::Configure { variant: 2, batch_api: false };
    vec![
        ("consumer of the first", vec![put(NOTE, [1, 2, 3, 1]), Step::Finish, consume(true)]),
        ("consumer of the second", [replaced(), vec![consume(true)]].concat()),
        ("consumer of a patch", [first(), vec![patch.clone(), Step::Finish, consume(true)]].concat()),
        ("cleaner", [deleted(), vec![consume(true)]].concat()),
        (
            "sweeper",
            [replaced(), vec![Step::WaitLong(2), op(Op::Sweep { older_than: 1000, objects: true })]].concat(),
        ),
        ("uploader", [first(), vec![put(NOTE, [1, 5])]].concat()),
        ("uploader of the same", [first(), vec![put(NOTE, [1, 2, 3, 1])]].concat()),
        ("patcher", [first(), vec![patch]].concat()),
        (
            "cleaner of a failure",
            [
                given_up,
                vec![
                    consume(false),
                    Step::Finish,
                    op(Op::Sweep { older_than: 1000, objects: true }),
                    Step::Finish,
                    consume(true),
                ],
            ]
            .concat(),
        ),
        ("starter of a re-index", [first(), vec![other.clone(), reindex()]].concat()),
        ("re-index", [first(), vec![other.clone(), reindex(), Step::Finish, consume(true)]].concat()),
        (
            "consumer of a re-index",
            [
                first(),
                put_and_process(Doc(0, 1), [1, 7]),
                vec![other, reindex(), Step::Finish, consume(false), Step::Finish, consume(true)],
            ]
            .concat(),
        ),
    ]
}

fn meanwhile() -> Vec<Meanwhile> {
    let again = || put_and_process(NOTE, [1, 2, 3, 1]);
    let delete = || start(Op::Delete { doc: NOTE, condition: Condition::None });
    let meta = Some(Meta { lang: 0, kind: 1, note: 0 });
    let patch = || start(Op::Patch { doc: NOTE, title: None, meta, condition: Condition::None });
    let sweep = || start(Op::Sweep { older_than: 1000, objects: true });
    let reindex = |document, force| start(Op::Reindex { tenant: 0, document, force });
    let configure = |variant| vec![Step::Configure { variant, batch_api: false }];
    let deliver = || vec![Step::DeliverAll];
    vec![
        ("nothing", Vec::new()),
        ("delivery", deliver()),
        ("delivery, deletion", [deliver(), delete()].concat()),
        ("deletion", delete()),
        ("deletion, the same again", [delete(), again()].concat()),
        ("replacement", put_and_process(NOTE, [1, 6, 3])),
        ("replacement, deletion", [put_and_process(NOTE, [1, 6, 3]), delete(), sweep()].concat()),
        ("patch", [patch(), sweep()].concat()),
        (
            "given up, replayed",
            [start(Op::GiveUp { doc: NOTE }), start(Op::Replay { doc: NOTE }), sweep()].concat(),
        ),
        ("given up", [start(Op::GiveUp { doc: NOTE }), sweep(), deliver(), again()].concat()),
        ("unreadable", [put_and_process(NOTE, [1, Body::POISON]), patch()].concat()),
        ("forced re-index", [deliver(), reindex(Some(0), true), reindex(None, true)].concat()),
        ("another embedding", [configure(2), reindex(None, false), sweep()].concat()),
        (
            "another embedding and back",
            [configure(3), reindex(None, false), configure(0), reindex(None, false), again()].concat(),
        ),
        ("other chunks", [configure(1), reindex(None, false), patch()].concat()),
    ]
}

#[test]
fn a_task_held_at_any_point_does_no_harm_afterwards() {
    let begun = Instant::now();
    let mut cases = 0;
    for (task, before) in held() {
        for (name, meanwhile) in meanwhile() {
            for released in [None, Some(Wrong::CrashAfter), Some(Wrong::Crash), Some(Wrong::KillAfter)] {
                for polls in 0..40 {
                    let hold = Step::Hold { polls: polls * 2 };
                    let steps =
                        [before.clone(), vec![hold], meanwhile.clone(), vec![Step::Release(released)]];
                    let script = Script { seed: 0, steps: steps.concat() };
                    cases += 1;
                    if let Err(trouble) = attempt(&script, false) {
                        println!("{task} held at {polls}, {name}, released {released:?}: {}", trouble.what);
                        report(&script, task);
                    }
                }
            }
        }
    }
    println!("{cases} cases, {:.1} s", begun.elapsed().as_secs_f64());
}
