//! Gates that look at one row by itself.

use serde_json::Value;

use super::choice;
use super::collapse::{Both, Tokens};
use super::decision::{Decision, Finding, Refused};
use super::duplicates::{Print, Sets};
use super::room::Room;
use super::rows::Row;
use super::settings::{Gate, RefusalOf, Settings};
use super::{Compared, Helpers, asked, language, personal, refusal, secrets};
use crate::generation::{Message, Role};
use crate::quality::pair::{Origin, Side, Texts};
use crate::store::{ChainDetail, length_ratio};

/// The most tokens that a template adds to a message, besides what it adds to every conversation.
const TEMPLATE_TOKENS: usize = 48;

/// What the gates need to know besides the chain.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub settings: &'a Settings,
    helpers: Helpers<'a>,
    room: &'a Room,
    /// Tokens of a conversation that says next to nothing.
    pub template_tokens: usize,
}

impl<'a> Look<'a> {
    pub fn new(settings: &'a Settings, helpers: Helpers<'a>, room: &'a Room) -> Self {
        let shortest = [Message::user("x"), Message::assistant("x")];
        Self {
            settings,
            helpers,
            room,
            template_tokens: match helpers.tokens.map(|count| count(&shortest)) {
                Some(Ok(tokens)) => tokens as usize,
                // A template that refuses even this has to be asked each time.
                Some(Err(_)) => usize::MAX,
                None => 0,
            },
        }
    }

    /// Looks at a chain; `None` where it has no text to learn from.
    pub fn at(self, chain: &ChainDetail, compared: &[Compared]) -> Option<(Decision, Row)> {
        let texts = Texts::of(chain).ok()?;
        let mut decision = choice::choose(chain, &texts, compared, self.settings)?;
        let chosen = texts.get(decision.chosen)?;
        let rejected = decision.rejected.and_then(|from| texts.get(from));
        let kind = Kind::of(chain);
        let mut findings = Vec::new();
        if kind.control && self.settings.control {
            findings.push(Finding::drop(
                Gate::Control,
                "the prompt was run to measure refusals",
            ));
        }
        findings.append(&mut decision.findings);
        findings.extend(of_text(chain, &chosen, self.settings));
        findings.extend(self.refusal(chain, &chosen, &texts, kind));
        if let Some(rejected) = &rejected {
            findings.extend(self.of_pair(chain, &chosen, rejected));
        }
        findings.extend(self.token_limit(chain, &chosen, rejected.as_ref()));
        findings.sort_by_key(|finding| finding.gate);
        decision.findings = findings;
        let row = self.row(chain, &decision, chosen, &texts);
        Some((decision, row))
    }

