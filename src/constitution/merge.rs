//! Laying files over each other: bases first, then what changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::error::{Code, Place, Problem, Span, did_you_mean, excerpt};
use super::resolve::Layer;
use super::tree::Node;
use super::wire;
use super::{Constitution, Defaults, Principle, Severity, Status};

/// The precedence of a principle that does not say.
const DEFAULT_PRECEDENCE: i64 = 100;

/// What a file says of itself. It is not taken over from the files that it extends.
const OF_FILE: [&str; 5] = ["schema", "name", "version", "description", "license"];

/// How many times something close is looked for among all ids, which takes time in a large file.
const MAX_GUESSES: usize = 20;

/// Where a principle was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// Where it begins, in the file that first has it.
    pub principle: Place,
    /// Where each of its fields was last written; fields left to their defaults are not here.
    pub fields: BTreeMap<String, Place>,
}

/// What comes out of laying files over each other.
pub(super) struct Merged {
    pub constitution: Constitution,
    pub origins: BTreeMap<String, Origin>,
    /// Where the root file says what it is, by key.
    pub fields: BTreeMap<String, Place>,
    /// Where each of the defaults was last written.
    pub defaults: BTreeMap<String, Place>,
}

/// The files that make up `layer`, in the order in which they are applied.
pub(super) fn order(layers: &[Layer], layer: usize) -> Vec<usize> {
    // The depth is bounded by the number of files that may extend each other in a row.
    fn visit(layers: &[Layer], at: usize, order: &mut Vec<usize>) {
        for &base in &layers[at].bases {
            if !order.contains(&base) {
                visit(layers, base, order);
            }
        }
        order.push(at);
    }
    let mut order = Vec::new();
    visit(layers, layer, &mut order);
    order
}

/// A principle while files are being laid over each other.
struct Slot {
    principle: wire::Principle,
    origin: Origin,
    /// The file that first has it.
    definer: usize,
}

/// Lays the files in `order` over each other and fills in defaults. The last one gives the name.
pub(super) fn merge(layers: &[Layer], order: &[usize], problems: &mut Vec<Problem>) -> Merged {
    let mut slots: Vec<Slot> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut defaults = Defaults::default();
    let mut written = BTreeMap::new();
    for &at in order {
        let layer = &layers[at];
        let extended: BTreeSet<usize> = self::order(layers, at).into_iter().collect();
        for (principle, node) in layer.wire.principles.iter().zip(&layer.principles) {
            match places.get(&principle.id) {
                Some(&place) if extended.contains(&slots[place].definer) => {
                    slots[place].change(layer, principle, node);
                }
                Some(&place) => problems.push(clash(layer, node, &slots[place])),
                None => {
                    places.insert(principle.id.clone(), slots.len());
                    slots.push(Slot::new(layer, at, principle, node));
                }
            }
        }
        let own = &layer.wire.defaults;
        defaults.rounds = own.rounds.or(defaults.rounds);
        defaults.revise = own.revise.or(defaults.revise);
        if let Some(text) = &own.select {
            defaults.select = Some(text.trim().to_owned());
        }
        let entries = layer.root.get("defaults").map_or(&[][..], |n| n.entries());
        for entry in entries {
            written.insert(entry.key.clone(), layer.place(entry.at));
        }
    }
    for slot in &slots {
        slot.check(&slots, layers[slot.definer].base_lost, problems);
    }
    let mut origins = BTreeMap::new();
    let mut principles = Vec::new();
    for slot in slots {
        origins.insert(slot.principle.id.clone(), slot.origin);
        principles.push(filled(slot.principle));
    }
    let root = order.last().map(|&at| &layers[at]);
    let file = root.map(|root| &root.wire);
    let own = |field: fn(&wire::File) -> Option<&str>| {
        file.and_then(field).map_or("", str::trim).to_owned()
    };
    let version = own(|file| file.version.as_deref());
    let constitution = Constitution {
        schema: file.map_or(1, |file| file.schema),
        name: own(|file| Some(&file.name)),
        version: if version.is_empty() {
            "0.0.0".to_owned()
        } else {
            version
        },
        description: own(|file| file.description.as_deref()),
        license: own(|file| file.license.as_deref()),
        defaults,
        principles,
    };
    Merged {
        constitution,
        origins,
        fields: root.map_or_else(BTreeMap::new, fields_of),
        defaults: written,
    }
}

