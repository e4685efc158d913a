//! What Workers AI models cost, in one dated place.

/// As of 2026-08-28 (Cloudflare's page "Workers AI: Pricing"): neurons per million tokens read and written.
const NEURONS_PER_MILLION: [(&str, f64, f64); 18] = [
    ("@cf/meta/llama-3.3-70b-instruct-fp8-fast", 26_668.0, 204_805.0),
    ("@cf/meta/llama-3.1-8b-instruct-fp8-fast", 4119.0, 34_868.0),
    ("@cf/meta/llama-3.1-8b-instruct-fp8", 13_778.0, 26_128.0),
    ("@cf/meta/llama-3.2-3b-instruct", 4625.0, 30_475.0),
    ("@cf/meta/llama-3.2-1b-instruct", 2457.0, 18_252.0),
    ("@cf/meta/llama-4-scout-17b-16e-instruct", 24_545.0, 77_273.0),
    ("@cf/zai-org/glm-4.7-flash", 5500.0, 36_400.0),
    ("@cf/google/gemma-4-26b-a4b-it", 9091.0, 27_273.0),
    // The same page of an older day, 2026-07.
    ("@cf/meta/llama-3.2-11b-vision-instruct", 4410.0, 61_493.0),
    ("@cf/mistralai/mistral-small-3.1-24b-instruct", 31_876.0, 50_488.0),
    ("@cf/ibm-granite/granite-4.0-h-micro", 1542.0, 10_158.0),
    ("@cf/baai/bge-small-en-v1.5", 1841.0, 0.0),
    ("@cf/baai/bge-base-en-v1.5", 6058.0, 0.0),
    ("@cf/baai/bge-large-en-v1.5", 18_582.0, 0.0),
    ("@cf/baai/bge-m3", 1075.0, 0.0),
    ("@cf/qwen/qwen3-embedding-0.6b", 1075.0, 0.0),
    ("@cf/baai/bge-reranker-base", 283.0, 0.0),
    // What the twin has in place of the reranker costs what that would.
    ("ms-marco-MiniLM-L-12-v2", 283.0, 0.0),
];

/// As of the same day: dollars for a thousand neurons, beyond the 10,000 a day that are free.
pub const DOLLARS_PER_THOUSAND_NEURONS: f64 = 0.011;

/// As of 2026-09 (the same page): neurons per minute of audio.
const NEURONS_PER_MINUTE: [(&str, f64); 2] =
    [("@cf/openai/whisper-large-v3-turbo", 46.63), ("@cf/openai/whisper", 41.14)];

/// Tokens that an image is taken to be, from above. The page said in 2024 that one of more than 224 pixels is mostly charged
/// as 6,404 (Llama 3.2 Vision); of other models nothing is published. What a reply says it read is what is counted.
pub const IMAGE_TOKENS: u64 = 6404;

/// Neurons for so many seconds of audio heard by a model; `None` for one without a known price.
pub fn neurons_of_audio(model: &str, seconds: f64) -> Option<f64> {
    let (_, minute) = NEURONS_PER_MINUTE.iter().find(|(name, _)| *name == model)?;
    Some(minute * seconds / 60.0)
}

/// Neurons for tokens read and written by a model; `None` for one without a known price.
pub fn neurons(model: &str, read: u64, written: u64) -> Option<f64> {
    let (_, input, output) = NEURONS_PER_MILLION.iter().find(|(name, ..)| *name == model)?;
    Some((input * read as f64 + output * written as f64) / 1e6)
}

/// Dollars for neurons, as if none were free.
pub fn dollars(neurons: f64) -> f64 {
    neurons * DOLLARS_PER_THOUSAND_NEURONS / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_by_hand() {
        // 30 tokens embedded and 20 passages of 250 tokens reranked.
        let embedding = neurons("@cf/baai/bge-small-en-v1.5", 30, 0).unwrap();
        let rerank = neurons("@cf/baai/bge-reranker-base", 5000, 0).unwrap();
        assert!((embedding + rerank - (0.055_23 + 1.415)).abs() < 1e-9);
        // A thousand tokens read and a hundred written by the large model: $0.293 and $2.253 a million.
        let answer = neurons("@cf/meta/llama-3.3-70b-instruct-fp8-fast", 1000, 100).unwrap();
        assert!((dollars(answer) - (0.000_293 + 0.000_225_3)).abs() < 1e-6, "{answer}");
        assert_eq!(neurons("unknown", 1, 1), None);
        // $0.00051 a minute.
        let hour = neurons_of_audio("@cf/openai/whisper-large-v3-turbo", 3600.0).unwrap();
        assert!((dollars(hour) - 60.0 * 0.000_51).abs() < 5e-4, "{hour}");
        assert_eq!(neurons_of_audio("unknown", 1.0), None);
    }
}
