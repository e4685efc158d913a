//! A llama-architecture chat model from one GGUF file.

use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use candle_core::quantized::gguf_file::Content;

pub mod matrix;
pub mod network;
pub mod sampler;
pub mod template;
pub mod tokenizer;

pub use sampler::GenerateOptions;
pub use template::Message;

use crate::error::{Error, Result};
use network::{KvCache, Network};
use sampler::Sampler;
use template::ChatTemplate;
use tokenizer::{GgufTokenizer, TextAssembler};

/// Tokens per pass over the prompt. Between passes a generation can be stopped (about 0.3 s on two cores). The passes
/// always begin at multiples of this, so a reused prefix gives exactly the same numbers as a fresh one.
pub const PROMPT_CHUNK: usize = 128;

/// What a generation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of those, tokens taken from the cache of the request before.
    pub cached_tokens: usize,
    /// Tokens generated, the end token not counted.
    pub completion_tokens: usize,
    /// Why it ended.
    pub finish: Finish,
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its answer.
    Stop,
    /// `max_tokens` was reached.
    Length,
    /// The caller lost interest.
    Cancelled,
}

/// A chat model. One generation runs at a time; others wait.
#[derive(Debug)]
pub struct Llama {
    name: String,
    network: Network,
    tokenizer: GgufTokenizer,
    template: ChatTemplate,
    sequence: Mutex<Sequence>,
}

/// The cached keys and values, and the prompt tokens they belong to.
#[derive(Debug)]
struct Sequence {
    cache: KvCache,
    tokens: Vec<u32>,
}

impl Llama {
    /// Loads a GGUF file on `threads` threads.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Model`] when the file is not a llama-architecture model with a byte-level BPE
    /// tokenizer.
    pub fn load(file: &Path, threads: usize) -> Result<Self> {
        let name = file.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let bytes = std::fs::read(file).map_err(|source| Error::Read { path: file.to_owned(), source })?;
        let content = Content::read(&mut Cursor::new(&bytes)).map_err(|e| Error::model(&name, e))?;
        let source = content.metadata.get("tokenizer.chat_template").and_then(|v| v.to_string().ok());
        let template = ChatTemplate::new(source.map(String::as_str))?;
        let (network, tokenizer) = std::thread::scope(|scope| {
            let tokenizer = scope.spawn(|| GgufTokenizer::from_gguf(&content));
            let network = Network::load(&bytes, &content, threads).map_err(|e| Error::model(&name, e))?;
            let tokenizer = tokenizer.join().map_err(|_| Error::model(&name, "loading panicked"))??;
            Ok::<_, Error>((network, tokenizer))
        })?;
        let cache = network.cache().map_err(|e| Error::model(&name, e))?;
        let sequence = Mutex::new(Sequence { cache, tokens: Vec::new() });
        Ok(Self { name, network, tokenizer, template, sequence })
    }

    /// The file's name without its ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The context window in tokens, prompt and answer together.
    pub fn context(&self) -> usize {
        self.network.config().context
    }

    /// The prompt tokens of a conversation, through the model's own chat template.
    ///
    /// # Errors
    /// [`Error::Input`] when the template refuses the conversation.
    pub fn encode_chat(&self, messages: &[Message]) -> Result<Vec<u32>> {
        self.template.encode(messages, &self.tokenizer)
    }

    /// The tokens of a prompt that is already in the model's own format; control tokens in it count.
    ///
    /// # Errors
    /// [`Error::Model`] when the tokenizer fails.
    pub fn encode_raw(&self, prompt: &str) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        self.tokenizer.encode_template(prompt, &mut tokens)?;
        if let Some(start) = self.tokenizer.start().filter(|s| tokens.first() != Some(s)) {
            tokens.insert(0, start);
        }
        Ok(tokens)
    }

    /// The tokens of plain text: control tokens in it are ordinary characters, and nothing is added.
    ///
    /// # Errors
    /// [`Error::Model`] when the tokenizer fails.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        self.tokenizer.encode_text(text, &mut tokens)?;
        Ok(tokens)
    }

    /// Checks that prompt and answer fit the window.
    ///
    /// # Errors
    /// [`Error::ContextWindow`]; [`Error::Input`] for an empty prompt.
    pub fn check_window(&self, prompt: usize, max_tokens: usize) -> Result<()> {
        if prompt == 0 {
            return Err(Error::Input("the prompt is empty".to_owned()));
        }
        if prompt.saturating_add(max_tokens) > self.context() {
            return Err(Error::ContextWindow { prompt, max_tokens, window: self.context() });
        }
        Ok(())
    }

    /// Generates an answer. `on_text` gets each new piece of text (whole characters only) and may stop the generation;
    /// `cancelled` is asked between the passes over the prompt and before each token.
    ///
    /// # Errors
    /// [`Error::ContextWindow`], [`Error::Input`] for an empty prompt, [`Error::Model`] when the model fails.
    pub fn generate(
        &self,
        prompt: &[u32],
        options: &GenerateOptions,
        cancelled: &dyn Fn() -> bool,
        on_text: &mut dyn FnMut(String) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        self.check_window(prompt.len(), options.max_tokens)?;
        let fail = |e: candle_core::Error| Error::model(&self.name, e);
        let mut sequence = self.sequence.lock().unwrap_or_else(PoisonError::into_inner);
        let Sequence { cache, tokens: known } = &mut *sequence;
        let common = known.iter().zip(prompt).take_while(|(a, b)| a == b).count().min(prompt.len() - 1);
        let cached = common / PROMPT_CHUNK * PROMPT_CHUNK;
        known.truncate(cached);
        let mut outcome = Outcome {
            prompt_tokens: prompt.len(),
            cached_tokens: cached,
            completion_tokens: 0,
            finish: Finish::Cancelled,
        };
        let mut logits = Vec::new();
        for chunk in prompt[cached..].chunks(PROMPT_CHUNK) {
            if cancelled() {
                return Ok(outcome);
            }
            logits = self.network.forward(cache, chunk, known.len()).map_err(fail)?;
            known.extend_from_slice(chunk);
        }
        let mut sampler = Sampler::new(options);
        let mut text = TextAssembler::default();
        let mut generated: Vec<u32> = Vec::new();
        outcome.finish = loop {
            if generated.len() >= options.max_tokens {
                break Finish::Length;
            }
            if cancelled() {
                break Finish::Cancelled;
            }
            let token = sampler.pick(&mut logits, prompt, &generated);
            if self.tokenizer.ends(token) {
                break Finish::Stop;
            }
            generated.push(token);
            let piece = text.push(self.tokenizer.bytes(token));
            if !piece.is_empty() && on_text(piece).is_break() {
                break Finish::Cancelled;
            }
            if generated.len() < options.max_tokens {
                let position = prompt.len() + generated.len() - 1;
                logits = self.network.forward(cache, &[token], position).map_err(fail)?;
            }
        };
        outcome.completion_tokens = generated.len();
        let rest = text.finish();
        if !rest.is_empty() && outcome.finish != Finish::Cancelled {
            // The answer is over either way.
            let _ = on_text(rest);
        }
        Ok(outcome)
    }
}
