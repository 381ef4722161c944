//! LoRA adapters on the command line: which files, how strongly, for which steps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::backend::llama::AdapterOptions;
use crate::backend::llama::gguf;
use crate::chain::StepKind;

use super::exit::usage;

/// Which adapters.
#[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Adapters")]
pub struct LoraArgs {
    /// A LoRA adapter for every step that --role gives none: a GGUF file, with its scale behind a colon
    #[arg(long, value_name = "FILE[:SCALE]")]
    #[serde(default)]
    pub lora: Option<String>,
    /// The same, with the scale as a second value
    #[arg(long, num_args = 2, value_names = ["FILE", "SCALE"], conflicts_with = "lora")]
    #[serde(default)]
    pub lora_scaled: Option<Vec<String>>,
    /// The adapter of one kind of step: draft, critique (rechecks too), revision or recheck
    #[arg(long = "role", value_name = "STEP=FILE[:SCALE]", value_parser = role_form)]
    #[serde(default)]
    pub roles: Vec<String>,
}

/// An adapter that was asked for: its file and its scale.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    path: PathBuf,
    scale: f32,
}

/// What the options come to.
#[derive(Clone, Debug, Default)]
pub struct Adapters {
    /// What the backend loads.
    pub load: Vec<AdapterOptions>,
    /// The adapter of each kind of step that does not get the common one, by the backend's name for it.
    pub roles: BTreeMap<StepKind, String>,
}

impl LoraArgs {
    /// Whether any adapter is asked for.
    pub fn any(&self) -> bool {
        self.lora.is_some() || self.lora_scaled.is_some() || !self.roles.is_empty()
    }

    /// Makes the paths absolute, so that a run can be resumed from another folder.
    pub fn absolute(&mut self, full: impl Fn(&Path) -> PathBuf) {
        let spell = |text: &str| match parse(text) {
            Ok(asked) => format!("{}:{}", full(&asked.path).display(), asked.scale),
            Err(_) => text.to_owned(),
        };
        self.lora = self.lora.as_deref().map(spell);
        if let Some([path, _]) = self.lora_scaled.as_deref_mut() {
            *path = full(Path::new(path)).display().to_string();
        }
        for role in &mut self.roles {
            if let Some((step, file)) = role.split_once('=') {
                *role = format!("{step}={}", spell(file));
            }
        }
    }

    /// Reads what was asked for, without loading anything.
    pub fn resolve(&self) -> anyhow::Result<Adapters> {
        let mut adapters = Adapters::default();
        let common = match (&self.lora, self.lora_scaled.as_deref()) {
            (Some(text), _) => Some(parse(text)?),
            (None, Some([path, scale])) => Some(Asked {
                path: path.into(),
                scale: parse_scale(scale)?,
            }),
            _ => None,
        };
        if let Some(asked) = &common {
            adapters.load.push(option(asked, false)?);
        }
        let mut roles = Vec::new();
        for role in &self.roles {
            let (steps, file) = parse_role(role).map_err(|error| usage(anyhow!(error)))?;
            if roles.iter().any(|(known, _)| *known == steps) {
                bail!(usage(anyhow!(
                    "--role {role}: another --role gives these steps an adapter already"
                )));
            }
            roles.push((steps, file));
        }
        // What names one step says more than what names two, wherever it stands.
        roles.sort_by_key(|(steps, _)| std::cmp::Reverse(steps.len()));
        for (steps, file) in roles {
            let found = option(&parse(file)?, true)?;
            let same = |known: &&AdapterOptions| {
                (&known.digest, known.scale) == (&found.digest, found.scale)
            };
            // Loaded twice, one adapter's steps would share no cache.
            let known = adapters.load.iter().find(same);
            let name = known.unwrap_or(&found).name.clone();
            for step in steps {
                match &name {
                    Some(name) => adapters.roles.insert(*step, name.clone()),
                    None => adapters.roles.remove(step),
                };
            }
            if known.is_none() {
                adapters.load.push(found);
            }
        }
        Ok(adapters)
    }
}

/// An adapter for the backend; a named one is asked for by requests, the other serves all that name none.
fn option(asked: &Asked, named: bool) -> anyhow::Result<AdapterOptions> {
    if !asked.path.is_file() {
        bail!(usage(anyhow!(
            "{}: no such LoRA adapter; give a GGUF file, as llama.cpp's convert_lora_to_gguf.py writes it",
            asked.path.display()
        )));
    }
    let digest = gguf::digest(&asked.path)?;
    Ok(AdapterOptions {
        name: named.then(|| format!("{digest} × {}", asked.scale)),
        path: asked.path.clone(),
        digest,
        scale: asked.scale,
    })
}

