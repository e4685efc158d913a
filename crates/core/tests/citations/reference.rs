//! The rules of citations once more, on whole texts and as plainly as possible, to hold the streaming filter against.

const SPAN: usize = 512;
const LONGEST: usize = 512;

/// Of each byte, whether it is code.
pub(crate) fn code(text: &str) -> Vec<bool> {
    let mut code = vec![false; text.len()];
    let (mut at, mut line_start, mut list) = (0, true, false);
    while at < text.len() {
        if line_start {
            if let Some((mark, length)) = opens(first_line(&text[at..]), list) {
                let mut end = at + first_line(&text[at..]).len();
                while end < text.len() {
                    let line = first_line(&text[end..]);
                    end += line.len();
                    if closes(line, mark, length) {
                        break;
                    }
                }
                code[at..end].fill(true);
                at = end;
                continue;
            }
            list |= begins_list(first_line(&text[at..]));
        }
        let rest = &text[at..];
        let mut step = rest.chars().next().unwrap().len_utf8();
        if rest.starts_with('\\') && rest[1..].starts_with(|c: char| c.is_ascii_punctuation()) {
            step = 2;
        } else if rest.starts_with('`') {
            let run = rest.len() - rest.trim_start_matches('`').len();
            step = run;
            if let Some(end) = closing_run(rest, run, list) {
                code[at..at + end].fill(true);
                step = end;
            }
        }
        at += step;
        line_start = text[..at].ends_with('\n');
    }
    code
}

fn first_line(text: &str) -> &str {
    text.split_inclusive('\n').next().unwrap_or_default()
}

/// The end of the run that closes a span, in the same paragraph.
fn closing_run(text: &str, run: usize, list: bool) -> Option<usize> {
    let mut paragraph = text.len();
    for (newline, _) in text.match_indices('\n') {
        let line = first_line(&text[newline + 1..]);
        let blank = line.trim_matches([' ', '\t', '\r', '\n']).is_empty() && line.ends_with('\n');
        if blank || opens(line, list).is_some() {
            paragraph = newline;
            break;
        }
    }
    let mut at = run;
    while at < paragraph && at <= SPAN {
        if text[at..].starts_with('`') {
            let length = text[at..].len() - text[at..].trim_start_matches('`').len();
            if length == run {
                return Some(at + length);
            }
            at += length;
        } else {
            at += text[at..].chars().next().unwrap().len_utf8();
        }
    }
    None
}

/// A line's content after blanks, quote marks and list marks; whether there are list marks.
fn content(line: &str) -> (&str, bool) {
    let (mut rest, mut list) = (line, false);
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let blank = |rest: &str, at: usize| rest.get(at..).is_some_and(|rest| rest.starts_with([' ', '\t']));
        if rest.starts_with([' ', '\t', '>']) {
            rest = &rest[1..];
        } else if rest.starts_with(['-', '*', '+']) && blank(rest, 1) {
            (rest, list) = (&rest[2..], true);
        } else if (1..=9).contains(&digits)
            && rest[digits..].starts_with(['.', ')'])
            && blank(rest, digits + 1)
        {
            (rest, list) = (&rest[digits + 2..], true);
        } else {
            return (rest, list);
        }
    }
}

fn begins_list(line: &str) -> bool {
    content(line).1
}

fn opens(line: &str, list: bool) -> Option<(char, usize)> {
    let (rest, own_list) = content(line);
    let before = &line[..line.len() - rest.len()];
    let indentation = before.len() - before.trim_end_matches([' ', '\t']).len();
    if before.len() > 64 || indentation > 3 && !own_list && !list {
        return None;
    }
    let mark = rest.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = rest.len() - rest.trim_start_matches(mark).len();
    let info = rest[length..].trim_end_matches('\n');
    let fine = (3..=64).contains(&length) && info.len() <= 256 && (mark == '~' || !info.contains('`'));
    fine.then_some((mark, length))
}

fn closes(line: &str, mark: char, length: usize) -> bool {
    let rest = line.trim_start_matches([' ', '\t', '>']);
    let after = rest.trim_start_matches(mark);
    (length..=64).contains(&(rest.len() - after.len()))
        && after.trim_matches([' ', '\t', '\r', '\n']).is_empty()
}

/// The marker that a text begins with: its length and members, each with what separates it from the one before.
pub(crate) fn marker(text: &str) -> Option<(usize, Vec<(String, String)>)> {
    let inner = text.strip_prefix('[')?.split_once(']')?.0;
    if inner.len() + 2 > LONGEST {
        return None;
    }
    let separators = [',', ';', '，', '；', '、'];
    let blanks = [' ', '\u{A0}', '\u{3000}'];
    let mut members = Vec::new();
    let mut separator = String::new();
    for part in inner.split_inclusive(separators) {
        let (part, sign) = match part.chars().next_back().filter(|c| separators.contains(c)) {
            Some(sign) => (&part[..part.len() - sign.len_utf8()], sign.to_string()),
            None => (part, String::new()),
        };
        let start = part.trim_start_matches(blanks);
        let member = start.trim_end_matches(blanks);
        let before = &part[..part.len() - start.len()];
        let after = &start[member.len()..];
        let digits = member.strip_prefix('S')?;
        let outside = members.is_empty() && !before.is_empty() || sign.is_empty() && !after.is_empty();
        if digits.is_empty()
            || !digits.bytes().all(|byte| byte.is_ascii_digit())
            || outside
            || before.chars().count() > 2
            || after.chars().count() > 2
        {
            return None;
        }
        members.push((separator.clone() + before, digits.to_owned()));
        separator = format!("{after}{sign}");
    }
    (!members.is_empty() && separator.is_empty()).then(|| (inner.len() + 2, members))
}

/// A text without markers that name no source, and the sources of those that are left with where each ends.
pub(crate) fn pass(text: &str, sources: usize, gap: &str) -> (String, Vec<(usize, usize)>) {
    let code = code(text);
    let (mut out, mut cited, mut at) = (String::new(), Vec::new(), 0);
    while at < text.len() {
        let found = if code[at] { None } else { marker(&text[at..]) };
        let Some((length, members)) = found else {
            let letter = text[at..].chars().next().unwrap();
            out.push(letter);
            at += letter.len_utf8();
            continue;
        };
        at += length;
        let valid: Vec<_> = members
            .iter()
            .filter(|(_, digits)| !digits.starts_with('0'))
            .filter_map(|(separator, digits)| Some((separator, digits.parse::<usize>().ok()?)))
            .filter(|(_, number)| *number <= sources)
            .collect();
        if valid.is_empty() {
            out.push_str(gap);
            continue;
        }
        out.push('[');
        for (position, (separator, number)) in valid.iter().enumerate() {
            out.push_str(if position == 0 { "" } else { separator });
            out.push('S');
            out.push_str(&number.to_string());
        }
        out.push(']');
        cited.extend(valid.iter().map(|(_, number)| (*number, out.len())));
    }
    (out, cited)
}

/// What the reader gets of a model's text, and the sources cited with where each marker ends.
pub(crate) fn checked(text: &str, sources: usize) -> (String, Vec<(usize, usize)>) {
    pass(&pass(text, sources, "").0, sources, "…")
}
