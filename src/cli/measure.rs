//! Conversations measured under a model's own template and tokenizer.

use super::args::TemplateArgs;
use super::backend;
use super::exit::usage;
use super::model::{resolve_with_bar, tokenizer};
use crate::backend::llama::chat_template;
use crate::backend::llama::model_ref::ModelRef;
use crate::backend::llama::tokenizer::Tokenizer;
use crate::chat_template::ChatTemplate;
use crate::export::verify::{Measure, Measured};
use crate::generation::Message;

/// A model's vocabulary and template; its weights are not loaded.
pub struct ModelMeasure {
    name: String,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    bos: Vec<u8>,
}

impl ModelMeasure {
    /// Opens the model that a reference names, perhaps with another template than its own.
    pub fn open(reference: &str, template: &TemplateArgs) -> anyhow::Result<Self> {
        let choice = backend::template_choice(template)?;
        let reference = ModelRef::parse(reference).map_err(usage)?;
        let path = resolve_with_bar(&reference, false)?;
        let tokenizer = tokenizer(&path)?;
        let template = chat_template(&tokenizer, &choice)?;
        Ok(Self {
            name: reference.to_string(),
            bos: tokenizer.bos_text().into_bytes(),
            tokenizer,
            template,
        })
    }
}

impl Measure for ModelMeasure {
    fn model(&self) -> &str {
        &self.name
    }

    fn measure(&self, messages: &[Message]) -> Result<Measured, String> {
        let spans = self
            .template
            .render(messages, false)
            .map_err(|error| error.to_string())?;
        let tokens = self.tokenizer.encode(&spans);
        let is_bos = |id| !self.bos.is_empty() && self.tokenizer.piece(id, true) == self.bos;
        let leading = tokens.iter().take_while(|token| is_bos(token.id)).count();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Measured {
            tokens: number(tokens.len()),
            leading_bos: number(leading),
        })
    }
}
