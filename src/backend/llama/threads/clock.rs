//! The number of threads of one decode, and how long they had the processor.
//!
//! A context's number of threads is out of reach once it is made. Before every graph, llama.cpp tells it to ggml's CPU
//! backend through a function that it looks up by name; the function that it is given here tells ggml fewer where fewer
//! are wanted, and looks at the clocks.

// A table of functions that ggml keeps.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::time::Instant;

use llama_cpp_sys_2::{
    ggml_backend_cpu_reg, ggml_backend_cpu_set_n_threads, ggml_backend_reg_t, ggml_backend_t,
};

/// The version of [`Registration`]; `GGML_BACKEND_API_VERSION`.
const VERSION: c_int = 3;

/// Finds a function by its name.
type Lookup = unsafe extern "C" fn(ggml_backend_reg_t, *const c_char) -> *mut c_void;

/// What ggml knows of a backend; `ggml-backend-impl.h`.
#[repr(C)]
struct Registration {
    version: c_int,
    name: *const c_void,
    device_count: *const c_void,
    device: *const c_void,
    lookup: Option<Lookup>,
    context: *mut c_void,
}

/// ggml's own lookup; `None` where this program stays away from it.
static LOOKUP: OnceLock<Option<Lookup>> = OnceLock::new();

/// A decode of this thread.
#[derive(Clone, Copy)]
struct Decode {
    /// The most threads.
    most: c_int,
    /// Time, and seconds of the processor that this process had, when its first graph began.
    began: Option<(Instant, f64)>,
}

thread_local! {
    static DECODE: Cell<Decode> = const {
        Cell::new(Decode { most: c_int::MAX, began: None })
    };
}

/// Calls `decode`, which computes with at most `most` threads, and tells the seconds since its first graph began and for
/// how long this process had the processor meanwhile; `None` where that is not known.
pub fn with_threads<T>(most: i32, decode: impl FnOnce() -> T) -> (T, Option<(f64, f64)>) {
    let began = None;
    DECODE.set(Decode { most, began });
    let result = decode();
    let (most, began) = (c_int::MAX, None);
    let spent = DECODE.replace(Decode { most, began }).began;
    let spent = spent.and_then(|(since, before)| {
        let processor = processor_seconds()? - before;
        Some((since.elapsed().as_secs_f64(), processor))
    });
    (result, spent)
}

/// Takes the place of ggml's function that sets the number of threads. Called before any context is made.
pub fn install() {
    LOOKUP.get_or_init(|| {
        // SAFETY: ggml's own static object, and no context exists that would read it now.
        let registration = unsafe { &mut *ggml_backend_cpu_reg().cast::<Registration>() };
        if registration.version != VERSION || processor_seconds().is_none() {
            return None;
        }
        registration.lookup.replace(lookup)
    });
}

/// # Safety
///
/// Called by ggml, with the name of a function.
unsafe extern "C" fn lookup(backend: ggml_backend_reg_t, name: *const c_char) -> *mut c_void {
    // SAFETY: ggml's promise.
    if unsafe { CStr::from_ptr(name) } == c"ggml_backend_set_n_threads" {
        return set_threads as *mut c_void;
    }
    match LOOKUP.get() {
        // SAFETY: what ggml would have called itself.
        Some(Some(lookup)) => unsafe { lookup(backend, name) },
        _ => std::ptr::null_mut(),
    }
}

/// # Safety
///
/// Called by llama.cpp with ggml's CPU backend, on the thread that decodes.
unsafe extern "C" fn set_threads(backend: ggml_backend_t, count: c_int) {
    let mut decode = DECODE.get();
    if decode.began.is_none() {
        decode.began = processor_seconds().map(|seconds| (Instant::now(), seconds));
        DECODE.set(decode);
    }
    // SAFETY: llama.cpp's promise.
    unsafe { ggml_backend_cpu_set_n_threads(backend, count.min(decode.most)) }
}

/// For how long this process had the processor, all its threads together.
#[cfg(unix)]
fn processor_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

#[cfg(not(unix))]
fn processor_seconds() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI32, Ordering};

    use llama_cpp_sys_2 as sys;

    use super::*;

    /// Notes how many threads compute an operation.
    unsafe extern "C" fn note(
        _: *mut sys::ggml_tensor,
        _: *const sys::ggml_tensor,
        _: c_int,
        threads: c_int,
        found: *mut c_void,
    ) {
        // SAFETY: `threads_of` hands over one that outlives the graph.
        unsafe { &*found.cast::<AtomicI32>() }.store(threads, Ordering::Relaxed);
    }

    /// On how many threads a graph is computed after four were asked for, in the way of llama.cpp.
    fn threads_of_four() -> i32 {
        let found = AtomicI32::new(0);
        // SAFETY: tensors, graph and buffer live until they are freed at the end.
        unsafe {
            let context = sys::ggml_init(sys::ggml_init_params {
                mem_size: 4 * sys::ggml_tensor_overhead() + sys::ggml_graph_overhead(),
                mem_buffer: std::ptr::null_mut(),
                no_alloc: true,
            });
            let numbers = sys::ggml_new_tensor_1d(context, sys::GGML_TYPE_F32, 8);
            let place = (&raw const found).cast_mut().cast();
            // As many tasks as there are threads.
            let noted = sys::ggml_map_custom1(context, numbers, Some(note), -1, place);
            let graph = sys::ggml_new_graph(context);
            sys::ggml_build_forward_expand(graph, noted);
            let backend = sys::ggml_backend_cpu_init();
            let buffer = sys::ggml_backend_alloc_ctx_tensors(context, backend);
            let name = c"ggml_backend_set_n_threads";
            let set = sys::ggml_backend_reg_get_proc_address(ggml_backend_cpu_reg(), name.as_ptr());
            let set: unsafe extern "C" fn(ggml_backend_t, c_int) = std::mem::transmute(set);
            set(backend, 4);
            let status = sys::ggml_backend_graph_compute(backend, graph);
            assert_eq!(status, sys::GGML_STATUS_SUCCESS);
            sys::ggml_backend_buffer_free(buffer);
            sys::ggml_backend_free(backend);
            sys::ggml_free(context);
        }
        found.load(Ordering::Relaxed)
    }

    #[test]
    fn a_decode_has_the_threads_that_it_is_given_and_its_time_is_known() {
        install();
        assert_eq!(threads_of_four(), 4);
        let (threads, spent) = with_threads(3, threads_of_four);
        assert_eq!(threads, 3);
        assert_eq!(spent.is_some(), cfg!(unix));
        let (threads, _) = with_threads(9, threads_of_four);
        assert_eq!(threads, 4);
        assert_eq!(threads_of_four(), 4);
    }

    #[test]
    fn other_functions_are_ggmls_own() {
        install();
        let look = |name: &CStr| {
            // SAFETY: a name, and ggml's own backend.
            unsafe { sys::ggml_backend_reg_get_proc_address(ggml_backend_cpu_reg(), name.as_ptr()) }
        };
        assert!(!look(c"ggml_backend_cpu_set_threadpool").is_null());
        assert!(look(c"no_such_function").is_null());
    }
}
