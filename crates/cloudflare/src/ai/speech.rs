//! Speech: what a model hears in a recording, and when.
//!
//! Two models, two forms (Workers AI's model pages, 2026): `whisper-large-v3-turbo` takes base64 and answers with segments,
//! `whisper` takes an array of bytes and answers with words. How much either takes at once is not documented.

use super::error::{AiError, error_in_json, shorten};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ragflare_core::media::transcript::{Segment, pieces};
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Write as _;

/// What was heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// What was said, in order.
    pub segments: Vec<Segment>,
    /// How long the recording is, as far as the reply says so.
    pub seconds: Option<f64>,
}

fn takes_base64(model: &str) -> bool {
    model.ends_with("-turbo")
}

/// Bytes of a recording that are sent to a model at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioSize {
    /// Of one that can be cut. Cloudflare's tutorial for long recordings cuts them into pieces of 1 MiB.
    pub part: usize,
    /// Of one that can't: requests of 10 MB are taken, and up to 9 MB were seen to be sent by others.
    pub whole: usize,
}

/// How much is sent to a model at once. Base64 is a third longer, an array of bytes four times as long.
pub fn audio_size(model: &str) -> AudioSize {
    if takes_base64(model) {
        AudioSize { part: 4_000_000, whole: 7_000_000 }
    } else {
        AudioSize { part: 1_000_000, whole: 2_000_000 }
    }
}

