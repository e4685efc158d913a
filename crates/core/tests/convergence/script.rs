//! What happens in a case: a list of steps, made from a seed, that can be read and shortened.

use crate::texts::{Body, Kind, Meta};
use ragflare_core::testing::Service;
use std::fmt;

/// Small numbers from a seed (`SplitMix64`), the same on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `count - 1`.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

/// Tenant and document, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Doc(pub(crate) u8, pub(crate) u8);

impl fmt::Display for Doc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "t{}:{}", self.0, crate::texts::id(self.1))
    }
}

/// What a write requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    None,
    Exists,
    Absent,
    /// The generation there is when the write is sent.
    Current,
    /// The one before that.
    Stale,
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// Upload through the queue, or processed at once.
    Put {
        doc: Doc,
        body: Body,
        title: Option<u8>,
        meta: Meta,
        condition: Condition,
        at_once: bool,
    },
    /// Another title, other metadata, or both.
    Patch {
        doc: Doc,
        title: Option<Option<u8>>,
        meta: Option<Meta>,
        condition: Condition,
    },
    Delete {
        doc: Doc,
        condition: Condition,
    },
    DeletePrefix {
        tenant: u8,
    },
    Sweep {
        older_than: u64,
        objects: bool,
    },
    Reindex {
        tenant: u8,
        document: Option<u8>,
        force: bool,
    },
    /// A message that failed too often: its generation is given up.
    GiveUp {
        doc: Doc,
    },
    /// A generation given up is opened again.
    Replay {
        doc: Doc,
    },
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The caller's invocation ends; its messages come again.
    Crash,
    CrashAfter,
    /// The whole process ends, the queue with it.
    Kill,
    KillAfter,
    /// An error, nothing done.
    Refused(Service, Why),
    /// An error, but done.
    Denied(Service, Why),
    /// As the two before, of whichever service is called.
    AnyRefused,
    AnyDenied,
    /// An error; a write to the vector index is done later.
    Late(Why),
    /// Texts handed in are not ready.
    Running,
    /// Texts handed in are lost.
    Lost,
}

/// Which error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Busy,
    Backoff,
    Midnight,
}

/// A step of a case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Start(Op),
    /// Messages go to a consumer: `count` of one tenant from the `which`th on; `keep`: they also stay; `early`: although
    /// their delay is not over; `budget`: how often it is told to go on.
    Deliver {
        which: u8,
        count: u8,
        keep: bool,
        early: bool,
        budget: Option<u8>,
    },
    /// All messages that are due, and those sent meanwhile, one after the other.
    DeliverAll,
    /// The `which`th task goes on by so many polls.
    Run {
        which: u8,
        polls: u8,
    },
    /// All tasks but one held go on to their end, in turn.
    Finish,
    /// The task started last goes on by so many polls, and then waits for its release.
    Hold {
        polls: u8,
    },
    /// The task held goes on to its end; its next call goes wrong.
    Release(Option<Wrong>),
    /// Writes that were to be done later are done.
    Land,
    /// The `after`th call from here that can go wrong so, does.
    Fault {
        after: u16,
        wrong: Wrong,
    },
    Kill,
    Lag(bool),
    /// Seconds go by.
    Wait(u16),
    /// All tasks end, then so many hours go by.
    WaitLong(u8),
    /// New tasks have other settings.
    Configure {
        variant: u8,
        batch_api: bool,
    },
}

/// A case.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) steps: Vec<Step>,
}

impl fmt::Display for Script {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Start(Op::Put { doc, body, title, meta, condition, at_once }) => {
                    let how = if *at_once { "put at once" } else { "put" };
                    writeln!(formatter, "  {how} {doc} {body} title={title:?} {meta:?} if {condition:?}")?;
                }
                Step::Start(Op::Patch { doc, title, meta, condition }) => {
                    writeln!(formatter, "  patch {doc} title={title:?} {meta:?} if {condition:?}")?;
                }
                Step::Start(Op::Delete { doc, condition }) => {
                    writeln!(formatter, "  delete {doc} if {condition:?}")?;
                }
                Step::Start(Op::GiveUp { doc }) => writeln!(formatter, "  give up {doc}")?,
                Step::Start(Op::Replay { doc }) => writeln!(formatter, "  replay {doc}")?,
                Step::Start(other) => writeln!(formatter, "  {other:?}")?,
                other => writeln!(formatter, "  {other:?}")?,
            }
        }
        Ok(())
    }
}

/// How likely what is in a case.
struct Leaning {
    faults: u64,
    kills: u64,
    settings: u64,
    queue: u64,
}

