//! What is no YAML, or none to one of its readers: a remedy that fits the mistake, at its place.

use amend::constitution::Code;

use super::{with, wrong};

#[test]
fn the_remedy_fits_the_mistake() {
    for (critique, words) in [
        ("Look for: rude words.", "put the text in quotes if a `: `"),
        ("@here is a name", "begins with this character in quotes"),
        ("%s is a format", "begins with this character in quotes"),
        ("`rude` words", "begins with this character in quotes"),
        ("**rude** words", "begins with `*` in quotes"),
        ("*nope", "needs its anchor (`&name`)"),
        ("? rude words", "begins with `? ` in quotes"),
        ("\"Rude\" words", "in quotes as a whole"),
        ("[rude] words", "must stand in quotes as a whole"),
        ("\"Rude words", "close the quotes"),
        ("[rude -, words]", "a `-` before a comma"),
        ("- rude words", "begins with `- ` in quotes"),
        ("| rude words", "on the line below the `|`"),
        ("& so on", "begins with `&` or `*`"),
        ("a\u{feff}b", "U+FEFF"),
        ("{{ response }} is rude", "begins with `{` or `[` in quotes"),
        ("\"\\d+ words\"", "single quotes"),
        ("\"\\ud83d\\ude00\"", "eight digits"),
    ] {
        let text = with("").replace("critique: c", &format!("critique: {critique}"));
        let (problems, message) = wrong(&text);
        assert!(message.contains(words), "{critique}: {message}");
        assert_eq!(problems.len(), 1, "{critique}: {message}");
    }
    let text = with("").replace("id: a", "id:\u{a0}a");
    assert!(wrong(&text).1.contains("no-break space"), "{text}");
}

#[test]
fn tabs_and_line_separators_are_shown_where_they_stand() {
    for (text, line, column) in [
        (with("\t\n"), 7, 1),
        (
            with("").replace("name: n\n", "name: n\n\t# comment\n"),
            3,
            1,
        ),
    ] {
        let (problems, message) = wrong(&text);
        assert_eq!(problems, [(Code::Syntax, line, column)], "{message}");
        assert!(message.contains("tab"), "{message}");
        assert!(!message.contains("quotes"), "{message}");
    }
    for (control, escape) in [
        ('\u{7}', "\\x07"),
        ('\u{7f}', "\\x7F"),
        ('\u{9b}', "\\x9B"),
        ('\u{ffff}', "\\uFFFF"),
    ] {
        let text = with("").replace("name: n", &format!("name: n # é{control}"));
        let (problems, message) = wrong(&text);
        assert_eq!(problems, [(Code::Syntax, 2, 12)], "{message}");
        assert!(message.contains(&format!("`{escape}`")), "{message}");
    }
    for separator in ['\u{85}', '\u{2028}', '\u{2029}'] {
        let critique = format!("critique: wörds{separator} more");
        let text = with("").replace("critique: c", &critique);
        let (problems, message) = wrong(&text);
        assert_eq!(problems, [(Code::Syntax, 5, 20)], "{message}");
        let number = format!("U+{:04X}", u32::from(separator));
        assert!(message.contains(&number), "{message}");
    }
}
