use proptest::prelude::*;

use crate::store::filter::{Expr, Filter, MAX_DEPTH, MAX_LENGTH, MAX_TERMS, Op, Term, Value};
use crate::store::filter_key::Key;

fn expr(source: &str) -> Expr {
    Filter::parse(source).unwrap().expr.unwrap()
}

fn error(source: &str) -> (usize, String) {
    let error = Filter::parse(source).unwrap_err();
    (error.column, error.message)
}

fn term(key: Key, op: Op, value: Value) -> Expr {
    Expr::Term(Term { key, op, value })
}

fn text(text: &str) -> Expr {
    term(Key::Text, Op::Eq, Value::Text(text.to_owned()))
}

#[test]
fn nothing_matches_everything() {
    assert!(Filter::parse("").unwrap().is_all());
    assert!(Filter::parse(" \n\t ").unwrap().is_all());
    assert_eq!(Filter::parse("").unwrap().expr, None);
}

#[test]
fn juxtaposition_is_and_and_binds_tighter_than_or() {
    let expected = Expr::Or(vec![Expr::And(vec![text("a"), text("b")]), text("c")]);
    assert_eq!(expr("a b or c"), expected);
    assert_eq!(expr("a AND b OR c"), expected);
    assert_eq!(
        expr("a (b or c)"),
        Expr::And(vec![text("a"), Expr::Or(vec![text("b"), text("c")])])
    );
    assert_eq!(
        expr("not a b"),
        Expr::And(vec![Expr::Not(Box::new(text("a"))), text("b")])
    );
}

#[test]
fn a_term_in_parentheses_stays_apart() {
    let principle = |id: &str| term(Key::Principle, Op::Eq, Value::Text(id.to_owned()));
    let violated = term(Key::Violated, Op::Eq, Value::Bool(true));
    assert_eq!(
        expr("principle:a violated:true"),
        Expr::And(vec![principle("a"), violated.clone()])
    );
    assert_eq!(
        expr("(principle:a) (violated:true)"),
        Expr::And(vec![
            Expr::And(vec![principle("a")]),
            Expr::And(vec![violated])
        ])
    );
    let (_, message) = error("principle:a principle:b");
    assert!(message.contains("put each in parentheses"), "{message}");
    assert!(Filter::parse("(principle:a) (principle:b)").is_ok());
    assert!(Filter::parse("principle:a or principle:b").is_ok());
    assert!(Filter::parse("principle:a principle:a").is_ok());
}

#[test]
fn operators_and_values() {
    assert_eq!(expr("round>=2"), term(Key::Rounds, Op::Ge, Value::Whole(2)));
    assert_eq!(expr("p>0.7"), term(Key::P, Op::Gt, Value::Real(0.7)));
    assert_eq!(expr("len<2"), term(Key::Len, Op::Lt, Value::Real(2.0)));
    assert_eq!(
        expr("status!=failed"),
        term(Key::Status, Op::Ne, Value::Text("failed".to_owned()))
    );
    assert_eq!(expr(r#"text:"a \"b\" (c)""#), text(r#"a "b" (c)"#));
    assert_eq!(expr(r#""or""#), text("or"));
    assert_eq!(expr("C++"), text("C++"));
    assert_eq!(expr("oracle"), text("oracle"));
}

#[test]
fn errors_name_the_column_and_the_remedy() {
    let (column, message) = error("revised:true principel:a");
    assert_eq!(column, 14);
    assert_eq!(
        message,
        "unknown key `principel`; did you mean `principle`? Or quote the words to search for them as text"
    );
    let (column, message) = error("stop:claen");
    assert_eq!(column, 6);
    assert!(message.contains("did you mean `clean`"), "{message}");
    let (column, message) = error("é round>=two");
    assert_eq!(column, 10);
    assert!(message.contains("whole number"), "{message}");
    // Signs that look like operators are none.
    let (column, message) = error("revised:true p≥1");
    assert_eq!(column, 15);
    assert_eq!(
        message,
        "write `>=` for `≥`, or quote the words to search for them as text"
    );
    assert_eq!(error("Principle：a").0, 10);
    assert_eq!(expr("x≥1"), text("x≥1"));
    assert_eq!(expr("\"p≥1\""), text("p≥1"));
    for (source, part) in [
        ("round ≥ 2", "without a key"),
        ("status≠done", "write `!=`"),
        ("(a", "never closed"),
        ("a)", "without a `(`"),
        ("()", "missing before `)`"),
        ("\"a", "never closed"),
        ("a or", "missing at the end"),
        ("or a", "both sides"),
        ("a and or b", "both sides"),
        ("not", "missing at the end"),
        ("round >= 2", "without a key"),
        ("round>= 2", "without a space"),
        ("status<done", "has no order"),
        ("http://example.org", "quote"),
        ("p>nan", "number"),
        ("p>inf", "number"),
        ("violated:maybe", "true or false"),
        ("text!=a", "not text"),
        ("tokens>99999999999999999999", "whole number"),
    ] {
        let (_, message) = error(source);
        assert!(message.contains(part), "{source}: {message}");
    }
}

#[test]
fn huge_and_deep_filters_are_errors() {
    let deep = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&deep(MAX_DEPTH)).is_ok());
    assert!(error(&deep(MAX_DEPTH + 1)).1.contains("deeper"));
    assert!(error(&deep(30_000)).1.contains("deeper"));
    assert!(error(&"not ".repeat(10_000)).1.contains("deeper"));
    assert!(error(&"(".repeat(60_000)).1.contains("deeper"));
    assert!(Filter::parse(&"a ".repeat(MAX_TERMS)).is_ok());
    assert!(error(&"a ".repeat(MAX_TERMS + 1)).1.contains("more than"));
    assert!(error(&"a".repeat(MAX_LENGTH + 1)).1.contains("longer"));
}

#[test]
fn filters_join() {
    let join = |a: &str, b: &str| Filter::parse(a).unwrap().and(Filter::parse(b).unwrap());
    assert!(join("", "").is_all());
    assert_eq!(join("a", "").source(), "a");
    assert_eq!(join("", "b").source(), "b");
    let both = join("principle:a", "violated:true or b");
    assert_eq!(both, Filter::parse(both.source()).unwrap());
}

proptest! {
    #[test]
    fn no_text_panics(source in any::<String>()) {
        let _ = Filter::parse(&source);
    }

    #[test]
    fn no_sequence_of_tokens_panics(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "(", ")", "not", "and", "or", "\"", "\\", " ", ":", ">=", "!=", "<", "round",
                "principle", "text", "x", "1", "true", "'", "é", "\0", "p", "0.5",
            ]),
            0..40,
        )
    ) {
        let source = tokens.concat();
        if let Err(error) = Filter::parse(&source) {
            prop_assert!(error.column >= 1);
            prop_assert!(error.column <= source.chars().count() + 1);
        }
    }
}
