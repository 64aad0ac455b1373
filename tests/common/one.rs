//! A VSF file of one section, put together byte by byte.
#![allow(missing_docs)]

use vaso::format::vsf::{self, File, Section};

/// A header of one label, `m`, whose length and offset fit, and a body behind it.
pub fn file(z: u8, count: u8, body: &[u8]) -> Vec<u8> {
    let mut out =
        [b"R\xC3\x85<b3\0z3", &[z][..], b"y3\x01n3\x01(d3\x01mo3\0b5\0\0\0\0n3", &[count], b")>"].concat();
    let header = out.len() as u8;
    out[6] = header;
    out[23] = header;
    out[26..30].copy_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// The section, and the codes of what is odd about it and its file.
pub fn open(bytes: &[u8]) -> (File, Section, Vec<&'static str>) {
    let file = vsf::open(bytes).unwrap_or_else(|e| panic!("{}: {e}", bytes.escape_ascii()));
    let body = file.section(bytes, &file.labels[0]).unwrap();
    let odd = file.oddities(&file.labels[0], &body);
    let all = file.findings.iter().chain(&odd).map(|f| f.code);
    // The size of a body has four bytes here, whatever it is.
    let codes = all.filter(|code| *code != "vsf-wide").collect();
    (file, body.section, codes)
}

pub fn field(name: impl AsRef<[u8]>, value: &[u8]) -> Vec<u8> {
    let name = name.as_ref();
    [b"(d3", &[name.len() as u8][..], name, b":", value, b")"].concat()
}
