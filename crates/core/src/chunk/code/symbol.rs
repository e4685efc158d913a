//! What an item is called, by the code that introduces it.

use crate::chunk::code::language::{Kind, Language, MODIFIERS};
use crate::chunk::prefix::one_line;

/// Longer ones are cut.
const MAX_SYMBOL_BYTES: usize = 96;

/// What looks like the name of a function before its parentheses, and is none.
const CONTROL: &[&str] = &[
    "if",
    "else",
    "for",
    "foreach",
    "while",
    "switch",
    "match",
    "catch",
    "return",
    "do",
    "try",
    "using",
    "lock",
    "fixed",
    "synchronized",
    "sizeof",
    "new",
    "throw",
    "case",
    "await",
    "yield",
    "with",
    "typeof",
    "in",
    "of",
    "when",
    "delete",
    "assert",
    "function",
];

/// The item that begins with this code, if it is one. `parent` is what it is in, `None` at the top level; `body` says that
/// a brace follows.
pub(super) fn symbol(
    language: Language,
    head: &str,
    parent: Option<Kind>,
    body: bool,
) -> Option<(String, Kind)> {
    let (symbol, kind) = match language {
        Language::Css => body.then(|| (head.to_owned(), Kind::Container)),
        Language::Toml => toml(head),
        Language::Yaml => yaml(head, parent),
        Language::Vue | Language::Svelte => tag(head),
        Language::Sql => sql(head),
        Language::R => assigned(head),
        Language::Haskell => introduced(language, head, parent, body).or_else(|| equation(head)),
        Language::Erlang => clause(head),
        Language::Bash => introduced(language, head, parent, body).or_else(|| shell_function(head)),
        Language::Lua => introduced(language, head, parent, body).or_else(|| assigned(head)),
        _ => introduced(language, head, parent, body)
            .or_else(|| if body { unnamed(language, head, parent) } else { None }),
    }?;
    let mut symbol = one_line(&symbol);
    symbol.truncate(symbol.floor_char_boundary(MAX_SYMBOL_BYTES));
    (!symbol.is_empty()).then_some((symbol, kind))
}

/// The code after the annotations it begins with; one that does not end there is all of it.
pub(super) fn without_annotations(mut code: &str) -> &str {
    loop {
        code = code.trim_start();
        let after = if code.starts_with("#[") || code.starts_with('[') {
            after_brackets(&code[code.find('[').unwrap_or(0)..])
        } else if code.starts_with("template<")
            || code.starts_with("template <")
            || code.starts_with("__attribute__")
        {
            after_brackets(code[code.find(['<', '(']).unwrap_or(code.len())..].trim_start())
        } else if code.starts_with('@') && !code.starts_with("@interface") {
            let name = code[1..].trim_start_matches(|c: char| is_name(c) || c == '.' || c == ':');
            if name.starts_with('(') { after_brackets(name).or(Some("")) } else { Some(name) }
        } else {
            None
        };
        match after {
            Some(after) if after.len() < code.len() => code = after,
            _ => return code,
        }
    }
}

/// What follows the bracket that the code begins with and all that is in it.
fn after_brackets(code: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '>' if before != '-' && before != '=' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = c;
        if depth == 0 {
            return (at > 0).then(|| &code[at + c.len_utf8()..]);
        }
    }
    None
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// The word that the code begins with, as far as it may be a keyword, and the rest.
fn word(code: &str) -> (&str, &str) {
    let code = code.trim_start();
    let start = usize::from(code.starts_with(['(', '@']));
    let mut end = code[start..].find(|c: char| !is_name(c)).map_or(code.len(), |end| start + end);
    if end > start && code[end..].starts_with(['!', '*', '-']) {
        end += 1;
    }
    code.split_at(end)
}