fn parse(text: &str) -> anyhow::Result<Asked> {
    // A path may hold colons; what stands behind the last one is a scale when it is a number.
    let scaled = text
        .rsplit_once(':')
        .filter(|(path, scale)| !path.is_empty() && scale.trim().parse::<f32>().is_ok());
    Ok(match scaled {
        Some((path, scale)) => Asked {
            path: path.into(),
            scale: parse_scale(scale)?,
        },
        None => Asked {
            path: text.into(),
            scale: 1.0,
        },
    })
}

fn parse_scale(text: &str) -> anyhow::Result<f32> {
    text.trim()
        .parse::<f32>()
        .ok()
        .filter(|scale| scale.is_finite())
        .ok_or_else(|| {
            usage(anyhow!(
                "`{text}` is no scale of an adapter; give a number, such as 0.5"
            ))
        })
}

/// The steps that a role names, and its file.
fn parse_role(text: &str) -> Result<(&'static [StepKind], &str), String> {
    let form = || {
        format!(
            "`{text}`: must be STEP=FILE, with draft, critique, revision or recheck for the step"
        )
    };
    let (step, file) = text.split_once('=').ok_or_else(form)?;
    let steps: &[StepKind] = match step {
        "draft" => &[StepKind::Draft],
        "critique" => &[StepKind::Critique, StepKind::Recheck],
        "revision" => &[StepKind::Revision],
        "recheck" => &[StepKind::Recheck],
        _ => return Err(form()),
    };
    if file.is_empty() {
        return Err(form());
    }
    Ok((steps, file))
}

fn role_form(text: &str) -> Result<String, String> {
    parse_role(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_stands_behind_the_last_colon() {
        let parsed = |text| parse(text).map(|asked| (asked.path, asked.scale)).unwrap();
        assert_eq!(parsed("a.gguf"), ("a.gguf".into(), 1.0));
        assert_eq!(parsed("a.gguf:0.5"), ("a.gguf".into(), 0.5));
        assert_eq!(parsed("c:/a.gguf"), ("c:/a.gguf".into(), 1.0));
        assert_eq!(parsed("c:/a.gguf:2"), ("c:/a.gguf".into(), 2.0));
        assert!(parse("a.gguf:inf").is_err());
    }

    #[test]
    fn a_role_names_steps_and_a_file() {
        assert_eq!(
            parse_role("draft=a=b.gguf"),
            Ok((&[StepKind::Draft][..], "a=b.gguf"))
        );
        for bad in ["draft", "judge=a.gguf", "draft="] {
            assert!(parse_role(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_adapter_is_loaded_once_and_a_step_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            path.display().to_string()
        });
        let resolve = |lora: &str, roles: &[String]| {
            let args = LoraArgs {
                lora: Some(lora.to_owned()),
                roles: roles.to_vec(),
                ..LoraArgs::default()
            };
            args.resolve()
        };
        let critique = format!("critique={other}");
        let roles = [
            format!("recheck={one}"),
            critique.clone(),
            format!("draft={one}:1"),
        ];
        let adapters = resolve(&one, &roles).unwrap();
        assert_eq!(adapters.load.len(), 2);
        // What names the common adapter needs no role.
        let steps: Vec<StepKind> = adapters.roles.into_keys().collect();
        assert_eq!(steps, [StepKind::Critique]);
        // Another scale makes another adapter.
        let adapters = resolve(&one, &[format!("draft={one}:0")]).unwrap();
        assert_eq!((adapters.load.len(), adapters.roles.len()), (2, 1));
        let twice = resolve(&one, &[critique.clone(), critique]).unwrap_err();
        assert!(twice.to_string().contains("already"), "{twice}");
    }

    #[test]
    fn a_file_that_is_not_there_is_told() {
        let args = LoraArgs {
            lora: Some("nowhere.gguf:0.5".to_owned()),
            ..LoraArgs::default()
        };
        let error = args.resolve().unwrap_err().to_string();
        assert!(
            error.starts_with("nowhere.gguf: no such LoRA adapter"),
            "{error}"
        );
    }
}
