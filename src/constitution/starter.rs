//! The file that a new constitution begins as.

use std::path::Path;

use super::layout;
use super::source::Shipped;

/// The first line of a file that an editor is to check against `schema.json` beside it.
pub const MODELINE: &str = "# yaml-language-server: $schema=./schema.json";

const STARTER: &str = include_str!("starter.yaml");

/// A commented constitution with this name, to be changed into one's own.
pub fn starter(name: &str) -> String {
    let text = STARTER.replacen("NAME", &quoted(name), 1);
    laid_out(format!("{MODELINE}\n{text}"))
}

/// As `fmt` lays it out, which decides on the quotes around a name.
fn laid_out(text: String) -> String {
    layout::format(Path::new("new.yaml"), &text).unwrap_or(text)
}

/// The text of a shipped constitution, under this name where one is given.
pub fn copy(shipped: &Shipped, name: Option<&str>) -> String {
    let mut text = shipped.text.to_owned();
    if let Some(name) = name {
        // Shipped files have their name on a line of its own; a test holds that it is found.
        let line = text.lines().find(|line| line.starts_with("name: "));
        if let Some(line) = line.map(str::to_owned) {
            text = text.replacen(&line, &format!("name: {}", quoted(name)), 1);
        }
    }
    if !text.contains("yaml-language-server:") {
        text = format!("{MODELINE}\n{text}");
    }
    laid_out(text)
}

/// A name as a YAML scalar: always in quotes, since a plain word such as `null` may stand for something
/// else than itself. Whoever lays the file out removes those that are not needed.
fn quoted(name: &str) -> String {
    // JSON texts are YAML.
    serde_json::Value::from(name).to_string()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::constitution::{SHIPPED, resolve};

    fn name_of(text: &str) -> String {
        let none = &mut |_: &Path| Err(io::ErrorKind::NotFound.into());
        let resolved = resolve(Path::new("c.yaml"), text, none);
        resolved.unwrap_or_else(|e| panic!("{e}")).constitution.name
    }

    #[test]
    fn new_files_resolve_under_the_name_they_were_given() {
        let taken = ["null", "Null", "NULL", "true", "yes", "1", "7"];
        let odd = ["mine", "a: b # \"c\"", "é\u{1}\n"];
        for name in taken.into_iter().chain(odd) {
            assert_eq!(name_of(&starter(name)), name.trim());
            for shipped in SHIPPED {
                let text = copy(shipped, Some(name));
                assert_eq!(name_of(&text), name.trim(), "{}", shipped.name);
                assert!(text.contains(MODELINE));
            }
        }
        for name in ["mine", "a b", "a.b", "日本", "yes", "1.0", "null", "NULL"] {
            let text = starter(name);
            assert_eq!(laid_out(text.clone()), text);
            assert_eq!(name_of(&text), name);
        }
        for name in ["a b", "mine"] {
            let plain = format!("\nname: {name}\n");
            assert!(starter(name).contains(&plain), "no needless quotes");
            for shipped in SHIPPED {
                let text = copy(shipped, Some(name));
                assert!(text.contains(&plain), "{}", shipped.name);
            }
        }
        for shipped in SHIPPED {
            assert_eq!(name_of(&copy(shipped, None)), name_of(shipped.text));
        }
    }
}
