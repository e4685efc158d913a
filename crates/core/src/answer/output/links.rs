//! Links and images lead only to URLs that stand in the sources or in the question.
//!
//! The rules, for a URL that stands in neither (compared without scheme, `www.` apart, the host in lower case, the signs of
//! a sentence's end and a last `/` left out; a URL with anything appended is another URL):
//!
//! - `[text](url "title")` and `![text](url)` lose the brackets with the URL: `[text]`, `![text]`.
//! - A URL as such, with a scheme and `//`, with `www.`, or with `//` alone after a quote, bracket or equals sign, and the URL
//!   of a reference (`[name]: url`), becomes ⟨link removed⟩, in code, too.
//! - Tags of HTML: see [`tags`](super::tags).
//! - Outside of code, escapes and character references that a scheme or `www.` is hidden in come apart.
//! - What follows a known URL without a blank, but for markers and closing signs, is kept apart from it.
//!
//! Destinations without a host pass if they stand there, too, or can neither leave the site nor tell much: no `:`, `?`, `%`,
//! `&`, `\`, no control character, and neither `/` nor `.` in front; so does `#part`. Of schemes without `//` only `mailto:` and
//! `tel:` may pass; `javascript:` and `data:` never do. Names of hosts without a scheme and `www.` are no URLs.

use super::tags::{Tag, tag};
use crate::citations::markdown::{Markdown, Next};
use std::collections::HashSet;
use std::rc::Rc;

/// What stands in a URL's place.
pub(super) const REMOVED: &str = "⟨link removed⟩";
/// A longer URL is none of a source's, in bytes.
const LONGEST: usize = 2048;
/// A scheme's longest name that is looked at.
const SCHEME: usize = 32;

/// The URLs that may be shown.
#[derive(Debug)]
pub(super) struct Known {
    text: String,
    urls: HashSet<String>,
}

impl Known {
    pub(super) fn new(text: String) -> Self {
        let mut urls = HashSet::new();
        for sign in ["//", "www.", "WWW.", "Www."] {
            for (at, _) in text.match_indices(sign) {
                let before = text[..at].strip_suffix(':').filter(|_| sign == "//").unwrap_or_default();
                let scheme = before.len() - before.trim_end_matches(is_of_scheme).len();
                let from = if scheme > 0 { at - scheme - 1 } else { at };
                let url = &text[from..];
                let end = url_end(&url[at - from..], true).map_or(url.len(), |end| at - from + end);
                urls.insert(normal(&url[..end]));
            }
        }
        urls.remove("");
        Self { text, urls }
    }

    /// Whether a URL with a host is known, and none that runs something.
    fn url(&self, url: &str) -> bool {
        let runs =
            |scheme: &&str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        !["javascript:", "vbscript:", "data:", "blob:"].iter().any(runs) && self.urls.contains(&normal(url))
    }

    /// Whether a link may lead there.
    pub(super) fn destination(&self, destination: &str) -> bool {
        let destination = destination.trim_matches(['<', '>']).trim();
        let (path, scheme) = (destination.split('?').next().unwrap_or_default(), destination.split_once(':'));
        let is_url = destination.starts_with("//")
            || starts_with_www(destination)
            || scheme
                .is_some_and(|(scheme, rest)| scheme.chars().all(is_of_scheme) && rest.starts_with("//"));
        if is_url || destination.starts_with('#') {
            return !is_url || self.url(destination);
        }
        let tells = |c: char| matches!(c, ':' | '?' | '%' | '&' | '\\') || c.is_control();
        if !destination.contains(tells) && !destination.starts_with(['/', '.']) {
            return true;
        }
        // What Markdown, HTML or the browser would read as something else.
        if destination.contains(|c: char| c == '\\' || c.is_control()) || path.contains('&') {
            return false;
        }
        if path.contains(':') && !scheme.is_some_and(|(scheme, _)| matches!(scheme, "mailto" | "tel")) {
            return false;
        }
        // As it stands there.
        let is_part =
            |c: char| c.is_alphanumeric() || matches!(c, '/' | '?' | '&' | '=' | '%' | '-' | '_' | ':' | '.');
        self.text.match_indices(destination).any(|(at, _)| {
            !self.text[..at].ends_with(is_part)
                && !self.text[at + destination.len()..].trim_start_matches('.').starts_with(is_part)
        })
    }
}