impl Script {
    /// The case of a seed.
    pub(crate) fn generate(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let leaning = match rng.below(10) {
            0 | 1 => Leaning { faults: 0, kills: 0, settings: 0, queue: 25 },
            2..=4 => Leaning { faults: 14, kills: 1, settings: 0, queue: 25 },
            5 => Leaning { faults: 40, kills: 0, settings: 0, queue: 40 },
            6 => Leaning { faults: 5, kills: 4, settings: 0, queue: 20 },
            _ => Leaning { faults: 10, kills: 1, settings: 6, queue: 30 },
        };
        let mut writer = Writer::new(rng);
        let length = 12 + writer.rng.below(50);
        let mut steps = Vec::new();
        if writer.rng.chance(15) {
            steps.push(Step::Configure { variant: 0, batch_api: true });
        }
        for _ in 0..length {
            writer.step(&leaning, &mut steps);
        }
        Self { seed, steps }
    }
}

/// Writes a case; remembers what it uploaded, so that versions have most in common.
struct Writer {
    rng: Rng,
    documents: Vec<(Doc, Option<Body>)>,
    variant: u8,
    batch_api: bool,
    large: u64,
}

impl Writer {
    fn new(mut rng: Rng) -> Self {
        let mut documents: Vec<(Doc, Option<Body>)> =
            (0..=rng.below(3) as u8).map(|id| (Doc(0, id), None)).collect();
        if rng.chance(25) {
            documents.push((Doc(1, 0), None));
        }
        let large = match rng.below(200) {
            0 => 1000,
            1..=16 => 220,
            _ => 0,
        };
        Self { rng, documents, variant: 0, batch_api: false, large }
    }

    fn step(&mut self, leaning: &Leaning, steps: &mut Vec<Step>) {
        let rng = &mut self.rng;
        let weights = [22, leaning.queue, 30, 8, leaning.faults, leaning.kills, 3, 4, 3, leaning.settings];
        let mut at = rng.below(weights.iter().sum());
        let mut choice = 0;
        while at >= weights[choice] {
            at -= weights[choice];
            choice += 1;
        }
        match choice {
            0 => {
                let op = self.op();
                steps.push(Step::Start(op));
                self.go_on(steps);
            }
            1 => {
                let budget = rng.chance(30).then(|| rng.below(4) as u8);
                let (keep, early) = (rng.chance(20), rng.chance(15));
                let count = 1 + rng.below(4) as u8;
                steps.push(Step::Deliver { which: rng.below(8) as u8, count, keep, early, budget });
                self.go_on(steps);
            }
            2 => steps.push(Step::Run { which: rng.below(3) as u8, polls: 1 + rng.below(24) as u8 }),
            3 if rng.chance(50) => steps.push(Step::Finish),
            3 if rng.chance(30) => steps.push(Step::Land),
            3 => {
                let wrong = rng.pick(&[None, None, Some(Wrong::Crash), Some(Wrong::CrashAfter)]);
                steps.push(Step::Release(wrong));
            }
            4 => {
                let far = if rng.chance(60) { 8 } else { 60 };
                let after = rng.below(far) as u16;
                let wrong = self.wrong();
                steps.push(Step::Fault { after, wrong });
            }
            5 => steps.push(Step::Kill),
            6 => steps.push(Step::Lag(rng.chance(60))),
            7 => steps.push(Step::Wait(1 + rng.below(240) as u16)),
            8 => steps.push(Step::WaitLong(1 + rng.below(26) as u8)),
            _ => {
                if rng.chance(70) {
                    self.variant = rng.below(5) as u8;
                    self.batch_api = rng.chance(20);
                    let (variant, batch_api) = (self.variant, self.batch_api);
                    steps.push(Step::Configure { variant, batch_api });
                }
                let document = self.rng.chance(15).then(|| self.doc().1);
                let (tenant, force) = (u8::from(self.rng.chance(15)), self.rng.chance(20));
                steps.push(Step::Start(Op::Reindex { tenant, document, force }));
            }
        }
    }

    /// How far the task just started goes at once.
    fn go_on(&mut self, steps: &mut Vec<Step>) {
        match self.rng.below(100) {
            0..=34 => steps.push(Step::Finish),
            35..=44 => steps.push(Step::Hold { polls: self.rng.below(40) as u8 }),
            _ => {}
        }
    }