/// An item that a keyword introduces.
fn introduced(language: Language, head: &str, parent: Option<Kind>, body: bool) -> Option<(String, Kind)> {
    let items = language.spec().items;
    let keyword = |word: &str| items.iter().find(|(keyword, _)| *keyword == word).copied();
    let mut rest = without_annotations(head);
    let mut found = None;
    loop {
        let (mut first, mut after) = word(rest);
        if keyword(first).is_none() && first.ends_with('*') {
            (first, after) = rest.trim_start().split_at(first.len() - 1);
        }
        match (keyword(first), found) {
            (Some(item), None) => found = Some(item),
            // `const fn`, `enum class`, `class func`.
            (Some(item), Some(_)) if word(after).0.starts_with(is_name) => found = Some(item),
            // `const unsafe fn`; but a function may be called `new`.
            (None, Some(("const" | "static", _)))
                if MODIFIERS.contains(&first) && keyword(word(after).0).is_some() => {}
            (None, None) if MODIFIERS.contains(&first) => {
                after = after.trim_start();
                after = after.strip_prefix("\"\"").unwrap_or(after);
                if after.starts_with('(') {
                    after = after_brackets(after)?;
                }
            }
            _ => break,
        }
        rest = after;
    }
    if found.is_none() && body && head.contains("extern") && rest.trim().is_empty() {
        return Some(("extern".into(), Kind::Container));
    }
    let (keyword, mut kind) = found?;
    let in_function = parent == Some(Kind::Function);
    if in_function && (kind == Kind::Value || language == Language::OCaml) {
        return None;
    }
    let mut rest = rest.trim_start();
    if language == Language::OCaml {
        rest = rest.strip_prefix("rec ").unwrap_or(rest).trim_start();
    }
    let is_c = matches!(language, Language::C | Language::Cpp);
    if is_c && (!body || rest.contains('=') || keyword != "namespace" && rest.contains('(')) {
        return None;
    }
    let name = match (language, keyword) {
        (Language::Rust, "impl") => {
            let rest = if rest.starts_with('<') { after_brackets(rest)? } else { rest };
            rest.split(" where").next().unwrap_or(rest).split("\nwhere").next()?.trim()
        }
        (Language::Go, "func") if rest.starts_with('(') => {
            let after = after_brackets(rest)?;
            let name = after.len() - after.trim_start().len() + name(after.trim_start()).len();
            &rest[..rest.len() - after.len() + name]
        }
        (Language::Cpp | Language::C, _) => {
            let mut end = rest.len();
            for (at, c) in rest.char_indices() {
                let is_colon = c == ':' && !rest[at + 1..].starts_with(':') && !rest[..at].ends_with(':');
                if is_colon || c == '<' {
                    end = at;
                    break;
                }
            }
            let words = rest[..end].split_whitespace();
            words.rev().find(|word| *word != "final").unwrap_or_default()
        }
        (Language::Kotlin | Language::Scala | Language::Swift, _) if rest.starts_with('<') => {
            name(after_brackets(rest)?.trim_start())
        }
        (Language::Clojure, _) => {
            let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '['));
            &rest[..end.unwrap_or(rest.len())]
        }
        (Language::Go, "type") if rest.starts_with('(') => return None,
        _ => name(rest),
    };
    if name.is_empty() && !matches!(keyword, "namespace" | "object" | "extern" | "test" | "class") {
        return None;
    }
    let is_function = || rest.contains("=>") || rest.contains("function");
    if kind == Kind::Value && body && is_function() {
        kind = Kind::Function;
    } else if kind == Kind::Value && body && (rest.contains("struct") || rest.contains("enum")) {
        kind = Kind::Container;
    }
    let keyword = keyword.trim_end_matches('*').trim_start_matches('(');
    Some((format!("{keyword} {name}"), kind))
}

/// The name that the code begins with; it may have a path.
fn name(code: &str) -> &str {
    let mut end = 0;
    for (at, c) in code.char_indices() {
        let is_path = (c == ':' && (code[at + 1..].starts_with(':') || code[..at].ends_with(':')))
            || matches!(c, '.' | '\\' | '?' | '!' | '\'' | '#');
        if !(is_name(c) || is_path || c == '=' && at > 0 && code[at + 1..].starts_with('(')) {
            break;
        }
        end = at + c.len_utf8();
    }
    code[..end].trim_end_matches(['.', ':'])
}

/// A function without a keyword: a name, parentheses, a body.
fn unnamed(language: Language, head: &str, parent: Option<Kind>) -> Option<(String, Kind)> {
    use crate::chunk::code::language::Quirk::{Templates, Unnamed};
    let spec = language.spec();
    let is_script = spec.has(Templates);
    let allowed = match parent {
        None => true,
        Some(Kind::Container) => spec.has(Unnamed),
        Some(_) => false,
    };
    if !allowed {
        return None;
    }
    let head = without_annotations(head);
    if is_script && parent.is_none() {
        return if head.contains("=>") || head.contains("function") { assigned(head) } else { None };
    }
    if !spec.has(Unnamed) {
        return None;
    }
    let operator = head.find("operator").filter(|_| language == Language::Cpp);
    let open = match operator {
        Some(at) => at + 10 + head.get(at + 10..)?.find('(')?,
        None => head.find('(')?,
    };
    let mut before = head[..open].trim_end();
    if before.ends_with('>') && operator.is_none() {
        before = before[..opening_angle(before)].trim_end();
    }
    if operator.is_none() && before.contains('=')
        || before.split(|c: char| !is_name(c)).any(|word| CONTROL.contains(&word))
    {
        return None;
    }
    let is_part = |c: char| is_name(c) || matches!(c, '~' | ':' | '#');
    let name = match operator {
        Some(at) => &before[at - before[..at].len() + before[..at].trim_end_matches(is_part).len()..],
        None => &before[before.trim_end_matches(is_part).len()..],
    };
    let mut name = name;
    let owner = &before[..before.len() - name.len()];
    if name.starts_with("::") && owner.ends_with('>') {
        // `List<int>::clear`.
        let owner = &owner[..opening_angle(owner)];
        name = &before[owner.trim_end_matches(is_part).len()..];
    }
    let name = name.trim_start_matches(':');
    if name.is_empty() || before[..before.len() - name.len()].ends_with(['.', '>']) && name == before {
        return None;
    }
    let is_macro = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if is_macro && matches!(language, Language::C | Language::Cpp) {
        // `TEST(Suite, Case)`.
        let rest = after_brackets(&head[open..]).unwrap_or_default();
        return Some((format!("{name}{}", &head[open..head.len() - rest.len()]), Kind::Function));
    }
    Some((format!("{name}()"), Kind::Function))
}

