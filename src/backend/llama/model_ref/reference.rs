//! How a model reference is written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::ModelRefError;

/// Which model is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelRef {
    /// A file on disk.
    Path(PathBuf),
    /// The small model that amend's own demo and tests use.
    Default,
    /// A file of a repository on the Hugging Face Hub.
    Hub {
        /// `owner/name`.
        repo: String,
        /// Quantisation tag, such as `Q4_K_M`; never together with `file`.
        quant: Option<String>,
        /// Path of the file within the repository.
        file: Option<String>,
        /// Branch, tag or commit; `main` where there is none.
        revision: Option<String>,
    },
}

const FORMS: &str = "write a path, `default`, hf:owner/repo[:QUANT] or hf:owner/repo/file.gguf (owner/repo@REVISION names a revision)";

impl ModelRef {
    /// Reads what stands after `--model`.
    ///
    /// # Errors
    /// [`ModelRefError::Reference`], saying what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, ModelRefError> {
        if text == "default" {
            return Ok(Self::Default);
        }
        if let Some(rest) = text.strip_prefix("hf:") {
            return parse_hub(rest).map_err(|detail| bad(text, &detail));
        }
        if text.is_empty() {
            return Err(bad(text, "it is empty, or AMEND_MODEL is"));
        }
        if text.contains("://") {
            return Err(bad(text, "web addresses are not fetched"));
        }
        Ok(Self::Path(PathBuf::from(text)))
    }

    /// Reads what stands after `--hf-repo`: `owner/repo[:QUANT]`, with or without `hf:`.
    ///
    /// # Errors
    /// As [`ModelRef::parse`].
    pub fn from_hf_repo(text: &str) -> Result<Self, ModelRefError> {
        let rest = text.strip_prefix("hf:").unwrap_or(text);
        parse_hub(rest).map_err(|detail| bad(text, &detail))
    }
}

impl FromStr for ModelRef {
    type Err = ModelRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Default => f.write_str("default"),
            Self::Hub {
                repo,
                quant,
                file,
                revision,
            } => {
                write!(f, "hf:{repo}")?;
                if let Some(revision) = revision {
                    write!(f, "@{revision}")?;
                }
                if let Some(quant) = quant {
                    write!(f, ":{quant}")?;
                }
                if let Some(file) = file {
                    write!(f, "/{file}")?;
                }
                Ok(())
            }
        }
    }
}

fn bad(text: &str, detail: &str) -> ModelRefError {
    ModelRefError::Reference {
        text: text.chars().flat_map(char::escape_debug).collect(),
        detail: format!("{detail}; {FORMS}"),
    }
}

fn parse_hub(text: &str) -> Result<ModelRef, String> {
    let (owner, rest) = text
        .split_once('/')
        .ok_or_else(|| "the repository has the form owner/name".to_owned())?;
    let (head, file) = match rest.split_once('/') {
        None => (rest, None),
        Some((head, file)) => (head, Some(file)),
    };
    let (head, quant) = match head.split_once(':') {
        None => (head, None),
        Some((head, quant)) => (head, Some(quant)),
    };
    let (name, revision) = match head.split_once('@') {
        None => (head, None),
        Some((name, revision)) => (name, Some(revision)),
    };
    for (part, what) in [(owner, "owner"), (name, "name")] {
        if !is_repo_part(part) {
            return Err(format!(
                "`{}` cannot be the {what} of a repository",
                part.escape_debug()
            ));
        }
    }
    if revision.is_some_and(|revision| !is_repo_part(revision)) {
        return Err("the revision must be a branch, a tag or a commit without `/`".to_owned());
    }
    if quant.is_some_and(|quant| !is_tag(quant)) {
        return Err("a quantisation is written like Q4_K_M".to_owned());
    }
    if let Some(file) = file {
        if quant.is_some() {
            return Err("give either a quantisation or a file".to_owned());
        }
        if !file.to_ascii_lowercase().ends_with(".gguf") || !is_safe_file(file) {
            return Err("the file must be a .gguf file within the repository".to_owned());
        }
    }
    Ok(ModelRef::Hub {
        repo: format!("{owner}/{name}"),
        quant: quant.map(str::to_owned),
        file: file.map(str::to_owned),
        revision: revision.map(str::to_owned),
    })
}

