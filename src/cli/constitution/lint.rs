//! `amend constitution lint`.

mod json;
mod sarif;
mod text;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use anyhow::anyhow;

use super::{print, print_data};
use crate::cli::Exit;
use crate::cli::exit::usage;
use crate::constitution::lint::{explanation, lint};
use crate::constitution::{Code, Level, Problem, Span, lines};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution lint house-style.yaml
  amend constitution lint *.yaml --deny warnings
  amend constitution lint house-style.yaml --format sarif > lint.sarif
  amend constitution lint --explain C055

A comment silences a warning about the key before or behind which it stands; here, about the principle:
  - id: short          # amend: allow C050 no test needed
Before everything else in the file it is about the whole file.

Exit codes: 0 clean or only warnings, 2 an error, 4 a denied warning.")]
pub struct Args {
    /// Files, or the names of shipped constitutions
    #[arg(value_name = "FILE", required_unless_present = "explain")]
    files: Vec<String>,
    /// How to print what is found
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    /// Tell what a code means, and why it matters
    #[arg(long, value_name = "CODE", conflicts_with_all = ["files", "deny", "format"])]
    explain: Option<String>,
    /// Treat a warning as a check that did not hold: a code, a name, or `warnings` for all
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    deny: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people: the lines with their places underlined.
    Text,
    /// One object.
    Json,
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    if let Some(code) = &args.explain {
        print(&explained(parse(code)?))?;
        return Ok(Exit::Done);
    }
    let mut denied = Vec::new();
    for word in &args.deny {
        match word.as_str() {
            "warnings" | "all" => denied.extend(Code::all().filter(is_warning)),
            word => denied.push(parse(word)?),
        }
    }
    let findings = Findings::of(&args.files, &denied);
    match args.format {
        Format::Text => print(&text::report(&findings))?,
        Format::Json => print_data(&json::report(&findings)?)?,
        Format::Sarif => print_data(&sarif::report(&findings)?)?,
    }
    Ok(if findings.count(Shown::Error) > 0 {
        Exit::Usage
    } else if findings.count(Shown::Denied) > 0 {
        Exit::CheckFailed
    } else {
        Exit::Done
    })
}

fn is_warning(code: &Code) -> bool {
    code.level() == Level::Warning
}

fn parse(word: &str) -> anyhow::Result<Code> {
    Code::parse(word).ok_or_else(|| {
        let listed = Code::all().map(|code| format!("  {}  {}", code.number(), code.as_str()));
        let listed = listed.collect::<Vec<_>>().join("\n");
        usage(anyhow!("there is no code `{word}`; there are\n{listed}"))
    })
}

fn explained(code: Code) -> String {
    let (number, name) = (code.number(), code.as_str());
    let level = code.level().as_str();
    let summary = code.summary();
    let mut page = format!("{number} {name} ({level})\n\n{summary}\n");
    for paragraph in explanation(code).split("\n\n") {
        page.push('\n');
        // Examples keep their lines.
        if paragraph.starts_with(' ') {
            page.push_str(paragraph);
            page.push('\n');
        } else {
            wrap(paragraph, &mut page);
        }
    }
    page
}

/// Appends prose in lines of at most 80 characters.
fn wrap(prose: &str, page: &mut String) {
    const WIDTH: usize = 80;
    let mut used = 0;
    for word in prose.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > WIDTH {
            page.push('\n');
            used = 0;
        }
        if used > 0 {
            page.push(' ');
            used += 1;
        }
        page.push_str(word);
        used += length;
    }
    page.push('\n');
}

/// How a finding counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Error,
    /// A warning that `--deny` names.
    Denied,
    Warning,
}

impl Shown {
    fn as_str(self) -> &'static str {
        match self {
            Shown::Error | Shown::Denied => "error",
            Shown::Warning => "warning",
        }
    }
}

/// What linting several files found.
struct Findings {
    files: usize,
    found: Vec<(Shown, Problem)>,
    /// The lines of the files that were read.
    lines: BTreeMap<PathBuf, Vec<String>>,
}

impl Findings {
    fn of(files: &[String], denied: &[Code]) -> Self {
        let mut findings = Self {
            files: files.len(),
            found: Vec::new(),
            lines: BTreeMap::new(),
        };
        // Two files may extend a third one that is at fault.
        let mut seen = HashSet::new();
        for file in files {
            let report = lint(file);
            for problem in report.problems {
                let shown = match problem.code.level() {
                    Level::Error => Shown::Error,
                    Level::Warning if denied.contains(&problem.code) => Shown::Denied,
                    Level::Warning => Shown::Warning,
                };
                if seen.insert(problem.clone()) {
                    findings.found.push((shown, problem));
                }
            }
            for (file, text) in report.texts {
                let split = || lines(&text).into_iter().map(str::to_owned).collect();
                findings.lines.entry(file).or_insert_with(split);
            }
        }
        findings
    }

    fn count(&self, shown: Shown) -> usize {
        self.found.iter().filter(|found| found.0 == shown).count()
    }

    /// The lines of what a problem is about, where they are known and few.
    fn context(&self, problem: &Problem) -> Option<String> {
        const MOST: usize = 20;
        let at = place(problem);
        let count = at.end_line.saturating_sub(at.line) + 1;
        let lines = self.lines.get(&problem.file)?;
        let lines = lines.get(at.line.checked_sub(1)?..)?;
        let few = count <= MOST && !lines.is_empty();
        few.then(|| lines[..count.min(lines.len())].join("\n"))
    }

    /// The first line of what a problem is about, without its line end.
    fn line(&self, problem: &Problem) -> &str {
        let lines = self.lines.get(&problem.file);
        let line = lines.and_then(|lines| lines.get(place(problem).line.wrapping_sub(1)));
        line.map_or("", String::as_str)
    }
}

/// Where a problem is; the start of the file where the file as a whole is at fault.
fn place(problem: &Problem) -> Span {
    problem.span.unwrap_or(Span::point(1, 1))
}