fn is_of_scheme(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// A URL as it is compared.
fn normal(url: &str) -> String {
    let url = url.replace("&amp;", "&");
    let url = url.split_once("//").map_or(url.as_str(), |(scheme, rest)| match scheme {
        "" => rest,
        _ if scheme.eq_ignore_ascii_case("http:") || scheme.eq_ignore_ascii_case("https:") => rest,
        _ => &url,
    });
    let url = url[..trimmed(url)].trim_end_matches('/');
    let host = url.find(['/', '?', '#']).unwrap_or(url.len());
    url[..host].to_lowercase() + &url[host..]
}

/// A URL's length without the signs at its end that belong to the sentence around it.
fn trimmed(url: &str) -> usize {
    url.trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '}', '*', '_', '~', '(', '{']).len()
}

/// Where the URL ends that a text begins with: at a blank, a control character, an angle bracket, a backtick, a marker; at
/// quotes, bars, closing square brackets and the signs of other scripts, unless what follows them could go on with the URL, as
/// some clients would read it. `None` when more text is needed.
fn url_end(text: &str, last: bool) -> Option<usize> {
    let goes_on = |c: char| matches!(c, '?' | '&' | '=' | '#' | '/' | '%' | '@');
    for (at, c) in text.char_indices() {
        let rest = &text[at + c.len_utf8()..];
        let ends = match c {
            '<' | '>' | '`' => true,
            '[' => {
                let mut after = rest.chars();
                match (after.next(), after.next()) {
                    (Some('S'), Some(digit)) => digit.is_ascii_digit(),
                    (None, _) | (Some('S'), None) if !last => return None,
                    _ => false,
                }
            }
            _ if c.is_whitespace() || c.is_control() => true,
            _ if may_end(c) => match rest.trim_start_matches(may_end).chars().next() {
                None if !last => return None,
                Some(next) => !goes_on(next) && (!next.is_ascii_alphanumeric() || matches!(c, '|' | ']')),
                None => true,
            },
            _ => false,
        };
        if ends {
            return Some(at);
        }
    }
    last.then_some(text.len())
}

/// Whether more than markers and closing signs stands between a URL and the next blank. `None` when more text is needed.
fn goes_on(text: &str, last: bool) -> Option<bool> {
    let closes = |c: char| {
        matches!(
            c,
            '.' | ','
                | ';'
                | ':'
                | '!'
                | '?'
                | ')'
                | '}'
                | ']'
                | '*'
                | '_'
                | '~'
                | '"'
                | '\''
                | '|'
                | '`'
                | '>'
        ) || matches!(
            c,
            '”' | '’' | '»' | '」' | '』' | '）' | '】' | '。' | '，' | '、' | '；' | '：' | '！' | '？'
        )
    };
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(closes);
        let Some(first) = rest.chars().next() else { return if last { Some(false) } else { None } };
        if first.is_whitespace() || first == '<' {
            return Some(false);
        }
        if first != '[' {
            return Some(true);
        }
        // A marker; of anything else in brackets nobody knows.
        let Some(end) = rest.find(']') else {
            return if last || rest.len() > 64 { Some(true) } else { None };
        };
        let inner = |c: char| c.is_ascii_digit() || matches!(c, 'S' | ',' | ' ');
        if !rest[1..end].chars().all(inner) {
            return Some(true);
        }
        rest = &rest[end + 1..];
    }
}

/// A character reference that stands for a letter, a colon, a slash or a dot: nobody writes these so but to hide a URL.
fn character(text: &str, last: bool) -> Found {
    let end = text[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '#').map(|at| at + 1);
    let Some(end) = end else {
        return if last || text.len() > SCHEME { Found::Pass(1) } else { Found::More };
    };
    if !text[end..].starts_with(';') {
        return Found::Pass(1);
    }
    let name = &text[1..end];
    let number = name.strip_prefix('#').and_then(|number| match number.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => number.parse().ok(),
    });
    let hides = match number.and_then(char::from_u32) {
        Some(letter) => letter.is_ascii_alphanumeric() || matches!(letter, ':' | '/' | '.'),
        None => matches!(name, "colon" | "sol" | "period"),
    };
    if hides { Found::Apart(1) } else { Found::Pass(1) }
}

