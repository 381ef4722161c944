//! Where the rest of the world would be.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Whom Chromium itself asks, for its time, its updates and its first page, whatever its switches say. What pages
/// ask is on record in full besides, whomever they ask.
const CHROMIUM_ASKS: [&str; 5] = [
    "google.com",
    "googleapis.com",
    "gstatic.com",
    "gvt1.com",
    "duckduckgo.com",
];

/// Stands where the rest of the world would be: a proxy that notes what it is asked for and gives nothing.
pub struct Outside {
    /// Its port on this machine.
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Outside {
    /// Begins to listen.
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let line = refuse(stream).unwrap_or_default();
                notes.lock().unwrap().push(line);
            }
        });
        Self { port, asked }
    }

    /// What was asked for so far, except by Chromium itself.
    pub fn asked(&self) -> Vec<String> {
        let lines = self.asked.lock().unwrap();
        let by_chromium = |line: &String| {
            let address = line.split(' ').nth(1).unwrap_or_default();
            let host = address
                .trim_start_matches("http://")
                .split(['/', ':'])
                .next();
            let is = |name: &&str| host.is_some_and(|host| host.ends_with(*name));
            CHROMIUM_ASKS.iter().any(is)
        };
        lines
            .iter()
            // A connection that was opened in advance and never used asks for nothing.
            .filter(|line| !line.is_empty() && !by_chromium(line))
            .cloned()
            .collect()
    }
}

fn refuse(mut stream: TcpStream) -> std::io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut first = [0_u8; 512];
    let length = stream.read(&mut first)?;
    let text = String::from_utf8_lossy(&first[..length]).into_owned();
    stream
        .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
