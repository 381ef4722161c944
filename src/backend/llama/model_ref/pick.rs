//! Chooses among the files of a repository. Pure.

use std::path::{Path, PathBuf};

/// Tried in this order when no quantisation is asked for: the usual trade-off first.
const PREFERRED: [&str; 3] = ["Q4_K_M", "Q4_0", "Q8_0"];

/// Why no file could be chosen; each holds the files to choose from.
#[derive(Debug, PartialEq)]
pub(super) enum PickError {
    /// Nothing fits.
    Absent(Vec<String>),
    /// Several fit.
    Ambiguous(Vec<String>),
}

/// The model file that a quantisation tag means; of a split model, its first part.
pub(super) fn pick(files: &[String], quant: Option<&str>) -> Result<String, PickError> {
    let models = models(files);
    if let Some(quant) = quant {
        return tagged(&models, quant)?.ok_or(PickError::Absent(models));
    }
    for quant in PREFERRED {
        if let Some(found) = tagged(&models, quant)? {
            return Ok(found);
        }
    }
    models.first().cloned().ok_or(PickError::Absent(models))
}

/// The GGUF files that are models, sorted; of split ones, the first parts.
pub(super) fn models(files: &[String]) -> Vec<String> {
    let mut models: Vec<String> = files
        .iter()
        .filter(|file| {
            let name = base(file).to_ascii_lowercase();
            name.ends_with(".gguf")
                && !name.contains("mmproj")
                && !name.contains("imatrix")
                && split(file).is_none_or(|split| split.number == 1)
        })
        .cloned()
        .collect();
    models.sort();
    models.dedup();
    models
}

/// The one model with the tag. A whole tag comes before a tag that goes on: `Q4_K` means `Q4_K_M` only
/// where there is no plain `Q4_K`.
fn tagged(models: &[String], quant: &str) -> Result<Option<String>, PickError> {
    for whole in [true, false] {
        let fitting: Vec<String> = models
            .iter()
            .filter(|file| has_tag(file, quant, whole))
            .cloned()
            .collect();
        match fitting.as_slice() {
            [] => {}
            [one] => return Ok(Some(one.clone())),
            _ => return Err(PickError::Ambiguous(fitting)),
        }
    }
    Ok(None)
}

fn has_tag(file: &str, quant: &str, whole: bool) -> bool {
    let file = file.to_ascii_uppercase();
    let quant = quant.to_ascii_uppercase();
    file.match_indices(&quant).any(|(start, found)| {
        let before = file[..start].chars().next_back();
        let after = file[start + found.len()..].chars().next();
        before.is_none_or(|c| !c.is_alphanumeric())
            && !after.is_some_and(|c| c.is_alphanumeric() || (whole && c == '_'))
    })
}

fn base(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}

/// What the name of a split file says.
struct Split<'a> {
    stem: &'a str,
    number: u32,
    count: u32,
    extension: &'a str,
}

/// Reads `stem-00001-of-00003.gguf`.
fn split(file: &str) -> Option<Split<'_>> {
    let cut = file.len().checked_sub(5)?;
    let (stem, extension) = file.split_at_checked(cut)?;
    if !extension.eq_ignore_ascii_case(".gguf") {
        return None;
    }
    let five = |text: &str| {
        (text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<u32>().ok())
            .flatten()
    };
    let (stem, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let (number, count) = (five(number)?, five(count)?);
    (number >= 1 && number <= count).then_some(Split {
        stem,
        number,
        count,
        extension,
    })
}

/// All files of the model that a file belongs to, in order.
pub(super) fn split_names(file: &str) -> Vec<String> {
    match split(file) {
        None => vec![file.to_owned()],
        Some(split) => (1..=split.count)
            .map(|number| {
                format!(
                    "{}-{number:05}-of-{:05}{}",
                    split.stem, split.count, split.extension
                )
            })
            .collect(),
    }
}

/// The files that make up the model whose first part is given; only the file itself when it is not the
/// first part of a split model.
pub fn split_parts(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(|name| Some((name, split(name)?))) {
        Some((name, split)) if split.number == 1 => split_names(name)
            .into_iter()
            .map(|name| path.with_file_name(name))
            .collect(),
        _ => vec![path.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_tag_is_found_whatever_its_case_and_neighbours() {
        let files = files(&[
            "README.md",
            "m-IQ4_XS.gguf",
            "m-Q4_K_M.gguf",
            "m-Q4_K_S.gguf",
            "m.q8_0.gguf",
            "m-BF16.gguf",
            "m-F16.gguf",
            "mmproj-m-Q8_0.gguf",
        ]);
        let pick = |quant| pick(&files, Some(quant));
        assert_eq!(pick("q4_k_m").unwrap(), "m-Q4_K_M.gguf");
        assert_eq!(pick("Q8_0").unwrap(), "m.q8_0.gguf");
        assert_eq!(pick("F16").unwrap(), "m-F16.gguf");
        assert_eq!(pick("IQ4_XS").unwrap(), "m-IQ4_XS.gguf");
        assert!(matches!(pick("Q4_XS"), Err(PickError::Absent(all)) if all.len() == 6));
        assert!(matches!(pick("Q4_K"), Err(PickError::Ambiguous(two)) if two.len() == 2));
    }

    #[test]
    fn without_a_tag_the_usual_order_decides() {
        let order = ["a-Q2_K.gguf", "a-Q8_0.gguf", "a-Q4_0.gguf", "a-Q4_K_M.gguf"];
        for (count, expected) in [
            (4, "a-Q4_K_M.gguf"),
            (3, "a-Q4_0.gguf"),
            (2, "a-Q8_0.gguf"),
            (1, "a-Q2_K.gguf"),
        ] {
            assert_eq!(pick(&files(&order[..count]), None).unwrap(), expected);
        }
        assert_eq!(
            pick(&files(&["README.md", "mmproj-F16.gguf"]), None),
            Err(PickError::Absent(vec![]))
        );
        let two = files(&["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"]);
        assert_eq!(pick(&two, None), Err(PickError::Ambiguous(two.clone())));
    }

    #[test]
    fn split_files_count_once_and_name_all_parts() {
        let files = files(&[
            "Q4_K_M/m-00002-of-00002.gguf",
            "Q4_K_M/m-00001-of-00002.gguf",
            "Q8_0/m-00001-of-00003.gguf",
        ]);
        let first = pick(&files, Some("Q4_K_M")).unwrap();
        assert_eq!(first, "Q4_K_M/m-00001-of-00002.gguf");
        assert_eq!(
            split_names(&first),
            [
                "Q4_K_M/m-00001-of-00002.gguf",
                "Q4_K_M/m-00002-of-00002.gguf"
            ]
        );
        assert_eq!(split_names("m-Q4_0.gguf"), ["m-Q4_0.gguf"]);
        assert_eq!(
            split_parts(Path::new("/x/m-00001-of-00002.gguf")),
            [
                Path::new("/x/m-00001-of-00002.gguf"),
                Path::new("/x/m-00002-of-00002.gguf")
            ]
        );
        assert_eq!(split_parts(Path::new("/x/m-00002-of-00002.gguf")).len(), 1);
        assert_eq!(split_names("m-00003-of-00002.gguf").len(), 1);
        assert_eq!(split_names("é.gguf").len(), 1);
        assert_eq!(split_names("ééé").len(), 1);
    }
}
