//! Fitting the prompt into the window of the model that answers.

mod join;

use crate::ports::{Message, Role};
use crate::search::Hit;
use crate::{Error, Result, prompt, tokens};

/// Tokens that a chat template adds around each message (Llama 3: `<|start_header_id|>`, role, `<|end_header_id|>`,
/// blank line, `<|eot_id|>`), rounded up for other templates.
pub const MESSAGE_OVERHEAD: usize = 6;
/// Tokens that open the conversation and the reply.
pub const REPLY_OVERHEAD: usize = 8;

pub use join::Joined;

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

/// What is said to the model besides the sources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Talk {
    /// Instructions.
    pub system: String,
    /// Questions and answers that show how it is done.
    pub examples: Vec<Message>,
    /// What was said before the question, oldest first.
    pub history: Vec<Message>,
    /// The question.
    pub question: String,
    /// What came after it: calls of tools and what they gave.
    pub after: Vec<Message>,
    /// Tokens of what is sent beside messages: tools.
    pub beside: usize,
    /// Whether the model can do something without any source: call tools, read what they gave.
    pub needs_no_source: bool,
}

impl Talk {
    /// Everything that is sent, with the history from a position on.
    fn messages<'a>(&self, from: usize, sources: impl Iterator<Item = &'a Hit>) -> Vec<Message> {
        let text: String = sources.enumerate().map(|(at, hit)| prompt::source(at + 1, hit)).collect();
        let system = Message::new(Role::System, self.system.as_str());
        let question = Message::new(Role::User, prompt::question(&text, &self.question));
        std::iter::once(system)
            .chain(self.examples.iter().cloned())
            .chain(self.history[from..].iter().map(prompt::message))
            .chain([question])
            .chain(self.after.iter().map(prompt::message))
            .collect()
    }

    fn tokens(&self, messages: &[Message]) -> usize {
        self.beside + prompt_tokens(messages)
    }

    /// The same sources for a smaller window: the oldest history goes, then sources from the last on, whose numbers nobody
    /// needs. `None` when not even the first source fits.
    pub fn refit(&self, available: usize, sources: &[&Hit]) -> Option<Refit> {
        let mut from = 0;
        let mut count = sources.len();
        loop {
            let messages = self.messages(from, sources[..count].iter().copied());
            let tokens = self.tokens(&messages);
            if tokens <= available {
                return Some(Refit { messages, sources: count, tokens });
            }
            if from < self.history.len() {
                from += 1;
            } else if count > 1 || (count == 1 && self.needs_no_source) {
                count -= 1;
            } else {
                return None;
            }
        }
    }
}

/// A prompt made to fit another window.
#[derive(Clone, Debug, PartialEq)]
pub struct Refit {
    /// Everything that is sent.
    pub messages: Vec<Message>,
    /// How many of the sources are in it.
    pub sources: usize,
    /// Tokens counted, template included.
    pub tokens: usize,
}

/// A prompt that fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// Everything that is sent.
    pub messages: Vec<Message>,
    /// The sources in it, in the order of their numbers, from 1.
    pub sources: Vec<Joined>,
    /// Tokens counted, template included.
    pub tokens: usize,
    /// Messages of the history that were left out, oldest first.
    pub history_dropped: usize,
}

/// Tokens of messages, template included.
pub fn prompt_tokens(messages: &[Message]) -> usize {
    REPLY_OVERHEAD + messages.iter().map(message_tokens).sum::<usize>()
}

fn message_tokens(message: &Message) -> usize {
    let calls = message.tool_calls.iter().map(|call| {
        let said = &call.function;
        MESSAGE_OVERHEAD + tokens::cl100k::count(&said.name) + tokens::cl100k::count(&said.arguments)
    });
    MESSAGE_OVERHEAD + tokens::cl100k::count(&message.content) + calls.sum::<usize>()
}

