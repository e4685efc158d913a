//! An answer without a model: what the sources say, word by word.

use super::Source;
use super::output::Output;
use crate::citations::{self, Checked};
use crate::prompt;
use std::fmt::Write;

/// Sources that are quoted.
const QUOTES: usize = 3;
/// Characters of a quote at most.
const QUOTE_CHARS: usize = 400;
/// In English, since it is the service that speaks, not the documents.
const OPENING: &str = "No language model can be reached at the moment. This is what the documents say:\n\n";

/// The text, with its citations.
pub(super) fn quoted(sources: &[Source], question: &str) -> Vec<Checked> {
    let mut text = String::from(OPENING);
    let sentences = citations::sentences_about(sources, question);
    for (source, sentence) in sources.iter().zip(sentences).take(QUOTES) {
        let start = sentence.map_or(0, |(start, _)| start);
        let passage = &source.hit.text[start..];
        // What stands under another heading is another matter.
        let end = passage.find("\n#").unwrap_or(passage.len());
        let quote = line(&passage[..end]);
        // Writing to a text does not fail.
        let _ = write!(text, "> {quote} [S{}]\n\n", source.number);
    }
    let mut output = Output::new(sources, "", "");
    let mut steps = output.push(text.trim_end());
    steps.extend(output.finish());
    steps
}

/// A passage's beginning on one line, without what Markdown would take for code: a marker in code is none.
fn line(passage: &str) -> String {
    let plain = prompt::data(passage).replace(['`', '~'], "");
    let words: Vec<&str> = plain.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(QUOTE_CHARS) {
        None => line,
        Some((end, _)) => {
            let cut = line[..end].rfind(' ').unwrap_or(end);
            format!("{} …", &line[..cut])
        }
    }
}
