//! What streams of a PDF unfold to, counted before it is kept: a few KiB may stand for 256 MiB, which is what the reader would
//! take.

use crate::{Limits, Refusal};
use flate2::{Decompress, FlushDecompress, Status};
use memchr::memmem;
use pdfboss_core::xref::XrefEntry;
use pdfboss_core::{Dict, Document, Error, Name, ObjRef, Object, ObjectSource, Result, Stream};
use std::cell::Cell;
use std::collections::HashSet;

/// Objects in an object stream: writers put a few hundred into each.
const MOST_OBJECTS: i64 = 200_000;
/// Bytes of a row that a predictor looks back to.
const LONGEST_ROW: i64 = 1 << 20;
/// How far before a stream its dictionary is looked for.
const DICTIONARY: usize = 4096;

/// A document whose streams are unfolded only as far as is left.
pub(super) struct Bounded<'a> {
    document: &'a Document,
    /// Bytes left for this page.
    left: Cell<u64>,
    /// Whether there was a stream for which not enough was left.
    exceeded: Cell<bool>,
}

impl<'a> Bounded<'a> {
    pub(super) fn new(document: &'a Document, left: u64) -> Self {
        Self { document, left: Cell::new(left), exceeded: Cell::new(false) }
    }

    pub(super) fn left(&self) -> u64 {
        self.left.get()
    }

    pub(super) fn exceeded(&self) -> bool {
        self.exceeded.get()
    }

    /// Takes what a stream unfolds to from what is left.
    fn pay(&self, stream: &Stream) -> Result<()> {
        match unfolded(self.document, stream, self.left.get()) {
            Ok(bytes) => self.left.set(self.left.get() - bytes),
            Err(Unread::TooMuch) => {
                self.exceeded.set(true);
                return Err(Error::Decode("the stream unfolds to too much".into()));
            }
            Err(Unread::NoText) => return Err(Error::Decode("no text stands in such streams".into())),
        }
        Ok(())
    }
}

impl ObjectSource for Bounded<'_> {
    fn get(&self, reference: ObjRef) -> Result<Object> {
        self.document.get(reference)
    }

    fn stream_data(&self, stream: &Stream) -> Result<Vec<u8>> {
        self.pay(stream)?;
        self.document.stream_data(stream)
    }
}

/// Why a stream is not unfolded.
enum Unread {
    TooMuch,
    /// It is a picture, or broken.
    NoText,
}

