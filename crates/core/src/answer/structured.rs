//! Answers that must be JSON. They are read to their end, checked, asked for once more where they are not what was asked for,
//! and only then shown: what was sent can't be taken back.

mod schema;

use super::ladder::{Opened, patience};
use super::output::Output;
use super::run::{Reading, Step, take};
use super::{AnswerEvent, AnswerUsage, Ending, Prepared, Source};
use crate::citations::Checked;
use crate::pack::prompt_tokens;
use crate::ports::{Finish, Format, Message, Ports, Prompt, Role, TextGenerator, Usage, in_time};
use crate::settings::Settings;
use crate::{Error, Result, Tenant, prices, prompt};
use serde_json::Value;
use std::rc::Rc;

/// Bytes of what is wrong with a reply, as the model is told.
const WRONG_BYTES: usize = 240;
/// Tokens that a second try's prompt has more than the first one's, the reply to it aside. A token has a byte at least.
pub const REPAIR_TOKENS: u64 = 400;
/// Bytes of a schema at most.
const MAX_SCHEMA_BYTES: usize = 32 * 1024;

/// # Errors
/// [`Error::Invalid`] for a schema that is too long, or has what is not checked here.
pub(super) fn check_format(format: &Format) -> Result<()> {
    let Format::JsonSchema(schema) = format else { return Ok(()) };
    let wrong = |message: String| Err(Error::invalid("response_format", message));
    let bytes = schema.to_string().len();
    if bytes > MAX_SCHEMA_BYTES {
        return wrong(format!("the schema has {bytes} bytes; allowed are {MAX_SCHEMA_BYTES}"));
    }
    schema::supported(schema).or_else(wrong)
}

/// What the model is told: not all of them are held to a format by the platform.
pub(super) fn instructions(format: &Format) -> String {
    match format {
        Format::Text => String::new(),
        Format::JsonObject => "\n\nReply with one JSON object and nothing else.".into(),
        Format::JsonSchema(schema) => {
            format!(
                "\n\nReply with JSON of this schema and nothing else. Markers stand within strings.\n{schema}"
            )
        }
    }
}

/// The answer's events.
pub(super) async fn run<P: Ports>(
    ports: Rc<P>,
    settings: Rc<Settings>,
    tenant: Tenant,
    prepared: Prepared,
    opened: Opened<<P::Generator as TextGenerator>::Stream>,
    mut ending: Ending,
) -> Vec<AnswerEvent> {
    let sources = &prepared.sources[..opened.sources];
    let prompt = opened.prompt.clone();
    let gate = |value: &Value| gated(value, sources, &prepared.question, &settings.answer.system_prompt);
    let mut total = Usage::default();
    let mut estimated = false;

    let mut reading = Reading::new(ports.clone(), &settings, opened);
    let mut outcome = read(&mut reading, &mut ending).await;
    let mut count = |reading: &Reading<P>| {
        let (usage, counted) = reading.usage();
        total += usage;
        estimated |= counted;
    };
    count(&reading);
    // Asked again, it would use up the room again.
    let cut = matches!(outcome, Ok(Finish::Length));
    let mut answer = outcome.and_then(|finish| checked(&prompt, finish, &reading.text, &gate));
    if let Err(Error::Format { message }) = &answer
        && !cut
        && let Some(again) = repair(&settings, &prompt, &reading.text, message)
    {
        let asked = ports.generator().generate(&tenant, &again);
        if let Some(Ok(generated)) = in_time(ports.clock(), patience(&settings, &again), asked).await {
            let prompt_tokens = prompt_tokens(&again.messages);
            let opened = Opened { generated, prompt: again, sources: sources.len(), prompt_tokens };
            let mut second = Reading::new(ports.clone(), &settings, opened);
            outcome = read(&mut second, &mut ending).await;
            count(&second);
            ending.degraded.push("format_repaired".into());
            answer = outcome.and_then(|finish| checked(&prompt, finish, &second.text, &gate));
        }
    }
    let usage = AnswerUsage::new(total, ending.paid(&prompt.model), &prepared.usage);
    let usage = AnswerEvent::Usage(AnswerUsage { estimated, ..usage });
    match answer {
        Err(error) => vec![usage, AnswerEvent::Error(error)],
        Ok(steps) => {
            let mut events = Vec::new();
            ending.finish_reason = Finish::Stop;
            take(steps, &mut ending, &mut events);
            ending.uncited = ending.cited.is_empty();
            events.extend([usage, AnswerEvent::Done(ending)]);
            events
        }
    }
}

