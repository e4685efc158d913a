//! Bytes of any encoding as text.

use crate::Refusal;
use chardetng::EncodingDetector;
use encoding_rs::{Encoding, UTF_8};
use ragflare_core::kind;
use std::borrow::Cow;

/// Bytes that are looked at to guess an encoding.
const LOOKED_AT: usize = 256 * 1024;

/// IBM's code page 855 from 0x80 on, which the Encoding Standard leaves out.
const IBM855: &str = "ђЂѓЃёЁєЄѕЅіІїЇјЈљЉњЊћЋќЌўЎџЏюЮъЪ\
    аАбБцЦдДеЕфФгГ«»░▒▓│┤хХиИ╣║╗╝йЙ┐\
    └┴┬├─┼кК╚╔╩╦╠═╬¤лЛмМнНоОп┘┌█▄Пя▀\
    ЯрРсСтТуУжЖвВьЬ№\u{ad}ыЫзЗшШэЭщЩчЧ§■\u{a0}";

/// Text in whatever encoding: by its byte order mark, as UTF-8 if it is that, as UTF-16 or UTF-32 by where its zeros are, by
/// what it was declared to be (`charset`, as of a `Content-Type`) or declares itself (XML, HTML) where the bytes fit that, else
/// by what is likeliest. NULs become blanks; a byte order mark goes.
///
/// # Errors
/// [`Refusal::Broken`] for what is no text in any encoding.
pub fn decode(bytes: &[u8], charset: Option<&str>) -> Result<String, Refusal> {
    if !is_text(bytes) {
        return Err(Refusal::broken("text", "the bytes are no text in any encoding"));
    }
    let text = decoded(bytes, charset);
    Ok(if text.contains('\0') { text.replace('\0', " ") } else { text })
}

/// [`decode`] of bytes that are given away: those that are UTF-8 are not copied.
pub(crate) fn decode_owned(bytes: Cow<'_, [u8]>, charset: Option<&str>) -> Result<String, Refusal> {
    let is_plain = memchr::memchr2(0, 0x1B, &bytes).is_none() && Encoding::for_bom(&bytes).is_none();
    match bytes {
        Cow::Owned(bytes) if is_plain && is_text(&bytes) => {
            String::from_utf8(bytes).or_else(|error| decode(error.as_bytes(), charset))
        }
        bytes => decode(&bytes, charset),
    }
}

fn decoded(bytes: &[u8], charset: Option<&str>) -> String {
    if let Some(text) = wide(bytes) {
        return text;
    }
    if let Some((encoding, length)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[length..]).0.into_owned();
    }
    if is_korean_iso(bytes) {
        return korean_iso(bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && !is_escaped(bytes)
    {
        return text.to_owned();
    }
    let named = charset.and_then(|name| Encoding::for_label(name.trim_matches(['"', '\'', ' ']).as_bytes()));
    let fits =
        |encoding: &&'static Encoding| *encoding != UTF_8 && !encoding.decode_without_bom_handling(bytes).1;
    let known = named.filter(fits).or_else(|| declared(bytes).filter(fits));
    let encoding = known.unwrap_or_else(|| guess(bytes));
    let text = encoding.decode_without_bom_handling(bytes).0.into_owned();
    if known.is_none() { cyrillic(bytes, encoding, text) } else { text }
}

/// Whether text says that it is ISO-2022-KR (RFC 1557), as it must before its first Korean letter.
fn is_korean_iso(bytes: &[u8]) -> bool {
    memchr::memmem::find(&bytes[..bytes.len().min(LOOKED_AT)], b"\x1B$)C").is_some()
}

/// ISO-2022-KR: between shift-out and shift-in stand the letters of EUC-KR without their eighth bit.
fn korean_iso(bytes: &[u8]) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut shifted = false;
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = rest.strip_prefix(b"\x1B$)C").unwrap_or(after);
        match *byte {
            0x1B if rest.len() < after.len() => {}
            0x0E => shifted = true,
            0x0F => shifted = false,
            b'\n' => {
                // A line ends unshifted.
                shifted = false;
                plain.push(b'\n');
            }
            letter if shifted && letter > b' ' => plain.push(letter | 0x80),
            other => plain.push(other),
        }
    }
    encoding_rs::EUC_KR.decode_without_bom_handling(&plain).0.into_owned()
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    // ASCII tells nothing, and a long text may begin with much of it; what stands before the first other letter may.
    let first = bytes.iter().position(|byte| !byte.is_ascii() || *byte == 0x1B).unwrap_or_default();
    let seen = &bytes[first.saturating_sub(LOOKED_AT / 8)..];
    let mut detector = EncodingDetector::new();
    detector.feed(&seen[..seen.len().min(LOOKED_AT)], seen.len() <= LOOKED_AT);
    detector.guess(None, true)
}

