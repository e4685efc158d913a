//! What the numbers are worth: bootstrap intervals, paired tests, and how well a score separates.

use serde::Serialize;

/// Resamples; enough for two digits of a p-value of 0.05.
const RESAMPLES: usize = 10_000;
/// The same questions always give the same intervals.
const SEED: u64 = 20_261_121;

/// A mean and the middle 95 % of its bootstrap distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Interval {
    /// The mean.
    pub mean: f64,
    /// The 2.5th percentile.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
    /// Standard deviation of the values themselves (of a population, as Chroma's report gives it).
    pub sd: f64,
}

/// Two configurations on the same questions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Paired {
    /// Mean of the differences, first minus second.
    pub difference: Interval,
    /// How often a difference at least as large arises by chance, two-sided.
    pub p: f64,
    /// Questions on which the first is better.
    pub wins: usize,
    /// Questions on which both are the same.
    pub ties: usize,
    /// Questions on which the second is better.
    pub losses: usize,
}

/// The mean of values, one per question, with its interval.
pub(crate) fn interval(values: &[f64]) -> Interval {
    let mean = mean(values);
    let mut means = resampled(values);
    means.sort_unstable_by(f64::total_cmp);
    let variance =
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len().max(1) as f64;
    let (low, high) = (percentile(&means, 0.025), percentile(&means, 0.975));
    Interval { mean, low, high, sd: variance.sqrt() }
}

/// The paired bootstrap: questions are drawn, both configurations keep their values on them. For `p` the differences are
/// moved to a mean of zero.
pub(crate) fn paired(first: &[f64], second: &[f64]) -> Paired {
    let differences: Vec<f64> = first.iter().zip(second).map(|(first, second)| first - second).collect();
    let difference = interval(&differences);
    // Sums in another order differ in their last bits.
    let seen = difference.mean.abs() - 1e-12;
    let as_far =
        resampled(&differences).iter().filter(|mean| (**mean - difference.mean).abs() >= seen).count();
    let count = |holds: fn(f64) -> bool| differences.iter().filter(|value| holds(**value)).count();
    Paired {
        difference,
        p: (as_far + 1) as f64 / (RESAMPLES + 1) as f64,
        wins: count(|value| value > 1e-9),
        ties: count(|value| value.abs() <= 1e-9),
        losses: count(|value| value < -1e-9),
    }
}

/// The chance that a random positive scores above a random negative; equal scores count half. `None` without either.
pub(crate) fn roc_auc(positives: &[f64], negatives: &[f64]) -> Option<f64> {
    if positives.is_empty() || negatives.is_empty() {
        return None;
    }
    let won: f64 = positives
        .iter()
        .flat_map(|positive| negatives.iter().map(move |negative| (positive, negative)))
        .map(|(positive, negative)| match positive.total_cmp(negative) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    Some(won / (positives.len() * negatives.len()) as f64)
}

/// The threshold with the fewest errors when both kinds weigh the same, with the shares of positives below it and of
/// negatives at or above it.
pub(crate) fn best_threshold(positives: &[f64], negatives: &[f64]) -> Option<(f64, f64, f64)> {
    let mut thresholds: Vec<f64> = positives.iter().chain(negatives).copied().collect();
    thresholds.sort_unstable_by(f64::total_cmp);
    thresholds.dedup();
    thresholds
        .into_iter()
        .map(|threshold| {
            let (refused, answered) = errors_at(positives, negatives, threshold);
            (threshold, refused, answered)
        })
        .min_by(|left, right| (left.1 + left.2).total_cmp(&(right.1 + right.2)))
        .filter(|_| !positives.is_empty() && !negatives.is_empty())
}

/// The share of positives below a threshold, and of negatives at or above it.
pub(crate) fn errors_at(positives: &[f64], negatives: &[f64], threshold: f64) -> (f64, f64) {
    let below = |values: &[f64]| values.iter().filter(|value| **value < threshold).count() as f64;
    let share =
        |count: f64, values: &[f64]| if values.is_empty() { 0.0 } else { count / values.len() as f64 };
    (share(below(positives), positives), share(negatives.len() as f64 - below(negatives), negatives))
}

/// The mean; 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The value below which `share` of the sorted values lie; 0 of nothing.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or(0.0)
}

fn resampled(values: &[f64]) -> Vec<f64> {
    let mut random = Random(SEED);
    let count = values.len();
    (0..RESAMPLES)
        .map(|_| (0..count).map(|_| values[random.below(count)]).sum::<f64>() / count.max(1) as f64)
        .collect()
}

/// `SplitMix64`: five lines that never change under us, as a library's generator may.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * limit as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_about_two_standard_errors_wide() {
        // 200 coins, half heads: standard error sqrt(0.25 / 200) = 0.0354, 95 % within 0.0693.
        let values: Vec<f64> = (0..200).map(|n| f64::from(n % 2)).collect();
        let found = interval(&values);
        assert!((found.mean - 0.5).abs() < 1e-12 && (found.sd - 0.5).abs() < 1e-12);
        assert!((found.low - (0.5 - 0.0693)).abs() < 0.01, "{found:?}");
        assert!((found.high - (0.5 + 0.0693)).abs() < 0.01, "{found:?}");
        assert_eq!(interval(&values), found, "and always the same");
    }

    #[test]
    fn a_paired_test_sees_what_an_unpaired_one_cannot() {
        let second: Vec<f64> = (0..100).map(|n| f64::from(n) / 100.0).collect();
        let first: Vec<f64> = second.iter().map(|value| value + 0.01).collect();
        let found = paired(&first, &second);
        assert!((found.difference.mean - 0.01).abs() < 1e-9 && found.p < 0.001, "{found:?}");
        assert_eq!((found.wins, found.ties, found.losses), (100, 0, 0));
    }

    #[test]
    fn no_difference_and_noise_are_not_significant() {
        let values = [0.1, 0.5, 0.9];
        let same = paired(&values, &values);
        assert!((same.p - 1.0).abs() < 1e-12 && same.ties == 3, "{same:?}");
        let up_and_down: Vec<f64> = (0..100).map(|n| if n % 2 == 0 { 0.6 } else { 0.4 }).collect();
        let noise = paired(&up_and_down, &[0.5; 100]);
        assert!(noise.p > 0.9, "{noise:?}");
        assert_eq!((noise.wins, noise.losses), (50, 50));
    }

    #[test]
    fn auc_and_errors_by_hand() {
        // Pairs: 0.9 beats both, 0.4 beats 0.1 and equals 0.4: 3.5 of 4.
        let (positives, negatives) = ([0.9, 0.4], [0.4, 0.1]);
        assert_eq!(roc_auc(&positives, &negatives), Some(3.5 / 4.0));
        assert_eq!(roc_auc(&positives, &[]), None);
        assert_eq!(errors_at(&positives, &negatives, 0.5), (0.5, 0.0));
        assert_eq!(errors_at(&positives, &negatives, 0.4), (0.0, 0.5));
        let (threshold, refused, answered) = best_threshold(&[0.9, 0.8], &[0.3, 0.2]).unwrap();
        assert_eq!((threshold, refused, answered), (0.8, 0.0, 0.0));
    }
}
