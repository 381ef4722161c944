//! `amend view`: the pages of a store in a browser.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::signal::unix::{SignalKind, signal};

use super::exit::{say, usage};
use super::label::who;
use super::{DbArg, Exit, reproduce, runs, stdout};
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
        let mut out = stdout::raw();
        writeln!(out, "{url}")?;
        out.flush()?;
    }
    let _door = args.open.then(|| open(&url, &args.db.db)).flatten();
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

/// A page that leads to the viewer and goes away with it. Everybody on a machine sees the arguments of its
/// programs, so the token stands in a file that nobody else can read.
struct Door(PathBuf);

impl Door {
    fn make(url: &str, db: &Path) -> io::Result<Self> {
        let hash = blake3::hash(url.as_bytes()).to_hex();
        let name = format!("amend-view-{}.html", &hash[..16]);
        let page = format!(
            "<!doctype html>\n<meta charset=\"utf-8\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
             <meta http-equiv=\"refresh\" content=\"0;url={url}\">\n<title>Amend</title>\n\
             <p><a href=\"{url}\">Open the viewer</a></p>\n"
        );
        let write = |folder: &Path| -> io::Result<Self> {
            let path = std::path::absolute(folder.join(&name))?;
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(&path)?;
            let door = Self(path);
            file.write_all(page.as_bytes())?;
            Ok(door)
        };
        // Browsers that are kept apart from the system often read what people have, and not what is temporary.
        let beside = db.parent().unwrap_or(Path::new(""));
        write(beside).or_else(|_| write(&std::env::temp_dir()))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Opens the address with the system's program for it; what leads there must stay until the viewer ends.
fn open(url: &str, db: &Path) -> Option<Door> {
    let door = Door::make(url, db);
    let door = match door {
        Ok(door) => door,
        Err(error) => {
            say(&format!(
                "cannot write a page for the browser: {error}; open the address yourself"
            ));
            return None;
        }
    };
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let mut command = Command::new(program);
    command
        .arg(&door.0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Err(error) = command.spawn() {
        say(&format!(
            "cannot run {program}: {error}; open the address yourself"
        ));
        return None;
    }
    Some(door)
}

fn failed(error: ViewError) -> anyhow::Error {
    match error {
        ViewError::Store(error) => runs::failed(error),
        ViewError::Listen { .. } => usage(error),
        error => error.into(),
    }
}
