//! `amend view`: what is answered and what is refused, over plain sockets.

mod answers;
mod beside;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::builder::Place;

const CONSTITUTION: &str = "
schema: 1
name: test
version: 1.0.0
principles:
  - id: no-perhaps
    title: Speak plainly
    critique: Does the response hedge where a plain answer is known?
    revision: Say it plainly.
";

const SCRIPT: &str = r#"
rules:
  - {verdict: false, contains: [late], until: late, reply: "At last."}
  - {verdict: false, contains: [capital, "Say it plainly"], reply: "The capital is 🗼 Paris."}
  - {verdict: false, contains: [capital], reply: "🗼 The capital is perhaps Paris."}
  - verdict: true
    contains: [perhaps Paris]
    probability: 0.875
    reply: '{"violated": true, "quote": "perhaps Paris", "critique": "It hedges.", "severity": "minor"}'
  - {verdict: true, probability: 0.125, reply: '{"violated": false}'}
  - {verdict: false, contains: [sky], reply: "<img src=x onerror=alert(1)></script>"}
"#;

/// A folder with a store of two chains.
fn place() -> Place {
    let place = Place::new();
    place
        .write("c.yaml", CONSTITUTION)
        .write("script.yaml", SCRIPT)
        .write(
            "p.jsonl",
            "{\"id\": \"capital\", \"prompt\": \"What is the capital of France?\"}\n\
             {\"id\": \"sky\", \"prompt\": \"What colour is the sky?\"}\n",
        );
    let _ = place
        .scripted(&["run", "p.jsonl", "-c", "c.yaml", "--rounds", "1"])
        .success();
    place
}

/// A viewer that runs, and is stopped with its handle.
struct Viewer {
    child: Child,
    port: u16,
    token: String,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find_map(|(n, value)| n.eq_ignore_ascii_case(name).then_some(value))
    }

    fn status_is(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.body);
    }

    fn refused(&self, because: &str) {
        assert_eq!(self.status, 403, "{}", self.body);
        assert!(self.body.contains(because), "{}", self.body);
    }
}

impl Viewer {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = place.command([&["view", "--who", "ada"][..], args].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        Self::of(command)
    }

