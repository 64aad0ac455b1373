//! How fast packed elements are unpacked on one core, in gigabytes of input a second, beside the definition: bit by
//! bit. With a file, how long its header takes to open.

use std::hint::black_box;
use std::time::Instant;

use vaso::format::vsf;

fn bit_by_bit(bits: usize, packed: &[u8], out: &mut [u16]) {
    let mut at = 0;
    for element in out {
        let mut value = 0;
        for _ in 0..bits {
            value = value << 1 | u16::from(packed[at / 8] >> (7 - at % 8) & 1);
            at += 1;
        }
        *element = value;
    }
}

/// The best of a few runs, in gigabytes a second.
fn best(bytes: usize, mut run: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    bytes as f64 / (0..9).map(time).fold(f64::INFINITY, f64::min) / 1e9
}

fn main() {
    if let Some(path) = std::env::args().nth(1) {
        let bytes = std::fs::read(path).expect("the file is readable");
        let start = Instant::now();
        let file = vsf::open(&bytes).expect("it is a VSF file");
        println!("{} labels in {:?}", file.labels.len(), start.elapsed());
        return;
    }
    // The reference image.
    let count = 4096 * 3072;
    for bits in [10, 12, 14, 9, 13] {
        let packed: Vec<u8> =
            (0..count * bits / 8).map(|n| (n as u32).wrapping_mul(2654435761) as u8).collect();
        let (mut out, mut slow) = (vec![0u16; count], vec![0u16; count]);
        let mut bytes = vec![0u8; count * 2];
        let reference = best(packed.len(), || bit_by_bit(bits, black_box(&packed), &mut slow));
        let fast = best(packed.len(), || vsf::unpack(bits as u32, black_box(&packed), 0, &mut out).unwrap());
        let to_bytes = best(packed.len(), || {
            vsf::unpack_bytes(bits as u32, black_box(&packed), 0, 2, &mut bytes).unwrap()
        });
        let packing =
            best(packed.len(), || drop(black_box(vsf::pack(bits as u32, black_box(&out)).unwrap())));
        assert!(out == slow);
        println!(
            "{bits:2} bits: {fast:.2} GB/s ({:.1} x bit by bit, which is {reference:.3}); to bytes {to_bytes:.2}; packing {packing:.2}",
            fast / reference
        );
    }
}
