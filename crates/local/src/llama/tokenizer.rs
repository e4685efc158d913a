//! The byte-level BPE tokenizer that a GGUF file carries.
//!
//! Control tokens (`<|im_start|>` and the like) are found only in text the caller declares to be template text; in
//! ordinary text the same characters are plain characters, so a document cannot end a turn or start another.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::{Content, Value};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer};

use crate::error::{Error, Result};

/// The pre-tokenizer of Llama 3, from its published tokenizer file.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// GGUF token types (llama.cpp, `llama_token_type`): 3 is a control token.
const CONTROL: i64 = 3;

/// A tokenizer built from GGUF metadata.
#[derive(Debug)]
pub struct GgufTokenizer {
    bpe: Tokenizer,
    /// The bytes each token stands for; `None` for control tokens.
    bytes: Vec<Option<Vec<u8>>>,
    /// Control tokens, longest first.
    control: Vec<(String, u32)>,
    bos: Option<u32>,
    eos: u32,
    add_bos: bool,
}

impl GgufTokenizer {
    /// Reads `tokenizer.ggml.*`.
    ///
    /// # Errors
    /// [`Error::Model`] when the file holds another kind of tokenizer than byte-level BPE.
    pub fn from_gguf(content: &Content) -> Result<Self> {
        let fail = |e: &dyn std::fmt::Display| Error::model("tokenizer", e);
        let get = |key: &str| {
            content
                .metadata
                .get(key)
                .ok_or_else(|| Error::model("tokenizer", format!("no {key} in the metadata")))
        };
        let kind = get("tokenizer.ggml.model")?.to_string().map_err(|e| fail(&e))?;
        if kind != "gpt2" {
            return Err(Error::model("tokenizer", format!("kind {kind} is not supported, only gpt2 is")));
        }
        let strings = |key: &str| -> Result<Vec<&str>> {
            let Value::Array(values) = get(key)? else { return Err(fail(&format!("{key} is not a list"))) };
            values
                .iter()
                .map(|v| match v {
                    Value::String(s) => Ok(s.as_str()),
                    _ => Err(fail(&format!("{key} holds something else than strings"))),
                })
                .collect()
        };
        let tokens = strings("tokenizer.ggml.tokens")?;
        let merges = strings("tokenizer.ggml.merges")?
            .into_iter()
            .map(|m| m.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| fail(&"a merge has no space"))?;
        let types: Vec<i64> = match content.metadata.get("tokenizer.ggml.token_type") {
            Some(Value::Array(values)) => values
                .iter()
                .map(|v| v.to_i64().or_else(|_| v.to_i32().map(i64::from)).unwrap_or(1))
                .collect(),
            _ => vec![1; tokens.len()],
        };
        let id = |key: &str| content.metadata.get(key).and_then(|v| v.to_u32().ok());

        let vocabulary: Vocab = tokens.iter().enumerate().map(|(i, t)| ((*t).to_owned(), i as u32)).collect();
        let model = BPE::builder().vocab_and_merges(vocabulary, merges).build().map_err(|e| fail(&e))?;
        let mut bpe = Tokenizer::new(model);
        let pre = content.metadata.get("tokenizer.ggml.pre").and_then(|v| v.to_string().ok());
        bpe.with_pre_tokenizer(Some(pre_tokenizer(pre.map_or("default", String::as_str))?));

        let alphabet = byte_alphabet();
        let is_control = |i: usize| types.get(i) == Some(&CONTROL);
        let bytes = tokens
            .iter()
            .enumerate()
            .map(|(i, token)| {
                (!is_control(i)).then(|| {
                    let known: Option<Vec<u8>> = token.chars().map(|c| alphabet.get(&c).copied()).collect();
                    known.unwrap_or_else(|| token.as_bytes().to_vec())
                })
            })
            .collect();
        let mut control: Vec<(String, u32)> = tokens
            .iter()
            .enumerate()
            .filter(|(i, token)| is_control(*i) && !token.is_empty())
            .map(|(i, token)| ((*token).to_owned(), i as u32))
            .collect();
        control.sort_by_key(|(token, _)| std::cmp::Reverse(token.len()));
        Ok(Self {
            bpe,
            bytes,
            control,
            bos: id("tokenizer.ggml.bos_token_id"),
            eos: id("tokenizer.ggml.eos_token_id").ok_or_else(|| fail(&"no end-of-text token"))?,
            add_bos: content
                .metadata
                .get("tokenizer.ggml.add_bos_token")
                .and_then(|v| v.to_bool().ok())
                .unwrap_or(false),
        })
    }