/// The Hub's rule for names. It also keeps them from leaving the cache folder.
fn is_repo_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty()
        && part.len() <= 96
        && part.chars().all(plain)
        && !part.starts_with(['.', '-'])
        && !part.contains("..")
        && !part.contains("--")
}

fn is_tag(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= 64 && text.chars().all(plain)
}

/// True when a path within a repository stays within it, on any system.
pub(super) fn is_safe_file(file: &str) -> bool {
    !file.is_empty()
        && file.len() <= 1024
        && !file.contains(['\\', ':'])
        && !file.chars().any(char::is_control)
        && file
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

/// What a path that does not exist may have been meant to be, or how a model is named.
pub(super) fn hint(path: &Path) -> String {
    let text = path.to_string_lossy();
    let looks_like_repo = !path.is_absolute()
        && path.components().count() == 2
        && !text.to_ascii_lowercase().ends_with(".gguf")
        && parse_hub(&text).is_ok();
    if looks_like_repo {
        format!("; for a repository on the Hub write hf:{text}")
    } else {
        "; check the path, or name `default` or hf:OWNER/REPO".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(text: &str) -> (String, Option<String>, Option<String>, Option<String>) {
        match ModelRef::parse(text).unwrap() {
            ModelRef::Hub {
                repo,
                quant,
                file,
                revision,
            } => (repo, quant, file, revision),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_forms_are_read_and_written_back() {
        assert_eq!(ModelRef::parse("default").unwrap(), ModelRef::Default);
        assert_eq!(
            ModelRef::parse("models/a.gguf").unwrap(),
            ModelRef::Path("models/a.gguf".into())
        );
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(hub("hf:o/r"), ("o/r".into(), None, None, None));
        assert_eq!(hub("hf:o/r:Q8_0"), ("o/r".into(), some("Q8_0"), None, None));
        assert_eq!(
            hub("hf:o/r@v1.0:Q8_0"),
            ("o/r".into(), some("Q8_0"), None, some("v1.0"))
        );
        assert_eq!(
            hub("hf:o/r/sub/a-00001-of-00002.gguf"),
            ("o/r".into(), None, some("sub/a-00001-of-00002.gguf"), None)
        );
        for text in [
            "default",
            "a/b.gguf",
            "hf:o/r",
            "hf:o/r@v1:Q4_0",
            "hf:o/r@v1/a.gguf",
        ] {
            assert_eq!(ModelRef::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            ModelRef::from_hf_repo("o/r:Q4_K_M").unwrap(),
            ModelRef::parse("hf:o/r:Q4_K_M").unwrap()
        );
    }

    #[test]
    fn what_is_not_a_reference_is_refused_with_the_forms() {
        for text in [
            "",
            "hf:",
            "hf:onlyname",
            "hf:o/r:",
            "hf:o/r:Q4 0",
            "hf:o/r@:Q4_0",
            "hf:../../etc",
            "hf:o/..",
            "hf:o/.hidden",
            "hf:o/a--b",
            "hf:o/r/../../x.gguf",
            "hf:o/r//x.gguf",
            "hf:o/r/x.bin",
            "hf:o/r:Q4_0/x.gguf",
            "hf:o/r\n",
            "https://example.org/x.gguf",
        ] {
            let message = ModelRef::parse(text).unwrap_err().to_string();
            assert!(message.contains("hf:owner/repo"), "{text:?}: {message}");
            assert!(!message.contains('\n'), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_missing_path_gets_a_hint() {
        assert!(hint(Path::new("owner/model-GGUF")).contains("hf:owner/model-GGUF"));
        for path in ["models/a.gguf", "/owner/model"] {
            assert!(
                hint(Path::new(path)).starts_with("; check the path"),
                "{path}"
            );
        }
    }
}
