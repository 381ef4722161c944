//! How a token is drawn from a row of logits.
//!
//! Truncation works on the model's own probabilities and the temperature is applied to what is left,
//! in llama.cpp's order: top-k, top-p, min-p, temperature. Draws come from a counter-based generator, so
//! that the n-th draw of a seed is the same whatever else happens in the batch.

use crate::generation::SamplingParams;

/// A token's id, and its logit or probability.
type Candidate = (f32, u32);

/// Two logits closer than this may change places with the shape of the batch: activations are rounded to
/// eight bits and keys to sixteen, and sums are taken in another order.
const CLOSE: f32 = 0.25;

/// Draws tokens for one sequence.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    seed: u32,
    draws: u64,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler whose draws depend on the seed and on how many were made before.
    pub fn new(params: SamplingParams, seed: u32) -> Self {
        Self {
            params,
            seed,
            draws: 0,
            candidates: Vec::new(),
        }
    }

    /// The token to write next among those that are `allowed`; `None` when no token is.
    pub fn sample(&mut self, logits: &[f32], allowed: impl Fn(u32) -> bool) -> Option<u32> {
        let (max, best) = argmax(logits, &allowed)?;
        if self.params.temperature <= 0.0 || self.params.top_k == 1 {
            return Some(best);
        }
        self.truncate(logits, max, &allowed);
        // Nothing is near an infinite one.
        if self.candidates.is_empty() {
            return Some(best);
        }
        let u = self.uniform();
        Some(draw(&mut self.candidates, self.params.temperature, u))
    }

    /// Whether a greedy choice from this row hangs on so little that the order of sums could tip it. Never,
    /// where tokens are drawn.
    pub fn is_close(&self, logits: &[f32], allowed: impl Fn(u32) -> bool) -> bool {
        if self.params.temperature > 0.0 && self.params.top_k != 1 {
            return false;
        }
        let Some((max, best)) = argmax(logits, &allowed) else {
            return false;
        };
        let near = |(id, &logit): (u32, &f32)| id != best && max - logit < CLOSE && allowed(id);
        (0u32..).zip(logits).any(near)
    }

    /// One of a few given tokens, by the same rules but without truncation.
    pub fn sample_among(&mut self, logits: &[f32], tokens: &[u32]) -> Option<u32> {
        let logit = |id: u32| {
            logits
                .get(id as usize)
                .copied()
                .unwrap_or(f32::NEG_INFINITY)
        };
        self.candidates.clear();
        self.candidates
            .extend(tokens.iter().map(|&id| (logit(id), id)));
        self.candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
        let &(max, best) = self.candidates.first()?;
        if self.params.temperature <= 0.0 {
            return Some(best);
        }
        self.candidates
            .iter_mut()
            .for_each(|c| c.0 = (c.0 - max).exp());
        let u = self.uniform();
        Some(draw(&mut self.candidates, self.params.temperature, u))
    }

    /// Fills `candidates` with the tokens that survive truncation, most likely first, each with its
    /// probability relative to the most likely one.
    fn truncate(&mut self, logits: &[f32], max: f32, allowed: &impl Fn(u32) -> bool) {
        // Beyond this a token's relative probability is below 1e-13, under what a draw can hit.
        let floor = if self.params.min_p > 0.0 {
            self.params.min_p.ln() as f32
        } else {
            -30.0
        };
        let candidates = &mut self.candidates;
        candidates.clear();
        for (id, &logit) in (0u32..).zip(logits) {
            if logit - max >= floor && allowed(id) {
                candidates.push((logit, id));
            }
        }
        let k = self.params.top_k as usize;
        if k > 0 && candidates.len() > k {
            candidates.select_nth_unstable_by(k - 1, by_logit);
            candidates.truncate(k);
        }
        candidates.sort_unstable_by(by_logit);
        candidates.iter_mut().for_each(|c| c.0 = (c.0 - max).exp());
        if self.params.top_p < 1.0 {
            let total: f32 = candidates.iter().map(|c| c.0).sum();
            let mut sum = 0.0;
            let keep = candidates
                .iter()
                .position(|c| {
                    sum += c.0;
                    f64::from(sum) >= self.params.top_p * f64::from(total)
                })
                .map_or(candidates.len(), |last| last + 1);
            candidates.truncate(keep.max(1));
        }
    }

    /// The next number of the sequence, in [0, 1).
    fn uniform(&mut self) -> f32 {
        let bits = mix(u64::from(self.seed) << 32 | (self.draws & 0xffff_ffff));
        self.draws += 1;
        // 24 bits are what an f32 below 1 can hold exactly.
        (bits >> 40) as f32 / (1u32 << 24) as f32
    }
}

