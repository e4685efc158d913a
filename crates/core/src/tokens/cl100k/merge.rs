//! Byte-pair encoding of a piece: as long as two neighbouring parts make a token, the two whose token has the
//! lowest rank become one, the leftmost first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::vocabulary::{LONGEST, NONE, Vocabulary};

/// Below this many bytes, searching all ranks for the lowest is faster than a heap.
const SHORT: usize = 64;

/// Long parts are encoded in windows of this many bytes: they stay in the cache, and memory is bounded.
pub(super) const WINDOW: usize = 4096;

/// The last tokens of a window may come out differently with more text behind them. With this many left to
/// the next window it was never seen; with 3 it happened in random rows of `a` and `b`.
pub(super) const MARGIN: usize = 8;
const _: () = assert!(WINDOW / LONGEST > MARGIN + 1);

/// The number of tokens of a piece.
#[inline]
pub(super) fn count(vocabulary: &Vocabulary, text: &[u8], piece: Range<usize>) -> usize {
    if piece.len() == 1 || is_token(vocabulary, text, &piece) {
        1
    } else {
        count_parts(vocabulary, text, piece)
    }
}

/// No token reaches over some borders: what is between two of them is encoded alone. In Chinese that is every
/// character or two, elsewhere mostly the whole piece.
#[inline(never)]
fn count_parts(vocabulary: &Vocabulary, text: &[u8], piece: Range<usize>) -> usize {
    let mut count = 0;
    let mut start = piece.start;
    for end in piece.start + 1..piece.end {
        if !Vocabulary::pair(text[end - 1], text[end]).1 {
            count += count_part(vocabulary, text, start..end);
            start = end;
        }
    }
    count + count_part(vocabulary, text, start..piece.end)
}

/// A token is always encoded as itself (a test sees to it), so there is nothing to do for one.
#[inline]
fn is_token(vocabulary: &Vocabulary, text: &[u8], part: &Range<usize>) -> bool {
    part.len() <= LONGEST && vocabulary.rank(text, part.start, part.end) != NONE
}

fn count_part(vocabulary: &Vocabulary, text: &[u8], part: Range<usize>) -> usize {
    match part.len() {
        1 => 1,
        _ if is_token(vocabulary, text, &part) => 1,
        2 => 2,
        // Most are as short as this, and encoded faster than longer arrays are filled.
        3..16 => count_short::<16>(vocabulary, text, part),
        16..SHORT => count_short::<SHORT>(vocabulary, text, part),
        _ => count_long(vocabulary, &text[part], WINDOW, MARGIN),
    }
}

/// For parts of less than `MAX` bytes.
fn count_short<const MAX: usize>(vocabulary: &Vocabulary, text: &[u8], part: Range<usize>) -> usize {
    let mut count = part.len();
    // Where the parts begin, in bytes from the first, and where the last ends.
    let mut starts: [u8; MAX] = std::array::from_fn(|at| at as u8);
    let rank = |starts: &[u8; MAX], at: usize| {
        let [start, end] = [starts[at], starts[at + 2]].map(|start| part.start + usize::from(start));
        vocabulary.rank(text, start, end)
    };
    // The ranks of each part with the next one.
    let mut ranks = [NONE; MAX];
    for (slot, pair) in ranks.iter_mut().zip(text[part.start..part.end].windows(2)) {
        *slot = Vocabulary::pair(pair[0], pair[1]).0;
    }
    loop {
        let (mut at, mut lowest) = (0, NONE);
        for (position, &rank) in ranks[..count - 1].iter().enumerate() {
            if rank < lowest {
                (at, lowest) = (position, rank);
            }
        }
        if lowest == NONE {
            return count;
        }
        starts.copy_within(at + 2..=count, at + 1);
        ranks.copy_within(at + 1..count - 1, at);
        count -= 1;
        if at + 1 < count {
            ranks[at] = rank(&starts, at);
        }
        if at > 0 {
            ranks[at - 1] = rank(&starts, at - 1);
        }
    }
}

/// For parts of any length.
///
/// A row of tokens is how its bytes are encoded if every two neighbours in it are how theirs are (the README
/// of the `bpe` crate proves it). So the tokens of two windows, the second of which begins where the kept
/// tokens of the first end, go together if both windows agree on the token after that border. If not, the
/// part is encoded as a whole: n log n, for a text made for it.
pub(super) fn count_long(vocabulary: &Vocabulary, part: &[u8], window: usize, margin: usize) -> usize {
    let mut count = 0;
    let mut start = 0;
    let mut common = None;
    loop {
        let end = part.len().min(start + window);
        let ends = ends_of_tokens(vocabulary, &part[start..end]);
        if common.is_some_and(|end| end != start + ends[0]) {
            return ends_of_tokens(vocabulary, part).len();
        }
        if end == part.len() {
            return count + ends.len();
        }
        let kept = ends.len() - margin;
        count += kept;
        common = Some(start + ends[kept]);
        start += ends[kept - 1];
    }
}

/// Where the tokens of a text end. Every merge takes one part away and looks two ranks up, and what is looked
/// up is put on the heap and taken off at most once: 3 n look-ups, n log n in all.
pub(super) fn ends_of_tokens(vocabulary: &Vocabulary, text: &[u8]) -> Vec<usize> {
    let len = text.len();
    let parts = (0..len).map(|at| Part { end: at + 1, previous: at.saturating_sub(1), rank: NONE }).collect();
    let mut encoding = Encoding { vocabulary, text, parts, heap: BinaryHeap::with_capacity(len) };
    for start in 0..len - 1 {
        encoding.look_up(start, start + 2);
    }
    encoding.merge();
    let first = encoding.parts.first().map(|part| part.end);
    std::iter::successors(first, |&end| encoding.parts.get(end).map(|part| part.end)).collect()
}

/// A text on its way from bytes to tokens.
struct Encoding<'a> {
    vocabulary: &'a Vocabulary,
    text: &'a [u8],
    /// The part that begins at a byte is at that byte's index.
    parts: Vec<Part>,
    /// Ranks and the first of the two parts. Not every one is still true.
    heap: BinaryHeap<Reverse<(u32, usize)>>,
}

struct Part {
    end: usize,
    /// Where the one before begins; of no meaning for the first.
    previous: usize,
    /// The rank of it with the next one.
    rank: u32,
}

impl Encoding<'_> {
    /// Looks up the rank of the part at `start` with the next one, which ends at `end`.
    fn look_up(&mut self, start: usize, end: usize) {
        let fits = end - start <= LONGEST;
        let rank = if fits { self.vocabulary.rank(self.text, start, end) } else { NONE };
        self.parts[start].rank = rank;
        if rank != NONE {
            self.heap.push(Reverse((rank, start)));
        }
    }

    fn merge(&mut self) {
        while let Some(Reverse((rank, start))) = self.heap.pop() {
            // Else one of the two has changed since.
            if self.parts[start].rank != rank {
                continue;
            }
            let next = self.parts[start].end;
            let end = self.parts[next].end;
            self.parts[next].rank = NONE;
            self.parts[start].rank = NONE;
            self.parts[start].end = end;
            if end < self.text.len() {
                self.parts[end].previous = start;
                self.look_up(start, self.parts[end].end);
            }
            if start > 0 {
                self.look_up(self.parts[start].previous, end);
            }
        }
    }
}
