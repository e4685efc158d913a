//! Ranges of characters, and how well retrieved ones cover wanted ones.

/// A range of characters (Unicode code points) of a document, by its index in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// The document.
    pub document: usize,
    /// First character.
    pub start: usize,
    /// Character after the last.
    pub end: usize,
}

impl Span {
    /// Its characters.
    pub(crate) fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    fn intersection(self, other: Self) -> Option<Self> {
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        (self.document == other.document && start < end).then_some(Self { start, end, ..self })
    }
}

/// Characters in any of the spans, each counted once.
pub(crate) fn union_len(spans: &[Span]) -> usize {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable();
    let (mut length, mut reached) = (0, (usize::MAX, 0));
    for span in sorted {
        if span.document != reached.0 {
            reached = (span.document, 0);
        }
        length += span.end.saturating_sub(span.start.max(reached.1));
        reached.1 = reached.1.max(span.end);
    }
    length
}

/// Characters that lie in one of `left` and in one of `right`, each counted once.
pub(crate) fn overlap_len(left: &[Span], right: &[Span]) -> usize {
    union_len(&intersections(left, right))
}

fn intersections(left: &[Span], right: &[Span]) -> Vec<Span> {
    left.iter().flat_map(|one| right.iter().filter_map(|other| one.intersection(*other))).collect()
}

/// How well chunks cover references: the measures of Chroma's report "Evaluating Chunking Strategies for Retrieval".
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Coverage {
    /// Covered characters of the references / all of them.
    pub recall: f64,
    /// Covered characters / characters retrieved; what overlaps counts twice.
    pub precision: f64,
    /// Covered characters / (characters retrieved + characters of references not covered).
    pub iou: f64,
}

impl Coverage {
    /// Of the retrieved chunks over a question's references.
    pub(crate) fn of(chunks: &[Span], references: &[Span]) -> Self {
        let covered = overlap_len(chunks, references) as f64;
        let retrieved = chunks.iter().map(|chunk| chunk.len()).sum::<usize>() as f64;
        let wanted = references.iter().map(|reference| reference.len()).sum::<usize>() as f64;
        let missed = union_len(references) as f64 - covered;
        Self {
            recall: ratio(covered, wanted),
            precision: ratio(covered, retrieved),
            iou: ratio(covered, retrieved + missed),
        }
    }
}

/// `PrecisionΩ`: the `IoU` if exactly those of `all` chunks were retrieved that touch a reference. It depends on the
/// chunker only.
pub(crate) fn precision_omega(all: &[Span], references: &[Span]) -> f64 {
    let touches = |chunk: &&Span| references.iter().any(|reference| chunk.intersection(*reference).is_some());
    let touching: Vec<Span> = all.iter().filter(touches).copied().collect();
    let covered = overlap_len(&touching, references) as f64;
    let missed = union_len(references) as f64 - covered;
    ratio(covered, union_len(&touching) as f64 + missed)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// From byte offsets of a text to its characters and back.
#[derive(Debug)]
pub(crate) struct CharIndex {
    /// The byte at which each character begins, and the length of the text.
    bytes: Vec<u32>,
}

impl CharIndex {
    /// Of a text under 4 GB.
    pub(crate) fn new(text: &str) -> Self {
        let ends = std::iter::once(text.len() as u32);
        Self { bytes: text.char_indices().map(|(byte, _)| byte as u32).chain(ends).collect() }
    }

    /// The number of characters before a byte.
    pub(crate) fn character(&self, byte: u64) -> usize {
        self.bytes.partition_point(|start| u64::from(*start) < byte)
    }

    /// The text between two characters.
    pub(crate) fn slice<'t>(&self, text: &'t str, start: usize, end: usize) -> Option<&'t str> {
        text.get(*self.bytes.get(start)? as usize..*self.bytes.get(end)? as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: usize, end: usize) -> Span {
        Span { document: 0, start, end }
    }

    #[test]
    fn unions_count_each_character_once() {
        assert_eq!(union_len(&[span(5, 9), span(0, 3), span(2, 6)]), 9);
        assert_eq!(union_len(&[span(0, 3), Span { document: 1, ..span(0, 3) }, span(1, 2)]), 6);
        assert_eq!(union_len(&[]), 0);
    }

    #[test]
    fn coverage_by_hand() {
        // References 10–20 and 40–50; retrieved 0–15, 10–30 (they overlap) and one of another document.
        let chunks = [span(0, 15), span(10, 30), Span { document: 1, ..span(0, 10) }];
        let coverage = Coverage::of(&chunks, &[span(10, 20), span(40, 50)]);
        assert!((coverage.recall - 10.0 / 20.0).abs() < 1e-12);
        assert!((coverage.precision - 10.0 / 45.0).abs() < 1e-12);
        assert!((coverage.iou - 10.0 / (45.0 + 10.0)).abs() < 1e-12);
    }

    #[test]
    fn precision_omega_by_hand() {
        // Chunks of 20; the reference 15–45 touches three of them: 30 / 60.
        let all: Vec<Span> = (0..5).map(|n| span(n * 20, n * 20 + 20)).collect();
        assert!((precision_omega(&all, &[span(15, 45)]) - 0.5).abs() < 1e-12);
        // What no chunk covers counts in the denominator: 5 / (20 + 10).
        assert!((precision_omega(&all, &[span(95, 110)]) - 5.0 / 30.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_retrieved_is_zero() {
        let coverage = Coverage::of(&[], &[span(0, 5)]);
        assert_eq!((coverage.recall, coverage.precision, coverage.iou), (0.0, 0.0, 0.0));
    }

    #[test]
    fn bytes_become_characters() {
        let text = "aé😀z";
        let index = CharIndex::new(text);
        assert_eq!([0, 1, 3, 7, 8].map(|byte| index.character(byte)), [0, 1, 2, 3, 4]);
        assert_eq!(index.slice(text, 1, 3), Some("é😀"));
        assert_eq!(index.slice(text, 0, 9), None);
    }
}
