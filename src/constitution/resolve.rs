//! Following `extends`: from a root file to the resolved constitution.
//!
//! Files are laid over each other, bases first and in the order in which they are named; a file that is
//! reached twice, by whatever paths, is applied once, at its first place. A file may add principles and
//! change single fields of principles that the files it extends have.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::error::{Code, ConstitutionError, Place, Problem, Span, did_you_mean, excerpt};
use super::merge::{self, Merged, Origin};
use super::salvage::{Salvaged, salvage};
use super::source::{SHIPPED, Shipped, named};
use super::syntax::unread;
use super::tree::{self, Node};
use super::{Constitution, shape, wire};
use crate::digest::Digest;

/// How large a file may be, in bytes. Larger ones are refused before they are parsed.
pub const MAX_BYTES: usize = 1 << 20;
/// How many files may extend each other in a row.
const MAX_LEVELS: usize = 16;
/// How many files one constitution may be made of.
const MAX_FILES: usize = 64;

/// A constitution in its resolved form, and where its parts were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The resolved form.
    pub constitution: Constitution,
    /// Its digest.
    pub digest: Digest,
    /// The files that it was made of, in the order in which they were applied; the root is last.
    pub files: Vec<PathBuf>,
    /// Where each principle was written, by id.
    pub origins: BTreeMap<String, Origin>,
    /// Where the root file says what it is: `schema`, `name`, `version`, `description`, `license`. What it
    /// leaves out is not here, also where a file that it extends has it.
    pub fields: BTreeMap<String, Place>,
    /// Where each of the defaults was last written.
    pub defaults: BTreeMap<String, Place>,
}

/// Resolves a constitution from the text of its root file. `read` gives the text of a file that
/// `extends` names; its path is relative to wherever `root_name` is relative to. Where it finds none, a name
/// without a folder is that of a shipped constitution.
///
/// # Errors
///
/// Everything that is wrong with the files, as far as it can be told at once. An error of `read` that
/// carries a [`Problem`] is reported as that problem, and any other at the entry that names the file.
pub fn resolve(
    root_name: &Path,
    root_text: &str,
    read: &mut dyn FnMut(&Path) -> io::Result<String>,
) -> Result<Resolved, ConstitutionError> {
    let examined = examine(root_name, root_text, read);
    match examined.resolved {
        Some(resolved) => Ok(resolved),
        None => Err(ConstitutionError {
            problems: examined.problems,
        }),
    }
}

/// A constitution as far as it can be told, and everything that is wrong with it.
pub(super) struct Examined {
    /// The problems in the order of the files, and of the lines within a file.
    pub problems: Vec<Problem>,
    /// The resolved form, when there are none.
    pub resolved: Option<Resolved>,
    /// The files that could be read as YAML.
    pub layers: Vec<Layer>,
    /// The root among them.
    pub root: Option<usize>,
    /// What they make, problems left out.
    pub merged: Option<Merged>,
    /// The text of every file, by the name under which problems name it.
    pub texts: BTreeMap<PathBuf, String>,
}

/// Reads a constitution and the files that it extends, as [`resolve`] does, and goes on after problems.
pub(super) fn examine(
    root_name: &Path,
    root_text: &str,
    read: &mut dyn FnMut(&Path) -> io::Result<String>,
) -> Examined {
    let mut loader = Loader {
        read,
        layers: Vec::new(),
        seen: HashMap::new(),
        shipped: HashMap::new(),
        chain: Vec::new(),
        discovered: Vec::new(),
        texts: BTreeMap::new(),
        problems: Vec::new(),
    };
    let root = loader.visit(root_name, root_text);
    let merged = root.map(|root| {
        let order = merge::order(&loader.layers, root);
        let merged = merge::merge(&loader.layers, &order, &mut loader.problems);
        merge::check_root(&loader.layers[root], &merged, &mut loader.problems);
        merged
    });
    loader.sort();
    let sound = root.zip(merged.as_ref());
    let sound = sound.filter(|_| loader.problems.is_empty());
    let resolved = sound.map(|(root, merged)| {
        let order = merge::order(&loader.layers, root);
        let files = order.iter().map(|&at| loader.layers[at].file.clone());
        Resolved {
            digest: merged.constitution.digest(),
            files: files.collect(),
            constitution: merged.constitution.clone(),
            origins: merged.origins.clone(),
            fields: merged.fields.clone(),
            defaults: merged.defaults.clone(),
        }
    });
    Examined {
        problems: loader.problems,
        resolved,
        layers: loader.layers,
        root,
        merged,
        texts: loader.texts,
    }
}

