//! Tags of HTML in an answer, outside of code.
//!
//! A tag passes if it has no attribute with a value, or only harmless ones of the list below, with `href` and `src` that lead
//! where a link may lead. `script` and `style` never pass, nor do angle brackets around a scheme without `//`
//! (`<javascript:…>`) that stands in no source. What does not pass gets a blank after its `<`, and is text.

use super::links::Known;

/// A longer tag is not looked at, in bytes.
const LONGEST: usize = 1024;
/// A longer name is none, in bytes.
const NAME: usize = 64;
/// Attributes that lead nowhere and run nothing.
const HARMLESS: [&str; 12] =
    ["alt", "title", "width", "height", "align", "colspan", "rowspan", "class", "id", "lang", "dir", "start"];

/// What a `<` begins.
pub(super) enum Tag {
    Harmless,
    /// So many bytes are a tag in which nothing is left to look at.
    Whole(usize),
    Harmful,
    /// More text is needed to tell.
    More,
}

/// Judges the tag that a text begins with.
pub(super) fn tag(text: &str, known: &Known, last: bool) -> Tag {
    let rest = &text[1..];
    match rest.chars().next() {
        None if !last => return Tag::More,
        Some(c) if c.is_ascii_alphabetic() => {}
        _ => return Tag::Harmless,
    }
    let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '+' | '.'));
    let length = match length {
        Some(length) if length <= NAME => length,
        None if rest.len() <= NAME && !last => return Tag::More,
        _ => return Tag::Harmless,
    };
    let (name, body) = rest.split_at(length);
    if let Some(after) = body.strip_prefix(':') {
        return autolink(rest, after, known, last);
    }
    if !body.starts_with(|c: char| c.is_whitespace() || matches!(c, '/' | '>')) {
        return Tag::Harmless;
    }
    if ["script", "style"].iter().any(|active| name.eq_ignore_ascii_case(active)) {
        return Tag::Harmful;
    }
    let end = body.find('>').into_iter().chain(body.find("\n\n")).min();
    let body = match end {
        Some(end) if end <= LONGEST => &body[..end],
        None if body.len() <= LONGEST && !last => return Tag::More,
        _ => &body[..body.floor_char_boundary(LONGEST)],
    };
    if !body.contains('=') || end.is_some_and(|end| end <= LONGEST) && harmless(body, known) {
        match end.filter(|end| rest[length + end..].starts_with('>') && only_leads(body)) {
            Some(end) => Tag::Whole(1 + length + end + 1),
            None => Tag::Harmless,
        }
    } else {
        Tag::Harmful
    }
}

/// Whether attributes are one that leads somewhere, and perhaps others without anything like a URL.
fn only_leads(body: &str) -> bool {
    let body = body.trim_start();
    let value = ["href=", "src="].iter().find_map(|name| body.strip_prefix(name));
    let quote = value.and_then(|value| value.chars().next()).filter(|c| matches!(c, '"' | '\''));
    let (Some(value), Some(quote)) = (value, quote) else { return false };
    value[1..].split_once(quote).is_some_and(|(_, rest)| !rest.contains(['/', '&', '\\', ':', 'w', 'W']))
}

/// `<scheme:…>`.
fn autolink(whole: &str, after: &str, known: &Known, last: bool) -> Tag {
    if after.len() < 2 && !last && "//".starts_with(after) {
        return Tag::More;
    }
    // The gate for URLs sees these.
    if after.starts_with("//") {
        return Tag::Harmless;
    }
    match whole.find(|c: char| c == '>' || c == '<' || c.is_whitespace()) {
        Some(end)
            if end <= LONGEST && (!whole[end..].starts_with('>') || known.destination(&whole[..end])) =>
        {
            Tag::Harmless
        }
        None if whole.len() <= LONGEST && !last => Tag::More,
        None if last => Tag::Harmless,
        _ => Tag::Harmful,
    }
}

/// Whether attributes are harmless, and written as they should be.
fn harmless(attributes: &str, known: &Known) -> bool {
    let mut rest = attributes;
    loop {
        let trimmed = rest.trim_start();
        if trimmed.is_empty() || trimmed == "/" {
            return true;
        }
        if trimmed.len() == rest.len() {
            return false;
        }
        let end = trimmed.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(trimmed.len());
        let (name, after) = trimmed.split_at(end);
        if name.is_empty() {
            return false;
        }
        let Some(value) = after.trim_start().strip_prefix('=') else {
            rest = after;
            continue;
        };
        let value = value.trim_start();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.split_once(*quote));
        let Some((value, after)) = quoted else { return false };
        let name = name.to_ascii_lowercase();
        let leads = matches!(name.as_str(), "href" | "src");
        if leads && !known.destination(value) || !leads && !HARMLESS.contains(&name.as_str()) {
            return false;
        }
        rest = after;
    }
}
