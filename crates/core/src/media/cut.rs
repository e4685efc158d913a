//! Long recordings in parts: WAV at its samples, MP3 at its frames, neither decoded. A part is a recording of its own.
//!
//! An MP3 frame may lean on bytes of those before it, so that a part may begin with up to some 50 ms of silence; nothing else
//! is lost.

use super::mp3::{self, Frame};
use crate::kind::Audio;
use crate::{Error, Result};
use std::ops::Range;

/// Bytes of a recording's beginning that a [`Cutter`] is made from.
pub const HEAD: u64 = 64 * 1024;

/// Formats of WAV whose samples are not packed: PCM, floats, and the extended form, which nearly always is one of these.
const UNPACKED: [u64; 3] = [1, 3, 0xFFFE];

/// How large a part may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Most {
    /// Bytes.
    pub bytes: usize,
    /// Seconds.
    pub seconds: f64,
}

/// A part of a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// A file of the recording's own format; empty where there was no sound.
    pub file: Vec<u8>,
    /// How long it sounds.
    pub seconds: f64,
    /// Where the next part begins in the original.
    pub next: u64,
}

/// Cuts one recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Cutter {
    form: Form,
    most: Most,
    /// The bytes of sound in the original.
    sound: Range<u64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Form {
    Wav {
        /// The chunk that says how samples are written.
        format: Vec<u8>,
        /// Bytes of what can't be cut.
        block: u64,
        /// Bytes of a second.
        rate: u64,
    },
    Mp3,
}

impl Cutter {
    /// From a recording's first [`HEAD`] bytes and its length; `None` for a format that is not cut.
    ///
    /// # Errors
    /// [`Error::Document`] `unreadable`.
    pub fn new(format: Audio, head: &[u8], length: u64, most: Most) -> Result<Option<Self>> {
        match format {
            Audio::Wav => Self::of_wav(head, length, most).map(Some),
            Audio::Mp3 => {
                let sound = mp3::tag(head).min(length)..length;
                Ok(Some(Self { form: Form::Mp3, most, sound }))
            }
            _ => Ok(None),
        }
    }

    fn of_wav(head: &[u8], length: u64, most: Most) -> Result<Self> {
        // Chunks say how long they are: added up in 64 bits, no length leads back into the head, on any machine.
        let bytes =
            |at: u64, count: u64| head.get(usize::try_from(at).ok()?..usize::try_from(at + count).ok()?);
        let word = |at| Some(u64::from(u16::from_le_bytes(bytes(at, 2)?.try_into().ok()?)));
        let long = |at| Some(u64::from(u32::from_le_bytes(bytes(at, 4)?.try_into().ok()?)));
        let (mut at, mut format) = (12, None);
        loop {
            let (Some(name), Some(size)) = (bytes(at, 4), long(at + 4)) else {
                return Err(unreadable("WAV", "no samples were found at its beginning"));
            };
            let begin = at + 8;
            let next = after(begin, size);
            match (name, &format) {
                (b"fmt ", _) if size >= 16 => {
                    let (Some(tag), Some(samples), Some(rate), Some(block)) =
                        (word(begin), long(begin + 4), long(begin + 8), word(begin + 12))
                    else {
                        return Err(unreadable("WAV", "it ends within its head"));
                    };
                    let chunk = bytes(at, next - at).unwrap_or_default().to_vec();
                    let block = block.max(1);
                    // What the head says of a second's bytes may be wrong, and what is heard is paid by the second.
                    let rate = if UNPACKED.contains(&tag) { samples * block } else { rate };
                    format = Some((chunk, block, rate));
                }
                (b"data", Some((chunk, block, rate))) => {
                    if *rate == 0 || chunk.is_empty() {
                        return Err(unreadable("WAV", "its head says nothing of its samples"));
                    }
                    // A recorder that was stopped, or wrote to a pipe, leaves no length or too great a one.
                    let end = if size == 0 { length } else { (begin + size).min(length) };
                    let form = Form::Wav { format: chunk.clone(), block: *block, rate: *rate };
                    return Ok(Self { form, most, sound: begin..end.max(begin) });
                }
                _ => {}
            }
            at = next;
        }
    }

