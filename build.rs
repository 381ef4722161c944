//! Compiles the few lines of C++ that offer what this crate computes itself to ggml, which has classes for that.

fn main() {
    const SOURCE: &str = "src/backend/llama/cpu/ggml.cpp";
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .warnings(true)
            // llama-cpp-sys-2 names the C++ library.
            .cpp_link_stdlib(None)
            .file(SOURCE)
            .compile("amend_cpu");
    }
}
