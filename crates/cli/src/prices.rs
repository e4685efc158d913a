//! Neurons of Workers AI models, in one dated place.

use ragflare_local::ai::RERANKER_FOLDER;

/// As of 2026-08-28 (Cloudflare's page "Workers AI: Pricing"): neurons per million input tokens.
const NEURONS_PER_MILLION: [(&str, f64); 7] = [
    ("@cf/baai/bge-small-en-v1.5", 1841.0),
    ("@cf/baai/bge-base-en-v1.5", 6058.0),
    ("@cf/baai/bge-large-en-v1.5", 18_582.0),
    ("@cf/baai/bge-m3", 1075.0),
    ("@cf/qwen/qwen3-embedding-0.6b", 1075.0),
    ("@cf/baai/bge-reranker-base", 283.0),
    // The twin's stand-in for it.
    (RERANKER_FOLDER, 283.0),
];

/// As of the same day: dollars for a thousand neurons, beyond the 10,000 a day that are free.
pub(crate) const DOLLARS_PER_THOUSAND: f64 = 0.011;

/// What reading so many tokens costs; `None` for a model without a known price.
pub(crate) fn neurons(model: &str, tokens: u64) -> Option<f64> {
    let (_, price) = NEURONS_PER_MILLION.iter().find(|(name, _)| *name == model)?;
    Some(price * tokens as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_s_price_by_hand() {
        // 30 tokens embedded and 20 passages of 250 tokens reranked.
        let embedding = neurons("@cf/baai/bge-small-en-v1.5", 30).unwrap();
        let rerank = neurons("@cf/baai/bge-reranker-base", 5000).unwrap();
        assert!((embedding + rerank - (0.055_23 + 1.415)).abs() < 1e-9);
        assert_eq!(neurons("unknown", 1), None);
    }
}
