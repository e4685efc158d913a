//! The stream of an answer's events.

use super::ladder::{self, Opened};
use super::output::Output;
use super::{AnswerEvent, AnswerUsage, Ending, Outcome, Prepared, quote, structured};
use crate::citations::Checked;
use crate::ports::{Clock, Finish, Generated, Ports, TextGenerator, ToolCall, Usage, in_time};
use crate::search::SearchUsage;
use crate::settings::Settings;
use crate::tokens::cl100k;
use crate::{Error, Result, Tenant, prompt};
use futures::stream::{self, Stream, StreamExt};
use std::collections::VecDeque;
use std::rc::Rc;

/// Streams an answer. The stream owns what it needs and can outlive the request's handler; dropping it stops the
/// generation. It ends with [`AnswerEvent::Done`] or [`AnswerEvent::Error`].
pub fn stream<P: Ports + 'static>(
    ports: Rc<P>,
    settings: Rc<Settings>,
    tenant: Tenant,
    prepared: Prepared,
) -> impl Stream<Item = AnswerEvent> + Unpin + 'static {
    let sources = AnswerEvent::Sources(prepared.sources.clone());
    let rest = stream::once(async move { open(ports, settings, tenant, prepared).await }).flatten();
    stream::once(std::future::ready(sources)).chain(rest).boxed_local()
}

type Events = stream::LocalBoxStream<'static, AnswerEvent>;

async fn open<P: Ports + 'static>(
    ports: Rc<P>,
    settings: Rc<Settings>,
    tenant: Tenant,
    mut prepared: Prepared,
) -> Events {
    if let Some(events) = prepared.recorded.take() {
        return stream::iter(events).boxed_local();
    }
    let mut degraded = std::mem::take(&mut prepared.degraded);
    let Some(first) = &prepared.prompt else {
        let text = prompt::nothing_found(&prepared.question);
        let ending = Ending::new(Outcome::NotFound, Finish::Stop, degraded);
        return told(vec![Checked::Text(text.into())], ending, &prepared.usage);
    };
    match ladder::open(&*ports, &settings, &tenant, &prepared, first, &mut degraded).await {
        Err(error) if first.format.is_some() || !settings.answer.quote => {
            stream::iter([AnswerEvent::Error(error)]).boxed_local()
        }
        Err(_) => {
            let steps = quote::quoted(&prepared.sources, &prepared.question);
            told(steps, Ending::new(Outcome::Quoted, Finish::Stop, degraded), &prepared.usage)
        }
        Ok(opened) => {
            let mut ending = Ending::new(Outcome::Answered, Finish::Truncated, degraded);
            ending.model = Some(opened.prompt.model.clone());
            if first.format.is_some() {
                let run = structured::run(ports, settings, tenant, prepared, opened, ending);
                return stream::once(run).map(stream::iter).flatten().boxed_local();
            }
            ending.grounded = opened.sources > 0;
            let sources = &prepared.sources[..opened.sources];
            let run = Run {
                output: Output::new(sources, &prepared.question, &settings.answer.system_prompt),
                reading: Reading::new(ports, &settings, opened),
                search: prepared.usage,
                ready: VecDeque::new(),
                ending,
                ended: false,
            };
            stream::unfold(run, Run::next).boxed_local()
        }
    }
}

/// An answer that no model gave.
fn told(steps: Vec<Checked>, mut ending: Ending, search: &SearchUsage) -> Events {
    let mut events = Vec::new();
    take(steps, &mut ending, &mut events);
    events.push(AnswerEvent::Usage(AnswerUsage::new(Usage::default(), None, search)));
    events.push(AnswerEvent::Done(ending));
    stream::iter(events).boxed_local()
}

/// Turns checked text into events and notes what was cited.
pub(super) fn take(steps: Vec<Checked>, ending: &mut Ending, events: &mut impl Extend<AnswerEvent>) {
    events.extend(steps.into_iter().map(|step| match step {
        Checked::Text(text) => AnswerEvent::Delta(text),
        Checked::Citation(citation) => {
            if !ending.cited.contains(&citation.source) {
                ending.cited.push(citation.source);
            }
            AnswerEvent::Citation(citation)
        }
    }));
}

/// A model's steps, with the time it may take for each, and what they came to.
pub(super) struct Reading<P: Ports> {
    ports: Rc<P>,
    timeout_ms: u32,
    opened: Opened<<P::Generator as TextGenerator>::Stream>,
    /// All of its text.
    pub(super) text: String,
    pub(super) calls: Vec<ToolCall>,
    usage: Option<Usage>,
}

/// What a reading came upon.
pub(super) enum Step {
    Delta(String),
    Gateway(crate::ports::Gateway),
    End(Result<Finish>),
}

