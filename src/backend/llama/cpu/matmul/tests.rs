use std::sync::Barrier;

use llama_cpp_sys_2 as sys;
use llama_cpp_sys_2::{ggml_get_type_traits, ggml_quantize_chunk, ggml_row_size};
use proptest::prelude::*;

use super::super::{Kernel, choose, kernels};
use super::format::Format;
use super::kernel::{Activation, FEW, quantise};
use super::panel::BLOCK;
use super::{ALIGNMENT, Product};

/// Numbers between -1 and 1, the same each time.
fn numbers(count: usize, mut seed: u64) -> Vec<f32> {
    let mut next = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Weights as ggml stores them, and what it takes them for.
fn stored(format: Format, rows: usize, width: usize, seed: u64) -> (Vec<u8>, Vec<f32>) {
    let source = numbers(rows * width, seed);
    let mut read = vec![0.0_f32; rows * width];
    // SAFETY: the buffers hold `rows × width` weights in the format and as numbers.
    unsafe {
        let mut bytes = vec![0_u8; rows * ggml_row_size(format.ggml_type(), width as i64)];
        ggml_quantize_chunk(
            format.ggml_type(),
            source.as_ptr(),
            bytes.as_mut_ptr().cast(),
            0,
            rows as i64,
            width as i64,
            std::ptr::null(),
        );
        let to_numbers = (*ggml_get_type_traits(format.ggml_type()))
            .to_float
            .unwrap();
        to_numbers(
            bytes.as_ptr().cast(),
            read.as_mut_ptr(),
            (rows * width) as i64,
        );
        (bytes, read)
    }
}

/// `rows × width` weights times columns, by several threads.
fn multiply(
    kernel: Kernel,
    format: Format,
    weights: &[u8],
    (rows, width): (usize, usize),
    activations: &[f32],
    threads: usize,
) -> Vec<f32> {
    #[derive(Clone, Copy)]
    struct Shared(Product, *mut u8);
    // SAFETY: the threads share the buffers as `Product::compute` says.
    unsafe impl Send for Shared {}
    let columns = activations.len() / width;
    // Columns of results lie apart, so that what is written between them shows.
    let apart = rows + 3;
    let mut output = vec![f32::NAN; apart * columns];
    let product = Product {
        kernel,
        format,
        weights: weights.as_ptr(),
        row_bytes: weights.len() / rows,
        rows,
        depth: width / BLOCK,
        activations: activations.as_ptr().cast(),
        column_bytes: width * size_of::<f32>(),
        columns,
        output: output.as_mut_ptr().cast(),
        output_bytes: apart * size_of::<f32>(),
    };
    let mut work = vec![0_u8; product.parts(threads)[3] + ALIGNMENT];
    let shared = Shared(product, work.as_mut_ptr());
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let barrier = &barrier;
            scope.spawn(move || {
                let Shared(product, work) = { shared };
                // SAFETY: every thread runs this with the same product and work buffer.
                unsafe {
                    product.compute(thread, threads, work, || {
                        barrier.wait();
                    })
                };
            });
        }
    });
    let mut results = Vec::new();
    for column in output.chunks_exact(apart) {
        let (written, between) = column.split_at(rows);
        assert!(between.iter().all(|number| number.is_nan()));
        results.extend_from_slice(written);
    }
    results
}

/// The product in double precision, with activations rounded as the kernels round them.
fn expected(weights: &[f32], width: usize, activations: &[f32]) -> Vec<f64> {
    let rounded: Vec<f64> = activations
        .chunks_exact(BLOCK)
        .flat_map(|block| {
            let (quants, Activation { scale, .. }) = rounded(block.try_into().unwrap());
            quants.map(|quant| f64::from(quant) * f64::from(scale))
        })
        .collect();
    let mut products = Vec::new();
    for column in rounded.chunks_exact(width) {
        for row in weights.chunks_exact(width) {
            products.push(
                row.iter()
                    .zip(column)
                    .map(|(weight, number)| f64::from(*weight) * number)
                    .sum(),
            );
        }
    }
    products
}

/// Rounds as the kernels do.
fn quantised(numbers: &[f32; BLOCK]) -> ([i8; BLOCK], Activation) {
    let (mut quants, mut block) = ([0; BLOCK], Activation::default());
    // SAFETY: every kernel needs AVX2; both are written whole.
    unsafe { quantise(numbers.as_ptr(), quants.as_mut_ptr(), &raw mut block) };
    (quants, block)
}