/// Encodings whose letters would be Russian ones, too.
const MAC_LIKE: [&Encoding; 7] = [
    encoding_rs::ISO_8859_6,
    encoding_rs::ISO_8859_7,
    encoding_rs::ISO_8859_8,
    encoding_rs::WINDOWS_1253,
    encoding_rs::WINDOWS_1255,
    encoding_rs::WINDOWS_1256,
    encoding_rs::WINDOWS_874,
];

/// Russian of old machines, which looks to the guesser like Russian of others: whichever reads best.
fn cyrillic(bytes: &[u8], guessed: &'static Encoding, text: String) -> String {
    let upper: Vec<char> = IBM855.chars().collect();
    let letter =
        |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { upper[usize::from(*byte) - 0x80] };
    let ibm = |bytes: &[u8]| -> String { bytes.iter().map(letter).collect() };
    let mac = |bytes: &[u8]| encoding_rs::X_MAC_CYRILLIC.decode_without_bom_handling(bytes).0.into_owned();
    let sample = &bytes[..bytes.len().min(64 * 1024)];
    let others = [
        encoding_rs::WINDOWS_1251,
        encoding_rs::KOI8_R,
        encoding_rs::IBM866,
        encoding_rs::ISO_8859_5,
        encoding_rs::KOI8_U,
    ];
    let as_ibm = russian(&ibm(sample));
    if !others.contains(&guessed) {
        // Another script is right unless this is good Russian, and most letters are of it.
        let high = sample.iter().filter(|byte| !byte.is_ascii()).count() as i64;
        let low = sample.iter().filter(|byte| byte.is_ascii_alphabetic()).count() as i64;
        let good = high * 6 / 5;
        // Small letters of the Mac stand where those of Greek and Hebrew do.
        let as_mac = if MAC_LIKE.contains(&guessed) { 0 } else { russian(&mac(sample)) };
        return match () {
            () if high <= low || as_ibm.max(as_mac) <= good => text,
            () if as_ibm > as_mac => ibm(bytes),
            () => mac(bytes),
        };
    }
    // Cyrillic that was guessed is right unless another is clearly better.
    let guessed = russian(&guessed.decode_without_bom_handling(sample).0);
    let needed = guessed.max(0) + guessed.abs() / 20;
    match russian(&mac(sample)) {
        as_mac if as_ibm > as_mac.max(needed) => ibm(bytes),
        as_mac if as_mac > needed => mac(bytes),
        _ => text,
    }
}

/// How much text looks like words of Cyrillic letters: frequent small ones count for it, capitals within words and signs against.
fn russian(text: &str) -> i64 {
    let mut before = ' ';
    let mut score = 0;
    for c in text.chars() {
        score += match c {
            '\0'..='\x7f' => 0,
            c if "аеионтсрвлкмдпуяыз".contains(c) => 2,
            'а'..='я' | 'ё' => 1,
            'А'..='Я' if !before.is_lowercase() => 1,
            'А'..='Я' => -4,
            _ => -2,
        };
        before = c;
    }
    score
}

/// Whether ASCII bytes stand for other letters by escapes (ISO-2022).
fn is_escaped(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair[0] == 0x1B && matches!(pair[1], b'$' | b'('))
}

/// The encoding that a page or an XML file says it has.
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(2048)]).to_ascii_lowercase();
    let named = head.split_once("encoding=").or_else(|| head.split_once("charset="))?.1;
    let name: String = named
        .trim_start_matches(['"', '\'', ' '])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .collect();
    Encoding::for_label(name.as_bytes())
}

/// UTF-32, and UTF-16 without a byte order mark.
fn wide(bytes: &[u8]) -> Option<String> {
    let utf32 = |big: bool, bytes: &[u8]| -> Option<String> {
        let number = |four: &[u8]| {
            let four = [four[0], four[1], four[2], four[3]];
            if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
        };
        let exact = bytes.len().is_multiple_of(4);
        exact.then(|| bytes.chunks_exact(4).map(|four| char::from_u32(number(four))).collect()).flatten()
    };
    if bytes.starts_with(&[0xFF, 0xFE, 0, 0]) {
        return utf32(false, &bytes[4..]);
    }
    if bytes.starts_with(&[0, 0, 0xFE, 0xFF]) {
        return utf32(true, &bytes[4..]);
    }
    let sample = &bytes[..bytes.len().min(4096) / 4 * 4];
    if sample.len() < 4 || !sample.contains(&0) {
        return None;
    }
    let zeros = |place: usize| sample.chunks_exact(4).filter(|four| four[place] == 0).count() * 4;
    let mostly = |place: usize| zeros(place) * 10 >= sample.len() * 9;
    if mostly(0) && mostly(1) {
        return utf32(true, bytes);
    }
    if mostly(2) && mostly(3) {
        return utf32(false, bytes);
    }
    // Blanks and line ends have a zero byte in any script.
    let (first, second) = (zeros(0) + zeros(2), zeros(1) + zeros(3));
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) || first == second {
        return None;
    }
    let encoding = if first > second { encoding_rs::UTF_16BE } else { encoding_rs::UTF_16LE };
    let (text, broken) = encoding.decode_without_bom_handling(bytes);
    (!broken).then(|| text.into_owned())
}

