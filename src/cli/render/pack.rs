//! The messages that a prompt pack makes, with values from the command line.

use std::io::Write;

use anyhow::{Context, anyhow, bail};

use super::Args;
use crate::chain::StepKind;
use crate::cli::exit::usage;
use crate::cli::stdout;
use crate::constitution::{self, Principle, Severity, Status};
use crate::generation::{Message, Role};
use crate::template::{Comparison, JudgeStep, Pack, Vars};

/// What messages are made for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// A step of a chain.
    Chain(StepKind),
    /// What a judge is told.
    Judge(JudgeStep),
}

/// The messages that a pack makes.
pub(super) fn messages(
    pack: &str,
    args: &Args,
    conversation: Option<Vec<Message>>,
) -> anyhow::Result<Vec<Message>> {
    let pack = Pack::load(pack).map_err(usage)?;
    // Clap asks for both or neither.
    let step = args.step.unwrap_or(Step::Chain(StepKind::Draft));
    let mut principle = match (&args.constitution, &args.principle) {
        (Some(constitution), Some(id)) => load_principle(constitution, id)?,
        _ => placeholder_principle(),
    };
    let mut values = Values::default();
    for (name, text) in &args.set {
        values.set(name, text, &mut principle)?;
    }
    let last = conversation.as_ref().and_then(|messages| {
        let user = messages.iter().rev().find(|m| m.role == Role::User)?;
        Some(user.content.clone())
    });
    let prompt = values
        .prompt
        .or(last)
        .unwrap_or_else(|| "[prompt]".to_owned());
    let conversation = conversation.unwrap_or_else(|| vec![Message::user(prompt.clone())]);
    let constitution_name = values
        .constitution_name
        .as_deref()
        .unwrap_or("[constitution_name]");
    let step = match step {
        Step::Chain(step) => step,
        Step::Judge(step) => {
            let compared = Comparison {
                conversation: &conversation,
                prompt: &prompt,
                a: values.response_a.as_deref().unwrap_or("[response_a]"),
                b: values.response_b.as_deref().unwrap_or("[response_b]"),
                principle: &principle,
                constitution_name,
                reasoning: values.reasoning.as_deref().unwrap_or("[reasoning]"),
            };
            return pack.render_judge(step, &compared).map_err(usage);
        }
    };
    let vars = Vars {
        conversation: &conversation,
        prompt: &prompt,
        draft: Some(values.draft.as_deref().unwrap_or("[draft]")),
        response: Some(values.response.as_deref().unwrap_or("[response]")),
        critique: Some(values.critique.as_deref().unwrap_or("[critique]")),
        quote: Some(values.quote.as_deref().unwrap_or("[quote]")),
        principle: Some(&principle),
        constitution_name,
        round: values.round.unwrap_or(u32::from(step != StepKind::Draft)),
    };
    pack.render(step, &vars).map_err(usage)
}

/// What `--set` gave.
#[derive(Default)]
struct Values {
    prompt: Option<String>,
    draft: Option<String>,
    response: Option<String>,
    critique: Option<String>,
    quote: Option<String>,
    constitution_name: Option<String>,
    response_a: Option<String>,
    response_b: Option<String>,
    reasoning: Option<String>,
    round: Option<u32>,
}

impl Values {
    fn set(&mut self, name: &str, text: &str, principle: &mut Principle) -> anyhow::Result<()> {
        let text = text.to_owned();
        match name {
            "prompt" => self.prompt = Some(text),
            "draft" => self.draft = Some(text),
            "response" => self.response = Some(text),
            "critique" => self.critique = Some(text),
            "quote" => self.quote = Some(text),
            "constitution_name" => self.constitution_name = Some(text),
            "response_a" => self.response_a = Some(text),
            "response_b" => self.response_b = Some(text),
            "reasoning" => self.reasoning = Some(text),
            "round" => {
                let round = text.parse().context("--set round is not a number");
                self.round = Some(round.map_err(usage)?);
            }
            "principle.id" => principle.id = text,
            "principle.title" => principle.title = text,
            "principle.critique" => principle.critique = text,
            "principle.revision" => principle.revision = text,
            "principle.rationale" => principle.rationale = text,
            other => bail!(usage(anyhow!(
                "--set knows no `{other}`; there are prompt, draft, response, critique, quote, round, \
                 constitution_name, response_a, response_b, reasoning, and id, title, critique, revision and rationale after `principle.`"
            ))),
        }
        Ok(())
    }
}

/// A principle whose every text is its own name.
fn placeholder_principle() -> Principle {
    let named = |name: &str| format!("[principle.{name}]");
    Principle {
        id: named("id"),
        title: named("title"),
        critique: named("critique"),
        revision: named("revision"),
        weight: 1.0,
        precedence: 0,
        severity: Severity::Major,
        tags: Vec::new(),
        status: Status::Active,
        rationale: named("rationale"),
        check: None,
        examples: Vec::new(),
        tests: Vec::new(),
    }
}

/// Prints messages as a JSON list.
pub(super) fn print(messages: &[Message], json: bool) -> anyhow::Result<()> {
    let text = match json {
        true => serde_json::to_string(messages)?,
        false => serde_json::to_string_pretty(messages)?,
    };
    writeln!(stdout::raw(), "{text}")?;
    Ok(())
}

/// The principle with the given id.
fn load_principle(constitution: &str, id: &str) -> anyhow::Result<Principle> {
    let constitution = constitution::load(constitution)
        .map_err(usage)?
        .resolved
        .constitution;
    let found = constitution.principle(id).cloned();
    found.ok_or_else(|| {
        let ids: Vec<_> = constitution
            .principles
            .iter()
            .map(|p| p.id.as_str())
            .collect();
        usage(anyhow!(
            "{}: no principle `{id}`; there are {}",
            constitution.name,
            ids.join(", ")
        ))
    })
}
