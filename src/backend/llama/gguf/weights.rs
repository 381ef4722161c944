//! Where the weights of a model are, by the names that llama.cpp gives tensors.

use std::collections::BTreeMap;

/// Bytes of a model's weights by what they are for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// By the number of the layer.
    layers: BTreeMap<u64, u64>,
    /// Of the matrix that computes the logits, where it is one of its own.
    output: u64,
    embeddings: u64,
}

impl Weights {
    /// Counts a tensor.
    pub(super) fn add(&mut self, name: &str, bytes: u64) {
        let layer = name
            .strip_prefix("blk.")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(number, _)| number.parse().ok());
        let sum = match (layer, name) {
            (Some(layer), _) => self.layers.entry(layer).or_default(),
            (None, "output.weight") => &mut self.output,
            (None, "token_embd.weight") => &mut self.embeddings,
            // Norms, biases and tables of positions are small beside these.
            _ => return,
        };
        *sum = sum.saturating_add(bytes);
    }

    /// Adds those of another part of a split model.
    pub(super) fn merge(&mut self, other: &Weights) {
        for (&layer, &bytes) in &other.layers {
            let sum = self.layers.entry(layer).or_default();
            *sum = sum.saturating_add(bytes);
        }
        self.output = self.output.saturating_add(other.output);
        self.embeddings = self.embeddings.saturating_add(other.embeddings);
    }

    /// Bytes of each layer, the first layer first.
    pub fn layers(&self) -> Vec<u64> {
        self.layers.values().copied().collect()
    }

    /// Bytes of the matrix that computes the logits: of the embeddings, where it is one with them.
    pub fn output(&self) -> u64 {
        match self.output {
            0 => self.embeddings,
            own => own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_counted_by_layer_and_across_parts() {
        let mut weights = Weights::default();
        for (name, bytes) in [
            ("token_embd.weight", 1000),
            ("blk.0.attn_q.weight", 10),
            ("blk.0.ffn_up.weight", 20),
            ("blk.10.ffn_up.weight", 7),
            ("blk.x.weight", 1),
            ("output_norm.weight", 3),
        ] {
            weights.add(name, bytes);
        }
        // The embeddings serve for the logits as well.
        assert_eq!((weights.layers(), weights.output()), (vec![30, 7], 1000));
        let mut other = Weights::default();
        other.add("blk.2.ffn_up.weight", 5);
        other.add("blk.10.ffn_down.weight", 1);
        other.add("output.weight", 600);
        weights.merge(&other);
        assert_eq!((weights.layers(), weights.output()), (vec![30, 5, 8], 600));
    }
}
