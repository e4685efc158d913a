//! The vocabulary: the tokens' bytes in the order of their ranks, and a hash table over them. The table is
//! made at the first count, in 2 ms: made at compile time it would add 0.2 MB to what a Worker is compressed.

use std::sync::LazyLock;

static TOKENS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cl100k_tokens.bin"));
static LENGTHS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cl100k_lengths.bin"));
static PAIRS: &[u8; 4 << 16] = include_bytes!(concat!(env!("OUT_DIR"), "/cl100k_pairs.bin"));

/// The length of the longest token.
pub(super) const LONGEST: usize = 128;

/// No token: comes after every rank.
pub(super) const NONE: u32 = u32::MAX;

/// 2.6 times as many slots as tokens: few are searched, found or not.
const SLOTS: usize = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 18;

pub(super) struct Vocabulary {
    /// A slot: 20 bits for where the token begins in [`TOKENS`], 7 for its length less one, 5 of its hash.
    /// 0 is free.
    slots: Box<[u32]>,
}

impl Vocabulary {
    /// The first call takes 2 ms in a Worker.
    pub(super) fn get() -> &'static Self {
        static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(Vocabulary::new);
        &VOCABULARY
    }

    fn new() -> Self {
        let mut slots = vec![0; SLOTS].into_boxed_slice();
        // The first 256 are single bytes, which nobody looks up: every one is a token.
        let mut start = 256;
        for &len in &LENGTHS[256..] {
            let end = start + usize::from(len);
            insert(&mut slots, start, end);
            start = end;
        }
        Self { slots }
    }

    /// The rank of the token with these bytes, two at least, or [`NONE`]. Where it begins in [`TOKENS`]
    /// serves as its rank.
    #[inline]
    pub(super) fn rank(&self, text: &[u8], start: usize, end: usize) -> u32 {
        #[cfg(test)]
        LOOKUPS.set(LOOKUPS.get() + 1);
        let (mut slot, mark) = slot_and_mark(text, start, end);
        loop {
            let found = self.slots[slot % SLOTS];
            if found % (1 << 12) == mark && equal(text, start, end, (found >> 12) as usize) {
                return found >> 12;
            }
            if found == 0 {
                return NONE;
            }
            slot += 1;
        }
    }

    /// The rank of the token of these two bytes or [`NONE`], and whether any token has them side by side.
    #[inline]
    pub(super) fn pair(left: u8, right: u8) -> (u32, bool) {
        let at = 4 * (usize::from(left) << 8 | usize::from(right));
        match u32::from_le_bytes([PAIRS[at], PAIRS[at + 1], PAIRS[at + 2], PAIRS[at + 3]]) {
            0 => (NONE, false),
            1 => (NONE, true),
            rank => (rank, true),
        }
    }

    #[cfg(test)]
    pub(super) fn tokens() -> impl Iterator<Item = &'static [u8]> {
        LENGTHS.iter().scan(TOKENS, |rest, &len| rest.split_off(..usize::from(len)))
    }

    #[cfg(test)]
    pub(super) fn longest_search(&self) -> usize {
        self.slots.split(|&slot| slot == 0).map(<[u32]>::len).max().unwrap_or(0)
    }
}

#[cfg(test)]
thread_local! {
    /// The calls of [`Vocabulary::rank`], which is where the time goes.
    pub(super) static LOOKUPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A function of its own, and called often: engines that start with slow code replace such first.
#[inline(never)]
fn insert(slots: &mut [u32], start: usize, end: usize) {
    let (mut slot, mark) = slot_and_mark(TOKENS, start, end);
    while slots[slot % SLOTS] != 0 {
        slot += 1;
    }
    slots[slot % SLOTS] = (start as u32) << 12 | mark;
}

/// The slot where the search begins, and the low 12 bits of the one where it ends.
#[inline]
fn slot_and_mark(text: &[u8], start: usize, end: usize) -> (usize, u32) {
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut hash = 0;
    let mut at = start;
    while end - at > 8 {
        hash = mix(hash, word(text, at));
        at += 8;
    }
    hash = mix(hash, word(text, at) << cut(end - at));
    let (len, some) = ((end - start - 1) as u32, (hash >> 32) as u32 % 32);
    ((hash >> (u64::BITS - SLOT_BITS)) as usize, len << 5 | some)
}

/// Whether these bytes of the text are those of [`TOKENS`] from `token` on.
#[inline]
fn equal(text: &[u8], start: usize, end: usize, mut token: usize) -> bool {
    let mut at = start;
    while end - at > 8 {
        if word(text, at) != word(TOKENS, token) {
            return false;
        }
        at += 8;
        token += 8;
    }
    (word(text, at) ^ word(TOKENS, token)) << cut(end - at) == 0
}

/// How far to shift a word so that its first `len` bytes are left, 1 to 8.
#[inline]
fn cut(len: usize) -> u32 {
    u64::BITS - 8 * len as u32
}

/// The 8 bytes from `start` on as a number, in which the first byte is the lowest.
#[inline]
fn word(bytes: &[u8], start: usize) -> u64 {
    match bytes.get(start..start + 8).and_then(<[u8]>::first_chunk) {
        Some(&word) => u64::from_le_bytes(word),
        None => last_word(&bytes[start..]),
    }
}

/// The same near the end of a text: what is not there is 0.
#[cold]
fn last_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}
