//! The Hub's API, as `huggingface_hub` speaks it: repositories, what is there, and commits.

use std::fs::File;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use ureq::http::Method;

use super::http::{Answer, Client, Sent};
use super::{Event, Hub, Local, Mode, Modes, PushError, Target};
use crate::export::{MANIFEST_FILE, Manifest};

/// Bytes of a file by which the Hub tells texts from others.
const SAMPLE: u64 = 512;
/// Files that are asked about at a time.
const TOGETHER: usize = 256;
/// How often an answer may be elsewhere.
const MOST_MOVES: usize = 5;
/// The most bytes of a file that goes into the commit itself, whatever the Hub says.
const SMALL: u64 = 10 << 20;

/// The Hub, as far as one repository is concerned.
pub(super) struct Api<'a> {
    hub: &'a Hub,
    pub target: &'a Target,
    client: Client<'a>,
    events: &'a mut dyn FnMut(Event<'_>),
}

impl<'a> Api<'a> {
    pub fn new(hub: &'a Hub, target: &'a Target, events: &'a mut dyn FnMut(Event<'_>)) -> Self {
        Self {
            hub,
            target,
            client: Client::new(hub),
            events,
        }
    }

    pub fn tell(&mut self, event: Event<'_>) {
        (self.events)(event);
    }

    /// The dataset's address.
    pub fn page(&self) -> String {
        format!("{}/datasets/{}", self.hub.endpoint, self.target)
    }

    /// Sends a request; what is refused for good is told from what may pass.
    pub fn send(
        &mut self,
        what: &str,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        sent: &Sent<'_>,
    ) -> Result<Answer, PushError> {
        let events = &mut self.events;
        let mut retry = |why| events(Event::Retry { why });
        let answer = self.client.send(method, url, headers, sent, &mut retry);
        let answer = answer.map_err(|words| PushError::Server {
            what: what.to_owned(),
            words,
        })?;
        match answer.status {
            // The store of large files has no token to refuse; its addresses expire.
            401 | 403 if self.client.is_hub(url) => Err(PushError::Refused {
                status: answer.status,
                words: answer.words(),
                repository: self.target.to_string(),
            }),
            _ => Ok(answer),
        }
    }

    /// An answer that must be good.
    pub fn good(
        &mut self,
        what: &str,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        sent: &Sent<'_>,
    ) -> Result<Answer, PushError> {
        let answer = self.send(what, method, url, headers, sent)?;
        match answer.is_good() {
            true => Ok(answer),
            false => Err(self.unexpected(what, &answer)),
        }
    }

    fn unexpected(&self, what: &str, answer: &Answer) -> PushError {
        PushError::Server {
            what: what.to_owned(),
            words: format!("{}: {}", answer.status, answer.words()),
        }
    }

    fn api(&self, rest: &str) -> String {
        let (endpoint, target) = (&self.hub.endpoint, self.target);
        format!("{endpoint}/api/datasets/{target}/{rest}")
    }

    /// Makes the repository where it is not there; says whether it was made.
    pub fn create(&mut self, private: bool) -> Result<bool, PushError> {
        let url = format!("{}/api/repos/create", self.hub.endpoint);
        let visibility = if private { "private" } else { "public" };
        let body = json!({
            "name": self.target.name,
            "organization": self.target.owner,
            "type": "dataset",
            "visibility": visibility,
            "private": private,
        });
        let what = "cannot make the repository";
        let answer = match self.send(what, &Method::POST, &url, &[], &text(&body)) {
            // A token for this repository alone may make none, and need not where it is there.
            Err(refused @ PushError::Refused { status: 403, .. }) => {
                return self.head().map(|_| false).map_err(|_| refused);
            }
            answer => answer?,
        };
        match answer.status {
            409 => Ok(false),
            _ if answer.is_good() => Ok(true),
            _ => Err(self.unexpected(what, &answer)),
        }
    }

    /// The commit that the branch stands at.
    pub fn head(&mut self) -> Result<String, PushError> {
        let url = self.api(&format!("revision/{}", self.target.revision));
        let what = "cannot read the repository";
        let answer = self.good(what, &Method::GET, &url, &[], &Sent::Nothing)?;
        let head = answer.json()["sha"].as_str().map(str::to_owned);
        head.filter(|head| is_commit(head))
            .ok_or_else(|| PushError::Server {
                what: what.to_owned(),
                words: "the answer names no commit".to_owned(),
            })
    }

    /// What an earlier push brought and this one does not, such as the third part of three. Only files that a
    /// manifest of this program names there are ever deleted.
    pub fn stale(&mut self, head: &str, manifest: &Manifest) -> Result<Vec<String>, PushError> {
        let Some(before) = self.manifest_at(head)? else {
            return Ok(Vec::new());
        };
        let Some(before) = Manifest::parse(&before) else {
            return Ok(Vec::new());
        };
        let kept = |name: &str| manifest.files.iter().any(|file| file.name == name);
        let names = before
            .files
            .into_iter()
            .map(|file| file.name)
            .filter(|name| !kept(name));
        let mut stale = Vec::new();
        for name in names {
            // It may have been deleted by hand, and what is not there cannot be deleted.
            if !is_plain(&name) || !self.exists(head, &name)? {
                continue;
            }
            stale.push(name);
        }
        Ok(stale)
    }

    fn exists(&mut self, head: &str, name: &str) -> Result<bool, PushError> {
        let url = self.api(&format!("paths-info/{head}"));
        let body = json!({"paths": [name], "expand": false});
        let what = "cannot read the repository";
        let answer = self.good(what, &Method::POST, &url, &[], &text(&body))?;
        Ok(answer
            .json()
            .as_array()
            .is_some_and(|paths| !paths.is_empty()))
    }

    fn manifest_at(&mut self, revision: &str) -> Result<Option<Vec<u8>>, PushError> {
        let mut url = format!("{}/resolve/{revision}/{MANIFEST_FILE}", self.page());
        let what = "cannot read the manifest on the Hub";
        for _ in 0..MOST_MOVES {
            let answer = self.send(what, &Method::GET, &url, &[], &Sent::Nothing)?;
            match answer.location() {
                Some(place) if place.starts_with('/') => {
                    url = format!("{}{place}", self.hub.endpoint)
                }
                Some(place) => url = place.to_owned(),
                None => return Ok(answer.is_good().then_some(answer.body)),
            }
        }
        Ok(None)
    }

    /// Asks how each file is to go in.
    pub fn modes(&mut self, files: &[Local]) -> Result<Modes, PushError> {
        let url = self.api(&format!("preupload/{}", self.target.revision));
        let what = "cannot ask how files are to be uploaded";
        let mut modes = Modes::new();
        for files in files.chunks(TOGETHER) {
            let listed = files.iter().map(|file| {
                Ok(json!({"path": file.name, "size": file.bytes, "sample": sample(file)?}))
            });
            let body = json!({"files": listed.collect::<Result<Vec<_>, PushError>>()?});
            let answer = self
                .good(what, &Method::POST, &url, &[], &text(&body))?
                .json();
            for told in answer["files"].as_array().into_iter().flatten() {
                let name = told["path"].as_str().unwrap_or_default().to_owned();
                let mode = Mode {
                    large: told["uploadMode"] == "lfs",
                    ignored: told["shouldIgnore"] == true,
                };
                modes.insert(name, mode);
            }
        }
        for file in files {
            let mode = modes.get_mut(&file.name).ok_or_else(|| PushError::Server {
                what: what.to_owned(),
                words: format!("the answer leaves {} out", file.name),
            })?;
            // An empty file cannot go there, and a large one fits nowhere else.
            mode.large = file.bytes > 0 && (mode.large || file.bytes > SMALL);
        }
        Ok(modes)
    }

    /// Brings everything in, and gives the commit's address.
    pub fn commit(
        &mut self,
        head: &str,
        files: &[Local],
        modes: &Modes,
        stale: &[String],
        summary: &str,
    ) -> Result<String, PushError> {
        let header = json!({"summary": summary, "description": "", "parentCommit": head});
        let mut lines = vec![json!({"key": "header", "value": header})];
        for file in files {
            lines.push(match modes[&file.name].large {
                true => json!({"key": "lfsFile", "value": {
                    "path": file.name, "algo": "sha256", "oid": file.sha256, "size": file.bytes}}),
                false => json!({"key": "file", "value": {
                    "path": file.name, "encoding": "base64", "content": content(file)?}}),
            });
        }
        lines.extend(
            stale
                .iter()
                .map(|name| json!({"key": "deletedFile", "value": {"path": name}})),
        );
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let url = self.api(&format!("commit/{}", self.target.revision));
        let sent = Sent::Text {
            kind: "application/x-ndjson",
            text: body.into_bytes(),
        };
        let what = "cannot commit";
        let answer = self.send(what, &Method::POST, &url, &[], &sent)?;
        if matches!(answer.status, 409 | 412) {
            return self.conflict(files, &answer);
        }
        if !answer.is_good() {
            return Err(self.unexpected(what, &answer));
        }
        let url = answer.json()["commitUrl"].as_str().map(str::to_owned);
        Ok(url.unwrap_or_else(|| self.page()))
    }

    /// The branch no longer stands where it stood. Where an answer was lost, it was this very commit that moved it.
    fn conflict(&mut self, files: &[Local], answer: &Answer) -> Result<String, PushError> {
        let head = self.head()?;
        let there = self.manifest_at(&head)?;
        let ours = files.last().map(|file| file.sha256.as_str());
        if there.as_deref().map(super::http::sha256).as_deref() == ours {
            return Ok(format!("{}/commit/{head}", self.page()));
        }
        Err(PushError::Conflict {
            repository: self.target.to_string(),
            words: answer.words(),
        })
    }

    /// Where large files are announced.
    pub fn batch_url(&self) -> String {
        format!("{}.git/info/lfs/objects/batch", self.page())
    }
}

/// JSON as a request.
pub(super) fn text(body: &Value) -> Sent<'static> {
    Sent::Text {
        kind: "application/json",
        text: body.to_string().into_bytes(),
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a name that came from the Hub is one that this program writes.
fn is_plain(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    !name.is_empty() && name.chars().all(fits) && !name.contains("..") && !name.starts_with('/')
}

fn sample(file: &Local) -> Result<String, PushError> {
    let mut bytes = Vec::new();
    File::open(&file.path)
        .and_then(|open| open.take(SAMPLE).read_to_end(&mut bytes))
        .map_err(|error| PushError::folder(&file.path, error))?;
    Ok(BASE64.encode(bytes))
}

fn content(file: &Local) -> Result<String, PushError> {
    let bytes = std::fs::read(&file.path).map_err(|error| PushError::folder(&file.path, error))?;
    Ok(BASE64.encode(bytes))
}
