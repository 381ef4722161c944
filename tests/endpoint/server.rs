//! A server in the test: answers as it is told, also wrongly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// One request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub authorization: Option<String>,
    /// Null where there is none.
    pub body: Value,
}

impl Seen {
    /// Whether it asks for a reply of the model.
    pub fn is_chat(&self) -> bool {
        self.path == "/v1/chat/completions"
    }

    /// What the last message says.
    pub fn text(&self) -> &str {
        let messages = self.body["messages"].as_array();
        messages
            .and_then(|messages| messages.last()?["content"].as_str())
            .unwrap_or("")
    }
}

/// What the server does with a request.
pub enum Answer {
    /// Status, further headers, body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The head of an answer and half of its body.
    Cut,
    /// Nothing: the connection is closed.
    Hangup,
    /// Nothing: the connection stays open.
    Silence,
    /// A body without an end in sight.
    Endless,
}

impl Answer {
    pub fn json(value: &Value) -> Self {
        Answer::Whole(200, Vec::new(), value.to_string().into_bytes())
    }

    pub fn status(status: u16, value: &Value) -> Self {
        Answer::Whole(status, Vec::new(), value.to_string().into_bytes())
    }
}

/// What decides the answers: the request, and how many there were before it.
type Handler = Box<dyn FnMut(&Seen, usize) -> Answer + Send>;

struct State {
    handler: Handler,
    seen: Vec<Seen>,
    /// Connections that are kept open without an answer.
    silent: Vec<TcpStream>,
}

/// A running server. It runs until the test's process ends.
pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub fn start(handler: impl FnMut(&Seen, usize) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            handler: Box::new(handler),
            seen: Vec::new(),
            silent: Vec::new(),
        }));
        let theirs = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&theirs);
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    /// A server with one model that answers chat completions by `chat`.
    pub fn openai(mut chat: impl FnMut(&Seen, usize) -> Answer + Send + 'static) -> Self {
        let mut count = 0;
        Self::start(move |seen, _| match seen.path.as_str() {
            "/v1/models" => Answer::json(&models("small")),
            "/v1/chat/completions" => {
                count += 1;
                chat(seen, count - 1)
            }
            _ => Answer::status(404, &json!({"error": {"message": "no such page"}})),
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The requests for replies so far.
    pub fn chats(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(Seen::is_chat).collect()
    }
}

/// An address at which nothing listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

pub fn models(name: &str) -> Value {
    json!({"object": "list", "data": [{"id": name, "object": "model", "created": 1, "owned_by": "test"}]})
}

/// A chat completion.
pub fn reply(content: &str) -> Value {
    json!({
        "object": "chat.completion",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": content},
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 20,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 12},
        },
    })
}

/// A chat completion that decides: it writes `written`, and `violated` has this probability.
pub fn decision(written: bool, probability: f64) -> Value {
    let listed = |text: &str, p: f64| json!({"token": text, "logprob": p.ln(), "bytes": null});
    let plain = |text: &str| {
        let mut token = listed(text, 1.0);
        token["top_logprobs"] = json!([listed(text, 1.0)]);
        token
    };
    let (yes, no) = (probability * 0.9, (1.0 - probability) * 0.9);
    let mut value = listed(
        if written { " true" } else { " false" },
        if written { yes } else { no },
    );
    value["top_logprobs"] = json!([
        listed(" true", yes),
        listed(" false", no),
        listed(" maybe", 0.1)
    ]);
    let mut answer = reply(&format!("{{\"violated\": {written}}}"));
    answer["choices"][0]["logprobs"] =
        json!({"content": [plain("{\""), plain("violated"), plain("\":"), value, plain("}")]});
    answer
}

/// The rest of a violated verdict.
pub fn verdict(quote: &str) -> Value {
    reply(
        &json!({"violated": true, "quote": quote, "critique": "Too short.", "severity": "minor"})
            .to_string(),
    )
}

/// An obedient model: drafts and revisions are texts, and no verdict finds anything.
pub fn obedient(seen: &Seen) -> Answer {
    Answer::json(&match seen.body.get("response_format") {
        Some(_) => decision(false, 0.1),
        None => reply("Boil it for six minutes."),
    })
}

/// Reads one request and answers it; the connection is closed afterwards.
fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(seen) = read(&stream) else { return };
    let answer = {
        let mut state = state.lock().unwrap();
        let before = state.seen.len();
        state.seen.push(seen.clone());
        (state.handler)(&seen, before)
    };
    // The client may have gone away.
    let _ = match answer {
        Answer::Whole(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
            stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&body))
        }
        Answer::Cut => stream.write_all(
            b"HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n{\"choices\": [",
        ),
        Answer::Hangup => Ok(()),
        Answer::Silence => {
            state.lock().unwrap().silent.push(stream);
            return;
        }
        Answer::Endless => {
            let head = b"HTTP/1.1 200 X\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
            let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
            let mut written = stream.write_all(head);
            while written.is_ok() {
                written = stream.write_all(&chunk);
            }
            written
        }
    };
}

fn read(stream: &TcpStream) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).ok()? == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen {
        path,
        authorization,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}