impl<P: Ports> Reading<P> {
    pub(super) fn new(
        ports: Rc<P>,
        settings: &Settings,
        opened: Opened<<P::Generator as TextGenerator>::Stream>,
    ) -> Self {
        let timeout_ms = settings.answer.timeout_ms;
        Self { ports, timeout_ms, opened, text: String::new(), calls: Vec::new(), usage: None }
    }

    pub(super) async fn next(&mut self) -> Step {
        loop {
            let step = in_time(self.ports.clock(), self.timeout_ms, self.opened.generated.next()).await;
            return match step {
                None => Step::End(Err(ladder::silent(self.timeout_ms))),
                Some(None) => Step::End(Ok(Finish::Truncated)),
                Some(Some(Err(error))) => Step::End(Err(error)),
                Some(Some(Ok(Generated::Delta(text)))) => {
                    self.text.push_str(&text);
                    Step::Delta(text)
                }
                Some(Some(Ok(Generated::Gateway(gateway)))) => Step::Gateway(gateway),
                Some(Some(Ok(Generated::ToolCalls(calls)))) => {
                    let now = self.ports.clock().now();
                    let tools = &self.opened.prompt.tools;
                    // What nobody offered, nobody runs.
                    let offered =
                        |call: &ToolCall| tools.iter().any(|tool| tool.function.name == call.function.name);
                    let named = calls.into_iter().filter(offered).enumerate().map(|(at, call)| {
                        match call.id.as_str() {
                            // Native models give none.
                            "" => ToolCall { id: format!("call_{now:x}_{at}"), ..call },
                            _ => call,
                        }
                    });
                    self.calls.extend(named);
                    continue;
                }
                Some(Some(Ok(Generated::Usage(usage)))) => {
                    self.usage = Some(usage);
                    continue;
                }
                Some(Some(Ok(Generated::Done(finish)))) => Step::End(Ok(self.finish(finish))),
            };
        }
    }

    fn finish(&self, finish: Finish) -> Finish {
        // Native Workers AI streams do not say why they ended.
        let room = u64::from(self.opened.prompt.max_tokens);
        match finish {
            Finish::Stop if !self.calls.is_empty() => Finish::ToolCalls,
            Finish::Stop if self.usage.is_some_and(|usage| usage.completion_tokens >= room) => Finish::Length,
            finish => finish,
        }
    }

    pub(super) fn model(&self) -> &str {
        &self.opened.prompt.model
    }

    /// Tokens that the model says it used, or our own count.
    pub(super) fn usage(&self) -> (Usage, bool) {
        if let Some(usage) = self.usage {
            return (usage, false);
        }
        let prompt_tokens = self.opened.prompt_tokens as u64;
        let completion_tokens = cl100k::count(&self.text) as u64;
        let total_tokens = prompt_tokens + completion_tokens;
        (Usage { prompt_tokens, completion_tokens, total_tokens, cached_tokens: 0 }, true)
    }
}

/// A generation on its way to the reader.
struct Run<P: Ports> {
    reading: Reading<P>,
    output: Output,
    search: SearchUsage,
    ready: VecDeque<AnswerEvent>,
    ending: Ending,
    ended: bool,
}

impl<P: Ports> Run<P> {
    async fn next(mut self) -> Option<(AnswerEvent, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((event, self));
            }
            if self.ended {
                return None;
            }
            match self.reading.next().await {
                Step::Delta(delta) => {
                    let steps = self.output.push(&delta);
                    take(steps, &mut self.ending, &mut self.ready);
                }
                Step::Gateway(gateway) => self.ending.gateway = Some(gateway),
                Step::End(end) => self.end(end),
            }
        }
    }

    fn end(&mut self, end: Result<Finish, Error>) {
        self.ended = true;
        let steps = self.output.finish();
        take(steps, &mut self.ending, &mut self.ready);
        let calls = std::mem::take(&mut self.reading.calls);
        self.ending.uncited = self.ending.cited.is_empty() && calls.is_empty();
        if !calls.is_empty() {
            self.ready.push_back(AnswerEvent::ToolCalls(calls));
        }
        let (tokens, estimated) = self.reading.usage();
        let usage = AnswerUsage::new(tokens, self.ending.paid(self.reading.model()), &self.search);
        self.ready.push_back(AnswerEvent::Usage(AnswerUsage { estimated, ..usage }));
        self.ready.push_back(match end {
            Err(error) => AnswerEvent::Error(error),
            Ok(finish) => {
                self.ending.finish_reason = finish;
                AnswerEvent::Done(self.ending.clone())
            }
        });
    }
}
