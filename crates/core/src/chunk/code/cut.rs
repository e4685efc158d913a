//! Where source code is cut.

use crate::chunk::MAX_CHUNK_BYTES;
use crate::chunk::code::scan::{Border, Class, Found, Quality, REACH};
use crate::chunk::outline::Kind;
use crate::chunk::pack::Ruler;
use crate::chunk::split;

/// How much of the text behind a place decides about the chunk that begins there.
const AHEAD: usize = 2 * MAX_CHUNK_BYTES;

/// How much has to be known of the text behind a place for that, if it goes on.
pub(super) const NEEDED: usize = AHEAD + 2 * REACH + 1024;

/// Where the chunk that begins at `start` ends. The text ends with the ruler's, or goes on for [`NEEDED`] at least.
pub(super) fn end(ruler: &Ruler<'_>, found: &Found, start: usize) -> usize {
    let len = ruler.text.len();
    let horizon = ruler.text.floor_char_boundary(start + AHEAD);
    if horizon == len && ruler.fits(start..len) {
        return len;
    }
    let most = split::reach(ruler, start..horizon);
    let first = found.borders.partition_point(|border| border.at <= start);
    let last = found.borders.partition_point(|border| border.at <= most);
    let beyond = found.borders.partition_point(|border| border.at <= horizon);
    let (near, far) = (&found.borders[first..last], &found.borders[last..beyond]);
    let size = |at: usize| ruler.size(start..at);
    let limit = ruler.limit;
    let quarter = near.partition_point(|border| size(border.at) < limit / 4);
    // Up to there, a border is worth it only if it is of less depth than what comes after.
    let most_of_it = near.partition_point(|border| size(border.at) < limit * 2 / 3);

    // Of the borders of a class those of the least depth, but early ones only for that.
    let rank = |border: &Border| (border.class, border.depth);
    let late = near[most_of_it..].iter().map(rank).min();
    let middle = near[quarter..most_of_it].iter().map(rank).min();
    let early = near[..quarter].iter().map(rank).min().filter(|least| {
        // Only if what begins there is whole then.
        let begins = near[..quarter].iter().rposition(|border| rank(border) == *least).unwrap_or(0);
        let next = near[begins + 1..].iter().chain(far).find(|next| rank(next) <= *least);
        let end = next.map_or(horizon, |next| next.at);
        (next.is_some() || horizon == len) && end > most && ruler.fits(near[begins].at..end)
    });
    let is_free = |rank: &(Class, usize)| rank.0 == Class::Free;
    let Some(best) = late.into_iter().chain(middle).chain(early.filter(is_free)).min() else {
        let end = if horizon < len { horizon } else { len };
        return split::cut(ruler, Kind::Lines, start..end, start);
    };
    let of_best = |from: usize| near[from..].iter().filter(move |border| rank(border) == best);

    // If two chunks can take what is left of what these borders are in, they get about half each.
    let outer = far.iter().find(|border| border.class == Class::Free && border.depth < best.1);
    let end = outer.map(|border| border.at).or_else(|| (horizon == len).then_some(len));
    if let Some(end) = end
        && best.0 == Class::Free
    {
        let all = ruler.size(start..end);
        if all <= 2 * limit {
            let uneven = |border: &&Border| {
                let is_whole = border.quality == Quality::Item;
                (!is_whole, border.indentation, border.quality, (2 * size(border.at)).abs_diff(all))
            };
            let fits = |border: &&Border| ruler.fits(border.at..end);
            if let Some(border) = of_best(quarter).filter(fits).min_by_key(uneven) {
                return border.at;
            }
        }
    }
    let quality = |border: &&Border| (border.indentation, border.quality, usize::MAX - border.at);
    let chosen = if late == Some(best) {
        of_best(most_of_it).min_by_key(quality)
    } else if middle == Some(best) {
        of_best(quarter).min_by_key(quality)
    } else {
        near[..quarter].iter().rev().find(|border| rank(border) == best)
    };
    chosen.map_or(most, |border| border.at)
}
