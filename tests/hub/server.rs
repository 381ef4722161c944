//! The part of the Hub that a push speaks to, and how it misbehaves.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The commit that a repository begins with.
pub const HEAD: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub token: Option<String>,
    pub at_store: bool,
    body: Vec<u8>,
}

/// A commit as it was made.
#[derive(Debug)]
pub struct Commit {
    pub parent: String,
    pub summary: String,
    pub files: BTreeMap<String, Vec<u8>>,
    pub deleted: Vec<String>,
}

/// What the Hub has and how it misbehaves.
#[derive(Default)]
pub struct State {
    token: String,
    pub seen: Vec<Seen>,
    pub created: Value,
    pub commits: Vec<Commit>,
    pub tree: BTreeMap<String, Vec<u8>>,
    /// Large files by digest.
    pub stored: BTreeMap<String, Vec<u8>>,
    pub verified: Vec<String>,
    /// Parts of large files by address.
    pieces: BTreeMap<String, Vec<u8>>,
    pub parts: usize,
    /// Large files are wanted in parts of this size.
    pub chunk: Option<u64>,
    /// The store takes so many files and no more.
    pub refuse_from: Option<usize>,
    /// The file that the repository's .gitignore names.
    pub ignored: Option<&'static str>,
    /// Statuses of the next answers.
    pub busy: Vec<u16>,
    /// The token may write what is there and make nothing.
    pub may_not_make: bool,
    /// Somebody else commits before every commit.
    pub moved: bool,
    /// The first commit is made and its answer never comes.
    pub lose_commit_answer: bool,
}

impl State {
    pub fn new(token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..Self::default()
        }
    }

    fn head(&self) -> String {
        match self.commits.len() {
            0 => HEAD.to_owned(),
            commits => format!("{commits:040x}"),
        }
    }
}

/// The Hub and, at another address, its store of large files.
pub struct Server {
    hub: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(state: State) -> Self {
        let state = Arc::new(Mutex::new(state));
        let store = listen(&state, None);
        let hub = listen(&state, Some(store));
        Self { hub, state }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.hub)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn listen(state: &Arc<Mutex<State>>, store: Option<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(&stream, &state, address, store));
        }
    });
    address
}

fn serve(mut stream: &TcpStream, state: &Mutex<State>, own: SocketAddr, store: Option<SocketAddr>) {
    let Some(seen) = read(stream, store.is_none()) else {
        return;
    };
    let mut state = state.lock().unwrap();
    state.seen.push(seen.clone());
    let answer = match store {
        Some(store) => state.hub(&seen, own, store),
        None => state.store(&seen),
    };
    drop(state);
    let Some((status, etag, body)) = answer else {
        // The connection is cut without a word.
        return;
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nConnection: close\r\n{etag}Content-Length: {}\r\n\r\n",
        body.len()
    );
    // The client may have gone away.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body));
}

fn read(stream: &TcpStream, at_store: bool) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut seen = Seen {
        method: words.next()?,
        path: words.next()?,
        token: None,
        at_store,
        body: Vec::new(),
    };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader
            .read_line(&mut header)
            .ok()
            .filter(|read| *read > 0)?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => seen.token = value.trim().strip_prefix("Bearer ").map(str::to_owned),
            "content-length" => length = value.trim().parse().ok()?,
            _ => {}
        }
    }
    seen.body = vec![0; length];
    reader.read_exact(&mut seen.body).ok()?;
    Some(seen)
}

type Answer = Option<(u16, String, Vec<u8>)>;

fn answer(status: u16, body: &Value) -> Answer {
    Some((status, String::new(), body.to_string().into_bytes()))
}

