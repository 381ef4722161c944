//! Drawing principles by weight.

use serde::Serialize;

use super::Principle;
use crate::digest::{Digest, canonical};

/// The principles of a weight above 0 in a random order in which heavier ones come sooner: the one with the
/// largest u^(1/weight) first (Efraimidis and Spirakis 2006). Each u derives from the seed and the principle's
/// id, so that editing one principle leaves the draws of the others alone. `seed` is a tuple or a list.
pub fn by_weight<'a>(principles: &[&'a Principle], seed: &impl Serialize) -> Vec<&'a Principle> {
    // The digest is that of the seed with the id at its end; all principles share the beginning.
    let shared = canonical(seed);
    let shared = shared.strip_suffix(']').unwrap_or(&shared);
    let mut keyed: Vec<(f64, &Principle)> = principles
        .iter()
        .filter(|principle| principle.weight > 0.0)
        .map(|principle| {
            let whole = format!("{shared},{}]", canonical(&principle.id));
            let hash = Digest::of_bytes(whole.as_bytes()).seed();
            // In (0, 1), never at its ends.
            let u = (f64::from(hash) + 0.5) / (f64::from(u32::MAX) + 1.0);
            (u.ln() / principle.weight, *principle)
        })
        .collect();
    keyed.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
    keyed.into_iter().map(|(_, principle)| principle).collect()
}
