//! A page without its tags, for pages of which no tree can be made: too many elements, or too deep ones. Nothing in it depends on
//! how they are nested.

use quick_xml::escape::resolve_html5_entity;

/// Elements that end no line.
const INLINE: [&str; 22] = [
    "a", "abbr", "b", "bdi", "bdo", "cite", "code", "em", "font", "i", "kbd", "mark", "q", "s", "small",
    "span", "strong", "sub", "sup", "u", "var", "wbr",
];
/// Elements that need no end, or none of their own.
const UNENDED: [&str; 26] = [
    "area", "base", "br", "col", "dd", "dt", "embed", "hr", "img", "input", "li", "link", "meta", "optgroup",
    "option", "p", "param", "rp", "rt", "source", "tbody", "td", "tfoot", "th", "thead", "tr",
];
const NEVER: [&str; 4] = ["script", "style", "noscript", "template"];

/// A tag's name in lower case, whether it is an end, and what comes after the tag; `rest` begins behind its `<`.
fn tag(rest: &str) -> Option<(String, bool, &str)> {
    let is_end = rest.starts_with('/');
    let name = rest.trim_start_matches('/');
    let length = name.bytes().take_while(u8::is_ascii_alphanumeric).count();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    // Looked for only in tags: each of a million `<` would go through all that comes after it.
    let after = name.find('>').map_or("", |end| &name[end + 1..]);
    Some((name[..length.min(20)].to_ascii_lowercase(), is_end, after))
}

/// Times at most that a parser compares the name of an attribute with one before it in its tag: it does with each. Whatever may be
/// a tag is taken for one, for what is none can't be told without a parser: a quote in a comment would lead astray.
pub(super) fn comparisons(page: &str) -> usize {
    let bytes = page.as_bytes();
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0C' | b'/');
    // With so many attributes a tag begins: those of each body are put to the first one's.
    let mut in_tag_name = None;
    let mut attributes = 0;
    // Attributes so far of the tag that has the most: among names, behind `=`, in a value without quotes, and in ones with them.
    let [mut name, mut equals, mut bare, mut double, mut single] = [None::<usize>; 5];
    let mut compared = 0_usize;
    for (at, &byte) in bytes.iter().enumerate() {
        let begins = at > 0 && (is_blank(bytes[at - 1]) || matches!(bytes[at - 1], b'"' | b'\''));
        if begins
            && !(is_blank(byte) || byte == b'>')
            && let Some(count) = &mut name
        {
            compared = compared.saturating_add(*count);
            *count += 1;
            attributes += 1;
        }
        match byte {
            b'>' => (in_tag_name, name, equals, bare) = (None, None, None, None),
            b'/' => (bare, equals) = (bare.max(equals), None),
            blank if is_blank(blank) => (name, bare) = (name.max(bare), None),
            b'"' => (name, double, equals) = (name.max(double), equals, None),
            b'\'' => (name, single, equals) = (name.max(single), equals, None),
            // Where a name begins it may be a letter of it.
            b'=' => (bare, equals, name) = (bare.max(equals), name, name.filter(|_| begins)),
            _ => (bare, equals) = (bare.max(equals), None),
        }
        if is_blank(byte) {
            name = name.max(in_tag_name.take());
        }
        let next = &bytes[at + 1..];
        if byte == b'<'
            && next.strip_prefix(b"/").unwrap_or(next).first().is_some_and(u8::is_ascii_alphabetic)
        {
            let is = |name: &[u8]| next.get(..4).is_some_and(|next| next.eq_ignore_ascii_case(name));
            in_tag_name = in_tag_name.max(Some(if is(b"body") || is(b"html") { attributes } else { 0 }));
        }
    }
    compared
}

/// About how deep elements are nested at the deepest, told without a tree.
pub(super) fn depth(text: &str) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    for (at, _) in text.match_indices('<') {
        match tag_name(&text[at + 1..]) {
            Some((name, false)) if !UNENDED.contains(&name.as_str()) => {
                now += 1;
                deepest = deepest.max(now);
            }
            Some((name, true)) if !UNENDED.contains(&name.as_str()) => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn tag_name(rest: &str) -> Option<(String, bool)> {
    let is_end = rest.starts_with('/');
    let name = rest.trim_start_matches('/');
    let length = name.bytes().take(20).take_while(u8::is_ascii_alphanumeric).count();
    name.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| (name[..length].to_ascii_lowercase(), is_end))
}

/// The text, a line for each block.
pub(super) fn text(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once('<') {
        words(before, &mut out);
        if let Some(comment) = after.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
        } else if after.starts_with(['!', '?']) {
            rest = after.split_once('>').map_or("", |(_, after)| after);
        } else if let Some((name, is_end, after)) = tag(after) {
            rest = after;
            if NEVER.contains(&name.as_str()) && !is_end {
                rest = skipped(after, &name);
            } else if !INLINE.contains(&name.as_str()) && !out.ends_with('\n') {
                out.push('\n');
            }
        } else {
            out.push('<');
            rest = after;
        }
    }
    words(rest, &mut out);
    out
}

/// What comes after the end of an element that holds no text.
fn skipped<'a>(rest: &'a str, name: &str) -> &'a str {
    let ends = rest.match_indices("</").find(|(at, _)| {
        let after = &rest.as_bytes()[at + 2..];
        after.len() >= name.len() && after[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    });
    ends.map_or("", |(at, _)| rest[at..].split_once('>').map_or("", |(_, after)| after))
}

/// Adds text with blanks as single ones, and letters instead of what stands for them.
fn words(text: &str, out: &mut String) {
    let mut rest = text;
    let push = |part: &str, out: &mut String| {
        for c in part.chars() {
            match c {
                c if c.is_whitespace() => {
                    if !out.ends_with([' ', '\n']) && !out.is_empty() {
                        out.push(' ');
                    }
                }
                c => out.push(c),
            }
        }
    };
    while let Some((before, after)) = rest.split_once('&') {
        push(before, out);
        let end = after.bytes().take(32).position(|byte| byte == b';');
        let letters = end.and_then(|end| letters(&after[..end]));
        if let (Some(letters), Some(end)) = (letters, end) {
            push(&letters, out);
            rest = &after[end + 1..];
        } else {
            out.push('&');
            rest = after;
        }
    }
    push(rest, out);
}

fn letters(name: &str) -> Option<String> {
    let Some(number) = name.strip_prefix('#') else { return resolve_html5_entity(name).map(str::to_owned) };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_and_words_stay() {
        let page = "<!DOCTYPE html><script>if (a<b) {}</script><p>One &amp; <b>t</b>wo<!-- <p> -->\n3 < 4<br>caf&eacute; &#x41;&nosuch;";
        assert_eq!(text(page).trim(), "One & two 3 < 4\ncafé A&nosuch;");
        assert_eq!(depth("<div><p><p><br><b></b></div><i>"), 2);
        assert_eq!(depth(&"<a>".repeat(1000)), 1000);
    }

    #[test]
    fn attributes_of_a_tag_are_counted() {
        let counted = [
            ("a b c d <p>a b c</p>", 0),
            ("<p a b c>", 3),
            ("<p a=b c=d e>", 3),
            ("<p a='> x y' b=\"> x y\"c>", 3),
            ("<p/a/b=/x/y c>", 3),
            ("<img src='data:a b c d e f'> i<b && a > c d e f", 1),
        ];
        for (page, wanted) in counted {
            assert_eq!(comparisons(page), wanted, "{page}");
        }
    }
}
