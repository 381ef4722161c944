//! `amend constitution new`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::write;
use crate::cli::Exit;
use crate::cli::exit::{say, usage};
use crate::constitution::{self, SHIPPED, schema_text};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution new                       constitution.yaml
  amend constitution new house-style           house-style.yaml, a commented starter
  amend constitution new mine --from hhh       mine.yaml, a copy of a shipped constitution
  amend constitution new house-style -o -      to stdout

schema.json is written beside the file, unless there is one, so that editors can check it.")]
pub struct Args {
    /// The name of the constitution; the file is NAME.yaml
    #[arg(default_value = "constitution", value_name = "NAME")]
    name: String,
    /// Copy a shipped constitution
    #[arg(long, value_name = "SHIPPED")]
    from: Option<String>,
    /// The file to write; `-` is stdout [default: NAME.yaml]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file when it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let stem = Path::new(&args.name);
    let is_yaml = stem.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let stem = if is_yaml {
        stem.file_stem()
    } else {
        stem.file_name()
    };
    let name = stem.and_then(|stem| stem.to_str()).unwrap_or_default();
    if name.trim().is_empty() {
        return Err(usage(anyhow!(
            "`{}` is not a name; write a word",
            args.name
        )));
    }
    let text = match &args.from {
        Some(from) => constitution::copy(shipped(from)?, Some(name)),
        None => constitution::starter(name),
    };
    let file = if is_yaml {
        args.name.clone()
    } else {
        format!("{}.yaml", args.name)
    };
    let path = args.output.unwrap_or_else(|| file.into());
    write(&path, &text, args.force)?;
    if path.as_os_str() == "-" {
        return Ok(Exit::Done);
    }
    say(&format!("wrote {}", path.display()));
    write_schema(&path)?;
    say(&format!("next: amend constitution lint {}", path.display()));
    Ok(Exit::Done)
}

/// Puts the schema beside a file, so that its first line leads somewhere. A file that is there is kept.
fn write_schema(beside: &Path) -> anyhow::Result<()> {
    let path = beside.with_file_name("schema.json");
    match fs::read_to_string(&path) {
        Ok(text) if text == schema_text() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            write(&path, &schema_text(), false)?;
            say(&format!("wrote {}", path.display()));
            Ok(())
        }
        _ => {
            say(&format!(
                "{} is another file or from another version, and was kept; \
                 `amend constitution schema` prints the schema of this one",
                path.display()
            ));
            Ok(())
        }
    }
}

fn shipped(name: &str) -> anyhow::Result<&'static constitution::Shipped> {
    SHIPPED.iter().find(|it| it.name == name).ok_or_else(|| {
        let names: Vec<_> = SHIPPED.iter().map(|it| it.name).collect();
        usage(anyhow!(
            "there is no shipped constitution `{name}`; there are {}",
            names.join(", ")
        ))
    })
}
