//! `amend view`: the pages of a store in a browser.

use std::io::Write;
use std::process::{Command, Stdio};

use tokio::signal::unix::{SignalKind, signal};

use super::exit::{say, usage};
use super::label::who;
use super::{DbArg, Exit, reproduce, runs};
use crate::engine::config::differences;
use crate::view::{Options, Server, ViewError};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend view                       the chains of amend.db; open the address that it prints
  amend view --open                the same, in the browser at once
  amend view --read-only           without labels
  amend view --db other.db --port 8080

The address holds a token, which is new each time: whoever knows it can read the store, and label. Only this
machine can reach the viewer. Ctrl-C ends it.")]
pub struct Args {
    #[command(flatten)]
    db: DbArg,
    /// The port on 127.0.0.1; 0 for any that is free
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    port: u16,
    /// Open the address in the browser
    #[arg(long)]
    open: bool,
    /// Refuse labels
    #[arg(long)]
    read_only: bool,
    /// Who labels [default: the user's name on this system]
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let options = Options {
        db: args.db.db.clone(),
        port: args.port,
        read_only: args.read_only,
        who: who::name(args.who.as_deref()),
        reproduce: Box::new(reproduce::chain),
        settings: Box::new(|first, second| {
            let found = differences(first, second).into_iter();
            found.map(|d| (d.setting, d.stored, d.now)).collect()
        }),
    };
    let server = Server::bind(options).map_err(failed)?;
    let url = server.url();
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{url}")?;
        out.flush()?;
    }
    if args.open {
        open(&url);
    }
    say("Ctrl-C ends the viewer.");
    server.run(interrupted()).map_err(failed)?;
    say("");
    Ok(Exit::Interrupted)
}

/// Done at the first Ctrl-C or SIGTERM. Where signals cannot be watched, they end the process as ever.
async fn interrupted() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let [Ok(mut int), Ok(mut term)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

/// Opens the address with the system's program for it.
fn open(url: &str) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let mut command = Command::new(program);
    command
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Err(error) = command.spawn() {
        say(&format!(
            "cannot run {program}: {error}; open the address yourself"
        ));
    }
}

fn failed(error: ViewError) -> anyhow::Error {
    match error {
        ViewError::Store(error) => runs::failed(error),
        ViewError::Listen { .. } => usage(error),
        error => error.into(),
    }
}
