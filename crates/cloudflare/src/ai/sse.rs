//! Server-sent events, parsed as their bytes arrive.
//!
//! Chunks may end anywhere: inside a UTF-8 character, inside CRLF, inside JSON. Lines end in LF, CR or CRLF; an
//! empty line ends an event; `:` starts a comment; several `data` lines of one event are joined by LF
//! (WHATWG HTML, "Server-sent events", the event stream format).

/// Bytes one event may hold. Tokens come in far smaller ones; without a bound a hostile stream with no line end
/// would fill the memory.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseEvent {
    /// The `event` field.
    pub event: Option<String>,
    /// The `data` lines, joined by LF.
    pub data: String,
}

/// An event is longer than [`MAX_EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {MAX_EVENT_BYTES} bytes")]
pub struct EventTooLong;

/// An incremental parser.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    event: Option<String>,
    data: Option<String>,
    after_cr: bool,
    past_first_line: bool,
}

impl SseParser {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and appends the events they complete.
    ///
    /// # Errors
    /// An event too long to hold. The stream cannot be continued then.
    pub fn push(&mut self, mut bytes: &[u8], events: &mut Vec<SseEvent>) -> Result<(), EventTooLong> {
        while let Some((&first, rest)) = bytes.split_first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = rest;
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.room_for(bytes.len())?;
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            let (part, after) = bytes.split_at(end);
            self.room_for(part.len())?;
            self.after_cr = after[0] == b'\r';
            bytes = &after[1..];
            if self.line.is_empty() {
                self.end_line(part, events);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.end_line(&line, events);
                line.clear();
                self.line = line;
            }
        }
        Ok(())
    }

    /// What the stream held at its end without an empty line after it. The format says to drop it; some servers
    /// end their last event this way, so the caller may look at it.
    pub fn finish(&mut self) -> Option<SseEvent> {
        let mut events = Vec::new();
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line, &mut events);
        }
        self.end_line(b"", &mut events);
        events.pop()
    }

    fn room_for(&self, more: usize) -> Result<(), EventTooLong> {
        let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
        if held + more > MAX_EVENT_BYTES { Err(EventTooLong) } else { Ok(()) }
    }

    fn end_line(&mut self, line: &[u8], events: &mut Vec<SseEvent>) {
        let line = if std::mem::replace(&mut self.past_first_line, true) {
            line
        } else {
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line)
        };
        if line.is_empty() {
            let event = self.event.take();
            if let Some(data) = self.data.take() {
                events.push(SseEvent { event, data });
            }
            return;
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon] {
            b"data" => {
                let text = String::from_utf8_lossy(value);
                match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(&text);
                    }
                    none => *none = Some(text.into_owned()),
                }
            }
            b"event" => self.event = Some(String::from_utf8_lossy(value).into_owned()),
            // Comments have an empty name; `id` and `retry` mean nothing here.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(chunks: &[&[u8]]) -> Vec<SseEvent> {
        let (mut parser, mut events) = (SseParser::new(), Vec::new());
        for chunk in chunks {
            parser.push(chunk, &mut events).unwrap();
        }
        events.extend(parser.finish());
        events
    }

    fn data(events: &[SseEvent]) -> Vec<&str> {
        events.iter().map(|event| event.data.as_str()).collect()
    }

    #[test]
    fn any_cut_gives_the_same_events() {
        let text = "\u{feff}data: {\"response\":\"é😀\"}\r\n\r\n: note\r\nevent: x\rdata: a\rdata:b\r\rdata: [DONE]\n\n";
        let whole = parse(&[text.as_bytes()]);
        assert_eq!(data(&whole), ["{\"response\":\"é😀\"}", "a\nb", "[DONE]"]);
        assert_eq!(whole[1].event.as_deref(), Some("x"));
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let (bytes, n) = (text.as_bytes(), text.len());
                assert_eq!(parse(&[&bytes[..first], &bytes[first..second], &bytes[second..n]]), whole);
            }
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(parse(&single), whole);
    }

    #[test]
    fn comments_blank_lines_and_unknown_fields_make_no_event() {
        assert_eq!(parse(&[b":\n\n\n\nid: 1\n\nretry: 5\n\nevent: ping\n\n"]), []);
    }

    #[test]
    fn fields_without_colon_or_space() {
        assert_eq!(data(&parse(&[b"data\n\ndata:x\n\ndata:  y\n\n"])), ["", "x", " y"]);
    }

    #[test]
    fn an_unfinished_event_is_offered_at_the_end() {
        assert_eq!(data(&parse(&[b"data: a\n\ndata: [DONE]"])), ["a", "[DONE]"]);
        assert_eq!(data(&parse(&[b"data: [DONE]\n"])), ["[DONE]"]);
        assert_eq!(parse(&[b"da"]), []);
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced() {
        assert_eq!(data(&parse(&[b"data: a\xFFb\n\n"])), ["a\u{fffd}b"]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let (mut parser, mut events) = (SseParser::new(), Vec::new());
        let chunk = vec![b'x'; 300_000];
        let mut results = (0..4).map(|_| parser.push(&chunk, &mut events));
        assert_eq!(results.next(), Some(Ok(())));
        assert_eq!(results.next(), Some(Ok(())));
        assert_eq!(results.next(), Some(Ok(())));
        assert_eq!(results.next(), Some(Err(EventTooLong)));
    }

    #[test]
    fn endless_data_lines_are_refused() {
        let (mut parser, mut events) = (SseParser::new(), Vec::new());
        let line = format!("data: {}\n", "x".repeat(60_000));
        let refused = (0..100).any(|_| parser.push(line.as_bytes(), &mut events).is_err());
        assert!(refused);
    }
}