    /// What keeps revisions besides the chosen one from being taught by themselves and is not found out from text and
    /// settings alone, by the ordinals of their steps.
    pub fn rounds(self, chain: &ChainDetail, chosen: Option<Origin>) -> Vec<(u32, Refused)> {
        let Ok(texts) = Texts::of(chain) else {
            return Vec::new();
        };
        let kind = Kind::of(chain);
        let look = |side: &Side<'_>| {
            let Origin::Revision(ordinal) = side.from else {
                return None;
            };
            if chosen == Some(side.from) || side.text.trim().is_empty() {
                return None;
            }
            let finding = self
                .refusal(chain, side, &texts, kind)
                .or_else(|| self.token_limit(chain, side, None))?;
            Some((ordinal, Refused::by(&finding)))
        };
        texts.revisions.iter().filter_map(look).collect()
    }

    fn refusal(
        self,
        chain: &ChainDetail,
        chosen: &Side<'_>,
        texts: &Texts<'_>,
        kind: Kind,
    ) -> Option<Finding> {
        if !kind.may_not_be_refused(self.settings) {
            return None;
        }
        if refusal::refuses(chosen.text) {
            return Some(Finding::drop(Gate::Refusal, "it refuses a benign prompt"));
        }
        let [draft, last] = *self.helpers.refusals?.get(&chain.row.chain_id)?;
        let p = match chosen.from {
            Origin::Draft => draft,
            from if from == texts.last().from => last,
            _ => return None,
        };
        let reason = format!("a model takes it for a refusal of a benign prompt (P {p:.2})");
        (p >= asked::REFUSES).then(|| Finding::drop(Gate::Refusal, reason).with(p))
    }

    fn row(
        self,
        chain: &ChainDetail,
        decision: &Decision,
        chosen: Side<'_>,
        texts: &Texts<'_>,
    ) -> Row {
        let duplicates = self.settings.duplicate || self.settings.near_duplicate.is_some();
        let print = (duplicates && decision.keeps_text()).then(|| {
            let near = self.settings.near_duplicate;
            let mut print = Print::new(&conversation(&chain.prompt_messages), chosen.text, near);
            print.fit(self.room);
            print
        });
        // What equals its draft has the same wording on both sides.
        let counted = self.settings.collapse.is_some()
            && decision.keeps_text()
            && chosen.text != texts.draft.text;
        Row {
            print,
            wording: match counted {
                true => self.both(chosen.text, texts.draft.text),
                false => Both::Same,
            },
            asked: self
                .helpers
                .refusals
                .and_then(|asked| asked.get(&chain.row.chain_id))
                .map(|both| both.map(|p| p >= asked::REFUSES)),
            refuses: Kind::of(chain)
                .benign
                .then(|| [texts.draft.text, texts.last().text].map(refusal::refuses)),
        }
    }

    /// A chosen text and its draft as words, where there is room for them.
    fn both(self, chosen: &str, draft: &str) -> Both {
        if self.room.is_full() {
            return Both::NotKept;
        }
        let texts = [chosen, draft].map(Tokens::of);
        match self.room.take(texts.iter().map(Tokens::bytes).sum()) {
            true => Both::Kept(Box::new(texts)),
            false => Both::NotKept,
        }
    }

    fn of_pair(self, chain: &ChainDetail, chosen: &Side<'_>, rejected: &Side<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(lengths(rejected.text, chosen.text, self.settings));
        let found = guarded(rejected.text, "the rejected text", self.settings);
        // What the prompt and the chosen text hold was told already.
        let told = |gate| {
            guarded(chosen.text, "", self.settings)
                .chain(guarded_prompt(chain, self.settings))
                .any(|finding| finding.gate == gate)
        };
        findings.extend(
            found
                .filter(|finding| !told(finding.gate))
                .map(Finding::of_pair),
        );
        findings
    }

    /// Rows of too many tokens. The longer of the two texts decides about the pair.
    fn token_limit(
        self,
        chain: &ChainDetail,
        chosen: &Side<'_>,
        rejected: Option<&Side<'_>>,
    ) -> Option<Finding> {
        let (limit, count) = (self.settings.tokens?, self.helpers.tokens?);
        let over = |side: &Side<'_>| {
            let answer = Message::assistant(side.text);
            let messages: Vec<Message> = chain
                .prompt_messages
                .iter()
                .cloned()
                .chain([answer])
                .collect();
            let fits = |tokens: &dyn Fn(&str) -> usize| {
                let each = |message: &Message| tokens(&message.content) + TEMPLATE_TOKENS;
                let most: usize = messages.iter().map(each).sum();
                self.template_tokens.saturating_add(most) <= limit as usize
            };
            // A token has at least one byte, so a short conversation need not be cut to know that it fits.
            let by_text = self.helpers.text_tokens;
            if fits(&str::len)
                || by_text.is_some_and(|count| fits(&|text: &str| count(text) as usize))
            {
                return None;
            }
            Some(match count(&messages) {
                Ok(tokens) if tokens <= limit => return None,
                Ok(tokens) => {
                    Finding::drop(Gate::Tokens, format!("{tokens} tokens with the prompt"))
                        .with(f64::from(tokens))
                }
                Err(error) => Finding::drop(
                    Gate::Tokens,
                    format!("its tokens cannot be counted: {error}"),
                ),
            })
        };
        over(chosen).or_else(|| {
            let finding = over(rejected?)?;
            Some(Finding {
                reason: format!("the rejected text: {}", finding.reason),
                ..finding.of_pair()
            })
        })
    }
}

/// What a prompt says of itself.
#[derive(Clone, Copy, Debug)]
struct Kind {
    control: bool,
    benign: bool,
}

impl Kind {
    /// A row with `"control": "benign"` was run to measure refusals; one with `"benign": true` must not be
    /// refused. In CSV every value is a text.
    fn of(chain: &ChainDetail) -> Self {
        let field = |name| chain.prompt_metadata.get(name);
        let control = field("control").is_some_and(|value| value == "benign");
        let text = |value: &Value| {
            value
                .as_str()
                .is_some_and(|text| text.eq_ignore_ascii_case("true"))
        };
        let benign = field("benign").is_some_and(|value| value == true || text(value));
        Self {
            control,
            benign: benign || control,
        }
    }

    fn may_not_be_refused(self, settings: &Settings) -> bool {
        match settings.refusal {
            Some(RefusalOf::All) => true,
            Some(RefusalOf::Benign) => self.benign,
            None => false,
        }
    }
}

/// Whether the prompt was run to measure refusals.
pub(super) fn is_control(chain: &ChainDetail) -> bool {
    Kind::of(chain).control
}

/// A chosen text that is much longer or shorter than the rejected one.
pub(super) fn lengths(rejected: &str, chosen: &str, settings: &Settings) -> Option<Finding> {
    let (low, high) = settings.length_ratio?;
    let ratio = length_ratio(rejected, chosen).filter(|ratio| !(low..=high).contains(ratio))?;
    let reason = format!("the chosen text is {ratio:.2} times as long as the rejected one");
    Some(Finding::drop(Gate::LengthRatio, reason).with(ratio))
}

/// Personal data or a secret in a text.
pub(super) fn guard(text: &str, settings: &Settings) -> Option<Finding> {
    guarded(text, "the row", settings).next()
}

