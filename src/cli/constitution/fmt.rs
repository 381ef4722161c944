//! `amend constitution fmt`.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, anyhow};

use super::{print, print_data, read};
use crate::cli::Exit;
use crate::cli::exit::{say, usage};
use crate::constitution::layout::format;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution fmt house-style.yaml
  amend constitution fmt --check *.yaml
  amend constitution fmt - < draft.yaml > house-style.yaml

Keys get the order of the format, texts are wrapped at 100 columns, comments stay. What the file says, and
its digest, stays the same; a file with errors is not touched.

Exit codes: 0 done, 2 a file with errors, 4 --check found a file to be laid out.")]
pub struct Args {
    /// Files; `-` reads stdin and writes stdout
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Change nothing; name the files that would change
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let mut errors = Vec::new();
    for file in &args.files {
        let read = read(file).map_err(|error| format!("{error:#}"));
        let printed = read.and_then(|text| {
            let printed = format(Path::new(file), &text).map_err(|error| error.to_string())?;
            Ok((text, printed))
        });
        let (text, printed) = match printed {
            Ok(printed) => printed,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let same = printed == text;
        if args.check {
            if !same {
                print(&format!("{file}\n"))?;
                exit = Exit::CheckFailed;
            }
        } else if file == "-" {
            print_data(&printed)?;
        } else if !same {
            replace(Path::new(file), &printed)?;
            say(&format!("laid out {file}"));
        }
    }
    if errors.is_empty() {
        Ok(exit)
    } else {
        Err(usage(anyhow!("{}", errors.join("\n"))))
    }
}

/// Writes a file under another name and renames it, so that a half-written one never stands in its place.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = || -> io::Result<()> {
        // A link stays a link.
        let path = fs::canonicalize(path)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let beside = path.with_file_name(name);
        let result = fs::write(&beside, text)
            .and_then(|()| fs::set_permissions(&beside, fs::metadata(&path)?.permissions()))
            .and_then(|()| fs::rename(&beside, &path));
        if result.is_err() {
            let _ = fs::remove_file(&beside);
        }
        result
    };
    written().with_context(|| format!("{} cannot be written", path.display()))
}
