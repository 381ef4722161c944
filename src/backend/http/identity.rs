//! What a server says of itself: which model it runs, and what else decides its replies.
//!
//! The address does not: a server that has moved, or another one with the same model and settings, gives
//! the same identity.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::backend::{BackendError, ModelIdentity};
use crate::digest::Digest;

use super::ConnectError;
use super::client::{CallError, Client, clean};

/// What speaks at the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// llama.cpp's server.
    LlamaServer,
    /// vLLM.
    Vllm,
    /// Something else with `/v1/chat/completions`.
    Other,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::LlamaServer => "llama-server",
            Kind::Vllm => "vLLM",
            Kind::Other => "OpenAI-compatible",
        }
    }
}

/// A server that has introduced itself.
#[derive(Clone, Debug)]
pub(super) struct Introduction {
    pub kind: Kind,
    /// The model by the server's name for it.
    pub model: String,
    /// Its entry in `/v1/models`.
    entry: Value,
    /// llama-server's `/props`, null elsewhere.
    props: Value,
    /// llama-server's adapters, where there are any.
    adapters: Value,
}

impl Introduction {
    /// Asks the server. `wanted` names one of its models; without it there must be one only.
    pub(super) fn ask(client: &Client, wanted: Option<&str>) -> Result<Self, ConnectError> {
        let models = client.get("/v1/models").map_err(|error| match error {
            CallError::Refused { status: 404, .. } => BackendError::Load(format!(
                "{}: the server has no /v1/models, so it is not OpenAI-compatible, or the address \
                 is wrong",
                client.address()
            )),
            error => load_error(error),
        })?;
        let entry = pick(&models, wanted)
            .map_err(|error| ConnectError::Model(format!("{}: {error}", client.address())))?;
        let props = match client.probe("/props") {
            Ok(props) if props["default_generation_settings"].is_object() => props,
            Ok(_) | Err(CallError::Refused { .. }) => Value::Null,
            Err(error) => return Err(load_error(error).into()),
        };
        let kind = match (&props, entry["owned_by"].as_str()) {
            (Value::Object(_), _) => Kind::LlamaServer,
            (_, Some("vllm")) => Kind::Vllm,
            _ => Kind::Other,
        };
        let adapters = match kind {
            // Without an answer nobody knows whose replies would come.
            Kind::LlamaServer => match client.probe("/lora-adapters") {
                Ok(list) => list,
                Err(CallError::Refused { .. }) => Value::Null,
                Err(error) => return Err(load_error(error).into()),
            },
            _ => Value::Null,
        };
        Ok(Self {
            kind,
            model: entry["id"].as_str().unwrap_or("").to_owned(),
            entry,
            props,
            adapters,
        })
    }

    /// The source of the chat template, the texts of the tokens that begin and end a sequence.
    pub(super) fn template(&self) -> Option<(&str, &str, &str)> {
        let text = |name: &str| self.props[name].as_str();
        let source = text("chat_template").filter(|source| !source.trim().is_empty())?;
        let token = |name| text(name).unwrap_or("");
        Some((source, token("bos_token"), token("eos_token")))
    }

    /// The most tokens of one request with its reply; `None` where the server does not say.
    pub(super) fn context(&self) -> Option<u32> {
        let places = [
            self.props.pointer("/default_generation_settings/n_ctx"),
            self.entry.get("max_model_len"),
        ];
        let found = places.into_iter().flatten().find_map(Value::as_u64)?;
        u32::try_from(found).ok().filter(|context| *context > 0)
    }

    /// How many requests the server answers at a time, where it says so.
    pub(super) fn slots(&self) -> Option<u64> {
        self.props["total_slots"].as_u64()
    }

    /// The identity of the model. `settings` is what decides a reply besides the model and the request.
    pub(super) fn identity(
        &self,
        mut settings: BTreeMap<String, String>,
        chat_template: &str,
    ) -> ModelIdentity {
        if let Some(adapters) = self.adapters.as_array().filter(|list| !list.is_empty()) {
            let adapters: Vec<String> = adapters
                .iter()
                .map(|a| format!("{}:{}", file_name(text(&a["path"])), a["scale"]))
                .collect();
            settings.insert("adapters".to_owned(), adapters.join(", "));
        }
        if let Some(context) = self.context() {
            settings.insert("context_length".to_owned(), context.to_string());
        }
        let name = self.name();
        let mut meta = self.entry["meta"].clone();
        if let Some(meta) = meta.as_object_mut() {
            // A setting of the server, and none of the model.
            meta.remove("n_ctx");
        }
        // A time of start or an id of the moment is no part of it either.
        let digest = Digest::of(&("endpoint", &name, &meta, &self.entry["root"]));
        let mut metadata = BTreeMap::from([("server".to_owned(), self.kind.name().to_owned())]);
        let more = [
            ("owned_by", &self.entry["owned_by"]),
            ("parameters", &self.entry["meta"]["n_params"]),
            ("file_size", &self.entry["meta"]["size"]),
            ("training_context", &self.entry["meta"]["n_ctx_train"]),
            ("quantisation", &self.props["model_ftype"]),
            ("build", &self.props["build_info"]),
        ];
        for (key, value) in more {
            let text = match value {
                Value::String(text) => clean(text),
                Value::Number(number) => number.to_string(),
                _ => continue,
            };
            metadata.insert(key.to_owned(), text);
        }
        ModelIdentity {
            digest,
            name,
            settings_digest: Digest::of(&settings),
            settings,
            context_length: self.context().unwrap_or(u32::MAX),
            chat_template: chat_template.to_owned(),
            metadata,
        }
    }