    /// The viewer that a command starts.
    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut url).unwrap();
        let rest = url.trim().strip_prefix("http://127.0.0.1:").unwrap();
        let (port, token) = rest.split_once("/?token=").unwrap();
        Self {
            port: port.parse().unwrap(),
            token: token.to_owned(),
            child,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// Sends a request as it is, but for the `Host` and the end of the connection.
    fn send(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = self.connect();
        let host = format!("Host: 127.0.0.1:{}", self.port);
        let own = headers.iter().any(|h| h.starts_with("Host:"));
        let mut text = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        for header in headers.iter().copied().chain((!own).then_some(&*host)) {
            text.push_str(&format!("{header}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        stream
            .write_all(format!("{text}\r\n{body}").as_bytes())
            .unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }

    fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path}"), &[&self.bearer()], "")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        let json = "Content-Type: application/json";
        let body = body.to_string();
        self.send(&format!("POST {path}"), &[&self.bearer(), json], &body)
    }

    /// The stream of events, open from now on.
    fn events(&self) -> BufReader<TcpStream> {
        let mut stream = self.connect();
        write!(
            stream,
            "GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n{}\r\n\r\n",
            self.port,
            self.bearer()
        )
        .unwrap();
        let mut stream = BufReader::new(stream);
        let mut status = String::new();
        stream.read_line(&mut status).unwrap();
        assert!(status.contains("200"), "{status}");
        stream
    }

    /// The id of the chain of a prompt.
    fn chain(&self, prompt: &str) -> String {
        let list = self.get(&format!("/api/chains?q=prompt:{prompt}")).json();
        list["rows"][0]["chain_id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn only_who_has_the_token_is_answered() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    assert_eq!(viewer.token.len(), 64);
    let wrong = "0".repeat(64);
    for path in ["/", "/app.js", "/api/info", "/api/chains", "/nowhere"] {
        viewer
            .send(&format!("GET {path}"), &[], "")
            .refused("token");
        let guess = format!("GET {path}?token={wrong}");
        viewer.send(&guess, &[], "").refused("token");
    }
    let cookie = format!("Cookie: amend-view-{}={wrong}", viewer.port);
    viewer
        .send("GET /api/info", &[&cookie], "")
        .refused("token");
    let page = viewer.send(&format!("GET /?token={}", viewer.token), &[], "");
    assert_eq!(page.status, 200);
    let cookie = page.header("Set-Cookie").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let cookie = format!("Cookie: other=1; {}", cookie.split(';').next().unwrap());
    let info = viewer.send("GET /api/info", &[&cookie], "");
    assert_eq!(info.status, 200);
    assert_eq!(info.header("Set-Cookie"), None);
    assert_eq!(viewer.get("/api/info").json()["who"], "ada");
    // Another viewer has another token.
    let other = Viewer::start(&place, &[]);
    assert_ne!(viewer.token, other.token);
}

/// Every user of a machine sees the arguments of its programs.
#[test]
fn a_browser_is_led_to_the_viewer_by_a_file_that_nobody_else_reads() {
    let place = place();
    // No browser.
    let bin = place.path("bin");
    fs::create_dir(&bin).unwrap();
    for program in ["xdg-open", "open"] {
        symlink("/bin/true", bin.join(program)).unwrap();
    }
    let mut command = place.command(["view", "--open"]);
    command
        .env("PATH", &bin)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut viewer = Viewer::of(command);
    assert_eq!(viewer.get("/api/info").status, 200);
    let page = || {
        let files = fs::read_dir(place.root()).unwrap();
        let mut paths = files.map(|file| file.unwrap().path());
        paths.find(|path| path.extension().is_some_and(|end| end == "html"))
    };
    let found = page().unwrap();
    let mode = fs::metadata(&found).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&found).unwrap();
    assert!(text.contains(&format!("?token={}", viewer.token)), "{text}");
    let kill = format!("kill -INT {}", viewer.child.id());
    let killed = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(killed.success());
    assert_eq!(viewer.child.wait().unwrap().code(), Some(130));
    assert_eq!(page(), None);
}

#[test]
fn other_hosts_origins_and_sites_are_refused() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    let (bearer, port) = (viewer.bearer(), viewer.port);
    let get = |header: &str| viewer.send("GET /api/info", &[&bearer, header], "");
    for host in [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost.evil.example",
    ] {
        get(&format!("Host: {host}")).refused("127.0.0.1");
    }
    get(&format!("Host: rebound.example:{port}")).refused("127.0.0.1");
    assert_eq!(get(&format!("Host: localhost:{port}")).status, 200);
    let origins = [
        "http://evil.example",
        "null",
        "https://127.0.0.1",
        "http://127.0.0.1:1",
        "",
    ];
    for origin in origins {
        get(&format!("Origin: {origin}")).refused("origin");
    }
    assert_eq!(get(&format!("Origin: http://127.0.0.1:{port}")).status, 200);
    for site in ["cross-site", "same-site"] {
        get(&format!("Sec-Fetch-Site: {site}")).refused("sites");
    }
    assert_eq!(get("Sec-Fetch-Site: same-origin").status, 200);
    // A link to the address that was printed, in a mail or another page.
    let link = format!("GET /?token={}", viewer.token);
    let followed = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"];
    assert_eq!(viewer.send(&link, &followed, "").status, 200);
}

#[test]
fn every_answer_tells_the_browser_to_be_strict() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    let refused = viewer.send("GET /", &[], "");
    for answer in [
        viewer.get("/"),
        viewer.get("/app.js"),
        viewer.get("/api/info"),
        viewer.get("/none"),
        refused,
    ] {
        let policy = answer.header("Content-Security-Policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "trusted-types 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(answer.header("Referrer-Policy"), Some("no-referrer"));
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
    }
    // Nothing is fetched from elsewhere, and every file that a page names is there.
    let page = viewer.get("/").body;
    let names = page.split('"').filter(|part| part.starts_with('/'));
    for name in names {
        assert_eq!(viewer.get(name).status, 200, "{name}");
    }
    assert!(!page.contains("http"), "{page}");
}

#[test]
fn a_filter_that_is_wrong_is_told_with_its_column() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    for path in ["/api/chains", "/api/charts"] {
        let answer = viewer.get(&format!("{path}?q=stop:clean%20flagg:x"));
        assert_eq!(answer.status, 400);
        let error = &answer.json()["error"];
        assert_eq!(error["column"], 12);
        assert!(
            error["message"].as_str().unwrap().contains("`flag`"),
            "{error}"
        );
        // Pages expect it, and a browser would note a request that fails.
        let expected = viewer.get(&format!("{path}?q=stop:clean%20flagg:x&lenient=true"));
        assert_eq!((expected.status, expected.json()), (200, answer.json()));
    }
    let good = viewer.get("/api/chains?q=violated:true").json();
    assert_eq!(
        (&good["total"], &good["rows"][0]["prompt_id"]),
        (&json!(1), &json!("capital"))
    );
}

