//! What a run is going to ask of its model, measured before the model is loaded: the cache is made for it.

use crate::backend::llama::context::Workload;
use crate::chain::StepKind;
use crate::engine::machine::Plan;
use crate::engine::policy::Select;
use crate::generation::Message;
use crate::template::Vars;

use super::backend::{self, Hints, Loaded};
use super::exit::say;
use super::job::Job;
use super::tasks::NextPrompt;

/// Rows of which the length of prompts is taken.
const ROWS_LOOKED_AT: usize = 64;
/// Bytes of a token, roughly.
const BYTES_PER_TOKEN: usize = 4;

/// Rows of a prompt file that are read to see whether it is a short one.
const ROWS_COUNTED: usize = 256;

impl Job {
    /// Loads what answers the run's requests.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        self.load_for(self.few_chains())
    }

    /// The same for as many chains like those of the run.
    pub fn load_for(&self, chains: Option<u64>) -> anyhow::Result<Loaded> {
        let hints = Hints {
            workload: Workload {
                shared_prefix: 0,
                fan_out: self.args.chain.samples,
                prompt: self.typical_prompt(),
                goes_on: goes_on(&self.plan),
                reply: self.plan.sampling.max_tokens,
                chains,
            },
            probes: probes(&self.plan),
        };
        let loaded = backend::load(&self.args.model, self.args.chain.deterministic, hints)?;
        if let Loaded::Llama(model) = &loaded {
            say(&model.cache().to_string());
        }
        Ok(loaded)
    }

    /// About how many tokens a prompt has: a token for every four bytes of the first prompts.
    fn typical_prompt(&self) -> u32 {
        let Ok(prompts) = self.prompts() else {
            return 0;
        };
        let bytes = prompts
            .take(ROWS_LOOKED_AT)
            .filter_map(|prompt| match prompt {
                Ok(NextPrompt::Prompt(_, prompt)) => {
                    let messages = prompt.messages.iter();
                    Some(messages.map(|message| message.content.len()).sum::<usize>())
                }
                _ => None,
            });
        let bytes: Vec<usize> = bytes.collect();
        let mean = bytes.iter().sum::<usize>() / bytes.len().max(1);
        u32::try_from(mean / BYTES_PER_TOKEN).unwrap_or(u32::MAX)
    }

    /// How many chains there are, where that is soon counted.
    fn few_chains(&self) -> Option<u64> {
        let (mut rows, mut prompts) = (0, 0);
        for prompt in self.prompts().ok()?.take(ROWS_COUNTED) {
            rows += 1;
            prompts += u64::from(matches!(prompt, Ok(NextPrompt::Prompt(..))));
        }
        // Rows that cannot be used say nothing of those that were not looked at.
        let all = rows < ROWS_COUNTED;
        all.then_some(prompts * u64::from(self.args.chain.samples))
    }
}

/// Whether a chain's next request begins with the response that its last one held.
fn goes_on(plan: &Plan) -> bool {
    let response = "A response that stands before what is asked about it.";
    let render = |kind, principle| {
        let conversation = [Message::user("A request.")];
        let vars = Vars {
            conversation: &conversation,
            prompt: "A request.",
            draft: Some(response),
            response: Some(response),
            critique: Some("A critique."),
            quote: None,
            principle,
            constitution_name: &plan.constitution.name,
            round: 1,
        };
        let messages = plan.pack.render(kind, &vars).ok()?;
        let texts: Vec<_> = messages.into_iter().map(|m| m.content).collect();
        Some(texts.join("\n"))
    };
    let principles = &plan.constitution.principles;
    let (first, last) = (principles.first(), principles.last());
    let critique = render(StepKind::Critique, first);
    // After the critique of a principle comes that of another one, or the revision.
    let several = plan.rounds > 1 || plan.select != Select::Sample;
    let another = several.then(|| render(StepKind::Critique, last)).flatten();
    let next = [another, render(StepKind::Revision, first)];
    next.into_iter().flatten().any(|next| {
        let critique = critique.as_deref().unwrap_or_default();
        let common = critique
            .bytes()
            .zip(next.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        critique.as_bytes()[..common]
            .windows(response.len())
            .any(|window| window == response.as_bytes())
    })
}

/// Two chains' conversations at each step that has messages of the pack's own.
fn probes(plan: &Plan) -> Vec<[Vec<Message>; 2]> {
    let principle = plan.constitution.principles.first();
    let render = |kind, word: &str| {
        let conversation = [Message::user(word)];
        let vars = Vars {
            conversation: &conversation,
            prompt: word,
            draft: Some(word),
            response: Some(word),
            critique: Some(word),
            quote: None,
            principle,
            constitution_name: &plan.constitution.name,
            round: 1,
        };
        plan.pack.render(kind, &vars).ok()
    };
    [StepKind::Critique, StepKind::Revision]
        .into_iter()
        .filter_map(|kind| Some([render(kind, "one")?, render(kind, "another")?]))
        .collect()
}
