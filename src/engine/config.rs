//! What decides a run's results, how it is told apart from another, and where two of them differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chain::StepKind;
use crate::constitution::Revise;
use crate::digest::Digest;
use crate::generation::SamplingParams;

use super::policy::Select;

/// Everything that decides the results of a run, and nothing that only decides its speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Digest of the prompt file.
    pub prompts: Digest,
    /// How the prompt file is read: its extension.
    pub prompts_kind: String,
    /// The field of a row that holds the prompt.
    pub prompt_field: String,
    /// Which prompts of the file, as given: `N` or `A-B`.
    pub limit: Option<String>,
    /// Whether prompts that occur twice are kept twice.
    pub keep_duplicates: bool,
    /// Digest of the resolved constitution.
    pub constitution: Digest,
    /// Digest of the prompt pack.
    pub pack: Digest,
    /// Digest of the model.
    pub model: Digest,
    /// Chat template, cache types, mode of decoding and whatever else decides a reply, by name.
    pub model_settings: BTreeMap<String, String>,
    /// What all seeds derive from.
    pub seed: u64,
    /// Chains per prompt.
    pub samples: u32,
    /// Rounds of critique and revision.
    pub rounds: u32,
    /// Which principles.
    pub select: Select,
    /// When to revise.
    pub revise: Revise,
    /// Whether to ask again at the end.
    pub recheck: bool,
    /// The least P(violated) that counts as violated.
    pub threshold: f64,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// Whether results are independent of batch size, order and interruption.
    pub deterministic: bool,
    /// The adapter of each kind of step that has one of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub adapters: BTreeMap<StepKind, String>,
    /// The drafts that stand in for the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drafts: Option<DraftsConfig>,
    /// Digest of the file of control prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controls: Option<Digest>,
    /// The pairs of principles whose prompts the model writes itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stress: Option<StressConfig>,
}

/// A stress test: prompts for pairs of principles, chains under both orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StressConfig {
    /// The pairs, by id.
    pub pairs: Vec<[String; 2]>,
    /// Prompts for each pair.
    pub prompts: u32,
}

/// Drafts of another run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DraftsConfig {
    /// The run that wrote them.
    pub run: String,
    /// Digest of all prompts and drafts, in order.
    pub digest: Digest,
}

impl RunConfig {
    /// Tells runs apart: equal configurations make the same run.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(self)
    }

    /// The id of the run: 10 characters of the fingerprint.
    pub fn run_id(&self) -> String {
        self.fingerprint().id(10)
    }
}

/// One setting in which two configurations differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Name of the setting, dotted where it is nested.
    pub setting: String,
    /// What the stored run has.
    pub stored: String,
    /// What was asked for now.
    pub now: String,
}

/// Where `now` differs from `stored`.
pub fn differences(stored: &Value, now: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    collect("", stored, now, &mut found);
    found
}

fn collect(path: &str, stored: &Value, now: &Value, found: &mut Vec<Difference>) {
    if let (Value::Object(a), Value::Object(b)) = (stored, now) {
        let mut keys: Vec<&String> = a
            .keys()
            .chain(b.keys().filter(|k| !a.contains_key(*k)))
            .collect();
        keys.dedup();
        for key in keys {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let at =
                |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
            collect(&path, &at(a), &at(b), found);
        }
    } else if stored != now {
        found.push(Difference {
            setting: path.to_owned(),
            stored: say(stored),
            now: say(now),
        });
    }
}

fn say(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => {
            Digest::parse(text).map_or(text.clone(), |d| format!("b3:{}…", d.short()))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_with_both_values() {
        let stored =
            json!({"rounds": 2, "sampling": {"temperature": 0.7, "top_k": 40}, "limit": null});
        let now = json!({"rounds": 3, "sampling": {"temperature": 0.7, "top_k": 20}, "limit": "5"});
        let found: Vec<_> = differences(&stored, &now)
            .into_iter()
            .map(|d| format!("{}: {} → {}", d.setting, d.stored, d.now))
            .collect();
        assert_eq!(
            found,
            [
                "rounds: 2 → 3",
                "sampling.top_k: 40 → 20",
                "limit: none → 5"
            ]
        );
        assert!(differences(&stored, &stored).is_empty());
    }
}
