//! Fitting the prompt into the window of the model that answers.

use crate::ports::Message;
use crate::search::Hit;
use crate::{Error, Result, prompt, tokens};

/// Tokens that a chat template adds around each message (Llama 3: `<|start_header_id|>`, role, `<|end_header_id|>`,
/// blank line, `<|eot_id|>`), rounded up for other templates.
pub const MESSAGE_OVERHEAD: usize = 6;
/// Tokens that open the conversation and the reply.
pub const REPLY_OVERHEAD: usize = 8;

/// What the prompt must fit into, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The model's window.
    pub window: usize,
    /// Room kept for the answer.
    pub answer: usize,
    /// Sources at most.
    pub context: usize,
}

/// A prompt that fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// Everything that is sent.
    pub messages: Vec<Message>,
    /// The sources in it, in the order of their numbers, from 1.
    pub sources: Vec<Hit>,
    /// Tokens counted, template included.
    pub tokens: usize,
    /// Messages of the history that were left out, oldest first.
    pub history_dropped: usize,
}

/// Tokens of messages, template included.
pub fn prompt_tokens(messages: &[Message]) -> usize {
    REPLY_OVERHEAD
        + messages
            .iter()
            .map(|message| MESSAGE_OVERHEAD + tokens::cl100k::count(&message.content))
            .sum::<usize>()
}

/// Packs instructions, history, sources and question. The question always stays; the newest history that fits comes
/// before sources, at most half of what is free; sources go in whole, best first, and one too long makes way for the
/// next. Everything sent is counted, and counted again as a whole at the end.
///
/// # Errors
/// [`Error::TooLong`] when instructions and question alone do not fit.
pub fn pack(
    budget: Budget,
    system: &str,
    history: &[Message],
    question: &str,
    hits: &[Hit],
) -> Result<Packed> {
    let available = budget.window.saturating_sub(budget.answer);
    let bare = prompt::messages(system, &[], prompt::question("", question));
    let needed = prompt_tokens(&bare);
    if needed > available {
        return Err(Error::TooLong { needed, available });
    }
    let mut free = available - needed;

    let mut kept = history.len();
    let mut room = free / 2;
    while kept > 0 {
        let size = MESSAGE_OVERHEAD + tokens::cl100k::count(&history[kept - 1].content);
        if size > room {
            break;
        }
        room -= size;
        free -= size;
        kept -= 1;
    }

    let mut room = free.min(budget.context);
    let mut sources: Vec<Hit> = Vec::new();
    let mut text = String::new();
    for hit in hits {
        if sources.iter().any(|source| source.text == hit.text) {
            continue;
        }
        let source = prompt::source(sources.len() + 1, hit);
        // One more, since tokens may form differently where two pieces meet.
        let size = tokens::cl100k::count(&source) + 1;
        if size <= room {
            room -= size;
            text.push_str(&source);
            sources.push(hit.clone());
        }
    }

    loop {
        let messages = prompt::messages(system, &history[kept..], prompt::question(&text, question));
        let tokens = prompt_tokens(&messages);
        if tokens <= available {
            return Ok(Packed { messages, sources, tokens, history_dropped: kept });
        }
        // Not met so far: pieces are counted with a margin. It must hold all the same.
        if sources.pop().is_none() {
            return Err(Error::TooLong { needed: tokens, available });
        }
        text = sources.iter().enumerate().map(|(position, hit)| prompt::source(position + 1, hit)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::DocumentId;
    use crate::ports::Role;
    use crate::search::Scores;
    use proptest::prelude::*;

    fn hit(text: &str) -> Hit {
        Hit {
            chunk_id: "c".into(),
            document_id: DocumentId::new("d").unwrap(),
            title: Some("Title".into()),
            text: text.into(),
            start: 0,
            end: text.len() as u64,
            page: None,
            headings: vec!["Heading".into()],
            metadata: serde_json::Map::new(),
            score: 1.0,
            scores: Scores::default(),
        }
    }

    fn message(content: &str) -> Message {
        Message { role: Role::User, content: content.into() }
    }

    #[test]
    fn a_long_source_makes_way_for_the_next() {
        let budget = Budget { window: 400, answer: 50, context: 200 };
        let hits = [hit(&"word ".repeat(300)), hit("short and good")];
        let packed = pack(budget, "sys", &[], "why?", &hits).unwrap();
        assert_eq!(packed.sources.len(), 1);
        assert!(packed.messages[1].content.contains("[S1] Title > Heading\nshort and good"));
    }

    #[test]
    fn the_oldest_history_goes_first() {
        let budget = Budget { window: 200, answer: 50, context: 200 };
        let history = [message(&"old ".repeat(80)), message("new")];
        let packed = pack(budget, "sys", &history, "why?", &[]).unwrap();
        assert_eq!(packed.history_dropped, 1);
        assert_eq!(packed.messages[1].content, "new");
    }

    #[test]
    fn a_question_that_cannot_fit_is_refused() {
        let budget = Budget { window: 100, answer: 50, context: 200 };
        let refused = pack(budget, "sys", &[], &"why ".repeat(200), &[]);
        assert!(matches!(refused, Err(Error::TooLong { available: 50, .. })));
    }

    proptest! {
        #[test]
        fn nothing_sent_is_uncounted(
            window in 60usize..2000, answer in 1usize..500, context in 0usize..1500,
            history in prop::collection::vec(".{0,200}", 0..5),
            texts in prop::collection::vec("\\PC{0,400}", 0..8), question in ".{0,100}",
        ) {
            let history: Vec<_> = history.iter().map(|text| message(text)).collect();
            let hits: Vec<_> = texts.iter().map(|text| hit(text)).collect();
            if let Ok(packed) = pack(Budget { window, answer, context }, "instructions", &history, &question, &hits) {
                prop_assert_eq!(packed.tokens, prompt_tokens(&packed.messages));
                prop_assert!(packed.tokens + answer <= window);
            }
        }
    }
}
