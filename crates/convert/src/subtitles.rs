//! SRT and `WebVTT`: what is said, with the time it is said at.

use crate::Converted;

/// A new line with its time wherever this long has passed since the last one, in seconds: times of every cue would be more than
/// the text.
const EVERY: u64 = 30;

/// Paragraphs that begin with their time.
pub(crate) fn convert(text: &str) -> Converted {
    let mut out = String::new();
    let mut shown: Option<u64> = None;
    let mut last = String::new();
    let mut speaker = String::new();
    for cue in text.replace("\r\n", "\n").split("\n\n") {
        let mut lines = cue.lines().skip_while(|line| !line.contains("-->"));
        let Some(time) = lines.next().and_then(seconds) else { continue };
        let begins = shown.is_none_or(|shown| time >= shown + EVERY || time < shown);
        if begins {
            speaker.clear();
        }
        let said = lines
            .map(|line| plain(line.trim(), &mut speaker))
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        // Scrolling subtitles say each line again.
        let bare = said.strip_prefix(&format!("{speaker}: ")).unwrap_or(&said);
        if bare.is_empty() || bare == last {
            continue;
        }
        bare.clone_into(&mut last);
        if begins {
            let (hours, minutes, seconds) = (time / 3600, time / 60 % 60, time % 60);
            out.push_str(if out.is_empty() { "" } else { "\n\n" });
            out.push_str(&format!("[{hours:02}:{minutes:02}:{seconds:02}] {said}"));
            shown = Some(time);
        } else {
            out.push(' ');
            out.push_str(&said);
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    Converted::text(out)
}

/// When a cue begins: `00:01:02,500 --> …`, hours optional.
fn seconds(timing: &str) -> Option<u64> {
    let start = timing.split("-->").next()?.trim();
    let whole = start.split([',', '.']).next()?;
    whole.split(':').try_fold(0_u64, |sum, part| sum.checked_mul(60)?.checked_add(part.trim().parse().ok()?))
}

/// Without tags, but with who speaks (`<v Name>`), where that is not who spoke before.
fn plain(line: &str, speaker: &mut String) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, tag)) = rest.split_once('<') {
        out.push_str(before);
        let Some((tag, after)) = tag.split_once('>') else {
            rest = "";
            break;
        };
        if let Some(name) = tag
            .strip_prefix("v ")
            .or_else(|| tag.strip_prefix("v.").and_then(|tag| Some(tag.split_once(' ')?.1)))
            && name.trim() != speaker
        {
            name.trim().clone_into(speaker);
            out.push_str(speaker);
            out.push_str(": ");
        }
        rest = after;
    }
    out.push_str(rest);
    out.replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&nbsp;", " ")
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_before_what_is_said() {
        let vtt = "WEBVTT\n\nNOTE none\n\n1\n00:01.000 --> 00:04.000 line:0\n<v Ada>Hello &amp; <i>welcome</i>\n\n\
                   00:05.000 --> 00:06.000\n<v Ada>again\n\n01:00:40.000 --> 01:00:42.000\nlate\n";
        assert_eq!(convert(vtt).text, "[00:00:01] Ada: Hello & welcome again\n\n[01:00:40] late\n");
        let srt = "1\r\n00:00:01,000 --> 00:00:02,000\r\nOne\r\ntwo\r\n\r\n2\r\n00:00:02,000 --> 00:00:03,000\r\nOne two\r\n";
        assert_eq!(convert(srt).text, "[00:00:01] One two\n");
    }
}
