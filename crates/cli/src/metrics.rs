//! Measures of a ranking, as `trec_eval` defines them. The ranking is taken as it comes: what a user sees is scored, so
//! equal scores are not sorted anew by id.

use std::collections::BTreeMap;

/// Gains of the wanted documents; every gain is 1 or more. What is not in it is not wanted.
pub(crate) type Gains = BTreeMap<usize, u32>;

/// Normalised discounted cumulative gain: gains divided by log2(rank + 1), over the best possible order.
pub(crate) fn ndcg(ranking: &[usize], gains: &Gains, k: usize) -> f64 {
    let discounted = |gains: &mut dyn Iterator<Item = u32>| -> f64 {
        gains.take(k).zip(2u32..).map(|(gain, rank)| f64::from(gain) / f64::from(rank).log2()).sum()
    };
    let mut best: Vec<u32> = gains.values().copied().collect();
    best.sort_unstable_by(|left, right| right.cmp(left));
    let ideal = discounted(&mut best.into_iter());
    let found = discounted(&mut ranking.iter().map(|document| gains.get(document).copied().unwrap_or(0)));
    if ideal > 0.0 { found / ideal } else { 0.0 }
}

/// Wanted documents among the first `k` / all wanted. Called Pass@k where the wanted are chunks.
pub(crate) fn recall(ranking: &[usize], gains: &Gains, k: usize) -> f64 {
    let found = ranking.iter().take(k).filter(|document| gains.contains_key(document)).count();
    if gains.is_empty() { 0.0 } else { found as f64 / gains.len() as f64 }
}

/// Whether a wanted document is among the first `k`.
pub(crate) fn hit(ranking: &[usize], gains: &Gains, k: usize) -> f64 {
    f64::from(u8::from(ranking.iter().take(k).any(|document| gains.contains_key(document))))
}

/// 1 / the rank of the first wanted document, if that is `k` at most.
pub(crate) fn reciprocal_rank(ranking: &[usize], gains: &Gains, k: usize) -> f64 {
    let first = ranking.iter().take(k).position(|document| gains.contains_key(document));
    first.map_or(0.0, |position| 1.0 / (position + 1) as f64)
}

/// The precision at each wanted document's rank, summed / all wanted.
pub(crate) fn average_precision(ranking: &[usize], gains: &Gains) -> f64 {
    let (mut found, mut sum) = (0.0, 0.0);
    for (position, document) in ranking.iter().enumerate() {
        if gains.contains_key(document) {
            found += 1.0;
            sum += found / (position + 1) as f64;
        }
    }
    if gains.is_empty() { 0.0 } else { sum / gains.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn binary_ndcg_by_hand() {
        // Wanted 1 and 2, found at ranks 1 and 3: (1 + 1/log2 4) / (1 + 1/log2 3).
        let gains: Gains = [(1, 1), (2, 1)].into();
        let value = ndcg(&[1, 9, 2], &gains, 10);
        assert!(near(value, 1.5 / (1.0 + 1.0 / 3f64.log2())), "{value}");
        assert!(near(value, 0.919_720_789_148_187_5));
        assert!(near(ndcg(&[1, 9, 2], &gains, 2), 1.0 / (1.0 + 1.0 / 3f64.log2())), "cut at 2");
    }

    #[test]
    fn graded_ndcg_by_hand() {
        // Gains 3, 2, 1 found as 2, 0, 3: (2 + 0 + 3/2) / (3 + 2/log2 3 + 1/2).
        let gains: Gains = [(1, 3), (2, 2), (3, 1)].into();
        let value = ndcg(&[2, 9, 1], &gains, 10);
        assert!(near(value, 3.5 / (3.0 + 2.0 / 3f64.log2() + 0.5)), "{value}");
        assert!(near(ndcg(&[1, 2, 3], &gains, 10), 1.0));
    }

    #[test]
    fn more_wanted_than_k_can_still_be_perfect() {
        let gains: Gains = (0..20).map(|document| (document, 1)).collect();
        assert!(near(ndcg(&(0..10).collect::<Vec<_>>(), &gains, 10), 1.0));
        assert!(near(recall(&(0..10).collect::<Vec<_>>(), &gains, 10), 0.5));
    }

    #[test]
    fn ranks_by_hand() {
        let gains: Gains = [(1, 1), (2, 1), (3, 1)].into();
        let ranking = [9, 1, 8, 2];
        assert!(near(reciprocal_rank(&ranking, &gains, 10), 0.5));
        assert!(near(reciprocal_rank(&ranking, &gains, 1), 0.0), "beyond the cut");
        // (1/2 + 2/4) / 3: the third is never found.
        assert!(near(average_precision(&ranking, &gains), 1.0 / 3.0));
        assert!(near(recall(&ranking, &gains, 2), 1.0 / 3.0));
        assert!(near(hit(&ranking, &gains, 1), 0.0) && near(hit(&ranking, &gains, 2), 1.0));
    }

    #[test]
    fn unjudged_is_not_wanted_and_nothing_is_zero() {
        let gains: Gains = [(1, 1)].into();
        for ranking in [&[][..], &[7, 8, 9][..]] {
            assert!(near(ndcg(ranking, &gains, 10), 0.0));
            assert!(near(recall(ranking, &gains, 10), 0.0));
            assert!(near(average_precision(ranking, &gains), 0.0));
            assert!(near(reciprocal_rank(ranking, &gains, 10), 0.0));
        }
        assert!(near(ndcg(&[1], &Gains::new(), 10), 0.0));
    }
}
