//! What llama.cpp can compute on, and its state for the whole process.

use std::sync::OnceLock;

pub use llama_cpp_2::LlamaBackendDeviceType as DeviceKind;
use llama_cpp_2::llama_backend::LlamaBackend as Runtime;

use crate::backend::BackendError;

/// llama.cpp's process-wide state. It can be made once, so every model shares it.
pub fn runtime() -> Result<&'static Runtime, BackendError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            let logs = llama_cpp_2::LogOptions::default().with_logs_enabled(true);
            llama_cpp_2::send_logs_to_tracing(logs);
            super::threads::install();
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
    /// The part of llama.cpp that computes on it, such as `CUDA`.
    pub backend: String,
    /// What kind of device it is.
    pub kind: DeviceKind,
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
            backend: device.backend,
            kind: device.device_type,
            memory: (device.memory_total as u64, device.memory_free as u64),
        })
        .collect())
}

/// Bytes of memory that are free on each GPU that layers are placed on; `None` where there is no GPU, or
/// one does not tell.
pub(super) fn free_on_gpus(devices: &[Device]) -> Option<Vec<u64>> {
    let of = |kind: DeviceKind| devices.iter().filter(move |device| device.kind == kind);
    // llama.cpp leaves an integrated GPU alone where there is another one.
    let kind = match of(DeviceKind::Gpu).next() {
        Some(_) => DeviceKind::Gpu,
        None => DeviceKind::IntegratedGpu,
    };
    // Two parts of llama.cpp may know the same GPU.
    let first = of(kind).next()?;
    let gpus = of(kind).filter(|gpu| gpu.backend == first.backend);
    gpus.map(|gpu| (gpu.memory.0 > 0).then_some(gpu.memory.1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(backend: &str, kind: DeviceKind, memory: (u64, u64)) -> Device {
        Device {
            name: format!("{backend}0"),
            description: String::new(),
            backend: backend.to_owned(),
            kind,
            memory,
        }
    }

    #[test]
    fn layers_are_placed_on_gpus_and_on_integrated_ones_where_there_is_no_other() {
        let cpu = device("CPU", DeviceKind::Cpu, (64, 60));
        let integrated = device("Vulkan", DeviceKind::IntegratedGpu, (32, 30));
        let cuda = device("CUDA", DeviceKind::Gpu, (24, 20));
        let again = device("Vulkan", DeviceKind::Gpu, (24, 20));
        assert_eq!(free_on_gpus(std::slice::from_ref(&cpu)), None);
        assert_eq!(
            free_on_gpus(&[cpu.clone(), integrated.clone()]),
            Some(vec![30])
        );
        let all = [integrated, cuda.clone(), again, cuda, cpu];
        assert_eq!(free_on_gpus(&all), Some(vec![20, 20]));
        let silent = device("Metal", DeviceKind::Gpu, (0, 0));
        assert_eq!(free_on_gpus(&[silent]), None);
    }
}