    fn wrong(&mut self) -> Wrong {
        let rng = &mut self.rng;
        let service = rng.pick(&[
            Service::Embedder,
            Service::Vectors,
            Service::Documents,
            Service::Objects,
            Service::Jobs,
        ]);
        let why = match service {
            Service::Embedder => rng.pick(&[Why::Busy, Why::Busy, Why::Backoff, Why::Midnight]),
            Service::Vectors => rng.pick(&[Why::Busy, Why::Backoff]),
            _ => Why::Backoff,
        };
        match rng.below(12) {
            0..=2 => Wrong::Crash,
            3..=5 => Wrong::CrashAfter,
            6 => Wrong::KillAfter,
            7 | 8 => Wrong::Refused(service, why),
            9 | 10 => Wrong::Denied(service, why),
            _ => rng.pick(&[
                Wrong::Running,
                Wrong::Lost,
                Wrong::Late(Why::Busy),
                Wrong::Late(Why::Backoff),
                Wrong::Late(Why::Backoff),
            ]),
        }
    }

    fn doc(&mut self) -> Doc {
        if self.rng.chance(50) {
            return self.documents[0].0;
        }
        let which = self.rng.below(self.documents.len() as u64) as usize;
        self.documents[which].0
    }

    fn condition(&mut self) -> Condition {
        if self.rng.chance(75) {
            return Condition::None;
        }
        self.rng.pick(&[
            Condition::Exists,
            Condition::Absent,
            Condition::Current,
            Condition::Current,
            Condition::Stale,
        ])
    }

    fn op(&mut self) -> Op {
        let doc = self.doc();
        match self.rng.below(100) {
            0..=51 => {
                let body = self.body(doc);
                let title = self.rng.chance(40).then(|| self.rng.below(3) as u8);
                let (meta, condition) = (self.meta(), self.condition());
                let at_once = self.rng.chance(15);
                let condition = if at_once { Condition::None } else { condition };
                Op::Put { doc, body, title, meta, condition, at_once }
            }
            52..=66 => {
                let title = self.rng.chance(60).then(|| self.rng.chance(80).then(|| self.rng.below(4) as u8));
                let meta = self.rng.chance(60).then(|| self.meta());
                Op::Patch { doc, title, meta, condition: self.condition() }
            }
            67..=80 => Op::Delete { doc, condition: self.condition() },
            81 | 82 => Op::DeletePrefix { tenant: doc.0 },
            83..=92 => {
                let older_than = self.rng.pick(&[1_000, 60_000, 1_200_000]);
                Op::Sweep { older_than, objects: self.rng.chance(40) }
            }
            93 | 94 => {
                Op::Reindex { tenant: doc.0, document: self.rng.chance(50).then_some(doc.1), force: true }
            }
            95 | 96 => Op::GiveUp { doc },
            _ => Op::Replay { doc },
        }
    }

    fn meta(&mut self) -> Meta {
        let rng = &mut self.rng;
        Meta { lang: rng.below(4) as u8, kind: rng.below(3) as u8, note: rng.below(2) as u8 }
    }

    /// A first version, or one that differs from the last in some paragraphs, or in none.
    fn body(&mut self, doc: Doc) -> Body {
        let rng = &mut self.rng;
        let last = self.documents.iter().find(|known| known.0 == doc).and_then(|known| known.1.clone());
        let kind = match rng.below(40) {
            0 => Kind::Latin,
            1 => Kind::Blank,
            2 => Kind::Broken,
            16..=18 => Kind::Pdf,
            3..=5 => Kind::Bom,
            6..=15 => Kind::Plain,
            _ => Kind::Markdown,
        };
        let mut body = match last {
            Some(mut body) if rng.chance(80) => {
                if rng.chance(25) {
                    return body;
                }
                for _ in 0..=rng.below(2) {
                    let at = rng.below(body.paragraphs.len() as u64 + 1) as usize;
                    match rng.below(3) {
                        0 => body.paragraphs.insert(at, rng.below(14) as u16),
                        1 if body.paragraphs.len() > 1 => {
                            body.paragraphs.remove(at.min(body.paragraphs.len() - 1));
                        }
                        _ if at < body.paragraphs.len() => body.paragraphs[at] = rng.below(14) as u16,
                        _ => body.paragraphs.push(rng.below(14) as u16),
                    }
                }
                body
            }
            _ => {
                let many = if self.large > 0 && rng.chance(50) { self.large } else { 1 + rng.below(9) };
                let range = if many > 20 { many / 2 + rng.below(2 * many) } else { 14 };
                Body { kind, paragraphs: (0..many).map(|_| rng.below(range) as u16).collect() }
            }
        };
        if rng.chance(20) {
            body.kind = kind;
        }
        body.paragraphs.retain(|paragraph| *paragraph != Body::POISON);
        if rng.chance(5) {
            let at = rng.below(body.paragraphs.len() as u64 + 1) as usize;
            body.paragraphs.insert(at, Body::POISON);
        }
        if let Some(known) = self.documents.iter_mut().find(|known| known.0 == doc) {
            known.1 = Some(body.clone());
        }
        body
    }
}