impl State {
    fn hub(&mut self, seen: &Seen, own: SocketAddr, store: SocketAddr) -> Answer {
        if !self.busy.is_empty() {
            return answer(self.busy.remove(0), &json!({"error": "busy"}));
        }
        if seen.token.as_deref() != Some(&self.token) {
            return answer(401, &json!({"error": "Invalid username or password."}));
        }
        let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let repository = "/api/datasets/someone/pairs/";
        match (seen.method.as_str(), seen.path.as_str()) {
            ("POST", "/api/repos/create") if self.may_not_make => answer(
                403,
                &json!({"error": "You don't have the rights to create a dataset"}),
            ),
            ("POST", "/api/repos/create") if !self.created.is_null() => answer(
                409,
                &json!({"error": "You already created this dataset repo"}),
            ),
            ("POST", "/api/repos/create") => {
                self.created = body;
                answer(200, &json!({"url": "x"}))
            }
            ("GET", path) if path == format!("{repository}revision/main") => {
                answer(200, &json!({"sha": self.head()}))
            }
            ("GET", path) if path.starts_with("/datasets/someone/pairs/resolve/") => {
                match self.tree.get("manifest.json") {
                    Some(bytes) => Some((200, String::new(), bytes.clone())),
                    None => answer(404, &json!({"error": "Entry not found"})),
                }
            }
            ("POST", path) if path.starts_with(&format!("{repository}paths-info/")) => {
                let named = body["paths"].as_array().unwrap().iter();
                let there = named.filter(|path| self.tree.contains_key(path.as_str().unwrap()));
                answer(200, &there.map(|path| json!({"path": path})).collect())
            }
            ("POST", path) if path == format!("{repository}preupload/main") => {
                let mode = |file: &Value| {
                    BASE64.decode(file["sample"].as_str().unwrap()).unwrap();
                    let large = file["path"].as_str().unwrap().ends_with(".parquet");
                    json!({"path": file["path"], "uploadMode": if large { "lfs" } else { "regular" },
                        "shouldIgnore": self.ignored.is_some_and(|name| file["path"] == name)})
                };
                let files: Vec<_> = body["files"].as_array().unwrap().iter().map(mode).collect();
                answer(200, &json!({"files": files}))
            }
            ("POST", "/datasets/someone/pairs.git/info/lfs/objects/batch") => {
                let objects = body["objects"].as_array().unwrap().iter();
                let objects: Vec<_> = objects
                    .map(|object| self.announce(object, own, store))
                    .collect();
                answer(200, &json!({"transfer": "basic", "objects": objects}))
            }
            ("POST", "/verify") => {
                let oid = body["oid"].as_str().unwrap().to_owned();
                let known = self
                    .stored
                    .get(&oid)
                    .is_some_and(|bytes| body["size"] == bytes.len());
                self.verified.push(oid);
                answer(if known { 200 } else { 404 }, &json!({}))
            }
            ("POST", path) if path.starts_with("/complete/") => {
                let parts = body["parts"].as_array().unwrap();
                let piece = |part: &Value| {
                    self.pieces[part["etag"].as_str().unwrap().trim_matches('"')].clone()
                };
                let whole: Vec<u8> = parts.iter().flat_map(piece).collect();
                self.keep(whole, &path["/complete/".len()..])
            }
            ("POST", path) if path == format!("{repository}commit/main") => self.commit(seen),
            _ => answer(
                404,
                &json!({"error": format!("no {} {}", seen.method, seen.path)}),
            ),
        }
    }

    fn announce(&self, object: &Value, own: SocketAddr, store: SocketAddr) -> Value {
        let (oid, size) = (
            object["oid"].as_str().unwrap(),
            object["size"].as_u64().unwrap(),
        );
        let mut told = json!({"oid": oid, "size": size});
        if self.stored.contains_key(oid) {
            return told;
        }
        let verify = json!({"href": format!("http://{own}/verify")});
        let upload = match self.chunk {
            None => json!({"href": format!("http://{store}/whole/{oid}?signature=x")}),
            Some(chunk) => {
                let mut header = json!({"chunk_size": chunk.to_string()});
                for part in 1..=size.div_ceil(chunk) {
                    header[part.to_string()] = json!(format!("http://{store}/part/{oid}/{part}"));
                }
                json!({"href": format!("http://{own}/complete/{oid}"), "header": header})
            }
        };
        told["actions"] = json!({"upload": upload, "verify": verify});
        told
    }

    fn store(&mut self, seen: &Seen) -> Answer {
        if self
            .refuse_from
            .is_some_and(|most| self.stored.len() >= most)
        {
            return answer(503, &json!({"error": "slow down"}));
        }
        let path = seen.path.split('?').next().unwrap();
        if let Some(oid) = path.strip_prefix("/whole/") {
            return self.keep(seen.body.clone(), oid);
        }
        self.parts += 1;
        let etag = format!("{:x}", Sha256::digest(path.as_bytes())[0]) + &self.parts.to_string();
        self.pieces.insert(etag.clone(), seen.body.clone());
        Some((200, format!("ETag: \"{etag}\"\r\n"), Vec::new()))
    }

    fn keep(&mut self, bytes: Vec<u8>, oid: &str) -> Answer {
        let found: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found != oid {
            return answer(400, &json!({"error": "other bytes than announced"}));
        }
        self.stored.insert(found, bytes);
        answer(200, &json!({}))
    }

    fn commit(&mut self, seen: &Seen) -> Answer {
        let text = std::str::from_utf8(&seen.body).unwrap();
        let mut commit = Commit {
            parent: String::new(),
            summary: String::new(),
            files: BTreeMap::new(),
            deleted: Vec::new(),
        };
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let value = &line["value"];
            let path = value["path"].as_str().unwrap_or_default().to_owned();
            match line["key"].as_str().unwrap() {
                "header" => {
                    commit.parent = value["parentCommit"].as_str().unwrap().to_owned();
                    commit.summary = value["summary"].as_str().unwrap().to_owned();
                }
                "file" => {
                    let content = BASE64.decode(value["content"].as_str().unwrap()).unwrap();
                    commit.files.insert(path, content);
                }
                "lfsFile" => {
                    let Some(bytes) = self.stored.get(value["oid"].as_str().unwrap()) else {
                        return answer(400, &json!({"error": "a large file was not uploaded"}));
                    };
                    commit.files.insert(path, bytes.clone());
                }
                "deletedFile" => commit.deleted.push(path),
                other => return answer(400, &json!({"error": format!("no {other}")})),
            }
        }
        if self.moved || commit.parent != self.head() {
            return answer(
                412,
                &json!({"error": "A commit has happened since. Please refresh and try again."}),
            );
        }
        commit
            .deleted
            .iter()
            .for_each(|path| drop(self.tree.remove(path)));
        self.tree.extend(commit.files.clone());
        self.commits.push(commit);
        if std::mem::take(&mut self.lose_commit_answer) {
            return None;
        }
        let url = format!("x/commit/{}", self.head());
        answer(200, &json!({"commitUrl": url, "commitOid": self.head()}))
    }
}
