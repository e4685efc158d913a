//! Where chunks end, against `text-splitter` with the same limit in the same tokens.
//!
//! It cut the blocks that overflow a chunk here once, and is the peer now: it brings 0.9 MB of tables into a Worker and
//! counts the same text again and again.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::ops::Range;

use ragflare_core::chunk::{ChunkSettings, Chunker, Format};
use ragflare_core::tokens::WordPiece;
use text_splitter::{ChunkConfig, ChunkSizer, MarkdownSplitter, TextSplitter};

struct Tokens;

impl ChunkSizer for Tokens {
    fn size(&self, chunk: &str) -> usize {
        WordPiece::count(chunk)
    }
}

/// A text and where its sentences are.
#[derive(Default)]
struct Document {
    text: String,
    sentences: Vec<Range<usize>>,
    seed: usize,
}

impl Document {
    fn random(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    /// Adds a sentence of 5 to 24 words with what looks like the end of one.
    fn sentence(&mut self) {
        const WORDS: [&str; 12] = [
            "harbour",
            "of the",
            "Dr. Smith",
            "light",
            "No. 5",
            "water, and",
            "stone",
            "vs. Rovers",
            "U.S. Navy",
            "which",
            "J. R. Miller",
            "(at night)",
        ];
        let start = self.text.len();
        self.text.push_str("The");
        for _ in 0..4 + self.random(20) {
            let word = WORDS[self.random(WORDS.len())];
            self.text.push(' ');
            self.text.push_str(word);
        }
        let last = self.random(3);
        self.text.push_str(["lamp.", "tower!", "sea?"][last]);
        self.sentences.push(start..self.text.len());
    }

    fn sentences(&mut self, count: usize, between: &str) {
        for number in 0..count {
            if number > 0 {
                self.text.push_str(between);
            }
            self.sentence();
        }
    }

    /// Paragraphs on lines of their own, some below a title.
    fn lines() -> Self {
        let mut document = Self::default();
        for number in 0..60 {
            if document.random(4) == 0 {
                let _ = writeln!(document.text, "= Part {number} =");
            }
            let count = 2 + document.random(9);
            document.sentences(count, " ");
            document.text.push('\n');
        }
        document
    }

    /// Paragraphs between blank lines, in lines of 80 bytes at most.
    fn wrapped() -> Self {
        let mut document = Self::default();
        for _ in 0..40 {
            let from = document.text.len();
            let count = 4 + document.random(16);
            document.sentences(count, " ");
            let (mut line, mut last) = (from, from);
            for (offset, _) in document.text.clone()[from..].match_indices(' ') {
                let at = from + offset;
                if at - line > 80 && last > line {
                    document.text.replace_range(last..=last, "\n");
                    line = last + 1;
                }
                last = at;
            }
            document.text.push_str("\n\n");
        }
        document
    }

    /// Messages of a conversation, as JSON on one line.
    fn json() -> Self {
        let mut document = Self { text: "[".into(), ..Self::default() };
        for _ in 0..40 {
            document.text.push_str("{\"role\": \"user\", \"content\": \"");
            for _ in 0..=document.random(3) {
                let count = 1 + document.random(6);
                document.sentences(count, " ");
                document.text.push_str("\\n\\n");
            }
            document.text.push_str("\"}, ");
        }
        document.text.push(']');
        document
    }

    /// How many sentences have one of the borders inside.
    fn cut_by(&self, borders: &[usize]) -> usize {
        let is_cut = |sentence: &&Range<usize>| {
            borders.iter().any(|border| (sentence.start + 1..sentence.end).contains(border))
        };
        self.sentences.iter().filter(is_cut).count()
    }
}

#[test]
fn fewer_sentences_are_cut_than_by_text_splitter() {
    for (name, document) in
        [("lines", Document::lines()), ("wrapped", Document::wrapped()), ("JSON", Document::json())]
    {
        let text = &document.text;
        for target in [100, 200, 400] {
            let settings = ChunkSettings { target, ..ChunkSettings::default() };
            let ours = Chunker::new(settings).unwrap().chunks(text, Format::Markdown);
            let ours: Vec<usize> = ours.iter().map(|chunk| chunk.end).collect();
            let config = || ChunkConfig::new(target).with_sizer(Tokens);
            let end = |(start, chunk): (usize, &str)| start + chunk.len();
            let markdown: Vec<usize> = MarkdownSplitter::new(config()).chunk_indices(text).map(end).collect();
            let plain: Vec<usize> = TextSplitter::new(config()).chunk_indices(text).map(end).collect();
            let cut = [&ours, &markdown, &plain].map(|borders| document.cut_by(borders));
            println!(
                "{name:8} {target}: {} sentences, {} chunks cut {}; Markdown {}, {}; text {}, {}",
                document.sentences.len(),
                ours.len(),
                cut[0],
                markdown.len(),
                cut[1],
                plain.len(),
                cut[2]
            );
            assert!(2 * cut[0] <= cut[1].min(cut[2]), "{name}, {target}: {cut:?}");
        }
    }
}
