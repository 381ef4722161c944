//! A temporary folder to run `amend` in, and what it printed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A folder of its own for one test.
pub struct Place {
    folder: TempDir,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Place {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The program, in this folder, without anything of the caller's settings that it would heed.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_amend"));
        command
            .current_dir(self.folder.path())
            .args(args)
            .stdin(Stdio::null())
            .env_remove("AMEND_MODEL")
            .env_remove("AMEND_LOG")
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1");
        command
    }

    #[must_use]
    pub fn amend(&self, args: &[&str]) -> Outcome {
        let output = self.command(args).output().unwrap();
        Outcome {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code(),
        }
    }

    /// The arguments with which a command runs on the scripted backend.
    pub fn on_script<'a>(&self, args: &[&'a str]) -> Vec<&'a str> {
        let mut all = args.to_vec();
        all.extend(["--backend", "scripted"]);
        if self.path("script.yaml").exists() {
            all.extend(["--script", "script.yaml"]);
        }
        all
    }

    /// Runs on the scripted backend.
    #[must_use]
    pub fn scripted(&self, args: &[&str]) -> Outcome {
        self.amend(&self.on_script(args))
    }
}

impl Outcome {
    /// Asserts the exit code.
    pub fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    pub fn success(self) -> Self {
        self.code(0)
    }

    /// Asserts that stderr holds each of the texts, and no panic.
    pub fn complains(self, texts: &[&str]) -> Self {
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        for text in texts {
            assert!(
                self.stderr.contains(text),
                "no `{text}` in:\n{}",
                self.stderr
            );
        }
        self
    }

    /// The lines of stdout as JSON.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}
