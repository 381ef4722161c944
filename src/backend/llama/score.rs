//! Reading given texts: the logits at every token, under one adapter or two side by side.
//!
//! This stands beside the step loop and shares nothing with it but the model file. Texts are read one after
//! the other, each in contexts of its own that hold one sequence, since nothing is generated and there is
//! nothing to batch: a text is decoded in chunks of the batch size, which is as fast as prefill gets.

use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::backend::BackendError;
use crate::chat_template::{ChatTemplate, Span};
use crate::likelihood::{Gap, Passage, TokenScore, gap, is_sound, score};

use super::device::runtime;
use super::load::{chat_template, gpu_layers, load_adapters, load_model};
use super::options::{AdapterOptions, LlamaOptions};
use super::settings::products;
use super::threads::Threads;
use super::tokenizer::Tokenizer;
use super::worker::{Adapter, NO_NUMBERS};

/// Rows of logits that are held at a time, for each side.
const CHUNK: usize = 128;

/// A model that reads, under up to two adapters.
pub struct Scorer {
    model: Arc<LlamaModel>,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    sides: Vec<Option<Adapter>>,
    /// The file of each side's adapter.
    files: Vec<Option<PathBuf>>,
    params: LlamaContextParams,
    threads: Threads,
    context: usize,
}

/// The tokens of a passage.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    /// All of them, those of the conversation first.
    pub ids: Vec<u32>,
    /// The first that is scored; every one behind it is scored too.
    pub first: usize,
    /// How many more there were than the context holds; they are left out.
    pub left_out: usize,
}

impl Scorer {
    /// Loads the model, and an adapter for each side that has one. Of the options, those of batching,
    /// sharing and guessing do not matter.
    ///
    /// # Errors
    ///
    /// When model, adapter or chat template cannot be loaded.
    pub fn load(
        options: &LlamaOptions,
        sides: &[Option<AdapterOptions>],
    ) -> Result<Self, BackendError> {
        // A context for each side, of one sequence.
        let beside = LlamaOptions {
            parallel: Some(sides.len().max(1)),
            deterministic: false,
            ..options.clone()
        };
        products(options.own_products);
        let gpu_layers = gpu_layers(&beside)?;
        let mut model = load_model(&options.path, gpu_layers, false)?;
        let mut loaded = Vec::new();
        for side in sides {
            let side = side
                .iter()
                .cloned()
                .map(|side| AdapterOptions { name: None, ..side });
            let (mut adapters, _) = load_adapters(&mut model, &side.collect::<Vec<_>>())?;
            loaded.push(adapters.swap_remove(0));
        }
        let tokenizer = Tokenizer::new(Arc::clone(&model));
        let template = chat_template(&tokenizer, &options.template)?;
        let trained = model.n_ctx_train().max(1);
        let context = options.context(trained);
        let gpu = runtime()?.supports_gpu_offload() && gpu_layers != Some(0);
        let threads = options.threads(gpu);
        let chunk = u32::try_from(CHUNK).unwrap_or(1);
        let mut params = LlamaContextParams::default()
            .with_n_seq_max(1)
            .with_n_batch(chunk)
            .with_n_ubatch(chunk)
            .with_n_threads(threads.most())
            .with_n_threads_batch(threads.most())
            .with_type_k(options.cache_types.0)
            .with_type_v(options.cache_types.1)
            .with_swa_full(true)
            .with_op_offload(false)
            .with_no_perf(true);
        if let Some(on) = options.flash_attention {
            params = params.with_flash_attention_policy(i32::from(on));
        }
        Ok(Self {
            model,
            tokenizer,
            template,
            sides: loaded,
            files: sides
                .iter()
                .map(|side| Some(side.as_ref()?.path.clone()))
                .collect(),
            params,
            threads,
            context: context as usize,
        })
    }

    /// The tokens of a passage, as the model would meet them.
    ///
    /// # Errors
    ///
    /// When the chat template refuses the messages.
    pub fn tokens(&self, passage: &Passage) -> Result<Tokens, BackendError> {
        let mut ids: Vec<i32>;
        let mut first;
        if passage.messages.is_empty() {
            let text = Span {
                text: passage.text.clone(),
                trusted: false,
            };
            ids = self
                .tokenizer
                .encode(&[text])
                .iter()
                .map(|t| t.id)
                .collect();
            // Nothing is known before the first token.
            first = 1;
        } else {
            let (spans, _) = self
                .template
                .render_for_reply(&passage.messages, true)
                .map_err(|error| BackendError::Template(error.to_string()))?;
            ids = self.tokenizer.encode(&spans).iter().map(|t| t.id).collect();
            first = ids.len().max(1);
            ids.extend(self.tokenizer.encode_continuation(&passage.text));
        }
        let left_out = ids.len().saturating_sub(self.context);
        ids.truncate(self.context);
        first = first.min(ids.len());
        Ok(Tokens {
            ids: ids.into_iter().map(i32::cast_unsigned).collect(),
            first,
            left_out,
        })
    }

