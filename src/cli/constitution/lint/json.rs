//! Findings as one JSON object.

use serde_json::{Value, json};

use super::{Findings, Shown, place};

/// All findings, and their counts.
pub fn report(findings: &Findings) -> anyhow::Result<String> {
    let listed: Vec<Value> = findings
        .found
        .iter()
        .map(|(shown, problem)| {
            let at = place(problem);
            json!({
                "code": problem.code.number(),
                "name": problem.code.as_str(),
                "severity": problem.code.level(),
                "denied": *shown == Shown::Denied,
                "file": problem.file.display().to_string(),
                "line": at.line,
                "column": at.column,
                "end_line": at.end_line,
                "end_column": at.end_column,
                "message": problem.message,
                "remedy": problem.remedy,
                "excerpt": findings.line(problem),
            })
        })
        .collect();
    let report = json!({
        "files": findings.files,
        "errors": findings.count(Shown::Error),
        "warnings": findings.count(Shown::Warning) + findings.count(Shown::Denied),
        "denied": findings.count(Shown::Denied),
        "findings": listed,
    });
    Ok(serde_json::to_string(&report)? + "\n")
}
