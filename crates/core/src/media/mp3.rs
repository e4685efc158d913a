//! Frames of MP3: where they begin and how long they are and sound, without decoding any.
//!
//! Source: ISO/IEC 11172-3 and 13818-3, layer III, and the unofficial MPEG 2.5.

/// Bytes of a frame's header.
pub const HEADER: usize = 4;

/// Kilobits a second by the header's index, of MPEG 1 and of MPEG 2 and 2.5.
const KILOBITS: [[u16; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// Samples a second of MPEG 1; of MPEG 2 half of that, of MPEG 2.5 a quarter.
const RATES: [u32; 3] = [44_100, 48_000, 32_000];

/// A frame, as its header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes, the header among them.
    pub bytes: usize,
    /// Its samples, of one channel.
    pub samples: u32,
    /// Samples a second.
    pub rate: u32,
    /// Where a note about the whole stream stands in it, if it is one (Xing, LAME).
    note: usize,
}

impl Frame {
    /// The frame that these bytes begin with, if they can be one. Frames without a stated bit rate are not known.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let header: [u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        if header[0] != 0xFF || header[1] & 0xE6 != 0xE2 {
            return None;
        }
        let (older, divisor) = match header[1] >> 3 & 3 {
            3 => (false, 1),
            2 => (true, 2),
            0 => (true, 4),
            _ => return None,
        };
        let kilobits = *KILOBITS[usize::from(older)].get(usize::from(header[2] >> 4))?;
        let rate = RATES.get(usize::from(header[2] >> 2 & 3))? / divisor;
        if kilobits == 0 {
            return None;
        }
        let samples = if older { 576 } else { 1152 };
        let padding = u32::from(header[2] >> 1 & 1);
        let size = samples / 8 * u32::from(kilobits) * 1000 / rate + padding;
        let is_mono = header[3] >> 6 == 3;
        let side = match (older, is_mono) {
            (false, false) => 32,
            (false, true) | (true, false) => 17,
            (true, true) => 9,
        };
        Some(Self { bytes: size as usize, samples, rate, note: HEADER + side })
    }

    /// Whether the frame, which these bytes begin with, sounds like nothing and says how long all of them are.
    pub fn is_note(&self, bytes: &[u8]) -> bool {
        let at = |place: usize| bytes.get(place..place + 4);
        matches!(at(self.note), Some(b"Xing" | b"Info")) || at(HEADER + 32) == Some(b"VBRI")
    }

    /// Whether both may be of one stream.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.samples, self.rate) == (other.samples, other.rate)
    }

    /// How long it sounds.
    pub fn seconds(&self) -> f64 {
        f64::from(self.samples) / f64::from(self.rate)
    }
}

/// Whether a file begins with a frame, and with another behind it, as far as it is there.
pub fn begins(head: &[u8]) -> bool {
    follows(head).is_some()
}

/// The frame that these bytes begin with, if the next one follows where it ends, or the bytes are over.
pub fn follows(bytes: &[u8]) -> Option<Frame> {
    let frame = Frame::read(bytes)?;
    match bytes.get(frame.bytes..frame.bytes + HEADER) {
        Some(next) => Frame::read(next).filter(|next| next.is_like(&frame)).map(|_| frame),
        None => Some(frame),
    }
}

/// Bytes of the tag (`ID3v2`) that a file begins with.
pub fn tag(head: &[u8]) -> u64 {
    match head {
        [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..] => {
            let size = [a, b, c, d].iter().fold(0, |size, byte| size << 7 | u64::from(**byte & 0x7F));
            let footer = if flags & 0x10 == 0 { 0 } else { 10 };
            10 + size + footer
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_length_and_time() {
        // MPEG 1, 128 kbit/s, 44.1 kHz: the one that everybody knows.
        let frame = Frame::read(&[0xFF, 0xFB, 0x90, 0x64]).unwrap();
        assert_eq!((frame.bytes, frame.samples, frame.rate), (417, 1152, 44_100));
        let padded = Frame::read(&[0xFF, 0xFB, 0x92, 0x64]).unwrap();
        assert_eq!(padded.bytes, 418);
        // MPEG 2, 64 kbit/s, 22.05 kHz, mono.
        let frame = Frame::read(&[0xFF, 0xF3, 0x80, 0xC4]).unwrap();
        assert_eq!((frame.bytes, frame.samples, frame.rate), (208, 576, 22_050));
        // MPEG 2.5, 8 kbit/s, 8 kHz.
        let frame = Frame::read(&[0xFF, 0xE3, 0x18, 0xC4]).unwrap();
        assert_eq!((frame.bytes, frame.samples, frame.rate), (72, 576, 8_000));
        for other in
            [[0xFF, 0xFE, 0x61, 0], [0xFF, 0xFB, 0xF0, 0], [0xFF, 0xFB, 0x0C, 0], [0xFF, 0xFB, 0x00, 0]]
        {
            assert_eq!(Frame::read(&other), None, "{other:?}");
        }
    }

    #[test]
    fn tags_have_seven_bits_a_byte() {
        assert_eq!(tag(b"ID3\x04\0\0\0\0\x02\x01rest"), 10 + 257);
        assert_eq!(tag(b"ID3\x04\0\x10\0\0\0\x01rest"), 21);
        assert_eq!(tag(b"\xFF\xFB\x90\x64\0\0\0\0\0\0"), 0);
    }
}