/// Rounds as plain code would.
fn rounded(numbers: &[f32; BLOCK]) -> ([i8; BLOCK], Activation) {
    let largest = numbers
        .iter()
        .fold(0.0_f32, |largest, number| largest.max(number.abs()));
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let quants = numbers.map(|number| (number * inverse).round_ties_even() as i8);
    let scale = largest / 127.0;
    let sum = scale * quants.iter().map(|quant| f32::from(*quant)).sum::<f32>();
    (quants, Activation { scale, sum })
}

fn check(format: Format, rows: usize, blocks: usize, columns: usize, threads: usize, seed: u64) {
    let width = blocks * BLOCK;
    let (bytes, weights) = stored(format, rows, width, seed);
    let activations = numbers(columns * width, seed ^ 99);
    let expected = expected(&weights, width, &activations);
    for kernel in kernels().into_iter().filter(|kernel| kernel.reads(format)) {
        let products = multiply(kernel, format, &bytes, (rows, width), &activations, threads);
        for (index, (product, expected)) in products.iter().zip(&expected).enumerate() {
            let difference = (f64::from(*product) - expected).abs();
            // Single precision over sums whose terms are at most one.
            assert!(
                difference < 1e-5 * width as f64,
                "{kernel:?} {format:?}, {rows} rows of {width} by {columns}: product {index} is {product}, not {expected}"
            );
        }
        for (column, one) in activations.chunks_exact(width).enumerate() {
            let alone = multiply(kernel, format, &bytes, (rows, width), one, 1);
            let beside = &products[column * rows..][..rows];
            assert!(
                alone
                    .iter()
                    .zip(beside)
                    .all(|(alone, beside)| alone.to_bits() == beside.to_bits()),
                "{kernel:?} {format:?}: column {column} of {columns} differs from itself alone"
            );
        }
    }
}

#[test]
fn every_format_gives_what_ggml_takes_its_weights_for() {
    for format in Format::ALL {
        check(format, 32, 3, 5, 1, 7);
    }
}

#[test]
fn rows_that_fill_no_tile_and_many_columns_are_right() {
    for format in [Format::Q4_1, Format::Q8_0] {
        check(format, 17, 2, 47, 2, 3);
        check(format, 1, 1, 1, 2, 4);
    }
}

#[test]
fn few_columns_give_to_the_bit_what_they_give_among_many() {
    let width = 5 * BLOCK;
    let bits = |numbers: &[f32]| -> Vec<u32> { numbers.iter().map(|n| n.to_bits()).collect() };
    for format in Format::ALL {
        for rows in [1, 15, 16, 17, 31, 32, 70] {
            let (bytes, _) = stored(format, rows, width, rows as u64);
            let activations = numbers(4 * FEW * width, 21);
            for kernel in kernels().into_iter().filter(|kernel| kernel.reads(format)) {
                let shape = (rows, width);
                let many = multiply(kernel, format, &bytes, shape, &activations, 1);
                for (columns, threads) in (1..=FEW + 1).flat_map(|n| [(n, 1), (n, 3)]) {
                    let first = &activations[..columns * width];
                    let few = multiply(kernel, format, &bytes, shape, first, threads);
                    assert_eq!(
                        bits(&few),
                        bits(&many[..columns * rows]),
                        "{kernel:?} {format:?}, {rows} rows by {columns} on {threads} threads"
                    );
                }
            }
        }
    }
}

#[test]
fn zeros_and_one_large_number_do_not_disturb_their_neighbours() {
    let width = 96;
    for format in Format::ALL {
        let (bytes, weights) = stored(format, 16, width, 5);
        let mut activations = vec![0.0; width];
        activations[40] = 1e6;
        activations[70] = 1e-6;
        let expected = expected(&weights, width, &activations);
        for kernel in kernels().into_iter().filter(|kernel| kernel.reads(format)) {
            let products = multiply(kernel, format, &bytes, (16, width), &activations, 1);
            for (product, expected) in products.iter().zip(&expected) {
                // Single precision beside a term of a million.
                assert!((f64::from(*product) - expected).abs() <= 1.0);
            }
        }
    }
}

#[test]
fn the_largest_quants_and_activations_fit_their_sums() {
    let (rows, blocks) = (16, 2);
    for format in Format::ALL {
        // Scale and min are one, and every bit of every quant is set.
        let mut block = vec![0xff; format.bytes()];
        let one = 0x3c00_u16.to_le_bytes();
        block[..2].copy_from_slice(&one);
        let (quant, min) = match format {
            Format::Q4_1 | Format::Q5_1 => {
                block[2..4].copy_from_slice(&one);
                (f64::from(format.largest()), 1.0)
            }
            // A signed byte of ones.
            Format::Q8_0 => (-1.0, 0.0),
            _ => (
                f64::from(format.largest()),
                -f64::from(format.largest()).div_euclid(2.0) - 1.0,
            ),
        };
        let bytes = block.repeat(rows * blocks);
        for (number, columns) in [(1.0_f32, 1), (-1.0, 1), (1.0, FEW + 1), (-1.0, FEW + 1)] {
            let activations = vec![number; columns * blocks * BLOCK];
            let expected = (quant + min) * f64::from(number) * (blocks * BLOCK) as f64;
            for kernel in kernels().into_iter().filter(|kernel| kernel.reads(format)) {
                let shape = (rows, blocks * BLOCK);
                for product in multiply(kernel, format, &bytes, shape, &activations, 1) {
                    assert!(
                        (f64::from(product) - expected).abs() < 1e-3,
                        "{kernel:?} {format:?}: {product}, not {expected}"
                    );
                }
            }
        }
    }
}

