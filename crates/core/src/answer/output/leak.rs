//! The system prompt is not told: runs of its words are taken out of the text while it streams.

use std::collections::VecDeque;

/// What a run must weigh to be taken out: eight words, or sixteen characters of a script without blanks.
const TOO_MUCH: u32 = 16;
/// The weight of a word.
const WORD: u32 = 2;
/// The weight of a character of a script without blanks.
const CHARACTER: u32 = 1;
/// More between two words makes them strangers, in bytes.
const GAP: usize = 64;
/// What stands where something was taken out.
const TAKEN_OUT: &str = "…";

/// A word of the held text.
#[derive(Debug)]
struct Held {
    word: String,
    /// The word and what follows it.
    text: String,
    weight: u32,
}

/// The gate. Words are compared in lower case; what stands between them, and markers, do not count. A run that stands in the
/// sources or the question, too, is no secret; nor is what the system prompt has in quotes, since that is how it says what is
/// to be said.
#[derive(Debug)]
pub(super) struct Leak {
    system: Vec<(String, u32)>,
    /// The words of sources and question, with a blank on either side.
    known: String,
    /// Weight of the longest run that ends with the last word of the text and with this word of the system prompt.
    runs: Vec<u32>,
    /// The words of the text that may be the beginning of such a run.
    held: VecDeque<Held>,
    /// What came last and may be the beginning of a word.
    tail: String,
    /// The text is in a word that the system prompt has not.
    strange: bool,
    /// The run is being taken out; what followed its last word.
    taking: Option<String>,
}

impl Leak {
    pub(super) fn new(system: &str, known: &str) -> Self {
        let words = |text: &str| -> Vec<(String, u32)> {
            let (mut words, mut rest) = (Vec::new(), text);
            while let Some(start) = rest.find(char::is_alphanumeric) {
                rest = &rest[start..];
                let length = word(rest);
                words.push((rest[..length].to_lowercase(), weight(rest)));
                rest = &rest[length..];
            }
            words.retain(|(word, _)| !is_marker(word));
            words
        };
        let mut sayable = String::from(" ");
        for text in std::iter::once(known).chain(quoted(system)) {
            for (word, _) in words(text) {
                sayable.push_str(&word);
                sayable.push(' ');
            }
            // A word that no text has: runs end where texts do.
            sayable.push_str("| ");
        }
        let (known, system) = (sayable, words(system));
        Self {
            runs: vec![0; system.len()],
            system,
            known,
            held: VecDeque::new(),
            tail: String::new(),
            strange: false,
            taking: None,
        }
    }

    pub(super) fn push(&mut self, text: &str) -> String {
        self.tail.push_str(text);
        self.run(false)
    }

    pub(super) fn finish(&mut self) -> String {
        let mut text = self.run(true);
        self.release(&mut text);
        text
    }

    fn run(&mut self, last: bool) -> String {
        let tail = std::mem::take(&mut self.tail);
        let mut rest = tail.as_str();
        let mut out = String::with_capacity(rest.len());
        while let Some(first) = rest.chars().next() {
            if self.strange && first.is_alphanumeric() && !is_unspaced(first) {
                let length = word(rest);
                out.push_str(&rest[..length]);
                rest = &rest[length..];
                continue;
            }
            self.strange = false;
            if !first.is_alphanumeric() {
                let length = rest.find(char::is_alphanumeric).unwrap_or(rest.len());
                self.between(&rest[..length], &mut out);
                rest = &rest[length..];
                continue;
            }
            let length = word(rest);
            let lower = rest[..length].to_lowercase();
            if length == rest.len() && !last && !is_unspaced(first) {
                // It may go on.
                if self.system.iter().any(|(word, _)| word.starts_with(&lower)) || is_marker_part(&lower) {
                    rest.clone_into(&mut self.tail);
                    return out;
                }
                self.strange = true;
            }
            self.word(&rest[..length], lower, weight(rest), &mut out);
            rest = &rest[length..];
        }
        out
    }

    fn between(&mut self, text: &str, out: &mut String) {
        let place = match (&mut self.taking, self.held.back_mut()) {
            (_, Some(held)) => &mut held.text,
            (Some(taken), None) => taken,
            (None, None) => return out.push_str(text),
        };
        place.push_str(text);
        if place.len() > GAP + 64 {
            self.runs.fill(0);
            self.release(out);
        }
    }