/// Where the angle bracket opens that is closed at the end.
fn opening_angle(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().rev() {
        match byte {
            b'>' => depth += 1,
            b'<' if depth == 1 => return at,
            b'<' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// `name = function`, `name <- function`.
fn assigned(head: &str) -> Option<(String, Kind)> {
    let at = head.find("<-").or_else(|| head.find('='))?;
    let (left, right) = (head[..at].trim(), &head[at..]);
    let is_path = !left.is_empty() && left.chars().all(|c| is_name(c) || matches!(c, '.' | ':'));
    let is_function = right.contains("function") || right.contains("=>");
    (is_path && is_function).then(|| (left.to_owned(), Kind::Function))
}

fn shell_function(head: &str) -> Option<(String, Kind)> {
    let (name, _) = head.split_once("()")?;
    let name = name.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| is_name(c) || matches!(c, '-' | ':' | '.'));
    is_name.then(|| (format!("{name}()"), Kind::Function))
}

fn toml(head: &str) -> Option<(String, Kind)> {
    let name = head.trim().trim_start_matches('[');
    let (name, _) = name.split_once(']').filter(|_| head.trim_start().starts_with('['))?;
    Some((name.to_owned(), Kind::Container))
}

/// A key that has more than a word.
fn yaml(head: &str, parent: Option<Kind>) -> Option<(String, Kind)> {
    if parent == Some(Kind::Function) {
        return None;
    }
    let (key, value) = head.trim().split_once(':')?;
    let (key, value) = (key.trim_start_matches("- ").trim().trim_matches(['"', '\'']), value.trim());
    let is_text = value.starts_with(['|', '>']);
    let is_key = !key.is_empty() && !key.contains([' ', '{', '[', '#']);
    let has_more = value.is_empty() || is_text || value.starts_with(['&', '!', '#']);
    let kind = if is_text { Kind::Function } else { Kind::Container };
    (is_key && has_more).then(|| (key.to_owned(), kind))
}

/// A part of a component: `<script>`, `<template>`, `<style>`.
fn tag(head: &str) -> Option<(String, Kind)> {
    let rest = head.trim_start().strip_prefix('<')?;
    let name = &rest[..rest.find(|c: char| !c.is_alphanumeric())?];
    matches!(name, "script" | "template" | "style").then(|| (format!("<{name}>"), Kind::Container))
}

/// `CREATE OR REPLACE FUNCTION name`: what it is, and its name.
fn sql(head: &str) -> Option<(String, Kind)> {
    const SKIPPED: [&str; 16] = [
        "create",
        "or",
        "replace",
        "temp",
        "temporary",
        "unique",
        "materialized",
        "recursive",
        "external",
        "global",
        "local",
        "unlogged",
        "if",
        "not",
        "exists",
        "concurrently",
    ];
    let mut words =
        head.split(|c: char| c.is_whitespace() || matches!(c, '(' | ';')).filter(|word| !word.is_empty());
    if !words.next()?.eq_ignore_ascii_case("create") {
        return None;
    }
    let mut words = words.filter(|word| !SKIPPED.contains(&word.to_ascii_lowercase().as_str()));
    let (what, name) = (words.next()?.to_ascii_uppercase(), words.next()?);
    let kind =
        if matches!(what.as_str(), "FUNCTION" | "PROCEDURE") { Kind::Function } else { Kind::Container };
    Some((format!("CREATE {what} {name}"), kind))
}

/// Haskell: a signature or an equation.
fn equation(head: &str) -> Option<(String, Kind)> {
    let end = head.find(|c: char| !(is_name(c) || c == '\''))?;
    let (name, rest) = head.split_at(end);
    let is_name = name.starts_with(|c: char| c.is_lowercase() || c == '_') && name != "import";
    (is_name && (rest.trim_start().starts_with("::") || rest.contains('=')))
        .then(|| (name.to_owned(), Kind::Function))
}

/// Erlang: a function's clause.
fn clause(head: &str) -> Option<(String, Kind)> {
    let end = head.find('(')?;
    let name = &head[..end];
    let is_name = name.starts_with(|c: char| c.is_lowercase()) && name.chars().all(is_name);
    (is_name && head.contains("->")).then(|| (name.to_owned(), Kind::Function))
}
