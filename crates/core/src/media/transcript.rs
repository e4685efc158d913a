//! What was heard in a recording, and what was seen in an image, as Markdown.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Seconds between two stamps at least.
const BETWEEN: f64 = 15.0;
/// Words without segments are put together to pieces of so many seconds.
const PIECE: f64 = 5.0;

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Seconds from the beginning.
    pub start: f64,
    /// Seconds from the beginning.
    pub end: f64,
    /// The words.
    pub text: String,
}

impl Segment {
    /// The same in a recording that began so many seconds earlier.
    pub fn later(self, seconds: f64) -> Self {
        Self { start: self.start + seconds, end: self.end + seconds, ..self }
    }
}

/// What is done of a recording that takes more than one invocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Where the next part begins in the original.
    pub next: u64,
    /// Parts heard.
    pub parts: u32,
    /// Seconds heard.
    pub seconds: f64,
    /// What was said.
    pub segments: Vec<Segment>,
    /// How often in a row a model failed over what comes next; of a file that is not cut, over all of it.
    #[serde(default)]
    pub failures: u32,
}

impl Progress {
    /// Adds what was heard in the next part.
    pub fn add(&mut self, next: u64, seconds: f64, segments: Vec<Segment>) {
        let before = self.seconds;
        self.segments.extend(segments.into_iter().map(|segment| segment.later(before)));
        (self.next, self.seconds, self.parts) = (next, before + seconds, self.parts + 1);
        self.failures = 0;
    }
}

/// Words with their times as segments of some seconds each.
pub fn pieces(words: impl IntoIterator<Item = Segment>) -> Vec<Segment> {
    let mut pieces: Vec<Segment> = Vec::new();
    for word in words {
        let text = word.text.trim();
        match pieces.last_mut().filter(|piece| word.start - piece.start < PIECE || !is_end(&piece.text)) {
            Some(piece) => {
                let _ = write!(piece.text, " {text}");
                piece.end = word.end;
            }
            None => pieces.push(Segment { text: text.to_owned(), ..word }),
        }
    }
    pieces
}

fn is_end(text: &str) -> bool {
    text.trim_end().ends_with(['.', '!', '?', '…', '。', '！', '？'])
}

/// A recording's words as Markdown: the name as heading, and paragraphs that begin with the time, `[01:02:03]`, as often as
/// whoever looks for a sentence in the recording needs it.
pub fn of_recording(name: &str, segments: &[Segment]) -> String {
    let mut text = String::new();
    let mut stamped: Option<f64> = None;
    for segment in segments {
        let words = segment.text.split_whitespace().collect::<Vec<_>>().join(" ");
        if words.is_empty() {
            continue;
        }
        if stamped.is_none_or(|at| segment.start - at >= BETWEEN) {
            let _ = write!(text, "\n\n[{}]", stamp(segment.start));
            stamped = Some(segment.start);
        }
        text.push(' ');
        text.push_str(&words);
    }
    titled(name, &text)
}

/// What a model saw in an image as Markdown: the name as heading, and the model's own headings below it.
pub fn of_image(name: &str, seen: &str) -> String {
    let mut text = String::with_capacity(seen.len() + 16);
    let mut fenced = false;
    for line in seen.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let level = line.bytes().take_while(|byte| *byte == b'#').count();
        if !fenced && (1..=5).contains(&level) && line[level..].starts_with(' ') {
            text.push('#');
        }
        text.push_str(line);
        text.push('\n');
    }
    titled(name, &text)
}

/// Empty when there is nothing below the heading.
fn titled(name: &str, text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    let mut title = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(character, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '&') {
            title.push('\\');
        }
        title.push(if character.is_control() { ' ' } else { character });
    }
    format!("# {}\n\n{text}\n", title.trim())
}

fn stamp(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(start: f64, text: &str) -> Segment {
        Segment { start, end: start + 4.0, text: text.into() }
    }

    #[test]
    fn times_stand_before_paragraphs() {
        let mut progress = Progress::default();
        progress.add(
            900,
            30.0,
            vec![said(0.0, " The lamp is lit."), said(9.0, " It turns."), said(16.5, " All is well.")],
        );
        progress.add(1800, 3600.0, vec![said(2.0, "A ship \n came."), said(3599.0, " ")]);
        progress.add(2700, 1.0, vec![said(0.5, " The end.")]);
        assert_eq!((progress.parts, progress.next, progress.seconds), (3, 2700, 3631.0));
        assert_eq!(
            of_recording("watch_1.wav", &progress.segments),
            "# watch\\_1.wav\n\n[00:00:00] The lamp is lit. It turns.\n\n[00:00:16] All is well.\n\n\
             [00:00:32] A ship came.\n\n[01:00:30] The end.\n"
        );
        assert_eq!(of_recording("silence.wav", &[said(0.0, " ")]), "");
    }

    #[test]
    fn words_become_pieces_at_the_ends_of_sentences() {
        let words = ["It", "was", "dark.", "Then", "a", "light."].iter().zip([0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let pieces = pieces(words.map(|(word, start)| said(start, word)));
        let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(texts, ["It was dark.", "Then a light."]);
        assert_eq!((pieces[1].start, pieces[1].end), (6.0, 14.0));
    }

    #[test]
    fn headings_of_an_image_stand_below_its_name() {
        assert_eq!(
            of_image("a.png", "# Menu\nFish\n```\n# no heading\n```\n#hash"),
            "# a.png\n\n## Menu\nFish\n```\n# no heading\n```\n#hash\n"
        );
        assert_eq!(of_image("a.png", " \n"), "");
    }
}
