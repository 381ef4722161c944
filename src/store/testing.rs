//! A run for tests of what is made of chains.

use serde_json::json;

use super::NewRun;
use crate::constitution::{Constitution, Defaults};
use crate::digest::Digest;
use crate::generation::ModelIdentity;

/// A run of a small model under a constitution without principles.
pub fn new_run(run_id: &str) -> NewRun {
    NewRun {
        run_id: run_id.to_owned(),
        fingerprint: Digest::of_bytes(run_id.as_bytes()),
        config: json!({}),
        constitution: Constitution {
            schema: 1,
            name: "plain".to_owned(),
            version: "1.0.0".to_owned(),
            description: String::new(),
            license: String::new(),
            defaults: Defaults::default(),
            principles: Vec::new(),
        },
        pack_name: "default".to_owned(),
        pack_text: String::new(),
        pack_digest: Digest::of_bytes(b"pack"),
        model: ModelIdentity {
            digest: Digest::of_bytes(b"model"),
            name: "Tiny".to_owned(),
            settings_digest: Digest::of_bytes(b"settings"),
            settings: Default::default(),
            context_length: 2048,
            chat_template: "chatml".to_owned(),
            metadata: Default::default(),
        },
        prompts_path: "p.jsonl".to_owned(),
        prompts_digest: Digest::of_bytes(b"prompts"),
        versions: json!({}),
        execution: json!({}),
    }
}
