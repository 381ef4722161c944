//! `amend report`: what the viewer shows, as one file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::chains::{ChainsArgs, Chosen};
use super::text::plural;
use super::{Exit, exit, stdout};
use crate::view::report::{self, HtmlOptions, ReportError, Scope};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend report -o report.html                         every chain of amend.db
  amend report --where revised:true -o revised.html   those that were revised
  amend report --run 3k9 --format md                  a summary for a pull request, on stdout

A report in HTML is one file that needs no server and fetches nothing: list, chains and constitutions as
`amend view` shows them, the filter included; labels can be read in it and not written.")]
pub struct Args {
    /// The file to write; `-` is stdout [default: report.html, and stdout for Markdown]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What to write [default: by the file's name; html]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
    /// The heading [default: one that names the constitution and the model]
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// How many revised chains a report in Markdown shows
    #[arg(long, value_name = "N", default_value_t = 5)]
    examples: usize,
    /// Leave out the messages that the model saw, in HTML
    #[arg(long)]
    without_messages: bool,
    /// Replace a file that is no report
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    chains: ChainsArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One page with all chains
    Html,
    /// A summary with a few chains
    Md,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let format = args
        .format
        .unwrap_or_else(|| by_name(args.output.as_deref()));
    let output = args.output.clone().unwrap_or_else(|| match format {
        Format::Html => "report.html".into(),
        Format::Md => "-".into(),
    });
    let Chosen { store, filter, run } = args.chains.open()?;
    let mut target = Target::open(&output, args.force)?;
    let title = match &args.title {
        Some(title) => title.clone(),
        None => report::title(&store, run.as_deref())?,
    };
    let scope = Scope {
        filter: &filter,
        run: run.as_deref(),
        title: &title,
    };
    // A run may write meanwhile, and figures and chains belong to each other.
    let written = store.at_one_moment(|| -> Result<u64, ReportError> {
        match format {
            Format::Html => {
                let options = HtmlOptions {
                    messages: !args.without_messages,
                    command: &super::reproduce::chain_by_file_names,
                };
                report::html(&store, &scope, &options, target.writer())
            }
            Format::Md => {
                let text = report::markdown(&store, &scope, args.examples)?;
                target.writer().write_all(text.as_bytes())?;
                Ok(store.count(&filter, run.as_deref())?)
            }
        }
    });
    let chains = written??;
    let bytes = match target {
        Target::Stdout(mut out) => out.flush().map(|()| None)?,
        target => target
            .finish()
            .with_context(|| format!("{} cannot be written", output.display()))?,
    };
    if chains == 0 {
        exit::say("no chain matches; the report is empty");
    }
    if let Some(bytes) = bytes {
        let size = bytes as f64 / 1e6;
        let chains = plural(chains, "chain");
        let line = format!("{chains}, {size:.1} MB: {}", output.display());
        stdout::or_closed(writeln!(stdout::styled(), "{line}"))
            .with_context(|| format!("{} is written", output.display()))?;
    }
    Ok(Exit::Done)
}

fn by_name(output: Option<&Path>) -> Format {
    let ending = output.and_then(Path::extension).and_then(|e| e.to_str());
    match ending {
        Some("md" | "markdown") => Format::Md,
        _ => Format::Html,
    }
}

/// Where a report goes: a file gets its name when it is complete.
enum Target {
    Stdout(BufWriter<stdout::Stdout<io::StdoutLock<'static>>>),
    /// A pipe or a device, which is written to as it is.
    Stream(BufWriter<File>),
    File {
        file: BufWriter<File>,
        unfinished: Unfinished,
        finished: PathBuf,
    },
}

/// A file under another name, which goes away unless it is finished.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_file(&self.0);
    }
}

impl Target {
    /// Only an earlier report is replaced, unless `force` is set.
    fn open(path: &Path, force: bool) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout(BufWriter::new(stdout::raw())));
        }
        // Where it is a link, what it leads to is replaced.
        let finished = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        match fs::metadata(&finished) {
            Ok(found) if found.is_dir() => {
                return Err(exit::usage(anyhow!(
                    "{} is a folder; name a file in it",
                    path.display()
                )));
            }
            Ok(found) if !found.is_file() => {
                let file = OpenOptions::new().write(true).open(&finished);
                let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
                return Ok(Self::Stream(BufWriter::new(file)));
            }
            Ok(_) if !force && !is_report(&finished) => {
                return Err(exit::usage(anyhow!(
                    "{} exists already and is no report; give another name, or --force to replace it",
                    path.display()
                )));
            }
            _ => {}
        }
        let name = finished.file_name().unwrap_or_default().to_string_lossy();
        let beside = format!(".{name}.{}.amend-unfinished", std::process::id());
        let unfinished = Unfinished(finished.with_file_name(beside));
        let file = File::create(&unfinished.0).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => exit::usage(anyhow!(
                "{} cannot be written: its folder does not exist; make the folder first",
                path.display()
            )),
            _ => anyhow::Error::new(error).context(format!("{} cannot be written", path.display())),
        })?;
        Ok(Self::File {
            file: BufWriter::new(file),
            unfinished,
            finished,
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(out) => out,
            Self::Stream(out) => out,
            Self::File { file, .. } => file,
        }
    }

    /// Gives the file its name; its size in bytes, where it is a file.
    fn finish(self) -> io::Result<Option<u64>> {
        match self {
            Self::Stdout(mut out) => out.flush().map(|()| None),
            Self::Stream(mut out) => out.flush().map(|()| None),
            Self::File {
                file,
                unfinished,
                finished,
            } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.sync_all()?;
                let bytes = file.metadata()?.len();
                fs::rename(&unfinished.0, &finished)?;
                Ok(Some(bytes))
            }
        }
    }
}

/// Whether a file begins as reports do. An empty one has nothing to lose.
fn is_report(path: &Path) -> bool {
    let longest = report::MARKS.iter().map(|mark| mark.len()).max();
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| {
        file.take(longest.unwrap_or(0) as u64)
            .read_to_end(&mut start)
    });
    let marked = || {
        report::MARKS
            .iter()
            .any(|mark| start.starts_with(mark.as_bytes()))
    };
    read.is_ok() && (start.is_empty() || marked())
}