async fn read<P: Ports>(reading: &mut Reading<P>, ending: &mut Ending) -> Result<Finish> {
    loop {
        match reading.next().await {
            Step::Delta(_) => {}
            Step::Gateway(gateway) => ending.gateway = Some(gateway),
            Step::End(end) => return end,
        }
    }
}

/// What a model is told whose reply is not what was asked for.
fn demand(wrong: &str) -> Message {
    // A list of all that is allowed may be as long as the schema, which the model has anyway.
    let wrong = &wrong[..wrong.floor_char_boundary(WRONG_BYTES)];
    // Documents may have told the model what to write, and names in it stand in what is wrong.
    let wrong = prompt::data(wrong);
    Message::new(Role::User, format!("That is not what was asked for: {wrong}. Reply with the JSON alone."))
}

/// The prompt with the reply and what is wrong with it; `None` where that does not fit.
fn repair(settings: &Settings, first: &Prompt, reply: &str, wrong: &str) -> Option<Prompt> {
    let mut again = first.clone();
    // A list of all that is allowed may be as long as the schema, which the model has anyway.
    again.messages.extend([Message::new(Role::Assistant, prompt::data(reply)), demand(wrong)]);
    let needed = prompt_tokens(&again.messages) + again.max_tokens as usize;
    // Both prompts and both answer rooms count as one request.
    let both = (needed + prompt_tokens(&first.messages) + first.max_tokens as usize) as u64;
    let limits = &settings.limits;
    let room = u64::from(again.max_tokens);
    let neurons = prices::neurons(&again.model, both - 2 * room, 2 * room).unwrap_or(0.0);
    let allowed = limits.tokens_per_request.is_none_or(|allowed| both <= allowed)
        && limits.neurons_per_request.is_none_or(|allowed| neurons <= allowed);
    (allowed && needed <= settings.answer.window_of(&again.model)).then_some(again)
}

/// A reply as it is shown, when it is what was asked for also after all gates.
fn checked(
    prompt: &Prompt,
    finish: Finish,
    text: &str,
    gate: &impl Fn(&Value) -> (Value, Vec<Checked>),
) -> Result<Vec<Checked>> {
    let wrong = |message: String| Error::Format { message };
    if finish == Finish::Length {
        return Err(wrong(format!(
            "the answer room of {} tokens was used up before its end",
            prompt.max_tokens
        )));
    }
    let value = json_in(text).map_err(wrong)?;
    let (shown, steps) = gate(&value);
    match &prompt.format {
        Some(Format::JsonSchema(schema)) => schema::check(schema, &shown).map_err(wrong)?,
        _ if !shown.is_object() => return Err(wrong("the reply is no JSON object".into())),
        _ => {}
    }
    Ok(steps)
}

/// The JSON in a reply, which may stand in a fence or behind a sentence.
fn json_in(text: &str) -> Result<Value, String> {
    let whole: Result<Value, _> = serde_json::from_str(text.trim());
    let error = match whole {
        Ok(value) => return Ok(value),
        Err(error) => error.to_string(),
    };
    let starts = text.match_indices(['{', '[']).map(|(at, _)| at);
    for start in starts.take(8) {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        if let Some(Ok(value)) = values.next()
            && (value.is_object() || value.as_array().is_some_and(|items| items.iter().any(Value::is_object)))
        {
            return Ok(value);
        }
    }
    Err(format!("the reply is no JSON ({error})"))
}

