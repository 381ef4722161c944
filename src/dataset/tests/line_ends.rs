//! Lines that end in unusual ways.

use super::*;

#[test]
fn carriage_returns_alone_end_no_line_and_are_told() {
    for (name, content) in [
        ("p.txt", "One?\rTwo?\rThree?\r\nlast\r"),
        (
            "p.jsonl",
            "{\"prompt\": \"One?\"}\r{\"prompt\": \"Two?\"}\n{\"prompt\": \"last\"\r}\r",
        ),
    ] {
        let outcome = read(name, content);
        assert_eq!(outcome.texts(), ["last"], "{name}");
        let (line, reason) = outcome.only_skip();
        assert_eq!(line, 1, "{name}");
        assert!(reason.contains("carriage return (\\r)"), "{reason}");
    }
    let outcome = read("p.csv", "prompt,id\rOne?,1\rTwo?\rThree?,3\r");
    assert_eq!(outcome.texts(), ["One?", "Three?"]);
    assert_eq!(outcome.only_skip().0, 3);
}
