//! From a request to a job: everything that the worker need not wait for is done on the caller's thread.

use std::sync::Arc;

use crate::backend::{BackendError, ReplyTo};
use crate::generation::{Generate, Message, Request, Shape};

use super::LlamaBackend;
use super::lookup::Lookup;
use super::sampling::Sampler;
use super::sequence::{Job, Task, common_prefix};
use super::shape::{CompiledShape, ShapeWriter};

impl LlamaBackend {
    /// The tokens of a conversation, ready for the reply, and the closing tag of the think block that it
    /// ends in. With `close`, such a block is closed at once: what follows is no thought.
    pub(super) fn tokens(
        &self,
        messages: &[Message],
        close: bool,
    ) -> Result<(Vec<u32>, Option<&'static str>), BackendError> {
        let (spans, thinking) = self
            .template
            .render_for_reply(messages, close)
            .map_err(|error| BackendError::Template(error.to_string()))?;
        let tokens: Vec<u32> = self
            .tokenizer
            .encode(&spans)
            .into_iter()
            .map(|t| t.id.cast_unsigned())
            .collect();
        if tokens.is_empty() {
            // Nothing could be decoded, and a reply would be waited for without end.
            return Err(BackendError::Template(
                "they come out as no text at all".to_owned(),
            ));
        }
        Ok((tokens, thinking))
    }

    fn compiled(&self, shape: &Shape) -> Arc<CompiledShape> {
        // A poisoned lock only means that another thread panicked between two pushes; the list is whole.
        let mut shapes = self
            .shapes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, compiled)) = shapes.iter().find(|(known, _)| known == shape) {
            return Arc::clone(compiled);
        }
        let compiled = Arc::new(CompiledShape::new(shape, self.vocab.as_ref()));
        shapes.push((shape.clone(), Arc::clone(&compiled)));
        compiled
    }

    /// Proposes from the text that a reply is likely to repeat.
    fn lookup(&self, request: &Request) -> Option<Lookup> {
        let Request::Generate(generate) = request else {
            return None;
        };
        let text = generate.repeats.as_ref().filter(|_| self.looks_up)?;
        let source = self.tokenizer.encode_continuation(text);
        let source = source.into_iter().map(i32::cast_unsigned).collect();
        Some(Lookup::new(source, generate.shape.is_none()))
    }

    /// A request made ready for the worker, or why it cannot be answered.
    pub(super) fn job(
        &self,
        request: &Request,
        reply: ReplyTo,
    ) -> Result<Job, (BackendError, ReplyTo)> {
        let domain = match request.adapter() {
            None => 0,
            Some(name) => match self.domains.get(name) {
                Some(&domain) => domain,
                None => {
                    let error = format!("no adapter `{name}` was loaded");
                    return Err((BackendError::Inference(error), reply));
                }
            },
        };
        let writes_text = matches!(request, Request::Generate(Generate { shape: None, .. }));
        let (mut tokens, thinking) = match self.tokens(request.messages(), !writes_text) {
            Ok(tokens) => tokens,
            Err(error) => return Err((error, reply)),
        };
        let prompt_tokens = tokens.len();
        let (task, room) = match request {
            Request::Generate(Generate {
                sampling,
                seed,
                shape,
                ..
            }) => {
                let sampler = Sampler::new(sampling.clone(), *seed);
                match shape {
                    None => {
                        let max_tokens = sampling.max_tokens.max(1);
                        (
                            Task::Write {
                                sampler,
                                max_tokens,
                                thinking,
                            },
                            max_tokens as usize,
                        )
                    }
                    Some(shape) => {
                        let compiled = self.compiled(shape);
                        let room = compiled.max_tokens();
                        let writer = ShapeWriter::new(compiled, &mut tokens);
                        (Task::Fill { sampler, writer }, room)
                    }
                }
            }
            Request::Choose(choose) => {
                let mut options: Vec<Vec<u32>> = choose
                    .options
                    .iter()
                    .map(|option| {
                        let ids = self.tokenizer.encode_continuation(option);
                        ids.into_iter().map(i32::cast_unsigned).collect()
                    })
                    .collect();
                if options.len() < 2 || options.iter().any(Vec::is_empty) {
                    let error = "a choice needs two options or more, none of them empty".to_owned();
                    return Err((BackendError::Inference(error), reply));
                }
                tokens.extend(common_prefix(&mut options));
                // An option's last token is scored and not decoded.
                let longest = options.iter().map(Vec::len).max().unwrap_or(0);
                let room = tokens.len() - prompt_tokens + longest.saturating_sub(1);
                (
                    Task::Choose {
                        options,
                        scores: Vec::new(),
                        current: 0,
                    },
                    room,
                )
            }
        };
        let context = self.identity.context_length;
        // Free text ends where the context does; a shape must come to its end.
        let needed = if writes_text { 1 } else { room };
        if prompt_tokens + needed > context as usize {
            let tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
            return Err((BackendError::ContextExceeded { tokens, context }, reply));
        }
        Ok(Job {
            tokens,
            prompt_tokens,
            room: room.min(context as usize - prompt_tokens),
            domain,
            lookup: self.lookup(request),
            task,
            reply,
        })
    }
}
