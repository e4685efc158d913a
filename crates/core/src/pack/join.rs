//! Hits that lie next to each other in their document as one source, and hits that only repeat another.

use crate::answer::ChunkPlace;
use crate::search::Hit;
use crate::{prompt, tokens};
use std::collections::HashSet;
use unicode_segmentation::UnicodeSegmentation;

/// Words in a row that are compared.
const SHINGLE: usize = 5;
/// Share of a text's shingles that another has, in hundredths, from which on it is no new text.
const REPEATED: usize = 90;

/// A source: one hit, or several of one document without anything but blanks between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The passage, from the first byte of the first to the last of the last: title, headings, page and `chunk_id` are those
    /// of the first, scores those of the best. Only the blanks between two that do not overlap may not be the document's:
    /// a line end for a single byte, an empty line for more.
    pub hit: Hit,
    /// The chunks in it, as they follow each other in the document.
    pub parts: Vec<ChunkPlace>,
    /// `cl100k` tokens of it as it stands in the prompt, and one more, since tokens may form differently where two pieces
    /// meet.
    pub tokens: usize,
    /// Where the text jumps in the document: from each of these bytes of the text on it runs as the document does from the
    /// byte beside it.
    pub jumps: Vec<(usize, u64)>,
    /// Position in the document of the last.
    last: Option<u32>,
}

impl Joined {
    fn new(hit: Hit, parts: Vec<ChunkPlace>, jumps: Vec<(usize, u64)>, last: Option<u32>) -> Self {
        // The number's length is all one to the count: up to three digits are a token.
        let tokens = tokens::cl100k::count(&prompt::source(1, &hit)) + 1;
        Self { hit, parts, tokens, jumps, last }
    }
}

/// The sources with one more hit, which is no better than any of theirs. What it makes superfluous makes way for it: of two
/// that say the same the longer stays, in the place of the better.
pub(super) fn add(sources: &[Joined], hit: &Hit) -> Vec<Joined> {
    let mut sources = sources.to_vec();
    let mut place = sources.len();
    let mut added = Joined::new(hit.clone(), vec![ChunkPlace::of(hit)], Vec::new(), ordinal(&hit.chunk_id));
    // It may have a neighbour on either side.
    while let Some((at, both)) =
        sources.iter().enumerate().find_map(|(at, source)| Some((at, joined(source, &added)?)))
    {
        sources.remove(at);
        place = place.min(at);
        added = both;
    }
    while let Some(at) = sources.iter().position(|source| repeats(&source.hit.text, &added.hit.text)) {
        sources.remove(at);
        place = place.min(at);
    }
    sources.insert(place.min(sources.len()), added);
    sources
}

/// Position in the document, the end of a chunk's id.
fn ordinal(chunk_id: &str) -> Option<u32> {
    chunk_id.rsplit_once('.')?.1.parse().ok()
}

/// Both as one, if they are neighbours: their bytes overlap or touch, or one chunk follows the other, and chunks have
/// nothing but blanks between them.
fn joined(one: &Joined, other: &Joined) -> Option<Joined> {
    let (first, second) = if (one.hit.start, one.hit.end) <= (other.hit.start, other.hit.end) {
        (one, other)
    } else {
        (other, one)
    };
    let (left, right) = (&first.hit, &second.hit);
    let follows = first.last.is_some_and(|last| ordinal(&second.parts[0].chunk_id) == last.checked_add(1));
    if left.document_id != right.document_id || !(right.start <= left.end || follows) {
        return None;
    }
    let (mut text, mut jumps) = (left.text.clone(), first.jumps.clone());
    // Where the second's text, without so many bytes of its beginning, goes on.
    let mut go_on = |at: usize, without: usize| {
        let before = second.jumps.iter().rfind(|(jump, _)| *jump <= without).copied();
        let (jump, start) = before.unwrap_or((0, right.start));
        jumps.push((at, start + (without - jump) as u64));
        let later = second.jumps.iter().filter(|(jump, _)| *jump > without);
        jumps.extend(later.map(|(jump, start)| (at + jump - without, *start)));
    };
    if let Some(gap) = right.start.checked_sub(left.end) {
        text.push_str(["", "\n", "\n\n"][gap.min(2) as usize]);
        if gap > 0 || !second.jumps.is_empty() {
            go_on(text.len(), 0);
        }
        text.push_str(&right.text);
    } else {
        // Both have these bytes. That they are the same is checked, not believed.
        let from = usize::try_from(right.start - left.start).ok()?;
        let shared = left.text.get(from..)?;
        let rest = right.text.strip_prefix(shared).or(shared.starts_with(&right.text).then_some(""))?;
        if !rest.is_empty() && !second.jumps.is_empty() {
            go_on(text.len(), shared.len());
        }
        text.push_str(rest);
    }
    let best = if one.hit.score >= other.hit.score { &one.hit } else { &other.hit };
    let end = left.end.max(right.end);
    let hit = Hit { text, end, score: best.score, scores: best.scores, ..left.clone() };
    let parts = first.parts.iter().chain(&second.parts).cloned().collect();
    Some(Joined::new(hit, parts, jumps, first.last.max(second.last)))
}

