//! Channels and events of packages as tables, and what `verify` says of them.
#![cfg(feature = "parquet")]

mod common;

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
