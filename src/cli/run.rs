//! `amend run` and `amend resume`.

use super::Exit;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {}

/// Arguments of `resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {}

/// Runs `amend run`.
pub fn run(_args: RunArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("not there yet")
}

/// Runs `amend resume`.
pub fn resume(_args: ResumeArgs) -> anyhow::Result<Exit> {
    anyhow::bail!("not there yet")
}
