//! How many layers of a model fit on the GPUs beside their part of the cache. Pure.
//!
//! llama.cpp does not load what is too large for a device. It gives the GPUs what computes the logits
//! first, then the layers from the last one on, and shares both out by the memory that is free on each.
//! Its own way to fit a model (`common_fit_params`) loads the model twice and changes where the log of
//! the whole process goes, so this estimates from the sizes in the file.

/// Bytes left free on every GPU, for what llama.cpp computes in and for other programs. llama.cpp's own
/// fitting leaves as much.
pub const MARGIN: u64 = 1 << 30;

/// What is to be placed, and where.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Bytes of memory that are free on each GPU.
    pub free: &'a [u64],
    /// Bytes of the weights of each layer, the first layer first.
    pub layers: &'a [u64],
    /// Bytes of the weights that compute the logits.
    pub output: u64,
    /// Bytes of the cache of all layers.
    pub cache: u64,
}

/// What fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Layers on the GPUs, as `-ngl` counts them: what computes the logits is one, and the first.
    pub layers: u32,
    /// How many there are.
    pub all: u32,
    /// Bytes of weights and cache on the GPUs.
    pub bytes: u64,
    /// Bytes that they may take there.
    pub budget: u64,
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} of {} layers fit on the GPU: {} MiB of weights and cache, where {} MiB are free beside a margin of {} MiB",
            self.layers,
            self.all,
            self.bytes >> 20,
            self.budget >> 20,
            MARGIN >> 20
        )
    }
}

/// Places as many layers as fit.
pub fn fit(load: &Load) -> Placement {
    let count = load.layers.len() as u64;
    let cache = load.cache.checked_div(count).unwrap_or(0);
    let layers = load
        .layers
        .iter()
        .rev()
        .map(|bytes| bytes.saturating_add(cache));
    let pieces = || std::iter::once(load.output).chain(layers.clone());
    let budget = budget(load.free, pieces().max().unwrap_or(0));
    // Never more than the budget.
    let (mut placed, mut bytes) = (0, 0);
    for piece in pieces() {
        if piece > budget - bytes {
            break;
        }
        bytes += piece;
        placed += 1;
    }
    Placement {
        layers: placed,
        all: u32::try_from(count + 1).unwrap_or(u32::MAX),
        bytes,
        budget,
    }
}

/// Bytes that all GPUs may take together, of pieces of at most `largest` bytes.
fn budget(free: &[u64], largest: u64) -> u64 {
    let total: u64 = free.iter().sum();
    // Each gets a part by what is free there, margin included, so the one with the least limits all.
    let least = free
        .iter()
        .map(|&free| scale(free.saturating_sub(MARGIN), total, free))
        .min();
    // A piece is on one GPU, which may thereby get more than its part.
    let rounding = (free.len() as u64)
        .saturating_sub(1)
        .saturating_mul(largest);
    least.unwrap_or(0).saturating_sub(rounding)
}

/// Bytes that the cache of all `layers` may take, where the part of the last `placed` lies on the GPUs and
/// that of the others in the host's memory. `None` where neither limit is known or matters.
pub fn cache_room(gpu: Option<u64>, host: Option<u64>, placed: u32, layers: u32) -> Option<u64> {
    let (layers, placed) = (u64::from(layers), u64::from(placed.min(layers)));
    let whole = |room: Option<u64>, part: u64| {
        room.filter(|_| part > 0)
            .map(|room| scale(room, layers, part))
    };
    let limits = [whole(gpu, placed), whole(host, layers - placed)];
    limits.into_iter().flatten().min()
}

/// `bytes × to / of`, where `bytes` is what falls on `of` parts.
fn scale(bytes: u64, to: u64, of: u64) -> u64 {
    let scaled = u128::from(bytes) * u128::from(to) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn load<'a>(free: &'a [u64], layers: &'a [u64]) -> Load<'a> {
        Load {
            free,
            layers,
            output: GIB / 2,
            cache: 4 * GIB,
        }
    }

    #[test]
    fn a_model_that_fits_is_placed_as_a_whole() {
        let placed = fit(&load(&[24 * GIB], &[GIB / 4; 32]));
        assert_eq!((placed.layers, placed.all), (33, 33));
        assert_eq!(placed.bytes, 8 * GIB + 4 * GIB + GIB / 2);
        assert!(placed.to_string().contains("33 of 33 layers"));
    }

    #[test]
    fn the_cache_of_a_layer_takes_place_beside_it() {
        // Half a GiB for the logits; of 6.5 that are left each layer takes 3/8 with its cache.
        let (free, layers) = ([8 * GIB], [GIB / 4; 32]);
        let given = load(&free, &layers);
        assert_eq!(fit(&given).layers, 1 + 17);
        assert_eq!(fit(&Load { cache: 0, ..given }).layers, 1 + 26);
    }

    #[test]
    fn layers_are_taken_from_the_last_one_on() {
        let (free, layers) = ([4 * GIB], [4 * GIB, GIB, GIB]);
        let given = load(&free, &layers);
        let placed = fit(&Load { cache: 0, ..given });
        assert_eq!((placed.layers, placed.bytes), (3, 2 * GIB + GIB / 2));
    }

    #[test]
    fn nothing_is_placed_where_nothing_is_free() {
        let (full, one_full) = ([MARGIN], [MARGIN, 40 * GIB]);
        let none: [&[u64]; 4] = [&[], &[0], &full, &one_full];
        for free in none {
            assert_eq!(fit(&load(free, &[GIB; 4])).layers, 0, "{free:?}");
        }
        assert_eq!(fit(&load(&[8 * GIB], &[])).all, 1);
    }

    #[test]
    fn the_smaller_of_two_gpus_limits_what_both_get() {
        // The second gets a quarter of all, and has 3 GiB for it; a piece may fall to either.
        let (free, layers) = ([12 * GIB, 4 * GIB], [GIB; 32]);
        let given = load(&free, &layers);
        let placed = fit(&Load { cache: 0, ..given });
        assert_eq!(placed.budget, 12 * GIB - GIB);
        assert_eq!(placed.layers, 1 + 10);
    }

    #[test]
    fn a_cache_is_limited_where_its_layers_are() {
        assert_eq!(cache_room(Some(100), Some(7), 32, 32), Some(100));
        assert_eq!(cache_room(Some(100), Some(7), 0, 32), Some(7));
        assert_eq!(cache_room(Some(100), Some(700), 8, 32), Some(400));
        assert_eq!(cache_room(Some(1000), Some(60), 8, 32), Some(80));
        assert_eq!(cache_room(None, Some(60), 8, 32), Some(80));
        assert_eq!(cache_room(None, None, 8, 32), None);
        assert_eq!(cache_room(None, Some(60), 99, 32), None);
    }

    proptest! {
        #[test]
        fn what_is_placed_fits_and_one_more_does_not(
            free in prop::collection::vec(0u64..80 * GIB, 1..4),
            layers in prop::collection::vec(1u64..2 * GIB, 1..80),
            output in 0..2 * GIB,
            cache in 0..40 * GIB,
        ) {
            let load = Load {
                free: &free,
                layers: &layers,
                output,
                cache,
            };
            let placed = fit(&load);
            prop_assert!(placed.bytes <= placed.budget);
            prop_assert!(placed.budget <= free.iter().sum::<u64>());
            let more = layers
                .iter()
                .rev()
                .nth((placed.layers as usize).saturating_sub(1))
                .map_or(0, |bytes| bytes + cache / layers.len() as u64);
            let next = if placed.layers == 0 { output } else { more };
            prop_assert!(placed.layers == placed.all || placed.bytes + next > placed.budget);
        }
    }
}