/// Higher logits first; equal ones by id, so that the order never depends on the algorithm.
fn by_logit(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Whether no token of a row can be told to be likelier than another, because none has a number.
pub fn is_blank(logits: &[f32]) -> bool {
    !logits.iter().any(|&logit| logit > f32::NEG_INFINITY)
}

/// The most likely allowed token, the first of equals.
pub fn argmax(logits: &[f32], allowed: &impl Fn(u32) -> bool) -> Option<(f32, u32)> {
    // Mostly the best token of all is allowed, and found without asking about any other.
    let max = maximum(logits);
    let best = (0u32..).zip(logits).find(|&(_, &logit)| logit == max);
    if let Some((id, _)) = best
        && allowed(id)
    {
        return Some((max, id));
    }
    let mut best: Option<(f32, u32)> = None;
    for (id, &logit) in (0u32..).zip(logits) {
        if best.is_none_or(|(max, _)| logit > max) && !logit.is_nan() && allowed(id) {
            best = Some((logit, id));
        }
    }
    best
}

/// The largest number of a row; what is not a number is left out.
fn maximum(row: &[f32]) -> f32 {
    // Several running maxima, so that the processor compares many numbers at a time.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = row.chunks_exact(lanes.len());
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    let tail = lanes.iter().chain(rest);
    tail.fold(f32::NEG_INFINITY, |max, &value| max.max(value))
}

/// Draws from candidates that hold probabilities relative to the first, after applying the temperature.
fn draw(candidates: &mut [Candidate], temperature: f64, u: f32) -> u32 {
    let power = (1.0 / temperature) as f32;
    let mut total = 0.0;
    for candidate in candidates.iter_mut() {
        candidate.0 = candidate.0.powf(power);
        total += candidate.0;
    }
    let mut rest = u * total;
    for &(weight, id) in candidates.iter() {
        rest -= weight;
        if rest < 0.0 {
            return id;
        }
    }
    // Rounding may leave a crumb; it belongs to the last candidate. There is always one: the most likely.
    candidates.last().map_or(0, |c| c.1)
}

/// SplitMix64's finaliser (Steele, Lea and Flood 2014): every bit of the input stirs every bit of the output.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Log-probabilities of `tokens` under the whole row.
pub fn log_softmax(logits: &[f32], tokens: &[u32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&l| f64::from(l - max).exp()).sum();
    tokens
        .iter()
        .map(|&id| {
            logits
                .get(id as usize)
                .map_or(f64::NEG_INFINITY, |&l| f64::from(l - max) - total.ln())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn params(temperature: f64, top_k: u32, top_p: f64, min_p: f64) -> SamplingParams {
        SamplingParams {
            temperature,
            top_k,
            top_p,
            min_p,
            max_tokens: 1,
        }
    }

    #[test]
    fn zero_temperature_is_greedy_and_respects_the_filter() {
        let mut sampler = Sampler::new(params(0.0, 0, 1.0, 0.0), 1);
        let logits = [0.0, 3.0, 2.0];
        assert_eq!(sampler.sample(&logits, |_| true), Some(1));
        assert_eq!(sampler.sample(&logits, |id| id != 1), Some(2));
        assert_eq!(sampler.sample(&logits, |_| false), None);
        assert_eq!(sampler.sample(&[f32::NAN, 1.0, 1.0], |_| true), Some(1));
    }

    #[test]
    fn rows_that_are_no_numbers_are_told_and_survived() {
        assert!(is_blank(&[]) && is_blank(&[f32::NAN, f32::NEG_INFINITY]));
        assert!(!is_blank(&[f32::NAN, -9.0]));
        let mut sampler = Sampler::new(params(1.0, 40, 0.9, 0.05), 1);
        let endless = [0.0, f32::INFINITY, 1.0];
        assert_eq!(sampler.sample(&endless, |_| true), Some(1));
        assert_eq!(sampler.sample(&[f32::NAN; 3], |_| true), None);
    }

    #[test]
    fn draws_follow_the_distribution() {
        // Probabilities 0.5, 0.3, 0.2.
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let mut counts = [0u32; 3];
        let mut sampler = Sampler::new(params(1.0, 0, 1.0, 0.0), 7);
        for _ in 0..20_000 {
            counts[sampler.sample(&logits, |_| true).unwrap() as usize] += 1;
        }
        let share = |i: usize| f64::from(counts[i]) / 20_000.0;
        assert!((share(0) - 0.5).abs() < 0.02, "{counts:?}");
        assert!((share(1) - 0.3).abs() < 0.02, "{counts:?}");
    }

    #[test]
    fn truncation_keeps_what_it_says() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.15f32.ln(), 0.05f32.ln()];
        let seen = |p: SamplingParams| {
            let mut sampler = Sampler::new(p, 3);
            let mut seen = [false; 4];
            for _ in 0..2000 {
                seen[sampler.sample(&logits, |_| true).unwrap() as usize] = true;
            }
            seen
        };
        assert_eq!(seen(params(1.0, 2, 1.0, 0.0)), [true, true, false, false]);
        assert_eq!(seen(params(1.0, 0, 0.79, 0.0)), [true, true, false, false]);
        assert_eq!(seen(params(1.0, 0, 1.0, 0.2)), [true, true, true, false]);
    }

    #[test]
    fn equal_seeds_draw_equal_tokens() {
        let logits: Vec<f32> = (0..100).map(|i| (i as f32 * 0.37).sin()).collect();
        let run = |seed| {
            let mut sampler = Sampler::new(params(1.0, 40, 0.95, 0.05), seed);
            (0..50)
                .map(|_| sampler.sample(&logits, |_| true).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn choosing_among_tokens_ignores_the_rest() {
        let mut sampler = Sampler::new(params(0.0, 0, 1.0, 0.0), 1);
        assert_eq!(sampler.sample_among(&[9.0, 1.0, 2.0], &[1, 2]), Some(2));
        assert_eq!(sampler.sample_among(&[9.0], &[]), None);
    }

    proptest! {
        #[test]
        fn any_row_gives_an_allowed_token(
            logits in prop::collection::vec(-50f32..50.0, 1..300),
            t in 0f64..3.0, k in 0u32..50, p in 0.01f64..1.0, m in 0f64..0.9, seed: u32,
        ) {
            let mut sampler = Sampler::new(params(t, k, p, m), seed);
            let token = sampler.sample(&logits, |id| id % 2 == 0).unwrap();
            prop_assert!(token.is_multiple_of(2) && (token as usize) < logits.len());
        }
    }
}
