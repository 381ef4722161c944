//! Writing an edited text in the person's own editor.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::cli::exit::usage;
use crate::store::ChainDetail;

/// Opens the chain's text (an earlier edit, else the final text) in `$VISUAL` or `$EDITOR`, and gives back
/// what the person made of it.
pub fn edit(chain: &ChainDetail) -> Result<String> {
    let row = &chain.row;
    let before = row.chosen.as_deref().or(row.last.as_deref()).unwrap_or("");
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        bail!(usage(anyhow!(
            "an edit needs a text: edit \"…\", or --file; an editor is opened on a terminal only"
        )));
    }
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        (!value.trim().is_empty()).then_some(value)
    });
    let Some(editor) = editor else {
        bail!(usage(anyhow!(
            "no editor is set; set EDITOR, or give the text: edit \"…\", or --file"
        )));
    };
    let file = Draft::new(before)?;
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), &editor])
        .arg(&file.0)
        .status()
        .with_context(|| format!("cannot start {editor}"))?;
    if !status.success() {
        bail!("{editor} ended with {status}; nothing was labelled");
    }
    let after = file.read()?;
    // Editors end the last line; the model often does not.
    let after = match before.ends_with('\n') {
        true => after.as_str(),
        false => after.strip_suffix('\n').unwrap_or(&after),
    };
    if after == before {
        bail!("the text was not changed; nothing was labelled");
    }
    Ok(after.to_owned())
}

/// A file for the editor, removed when it is done with.
struct Draft(PathBuf);

impl Draft {
    fn new(text: &str) -> Result<Self> {
        let name = format!("amend-edit-{}.txt", std::process::id());
        let path = std::env::temp_dir().join(name);
        let write = |path: &Path| {
            let mut options = OpenOptions::new();
            // Never a file, or a link to one, that is there already.
            let mut file = options.write(true).create_new(true).open(path)?;
            file.write_all(text.as_bytes())
        };
        write(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path))
    }

    fn read(&self) -> Result<String> {
        std::fs::read_to_string(&self.0)
            .with_context(|| format!("cannot read {}", self.0.display()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A file that stays behind is litter and no fault.
        let _ = std::fs::remove_file(&self.0);
    }
}
