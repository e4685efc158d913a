//! BERT-style ONNX models: loading, tokenising, and running one sequence at a time on every core.
//!
//! Each sequence runs alone, unpadded, on a session of one thread; there are as many sessions as threads. Dynamic int8
//! quantisation scales activations over the whole batch, so a batch would make a text's vector depend on its
//! neighbours (cosine 0.993 to 0.998 against the text alone); alone it is always the same, and padding costs nothing.
//! It is also the fastest arrangement: 62–65 texts of 256 tokens per second on two cores, against 41–53 for batches of
//! 1 to 16 on one session of two threads.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;
use tokenizers::{EncodeInput, Tokenizer, TruncationDirection, TruncationParams, TruncationStrategy};

use crate::error::{Error, Result};

/// The longest sequence a BERT model takes, in tokens, the special ones included.
pub const MAX_TOKENS: usize = 512;

/// Loads the ONNX Runtime library. Call once, before any model is loaded; a second call does nothing.
///
/// # Errors
/// [`Error::Model`] when the library cannot be loaded or is too old.
pub fn init_runtime(library: &Path) -> Result<()> {
    if !library.is_file() {
        return Err(Error::Config(format!("no ONNX Runtime library at {}", library.display())));
    }
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if runtime.is_none() {
        let environment = ort::init_from(library)
            .map_err(|e| Error::model("ONNX Runtime", e))?
            .with_name("ragflare-local")
            .with_telemetry(false)
            .build()
            .map_err(|e| Error::model("ONNX Runtime", e))?;
        *runtime = Some(environment);
    }
    Ok(())
}

/// There can be only one environment in a process.
static RUNTIME: Mutex<Option<Environment>> = Mutex::new(None);

/// The output of a model for one sequence: `values` in row-major order, `shape` without the batch dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// `[tokens, width]` for an encoder, `[1]` for a cross-encoder.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}

/// One ONNX model with its tokenizer.
pub struct OnnxModel {
    name: String,
    tokenizer: Tokenizer,
    sessions: Vec<Mutex<Session>>,
    takes_token_types: bool,
}

impl std::fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxModel").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OnnxModel {
    /// Loads `model.onnx` and `tokenizer.json` from a folder, with one session per thread.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Model`].
    pub fn load(folder: &Path, threads: usize) -> Result<Self> {
        let name = folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let path = folder.join("model.onnx");
        let bytes = std::fs::read(&path).map_err(|source| Error::Read { path, source })?;
        let mut tokenizer =
            Tokenizer::from_file(folder.join("tokenizer.json")).map_err(|e| Error::model(&name, e))?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams {
                max_length: MAX_TOKENS,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
                direction: TruncationDirection::Right,
            }))
            .map_err(|e| Error::model(&name, e))?;
        let environment = RUNTIME
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| Error::model(&name, "the ONNX Runtime library is not loaded"))?;
        let open = || -> std::result::Result<Session, String> {
            Session::builder(&environment)
                .map_err(|e| e.to_string())?
                .with_optimization_level(GraphOptimizationLevel::Level3)
                .map_err(|e| e.to_string())?
                .with_intra_threads(1)
                .map_err(|e| e.to_string())?
                .with_intra_op_spinning(false)
                .map_err(|e| e.to_string())?
                .commit_from_memory(&bytes)
                .map_err(|e| e.to_string())
        };
        let sessions: Vec<Session> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(open)).collect();
            workers
                .into_iter()
                .map(|w| w.join().unwrap_or_else(|_| Err("loading panicked".to_owned())))
                .collect::<std::result::Result<_, _>>()
        })
        .map_err(|e| Error::model(&name, e))?;
        let takes_token_types = sessions[0].inputs().iter().any(|i| i.name() == "token_type_ids");
        Ok(Self {
            name,
            tokenizer,
            sessions: sessions.into_iter().map(Mutex::new).collect(),
            takes_token_types,
        })
    }

    /// The folder's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Encodes inputs (texts or pairs) with the special tokens, cut at [`MAX_TOKENS`].
    ///
    /// # Errors
    /// [`Error::Model`] when the tokenizer fails.
    pub fn encode<'s, E>(&self, inputs: Vec<E>) -> Result<Vec<tokenizers::Encoding>>
    where
        E: Into<EncodeInput<'s>> + Send,
    {
        self.tokenizer.encode_batch(inputs, true).map_err(|e| Error::model(&self.name, e))
    }

    /// Runs every sequence and hands each output to `finish`; results come in the order of the input.
    ///
    /// # Errors
    /// The first [`Error::Model`] of any sequence.
    pub fn run<T: Send>(
        &self,
        encodings: &[tokenizers::Encoding],
        finish: impl Fn(Output) -> T + Sync,
    ) -> Result<Vec<T>> {
        // Longest first, so that the threads finish together.
        let mut order: Vec<usize> = (0..encodings.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(encodings[i].len()));
        let next = AtomicUsize::new(0);
        let worker = |home: usize| -> Result<Vec<(usize, T)>> {
            let mut done = Vec::new();
            while let Some(&i) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((i, finish(self.run_one(home, &encodings[i])?)));
            }
            Ok(done)
        };
        let threads = self.sessions.len().min(encodings.len());
        let parts: Vec<Result<Vec<(usize, T)>>> = if threads <= 1 {
            vec![worker(0)]
        } else {
            std::thread::scope(|scope| {
                let worker = &worker;
                let handles: Vec<_> = (0..threads).map(|home| scope.spawn(move || worker(home))).collect();
                handles
                    .into_iter()
                    .map(|h| h.join().unwrap_or_else(|_| Err(Error::model(&self.name, "a worker panicked"))))
                    .collect()
            })
        };
        let mut results: Vec<(usize, T)> = Vec::with_capacity(encodings.len());
        for part in parts {
            results.extend(part?);
        }
        results.sort_by_key(|(i, _)| *i);
        Ok(results.into_iter().map(|(_, t)| t).collect())
    }

    fn run_one(&self, home: usize, encoding: &tokenizers::Encoding) -> Result<Output> {
        let row = |values: &[u32]| {
            Tensor::from_array((
                [1_usize, values.len()],
                values.iter().map(|&v| i64::from(v)).collect::<Vec<_>>(),
            ))
        };
        let fail = |e: ort::Error| Error::model(&self.name, e);
        let ids = row(encoding.get_ids()).map_err(fail)?;
        let mask = row(encoding.get_attention_mask()).map_err(fail)?;
        // Any free session will do; when all are busy, wait for one's own.
        let free = (0..self.sessions.len())
            .map(|i| (home + i) % self.sessions.len())
            .find_map(|i| self.sessions[i].try_lock().ok());
        let mut session =
            free.unwrap_or_else(|| self.sessions[home].lock().unwrap_or_else(PoisonError::into_inner));
        let outputs = if self.takes_token_types {
            let types = row(encoding.get_type_ids()).map_err(fail)?;
            session.run(ort::inputs!["input_ids" => ids, "attention_mask" => mask, "token_type_ids" => types])
        } else {
            session.run(ort::inputs!["input_ids" => ids, "attention_mask" => mask])
        }
        .map_err(fail)?;
        let (shape, values) = outputs[0].try_extract_tensor::<f32>().map_err(fail)?;
        Ok(Output { shape: shape.iter().skip(1).map(|&d| d as usize).collect(), values: values.to_vec() })
    }
}
