//! Measures the engines: `cargo run --profile native -p ragflare-local --example bench -- MODELS_DIR ONNXRUNTIME_FILE [THREADS]`.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use ragflare_local::{Embedder, GenerateOptions, Llama, Message, Pooling, Reranker};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(models), Some(runtime)) = (args.next(), args.next()) else {
        return Err("usage: bench MODELS_DIR ONNXRUNTIME_FILE [THREADS]".into());
    };
    let threads = match args.next() {
        Some(n) => n.parse()?,
        None => std::thread::available_parallelism()?.get(),
    };
    let models = Path::new(&models);
    let words = include_str!("bench.rs").split_whitespace().collect::<Vec<_>>();
    let passage = |from: usize, count: usize| {
        (0..count).map(|i| words[(from * 7 + i * 3) % words.len()]).collect::<Vec<_>>().join(" ")
    };

    let start = Instant::now();
    ragflare_local::onnx::init_runtime(Path::new(&runtime))?;
    let embedder = Embedder::load(&models.join("bge-small-en-v1.5"), threads)?;
    println!("embedder loaded in {:.2} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let reranker = Reranker::load(&models.join("ms-marco-MiniLM-L-12-v2"), threads)?;
    println!("reranker loaded in {:.2} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let llama = Llama::load(&models.join("smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf"), threads)?;
    println!("chat model loaded in {:.2} s", start.elapsed().as_secs_f64());

    // 254 copies of a one-token word and two special tokens.
    let texts: Vec<String> = (0..128).map(|_| "river ".repeat(254)).collect();
    let start = Instant::now();
    embedder.embed(&texts, Pooling::Cls)?;
    println!("embeddings of 256 tokens: {:.1} per second", 128.0 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    for _ in 0..20 {
        embedder.embed(&["how do I renew a parking permit?"], Pooling::Cls)?;
    }
    println!("one short query: {:.1} ms", start.elapsed().as_secs_f64() * 1000.0 / 20.0);
    let texts: Vec<String> = (0..20).map(|_| "river ".repeat(240)).collect();
    let start = Instant::now();
    reranker.score("how long is the river?", &texts)?;
    println!("rerank of 20 pairs of about 250 tokens: {:.2} s", start.elapsed().as_secs_f64());

    for target in [200, 700, 2000] {
        let mut content = String::new();
        let mut count = 0;
        while llama.encode_chat(&[Message::new("user", content.clone())])?.len() < target {
            count += 4;
            content = passage(target, count);
        }
        let prompt = llama.encode_chat(&[Message::new("user", content)])?;
        let options = GenerateOptions { max_tokens: 100, temperature: 0.0, ..Default::default() };
        let (start, mut first) = (Instant::now(), None);
        let outcome = llama.generate(&prompt, &options, &|| false, &mut |_| {
            first.get_or_insert_with(|| start.elapsed().as_secs_f64());
            ControlFlow::Continue(())
        })?;
        let (all, first) = (start.elapsed().as_secs_f64(), first.unwrap_or(f64::NAN));
        println!(
            "prompt of {} tokens: first token after {first:.2} s ({:.0} prompt tokens/s), then {:.1} tokens/s over {}",
            prompt.len(),
            prompt.len() as f64 / first,
            (outcome.completion_tokens as f64 - 1.0) / (all - first),
            outcome.completion_tokens
        );
        let (start, mut first) = (Instant::now(), None);
        let one = GenerateOptions { max_tokens: 1, ..options };
        let outcome = llama.generate(&prompt, &one, &|| false, &mut |_| {
            first.get_or_insert_with(|| start.elapsed().as_secs_f64());
            ControlFlow::Continue(())
        })?;
        println!(
            "  the same again: first token after {:.2} s, {} tokens cached",
            first.unwrap_or(f64::NAN),
            outcome.cached_tokens
        );
    }
    let prompt = llama.encode_chat(&[Message::new("user", "The capital of France is")])?;
    let options = GenerateOptions { max_tokens: 30, temperature: 0.0, ..Default::default() };
    llama.generate(&prompt, &options, &|| false, &mut |piece| {
        print!("{piece}");
        ControlFlow::Continue(())
    })?;
    println!();
    Ok(())
}
