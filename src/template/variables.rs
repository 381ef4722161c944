//! What the templates of a pack and of a principle may refer to.

use std::collections::BTreeMap;
use std::error::Error as _;

use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use serde::Serialize;

use super::judge::{Comparison, JudgeStep, Part};
use super::{PackError, strict_environment};
use crate::chain::StepKind;
use crate::constitution::{Example, Principle};
use crate::generation::Message;

/// Variables of every step.
const ALWAYS: [&str; 4] = ["conversation", "prompt", "constitution_name", "round"];

/// Variables of steps that judge or revise a response.
const JUDGING: [&str; 3] = ["draft", "response", "principle"];

/// Variables of revisions.
const REVISING: [&str; 2] = ["critique", "quote"];

/// Variables of what judges are told, beside `principle`.
const COMPARING: [&str; 3] = ["principle", "response_a", "response_b"];

/// What a principle's own text calls the response where two are compared.
const THE_RESPONSE: &str = "the response";

/// Functions that every template may use.
const FUNCTIONS: [&str; 3] = ["range", "dict", "namespace"];

const PRINCIPLE_FIELDS: [&str; 7] = [
    "id",
    "title",
    "critique",
    "revision",
    "severity",
    "tags",
    "rationale",
];

const EXAMPLE_FIELDS: [&str; 4] = ["prompt", "response", "critique", "revision"];

/// What the templates of a step may use. What is `None` is an empty text in the steps that have it.
#[derive(Clone, Copy, Debug)]
pub struct Vars<'a> {
    /// The prompt's own messages.
    pub conversation: &'a [Message],
    /// What the person says last.
    pub prompt: &'a str,
    /// The first response.
    pub draft: Option<&'a str>,
    /// The current response.
    pub response: Option<&'a str>,
    /// What is wrong with it.
    pub critique: Option<&'a str>,
    /// The words objected to.
    pub quote: Option<&'a str>,
    /// The principle the step is about.
    pub principle: Option<&'a Principle>,
    /// The name of the constitution.
    pub constitution_name: &'a str,
    /// The round, from 1; 0 for the draft.
    pub round: u32,
}

/// Renders a principle's own text, which may use `prompt`, `draft`, `response` and `round`.
pub fn principle_text(template: &str, vars: &Vars<'_>) -> Result<String, PackError> {
    // Most texts use no variables.
    if !template.contains("{{") && !template.contains("{%") && !template.contains("{#") {
        return Ok(template.to_owned());
    }
    let values = context! {
        prompt => vars.prompt,
        draft => vars.draft.unwrap_or_default(),
        response => vars.response.unwrap_or_default(),
        round => vars.round,
    };
    strict_environment()
        .render_str(template, values)
        .map_err(|error| PackError::Render(describe(&error)))
}

/// What went wrong, without the internal name of the template.
pub(super) fn describe(error: &minijinja::Error) -> String {
    let mut text = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    if let Some(source) = error.source() {
        text.push_str(&format!(": {source}"));
    }
    text
}

/// The variables of a step.
pub(super) fn names(step: Part, in_example: bool) -> Vec<&'static str> {
    let mut names = ALWAYS.to_vec();
    match step {
        Part::Chain(StepKind::Draft) => {}
        Part::Chain(StepKind::Revision) => {
            names.extend(JUDGING);
            names.extend(REVISING);
        }
        Part::Chain(_) => names.extend(JUDGING),
        Part::Judge(step) => {
            names.extend(COMPARING);
            if step == JudgeStep::Conclude {
                names.push("reasoning");
            }
        }
    }
    if in_example {
        names.push("example");
    }
    names
}

/// The first variable that a content uses and the step does not have, with an explanation.
pub(super) fn first_unknown(
    environment: &Environment<'_>,
    template: &str,
    known: &[&str],
) -> Option<(String, String)> {
    let template = environment.get_template(template).ok()?;
    let mut used: Vec<String> = template.undeclared_variables(true).into_iter().collect();
    used.sort();
    used.into_iter()
        .find_map(|path| unknown_variable(&path, known).map(|why| (path, why)))
}