    /// Tokens of ordinary text: control tokens in it are plain characters.
    ///
    /// # Errors
    /// [`Error::Model`] when the tokenizer fails.
    pub fn encode_text(&self, text: &str, into: &mut Vec<u32>) -> Result<()> {
        if !text.is_empty() {
            let encoding = self.bpe.encode_fast(text, false).map_err(|e| Error::model("tokenizer", e))?;
            into.extend_from_slice(encoding.get_ids());
        }
        Ok(())
    }

    /// Tokens of template text: control tokens in it are control tokens.
    ///
    /// # Errors
    /// [`Error::Model`] when the tokenizer fails.
    pub fn encode_template(&self, mut text: &str, into: &mut Vec<u32>) -> Result<()> {
        while !text.is_empty() {
            // The earliest, and there the longest.
            let found = self
                .control
                .iter()
                .filter_map(|(token, id)| text.find(token.as_str()).map(|at| (at, token.len(), *id)))
                .min_by_key(|&(at, len, _)| (at, std::cmp::Reverse(len)));
            let Some((at, len, id)) = found else { return self.encode_text(text, into) };
            self.encode_text(&text[..at], into)?;
            into.push(id);
            text = &text[at + len..];
        }
        Ok(())
    }

    /// The token every sequence starts with, if the model wants one.
    pub fn start(&self) -> Option<u32> {
        if self.add_bos { self.bos } else { None }
    }

    /// Whether a token ends the answer: the end of text, or any control token (none of them belongs into an answer).
    pub fn ends(&self, token: u32) -> bool {
        token == self.eos || self.bytes.get(token as usize).is_none_or(Option::is_none)
    }

    /// The text of a token as the vocabulary writes it, for templates; empty when there is none.
    pub fn special(&self, which: Special) -> &str {
        let id = match which {
            Special::Start => self.bos,
            Special::End => Some(self.eos),
        };
        let name = |id: u32| self.control.iter().find(|(_, i)| *i == id).map(|(t, _)| t.as_str());
        id.and_then(name).unwrap_or("")
    }

    /// The bytes of a token: not necessarily whole characters. Empty for control tokens.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).and_then(Option::as_deref).unwrap_or(&[])
    }
}

/// The tokens a template may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Beginning of text.
    Start,
    /// End of text.
    End,
}

/// Puts token bytes together to text and lets go only of whole characters.
#[derive(Debug, Default)]
pub struct TextAssembler {
    pending: Vec<u8>,
}

impl TextAssembler {
    /// Adds bytes and returns the characters that are complete now, perhaps none. Bytes that can never become a
    /// character turn into U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.pending[..valid]));
                    let Some(bad) = error.error_len() else {
                        self.pending.drain(..valid);
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending.drain(..valid + bad);
                }
            }
        }
    }

    /// What is left at the end: U+FFFD when a character was cut in the middle.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

/// How llama.cpp's pre-tokenizer names split text (its `llama-vocab.cpp`). An unknown name falls back to GPT-2.
fn pre_tokenizer(name: &str) -> Result<PreTokenizerWrapper> {
    Ok(match name {
        // SmolLM: each digit alone, then GPT-2.
        "smollm" | "starcoder" | "refact" | "command-r" => {
            Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()]).into()
        }
        "llama-bpe" | "llama3" | "llama-v3" => {
            let split =
                Split::new(SplitPattern::Regex(LLAMA3.to_owned()), SplitDelimiterBehavior::Isolated, false)
                    .map_err(|e| Error::model("tokenizer", e))?;
            Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into()
        }
        _ => ByteLevel::new(false, true, true).into(),
    })
}

/// GPT-2's table of printable characters, one for each byte.
fn byte_alphabet() -> HashMap<char, u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut shifted = 0u32;
    (0..=255u8)
        .filter_map(|b| {
            let c = if printable(b) {
                char::from(b)
            } else {
                shifted += 1;
                char::from_u32(255 + shifted)?
            };
            Some((c, b))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_covers_every_byte() {
        let alphabet = byte_alphabet();
        assert_eq!(alphabet.len(), 256);
        assert_eq!((alphabet[&'Ġ'], alphabet[&'Ċ'], alphabet[&'a']), (b' ', b'\n', b'a'));
    }

    #[test]
    fn characters_come_out_whole() {
        let mut text = TextAssembler::default();
        let euro = "€".as_bytes();
        assert_eq!(text.push(&euro[..1]), "");
        assert_eq!(text.push(&euro[1..]), "€");
        assert_eq!(text.push(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(text.push(&euro[..2]), "");
        assert_eq!(text.finish(), "\u{fffd}");
        assert_eq!(text.finish(), "");
    }
}