/// One file, as far as it is sound.
pub(super) struct Layer {
    pub file: PathBuf,
    pub wire: wire::File,
    pub root: Rc<Node>,
    /// The nodes of the principles in `wire`, in step.
    pub principles: Vec<Rc<Node>>,
    /// The files that it extends, in order, by their place among the layers.
    pub bases: Vec<usize>,
    /// Whether nothing is wrong with it or with a file that it extends.
    pub clean: bool,
    /// Whether a file that it extends, or a principle of one, could not be read.
    pub base_lost: bool,
    /// Whether a principle of its own could not be read.
    pub lossy: bool,
}

impl Layer {
    /// A stretch of this file.
    pub fn place(&self, span: Span) -> Place {
        Place {
            file: self.file.clone(),
            span,
        }
    }
}

/// Whether there is no file: a shipped name may well be that of a folder.
fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotFound};
    matches!(error.kind(), NotFound | IsADirectory)
}

struct Loader<'r> {
    read: &'r mut dyn FnMut(&Path) -> io::Result<String>,
    layers: Vec<Layer>,
    /// Files that were visited, and their layer where they are well-formed.
    seen: HashMap<PathBuf, Option<usize>>,
    /// The same of shipped constitutions, by name.
    shipped: HashMap<&'static str, Option<usize>>,
    /// The files from the root to the one being visited.
    chain: Vec<PathBuf>,
    discovered: Vec<PathBuf>,
    texts: BTreeMap<PathBuf, String>,
    problems: Vec<Problem>,
}

/// An entry of `extends`.
struct Extend<'a> {
    /// As it stands in the file.
    written: &'a str,
    path: PathBuf,
    pin: Option<&'a str>,
    span: Span,
}

