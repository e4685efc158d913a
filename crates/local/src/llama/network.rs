//! The forward pass of a llama-architecture model, from the tensors of a GGUF file.
//!
//! Every linear layer is kept twice: in f32 for the many-token passes over a prompt (where the matrix product is bound
//! by arithmetic, and f32 has the best kernel) and as `Q8_0` for the one-token steps (bound by memory). Models whose f32
//! copy would exceed 4 GiB keep only the quantised one and expand it layer by layer for each pass.

use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::quantized::gguf_file;
use candle_core::{Device, Result, Tensor};

use super::matrix::Matrix;

/// The most memory spent on f32 copies, in bytes.
const F32_BUDGET: usize = 4 << 30;

/// The shape of the network, from the file's metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Transformer blocks.
    pub blocks: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Numbers per head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Context window in tokens.
    pub context: usize,
    rms_eps: f32,
    rope_base: f32,
}

impl Config {
    fn read(content: &gguf_file::Content) -> Result<Self> {
        let get = |key: &str| {
            content
                .metadata
                .get(key)
                .ok_or_else(|| candle_core::Error::msg(format!("no {key} in the metadata")))
        };
        let int = |key: &str| Ok::<_, candle_core::Error>(get(key)?.to_u32()? as usize);
        let architecture = get("general.architecture")?.to_string()?;
        if architecture != "llama" {
            candle_core::bail!("architecture {architecture} is not supported, only llama is");
        }
        let heads = int("llama.attention.head_count")?;
        let embedding = int("llama.embedding_length")?;
        Ok(Self {
            blocks: int("llama.block_count")?,
            heads,
            kv_heads: int("llama.attention.head_count_kv").unwrap_or(heads),
            head_dim: int("llama.attention.key_length").unwrap_or(embedding / heads),
            feed_forward: int("llama.feed_forward_length")?,
            context: int("llama.context_length")?,
            rms_eps: get("llama.attention.layer_norm_rms_epsilon")?.to_f32()?,
            rope_base: get("llama.rope.freq_base").and_then(gguf_file::Value::to_f32).unwrap_or(10_000.0),
        })
    }
}

/// A linear layer `[out, in]`, in the two forms described above.
#[derive(Debug)]
struct Linear {
    prompt: Option<Tensor>,
    step: Matrix,
}

impl Linear {
    fn new(weight: Tensor, keep_f32: bool) -> Result<Self> {
        let step = Matrix::quantise(&weight)?;
        Ok(Self { prompt: keep_f32.then_some(weight), step })
    }

    /// `[n, in]` to `[n, out]`.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        if xs.dim(0)? == 1 {
            let product = self.step.times(&xs.flatten_all()?.to_vec1::<f32>()?);
            return Tensor::from_vec(product, (1, self.step.rows()), &Device::Cpu);
        }
        match &self.prompt {
            Some(weight) => xs.matmul(&weight.t()?),
            None => xs.matmul(&self.step.dequantise()?.t()?),
        }
    }
}

#[derive(Debug)]
struct Block {
    attention_norm: Tensor,
    qkv: Linear,
    attention_out: Linear,
    ffn_norm: Tensor,
    gate_up: Linear,
    down: Linear,
}

/// The keys and values of the tokens seen so far: one `[kv_heads, context, head_dim]` pair per block, allocated once
/// (the pages are touched only as the context grows).
#[derive(Debug)]
pub struct KvCache {
    blocks: Vec<(Tensor, Tensor)>,
}

/// A loaded model.
#[derive(Debug)]
pub struct Network {
    config: Config,
    embeddings: Matrix,
    blocks: Vec<Block>,
    output_norm: Tensor,
    /// `None` when the token embeddings serve as the output matrix too ("tied").
    output: Option<Matrix>,
    cos: Tensor,
    sin: Tensor,
}