/// JSON with every string of it behind the gates of answers: as a value, and as text with its citations. It is written anew,
/// so that no escape hides a link.
fn gated(value: &Value, sources: &[Source], question: &str, system: &str) -> (Value, Vec<Checked>) {
    let mut gates = Gates { sources, question, system, steps: Vec::new() };
    let shown = gates.value(value);
    (shown, gates.steps)
}

struct Gates<'a> {
    sources: &'a [Source],
    question: &'a str,
    system: &'a str,
    steps: Vec<Checked>,
}

impl Gates<'_> {
    fn write(&mut self, text: &str) {
        match self.steps.last_mut() {
            Some(Checked::Text(last)) => last.push_str(text),
            _ => self.steps.push(Checked::Text(text.to_owned())),
        }
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.string(text)),
            Value::Array(items) => {
                let mut shown = Vec::with_capacity(items.len());
                self.write("[");
                for (at, item) in items.iter().enumerate() {
                    self.write(if at > 0 { "," } else { "" });
                    shown.push(self.value(item));
                }
                self.write("]");
                Value::Array(shown)
            }
            Value::Object(members) => {
                let mut shown = serde_json::Map::new();
                self.write("{");
                for (at, (name, member)) in members.iter().enumerate() {
                    self.write(if at > 0 { "," } else { "" });
                    let name = self.string(name);
                    self.write(":");
                    let member = self.value(member);
                    shown.insert(name, member);
                }
                self.write("}");
                Value::Object(shown)
            }
            other => {
                self.write(&other.to_string());
                other.clone()
            }
        }
    }

    fn string(&mut self, text: &str) -> String {
        self.write("\"");
        let mut shown = String::new();
        for step in self.gate(text) {
            match step {
                Checked::Text(text) => {
                    let quoted = Value::from(text.as_str()).to_string();
                    self.write(&quoted[1..quoted.len() - 1]);
                    shown.push_str(&text);
                }
                citation @ Checked::Citation(_) => self.steps.push(citation),
            }
        }
        self.write("\"");
        shown
    }

    fn gate(&self, text: &str) -> Vec<Checked> {
        // Making the gates costs more than a short word is worth, which holds nothing of what they look for.
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ');
        if text.len() <= 32 && text.chars().all(plain) {
            return vec![Checked::Text(text.to_owned())];
        }
        let mut output = Output::new(self.sources, self.question, self.system);
        let mut steps = output.push(text);
        steps.extend(output.finish());
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_second_try_costs_no_more_than_is_reserved() {
        for wrong in
            ["<|eot_id|>", "\u{1f469}\u{200d}\u{1f467}", "\u{1d54f}", "[INST]", "[S1]", "a", "\u{202e}"]
        {
            let said = demand(&wrong.repeat(1000));
            let more = prompt_tokens(&[Message::new(Role::Assistant, ""), said.clone()]);
            assert!(more as u64 <= REPAIR_TOKENS, "{more}: {}", said.content);
        }
    }

    #[test]
    fn json_is_found_in_what_models_put_around_it() {
        let expected = json!({"a": 1});
        for text in
            ["{\"a\": 1}", " {\"a\":1}\n", "```json\n{\"a\": 1}\n```", "Here [S1] you are: {\"a\": 1} Enjoy!"]
        {
            assert_eq!(json_in(text).as_ref(), Ok(&expected), "{text}");
        }
        for text in ["", "no", "{\"a\": ", "[S1]"] {
            assert!(json_in(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_escape_hides_a_link_or_a_marker_without_a_source() {
        let value: Value = serde_json::from_str(
            r#"{"text": "see \u0068ttps:\/\/evil.example\/x [S7] \u005bS9]", "n": [1.5, null]}"#,
        )
        .unwrap();
        let (shown, steps) = gated(&value, &[], "", "");
        let text: String = steps
            .iter()
            .map(|step| match step {
                Checked::Text(text) => text.as_str(),
                Checked::Citation(_) => "",
            })
            .collect();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), shown);
        assert!(!text.contains("evil.example") && !text.contains("[S"), "{text}");
        assert_eq!(shown["n"], json!([1.5, null]));
    }
}
