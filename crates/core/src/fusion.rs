//! One ranking out of two.

/// Adds two legs by weight. Cosines only mean something beside each other: they are moved onto 0..=1, worst to best. BM25
/// has a zero, so keyword scores are parts of the best one. A hit of one leg only gets nothing from the other, and so does
/// one that is not among the first `considered` of that leg: what more is asked for comes after them and changes nothing of
/// their order. Returns
/// `(key, score in 0..=1)`, best first; ties by key, so that a ranking never depends on a hash map. docs/evaluation.md has
/// what else was measured.
pub fn fuse<K: Ord + Clone>(
    vector: &[(K, f32)],
    keyword: &[(K, f32)],
    vector_weight: f32,
    considered: usize,
) -> Vec<(K, f32)> {
    let scores = |leg: &[(K, f32)]| leg.iter().take(considered).map(|(_, score)| *score).collect::<Vec<_>>();
    let best = keyword.iter().map(|(_, score)| *score).fold(f32::MIN_POSITIVE, f32::max);
    let parts: Vec<f32> = scores(keyword).into_iter().map(|score| score / best).collect();
    // Score, and the better of its two places.
    let mut fused = std::collections::BTreeMap::<K, (f32, usize)>::new();
    for (leg, scores, weight) in
        [(vector, normalised(&scores(vector)), vector_weight), (keyword, parts, 1.0 - vector_weight)]
    {
        let scores = scores.into_iter().chain(std::iter::repeat(0.0));
        for (place, ((key, _), score)) in leg.iter().zip(scores).enumerate() {
            let entry = fused.entry(key.clone()).or_insert((0.0, place));
            *entry = (entry.0 + weight * score, entry.1.min(place));
        }
    }
    let mut ranking: Vec<_> = fused.into_iter().map(|(key, (score, place))| (key, score, place)).collect();
    ranking.sort_by(|left, right| {
        let places = || left.2.max(considered).cmp(&right.2.max(considered));
        right.1.total_cmp(&left.1).then_with(places).then_with(|| left.0.cmp(&right.0))
    });
    ranking.into_iter().map(|(key, score, _)| (key, score)).collect()
}

/// Scores moved onto 0..=1; all equal become 1.
pub fn normalised(scores: &[f32]) -> Vec<f32> {
    let low = scores.iter().copied().fold(f32::INFINITY, f32::min);
    let high = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let range = high - low;
    scores.iter().map(|score| if range > 0.0 { (score - low) / range } else { 1.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_wins() {
        let vector = [("a", 0.9), ("b", 0.8), ("c", 0.1)];
        let keyword = [("b", 12.0), ("d", 11.0), ("a", 2.0)];
        let ranking: Vec<_> = fuse(&vector, &keyword, 0.5, 50).into_iter().map(|(key, _)| key).collect();
        assert_eq!(ranking, ["b", "a", "d", "c"]);
    }

    #[test]
    fn one_empty_leg_leaves_the_other_s_order() {
        let ranking = fuse(&[("a", 0.2), ("b", 0.7)], &[], 0.5, 50);
        assert_eq!(ranking.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn what_is_asked_for_beyond_changes_nothing_of_the_first() {
        let leg = |from: u32, step: f32| -> Vec<(u32, f32)> {
            (0..100).map(|nth| ((from + nth * 7) % 130, 9.0 - step * nth as f32)).collect()
        };
        let (vector, keyword) = (leg(3, 0.01), leg(40, 0.08));
        let few = fuse(&vector[..50], &keyword[..50], 0.45, 50);
        let many = fuse(&vector, &keyword, 0.45, 50);
        let scored = few.iter().filter(|(_, score)| *score > 0.0).count();
        assert!(scored > 60 && many.len() > few.len());
        assert_eq!(few[..scored], many[..scored]);
    }
}