impl Loader<'_> {
    /// Puts the problems in the order of the files, and of the lines within a file.
    fn sort(&mut self) {
        let places = self.discovered.iter().enumerate();
        let mut ranks = HashMap::new();
        for (rank, file) in places {
            ranks.entry(file).or_insert(rank);
        }
        self.problems
            .sort_by_cached_key(|problem| (ranks.get(&problem.file).copied(), problem.span));
        self.problems.dedup();
    }

    fn visit(&mut self, file: &Path, text: &str) -> Option<usize> {
        self.discovered.push(file.to_owned());
        if text.len() > MAX_BYTES {
            self.problems.push(too_large(file));
            return None;
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        self.texts.insert(file.to_owned(), text.to_owned());
        let before = self.problems.len();
        let root = match tree::read(file, text, &mut self.problems) {
            Ok(root) => root,
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        shape::check(file, text, &root, &mut self.problems);
        self.duplicate_ids(file, &root);
        let own = self.own(file, text, &root, before);
        let clean = self.problems.len() == before;

        self.chain.push(normal(file));
        let (bases, all) = self.bases(file, &root);
        self.chain.pop();
        if let Some(known) = self.same(text, &bases).filter(|_| all) {
            return Some(known);
        }

        let layers = || bases.iter().map(|&at| &self.layers[at]);
        let base_lost = !all || layers().any(|base| base.base_lost || base.lossy);
        self.layers.push(Layer {
            file: file.to_owned(),
            wire: own.file,
            root,
            principles: own.nodes,
            clean: clean && all && layers().all(|base| base.clean),
            base_lost,
            lossy: own.lossy,
            bases,
        });
        Some(self.layers.len() - 1)
    }

    /// The layer that says the same on top of the same files. One file can be reached by several paths,
    /// through a link or from the root of the file system, and is one layer all the same.
    fn same(&self, text: &str, bases: &[usize]) -> Option<usize> {
        self.layers.iter().position(|layer| {
            let known = self.texts.get(&layer.file);
            layer.bases == bases && known.is_some_and(|known| known == text)
        })
    }

    /// What a file itself says: all of it when it has no problem, and else what is sound.
    fn own(&mut self, file: &Path, text: &str, root: &Rc<Node>, before: usize) -> Salvaged {
        if self.problems.len() == before {
            match serde_yaml::from_str(text) {
                Ok(file) => {
                    let nodes = root.get("principles").map_or(&[][..], |node| node.items());
                    return Salvaged {
                        file,
                        nodes: nodes.to_vec(),
                        lossy: false,
                    };
                }
                Err(error) => self.problems.push(unread(file, text, &error)),
            }
        }
        salvage(root, &self.problems[before..])
    }

    /// Visits the files that a file extends; tells also whether all of them could be read.
    fn bases(&mut self, file: &Path, root: &Node) -> (Vec<usize>, bool) {
        let Some(node) = root.get("extends") else {
            return (Vec::new(), true);
        };
        let one = std::slice::from_ref(node);
        let entries = if node.text().is_some() {
            one
        } else {
            node.items()
        };
        let mut bases = Vec::new();
        let mut all = true;
        for entry in entries {
            let named = entry.text().filter(|text| !text.is_empty());
            let Some(text) = named.filter(|_| !entry.is_null()) else {
                all = false;
                continue;
            };
            let (path, pin) = match text.split_once("#b3:") {
                Some((path, _)) => (path, Some(&text[path.len() + 1..])),
                None => (text, None),
            };
            let folder = file.parent().unwrap_or(Path::new(""));
            let extend = Extend {
                written: path,
                path: normal(&folder.join(path)),
                pin,
                span: entry.span,
            };
            match self.base(file, &extend) {
                Some(base) => {
                    bases.push(base);
                    if self.layers[base].clean {
                        self.check_pin(file, &extend, base);
                    }
                }
                None => all = false,
            }
        }
        (bases, all)
    }

    fn base(&mut self, file: &Path, extend: &Extend<'_>) -> Option<usize> {
        if let Some(at) = self.chain.iter().position(|known| *known == extend.path) {
            let names = self.chain[at..].iter().chain([&extend.path]);
            let names: Vec<_> = names.map(|path| path.display().to_string()).collect();
            let message = format!("files extend each other in a circle: {}", names.join(" → "));
            let remedy = "remove this entry, or move what both need into a third file";
            self.say(Code::ExtendsCycle, file, extend.span, message, remedy);
            return None;
        }
        if let Some(known) = self.seen.get(&extend.path) {
            return *known;
        }
        if self.chain.len() >= MAX_LEVELS {
            let message = format!("more than {MAX_LEVELS} files extend each other in a row");
            let remedy = "extend fewer files";
            self.say(Code::ExtendsCycle, file, extend.span, message, remedy);
            return None;
        }
        if self.discovered.len() > MAX_FILES {
            let message = format!("the constitution is made of more than {MAX_FILES} files");
            self.say(
                Code::TooLarge,
                file,
                extend.span,
                message,
                "extend fewer files",
            );
            return None;
        }
        let layer = match (self.read)(&extend.path) {
            Ok(text) => self.visit(&extend.path, &text),
            Err(error) => match named(extend.written).filter(|_| is_missing(&error)) {
                Some(shipped) => self.shipped(&extend.path, shipped),
                None => {
                    self.unreadable(file, extend, error);
                    None
                }
            },
        };
        self.seen.insert(extend.path.clone(), layer);
        layer
    }

    /// Visits a shipped constitution once: it is the same from whichever folder it is named.
    fn shipped(&mut self, path: &Path, shipped: &Shipped) -> Option<usize> {
        if let Some(known) = self.shipped.get(shipped.name) {
            return *known;
        }
        let layer = self.visit(path, shipped.text);
        self.shipped.insert(shipped.name, layer);
        layer
    }

    fn unreadable(&mut self, file: &Path, extend: &Extend<'_>, error: io::Error) {
        self.discovered.push(extend.path.clone());
        let path = extend.path.display();
        if error.kind() == io::ErrorKind::NotFound {
            let guess = did_you_mean(extend.written, SHIPPED.iter().map(|it| it.name));
            let written = excerpt(extend.written);
            let message = format!("the extended file `{written}` is missing{guess}");
            let remedy = match extend.written.contains("://") {
                true => "save it as a file: addresses are not read",
                false => "correct the path, which is relative to this file",
            };
            return self.say(Code::ExtendsMissing, file, extend.span, message, remedy);
        }
        if error.kind() == io::ErrorKind::IsADirectory {
            let message = format!("the extended file `{path}` is a directory");
            let remedy = "name a YAML file in it";
            return self.say(Code::Unreadable, file, extend.span, message, remedy);
        }
        match error.downcast::<Problem>() {
            Ok(problem) => self.problems.push(problem),
            Err(error) => {
                let message = format!("the extended file `{path}` cannot be read: {error}");
                let remedy = "check the path and its permissions";
                self.say(Code::Unreadable, file, extend.span, message, remedy);
            }
        }
    }

    fn check_pin(&mut self, file: &Path, extend: &Extend<'_>, base: usize) {
        let Some(pin) = extend.pin else { return };
        let order = merge::order(&self.layers, base);
        // What is wrong with the base by itself is said when all files are laid over each other.
        let merged = merge::merge(&self.layers, &order, &mut Vec::new());
        let found = merged.constitution.digest();
        let path = extend.path.display();
        match Digest::parse(pin) {
            Some(wanted) if wanted == found => {}
            Some(wanted) => {
                let message = format!("`{path}` has the digest {found}, and {wanted} is asked for");
                let remedy = "review what changed in it, then write the new digest here";
                self.say(Code::ExtendsDigest, file, extend.span, message, remedy);
            }
            None => {
                let message = format!("`{}` is not a digest", excerpt(pin));
                let remedy = format!("write `#{found}`, the digest of `{path}` as it is now");
                self.say(Code::BadValue, file, extend.span, message, remedy);
            }
        }
    }

    fn duplicate_ids(&mut self, file: &Path, root: &Node) {
        let mut lines = HashMap::new();
        for principle in root.get("principles").map_or(&[][..], |node| node.items()) {
            let Some(node) = principle.get("id") else {
                continue;
            };
            let Some(id) = node.text() else { continue };
            let line = node.span.line;
            if let Some(first) = lines.insert(id, line) {
                let id = excerpt(id);
                let (places, remedy) = match first == line {
                    false => (
                        format!("lines {first} and {line}"),
                        "rename or remove one of them",
                    ),
                    // An alias is where its anchor is.
                    true => (
                        format!("line {line}"),
                        "rename or remove one of them; a principle or an id that an alias repeats has the same id",
                    ),
                };
                let message = format!("two principles have the id `{id}`: {places}");
                self.say(Code::DuplicateId, file, node.span, message, remedy);
            }
        }
    }

    fn say(
        &mut self,
        code: Code,
        file: &Path,
        span: Span,
        message: String,
        remedy: impl Into<String>,
    ) {
        let problem = Problem::new(code, file, Some(span), message, remedy);
        self.problems.push(problem);
    }
}

/// The problem of a file that is larger than [`MAX_BYTES`].
pub(super) fn too_large(file: &Path) -> Problem {
    let message = format!("the file is larger than 1 MB ({MAX_BYTES} bytes)");
    let remedy = "split it with `extends`";
    Problem::new(Code::TooLarge, file, None, message, remedy)
}

/// A path without `.` and `a/..`, so that one file has one name.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if ends_with_name(&normal) => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

fn ends_with_name(path: &Path) -> bool {
    matches!(path.components().next_back(), Some(Component::Normal(_)))
}
