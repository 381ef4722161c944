//! The `model` commands.

use std::process::{Command, Output};

use crate::server::Server;

/// Runs the program with caches of its own.
fn amend(server: &Server, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_amend"))
        .args(arguments)
        .env_clear()
        .env("HF_ENDPOINT", format!("http://{}", server.hub))
        .env("HF_HUB_CACHE", server.cache.path())
        .env("AMEND_CACHE", server.cache.path().join("amend"))
        .output()
        .unwrap()
}

/// A GGUF file without tensors or metadata but its architecture.
fn gguf(architecture: &str) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    let key = "general.architecture";
    bytes.extend((key.len() as u64).to_le_bytes());
    bytes.extend(key.as_bytes());
    bytes.extend(8u32.to_le_bytes());
    bytes.extend((architecture.len() as u64).to_le_bytes());
    bytes.extend(architecture.as_bytes());
    bytes
}

#[test]
fn the_program_fetches_lists_and_explains() {
    let server = Server::new(&[("m-Q4_0.gguf", &gguf("bert"))]);
    // Fetched, and then refused for what it is.
    let output = amend(&server, &["model", "fetch", "hf:owner/repo"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("fetching m-Q4_0.gguf"), "{stderr}");
    assert!(stderr.contains("is an embedding model"), "{stderr}");
    assert!(output.stdout.is_empty());

    let output = amend(&server, &["model", "list", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let row: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(row["reference"], "hf:owner/repo/m-Q4_0.gguf");
    assert_eq!(row["size"], 68);

    let code = |arguments: &[&str]| amend(&server, arguments).status.code();
    assert_eq!(code(&["model", "info"]), Some(2));
    assert_eq!(code(&["model", "info", "hf:oops"]), Some(2));
    assert_eq!(
        code(&["model", "info", "--hf-repo", "owner/repo:Q2_K"]),
        Some(2)
    );
    assert_eq!(
        code(&["model", "info", "--offline", "hf:owner/never"]),
        Some(2)
    );
    server.state().token = Some("hf_right".to_owned());
    assert_eq!(code(&["model", "fetch", "hf:owner/repo"]), Some(1));
}

#[test]
fn the_program_describes_the_default_model() {
    let output = Command::new(env!("CARGO_BIN_EXE_amend"))
        .args(["model", "info", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["architecture"], "llama");
    assert_eq!(info["parameters"], 134_515_008);
    assert_eq!(info["quantisation"], "Q4_1");
    assert_eq!(info["training_context"], 8192);
    assert_eq!(info["chat_template"]["name"], "chatml");
    assert_eq!(
        info["digest"],
        "b3:5f4fa13bfc6dd4a91fd00e22974a9c4e9ed628fd7d7f307398ddf30260d6b2c3"
    );
}
