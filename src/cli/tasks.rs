//! The chains of a run: from the rows of a prompt file, or from the drafts of another run, to tasks for
//! the engine.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::anyhow;

use crate::chain::{ChainId, ChainStart};
use crate::dataset::{self, PromptReader, Row, Skipped};
use crate::engine::machine::Plan;
use crate::engine::{RecordError, Task};
use crate::prompt::{Prompt, PromptId};

use super::drafts::DraftTasks;
use super::exit::usage;

/// Begins the ids of control prompts, which tells them apart from those of the prompt file.
const CONTROL: &str = "control:";

/// The prompts of a run, in the order of the file, rows that cannot be used among them.
pub struct Prompts {
    reader: PromptReader,
    range: std::ops::Range<u64>,
    index: u64,
    /// Prompts that are run to measure refusals, after all others.
    controls: Option<PromptReader>,
    /// Whether they are being read.
    in_controls: bool,
}

/// A prompt with its number, or a row that cannot be used.
pub enum NextPrompt {
    /// The number counts usable prompts of the file from 0.
    Prompt(u64, Prompt),
    /// Reported, counted, and left out.
    Skipped(Skipped),
}

impl Prompts {
    /// The prompts of a file in the given range, which counts usable prompts from 0.
    pub fn new(reader: PromptReader, range: std::ops::Range<u64>) -> Self {
        Self {
            reader,
            range,
            index: 0,
            controls: None,
            in_controls: false,
        }
    }

    /// The same with control prompts after them. The range says nothing about these.
    pub fn and(self, controls: Option<PromptReader>) -> Self {
        Self { controls, ..self }
    }

    /// The counts of the files so far.
    pub fn counts(&self) -> dataset::Counts {
        let mut counts = self.reader.counts();
        if let Some(more) = self.controls.as_ref().map(PromptReader::counts) {
            counts.rows += more.rows;
            counts.skipped += more.skipped;
            counts.duplicates += more.duplicates;
        }
        counts
    }

    /// Where the row read last stands, as `file:line`.
    fn place(&self) -> String {
        match &self.controls {
            Some(controls) if self.in_controls => controls.place(),
            _ => self.reader.place(),
        }
    }

    /// The row read last, where its id may be that of a control prompt: of two chains with one id, only the
    /// first would be made.
    fn taken(&self, id: &PromptId) -> Option<Skipped> {
        (self.controls.is_some() && is_control(&id.0)).then(|| {
            self.reader.refused(format!(
                "the id `{id}` begins as the ids of --controls do; rename it"
            ))
        })
    }

    fn next_control(&mut self) -> Option<anyhow::Result<NextPrompt>> {
        let reader = self.controls.as_mut()?;
        Some(match reader.next() {
            Some(Ok(Row::Prompt(prompt))) => {
                let number = self.index;
                self.index += 1;
                Ok(NextPrompt::Prompt(number, control(prompt)))
            }
            Some(Ok(Row::Skipped(row))) => Ok(NextPrompt::Skipped(row)),
            Some(Err(error)) => Err(usage(error)),
            None => match reader.require_rows() {
                Ok(()) => return None,
                Err(error) => {
                    self.controls = None;
                    Err(usage(error))
                }
            },
        })
    }
}

/// Whether a prompt of this id is one that measures refusals.
pub fn is_control(prompt_id: &str) -> bool {
    prompt_id.starts_with(CONTROL)
}

/// Marks a prompt as one that measures refusals.
fn control(mut prompt: Prompt) -> Prompt {
    prompt.id = PromptId(format!("{CONTROL}{}", prompt.id.0));
    prompt
        .metadata
        .insert("control".to_owned(), "benign".into());
    prompt
}