    fn word(&mut self, word: &str, lower: String, weight: u32, out: &mut String) {
        if is_marker(&lower) {
            return self.between(word, out);
        }
        let mut longest = 0;
        let mut before = 0;
        for ((own, _), run) in self.system.iter().zip(&mut self.runs) {
            let next = if *own == lower { before + weight } else { 0 };
            before = std::mem::replace(run, next);
            longest = longest.max(next);
        }
        if self.taking.is_some() {
            if longest >= TOO_MUCH {
                self.taking = Some(String::new());
                return;
            }
            out.push_str(&self.taking.take().unwrap_or_default());
        }
        self.held.push_back(Held { word: lower, text: word.to_owned(), weight });
        let mut held: u32 = self.held.iter().map(|held| held.weight).sum();
        while held > longest
            && let Some(first) = self.held.pop_front()
        {
            held -= first.weight;
            out.push_str(&first.text);
        }
        while held >= TOO_MUCH {
            let run = self.held.iter().fold(" ".to_owned(), |run, held| run + &held.word + " ");
            if !self.known.contains(&run) {
                out.push_str(TAKEN_OUT);
                self.held.clear();
                self.taking = Some(String::new());
                return;
            }
            // It is known; only what comes may be none of it.
            if let Some(first) = self.held.pop_front() {
                held -= first.weight;
                out.push_str(&first.text);
            }
        }
    }

    fn release(&mut self, out: &mut String) {
        out.push_str(&self.taking.take().unwrap_or_default());
        for held in self.held.drain(..) {
            out.push_str(&held.text);
        }
    }
}

/// What stands between quotes.
fn quoted(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (open, close) in [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»'), ('「', '」'), ('`', '`')]
    {
        let mut rest = text;
        while let Some((inner, after)) = rest.split_once(open).and_then(|(_, rest)| rest.split_once(close)) {
            found.push(inner);
            rest = after;
        }
    }
    found
}

/// How long the word is that a text begins with: letters and digits, or one character of a script without blanks.
fn word(text: &str) -> usize {
    match text.chars().next() {
        Some(first) if is_unspaced(first) => first.len_utf8(),
        _ => text.find(|c: char| !c.is_alphanumeric() || is_unspaced(c)).unwrap_or(text.len()),
    }
}

fn weight(word: &str) -> u32 {
    if word.starts_with(is_unspaced) { CHARACTER } else { WORD }
}

fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{E00}'..='\u{EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}' | '\u{2E80}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{3FFFF}')
}

/// Whether a word is what markers have between their brackets, in lower case.
fn is_marker(word: &str) -> bool {
    word.len() > 1 && is_marker_part(word)
}

fn is_marker_part(word: &str) -> bool {
    word.strip_prefix('s').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: &str = "You answer questions from the numbered sources in the user's message. Be brief.";

    fn through(text: &str, known: &str, size: usize) -> String {
        let mut leak = Leak::new(SYSTEM, known);
        let letters: Vec<char> = text.chars().collect();
        let mut out: String =
            letters.chunks(size).map(|piece| leak.push(&piece.iter().collect::<String>())).collect();
        out.push_str(&leak.finish());
        out
    }

    #[test]
    fn long_runs_of_the_system_prompt_go() {
        for (text, expected) in [
            (
                "I was told: \"You answer questions from the numbered sources in the user's message.\" So.",
                "I was told: \"….\" So.",
            ),
            ("YOU ANSWER [S1] questions, [S2] from-the numbered\nsources in THE users", "… users"),
            ("You answer questions from the numbered list.", "You answer questions from the numbered list."),
            ("you answer you answer questions from the", "you answer you answer questions from the"),
            ("x the numbered sources in the user's message. Be brief. y", "x …. y"),
            ("from the", "from the"),
        ] {
            for size in [1, 3, 1000] {
                assert_eq!(through(text, "", size), expected, "{size}");
            }
        }
    }

    #[test]
    fn what_is_to_be_said_is_no_secret() {
        let system =
            "If you do not know it say \"Please ask our desk on the second floor of the house\" and stop.";
        let mut leak = Leak::new(system, "");
        let said = "Please ask our desk on the second floor of the house. ";
        assert_eq!(leak.push(said) + &leak.push("x"), format!("{said}x"));
        assert_eq!(leak.push(" If you do not know it say please ask") + &leak.finish(), " …");
    }

    #[test]
    fn what_is_known_is_no_secret() {
        let said = "Hm: you answer questions from the numbered sources in it. Be brief.";
        let known = "They say: You answer questions from the numbered sources in the book.";
        assert_eq!(through(said, known, 2), said);
        let more = "you answer questions from the numbered sources in the user's message";
        assert_eq!(through(more, known, 2), "you answer …");
    }
}