impl Network {
    /// Builds the network from a GGUF file held in memory, on `threads` threads.
    ///
    /// # Errors
    /// When a tensor or a metadata key is missing, or the architecture is not `llama`.
    pub fn load(bytes: &[u8], content: &gguf_file::Content, threads: usize) -> Result<Self> {
        let config = Config::read(content)?;
        let device = Device::Cpu;
        let dense = |name: &str| content.tensor(&mut Cursor::new(bytes), name, &device)?.dequantize(&device);
        let linear_elements: usize = content
            .tensor_infos
            .iter()
            .filter(|(name, _)| name.starts_with("blk."))
            .map(|(_, t)| t.shape.elem_count())
            .sum();
        let keep_f32 = linear_elements * 4 <= F32_BUDGET;
        let stack = |names: &[String]| -> Result<Linear> {
            let parts: Vec<Tensor> = names.iter().map(|n| dense(n)).collect::<Result<_>>()?;
            let whole = if parts.len() == 1 { parts[0].clone() } else { Tensor::cat(&parts, 0)? };
            Linear::new(whole, keep_f32)
        };
        let block = |i: usize| -> Result<Block> {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            Ok(Block {
                attention_norm: dense(&name("attn_norm"))?,
                qkv: stack(&[name("attn_q"), name("attn_k"), name("attn_v")])?,
                attention_out: stack(&[name("attn_output")])?,
                ffn_norm: dense(&name("ffn_norm"))?,
                gate_up: stack(&[name("ffn_gate"), name("ffn_up")])?,
                down: stack(&[name("ffn_down")])?,
            })
        };
        let next = AtomicUsize::new(0);
        let (embeddings, blocks) = std::thread::scope(|scope| {
            let (block, next, count) = (&block, &next, config.blocks);
            let worker = move || {
                std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < count))
                    .map(|i| Ok((i, block(i)?)))
                    .collect::<Result<Vec<_>>>()
            };
            let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(worker)).collect();
            let embeddings = Matrix::quantise(&dense("token_embd.weight")?)?;
            let mut blocks = worker()?;
            for other in others {
                blocks.extend(other.join().unwrap_or_else(|_| candle_core::bail!("loading panicked"))?);
            }
            blocks.sort_by_key(|(i, _)| *i);
            Ok::<_, candle_core::Error>((embeddings, blocks.into_iter().map(|(_, b)| b).collect()))
        })?;
        let output = content
            .tensor_infos
            .contains_key("output.weight")
            .then(|| Matrix::quantise(&dense("output.weight")?))
            .transpose()?;
        let half = config.head_dim / 2;
        let angles: Vec<f32> = (0..config.context)
            .flat_map(|position| {
                (0..half).map(move |i| {
                    position as f32 / config.rope_base.powf(2.0 * i as f32 / config.head_dim as f32)
                })
            })
            .collect();
        let angles = Tensor::from_vec(angles, (config.context, half), &device)?;
        Ok(Self {
            embeddings,
            blocks,
            output_norm: dense("output_norm.weight")?,
            output,
            cos: angles.cos()?,
            sin: angles.sin()?,
            config,
        })
    }

    /// The network's shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// An empty cache for one sequence.
    ///
    /// # Errors
    /// When the allocation fails.
    pub fn cache(&self) -> Result<KvCache> {
        let c = &self.config;
        let shape = (c.kv_heads, c.context, c.head_dim);
        let blocks = (0..c.blocks)
            .map(|_| {
                Ok((
                    Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu)?,
                    Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu)?,
                ))
            })
            .collect::<Result<_>>()?;
        Ok(KvCache { blocks })
    }

    /// Runs `tokens`, which follow `position` tokens already in the cache, and returns the logits after the last one.
    ///
    /// # Errors
    /// When the sequence would exceed the context window.
    pub fn forward(&self, cache: &KvCache, tokens: &[u32], position: usize) -> Result<Vec<f32>> {
        let (n, end) = (tokens.len(), position + tokens.len());
        if n == 0 || end > self.config.context {
            candle_core::bail!("{n} tokens at {position} do not fit a window of {}", self.config.context);
        }
        let mut xs = self.embeddings.select(tokens)?;
        let cos = self.cos.narrow(0, position, n)?;
        let sin = self.sin.narrow(0, position, n)?;
        let mask = (n > 1).then(|| causal_mask(n, position)).transpose()?;
        for (block, (keys, values)) in self.blocks.iter().zip(&cache.blocks) {
            let hidden = candle_nn::ops::rms_norm(&xs, &block.attention_norm, self.config.rms_eps)?;
            let qkv = block.qkv.forward(&hidden)?;
            let attended = self.attention(&qkv, (keys, values), (&cos, &sin), position, mask.as_ref())?;
            xs = (xs + block.attention_out.forward(&attended)?)?;
            let hidden = candle_nn::ops::rms_norm(&xs, &block.ffn_norm, self.config.rms_eps)?;
            let gate_up = block.gate_up.forward(&hidden)?;
            let gate = gate_up.narrow(1, 0, self.config.feed_forward)?.silu()?;
            let up = gate_up.narrow(1, self.config.feed_forward, self.config.feed_forward)?;
            xs = (xs + block.down.forward(&(gate * up)?)?)?;
        }
        let last = xs.narrow(0, n - 1, 1)?.contiguous()?;
        let last = candle_nn::ops::rms_norm(&last, &self.output_norm, self.config.rms_eps)?;
        Ok(self.output.as_ref().unwrap_or(&self.embeddings).times(&last.flatten_all()?.to_vec1::<f32>()?))
    }

    /// Grouped-query attention: `[n, (heads + 2·kv_heads)·head_dim]` to `[n, heads·head_dim]`.
    fn attention(
        &self,
        qkv: &Tensor,
        (keys, values): (&Tensor, &Tensor),
        (cos, sin): (&Tensor, &Tensor),
        position: usize,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let Config { heads, kv_heads, head_dim, .. } = self.config;
        let n = qkv.dim(0)?;
        let (end, group) = (position + n, heads / kv_heads);
        // [n, count·head_dim] at `from` to [count, n, head_dim].
        let split = |from: usize, count: usize| {
            qkv.narrow(1, from * head_dim, count * head_dim)?
                .reshape((n, count, head_dim))?
                .transpose(0, 1)?
                .contiguous()
        };
        // The converter to GGUF permutes the query and key rows of llama models so that rotated pairs are adjacent.
        let rotate = |t: Tensor| candle_nn::rotary_emb::rope_i(&t.unsqueeze(0)?, cos, sin)?.squeeze(0);
        let q = rotate(split(0, heads)?)?;
        keys.slice_set(&rotate(split(heads, kv_heads)?)?, 1, position)?;
        values.slice_set(&split(heads + kv_heads, kv_heads)?, 1, position)?;
        let keys = keys.narrow(1, 0, end)?;
        let values = values.narrow(1, 0, end)?;
        // Head h reads key head h / group, so the queries of one key head are neighbours: no copies of the keys.
        let q = (q.reshape((kv_heads, group * n, head_dim))? * (1.0 / (head_dim as f64).sqrt()))?;
        let mut scores = q.matmul(&keys.transpose(1, 2)?)?;
        if let Some(mask) = mask {
            scores =
                scores.reshape((heads, n, end))?.broadcast_add(mask)?.reshape((kv_heads, group * n, end))?;
        }
        let weights = candle_nn::ops::softmax_last_dim(&scores)?;
        weights
            .matmul(&values)?
            .reshape((heads, n, head_dim))?
            .transpose(0, 1)?
            .reshape((n, heads * head_dim))
    }
}

/// `[n, position + n]`: 0 where a token may look, minus infinity where it may not.
fn causal_mask(n: usize, position: usize) -> Result<Tensor> {
    let end = position + n;
    let mask: Vec<f32> = (0..n)
        .flat_map(|i| (0..end).map(move |j| if j <= position + i { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Tensor::from_vec(mask, (n, end), &Device::Cpu)
}
