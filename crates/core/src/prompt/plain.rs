//! Text of others made into mere data for a model: nothing it cannot see, no token of a chat template, no marker of ours.

use super::template;

/// A text as a model may read it. What is stored and what the reader is shown stays as it is.
pub fn data(text: &str) -> String {
    // In this order: what is invisible could hide in a token, and nothing after it removes anything.
    unmarked(&template::defused(&visible(text)))
}

/// The same on one line.
pub(super) fn line(text: &str) -> String {
    data(text).split(['\n', '\r', '\t']).collect::<Vec<_>>().join(" ")
}

/// A text without what is not seen: controls but for tabs and line ends, marks of writing direction, characters without width,
/// tags (U+E0000), variation selectors. The joiners stay between letters of scripts that are spelt with them.
fn visible(text: &str) -> String {
    let mut seen = String::with_capacity(text.len());
    for letter in text.chars() {
        let kept = match letter {
            '\n' | '\t' | '\r' => true,
            '\u{2028}' | '\u{2029}' | '\u{85}' => {
                seen.push('\n');
                false
            }
            // Persian and the scripts of India need them; Latin, Greek and Cyrillic do not.
            '\u{200C}' | '\u{200D}' => {
                seen.chars().next_back().is_some_and(|before| before > '\u{590}' && before.is_alphanumeric())
            }
            _ => !is_invisible(letter),
        };
        if kept {
            seen.push(letter);
        }
    }
    seen
}

fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// A text whose look-alikes of `[S1]` are no markers any more: a blank follows the bracket. Lists fall with their first
/// member. Brackets, letters and digits of other widths and alphabets count as what they look like.
fn unmarked(text: &str) -> String {
    let is_bracket = |c: char| matches!(c, '[' | '［' | '【' | '〔' | '〖' | '⟦' | '❲');
    let is_letter = |c: char| matches!(c, 'S' | 's' | 'Ｓ' | 'ｓ' | 'Ѕ' | 'ѕ');
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_bracket) {
        let length = rest[at..].chars().next().map_or(1, char::len_utf8);
        let (before, after) = rest.split_at(at + length);
        plain.push_str(before);
        let number = after.strip_prefix(is_letter);
        if number.is_some_and(|rest| rest.trim_start_matches(' ').starts_with(char::is_numeric)) {
            plain.push(' ');
        }
        rest = after;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_alikes_lose_their_power() {
        assert_eq!(data("see [S1] and [S22, S3] but [Sx] [] [S"), "see [ S1] and [ S22, S3] but [Sx] [] [S");
        assert_eq!(data("【S1】［Ｓ１］[s2][Ѕ3]"), "【 S1】［ Ｓ１］[ s2][ Ѕ3]");
        assert_eq!(data("[\u{200B}S1] [S\u{AD}1]"), "[ S1] [ S1]");
    }

    #[test]
    fn what_is_not_seen_goes() {
        assert_eq!(
            data("a\u{1b}[31mb\0\u{202e}c\u{200b}d\u{e0041}\u{fe0f}e\tf\r\n\u{2028}"),
            "a[31mbcde\tf\r\n\n"
        );
        assert_eq!(data("<|im_\u{200b}start|>"), "< |im_start|>");
        // A Persian word keeps its joiner, an English one does not.
        assert_eq!(data("می\u{200c}شود pay\u{200c}pal"), "می\u{200c}شود paypal");
        assert_eq!(line("a\nb\tc"), "a b c");
    }
}