/// Where a file says what it is.
fn fields_of(layer: &Layer) -> BTreeMap<String, Place> {
    let entries = layer.root.entries().iter();
    entries
        .filter(|entry| OF_FILE.contains(&entry.key.as_str()))
        .map(|entry| (entry.key.clone(), layer.place(entry.at)))
        .collect()
}

/// What only a constitution that is going to be used must fulfil; a file to be extended need not.
pub(super) fn check_root(root: &Layer, merged: &Merged, problems: &mut Vec<Problem>) {
    let constitution = &merged.constitution;
    let mut say = |code, place: Place, message: &str, remedy: &str| {
        let span = Some(place.span);
        problems.push(Problem::new(code, &place.file, span, message, remedy));
    };
    let node = |key| root.root.get(key).map_or(root.root.span, |node| node.span);
    if constitution.name.is_empty() {
        let place = root.place(node("name"));
        say(Code::EmptyText, place, "`name` is empty", "give it a name");
    }
    // What could not be read may hold what is missed.
    let lost = root.base_lost || root.lossy;
    if constitution.active().is_empty() && !lost {
        let message = match constitution.principles.len() {
            0 => "there are no principles",
            _ => "no principle has `status: active`",
        };
        let remedy = "write at least one under `principles`, active and with an `id`, a `critique` and a `revision`";
        let place = root.place(node("principles"));
        say(Code::NoPrinciples, place, message, remedy);
    }
    let (Some(select), Some(place)) =
        (&constitution.defaults.select, merged.defaults.get("select"))
    else {
        return;
    };
    if matches!(select.as_str(), "sample" | "all") || lost {
        return;
    }
    let ids: BTreeSet<&str> = constitution.principles.iter().map(|p| &*p.id).collect();
    let words = || ids.iter().copied().chain(["sample", "all"]);
    let remedy = "write `sample`, `all`, or ids with commas between them";
    let named = || select.split(',').map(str::trim).filter(|id| !id.is_empty());
    if named().next().is_none() {
        say(
            Code::UnknownId,
            place.clone(),
            "`select` names no principle",
            remedy,
        );
    }
    for id in named().filter(|id| !ids.contains(id)).take(MAX_GUESSES) {
        let guess = did_you_mean(id, words());
        let message = match id {
            "sample" | "all" => format!("`select` has `{id}` in a list, and it stands alone"),
            _ => {
                let id = excerpt(id);
                format!("`select` names the principle `{id}`, which is not there{guess}")
            }
        };
        say(Code::UnknownId, place.clone(), &message, remedy);
    }
}

/// Two files that know nothing of each other have principles with one id.
fn clash(layer: &Layer, node: &Node, other: &Slot) -> Problem {
    let id = &other.principle.id;
    let other = &other.origin.principle;
    let message = format!("the principle `{id}` is also at {other}, in a file not extended here");
    let remedy = "rename one of them, or let one of the files extend the other";
    Problem::new(
        Code::DuplicateId,
        &layer.file,
        Some(id_span(node)),
        message,
        remedy,
    )
}

fn id_span(principle: &Node) -> Span {
    principle.entry("id").map_or(principle.span, |id| id.at)
}

impl Slot {
    fn new(layer: &Layer, definer: usize, principle: &wire::Principle, node: &Node) -> Self {
        let mut slot = Slot {
            principle: wire::Principle::empty(&principle.id),
            origin: Origin {
                principle: layer.place(id_span(node)),
                fields: BTreeMap::new(),
            },
            definer,
        };
        slot.change(layer, principle, node);
        slot
    }