fn may_end(c: char) -> bool {
    matches!(c, '"' | '\'' | '|' | ']') || !c.is_ascii() && !c.is_alphanumeric()
}

fn starts_with_www(text: &str) -> bool {
    text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www."))
}

/// The gate.
#[derive(Debug)]
pub(super) struct Links {
    known: Rc<Known>,
    markdown: Markdown,
    held: String,
    /// The text so far ends with this.
    before: String,
    /// It ends with a `]` outside of code.
    bracket: bool,
    /// A URL too long to be held is being left out.
    leaving_out: bool,
}

/// What a place in the text turns out to be.
enum Found {
    /// Nothing: so many bytes pass.
    Pass(usize),
    /// So many bytes pass, and what follows is kept apart from them.
    Apart(usize),
    /// So many bytes go, and this comes in their place.
    Replace(usize, &'static str),
    /// A URL that is too long to be looked at.
    Endless,
    /// More text is needed.
    More,
}

impl Links {
    pub(super) fn new(known: Rc<Known>) -> Self {
        Self {
            known,
            markdown: Markdown::default(),
            held: String::new(),
            before: String::new(),
            bracket: false,
            leaving_out: false,
        }
    }

    pub(super) fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        self.run(false)
    }

    pub(super) fn finish(&mut self) -> String {
        self.run(true)
    }