fn unknown_variable(path: &str, known: &[&str]) -> Option<String> {
    let mut parts = path.split('.');
    let name = parts.next().unwrap_or("");
    if FUNCTIONS.contains(&name) {
        return None;
    }
    if !known.contains(&name) {
        return Some(format!(
            "unknown variable `{name}`; here there are {}",
            known.join(", ")
        ));
    }
    let field = parts.next()?;
    let fields: &[&str] = match name {
        "principle" => &PRINCIPLE_FIELDS,
        "example" => &EXAMPLE_FIELDS,
        "conversation" => return None,
        _ => return Some(format!("`{name}` is a plain value and has no `{field}`")),
    };
    let nested = parts.next().filter(|_| field != "tags");
    match nested {
        _ if !fields.contains(&field) => Some(format!(
            "`{name}` has no `{field}`; it has {}",
            fields.join(", ")
        )),
        Some(nested) => Some(format!(
            "`{name}.{field}` is a plain value and has no `{nested}`"
        )),
        None => None,
    }
}

/// The values of a step's variables.
pub(super) fn of_step(step: StepKind, vars: &Vars<'_>) -> Result<Value, PackError> {
    if step == StepKind::Draft {
        return Ok(context! {
            conversation => Value::from(Serde(vars.conversation)),
            prompt => vars.prompt,
            constitution_name => vars.constitution_name,
            round => vars.round,
        });
    }
    let principle = vars.principle.ok_or_else(|| {
        PackError::Render(format!("the step {} needs a principle", step.as_str()))
    })?;
    let values = PrincipleValues::new(principle, vars)?;
    let judging = context! { principle => Value::from(Serde(values)), ..common(vars) };
    if step != StepKind::Revision {
        return Ok(judging);
    }
    Ok(context! {
        critique => vars.critique.unwrap_or_default(),
        quote => vars.quote.unwrap_or_default(),
        ..judging
    })
}

/// The values of a step with an example of its principle.
pub(super) fn with_example(values: &Value, example: &Example) -> Value {
    let fields = BTreeMap::from([
        ("prompt", &example.prompt),
        ("response", &example.response),
        ("critique", &example.critique),
        ("revision", &example.revision),
    ]);
    context! { example => Value::from(Serde(fields)), ..values.clone() }
}

#[derive(Serialize)]
struct PrincipleValues<'a> {
    id: &'a str,
    title: &'a str,
    critique: String,
    revision: String,
    severity: &'static str,
    tags: &'a [String],
    rationale: &'a str,
}

impl<'a> PrincipleValues<'a> {
    fn new(principle: &'a Principle, vars: &Vars<'_>) -> Result<Self, PackError> {
        let own = |name: &str, template: &str| {
            principle_text(template, vars).map_err(|error| {
                PackError::Render(format!("principle `{}`, its {name}: {error}", principle.id))
            })
        };
        Ok(Self {
            id: &principle.id,
            title: &principle.title,
            critique: own("critique", &principle.critique)?,
            revision: own("revision", &principle.revision)?,
            severity: principle.severity.as_str(),
            tags: &principle.tags,
            rationale: &principle.rationale,
        })
    }
}

/// The values of the variables of what a judge is told.
pub(super) fn of_comparison(compared: &Comparison<'_>) -> Result<Value, PackError> {
    let vars = Vars {
        conversation: compared.conversation,
        prompt: compared.prompt,
        draft: Some(THE_RESPONSE),
        response: Some(THE_RESPONSE),
        critique: None,
        quote: None,
        principle: Some(compared.principle),
        constitution_name: compared.constitution_name,
        round: 0,
    };
    let principle = PrincipleValues::new(compared.principle, &vars)?;
    Ok(context! {
        conversation => Value::from(Serde(compared.conversation)),
        prompt => compared.prompt,
        constitution_name => compared.constitution_name,
        round => 0,
        principle => Value::from(Serde(principle)),
        response_a => compared.a,
        response_b => compared.b,
        reasoning => compared.reasoning,
    })
}

fn common(vars: &Vars<'_>) -> Value {
    context! {
        conversation => Value::from(Serde(vars.conversation)),
        prompt => vars.prompt,
        constitution_name => vars.constitution_name,
        round => vars.round,
        draft => vars.draft.unwrap_or_default(),
        response => vars.response.unwrap_or_default(),
    }
}
