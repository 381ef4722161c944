//! axolotl's `type: chat_template`: `messages`, the whole conversation.

use serde_json::Value;

use super::Layout;
use super::trl_sft::TrlSft;
use crate::export::columns::Column;
use crate::export::lesson::{Draws, Lesson, Misfit};

/// The rows are those of `trl-sft`; files and configuration differ.
pub(super) struct AxolotlSft;

impl Layout for AxolotlSft {
    fn draws(&self) -> Draws {
        TrlSft.draws()
    }

    fn columns(&self) -> Vec<Column> {
        TrlSft.columns()
    }

    fn row(&self, lesson: &Lesson) -> Result<Value, Misfit> {
        TrlSft.row(lesson)
    }

    fn lesson(&self, row: &Value) -> Result<Lesson, String> {
        TrlSft.lesson(row)
    }
}
