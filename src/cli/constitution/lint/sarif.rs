//! Findings as SARIF 2.1.0, which code hosts and editors read.

use std::path::{Component, Path};

use serde_json::{Value, json};

use super::{Findings, Shown, place};
use crate::constitution::lint::explanation;
use crate::constitution::{Code, Problem};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// A log with one run. Its rules are those that the run found something for.
pub fn report(findings: &Findings) -> anyhow::Result<String> {
    let mut codes: Vec<Code> = findings.found.iter().map(|found| found.1.code).collect();
    codes.sort_unstable();
    codes.dedup();
    let rules: Vec<Value> = codes.iter().map(|code| rule(*code)).collect();
    let results = findings.found.iter().map(|(shown, problem)| {
        let index = codes.binary_search(&problem.code).unwrap_or_default();
        result(*shown, problem, index, findings.context(problem))
    });
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "amend",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                },
            },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    });
    Ok(serde_json::to_string_pretty(&log)? + "\n")
}

fn rule(code: Code) -> Value {
    json!({
        "id": code.number(),
        "name": code.as_str(),
        "shortDescription": {"text": code.summary()},
        "fullDescription": {"text": explanation(code)},
        "defaultConfiguration": {"level": code.level()},
    })
}

fn result(shown: Shown, problem: &Problem, index: usize, context: Option<String>) -> Value {
    let mut place = json!({"artifactLocation": {"uri": uri(&problem.file)}});
    if problem.span.is_some() {
        let at = self::place(problem);
        place["region"] = json!({
            "startLine": at.line,
            "startColumn": at.column,
            "endLine": at.end_line,
            "endColumn": at.end_column,
        });
        if let Some(context) = context {
            place["contextRegion"] = json!({
                "startLine": at.line,
                "endLine": at.line + context.matches('\n').count(),
                "snippet": {"text": context},
            });
        }
    }
    json!({
        "ruleId": problem.code.number(),
        "ruleIndex": index,
        "level": shown.as_str(),
        "message": {"text": format!("{}; {}", problem.message, problem.remedy)},
        "locations": [{"physicalLocation": place}],
    })
}

/// A path as a URI reference: relative where the path is.
fn uri(path: &Path) -> String {
    let mut uri = String::new();
    if path.is_absolute() {
        uri.push_str("file://");
    }
    for component in path.components() {
        let text = match component {
            Component::RootDir => {
                uri.push('/');
                continue;
            }
            other => other.as_os_str().to_string_lossy(),
        };
        if !uri.is_empty() && !uri.ends_with('/') {
            uri.push('/');
        }
        for byte in text.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if plain {
                uri.push(char::from(byte));
            } else {
                uri.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uri_references() {
        assert_eq!(uri(Path::new("a b/c#é.yaml")), "a%20b/c%23%C3%A9.yaml");
        assert_eq!(uri(Path::new("/x/y.yaml")), "file:///x/y.yaml");
        assert_eq!(uri(Path::new("../y.yaml")), "../y.yaml");
    }
}