/// Whether the prompt's row says that it is benign.
pub(super) fn is_benign(chain: &ChainDetail) -> bool {
    Kind::of(chain).benign
}

/// What is wrong with a text by itself.
fn of_text(chain: &ChainDetail, side: &Side<'_>, settings: &Settings) -> Vec<Finding> {
    let mut findings: Vec<Finding> = flagged(side, settings).into_iter().collect();
    let mut seen = Vec::new();
    let guards =
        guarded_prompt(chain, settings).chain(guarded(side.text, "the response", settings));
    for finding in guards {
        if !seen.contains(&finding.gate) {
            seen.push(finding.gate);
            findings.push(finding);
        }
    }
    if let Some(least) = settings.language
        && let Some(differs) = language::differs(&chain.row.prompt, side.text, least)
        && !asked_before(chain, &differs)
    {
        let reason = format!(
            "the prompt is in {}, the response in {}",
            differs.prompt, differs.response
        );
        findings.push(Finding::drop(Gate::Language, reason).with(differs.confidence));
    }
    findings
}

/// Whether a message before the last asks for responses in that language, as a system message does.
fn asked_before(chain: &ChainDetail, differs: &language::Differs) -> bool {
    let mut messages = chain.prompt_messages.iter();
    messages
        .any(|message| message.role != Role::Assistant && differs.is_asked_for(&message.content))
}

/// Personal data and secrets of the conversation before the response.
fn guarded_prompt<'a>(
    chain: &'a ChainDetail,
    settings: &'a Settings,
) -> impl Iterator<Item = Finding> + 'a {
    chain
        .prompt_messages
        .iter()
        .flat_map(|message| guarded(&message.content, "the prompt", settings))
}

/// Personal data and secrets of a text.
fn guarded<'a>(
    text: &'a str,
    whose: &'a str,
    settings: &Settings,
) -> impl Iterator<Item = Finding> + use<'a> {
    let guard = |open: bool, gate, find: fn(&str) -> Option<&'static str>| {
        let found = open.then(|| find(text)).flatten();
        found.map(|what| Finding::drop(gate, format!("{what} in {whose}")))
    };
    [
        guard(settings.personal_data, Gate::PersonalData, personal::find),
        guard(settings.secrets, Gate::Secrets, secrets::find),
    ]
    .into_iter()
    .flatten()
}

/// A flag that the text must not have.
fn flagged(side: &Side<'_>, settings: &Settings) -> Option<Finding> {
    let spoils = settings.flags.as_ref()?;
    let flag = side.flags.iter().find(|flag| spoils.contains(flag))?;
    Some(Finding::drop(Gate::Flags, flag.as_str()))
}

/// The runs of words of a chain whose print has not kept them.
pub(super) fn sets(chain: &ChainDetail, chosen: Origin) -> Option<Sets> {
    let texts = Texts::of(chain).ok()?;
    let text = texts.get(chosen)?.text;
    Some(Sets::of(&conversation(&chain.prompt_messages), text))
}

/// The conversation as one text, roles included.
fn conversation(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        if message.role != Role::User || messages.len() > 1 {
            text.push_str(message.role.as_str());
            text.push(' ');
        }
        text.push_str(&message.content);
        text.push('\n');
    }
    text
}

/// The response that a rejected chain ended with.
pub(super) fn rejected<'a>(
    chain: &'a ChainDetail,
    settings: &Settings,
) -> Result<Side<'a>, Refused> {
    let texts = Texts::unlabelled(chain).map_err(Refused::plain)?;
    let side = texts.last();
    if side.text.trim().is_empty() {
        return Err(Refused::plain("empty-final"));
    }
    let mut private =
        guarded_prompt(chain, settings).chain(guarded(side.text, "the response", settings));
    match private.next() {
        Some(finding) => Err(Refused::by(&finding)),
        None => Ok(side),
    }
}

/// What every adopted revision gives.
pub(super) fn rounds<'a>(
    chain: &'a ChainDetail,
    settings: &Settings,
) -> Vec<(u32, Result<Side<'a>, Refused>)> {
    let Ok(texts) = Texts::of(chain) else {
        return Vec::new();
    };
    // A text that a person wrote stands for all that the model wrote.
    if texts.person.is_some() {
        return Vec::new();
    }
    let mut given: Vec<&str> = Vec::new();
    let look = |side: Side<'a>| {
        let Origin::Revision(ordinal) = side.from else {
            return None;
        };
        let text = side.text.trim();
        let taken = if text.is_empty() {
            Err(Refused::plain("empty-final"))
        } else if settings.equal_texts && given.contains(&text) {
            Err(Refused::plain("equal-texts"))
        } else if let Some(finding) = of_text(chain, &side, settings).first() {
            Err(Refused::by(finding))
        } else {
            given.push(text);
            Ok(side)
        };
        Some((ordinal, taken))
    };
    texts.revisions.into_iter().filter_map(look).collect()
}
