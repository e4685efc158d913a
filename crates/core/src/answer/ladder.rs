//! Who answers. The model that was asked for; where it does not, the fallback; then the external service; each with a prompt
//! that its window takes. Tries of one model are the port's own concern.

use super::Prepared;
use crate::ports::{Ports, Prompt, TextGenerator, in_time};
use crate::search::Hit;
use crate::settings::Settings;
use crate::{Error, Result, Retry, Tenant};

/// A token of a large model that is busy: 20 a second.
const MS_PER_TOKEN: u32 = 50;

/// A generation under way.
#[derive(Debug)]
pub(super) struct Opened<S> {
    pub(super) generated: S,
    /// What was asked, of whom.
    pub(super) prompt: Prompt,
    /// How many of the sources are in it, the first ones.
    pub(super) sources: usize,
    /// Tokens of the prompt, as counted before sending.
    pub(super) prompt_tokens: usize,
}

/// A model and what it is called where one had to do without it.
struct Rung<'a> {
    model: &'a str,
    name: &'static str,
    external: bool,
}

fn rungs<'a>(settings: &'a Settings, asked: &'a str) -> Vec<Rung<'a>> {
    let answer = &settings.answer;
    let external = answer.external.as_ref().map(|external| external.model.as_str());
    let mut rungs = vec![Rung { model: asked, name: "model", external: external == Some(asked) }];
    if answer.fallback_model != asked {
        rungs.push(Rung { model: &answer.fallback_model, name: "fallback_model", external: false });
    }
    if let Some(model) = external.filter(|model| *model != asked) {
        rungs.push(Rung { model, name: "external_model", external: true });
    }
    rungs
}

/// Asks one model after the other. `degraded` gets the names of those that failed.
///
/// # Errors
/// The first model's, when all fail.
pub(super) async fn open<P: Ports>(
    ports: &P,
    settings: &Settings,
    tenant: &Tenant,
    prepared: &Prepared,
    first: &Prompt,
    degraded: &mut Vec<String>,
) -> Result<Opened<<P::Generator as TextGenerator>::Stream>> {
    let mut failure: Option<Error> = None;
    for rung in rungs(settings, &first.model) {
        // The day's neurons are the account's: another of its models has none either.
        let used_up = failure.as_ref().is_some_and(|error| error.retry() == Retry::AfterMidnightUtc);
        let fitted =
            if used_up && !rung.external { None } else { fitted(settings, prepared, first, rung.model) };
        let Some((prompt, sources, prompt_tokens)) = fitted else {
            degraded.push(rung.name.to_owned());
            continue;
        };
        let asked = ports.generator().generate(tenant, &prompt);
        let patience = patience(settings, &prompt);
        let error = match in_time(ports.clock(), patience, asked).await {
            Some(Ok(generated)) => return Ok(Opened { generated, prompt, sources, prompt_tokens }),
            Some(Err(error)) => error,
            None => silent(patience),
        };
        degraded.push(rung.name.to_owned());
        failure.get_or_insert(error);
    }
    Err(failure.unwrap_or_else(|| silent(settings.answer.timeout_ms)))
}

/// The prompt as a model's window takes it, how many sources are in it, and its tokens.
fn fitted(
    settings: &Settings,
    prepared: &Prepared,
    first: &Prompt,
    model: &str,
) -> Option<(Prompt, usize, usize)> {
    if model == first.model {
        return Some((first.clone(), prepared.sources.len(), prepared.prompt_tokens));
    }
    let hits: Vec<&Hit> = prepared.sources.iter().map(|source| &source.hit).collect();
    let available = settings.answer.window_of(model).checked_sub(first.max_tokens as usize)?;
    let refit = prepared.talk.refit(available, &hits)?;
    // A fine-tune is one of the model it was asked of.
    let prompt = Prompt { model: model.to_owned(), messages: refit.messages, lora: None, ..first.clone() };
    Some((prompt, refit.sources, refit.tokens))
}

/// How long a model may take to say something, in milliseconds. JSON mode does not stream: its first word comes with the last.
pub(super) fn patience(settings: &Settings, prompt: &Prompt) -> u32 {
    let whole = if prompt.format.is_some() { prompt.max_tokens.saturating_mul(MS_PER_TOKEN) } else { 0 };
    settings.answer.timeout_ms.saturating_add(whole)
}

pub(super) fn silent(milliseconds: u32) -> Error {
    Error::Service {
        service: "generator",
        retry: Retry::Backoff,
        code: None,
        message: format!("the model said nothing for {milliseconds} ms"),
    }
}
