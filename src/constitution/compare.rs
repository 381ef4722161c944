//! What tells two resolved constitutions apart, principle by principle.

use serde::Serialize;
use serde_json::Value;

use super::{Constitution, Principle};

/// The differences between two constitutions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Fields of the file itself, defaults as `defaults.rounds` and so on.
    pub fields: Vec<FieldChange>,
    /// Principles that are not the same in both: changed and removed ones in the order of the old
    /// constitution, then added ones.
    pub principles: Vec<PrincipleChange>,
    /// How many principles are the same in both.
    pub unchanged: usize,
    /// Whether the principles that both have stand in another order.
    pub reordered: bool,
}

impl Comparison {
    /// Whether there is no difference, and so the digests are the same.
    pub fn is_equal(&self) -> bool {
        self.fields.is_empty() && self.principles.is_empty() && !self.reordered
    }
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldChange {
    /// Its name.
    pub field: String,
    /// Its value in the old constitution.
    pub old: Value,
    /// Its value in the new one.
    pub new: Value,
}

/// What became of a principle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrincipleChange {
    /// Its id.
    pub id: String,
    /// What became of it.
    pub change: Change,
    /// The fields that differ, in the order of the format; of an added or removed principle those that
    /// say something.
    pub fields: Vec<FieldChange>,
}

/// What became of a principle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the new constitution has it.
    Added,
    /// Only the old constitution has it.
    Removed,
    /// Both have it, with differences.
    Changed,
}

/// Compares two constitutions by the ids of their principles.
pub fn compare(old: &Constitution, new: &Constitution) -> Comparison {
    let mut principles = Vec::new();
    let mut unchanged = 0;
    for principle in &old.principles {
        let other = new.principle(&principle.id);
        let fields = match other {
            Some(other) => differing(&fields(principle), &fields(other)),
            None => differing(&fields(principle), &[]),
        };
        match (other, fields.is_empty()) {
            (Some(_), true) => unchanged += 1,
            (Some(_), false) => principles.push(change(principle, Change::Changed, fields)),
            (None, _) => principles.push(change(principle, Change::Removed, fields)),
        }
    }
    for principle in &new.principles {
        if old.principle(&principle.id).is_none() {
            let fields = differing(&[], &fields(principle));
            principles.push(change(principle, Change::Added, fields));
        }
    }
    let common = |a: &Constitution, b: &Constitution| {
        let both = a.principles.iter().filter(|p| b.principle(&p.id).is_some());
        both.map(|p| p.id.clone()).collect::<Vec<_>>()
    };
    Comparison {
        fields: differing(&header(old), &header(new)),
        principles,
        unchanged,
        reordered: common(old, new) != common(new, old),
    }
}

fn change(principle: &Principle, change: Change, fields: Vec<FieldChange>) -> PrincipleChange {
    PrincipleChange {
        id: principle.id.clone(),
        change,
        fields,
    }
}

type Fields = Vec<(String, Value)>;

/// The fields of a principle, its id left out.
fn fields(principle: &Principle) -> Fields {
    // A principle is plain data, which JSON can always hold.
    match serde_json::to_value(principle) {
        Ok(Value::Object(map)) => map.into_iter().filter(|(key, _)| key != "id").collect(),
        _ => Vec::new(),
    }
}

/// The fields of a constitution itself.
fn header(constitution: &Constitution) -> Fields {
    let defaults = &constitution.defaults;
    let value = |text: &str| Value::from(text);
    vec![
        ("name".to_owned(), value(&constitution.name)),
        ("version".to_owned(), value(&constitution.version)),
        ("description".to_owned(), value(&constitution.description)),
        ("license".to_owned(), value(&constitution.license)),
        ("defaults.rounds".to_owned(), Value::from(defaults.rounds)),
        (
            "defaults.select".to_owned(),
            Value::from(defaults.select.clone()),
        ),
        (
            "defaults.revise".to_owned(),
            serde_json::to_value(defaults.revise).unwrap_or_default(),
        ),
    ]
}

/// The fields that differ. Where one side has no fields, those of the other that say something.
fn differing(old: &[(String, Value)], new: &[(String, Value)]) -> Vec<FieldChange> {
    let names = if old.is_empty() { new } else { old };
    let find = |fields: &[(String, Value)], name: &str| {
        let found = fields.iter().find(|(key, _)| key == name);
        found.map_or(Value::Null, |(_, value)| value.clone())
    };
    let changes = names.iter().map(|(name, _)| FieldChange {
        field: name.clone(),
        old: find(old, name),
        new: find(new, name),
    });
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let says = |change: &FieldChange| !(empty(&change.old) && empty(&change.new));
    changes
        .filter(|change| change.old != change.new && says(change))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constitution::{SHIPPED, load};

    #[test]
    fn a_constitution_equals_itself_and_differs_from_others() {
        for a in SHIPPED {
            for b in SHIPPED {
                let [old, new] = [a, b].map(|it| load(it.name).unwrap().resolved);
                let comparison = compare(&old.constitution, &new.constitution);
                assert_eq!(comparison.is_equal(), old.digest == new.digest);
                let back = compare(&new.constitution, &old.constitution);
                assert_eq!(back.principles.len(), comparison.principles.len());
                assert_eq!(back.unchanged, comparison.unchanged);
            }
        }
    }

    #[test]
    fn every_difference_is_named() {
        let old = load("minimal").unwrap().resolved.constitution;
        let mut new = old.clone();
        new.version = "2.0.0".to_owned();
        new.defaults.rounds = None;
        new.principles[0].weight = 2.0;
        new.principles[0].tests.pop();
        new.principles[1].id = "gentle".to_owned();
        new.principles.swap(0, 2);
        let found = compare(&old, &new);
        let names = |fields: &[FieldChange]| {
            let names = fields.iter().map(|f| f.field.clone());
            names.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&found.fields), "version defaults.rounds");
        let listed: Vec<_> = found
            .principles
            .iter()
            .map(|p| (&*p.id, p.change))
            .collect();
        assert_eq!(
            listed,
            [
                ("helpful", Change::Changed),
                ("harmless", Change::Removed),
                ("gentle", Change::Added)
            ]
        );
        assert_eq!(names(&found.principles[0].fields), "weight tests");
        assert_eq!((found.unchanged, found.reordered), (1, true));
        assert_ne!(old.digest(), new.digest());
    }
}
