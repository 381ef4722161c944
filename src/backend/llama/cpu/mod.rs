//! What this program computes itself on the processor, faster than ggml does: products of quantised weights
//! ([`matmul`]) and attention ([`attention`]). Everything else, and everything on other processors, is ggml's.
//!
//! [`choose`] offers both to ggml's CPU backend (`ggml.cpp`), whose threads then compute them.

// Vector instructions, and pointers that ggml hands over.
#![allow(unsafe_code)]

mod attention;
mod avx2;
mod avx512;
mod matmul;

use std::sync::OnceLock;

use llama_cpp_sys_2::{
    GGML_BACKEND_DEVICE_TYPE_CPU, ggml_backend_dev_by_type, ggml_backend_dev_t, ggml_tensor,
};

use attention::Attention;
use matmul::Product;

/// Which instructions are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Vectors of 16 numbers, and sums of four byte products in one instruction.
    Avx512Vnni,
    /// Vectors of eight numbers, and sums of two byte products in 16 bits.
    Avx2,
}

impl Kernel {
    /// The best that this processor runs; `None` where ggml is to compute everything.
    pub fn detect() -> Option<Self> {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("popcnt");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        match (avx2, avx512) {
            (true, true) => Some(Self::Avx512Vnni),
            (true, false) => Some(Self::Avx2),
            (false, _) => None,
        }
    }
}

/// The kernel of this process; none where ggml computes everything. It is chosen once, since ggml's threads ask for it
/// several times in the course of an operation.
static CHOICE: OnceLock<Option<Kernel>> = OnceLock::new();

/// Bytes that vectors are aligned to.
const ALIGNMENT: usize = 64;

/// Chooses, on the first call, whether this process computes here what it can, and tells what was chosen. It is called
/// before anything is computed.
pub fn choose(wanted: bool) -> Option<Kernel> {
    *CHOICE.get_or_init(|| {
        let kernel = Kernel::detect().filter(|_| wanted);
        if kernel.is_some() {
            // SAFETY: the device is ggml's own, and nothing is computed yet.
            unsafe {
                amend_cpu_install(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
            }
        }
        kernel
    })
}

/// What ggml hands to the threads that compute an operation; `ggml-cpu-impl.h`.
#[repr(C)]
struct ComputeParams {
    thread: i32,
    threads: i32,
    work_size: usize,
    work: *mut u8,
    pool: *mut std::ffi::c_void,
    reference: bool,
}

unsafe extern "C" {
    /// In `ggml.cpp`.
    fn amend_cpu_install(cpu: ggml_backend_dev_t);
    /// Waits for all threads of an operation; `ggml-cpu-impl.h`.
    fn ggml_barrier(pool: *mut std::ffi::c_void);
}

/// An operation that is computed here.
enum Operation {
    Product(Product),
    Attention(Attention),
}

impl Operation {
    /// What an operation of ggml asks for, if it is computed here.
    ///
    /// # Safety
    ///
    /// `op` is a valid operation.
    unsafe fn of(op: *const ggml_tensor) -> Option<Self> {
        let kernel = CHOICE.get().copied().flatten()?;
        // SAFETY: the caller's promise.
        unsafe {
            Product::of(kernel, op)
                .map(Self::Product)
                .or_else(|| Attention::of(kernel, op).map(Self::Attention))
        }
    }

    /// Bytes that it needs to work in.
    fn work_size(&self, threads: usize) -> usize {
        match self {
            Self::Product(product) => product.work_size(threads),
            Self::Attention(attention) => attention.work_size(threads),
        }
    }
}

/// Whether ggml leaves `op` to this program.
///
/// # Safety
///
/// Called by ggml with a valid operation.
#[unsafe(no_mangle)]
unsafe extern "C" fn amend_cpu_accepts(op: *const ggml_tensor) -> bool {
    // SAFETY: ggml's promise.
    unsafe { Operation::of(op) }.is_some()
}

/// Bytes of work buffer that `op` needs.
///
/// # Safety
///
/// As for [`amend_cpu_accepts`].
#[unsafe(no_mangle)]
unsafe extern "C" fn amend_cpu_work_size(threads: i32, op: *const ggml_tensor) -> usize {
    // SAFETY: ggml's promise.
    unsafe { Operation::of(op) }.map_or(0, |operation| operation.work_size(threads.max(1) as usize))
}

/// Computes a thread's share of `op`; false where it is left to ggml.
///
/// # Safety
///
/// Called by each of ggml's threads, with an operation that was accepted.
#[unsafe(no_mangle)]
unsafe extern "C" fn amend_cpu_compute(params: *mut ComputeParams, op: *mut ggml_tensor) -> bool {
    // SAFETY: ggml's promise; the work buffer is as large as was asked for.
    unsafe {
        let params = &*params;
        let Some(operation) = Operation::of(op) else {
            return false;
        };
        let (thread, threads) = (params.thread as usize, params.threads as usize);
        assert!(operation.work_size(threads) <= params.work_size);
        let barrier = || ggml_barrier(params.pool);
        match operation {
            Operation::Product(product) => product.compute(thread, threads, params.work, barrier),
            Operation::Attention(attention) => {
                attention.compute(thread, threads, params.work, barrier);
            }
        }
        true
    }
}

/// The kernels that this machine runs.
#[cfg(test)]
fn kernels() -> Vec<Kernel> {
    match Kernel::detect() {
        Some(Kernel::Avx512Vnni) => vec![Kernel::Avx512Vnni, Kernel::Avx2],
        Some(Kernel::Avx2) => vec![Kernel::Avx2],
        None => Vec::new(),
    }
}