/// The JSON of a request.
pub(super) fn to_wire(model: &str, audio: &[u8], language: Option<&str>) -> Result<String, AiError> {
    if audio.is_empty() {
        return Err(AiError::Invalid { field: "audio", detail: "must not be empty".into() });
    }
    let mut wire = String::from(r#"{"audio":"#);
    if takes_base64(model) {
        wire.reserve(audio.len() / 3 * 4 + 100);
        wire.push('"');
        STANDARD.encode_string(audio, &mut wire);
        // Without the filter the model invents words for silence.
        wire.push_str(r#"","task":"transcribe","vad_filter":true"#);
        if let Some(language) = language {
            let _ = write!(wire, r#","language":"{language}""#);
        }
    } else {
        wire.reserve(audio.len() * 4);
        for (place, byte) in audio.iter().enumerate() {
            let _ = write!(wire, "{}{byte}", if place == 0 { '[' } else { ',' });
        }
        wire.push(']');
    }
    wire.push('}');
    Ok(wire)
}

#[derive(Deserialize)]
struct Wire {
    text: String,
    segments: Option<Vec<Said>>,
    words: Option<Vec<Said>>,
    transcription_info: Option<Info>,
}

/// A segment or a word. All of it may be missing (workers-types, `Ai_Cf_Openai_Whisper_Large_V3_Turbo_Output`).
#[derive(Deserialize)]
struct Said {
    start: Option<f64>,
    end: Option<f64>,
    #[serde(alias = "word")]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Info {
    duration: Option<f64>,
}

/// Reads a reply of either form; one without any times is a single segment.
pub(super) fn from_wire(body: &str, request_id: Option<String>) -> Result<Heard, AiError> {
    let malformed =
        |detail: String| AiError::Malformed { what: "transcription", detail, request_id: request_id.clone() };
    let value: Value =
        serde_json::from_str(body).map_err(|error| malformed(format!("{error} in {}", shorten(body))))?;
    if let Some((code, message)) = error_in_json(&value) {
        return Err(AiError::Platform { code, status: 200, message, request_id });
    }
    let wire: Wire =
        serde_json::from_value(value).map_err(|error| malformed(format!("{error} in {}", shorten(body))))?;
    // A reply without times may call them 0.
    let is_some_time = |seconds: &f64| *seconds > 0.0;
    let seconds = wire.transcription_info.and_then(|info| info.duration).filter(is_some_time);
    let mut segments = timed(wire.segments);
    if segments.is_empty() {
        segments = pieces(timed(wire.words));
    }
    if segments.is_empty() && !wire.text.trim().is_empty() {
        segments.push(Segment { start: 0.0, end: seconds.unwrap_or_default(), text: wire.text });
    }
    let seconds = seconds.or_else(|| segments.last().map(|segment| segment.end).filter(is_some_time));
    Ok(Heard { segments, seconds })
}

/// What was said, in order. What has no time of its own is said where what is before it ends.
fn timed(said: Option<Vec<Said>>) -> Vec<Segment> {
    let mut at = 0.0;
    let mut segments = Vec::new();
    for Said { start, end, text } in said.unwrap_or_default() {
        let is_time = |seconds: &f64| *seconds >= 0.0;
        let start = start.filter(is_time).unwrap_or(at);
        at = end.filter(is_time).unwrap_or(start);
        if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
            segments.push(Segment { start, end: at, text });
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::super::vision::tests::recorded;
    use super::*;

    #[test]
    fn each_model_is_sent_its_own_form() {
        for (file, model, language) in [
            ("ai-whisper-turbo.txt", "@cf/openai/whisper-large-v3-turbo", Some("en")),
            ("ai-whisper.txt", "@cf/openai/whisper", None),
        ] {
            let (request, _) = recorded(file);
            let sent: Value =
                serde_json::from_str(&to_wire(model, b"RIFF\x24\0\0\0WAVE", language).unwrap()).unwrap();
            assert_eq!(sent, request, "{file}");
            assert!(to_wire(model, b"", None).is_err());
        }
    }

    #[test]
    fn segments_have_their_times() {
        let (_, reply) = recorded("ai-whisper-turbo.txt");
        let heard = from_wire(&reply, None).unwrap();
        assert_eq!(heard.seconds, Some(31.48));
        let times: Vec<(f64, f64)> =
            heard.segments.iter().map(|segment| (segment.start, segment.end)).collect();
        assert_eq!(times, [(0.0, 6.72), (6.72, 13.9), (17.34, 30.1)]);
        assert!(heard.segments[2].text.contains("storm cone"));
    }

    #[test]
    fn words_become_segments() {
        let (_, reply) = recorded("ai-whisper.txt");
        let heard = from_wire(&reply, None).unwrap();
        let texts: Vec<&str> = heard.segments.iter().map(|segment| segment.text.as_str()).collect();
        assert_eq!(texts, ["It is a good day."]);
        assert!(heard.seconds.is_some_and(|seconds| (seconds - 1.46).abs() < 0.01));
    }

    #[test]
    fn replies_without_times_errors_and_others() {
        let heard = from_wire(r#"{"text":" One.","word_count":1}"#, None).unwrap();
        assert_eq!(
            heard,
            Heard { segments: vec![Segment { start: 0.0, end: 0.0, text: " One.".into() }], seconds: None }
        );
        assert_eq!(from_wire(r#"{"text":""}"#, None).unwrap(), Heard { segments: vec![], seconds: None });
        let error = from_wire(r#"{"errors":[{"code":3040,"message":"full"}]}"#, None).unwrap_err();
        assert_eq!(error.code(), Some(3040));
        for body in ["no json", r#"{"segments":[]}"#, r#"{"text":"a","segments":[1]}"#] {
            assert!(matches!(from_wire(body, None), Err(AiError::Malformed { .. })), "{body}");
        }
    }

    #[test]
    fn what_has_no_time_is_said_behind_what_has() {
        let times = |body: &str| -> Vec<(f64, f64, String)> {
            let said = from_wire(body, None).unwrap().segments.into_iter();
            said.map(|segment| (segment.start, segment.end, segment.text)).collect()
        };
        let body = r#"{"text":"a b c d","segments":[{"text":"a"},{"start":2,"end":3.5,"text":"b"},{"end":4},
            {"start":null,"text":"c"},{"start":-1,"end":9,"text":"d"}]}"#;
        let expected = [(0.0, 0.0, "a"), (2.0, 3.5, "b"), (4.0, 4.0, "c"), (4.0, 9.0, "d")];
        assert_eq!(times(body), expected.map(|(start, end, text)| (start, end, text.to_owned())));
        for body in [
            r#"{"text":"a","segments":null,"words":null,"transcription_info":null}"#,
            r#"{"text":"a","segments":[{"start":0,"end":0,"text":""}],"transcription_info":{"duration":0}}"#,
        ] {
            assert_eq!(times(body), [(0.0, 0.0, "a".to_owned())], "{body}");
            assert_eq!(from_wire(body, None).unwrap().seconds, None, "{body}");
        }
    }
}