/// Bytes that a stream unfolds to, if they are no more than allowed at any stage.
fn unfolded(document: &Document, stream: &Stream, allowed: u64) -> std::result::Result<u64, Unread> {
    let resolved = |object: Option<&Object>| object.and_then(|object| document.resolve(object).ok());
    let listed = |name: &str| match resolved(stream.dict.get(name)) {
        Some(Object::Array(items)) => {
            items.iter().map(|item| resolved(Some(item)).unwrap_or(Object::Null)).collect()
        }
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let (filters, settings) = (listed("Filter"), listed("DecodeParms"));
    let mut data = std::borrow::Cow::Borrowed(stream.data.as_slice());
    let mut length = data.len() as u64;
    for (at, filter) in filters.iter().enumerate() {
        let Some(Name(name)) = filter.as_name() else { continue };
        let own = settings.get(at).and_then(Object::as_dict);
        let number =
            |key: &str, usual: i64| own.and_then(|own| resolved(own.get(key))?.as_int()).unwrap_or(usual);
        if number("Colors", 1).saturating_mul(number("Columns", 1)).saturating_mul(2) > LONGEST_ROW {
            return Err(Unread::NoText);
        }
        length = match name.as_str() {
            "FlateDecode" | "Fl" => inflated(&data, allowed).ok_or(Unread::TooMuch)?,
            "LZWDecode" | "LZW" => {
                unpacked_lzw(&data, number("EarlyChange", 1) != 0, allowed).ok_or(Unread::TooMuch)?
            }
            "RunLengthDecode" | "RL" => run_length(&data),
            "ASCIIHexDecode" | "AHx" | "ASCII85Decode" | "A85" => data.len() as u64 * 4,
            "Crypt" => data.len() as u64,
            // Pictures.
            _ => return Err(Unread::NoText),
        };
        if length > allowed {
            return Err(Unread::TooMuch);
        }
        if at + 1 < filters.len() {
            let mut dict = Dict::new();
            dict.insert(Name("Filter".into()), filter.clone());
            if let Some(own) = settings.get(at) {
                dict.insert(Name("DecodeParms".into()), own.clone());
            }
            data = document
                .stream_data(&Stream { dict, data: data.into_owned() })
                .map_err(|_| Unread::NoText)?
                .into();
        }
    }
    if length > allowed { Err(Unread::TooMuch) } else { Ok(length) }
}

/// Bytes that deflated ones stand for, by zlib; what is broken counts as far as it goes.
fn inflated(data: &[u8], allowed: u64) -> Option<u64> {
    let zlib = data.len() > 1 && (u32::from(data[0]) << 8 | u32::from(data[1])) % 31 == 0;
    let mut decoder = Decompress::new(zlib);
    let mut out = vec![0; 32 * 1024];
    loop {
        let (read, written) = (decoder.total_in(), decoder.total_out());
        let rest = usize::try_from(read).ok().and_then(|read| data.get(read..)).unwrap_or_default();
        let status = decoder.decompress(rest, &mut out, FlushDecompress::None);
        if decoder.total_out() > allowed {
            return None;
        }
        let stuck = decoder.total_in() == read && decoder.total_out() == written;
        if stuck || matches!(status, Ok(Status::StreamEnd) | Err(_)) {
            return Some(decoder.total_out());
        }
    }
}

/// Bytes that LZW codes stand for: each is one longer than the one that it was made from.
fn unpacked_lzw(data: &[u8], early: bool, allowed: u64) -> Option<u64> {
    let (mut bits, mut count, mut width) = (0_u32, 0, 9);
    let mut lengths: Vec<u64> = Vec::with_capacity(4096);
    let (mut previous, mut sum) = (None, 0_u64);
    for byte in data {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        if count < width {
            continue;
        }
        count -= width;
        let code = (bits >> count) as usize & ((1 << width) - 1);
        bits &= (1 << count) - 1;
        match code {
            256 => {
                lengths.clear();
                (width, previous) = (9, None);
                continue;
            }
            257 => break,
            _ => {}
        }
        let length = if code < 256 {
            1
        } else {
            lengths.get(code - 258).copied().or(previous.map(|it: u64| it + 1)).unwrap_or(1)
        };
        if let Some(previous) = previous
            && lengths.len() < 4096 - 258
        {
            lengths.push(previous + 1);
        }
        previous = Some(length);
        sum += length;
        if sum > allowed {
            return None;
        }
        while width < 12 && lengths.len() + 258 + usize::from(early) >= 1 << width {
            width += 1;
        }
    }
    Some(sum)
}

fn run_length(data: &[u8]) -> u64 {
    let (mut at, mut sum) = (0, 0);
    while let Some(byte) = data.get(at) {
        match *byte {
            128 => break,
            run @ 129.. => {
                sum += 257 - u64::from(run);
                at += 2;
            }
            plain => {
                sum += u64::from(plain) + 1;
                at += usize::from(plain) + 2;
            }
        }
    }
    sum
}

/// Looks through what the reader unfolds before anyone can count: cross-reference streams and, of files that are not encrypted,
/// object streams.
pub(super) fn checked(bytes: &[u8], limits: &Limits) -> std::result::Result<(), Refusal> {
    let too_large = || Refusal::TooLarge { what: "unpacked bytes", allowed: limits.unpacked };
    let mut left = limits.unpacked * 2;
    for at in memmem::find_iter(bytes, b"stream") {
        if bytes[..at].ends_with(b"end") {
            continue;
        }
        let before = &bytes[at.saturating_sub(DICTIONARY)..at];
        let before = &before[memmem::rfind(before, b"obj").unwrap_or(0)..];
        let has = |what: &[u8]| memmem::find(before, what).is_some();
        // A name may be written with its letters as numbers.
        if !(has(b"/XRef") || has(b"/ObjStm") || (has(b"#") && !has(b"/Image"))) {
            continue;
        }
        if number(before, b"/Columns") > LONGEST_ROW
            || number(before, b"/Colors") > 32
            || number(before, b"/N") > MOST_OBJECTS
        {
            return Err(Refusal::broken("PDF", "the numbers in it are out of all measure"));
        }
        let data = &bytes[at + 6..];
        let data = data
            .strip_prefix(b"\r\n")
            .or(data.strip_prefix(b"\n"))
            .or(data.strip_prefix(b"\r"))
            .unwrap_or(data);
        if has(b"/FlateDecode") || has(b"/Fl") || has(b"#") {
            left = left
                .checked_sub(inflated(data, limits.unpacked / 4).ok_or_else(too_large)?)
                .ok_or_else(too_large)?;
        }
        // Nobody writes these with more than one filter, or with an older one.
        if has(b"/LZW") || has(b"/RunLength") || has(b"/RL") || memmem::find_iter(before, b"/Fl").count() > 1
        {
            return Err(Refusal::broken("PDF", "its objects are packed in a strange way"));
        }
    }
    Ok(())
}

/// The integer after a name, 0 without one.
fn number(dictionary: &[u8], name: &[u8]) -> i64 {
    let of = |at: usize| {
        let text = &dictionary[at + name.len()..];
        let text = text.trim_ascii_start();
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&text[..digits]).ok().map_or(0, |digits| match digits {
            "" => 0,
            digits => digits.parse().unwrap_or(i64::MAX),
        })
    };
    memmem::find_iter(dictionary, name).map(of).max().unwrap_or(0)
}