    /// The name of the model. Of a file it is the last part of its path, wherever it lies.
    fn name(&self) -> String {
        let path = text(&self.props["model_path"]);
        let name = match path.is_empty() {
            true => self.model.as_str(),
            false => file_name(path),
        };
        clean(name.strip_suffix(".gguf").unwrap_or(name))
    }
}

/// An error of the first contact: nothing was begun, so it is one of loading.
pub(super) fn load_error(error: CallError) -> BackendError {
    match BackendError::from(error) {
        BackendError::Inference(text) | BackendError::Unreachable(text) => BackendError::Load(text),
        other => other,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The entry of the wanted model, or of the only one.
fn pick(models: &Value, wanted: Option<&str>) -> Result<Value, String> {
    let entries = models["data"]
        .as_array()
        .ok_or("the answer to /v1/models is no list of models")?;
    let names: Vec<&str> = entries.iter().filter_map(|e| e["id"].as_str()).collect();
    let list = || {
        let shown: Vec<String> = names.iter().take(20).map(|name| clean(name)).collect();
        let more = if names.len() > shown.len() {
            ", …"
        } else {
            ""
        };
        format!("{}{more}", shown.join(", "))
    };
    let name = match (wanted, names.as_slice()) {
        (_, []) => return Err("the server has no model".to_owned()),
        (Some(wanted), names) if names.contains(&wanted) => wanted,
        (Some(wanted), _) => {
            return Err(format!(
                "the server has no model `{wanted}` (--model, AMEND_MODEL); it has: {}",
                list()
            ));
        }
        (None, [only]) => only,
        (None, _) => {
            return Err(format!(
                "the server has several models; name one with --model: {}",
                list()
            ));
        }
    };
    let entry = entries.iter().find(|entry| entry["id"] == *name);
    Ok(entry.cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn introduction(entry: Value, props: Value) -> Introduction {
        Introduction {
            kind: Kind::LlamaServer,
            model: text(&entry["id"]).to_owned(),
            entry,
            props,
            adapters: Value::Null,
        }
    }

    fn digest(entry: Value, props: Value) -> Digest {
        introduction(entry, props)
            .identity(BTreeMap::new(), "")
            .digest
    }

    #[test]
    fn neither_place_nor_time_makes_another_model() {
        let entry = |n: u64, size: u64| json!({"id": "m", "created": n, "meta": {"size": size, "n_ctx": 512 * n}});
        let one = digest(entry(1, 10), json!({"model_path": "/a/m.gguf"}));
        assert_eq!(
            one,
            digest(entry(2, 10), json!({"model_path": "/b/c/m.gguf"}))
        );
        assert_ne!(
            one,
            digest(entry(1, 11), json!({"model_path": "/a/m.gguf"}))
        );
        assert_ne!(
            one,
            digest(entry(1, 10), json!({"model_path": "/a/n.gguf"}))
        );
    }

    #[test]
    fn adapters_are_part_of_the_settings() {
        let mut with = introduction(json!({"id": "m"}), json!({}));
        let without = with.identity(BTreeMap::new(), "").settings_digest;
        with.adapters = json!([{"id": 0, "path": "/x/tone.gguf", "scale": 0.5}]);
        let identity = with.identity(BTreeMap::new(), "");
        assert_eq!(identity.settings["adapters"], "tone.gguf:0.5");
        assert_ne!(identity.settings_digest, without);
    }

    #[test]
    fn a_model_is_named_where_there_are_several() {
        let two = json!({"data": [{"id": "a"}, {"id": "b"}]});
        assert_eq!(pick(&two, Some("b")).unwrap()["id"], "b");
        assert!(pick(&two, None).unwrap_err().contains("--model: a, b"));
        assert!(pick(&two, Some("c")).unwrap_err().contains("a, b"));
        assert_eq!(
            pick(&json!({"data": [{"id": "a"}]}), None).unwrap()["id"],
            "a"
        );
        for bad in [json!({"data": []}), json!({}), json!([1])] {
            assert!(pick(&bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_context_is_where_servers_put_it() {
        let props = json!({"default_generation_settings": {"n_ctx": 512}});
        assert_eq!(introduction(json!({}), props).context(), Some(512));
        let entry = json!({"max_model_len": 4096});
        assert_eq!(introduction(entry, Value::Null).context(), Some(4096));
        assert_eq!(introduction(json!({}), Value::Null).context(), None);
    }
}
