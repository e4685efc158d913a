//! The chat template of a model, and how messages become tokens through it.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, from_args};
use minijinja::{Environment, ErrorKind, State, context};
use serde::{Deserialize, Serialize};

use super::tokenizer::{GgufTokenizer, Special};
use crate::error::{Error, Result};

/// `ChatML`, for a file that carries no template.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Marks the place of a message's content in rendered template text (private-use characters).
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of the given role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    /// Compiles the template of a GGUF file (`tokenizer.chat_template`), or `ChatML` when there is none.
    ///
    /// # Errors
    /// [`Error::Model`] when the template does not compile.
    pub fn new(source: Option<&str>) -> Result<Self> {
        let mut environment = Environment::new();
        // As the reference implementation of chat templates sets them.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| Error::model("chat template", e))?);
        environment.add_function(
            "raise_exception",
            |message: String| -> std::result::Result<(), minijinja::Error> {
                Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
            },
        );
        environment.set_unknown_method_callback(python_string_method);
        environment
            .add_template_owned("chat", source.unwrap_or(CHATML).to_owned())
            .map_err(|e| Error::model("chat template", e))?;
        Ok(Self { environment })
    }

    /// The tokens of a conversation, ready for the answer. Contents are encoded apart from the template, so control
    /// tokens in them stay plain characters.
    ///
    /// # Errors
    /// [`Error::Input`] when the template refuses the conversation (an order of roles it does not know, for example).
    pub fn encode(&self, messages: &[Message], tokenizer: &GgufTokenizer) -> Result<Vec<u32>> {
        let placed: Vec<Value> = messages
            .iter()
            .enumerate()
            .map(|(i, m)| context! { role => &m.role, content => format!("{OPEN}{i}{CLOSE}") })
            .collect();
        let rendered = self
            .environment
            .get_template("chat")
            .and_then(|t| {
                t.render(context! {
                    messages => placed,
                    add_generation_prompt => true,
                    bos_token => tokenizer.special(Special::Start),
                    eos_token => tokenizer.special(Special::End),
                })
            })
            .map_err(|e| Error::Input(format!("the chat template refuses these messages: {e}")))?;
        let mut tokens = Vec::new();
        let mut pieces = rendered.split(OPEN);
        tokenizer.encode_template(pieces.next().unwrap_or(""), &mut tokens)?;
        for piece in pieces {
            let (index, rest) = piece.split_once(CLOSE).unwrap_or(("", piece));
            if let Some(message) = index.parse::<usize>().ok().and_then(|i| messages.get(i)) {
                tokenizer.encode_text(&message.content, &mut tokens)?;
            }
            tokenizer.encode_template(rest, &mut tokens)?;
        }
        if let Some(start) = tokenizer.start().filter(|s| tokens.first() != Some(s)) {
            tokens.insert(0, start);
        }
        Ok(tokens)
    }
}

/// The few Python string methods that published chat templates call.
fn python_string_method(
    _: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> std::result::Result<Value, minijinja::Error> {
    let unknown = || minijinja::Error::from(ErrorKind::UnknownMethod);
    let text = value.as_str().ok_or_else(unknown)?;
    match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars, _): (Option<String>, Kwargs) = from_args(args)?;
            let drop = |c: char| chars.as_ref().map_or(c.is_whitespace(), |set| set.contains(c));
            Ok(Value::from(match method {
                "strip" => text.trim_matches(drop),
                "lstrip" => text.trim_start_matches(drop),
                _ => text.trim_end_matches(drop),
            }))
        }
        "startswith" => from_args::<(&str,)>(args).map(|(p,)| Value::from(text.starts_with(p))),
        "endswith" => from_args::<(&str,)>(args).map(|(p,)| Value::from(text.ends_with(p))),
        "upper" => Ok(Value::from(text.to_uppercase())),
        "lower" => Ok(Value::from(text.to_lowercase())),
        _ => Err(unknown()),
    }
}