/// Packs instructions, history, sources and question. The question always stays; the newest history that fits comes
/// before sources, at most half of what is free; hits go in whole, best first, and one too long makes way for the next.
/// Hits that lie next to each other in their document become one source, in the place of the better one, and what says
/// nothing new is left out. So sources stand in the order of their best hits, which puts what answers most likely first,
/// and within a source the text runs as in the document. Everything sent is counted, and counted again as a whole at
/// the end.
///
/// # Errors
/// [`Error::TooLong`] when instructions and question alone do not fit.
pub fn pack(budget: Budget, talk: &Talk, hits: &[Hit]) -> Result<Packed> {
    let available = budget.window.saturating_sub(budget.answer);
    let needed = talk.tokens(&talk.messages(talk.history.len(), std::iter::empty()));
    if needed > available {
        return Err(Error::TooLong { needed, available });
    }
    let mut free = available - needed;

    let mut kept = talk.history.len();
    let mut room = free / 2;
    while kept > 0 {
        let size = message_tokens(&prompt::message(&talk.history[kept - 1]));
        if size > room {
            break;
        }
        room -= size;
        free -= size;
        kept -= 1;
    }

    let room = free.min(budget.context);
    let mut sources: Vec<Joined> = Vec::new();
    for hit in hits {
        if sources.iter().any(|source| join::repeats(&hit.text, &source.hit.text)) {
            continue;
        }
        let with = join::add(&sources, hit);
        if with.iter().map(|source| source.tokens).sum::<usize>() <= room {
            sources = with;
        }
    }

    loop {
        let messages = talk.messages(kept, sources.iter().map(|source| &source.hit));
        let tokens = talk.tokens(&messages);
        if tokens <= available {
            return Ok(Packed { messages, sources, tokens, history_dropped: kept });
        }
        // Not met so far: pieces are counted with a margin. It must hold all the same.
        if sources.pop().is_none() {
            return Err(Error::TooLong { needed: tokens, available });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::DocumentId;
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
            rows: None,
            table_header: None,
            sections: Vec::new(),
            places: Vec::new(),
            headings: vec!["Heading".into()],
            metadata: serde_json::Map::new(),
            score: 1.0,
            scores: Scores::default(),
        }
    }

    fn message(content: &str) -> Message {
        Message::new(Role::User, content)
    }

    fn talk(history: &[Message], question: &str) -> Talk {
        Talk {
            system: "instructions".into(),
            history: history.to_vec(),
            question: question.into(),
            ..Talk::default()
        }
    }

    #[test]
    fn a_long_source_makes_way_for_the_next() {
        let budget = Budget { window: 400, answer: 50, context: 200 };
        let hits = [hit(&"word ".repeat(300)), hit("short and good")];
        let packed = pack(budget, &talk(&[], "why?"), &hits).unwrap();
        assert_eq!(packed.sources.len(), 1);
        assert!(packed.messages[1].content.contains("[S1] Title > Heading\nshort and good"));
    }

    #[test]
    fn the_oldest_history_goes_first() {
        let budget = Budget { window: 200, answer: 50, context: 200 };
        let history = [message(&"old ".repeat(80)), message("new")];
        let packed = pack(budget, &talk(&history, "why?"), &[]).unwrap();
        assert_eq!(packed.history_dropped, 1);
        assert_eq!(packed.messages[1].content, "new");
    }

    #[test]
    fn a_question_that_cannot_fit_is_refused() {
        let budget = Budget { window: 100, answer: 50, context: 200 };
        let refused = pack(budget, &talk(&[], &"why ".repeat(200)), &[]);
        assert!(matches!(refused, Err(Error::TooLong { available: 50, .. })));
    }

    proptest! {
        #[test]
        fn nothing_sent_is_uncounted(
            window in 60usize..2000, answer in 1usize..500, context in 0usize..1500,
            history in prop::collection::vec(".{0,200}", 0..5),
            texts in prop::collection::vec("\\PC{0,400}", 0..8), question in ".{0,100}",
            gaps in prop::collection::vec(0u64..4, 8), order in any::<u64>(),
        ) {
            let history: Vec<_> = history.iter().map(|text| message(text)).collect();
            let mut hits: Vec<_> = texts.iter().map(|text| hit(text)).collect();
            // Neighbours in one document, some of them apart, found in any order.
            let mut start = 0;
            for (at, hit) in hits.iter_mut().enumerate() {
                start += gaps[at];
                (hit.start, hit.end) = (start, start + hit.text.len() as u64);
                hit.chunk_id = format!("v{at}.{}", if gaps[at] == 3 { at * 2 + 100 } else { at });
                start = hit.end;
            }
            hits.sort_by_key(|hit| (hit.start ^ order).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let talk = talk(&history, &question);
            if let Ok(packed) = pack(Budget { window, answer, context }, &talk, &hits) {
                prop_assert_eq!(packed.tokens, prompt_tokens(&packed.messages));
                prop_assert!(packed.tokens + answer <= window);
                let sources: usize = packed.sources.iter().map(|source| source.tokens).sum();
                prop_assert!(sources <= context);
                for (at, source) in packed.sources.iter().enumerate() {
                    let shown = prompt::source(at + 1, &source.hit);
                    prop_assert!(packed.messages.last().unwrap().content.contains(&shown));
                }
                let shown: Vec<&Hit> = packed.sources.iter().map(|source| &source.hit).collect();
                let kept = Talk { history: talk.history[packed.history_dropped..].to_vec(), ..talk };
                if let Some(refit) = kept.refit(packed.tokens * 2 / 3, &shown) {
                    prop_assert_eq!(refit.tokens, prompt_tokens(&refit.messages));
                    prop_assert!(refit.tokens <= packed.tokens * 2 / 3 && refit.sources <= shown.len());
                }
            }
        }
    }
}