/// Whether bytes can be text: as UTF-8, as wide characters, or, without controls that no text has, in some older encoding.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    let sample = &bytes[..bytes.len().min(LOOKED_AT)];
    if Encoding::for_bom(sample).is_some() || is_korean_iso(sample) || wide(bytes).is_some() {
        return true;
    }
    match std::str::from_utf8(sample) {
        Ok(_) => kind::is_text(sample),
        Err(error) if error.error_len().is_none() => kind::is_text(sample),
        Err(_) => {
            let strange =
                |byte: &&u8| **byte < 0x20 && !matches!(**byte, b'\t' | b'\n' | b'\r' | 0x0C | 0x1B);
            sample.iter().filter(strange).count() * 200 <= sample.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told() {
        let text = "Größe: 30 µm – „gut“\n";
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let utf32: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        let bom: Vec<u8> = [0xFF, 0xFE].into_iter().chain(utf16.clone()).collect();
        let windows = encoding_rs::WINDOWS_1252.encode(text).0.into_owned();
        for bytes in [text.as_bytes().to_vec(), utf16, utf32, bom, windows] {
            assert_eq!(decode(&bytes, None).unwrap(), text, "{bytes:?}");
        }
        assert_eq!(decode(b"\xEF\xBB\xBFa\0b", None).unwrap(), "a b");
        let japanese = "これは日本語の文書です。文字コードを調べます。".repeat(4);
        for encoding in [encoding_rs::SHIFT_JIS, encoding_rs::EUC_JP, encoding_rs::ISO_2022_JP] {
            assert_eq!(decode(&encoding.encode(&japanese).0, None).unwrap(), japanese, "{}", encoding.name());
        }
    }

    #[test]
    fn russian_of_old_machines_is_read() {
        let plain = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. \
                     Всё смешалось в доме Облонских. Жена узнала, что муж был в связи с бывшею в их доме француженкою.";
        let upper: Vec<char> = IBM855.chars().collect();
        assert_eq!(upper.len(), 128);
        let ibm = plain
            .chars()
            .map(|c| upper.iter().position(|known| *known == c).map_or(c as u8, |at| at as u8 + 0x80));
        assert_eq!(decode(&ibm.collect::<Vec<u8>>(), None).unwrap(), plain);
        // No encoder for the other: its letters are those of its decoder.
        let letter =
            |byte: u8| encoding_rs::X_MAC_CYRILLIC.decode_without_bom_handling(&[byte]).0.into_owned();
        let mac = plain.chars().map(|c| (0..=255).find(|byte| letter(*byte) == c.to_string()).unwrap());
        assert_eq!(decode(&mac.collect::<Vec<u8>>(), None).unwrap(), plain);
        for encoding in
            [encoding_rs::WINDOWS_1251, encoding_rs::KOI8_R, encoding_rs::IBM866, encoding_rs::ISO_8859_5]
        {
            assert_eq!(decode(&encoding.encode(plain).0, None).unwrap(), plain, "{}", encoding.name());
        }
    }

    #[test]
    fn korean_of_the_mail_is_read() {
        let plain = "한글 ABC\n가";
        let mut mail = b"\x1B$)C".to_vec();
        for letter in plain.chars() {
            let euc = encoding_rs::EUC_KR.encode(&letter.to_string()).0.into_owned();
            match euc.as_slice() {
                [one] => mail.push(*one),
                two => {
                    mail.extend([0x0E].into_iter().chain(two.iter().map(|byte| byte & 0x7F)).chain([0x0F]));
                }
            }
        }
        assert_eq!(decode(&mail, None).unwrap(), plain);
    }

    #[test]
    fn what_comes_late_counts() {
        let text =
            "Plain words.\n".repeat(40_000) + &"Der Wärter hört das Nebelhorn, dreißig Ellen.\n".repeat(4);
        assert_eq!(decode(&encoding_rs::WINDOWS_1252.encode(&text).0, None).unwrap(), text);
    }

    #[test]
    fn what_is_declared_is_believed_where_it_fits() {
        let page = "<?xml version=\"1.0\" encoding=\"ISO-8859-2\"?><a>łódź</a>";
        assert_eq!(decode(&encoding_rs::ISO_8859_2.encode(page).0, None).unwrap(), page);
        let letter = encoding_rs::KOI8_R.encode("Да").0;
        assert_eq!(decode(&letter, Some("KOI8-R")).unwrap(), "Да");
        // What says that it is something else is read as what it is.
        assert_eq!(decode("Да".as_bytes(), Some("iso-8859-1")).unwrap(), "Да");
    }
}