#[test]
fn filters_of_any_kind_are_answered() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    let encoded =
        |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let nested = |n: usize| format!("{}capital{}", "(".repeat(n), ")".repeat(n));
    let either = |n: usize| vec!["capital"; n].join(" or ");
    // Filter, and how many chains match or at which column it is wrong.
    for (filter, expected) in [
        ("not not capital".to_owned(), Ok(1)),
        ("\"capital\" -- * NEAR(".to_owned(), Err(21)),
        ("text:\"capital* OR sky\"".to_owned(), Ok(0)),
        ("text:\"^capital\" or text:\"capital*\"".to_owned(), Ok(1)),
        ("text:\"a\\\"b'; DROP TABLE chains; --\"".to_owned(), Ok(0)),
        ("capital\0".to_owned(), Ok(1)),
        ("\0".to_owned(), Ok(0)),
        ("text:\"\"".to_owned(), Ok(0)),
        ("not text:\"\"".to_owned(), Ok(2)),
        ("🗼".to_owned(), Ok(0)),
        ("漢字 p>abc".to_owned(), Err(6)),
        ("prompt:\"sk\\y\" or chain:% or run:_".to_owned(), Ok(0)),
        ("\"capital".to_owned(), Err(1)),
        ("(capital or sky".to_owned(), Err(1)),
        ("capital)".to_owned(), Err(8)),
        ("()".to_owned(), Err(2)),
        (either(200), Ok(1)),
        (either(201), Err(1 + 200 * "capital or ".len())),
        (nested(32), Ok(1)),
        (nested(33), Err(34)),
        (nested(10_000), Err(34)),
        ("not ".repeat(5_000), Err(1 + 4 * 33)),
    ] {
        for path in ["/api/chains", "/api/charts"] {
            let answer = viewer.get(&format!("{path}?q={}", encoded(&filter)));
            let shown: String = filter.chars().take(60).collect();
            let json = answer.json();
            match expected {
                Ok(chains) => {
                    let total = json.get("total").unwrap_or(&json["chains"]);
                    assert_eq!(*total, json!(chains), "{shown}: {}", answer.body);
                }
                Err(column) => {
                    assert_eq!(answer.status, 400, "{shown}");
                    assert_eq!(json["error"]["column"], json!(column), "{shown}");
                }
            }
        }
    }
}

#[test]
fn methods_that_pages_do_not_use_do_nothing() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    let bearer = viewer.bearer();
    for path in ["/", "/app.js", "/api/info", "/api/chains?q=capital"] {
        let get = viewer.get(path);
        let head = viewer.send(&format!("HEAD {path}"), &[&bearer], "");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("Content-Type"), get.header("Content-Type"));
        viewer.send(&format!("HEAD {path}"), &[], "").status_is(403);
    }
    let chain = format!("/api/chains/{}/labels", viewer.chain("sky"));
    for method in ["OPTIONS", "PUT", "DELETE", "PATCH", "POST"] {
        for path in ["/api/chains", chain.as_str(), "/api/labels", "/"] {
            let line = format!("{method} {path}");
            // As a page from elsewhere would ask whether it may.
            let origin = "Origin: http://evil.example";
            let asked = viewer.send(&line, &[&bearer, origin], "");
            asked.refused("origin");
            assert_eq!(asked.header("Access-Control-Allow-Origin"), None);
            assert_eq!(asked.header("Access-Control-Allow-Methods"), None);
            viewer.send(&line, &[], "").refused("token");
            let taken = method == "POST" && path.ends_with("labels");
            if !taken {
                viewer.send(&line, &[&bearer], "").status_is(405);
            }
        }
    }
    assert_eq!(viewer.get("/api/chains?q=label:none").json()["total"], 2);
}

#[test]
fn hostile_requests_are_told_what_is_wrong() {
    let place = place();
    let viewer = Viewer::start(&place, &[]);
    let long = format!("/api/chains/{}", "a".repeat(5000));
    for (path, status) in [
        ("/api/chains/nothing", 404),
        ("/api/chains/%27;DROP%20TABLE%20chains", 404),
        ("/api/chains/%00", 404),
        ("/api/chains/..%2f..%2fetc%2fpasswd", 404),
        ("/api/chains/%ff", 400),
        (long.as_str(), 404),
        ("/api/chains/a/steps/one", 404),
        ("/api/chains/a/steps/99999999999", 404),
        ("/api/runs/nothing", 404),
        ("/api/compare", 400),
        ("/api/compare?a=x&b=y", 404),
        ("/api/chains?sort=nonsense", 400),
        ("/api/chains?offset=-1", 400),
        ("/api/chains?offset=99999999999999999999999", 400),
        ("/api/chains?limit=many", 400),
        ("/api/nowhere", 404),
        ("/..%2fCargo.toml", 404),
    ] {
        let answer = viewer.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        if path.starts_with("/api/") {
            let message = answer.json()["error"]["message"].clone();
            assert!(message.as_str().is_some_and(|m| !m.is_empty()), "{path}");
        }
    }
    assert_eq!(viewer.post("/api/info", &json!({})).status, 405);
    // Beyond the end there is nothing, and the number of all stays exact.
    let beyond = viewer.get("/api/chains?offset=1000000&limit=100000").json();
    assert_eq!((&beyond["total"], &beyond["rows"]), (&json!(2), &json!([])));
}
