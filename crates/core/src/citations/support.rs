//! How much of what an answer says its source says, by words.

use super::sentences;
use crate::answer::Source;
use crate::keyword;
use std::collections::{BTreeSet, HashMap};

/// How much of a statement's weight a sentence's other words cost it: of two that say it, the shorter one is meant.
const VERBOSITY: f32 = 0.05;
/// The share of the best sentence in [`Support::score`]; the whole passage has the rest.
const SENTENCE_SHARE: f32 = 0.5;

type Terms = BTreeSet<String>;

/// Sources taken apart into sentences and their terms.
#[derive(Debug)]
pub(super) struct Support {
    sources: Vec<Prepared>,
    /// In how many sentences of all sources a term stands.
    sentences_with: HashMap<String, u32>,
    sentences: u32,
}

#[derive(Debug)]
struct Prepared {
    sentences: Vec<(usize, usize, Terms)>,
    terms: Terms,
}

/// What of a source says a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Best {
    /// Bytes of the sentence in the source's text.
    pub(super) sentence: Option<(usize, usize)>,
    /// 0–1.
    pub(super) supported: f32,
}

impl Support {
    pub(super) fn new(sources: &[Source]) -> Self {
        let mut sentences_with: HashMap<String, u32> = HashMap::new();
        let mut sentences = 0;
        let mut prepared = Vec::with_capacity(sources.len());
        for source in sources {
            let text = &source.hit.text;
            let mut own = Vec::new();
            for (from, to) in source.exact_runs() {
                for (start, end) in sentences::spans(&text[from..to]) {
                    let terms: Terms = keyword::terms(&text[from + start..from + end]).into_iter().collect();
                    for term in &terms {
                        *sentences_with.entry(term.clone()).or_default() += 1;
                    }
                    sentences += 1;
                    own.push((from + start, from + end, terms));
                }
            }
            let place = source.hit.title.iter().chain(&source.hit.headings);
            let mut terms: Terms = place.flat_map(|place| keyword::terms(place)).collect();
            terms.extend(own.iter().flat_map(|(_, _, terms)| terms.iter().cloned()));
            prepared.push(Prepared { sentences: own, terms });
        }
        Self { sources: prepared, sentences_with, sentences }
    }

    /// What a term counts: the rarer in the sources, the more (BM25's inverse document frequency over sentences). One that no
    /// source has counts most, since none supports it.
    fn weight(&self, term: &str) -> f32 {
        let with = self.sentences_with.get(term).copied().unwrap_or(0) as f32;
        (1.0 + (self.sentences as f32 - with + 0.5) / (with + 0.5)).ln()
    }

    /// The share of the statement's weight that the source's best sentence has, and that its whole passage has, in equal
    /// parts. Nothing of it in the source: no sentence, and 0.
    pub(super) fn best(&self, source: usize, statement: &str) -> Best {
        let Some(source) = self.sources.get(source) else { return Best::default() };
        let stated: Terms = keyword::terms(statement).into_iter().collect();
        let weigh =
            |terms: &mut dyn Iterator<Item = &String>| terms.map(|term| self.weight(term)).sum::<f32>();
        let whole = weigh(&mut stated.iter());
        if whole <= 0.0 {
            return Best::default();
        }
        let mut best: Option<((usize, usize), f32, f32)> = None;
        for (start, end, terms) in &source.sentences {
            let common = weigh(&mut stated.intersection(terms));
            let other = weigh(&mut terms.difference(&stated));
            let score = common / (whole + VERBOSITY * other);
            if common > 0.0 && best.is_none_or(|(_, _, highest)| score > highest) {
                best = Some(((*start, *end), common / whole, score));
            }
        }
        let passage = weigh(&mut stated.intersection(&source.terms)) / whole;
        let share = best.map_or(0.0, |(_, share, _)| share);
        Best {
            sentence: best.map(|(span, _, _)| span),
            supported: SENTENCE_SHARE * share + (1.0 - SENTENCE_SHARE) * passage,
        }
    }
}

/// The statement a marker stands behind: the text since the last sentence ended, or that sentence if nothing has been said
/// since.
#[derive(Debug, Default)]
pub(super) struct Statement {
    before: String,
    current: String,
}

impl Statement {
    /// More of the answer, markers left out.
    pub(super) fn push(&mut self, text: &str) {
        self.current.push_str(text);
    }

    /// It, if a marker comes now. Sentences are told here and not as text comes, so that nothing depends on the pieces it
    /// comes in.
    pub(super) fn text(&mut self) -> &str {
        while let Some(end) = sentences::end(&self.current, true).filter(|end| *end < self.current.len()) {
            let rest = self.current.split_off(end);
            if self.current.contains(char::is_alphanumeric) {
                std::mem::swap(&mut self.before, &mut self.current);
            }
            rest.trim_start().clone_into(&mut self.current);
        }
        if self.current.contains(char::is_alphanumeric) { &self.current } else { &self.before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_stands_behind_what_was_said_last() {
        let mut statement = Statement::default();
        let mut said = |text: &str| {
            statement.push(text);
            statement.text().to_owned()
        };
        assert_eq!(said("The lamp burns oil "), "The lamp burns oil ");
        assert_eq!(said(". It is 3.5 m high."), "It is 3.5 m high.");
        assert_eq!(said(" "), "It is 3.5 m high.");
        assert_eq!(said("\n\n- Fog "), "- Fog ");
        assert_eq!(said("\n灯塔很高。"), "灯塔很高。");
        assert_eq!(said("它"), "它");
    }
}
