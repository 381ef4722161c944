//! `amend completions`, `amend man` and `amend --list-devices`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;

use crate::backend::llama;

use super::{Cli, Exit, stdout};

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend completions bash > ~/.local/share/bash-completion/completions/amend
  amend completions zsh > ~/.zfunc/_amend")]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend man --out ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The folder to write the pages to; made when it does not exist
    #[arg(long, default_value = "man", value_name = "DIR")]
    out: PathBuf,
}

/// Runs `amend --list-devices`.
pub fn list_devices() -> anyhow::Result<Exit> {
    let mut out = stdout::raw();
    for device in llama::devices()? {
        let (total, free) = device.memory;
        let memory = match total {
            0 => String::new(),
            _ => format!(", {} MiB, {} MiB free", total >> 20, free >> 20),
        };
        writeln!(out, "{}: {}{memory}", device.name, device.description)?;
    }
    Ok(Exit::Done)
}

/// Runs `amend completions`.
pub fn completions(args: CompletionsArgs) -> anyhow::Result<Exit> {
    // Rendered first, so that a closed stdout is an error here and not a panic inside clap.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "amend", &mut script);
    let mut out = stdout::raw();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// Runs `amend man`.
pub fn man(args: ManArgs) -> anyhow::Result<Exit> {
    let failed = || format!("cannot write man pages to {}", args.out.display());
    std::fs::create_dir_all(&args.out).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.out).with_context(failed)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_shows_examples() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            let help = command.get_after_long_help();
            let help = help.or_else(|| command.get_after_help());
            let shown = help.is_some_and(|help| help.to_string().contains("Examples:\n"));
            assert!(shown, "{}", command.get_name());
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