/// The same product as an operation of ggml's CPU backend.
fn through_ggml(
    format: Format,
    weights: &[u8],
    (rows, width): (usize, usize),
    activations: &[f32],
    threads: i32,
) -> Vec<f32> {
    let columns = activations.len() / width;
    let mut output = vec![f32::NAN; rows * columns];
    // SAFETY: tensors, graph and buffer live until they are freed at the end; sizes are those of the tensors.
    unsafe {
        let context = sys::ggml_init(sys::ggml_init_params {
            mem_size: 8 * sys::ggml_tensor_overhead() + sys::ggml_graph_overhead(),
            mem_buffer: std::ptr::null_mut(),
            no_alloc: true,
        });
        let tensor = |kind, columns: usize| {
            sys::ggml_new_tensor_2d(context, kind, width as i64, columns as i64)
        };
        let stored = tensor(format.ggml_type(), rows);
        let numbers = tensor(sys::GGML_TYPE_F32, columns);
        let product = sys::ggml_mul_mat(context, stored, numbers);
        let graph = sys::ggml_new_graph(context);
        sys::ggml_build_forward_expand(graph, product);
        let backend = sys::ggml_backend_cpu_init();
        sys::ggml_backend_cpu_set_n_threads(backend, threads);
        let buffer = sys::ggml_backend_alloc_ctx_tensors(context, backend);
        sys::ggml_backend_tensor_set(stored, weights.as_ptr().cast(), 0, weights.len());
        let bytes = size_of_val(activations);
        sys::ggml_backend_tensor_set(numbers, activations.as_ptr().cast(), 0, bytes);
        assert!(
            !buffer.is_null()
                && choose(true).is_none_or(|kernel| Product::of(kernel, product).is_some())
        );
        assert_eq!(
            sys::ggml_backend_graph_compute(backend, graph),
            sys::GGML_STATUS_SUCCESS
        );
        let bytes = size_of_val(output.as_slice());
        sys::ggml_backend_tensor_get(product, output.as_mut_ptr().cast(), 0, bytes);
        sys::ggml_backend_buffer_free(buffer);
        sys::ggml_backend_free(backend);
        sys::ggml_free(context);
    }
    output
}

#[test]
fn ggml_computes_its_products_here() {
    let Some(kernel) = choose(true) else { return };
    let (rows, width) = (70, 160);
    for format in Format::ALL
        .into_iter()
        .filter(|format| kernel.reads(*format))
    {
        let (bytes, _) = stored(format, rows, width, 11);
        for columns in [1, 3, 19] {
            let activations = numbers(columns * width, 12);
            let here = multiply(kernel, format, &bytes, (rows, width), &activations, 1);
            for threads in 1..4 {
                let there = through_ggml(format, &bytes, (rows, width), &activations, threads);
                assert_eq!(there, here, "{format:?} by {columns} on {threads} threads");
            }
        }
    }
}

#[test]
fn activations_are_rounded_as_plain_code_rounds_them() {
    for (seed, block) in numbers(BLOCK * 200, 3).chunks_exact(BLOCK).enumerate() {
        let scale = 10_f32.powi(seed as i32 % 13 - 6);
        let block: &[f32; BLOCK] = &std::array::from_fn(|i| block[i] * scale);
        if !kernels().is_empty() {
            assert_eq!(quantised(block), rounded(block));
        }
    }
}

#[test]
fn a_block_of_zeros_has_no_scale() {
    if !kernels().is_empty() {
        assert_eq!(
            quantised(&[0.0; BLOCK]),
            ([0; BLOCK], Activation::default())
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn products_are_right_whatever_the_shape(
        format in 0..Format::ALL.len(),
        rows in 1_usize..70,
        blocks in 1_usize..9,
        columns in 1_usize..40,
        threads in 1_usize..4,
        seed: u64,
    ) {
        check(Format::ALL[format], rows, blocks, columns, threads, seed);
    }
}
