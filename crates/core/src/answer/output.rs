//! What of a model's text reaches the reader.
//!
//! A model that read hostile documents may say anything. Six gates stand one behind the other, each a function from text to
//! text that does not depend on the pieces the text comes in and holds back little:
//!
//! 1. markers without a source go (`citations`);
//! 2. links, images and bare URLs that are neither in the sources nor in the question lose their URL ([`links`]);
//! 3. runs of eight words and more of the system prompt go ([`leak`]);
//! 4. links once more: with a run of the prompt, the beginning of code may have gone, and what stood in code is none then;
//! 5. control tokens of chat templates come apart (`prompt::template`);
//! 6. markers are looked at again, and those that are left become citations.
//!
//! Markers come first, so that taking one out cannot put a URL together behind the gate for URLs. Every later gate leaves
//! something where it takes something out, so that nothing new comes together behind it either; the last leaves `…`.
//! Text without any of this passes byte by byte, but for markers that name no source.

mod leak;
mod links;
mod tags;

use super::Source;
use crate::citations::{Checked, CitationFilter};
use crate::prompt::template::Defused;
use leak::Leak;
use links::{Known, Links};
use std::rc::Rc;

/// All gates of one answer.
#[derive(Debug)]
pub struct Output {
    citations: CitationFilter,
    links: Links,
    leak: Leak,
    links_again: Links,
    tokens: Defused,
}

impl Output {
    /// For an answer from these sources to this question under these instructions.
    pub fn new(sources: &[Source], question: &str, system: &str) -> Self {
        let mut known = String::from(question);
        for source in sources {
            let place = source.hit.title.iter().chain(&source.hit.headings).chain([&source.hit.text]);
            for text in place {
                known.push('\n');
                known.push_str(text);
            }
        }
        let leak = Leak::new(system, &known);
        let known = Rc::new(Known::new(known));
        Self {
            citations: CitationFilter::new(sources),
            leak,
            links_again: Links::new(known.clone()),
            links: Links::new(known),
            tokens: Defused::default(),
        }
    }

    /// Takes more of the model's text.
    pub fn push(&mut self, delta: &str) -> Vec<Checked> {
        let text = self.citations.clean(delta);
        let text = self.links.push(&text);
        let text = self.leak.push(&text);
        let text = self.links_again.push(&text);
        let text = self.tokens.push(&text);
        self.citations.cite(&text)
    }

    /// What was held back when the text ended.
    pub fn finish(&mut self) -> Vec<Checked> {
        let text = self.citations.clean_rest();
        let text = self.links.push(&text) + &self.links.finish();
        let text = self.leak.push(&text) + &self.leak.finish();
        let text = self.links_again.push(&text) + &self.links_again.finish();
        let text = self.tokens.push(&text) + &self.tokens.finish();
        let mut steps = self.citations.cite(&text);
        steps.extend(self.citations.cite_rest());
        steps
    }
}