    /// Takes over the fields that are written.
    fn change(&mut self, layer: &Layer, changes: &wire::Principle, node: &Node) {
        self.principle.overlay(changes);
        for entry in node.entries() {
            let place = layer.place(entry.at);
            self.origin.fields.insert(entry.key.clone(), place);
        }
    }

    /// What a principle must have once all files are laid over each other. Where a file was lost, the
    /// principle may be one of its own, and what is missing here may be there.
    fn check(&self, all: &[Slot], base_lost: bool, problems: &mut Vec<Problem>) {
        let principle = &self.principle;
        let mut must_say = |field, text: Option<&str>| {
            if text.is_some() || !base_lost {
                self.must_say(field, text, all, problems);
            }
        };
        if principle.check.is_none() {
            must_say("critique", principle.critique.as_deref());
        }
        must_say("revision", principle.revision.as_deref());
        let Some(check) = &principle.check else {
            return;
        };
        let place = self.origin.fields.get("check");
        let place = place.unwrap_or(&self.origin.principle);
        let mut say = |message, remedy| {
            let span = Some(place.span);
            problems.push(Problem::new(
                Code::BadValue,
                &place.file,
                span,
                message,
                remedy,
            ));
        };
        if check.is_empty() {
            let message = format!("the check of `{}` has no rule", principle.id);
            say(message, "add a rule such as `max_sentences: 3`");
        }
        if let (Some(least), Some(most)) = (check.min_words, check.max_words)
            && least > most
        {
            let message =
                format!("no response has at least {least} words and at most {most} words");
            say(message, "make `min_words` smaller than `max_words`");
        }
    }

    fn must_say(&self, field: &str, text: Option<&str>, all: &[Slot], problems: &mut Vec<Problem>) {
        let id = &self.principle.id;
        let remedy = match field {
            "critique" => "say what to look for, or let a `check` decide",
            _ => "say how to mend a response",
        };
        let (code, place, message) = match text {
            Some(text) if !text.trim().is_empty() => return,
            Some(_) => {
                let message = format!("the {field} of `{id}` is empty");
                (Code::EmptyText, self.origin.fields.get(field), message)
            }
            None => {
                let others = all.iter().filter(|slot| slot.definer != self.definer);
                let guess = match problems.len() {
                    0..MAX_GUESSES => did_you_mean(id, others.map(|slot| &*slot.principle.id)),
                    _ => String::new(),
                };
                let message = format!("the principle `{id}` has no {field}{guess}");
                (Code::MissingKey, None, message)
            }
        };
        let place = place.unwrap_or(&self.origin.principle);
        let span = Some(place.span);
        problems.push(Problem::new(code, &place.file, span, message, remedy));
    }
}

/// A principle with its defaults filled in. Prose loses the white space around it, which is layout.
fn filled(principle: wire::Principle) -> Principle {
    let prose = |text: Option<String>| text.unwrap_or_default().trim().to_owned();
    let title = prose(principle.title);
    Principle {
        title: if title.is_empty() {
            principle.id.clone()
        } else {
            title
        },
        id: principle.id,
        critique: prose(principle.critique),
        revision: prose(principle.revision),
        // Adding 0 turns -0 into 0, which would otherwise have a digest of its own.
        weight: principle.weight.unwrap_or(1.0) + 0.0,
        precedence: principle.precedence.unwrap_or(DEFAULT_PRECEDENCE),
        severity: principle.severity.unwrap_or(Severity::Major),
        tags: principle.tags.unwrap_or_default(),
        status: principle.status.unwrap_or(Status::Active),
        rationale: prose(principle.rationale),
        check: principle.check,
        examples: principle.examples.unwrap_or_default(),
        tests: principle.tests.unwrap_or_default(),
    }
}
