//! Large files, by the Git LFS batch API: announced by digest, sent whole or in parts, then verified.

use serde_json::{Value, json};
use ureq::http::Method;

use super::api::{Api, text};
use super::http::Sent;
use super::{Event, Local, PushError};

/// Files that are announced at a time.
const TOGETHER: usize = 256;
/// The media type of the batch API.
const LFS: &str = "application/vnd.git-lfs+json";

/// Uploads what is not there yet.
pub(super) fn upload(api: &mut Api<'_>, files: &[&Local]) -> Result<(), PushError> {
    for files in files.chunks(TOGETHER) {
        let objects = announce(api, files)?;
        for object in objects.as_array().into_iter().flatten() {
            let wanted = |file: &&&Local| object["oid"] == file.sha256.as_str();
            // The same bytes under two names are sent once.
            let Some(file) = files.iter().find(wanted) else {
                continue;
            };
            one(api, file, object)?;
        }
    }
    Ok(())
}

fn announce(api: &mut Api<'_>, files: &[&Local]) -> Result<Value, PushError> {
    let objects: Vec<_> = files
        .iter()
        .map(|file| json!({"oid": file.sha256, "size": file.bytes}))
        .collect();
    let body = json!({
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": objects,
        "hash_algo": "sha256",
        "ref": {"name": api.target.revision},
    });
    let sent = Sent::Text {
        kind: LFS,
        text: body.to_string().into_bytes(),
    };
    let what = "cannot announce large files";
    let answer = api.good(
        what,
        &Method::POST,
        &api.batch_url(),
        &[("accept", LFS)],
        &sent,
    )?;
    let objects = answer.json()["objects"].clone();
    let all = |file: &&Local| {
        let mut told = objects.as_array().into_iter().flatten();
        told.any(|object| object["oid"] == file.sha256.as_str())
    };
    match files.iter().all(all) {
        true => Ok(objects),
        false => Err(server(what, "the answer leaves files out")),
    }
}

fn one(api: &mut Api<'_>, file: &Local, object: &Value) -> Result<(), PushError> {
    if let Some(error) = object["error"]["message"].as_str() {
        return Err(server(
            &format!("the Hub does not take {}", file.name),
            error,
        ));
    }
    let action = &object["actions"]["upload"];
    let Some(url) = action["href"].as_str() else {
        api.tell(Event::Present { name: &file.name });
        return Ok(());
    };
    api.tell(Event::Uploading {
        name: &file.name,
        bytes: file.bytes,
    });
    match number(&action["header"]["chunk_size"]) {
        Some(chunk) => in_parts(api, file, url, &action["header"], chunk)?,
        None => whole(api, file, url, &action["header"])?,
    }
    if let Some(url) = object["actions"]["verify"]["href"].as_str() {
        let body = json!({"oid": file.sha256, "size": file.bytes});
        let what = format!("the Hub does not confirm {}", file.name);
        api.good(&what, &Method::POST, url, &[], &text(&body))?;
    }
    Ok(())
}

fn whole(api: &mut Api<'_>, file: &Local, url: &str, header: &Value) -> Result<(), PushError> {
    let headers: Vec<(&str, &str)> = header
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let sent = Sent::Part {
        path: &file.path,
        start: 0,
        bytes: file.bytes,
    };
    let what = format!("cannot upload {}", file.name);
    api.good(&what, &Method::PUT, url, &headers, &sent)?;
    Ok(())
}

/// The header names an address for each part; the parts' ETags are then told to the address of the whole.
fn in_parts(
    api: &mut Api<'_>,
    file: &Local,
    url: &str,
    header: &Value,
    chunk: u64,
) -> Result<(), PushError> {
    let what = format!("cannot upload {}", file.name);
    let mut addresses: Vec<(u64, &str)> = header
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.as_str()?)))
        .collect();
    addresses.sort_unstable();
    if chunk == 0 || addresses.len() as u64 != file.bytes.div_ceil(chunk) {
        return Err(server(
            &what,
            "the parts that the Hub asks for do not make up the file",
        ));
    }
    let mut parts = Vec::new();
    for (index, (_, address)) in addresses.iter().enumerate() {
        let start = index as u64 * chunk;
        let sent = Sent::Part {
            path: &file.path,
            start,
            bytes: chunk.min(file.bytes - start),
        };
        let answer = api.good(&what, &Method::PUT, address, &[], &sent)?;
        let etag = answer
            .etag()
            .ok_or_else(|| server(&what, "a part was taken without an ETag"))?;
        parts.push(json!({"partNumber": index + 1, "etag": etag}));
    }
    let sent = Sent::Text {
        kind: LFS,
        text: json!({"oid": file.sha256, "parts": parts})
            .to_string()
            .into_bytes(),
    };
    api.good(&what, &Method::POST, url, &[("accept", LFS)], &sent)?;
    Ok(())
}

/// A number, or a text of one.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn server(what: &str, words: &str) -> PushError {
    PushError::Server {
        what: what.to_owned(),
        words: words.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}