    /// The text of a token.
    pub fn piece(&self, token: u32) -> String {
        let bytes = self.tokenizer.piece(token.cast_signed(), true);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads passages under the first side. `done` is given each with its number; each scored token comes
    /// with the `top` likeliest at its place. After a break the others are not read.
    ///
    /// # Errors
    ///
    /// When decoding fails, or the model computes no numbers.
    pub fn score(
        &mut self,
        texts: &[Tokens],
        top: usize,
        done: &mut dyn FnMut(usize, Vec<TokenScore>) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        self.read(1, texts, |rows, token| score(rows[0], token, top), done)
    }

    /// Reads passages under both sides. `done` is given, for each with its number, how far the sides lie
    /// apart at every scored token. After a break the others are not read.
    ///
    /// # Errors
    ///
    /// When decoding fails, or a side computes no numbers.
    pub fn compare(
        &mut self,
        texts: &[Tokens],
        done: &mut dyn FnMut(usize, Vec<Gap>) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let look = |rows: &[&[f32]], token: u32| gap(rows[0], rows[1], token);
        self.read(2, texts, look, done)
    }

    /// Decodes texts under the first `count` sides, chunk by chunk, and has the rows before each scored
    /// token looked at together with that token.
    fn read<T>(
        &mut self,
        count: usize,
        texts: &[Tokens],
        look: impl Fn(&[&[f32]], u32) -> T,
        done: &mut dyn FnMut(usize, Vec<T>) -> ControlFlow<()>,
    ) -> Result<(), BackendError> {
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let cells = u32::try_from(longest.next_multiple_of(256)).unwrap_or(u32::MAX);
        let params = self
            .params
            .clone()
            .with_n_ctx(NonZeroU32::new(cells.max(256)));
        let mut contexts: Vec<LlamaContext<'_>> = Vec::with_capacity(count);
        for side in self.sides.iter_mut().take(count) {
            let mut context = self
                .model
                .new_context(runtime()?, params.clone())
                .map_err(|error| BackendError::Load(error.to_string()))?;
            if let Some((adapter, scale)) = side {
                context
                    .lora_adapter_set(adapter, *scale)
                    .map_err(|error| failed(&error))?;
            }
            contexts.push(context);
        }
        for (number, text) in texts.iter().enumerate() {
            let mut seen = Vec::with_capacity(text.ids.len());
            for context in &mut contexts {
                context.clear_kv_cache();
            }
            read_one(&mut self.threads, &mut contexts, text, |rows, token| {
                // Figures leave out what is no number, so that a broken side would look like none at all.
                if let Some(side) = rows.iter().position(|row| !is_sound(row)) {
                    return Err(no_numbers(self.files[side].as_deref()));
                }
                seen.push(look(rows, token));
                Ok(())
            })?;
            if done(number, seen).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn failed(error: &dyn std::fmt::Display) -> BackendError {
    BackendError::Inference(error.to_string())
}

/// What is said of a side whose rows hold no numbers.
fn no_numbers(adapter: Option<&Path>) -> BackendError {
    BackendError::Inference(match adapter {
        Some(file) => format!("with the adapter {}, {NO_NUMBERS}", file.display()),
        None => NO_NUMBERS.to_owned(),
    })
}

/// Decodes one text in all contexts, which must be empty.
fn read_one(
    threads: &mut Threads,
    contexts: &mut [LlamaContext<'_>],
    text: &Tokens,
    mut visit: impl FnMut(&[&[f32]], u32) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let mut batch = LlamaBatch::new(CHUNK, 1);
    // The row of the last token predicts what is not there.
    let last = text.ids.len().saturating_sub(1);
    for begin in (0..last).step_by(CHUNK) {
        let end = (begin + CHUNK).min(last);
        batch.clear();
        for place in begin..end {
            let token = LlamaToken(text.ids[place].cast_signed());
            let position = i32::try_from(place).unwrap_or(i32::MAX);
            batch
                .add(token, position, &[0], place + 1 >= text.first)
                .map_err(|error| failed(&error))?;
        }
        for context in contexts.iter_mut() {
            let decoded = threads.compute(|| {
                let decoded = context.decode(&mut batch);
                context.synchronize();
                decoded
            });
            decoded.map_err(|error| failed(&error))?;
        }
        for place in begin.max(text.first.saturating_sub(1))..end {
            let row = i32::try_from(place - begin).unwrap_or(0);
            let rows: Vec<&[f32]> = contexts.iter().map(|c| c.get_logits_ith(row)).collect();
            visit(&rows, text.ids[place + 1])?;
        }
    }
    Ok(())
}