/// Whether a text says nothing that another has not said: nine tenths of its runs of five words are in the other, and so is
/// every number, since one year's terms differ from the next year's in little else.
pub(super) fn repeats(text: &str, other: &str) -> bool {
    if text == other {
        return true;
    }
    let (words, others) = (words(text), words(other));
    let runs = |words: &[String]| -> HashSet<Vec<String>> {
        words.windows(SHINGLE.min(words.len().max(1))).map(<[String]>::to_vec).collect()
    };
    let (own, known) = (runs(&words), runs(&others));
    let contained = own.iter().filter(|run| known.contains(*run)).count();
    let is_number = |word: &&String| word.contains(|c: char| c.is_numeric());
    contained > 0
        && contained * 100 >= own.len() * REPEATED
        && words.iter().filter(is_number).all(|number| others.contains(number))
}

fn words(text: &str) -> Vec<String> {
    text.unicode_words().map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::DocumentId;
    use crate::search::Scores;

    const TEXT: &str =
        "# Foxes\n\nA fox hunts at night. It sleeps by day.\n\n## Food\n\nMice, mostly. And berries.";

    fn hit(document: &str, ordinal: u32, words: &str) -> Hit {
        let start = TEXT.find(words).unwrap() as u64;
        Hit {
            chunk_id: format!("v{ordinal}.{ordinal}"),
            document_id: DocumentId::new(document).unwrap(),
            title: None,
            text: words.into(),
            start,
            end: start + words.len() as u64,
            page: None,
            rows: None,
            table_header: None,
            sections: Vec::new(),
            places: Vec::new(),
            headings: vec![format!("h{ordinal}")],
            metadata: serde_json::Map::new(),
            score: 1.0 - ordinal as f32 / 10.0,
            scores: Scores::default(),
        }
    }

    fn all(hits: &[Hit]) -> Vec<Joined> {
        hits.iter().fold(Vec::new(), |sources, hit| add(&sources, hit))
    }

    #[test]
    fn neighbours_become_one_with_their_exact_place() {
        let hits = [
            hit("d", 2, "## Food\n\nMice, mostly."),
            hit("other", 0, "# Foxes"),
            hit("d", 0, "# Foxes\n\nA fox hunts at night."),
            hit("d", 1, "It sleeps by day."),
        ];
        let sources = all(&hits);
        assert_eq!(sources.len(), 2);
        let food = &sources[0];
        let ids: Vec<&str> = food.parts.iter().map(|part| part.chunk_id.as_str()).collect();
        assert_eq!(ids, ["v0.0", "v1.1", "v2.2"]);
        assert_eq!(
            (food.hit.chunk_id.as_str(), food.hit.start, food.hit.headings[0].as_str()),
            ("v0.0", 0, "h0")
        );
        let own = &TEXT[..food.hit.end as usize];
        assert_eq!(food.hit.text.replace('\n', " "), own.replace('\n', " "), "but for the kind of blank");
        assert!((food.hit.score - 1.0).abs() < 1e-6);
        assert_eq!(sources[1].hit.document_id.as_str(), "other");
    }

    #[test]
    fn what_two_chunks_share_stands_once() {
        let sources =
            all(&[hit("d", 1, "at night. It sleeps by day."), hit("d", 0, "A fox hunts at night.")]);
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].hit.text, "A fox hunts at night. It sleeps by day.");
        let inner = all(&[hit("d", 0, "A fox hunts at night."), hit("d", 5, "fox hunts")]);
        assert_eq!((inner.len(), inner[0].hit.text.as_str()), (1, "A fox hunts at night."));
    }

    #[test]
    fn strangers_stay_apart() {
        let gap = [hit("d", 0, "# Foxes"), hit("d", 2, "It sleeps by day.")];
        assert_eq!(all(&gap).len(), 2, "a chunk lies between");
        let mut false_span = hit("d", 1, "It sleeps by day.");
        false_span.start = 3;
        assert_eq!(
            all(&[hit("d", 0, "# Foxes\n\nA fox"), false_span]).len(),
            2,
            "other text at the same bytes"
        );
        assert_eq!(all(&[hit("d", 0, "# Foxes"), hit("e", 1, "A fox hunts")]).len(), 2);
    }

    #[test]
    fn a_repetition_is_told_from_another_number() {
        let text = |year: u32, extra: &str| {
            format!("The notice period is three months to the end of a quarter, as agreed in {year}. {extra}")
        };
        assert!(repeats(&text(2023, ""), &text(2023, "Both sides signed.")));
        assert!(!repeats(&text(2023, "Both sides signed it in the presence of a witness."), &text(2023, "")));
        let long =
            |year: u32| format!("{} {}", "one two three four five six seven eight nine ten ".repeat(5), year);
        assert!(!repeats(&long(2024), &long(2023)), "another year");
        assert!(repeats("Yes.", "yes") && !repeats("Yes.", "no") && !repeats("...", "---"));
    }
}