    /// Where the first part begins.
    pub fn start(&self) -> u64 {
        self.sound.start
    }

    /// How many parts there are at least.
    pub fn parts(&self) -> u64 {
        let sound = self.sound.end - self.sound.start;
        let by_time = match &self.form {
            Form::Wav { rate, .. } => (*rate as f64 * self.most.seconds) as u64,
            Form::Mp3 => u64::MAX,
        };
        sound.div_ceil(by_time.min(self.most.bytes as u64).max(1))
    }

    /// The bytes of the original to be read for the part that begins at `from`; empty when there is none.
    pub fn wants(&self, from: u64) -> Range<u64> {
        let from = from.clamp(self.sound.start, self.sound.end);
        let most = match &self.form {
            Form::Wav { format, block, rate } => {
                let room = (self.most.bytes as u64).saturating_sub(format.len() as u64 + 21);
                let bytes = room.min((*rate as f64 * self.most.seconds) as u64);
                (bytes / block * block).max(*block)
            }
            Form::Mp3 => self.most.bytes as u64,
        };
        from..(from + most).min(self.sound.end)
    }

    /// The part that begins at `from`, from the bytes that it [wants](Self::wants).
    pub fn part(&self, from: u64, bytes: &[u8]) -> Part {
        match &self.form {
            Form::Wav { format, rate, .. } => Part {
                file: wav(format, bytes),
                seconds: bytes.len() as f64 / *rate as f64,
                next: from + bytes.len() as u64,
            },
            Form::Mp3 => self.frames(from, bytes),
        }
    }

    fn frames(&self, from: u64, bytes: &[u8]) -> Part {
        let is_last = from + bytes.len() as u64 >= self.sound.end;
        let mut part = Part { file: Vec::with_capacity(bytes.len()), ..Part::default() };
        let (mut at, mut before) = (0, None);
        let is_first = from == self.sound.start;
        // Behind a frame, a header is enough; elsewhere it could be chance, or part of a tag.
        let mut follows = !is_first;
        while at < bytes.len() && part.seconds < self.most.seconds {
            let rest = &bytes[at..];
            let frame = if follows { Frame::read(rest) } else { mp3::follows(rest) };
            let frame = frame.filter(|frame| before.is_none_or(|before: Frame| before.is_like(frame)));
            match frame {
                Some(frame) if frame.bytes <= rest.len() => {
                    if !(is_first && before.is_none() && frame.is_note(rest)) {
                        part.file.extend_from_slice(&rest[..frame.bytes]);
                        part.seconds += frame.seconds();
                    }
                    at += frame.bytes;
                    (before, follows) = (Some(frame), true);
                }
                // It goes on behind these bytes.
                Some(_) if !is_last && at > 0 => break,
                None if !is_last && at > 0 && rest.len() < mp3::HEADER => break,
                _ => {
                    at += 1;
                    (before, follows) = (None, false);
                }
            }
        }
        part.next = from + at as u64;
        part
    }
}

/// Where the chunk behind one of this size begins: chunks begin at even places.
fn after(begin: u64, size: u64) -> u64 {
    begin + size + (size & 1)
}

/// A WAV file of these samples.
fn wav(format: &[u8], samples: &[u8]) -> Vec<u8> {
    let size = 4 + format.len() + 8 + samples.len();
    let mut file = Vec::with_capacity(size + 9);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(size as u32).to_le_bytes());
    file.extend_from_slice(b"WAVE");
    file.extend_from_slice(format);
    file.extend_from_slice(b"data");
    file.extend_from_slice(&(samples.len() as u32).to_le_bytes());
    file.extend_from_slice(samples);
    if samples.len() % 2 == 1 {
        file.push(0);
    }
    file
}

fn unreadable(format: &str, why: &str) -> Error {
    Error::Document { code: "unreadable".into(), message: format!("this is no readable {format}: {why}") }
}

#[cfg(test)]
#[path = "cut_tests.rs"]
mod tests;
