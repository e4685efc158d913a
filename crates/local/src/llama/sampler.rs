//! The choice of the next token.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How to generate, with the defaults of Workers AI.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// The most tokens to generate; 256.
    pub max_tokens: usize,
    /// 0.6; 0 always takes the most likely token.
    pub temperature: f32,
    /// Keep the most likely tokens whose probabilities add up to this; 1 keeps all.
    pub top_p: f32,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Makes sampling repeatable.
    pub seed: Option<u64>,
    /// Divides the logits of tokens already seen (multiplies negative ones); 1 changes nothing.
    pub repetition_penalty: f32,
    /// Subtracted from a generated token's logit once per occurrence.
    pub frequency_penalty: f32,
    /// Subtracted from a generated token's logit once.
    pub presence_penalty: f32,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            temperature: 0.6,
            top_p: 1.0,
            top_k: 0,
            seed: None,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
        }
    }
}

/// A sampler for one answer.
#[derive(Debug)]
pub struct Sampler<'o> {
    options: &'o GenerateOptions,
    random: StdRng,
}

impl<'o> Sampler<'o> {
    /// A sampler that is repeatable when the options carry a seed.
    pub fn new(options: &'o GenerateOptions) -> Self {
        let seed = options.seed.unwrap_or_else(|| rand::rng().random());
        Self { options, random: StdRng::seed_from_u64(seed) }
    }

    /// Picks the next token. `prompt` and `generated` are what came before, for the penalties.
    pub fn pick(&mut self, logits: &mut [f32], prompt: &[u32], generated: &[u32]) -> u32 {
        self.penalise(logits, prompt, generated);
        if self.options.temperature <= 0.0 {
            return greedy(logits);
        }
        let mut candidates: Vec<(u32, f32)> =
            logits.iter().enumerate().map(|(i, &l)| (i as u32, l / self.options.temperature)).collect();
        let by_likelihood = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1);
        if self.options.top_k > 0 && self.options.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.options.top_k - 1, by_likelihood);
            candidates.truncate(self.options.top_k);
        }
        let highest = candidates.iter().map(|c| c.1).fold(f32::NEG_INFINITY, f32::max);
        for candidate in &mut candidates {
            candidate.1 = (candidate.1 - highest).exp();
        }
        if self.options.top_p < 1.0 {
            candidates.sort_unstable_by(by_likelihood);
            let total: f32 = candidates.iter().map(|c| c.1).sum();
            let mut sum = 0.0;
            let keep = candidates.iter().position(|c| {
                sum += c.1;
                sum >= self.options.top_p * total
            });
            candidates.truncate(keep.map_or(candidates.len(), |k| k + 1));
        }
        let total: f32 = candidates.iter().map(|c| c.1).sum();
        let mut left = self.random.random::<f32>() * total;
        for (token, weight) in &candidates {
            left -= weight;
            if left <= 0.0 {
                return *token;
            }
        }
        candidates.last().map_or(0, |c| c.0)
    }

    fn penalise(&self, logits: &mut [f32], prompt: &[u32], generated: &[u32]) {
        let o = self.options;
        if (o.repetition_penalty - 1.0).abs() > f32::EPSILON && o.repetition_penalty > 0.0 {
            let mut seen: Vec<u32> = prompt.iter().chain(generated).copied().collect();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                if let Some(l) = logits.get_mut(token as usize) {
                    *l = if *l > 0.0 { *l / o.repetition_penalty } else { *l * o.repetition_penalty };
                }
            }
        }
        if o.frequency_penalty != 0.0 || o.presence_penalty != 0.0 {
            let mut counts = std::collections::HashMap::<u32, f32>::new();
            for token in generated {
                *counts.entry(*token).or_default() += 1.0;
            }
            for (token, count) in counts {
                if let Some(l) = logits.get_mut(token as usize) {
                    *l -= o.frequency_penalty * count + o.presence_penalty;
                }
            }
        }
    }
}

fn greedy(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(i, _)| i as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(options: &GenerateOptions, logits: &[f32], generated: &[u32]) -> u32 {
        Sampler::new(options).pick(&mut logits.to_vec(), &[], generated)
    }

    #[test]
    fn zero_temperature_is_greedy() {
        let options = GenerateOptions { temperature: 0.0, ..Default::default() };
        assert_eq!(pick(&options, &[0.1, 3.0, 2.9], &[]), 1);
        let penalised = GenerateOptions { repetition_penalty: 2.0, ..options.clone() };
        assert_eq!(pick(&penalised, &[0.1, 3.0, 2.9], &[1]), 2);
        let present = GenerateOptions { presence_penalty: 1.0, ..options };
        assert_eq!(pick(&present, &[0.1, 3.0, 2.9], &[1]), 2);
    }

    #[test]
    fn a_seed_repeats_and_the_cuts_hold() {
        let options = GenerateOptions { temperature: 2.0, seed: Some(7), ..Default::default() };
        let logits = [1.0, 1.1, 0.9, 1.05];
        assert_eq!(pick(&options, &logits, &[]), pick(&options, &logits, &[]));
        for seed in 0..50 {
            let one = GenerateOptions { temperature: 5.0, top_k: 1, seed: Some(seed), ..Default::default() };
            assert_eq!(pick(&one, &logits, &[]), 1);
            let little =
                GenerateOptions { temperature: 5.0, top_p: 0.01, seed: Some(seed), ..Default::default() };
            assert_eq!(pick(&little, &logits, &[]), 1);
        }
    }
}
