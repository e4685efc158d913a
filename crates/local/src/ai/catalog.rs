//! Which Workers AI model names the twin answers to.

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Text embeddings.
    Embed,
    /// Relevance of texts to a query.
    Rerank,
    /// Text generation.
    Chat,
}

impl Task {
    /// The operation's name in faults and statistics.
    pub fn op(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Rerank => "rerank",
            Self::Chat => "chat",
        }
    }

    /// The task as Workers AI's model list calls it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Embed => "Text Embeddings",
            Self::Rerank => "Text Classification",
            Self::Chat => "Text Generation",
        }
    }
}

/// The embedding model.
pub const EMBEDDER: &str = "@cf/baai/bge-small-en-v1.5";
/// The reranker, for which ms-marco-MiniLM-L-12-v2 stands in.
pub const RERANKER: &str = "@cf/baai/bge-reranker-base";
/// The one that is installed, under its own name: what scores mean differs from model to model, and a configuration that
/// goes by them should say which model it means.
pub const OWN_RERANKER: &str = super::RERANKER_FOLDER;
/// Chat models, all answered by the one GGUF model that is installed.
pub const CHAT: [&str; 5] = [
    "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
    "@cf/meta/llama-3.1-8b-instruct-fp8-fast",
    "@cf/meta/llama-3.1-8b-instruct-fp8",
    "@cf/meta/llama-3.2-1b-instruct",
    "@cf/meta/llama-3.2-3b-instruct",
];

/// What a model does that the twin has nothing for, by a part of its name.
const LACKING: [(&str, &str); 7] = [
    ("/whisper", "speech models"),
    ("/nova-", "speech models"),
    ("-vision-", "vision models"),
    ("/llava-", "vision models"),
    ("/gemma-4-", "vision models"),
    ("/llama-4-scout-", "vision models"),
    ("/mistral-small-3.1-", "vision models"),
];

/// What the twin would need to answer for a model that it has no stand-in for.
pub fn lacking(model: &str) -> Option<&'static str> {
    LACKING.iter().find(|(part, _)| model.contains(part)).map(|(_, what)| *what)
}

/// The task of a model name, if the twin knows it.
pub fn task(model: &str) -> Option<Task> {
    match model {
        EMBEDDER => Some(Task::Embed),
        RERANKER | OWN_RERANKER => Some(Task::Rerank),
        chat if CHAT.contains(&chat) => Some(Task::Chat),
        _ => None,
    }
}