    fn run(&mut self, last: bool) -> String {
        let held = std::mem::take(&mut self.held);
        let (mut rest, mut out) = (held.as_str(), String::with_capacity(held.len()));
        'text: loop {
            if self.leaving_out {
                if let Some(end) = url_end(rest, last) {
                    (rest, self.leaving_out) = (&rest[end..], false);
                } else {
                    // What may be its end stays.
                    let gone = rest.trim_end_matches("[S").trim_end_matches('[').trim_end_matches(may_end);
                    rest = &rest[gone.len()..];
                }
                if self.leaving_out {
                    break;
                }
            }
            let (length, code) = match self.markdown.next(rest, last) {
                Next::Text(length) => (length, false),
                Next::Code(length) => (length, true),
                Next::More => break,
            };
            // A span of code is only known from its beginning: it is gone through as a whole.
            let span = code && !self.markdown.in_fence(&rest[..length]);
            if code {
                // As a whole, too: the beginning of a line may look like the end of a fence.
                self.markdown.consume(&rest[..length], true);
            }
            let end = rest.len() - length;
            let mut whole = String::new();
            while rest.len() > end {
                let (view, last) = if span { (&rest[..rest.len() - end], true) } else { (rest, last) };
                let pass = self.next_place(view, rest.len() - end, code);
                if pass > 0 {
                    self.go_on(&rest[..pass], code, &mut whole);
                    if !code {
                        self.markdown.consume(&rest[..pass], false);
                    }
                    rest = &rest[pass..];
                    continue;
                }
                let (gone, put): (usize, &str) = match self.found(view, code, last) {
                    Found::Pass(length) => (length, &rest[..length]),
                    Found::Apart(length) => {
                        self.go_on(&rest[..length], code, &mut whole);
                        if !code {
                            self.markdown.consume(&rest[..length], false);
                        }
                        (length, " ")
                    }
                    Found::Replace(length, text) => (length, text),
                    Found::Endless => {
                        self.leaving_out = true;
                        (0, REMOVED)
                    }
                    Found::More => {
                        out.push_str(&whole);
                        break 'text;
                    }
                };
                self.go_on(put, code, &mut whole);
                if !code {
                    self.markdown.consume(put, false);
                }
                rest = &rest[gone..];
                if self.leaving_out || rest.len() < end {
                    break;
                }
            }
            out.push_str(&whole);
        }
        rest.clone_into(&mut self.held);
        out
    }

    /// Notes what passes.
    fn go_on(&mut self, text: &str, code: bool, out: &mut String) {
        out.push_str(text);
        if let Some(last) = text.chars().next_back() {
            self.bracket = last == ']' && !code;
            self.before.push_str(text);
            let cut = self.before.len().saturating_sub(SCHEME);
            self.before.drain(..self.before.ceil_char_boundary(cut));
        }
    }

    /// Where in the first `length` bytes something may begin that has to be looked at; at 0, it is the beginning itself.
    fn next_place(&self, text: &str, length: usize, code: bool) -> usize {
        let mut previous = self.before.chars().next_back();
        if self.bracket && !code && text.starts_with(['(', ':']) {
            return 0;
        }
        for (at, c) in text[..length].char_indices() {
            let apart = !previous.is_some_and(char::is_alphanumeric);
            let found = match c {
                'h' | 'H' | 'w' | 'W' => apart,
                ':' => previous.is_some_and(is_of_scheme),
                '/' => matches!(previous, Some('"' | '\'' | '(' | '=' | '<' | '[')),
                '<' | '\\' | '&' => !code,
                _ => false,
            };
            if found {
                return at;
            }
            if c == ']' && !code {
                // What follows has to be looked at.
                return at + 1;
            }
            previous = Some(c);
        }
        length
    }

    /// What the text begins with.
    fn found(&self, text: &str, code: bool, last: bool) -> Found {
        let first = text.chars().next();
        match first {
            Some('(') if self.bracket => self.link(text, last),
            Some(':') if self.bracket => self.reference(text, last),
            Some('<') => match tag(text, &self.known, last) {
                Tag::Harmless => Found::Pass(1),
                Tag::Whole(length) => Found::Pass(length),
                Tag::Harmful => Found::Replace(1, "< "),
                Tag::More => Found::More,
            },
            Some('\\') => self.escape(text, last),
            Some('&') => character(text, last),
            Some('h' | 'H') => self.url_after(text, &["http://", "https://"], code, last),
            Some('w' | 'W') => self.url_after(text, &["www."], code, last),
            Some(':') => self.url_after(text, &["://"], code, last),
            Some('/') => match self.url_after(text, &["//"], code, last) {
                // Comments of code begin so, too: a host has a dot.
                Found::Replace(length, _) if code && !text[..length].contains('.') => Found::Pass(1),
                found => found,
            },
            _ => Found::Pass(first.map_or(0, char::len_utf8)),
        }
    }

    /// A backslash that only hides what a scheme or `www.` is written with: `https\://`, `https:\//`, `www\.`.
    fn escape(&self, text: &str, last: bool) -> Found {
        let before = self.before.as_str();
        let hides = match text[1..].chars().next() {
            None => return if last { Found::Pass(1) } else { Found::More },
            Some(':') => {
                let after = text[2..].chars().next();
                if after.is_none() && !last {
                    return Found::More;
                }
                before.ends_with(is_of_scheme) && matches!(after, Some('/' | '\\' | '&'))
            }
            Some('/') => before.ends_with([':', '/', ';']),
            Some('.') => before
                .get(before.len().saturating_sub(3)..)
                .is_some_and(|end| end.eq_ignore_ascii_case("www")),
            _ => false,
        };
        // These pass with their backslash: on their own they would mean something else.
        let escaped = usize::from(text[1..].starts_with(['`', '\\']));
        if hides { Found::Apart(1) } else { Found::Pass(1 + escaped) }
    }

    /// A URL if the text begins with one of these signs and something follows.
    fn url_after(&self, text: &str, signs: &[&str], code: bool, last: bool) -> Found {
        let begins =
            |sign: &&&str| text.get(..sign.len()).is_some_and(|start| start.eq_ignore_ascii_case(sign));
        let Some(sign) = signs.iter().find(begins) else {
            let may_begin =
                |sign: &&str| sign.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
            return if !last && signs.iter().any(may_begin) { Found::More } else { Found::Pass(1) };
        };
        let Some(end) = url_end(text, last) else {
            return if text.len() > LONGEST { Found::Endless } else { Found::More };
        };
        if end > LONGEST {
            return Found::Endless;
        }
        let url = &text[..trimmed(&text[..end])];
        if url.len() <= sign.len() {
            // Nothing follows.
            return Found::Pass(1);
        }
        // The scheme has passed already, unless it is one of the usual.
        let scheme = if sign.starts_with(':') {
            &self.before[self.before.trim_end_matches(is_of_scheme).len()..]
        } else {
            ""
        };
        let known = |url: &str| url.len() > sign.len() && self.known.url(&format!("{scheme}{url}"));
        if known(url) {
            // Clients that look for URLs themselves take more than Markdown does: all up to a blank. They do not look in code.
            return match if code { Some(false) } else { goes_on(&text[url.len()..], last) } {
                None if text.len() < LONGEST => Found::More,
                Some(false) => Found::Pass(url.len()),
                _ => Found::Apart(url.len()),
            };
        }
        // Words of scripts without blanks may follow a URL directly.
        let ascii = url.find(|c: char| !c.is_ascii()).unwrap_or(url.len());
        let ascii = trimmed(&url[..ascii]);
        if ascii < url.len() && ascii > sign.len() && known(&url[..ascii]) && text[..ascii].contains('.') {
            return Found::Apart(ascii);
        }
        Found::Replace(url.len(), REMOVED)
    }

    /// `(destination "title")` after a closing bracket.
    fn link(&self, text: &str, last: bool) -> Found {
        let too_long = text.len() >= LONGEST;
        let text = &text[..text.floor_char_boundary(LONGEST)];
        let unfinished = || match too_long {
            // A blank makes it no link.
            true => Found::Replace(1, " ("),
            false if last => Found::Pass(1),
            false => Found::More,
        };
        let start = text.len() - text[1..].trim_start().len();
        let destination = &text[start..];
        let Some(first) = destination.chars().next() else { return unfinished() };
        let mut end = None;
        if first == '<' {
            end = destination.find(['>', '\n']).map(|at| at + 1);
        } else {
            let mut depth = 0;
            for (at, c) in destination.char_indices() {
                match c {
                    '(' => depth += 1,
                    ')' if depth == 0 => end = Some(at),
                    ')' => depth -= 1,
                    _ if c.is_whitespace() => end = Some(at),
                    _ => continue,
                }
                if end.is_some() {
                    break;
                }
            }
        }
        let Some(end) = end else { return unfinished() };
        let place = &destination[..end];
        if self.known.destination(place) {
            return Found::Pass(1);
        }
        // The title, if there is one, and the bracket; of something else, only the beginning goes.
        let after = start + end;
        let Some(close) = text[after..].find(')') else {
            return if too_long || last { Found::Replace(after, REMOVED) } else { Found::More };
        };
        let title = text[after..after + close].trim();
        let quoted = title.is_empty() || title.starts_with(['"', '\'', '(']);
        if quoted { Found::Replace(after + close + 1, "") } else { Found::Replace(after, REMOVED) }
    }

    /// `: destination` after a closing bracket: a reference's URL, if nothing but a title follows in the line.
    fn reference(&self, text: &str, last: bool) -> Found {
        let too_long = text.len() >= LONGEST;
        let text = &text[..text.floor_char_boundary(LONGEST)];
        let start = text.len() - text[1..].trim_start().len();
        let destination = &text[start..];
        let end = destination.find(char::is_whitespace);
        let Some(end) = end.or(last.then_some(destination.len())) else {
            return if too_long { Found::Replace(1, " :") } else { Found::More };
        };
        let place = &destination[..end];
        // A scheme is looked at where it stands.
        if place.is_empty() || place.contains("://") || self.known.destination(place) {
            return Found::Pass(1);
        }
        let after = destination[end..].trim_start_matches([' ', '\t']);
        if after.is_empty() && !last && !too_long {
            return Found::More;
        }
        let is_reference = after.is_empty() || after.starts_with(['\n', '\r', '"', '\'', '(']);
        if is_reference { Found::Replace(start + end, REMOVED) } else { Found::Pass(1) }
    }
}
