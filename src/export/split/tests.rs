//! Splits of prompts by their keys.

use std::collections::BTreeMap;

use super::*;
use proptest::prelude::*;

fn splits(text: &str) -> Splits {
    text.parse().unwrap()
}

#[test]
fn shares_are_read_and_mistakes_are_named() {
    let read = splits("train=0.8, valid=0.1,test=0.1");
    assert_eq!(read.names().collect::<Vec<_>>(), ["train", "valid", "test"]);
    assert_eq!(read.source(), "train=0.8,valid=0.1,test=0.1");
    for (text, expected) in [
        ("train", "is no NAME=SHARE"),
        ("train=0.9,train=0.1", "named twice"),
        ("train=0.9,Train=0.1", "named twice"),
        ("train=0.9,test=0.2", "sum to 1.1"),
        ("train=1.5,test=-0.5", "not between"),
        ("train=NaN,test=1", "not between"),
        ("../x=1", "cannot name a split"),
        ("dropped=1", "take another name"),
        ("train=0.5,pairs=0.5", "take another name"),
        ("train=0.5,Pairs=0.5", "take another name"),
        ("", "is no NAME=SHARE"),
    ] {
        let error = text.parse::<Splits>().unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn capitals_and_white_space_tell_no_prompts_apart_and_roles_do() {
    let key = |messages: &[Message]| prompt_key(messages);
    assert_eq!(
        key(&[Message::user("How  are\nyou?")]),
        key(&[Message::user(" how are you? ")])
    );
    assert_ne!(
        key(&[Message::user("a b")]),
        key(&[Message::user("a"), Message::user("b")])
    );
    assert_ne!(key(&[Message::user("a")]), key(&[Message::assistant("a")]));
}

/// Counts rows of prompts with these keys. What they say makes no difference.
fn counted(keys: impl IntoIterator<Item = u64>) -> Census {
    let mut census = Census::begin().unwrap();
    for key in keys {
        census.is_new(key).unwrap();
    }
    census
}

#[test]
fn a_small_dataset_leaves_no_split_empty() {
    let mut census = counted(0..3);
    let splits = splits("train=0.98,valid=0.01,test=0.01");
    let assignment = census.assign(&splits, 7).unwrap();
    let mut sides: Vec<_> = (0..3).map(|key| assignment.side(key)).collect();
    sides.sort_unstable();
    assert_eq!(sides, [0, 1, 2]);
}

#[test]
fn prompts_are_told_apart_by_their_keys_and_joined_by_what_they_say() {
    let long: Vec<String> = (0..40).map(|number| format!("word{number}")).collect();
    let long = long.join(" ");
    let texts = [
        "Why?",
        "why? ",
        &long,
        "When?",
        "Why?",
        &long.replace("word7 ", "else "),
    ];
    let mut census = Census::begin().unwrap();
    let mut keys = Vec::new();
    for text in texts {
        let prompt = [Message::user(text)];
        keys.push(prompt_key(&prompt));
        census.count(keys[keys.len() - 1], &prompt).unwrap();
    }
    assert_eq!(census.rows, [3, 1, 1, 1]);
    census.join_alike().unwrap();
    let assignment = census
        .assign(&splits("train=0.4,valid=0.3,test=0.3"), 1)
        .unwrap();
    assert_eq!(assignment.groups, 3);
    let sides: Vec<_> = keys.iter().map(|key| assignment.side(*key)).collect();
    assert!(sides[0] == sides[1] && sides[0] == sides[4] && sides[2] == sides[5]);
    let known = census.elsewhere().unwrap();
    let elsewhere = known.holds(&[Message::user(&long)]).unwrap();
    assert_eq!(elsewhere, sides[2] != 0);
}

/// The splits of prompts and how many groups there are, worked out one after the other.
fn plainly(keys: &[u64], joins: &[(u64, u64)], splits: &Splits, seed: u64) -> (Vec<usize>, u64) {
    let mut group: BTreeMap<u64, u64> = keys.iter().map(|key| (*key, *key)).collect();
    for (one, other) in joins {
        let (one, other) = (group[one], group[other]);
        let joined = group.values_mut().filter(|of| **of == one.max(other));
        joined.for_each(|of| *of = one.min(other));
    }
    let mut order: Vec<u64> = group.values().copied().collect();
    order.sort_unstable_by_key(|key| Digest::of(&("split", seed, key)));
    order.dedup();
    let (mut sides, mut before) = (Vec::new(), 0);
    for of in &order {
        let rows = keys.iter().filter(|key| group[*key] == *of).count();
        let middle = (before as f64 + rows as f64 / 2.0) / keys.len() as f64;
        sides.push(side(splits, middle));
        before += rows;
    }
    fill_empty(&mut sides, splits.len());
    let place = |key: &u64| order.iter().position(|of| *of == group[key]).unwrap();
    let all = keys.iter().map(|key| sides[place(key)].into()).collect();
    (all, order.len() as u64)
}

proptest! {
    #[test]
    fn no_group_is_on_two_sides_and_order_changes_nothing(
        keys in prop::collection::vec(0_u64..60, 1..200),
        joins in prop::collection::vec((0_usize..200, 0_usize..200), 0..40),
        seed in any::<u64>(),
    ) {
        // Far apart, so that their order is not that of numbers with a sign.
        let keys: Vec<u64> = keys.iter().map(|key| key << 58 | key).collect();
        let pair = |(a, b): &(usize, usize)| (keys[a % keys.len()], keys[b % keys.len()]);
        let joins: Vec<(u64, u64)> = joins.iter().map(pair).collect();
        let splits = splits("train=0.7,valid=0.1,test=0.2");
        let assigned = |mut census: Census, joins: &mut dyn Iterator<Item = (u64, u64)>| {
            for (a, b) in joins {
                let number = |key| census.met.meet(NUMBERS, key, 0).unwrap().unwrap();
                let (a, b) = (number(a), number(b));
                census.groups.join(a, b);
            }
            census.assign(&splits, seed).unwrap()
        };
        let assignment = assigned(counted(keys.iter().copied()), &mut joins.iter().copied());
        let mut back = joins.iter().rev().map(|(a, b)| (*b, *a));
        let again = assigned(counted(keys.iter().rev().copied()), &mut back);
        for key in &keys {
            prop_assert_eq!(assignment.side(*key), again.side(*key));
        }
        for (a, b) in &joins {
            prop_assert_eq!(assignment.side(*a), assignment.side(*b));
        }
        let sides: Vec<_> = keys.iter().map(|key| assignment.side(*key)).collect();
        prop_assert_eq!((sides, assignment.groups), plainly(&keys, &joins, &splits, seed));
    }

    #[test]
    fn shares_are_kept_to_within_the_largest_group(
        rows in prop::collection::vec(1_u64..9, 60..200), seed in any::<u64>(),
    ) {
        let splits = splits("train=0.8,test=0.2");
        let of = |(key, rows): (u64, &u64)| (0..*rows).map(move |_| key);
        let mut census = counted((0..).zip(&rows).flat_map(of));
        let assignment = census.assign(&splits, seed).unwrap();
        let test: u64 = (0..rows.len())
            .filter(|key| assignment.side(*key as u64) == 1)
            .map(|key| rows[key])
            .sum();
        let target = rows.iter().sum::<u64>() as f64 * 0.2;
        prop_assert!((test as f64 - target).abs() <= 8.0, "{} for {}", test, target);
    }
}