/// Looks through the object streams of a file once it can be decrypted.
pub(super) fn objects(document: &Document, limits: &Limits) -> std::result::Result<(), Refusal> {
    let holders: HashSet<u32> = document
        .xref()
        .iter()
        .filter_map(|(_, entry)| match entry {
            XrefEntry::InStream { stream_num, .. } => Some(stream_num),
            _ => None,
        })
        .collect();
    let too_large = || Refusal::TooLarge { what: "unpacked bytes", allowed: limits.unpacked };
    let mut left = limits.unpacked * 2;
    for holder in holders {
        // One within another is never read.
        if !matches!(document.xref().get(holder), Some(XrefEntry::InFile { .. })) {
            return Err(Refusal::broken("PDF", "its objects are packed in a strange way"));
        }
        let Ok(object) = document.get(ObjRef { num: holder, r#gen: 0 }) else { continue };
        let Some(stream) = object.as_stream() else { continue };
        if stream.dict.get_int("N").is_none_or(|count| count > MOST_OBJECTS) {
            return Err(Refusal::broken("PDF", "the numbers in it are out of all measure"));
        }
        let bytes = match unfolded(document, stream, limits.unpacked / 4) {
            Ok(bytes) => bytes,
            Err(Unread::TooMuch) => return Err(too_large()),
            Err(Unread::NoText) => 0,
        };
        left = left.checked_sub(bytes).ok_or_else(too_large)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_packed_is_counted_without_being_kept() {
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&vec![b' '; 3_000_000]).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(inflated(&packed, 3_000_000), Some(3_000_000));
        assert_eq!(inflated(&packed, 2_999_999), None);
        assert_eq!(inflated(b"no zlib at all", 10).unwrap_or(0), 0);
        assert_eq!(run_length(&[255, b'a', 2, b'a', b'b', b'c', 128, 9]), 5);
        // The example of the specification (7.4.4.2): 45 45 45 45 45 65 45 45 45 66.
        let codes = [0x80, 0x0B, 0x60, 0x50, 0x22, 0x0C, 0x0C, 0x85, 0x01];
        assert_eq!(unpacked_lzw(&codes, true, 100), Some(10));
        assert_eq!(unpacked_lzw(&codes, true, 9), None);
    }
}