impl Iterator for Prompts {
    type Item = anyhow::Result<NextPrompt>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.in_controls || self.index >= self.range.end {
                self.in_controls = true;
                return self.next_control();
            }
            return Some(match self.reader.next() {
                Some(Ok(Row::Prompt(prompt))) => {
                    let number = self.index;
                    self.index += 1;
                    if number < self.range.start {
                        continue;
                    }
                    match self.taken(&prompt.id) {
                        Some(row) => Err(usage(anyhow!("{row}"))),
                        None => Ok(NextPrompt::Prompt(number, prompt)),
                    }
                }
                Some(Ok(Row::Skipped(row))) => Ok(NextPrompt::Skipped(row)),
                Some(Err(error)) => Err(usage(error)),
                // What the reader knows of its rows decides whether the end is an error.
                None => match self.reader.require_rows() {
                    Ok(()) => {
                        self.in_controls = true;
                        continue;
                    }
                    Err(error) => {
                        (self.in_controls, self.controls) = (true, None);
                        Err(usage(error))
                    }
                },
            });
        }
    }
}

/// The chains of a run: every prompt, `samples` times.
pub struct Chains<'a> {
    prompts: Prompts,
    run_id: String,
    samples: u32,
    plan: Arc<Plan>,
    current: Option<(u64, Prompt)>,
    sample: u32,
    /// Where the current prompt stands.
    place: Rc<RefCell<String>>,
    report: Box<dyn FnMut(&Skipped) + 'a>,
}

impl<'a> Chains<'a> {
    /// The chains of a run. `report` hears of rows that cannot be used.
    pub fn new(
        prompts: Prompts,
        run_id: &str,
        samples: u32,
        plan: Arc<Plan>,
        report: impl FnMut(&Skipped) + 'a,
    ) -> Self {
        Self {
            prompts,
            run_id: run_id.to_owned(),
            samples,
            plan,
            current: None,
            sample: 0,
            place: Rc::default(),
            report: Box::new(report),
        }
    }

    /// The counts of the prompt file so far.
    pub fn counts(&self) -> dataset::Counts {
        self.prompts.counts()
    }
}

impl Iterator for Chains<'_> {
    type Item = Result<Task, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.current.is_none() || self.sample >= self.samples {
            match self.prompts.next()? {
                Ok(NextPrompt::Prompt(number, prompt)) => {
                    self.current = Some((number, prompt));
                    self.sample = 0;
                    *self.place.borrow_mut() = self.prompts.place();
                }
                Ok(NextPrompt::Skipped(row)) => (self.report)(&row),
                Err(error) => return Some(Err(error.into())),
            }
        }
        let (number, prompt) = self.current.as_ref()?;
        let sample = self.sample;
        self.sample += 1;
        let start = ChainStart {
            id: ChainId::new(&self.run_id, &prompt.id, sample),
            position: number * u64::from(self.samples) + u64::from(sample),
            prompt: prompt.clone(),
            sample,
        };
        Some(Ok(Task {
            plan: Arc::clone(&self.plan),
            start,
            draft: None,
        }))
    }
}

/// The chains of a run, wherever its prompts come from.
pub enum Tasks<'a> {
    /// From a prompt file.
    File(Box<Chains<'a>>),
    /// From the drafts of a run.
    Drafts(DraftTasks),
}

impl Tasks<'_> {
    /// The counts of the prompt file so far.
    pub fn counts(&self) -> dataset::Counts {
        match self {
            Tasks::File(chains) => chains.counts(),
            Tasks::Drafts(_) => dataset::Counts::default(),
        }
    }

    /// Where the prompt of the chain stands that was handed out last, as `file:line`; empty where it comes
    /// from a run.
    pub fn place(&self) -> Rc<RefCell<String>> {
        match self {
            Tasks::File(chains) => Rc::clone(&chains.place),
            Tasks::Drafts(_) => Rc::default(),
        }
    }
}

impl Iterator for Tasks<'_> {
    type Item = Result<Task, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Tasks::File(chains) => chains.next(),
            Tasks::Drafts(drafts) => drafts.next(),
        }
    }
}
