//! Channels and events of packages as tables, and what `verify` says of them.
#![cfg(feature = "parquet")]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{As, Mount, Pack, run, succeed, vaso};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use serde_json::Value;
use tempfile::TempDir;

/// A Parquet file of one column without nulls.
fn parquet_of<T: DataType>(schema: &str, values: &[T::T]) -> Vec<u8> {
    let schema = parquet::schema::parser::parse_message_type(schema).unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema.into(), WriterProperties::new().into()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<T>().write_batch(values, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

/// A package with these channels.
fn package(channels: &[u8]) -> (TempDir, PathBuf) {
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let mut pack = Pack::new();
    pack.stored("datasets/d/dataset.json", br#"{"id": "d", "name": "One"}"#);
    pack.stored("datasets/d/channels.parquet", channels);
    pack.write(&path);
    (folder, path)
}

fn cat(path: &Path, file: &str) -> String {
    succeed(vaso(As::Me).arg("cat").arg(path).arg(file))
}

/// The values in an array of one column, as Python writes them.
fn values(path: &Path) -> String {
    let array = run(vaso(As::Me).arg("cat").arg(path).arg("browse/One/channels.npy"));
    assert!(array.status.success(), "{array:?}");
    let file = path.with_extension("npy");
    std::fs::write(&file, array.stdout).unwrap();
    // What a reader without NumPy can do.
    let script = "import struct, sys; b = open(sys.argv[1], 'rb').read(); n = 10 + struct.unpack('<H', b[8:10])[0]; \
                  print([struct.unpack('<d', b[i:i + 8])[0] for i in range(n, len(b), 8)])";
    succeed(Command::new("/usr/bin/python3").args(["-c", script]).arg(file)).trim_end().to_string()
}

/// How `verify` ends, and what it finds: severity, code and path.
fn verified(path: &Path) -> (Option<i32>, Vec<[String; 3]>) {
    let output = run(vaso(As::Me).args(["verify", "--json"]).arg(path));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let word = |f: &Value, key: &str| f[key].as_str().unwrap().to_string();
    let found = said["findings"].as_array().unwrap().iter();
    (output.status.code(), found.map(|f| ["severity", "code", "path"].map(|key| word(f, key))).collect())
}

/// What the findings of a mount say when a file was asked for.
fn told_by_a_mount(path: &Path, file: &str) -> Vec<[String; 3]> {
    let mount = Mount::new(As::Me, path, &["--no-cache"]);
    let _ = std::fs::read(mount.path(file));
    let text = String::from_utf8(mount.read(".vaso/findings.jsonl")).unwrap();
    let word = |f: &Value, key: &str| f[key].as_str().unwrap().to_string();
    let found = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    found.map(|f| ["severity", "code", "path"].map(|key| word(&f, key))).collect()
}

fn finding(severity: &str, code: &str, path: &str) -> [String; 3] {
    [severity, code, path].map(str::to_string)
}

#[test]
fn whole_numbers_of_64_bits_without_a_sign_are_numbers_in_an_array_too() {
    let schema = "message m { required int64 n (UINT_64); }";
    let (_folder, path) = package(&parquet_of::<Int64Type>(schema, &[5, i64::MIN, i64::MIN + 2048]));
    let exact = "n\n5\n9223372036854775808\n9223372036854777856\n";
    assert_eq!(cat(&path, "browse/One/channels.csv"), exact);
    assert_eq!(values(&path), "[5.0, 9.223372036854776e+18, 9.223372036854778e+18]");
    assert_eq!(verified(&path), (Some(0), vec![]));
    let (_folder, path) = package(&parquet_of::<Int64Type>(schema, &[i64::MIN + 1, -1]));
    assert_eq!(cat(&path, "browse/One/channels.csv"), "n\n9223372036854775809\n18446744073709551615\n");
    assert_eq!(values(&path), "[9.223372036854776e+18, 1.8446744073709552e+19]");
    let rounded = finding("notice", "integer-rounded", "browse/One/channels.npy");
    assert_eq!(verified(&path), (Some(0), vec![rounded]));
}

/// As Arrow writes two numbers, packed with codecs that are not built in.
const ZSTD: &str = "504152311500152c153e2c15041500150615061c00000028b52ffd2016b10000020000000401000000000000e03f00000000\
                    0000f83f1504192c35001806736368656d61150200150a2502180174001604191c191c26001c150a1925060019180174150c\
                    1604165216642608491c150015001502003c2906192600040000001652160426081664002820706172717565742d6370702d\
                    6172726f772076657273696f6e2032362e302e31191c1c0000007a00000050415231";
const BROTLI: &str = "504152311500152c15302c15041500150615061c0000001b150000041c72afa59e9026584a42c92c85483710a1f55e1504192c35\
                      001806736368656d61150200150a2502180174001604191c191c26001c150a1925060019180174150816041652165626\
                      08491c150015001502003c2906192600040000001652160426081656002820706172717565742d6370702d6172726f77\
                      2076657273696f6e2032362e302e31191c1c0000007a00000050415231";

#[test]
fn channels_whose_codec_is_not_built_in_are_not_called_damaged() {
    for (name, hex) in [("zstd", ZSTD), ("brotli", BROTLI)] {
        let pairs = (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap());
        let (_folder, path) = package(&pairs.collect::<Vec<u8>>());
        let said = run(vaso(As::Me).arg("cat").arg(&path).arg("browse/One/channels.csv"));
        assert_eq!(said.status.code(), Some(1));
        assert!(String::from_utf8(said.stderr).unwrap().contains(name));
        let csv = finding("warning", "parquet-codec", "browse/One/channels.csv");
        let npy = finding("warning", "parquet-codec", "browse/One/channels.npy");
        assert_eq!(told_by_a_mount(&path, "browse/One/channels.csv"), std::slice::from_ref(&csv));
        assert_eq!(verified(&path), (Some(1), vec![csv, npy]));
    }
}

#[test]
fn channels_that_are_cut_off_are_damaged_to_verify_as_to_a_mount() {
    let whole = parquet_of::<Int64Type>("message m { required int64 n; }", &[1, 2]);
    let (_folder, path) = package(&whole[..whole.len() - 3]);
    let csv = finding("error", "parquet-damaged", "browse/One/channels.csv");
    let npy = finding("error", "parquet-damaged", "browse/One/channels.npy");
    assert_eq!(told_by_a_mount(&path, "browse/One/channels.csv"), std::slice::from_ref(&csv));
    assert_eq!(verified(&path), (Some(1), vec![csv, npy]));
}

#[test]
fn decimals_of_every_kind_are_numbers() {
    let fixed = |bytes: &[u8]| parquet::data_type::FixedLenByteArray::from(bytes.to_vec());
    let many = (-12_345_678_901_234_567_890_123_456_789_012_345_678i128).to_be_bytes();
    for (channels, csv, array) in [
        (
            parquet_of::<FixedLenByteArrayType>(
                "message m { required fixed_len_byte_array(4) x (DECIMAL(9, 2)); }",
                &[fixed(&[0, 0, 0, 0x69]), fixed(&[0xff, 0xff, 0xff, 0xfb])],
            ),
            "x\n1.05\n-0.05\n",
            "[1.05, -0.05]",
        ),
        (
            parquet_of::<parquet::data_type::ByteArrayType>(
                "message m { required binary x (DECIMAL(38, 3)); }",
                &[ByteArray::from(vec![0x69]), ByteArray::from(vec![0xff; 20]), ByteArray::from(vec![])],
            ),
            "x\n0.105\n-0.001\n0.000\n",
            "[0.105, -0.001, 0.0]",
        ),
        (
            parquet_of::<Int64Type>("message m { required int64 x (DECIMAL(18, 2)); }", &[105, -5]),
            "x\n1.05\n-0.05\n",
            "[1.05, -0.05]",
        ),
    ] {
        let (_folder, path) = package(&channels);
        assert_eq!((&cat(&path, "browse/One/channels.csv")[..], &values(&path)[..]), (csv, array));
        assert_eq!(verified(&path), (Some(0), vec![]));
    }
    let schema = "message m { required fixed_len_byte_array(16) x (DECIMAL(38, 38)); }";
    let (_folder, path) = package(&parquet_of::<FixedLenByteArrayType>(schema, &[fixed(&many)]));
    assert_eq!(cat(&path, "browse/One/channels.csv"), "x\n-0.12345678901234567890123456789012345678\n");
    assert_eq!(values(&path), "[-0.12345678901234568]");
    let rounded = finding("notice", "decimal-rounded", "browse/One/channels.npy");
    assert_eq!(verified(&path), (Some(0), vec![rounded]));
}

#[test]
fn numbers_of_16_bits_with_a_fraction_are_numbers() {
    let schema = "message m { required fixed_len_byte_array(2) x (FLOAT16); }";
    let values_of = |bits: u16| parquet::data_type::FixedLenByteArray::from(bits.to_le_bytes().to_vec());
    // One and a half, the smallest and the largest there are, minus nothing, infinity, and no number.
    let bits = [0x3e00, 0x0001, 0x7bff, 0x8000, 0xfc00, 0x7e00];
    let (_folder, path) = package(&parquet_of::<FixedLenByteArrayType>(schema, &bits.map(values_of)));
    let csv = cat(&path, "browse/One/channels.csv");
    assert!(csv.starts_with("x\n1.5\n5.960464477539063e-8\n65504.0\n-0.0\n-inf\n"), "{csv}");
    assert_eq!(values(&path), "[1.5, 5.960464477539063e-08, 65504.0, -0.0, -inf, nan]");
}

#[test]
fn an_event_that_the_view_shows_is_none_that_is_lost_to_verify() {
    let folder = common::folder();
    let path = folder.path().join("P.vaso");
    let events = [
        r#"{"id": "a", "dataset_id": "d", "t": NaN, "label": "x"}"#,
        r#"{"id": "b", "dataset_id": "d", "t": -Infinity}"#,
        "\u{feff}{\"id\": \"c\", \"dataset_id\": \"d\", \"t\": 1.5}",
        r#"{"id": "d", "dataset_id": "d", "t": 01}"#,
        "torn {",
    ];
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, text) in [
        ("manifest.json", common::MANIFEST),
        ("datasets/d/dataset.json", r#"{"id": "d", "name": "One"}"#),
        ("events/events.jsonl", &events.join("\n")),
    ] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    let shown = "id,t_seconds,label,lane,style\na,,x,,\nb,-inf,,,\nc,1.5,,,\n";
    assert_eq!(cat(&path, "browse/One/events.csv"), shown);
    let lost = finding("warning", "event-line-invalid", "events/events.jsonl");
    assert_eq!(verified(&path), (Some(1), vec![lost.clone(), lost]));
}
