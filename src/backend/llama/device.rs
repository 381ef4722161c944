//! What llama.cpp can compute on, and its state for the whole process.

use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend as Runtime;

use crate::backend::BackendError;

/// llama.cpp's process-wide state. It can be made once, so every model shares it.
pub fn runtime() -> Result<&'static Runtime, BackendError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            let logs = llama_cpp_2::LogOptions::default().with_logs_enabled(true);
            llama_cpp_2::send_logs_to_tracing(logs);
            Runtime::init().map_err(|error| error.to_string())
        })
        .as_ref()
        .map_err(|error| BackendError::Load(error.clone()))
}

/// Something that llama.cpp can compute on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name, such as `CUDA0`.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Bytes of memory, and how many of them are free; 0 where that is not known.
    pub memory: (u64, u64),
}

/// The devices of this build of llama.cpp.
pub fn devices() -> Result<Vec<Device>, BackendError> {
    runtime()?;
    let devices = llama_cpp_2::list_llama_ggml_backend_devices();
    Ok(devices
        .into_iter()
        .map(|device| Device {
            name: device.name,
            description: device.description,
            memory: (device.memory_total as u64, device.memory_free as u64),
        })
        .collect())
}
