//! The formats, one file each: how a lesson is written as a row, and how a row is read as a lesson.
//!
//! Reading is what `amend verify` does with a dataset, so that what is checked is what a trainer sees and
//! not what was meant.

mod alpaca;
mod axolotl_dpo;
mod axolotl_kto;
mod axolotl_sft;
mod critic;
mod hf_cai;
mod llamafactory_dpo;
mod llamafactory_sft;
mod mlx;
mod openai_dpo;
mod openai_sft;
mod trl_dpo;
mod trl_kto;
mod trl_prm;
mod trl_prompts;
mod trl_reward;
mod trl_sft;

use serde_json::{Value, json};

use crate::generation::{Message, Role};

use super::Format;
use super::columns::Column;
use super::lesson::{Draws, Lesson, Misfit};

/// One format.
pub(super) trait Layout {
    /// What it draws from chains.
    fn draws(&self) -> Draws;

    /// What its rows are made of.
    fn columns(&self) -> Vec<Column>;

    /// A lesson as a row; the error says why this format cannot hold it.
    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit>;

    /// A row, whose columns were checked, as a lesson; the error says what is wrong with it.
    fn lesson(&self, row: &Value) -> Result<Lesson, String>;
}

/// The layout of a format.
pub(super) fn layout(format: Format) -> &'static dyn Layout {
    match format {
        Format::TrlSft => &trl_sft::TrlSft,
        Format::TrlDpo => &trl_dpo::TrlDpo,
        Format::TrlReward => &trl_reward::TrlReward,
        Format::TrlKto => &trl_kto::TrlKto,
        Format::TrlPrompts => &trl_prompts::TrlPrompts,
        Format::TrlPrm => &trl_prm::TrlPrm,
        Format::HfCai => &hf_cai::HfCai,
        Format::AxolotlSft => &axolotl_sft::AxolotlSft,
        Format::AxolotlDpo => &axolotl_dpo::AxolotlDpo,
        Format::AxolotlKto => &axolotl_kto::AxolotlKto,
        Format::LlamafactorySft => &llamafactory_sft::LlamafactorySft,
        Format::LlamafactoryDpo => &llamafactory_dpo::LlamafactoryDpo,
        Format::Alpaca => &alpaca::Alpaca,
        Format::OpenaiSft => &openai_sft::OpenaiSft,
        Format::OpenaiDpo => &openai_dpo::OpenaiDpo,
        Format::Mlx => &mlx::Mlx,
        Format::Critic => &critic::Critic,
    }
}

/// A message list as trainers read it.
fn message_list<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Value {
    messages.into_iter().map(message).collect()
}

fn message(message: &Message) -> Value {
    json!({"role": message.role, "content": message.content})
}

/// A whole conversation: the prompt and the answer to it.
fn whole(prompt: &[Message], answer: &str) -> Value {
    message_list(prompt.iter().chain([&Message::assistant(answer)]))
}

/// The answer alone, as a message list.
fn turn(answer: &str) -> Value {
    message_list([&Message::assistant(answer)])
}

/// Reads a message list.
fn messages(row: &Value, name: &str) -> Result<Vec<Message>, String> {
    let items = row[name].as_array().map_or(&[][..], Vec::as_slice);
    let read = |(index, item)| read_message(item, &format!("{name}[{index}]"));
    items.iter().enumerate().map(read).collect()
}

fn read_message(item: &Value, place: &str) -> Result<Message, String> {
    let role = match item["role"].as_str() {
        Some("system") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => {
            return Err(format!(
                "`{place}.role` is none of system, user and assistant"
            ));
        }
    };
    let content = item["content"].as_str().unwrap_or_default();
    Ok(Message::new(role, content))
}

/// Reads a message list that is the assistant's turn and nothing else.
fn answer(row: &Value, name: &str) -> Result<String, String> {
    let turns = messages(row, name)?;
    match &turns[..] {
        [turn] if turn.role == Role::Assistant => Ok(turn.content.clone()),
        _ => Err(format!("`{name}` is not one message of the assistant")),
    }
}

/// Reads one message of the assistant.
fn single(row: &Value, name: &str) -> Result<String, String> {
    match read_message(&row[name], name)? {
        turn if turn.role == Role::Assistant => Ok(turn.content),
        _ => Err(format!("`{name}` is not a message of the assistant")),
    }
}

/// Reads a whole conversation and takes the answer at its end off.
fn conversation(row: &Value, name: &str) -> Result<(Vec<Message>, String), String> {
    let mut turns = messages(row, name)?;
    match turns.pop() {
        Some(last) if last.role == Role::Assistant => Ok((turns, last.content)),
        _ => Err(format!("`{name}` does not end with the assistant")),
    }
}

fn string(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

/// A format was handed what it does not draw.
fn other() -> Misfit {
    Misfit::NotForFormat
}

#[cfg(test)]
mod tests;
