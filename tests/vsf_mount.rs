//! Mounted VSF files: what NumPy maps of them, and what readers see when a file is cut off under them.

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};

use common::{As, Mount, Reader, drop_caches, eventually, everybody, folder, noise};
use vaso::format::vsf::{self, Builder, Data, Element, Fields, Packed, Tensor, Value, Width};

const EIO: i32 = 5;

/// Bytes of each array and blob of [`shot`].
const LARGE: usize = 600_000;

fn values(n: u128) -> Fields {
    let mut fields = Fields::new();
    fields.add("exposure", &Value::Unsigned(Width::W5, n)).unwrap();
    fields.add("camera", &Value::Ascii(b'l', Data::Bytes(b"left".to_vec()))).unwrap();
    fields
}

/// Sections, arrays and raw bytes in front, and the same behind them.
fn shot() -> Vec<u8> {
    let mut builder = Builder::new();
    for (n, half) in ["front", "back"].into_iter().enumerate() {
        builder.section(&format!("{half}.meta"), values(n as u128)).unwrap();
        let mut fields = Fields::new();
        let tensor = Tensor {
            element: Element::Unsigned(Width::W4),
            shape: vec![LARGE / 2],
            strides: None,
            vector: false,
            data: Data::Bytes(noise(n as u64, LARGE)),
        };
        let packed =
            Packed { bits: 12, shape: vec![LARGE / 3 * 2], design: true, data: Data::Bytes(noise(9, LARGE)) };
        fields.add("pixels", &Value::Tensor(tensor)).unwrap();
        fields.add("raw", &Value::Packed(packed)).unwrap();
        builder.section(&format!("{half}.image"), fields).unwrap();
        builder.blob(&format!("{half}.blob"), noise(5 + n as u64, LARGE)).unwrap();
    }
    builder.to_bytes().unwrap()
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

const FILES: [&str; 5] =
    ["image/pixels.npy", "image/raw.npy", "image/raw.packed", "blob.bin", "meta/exposure"];

fn all_files() -> Vec<String> {
    ["front", "back"].iter().flat_map(|half| FILES.map(|file| format!("{half}/{file}"))).collect()
}

/// Where a section of the file ends.
fn end_of(file: &vsf::File, name: &str) -> u64 {
    let label = file.labels.iter().find(|label| label.name == name.as_bytes()).unwrap();
    file.range(label).unwrap().end
}

/// A process that has mapped a file, and touches its last byte when it is told to.
fn mapper(who: As, path: &Path) -> Child {
    let script = "import mmap, sys; f = open(sys.argv[1], 'rb'); \
                  m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ); \
                  print(m[0], flush=True); sys.stdin.readline(); print(m[-1], flush=True)";
    let mut command = common::command(who, "/usr/bin/python3");
    command.args(["-c", script]).arg(path).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    assert!(!line.is_empty(), "the file was mapped");
    child
}

#[test]
fn r7_a_vsf_file_cut_off_under_its_readers_gives_errors_and_no_dead_mount() {
    let bytes = shot();
    let file = vsf::open(&bytes).unwrap();
    let header = file.header.span.end;
    // Within the last blob, the unpacked image, the plain image, between the halves, and into the header.
    let cuts = [
        bytes.len() as u64 - 1,
        end_of(&file, "back.image") - 1000,
        end_of(&file, "back.meta") + 1000,
        end_of(&file, "front.blob"),
        header - 10,
        3,
        0,
    ];
    for (who, cut) in everybody().into_iter().flat_map(|who| cuts.map(|cut| (who, cut))) {
        let home = folder();
        let path = home.path().join("Shot.vsf");
        write(&path, &bytes);
        let mount = Mount::new(who, &path, &[]);
        let mut reader = Reader::new(who);
        let whole: Vec<Vec<u8>> =
            all_files().iter().map(|name| reader.whole(&mount.path(name)).unwrap()).collect();
        for name in all_files() {
            reader.open(&name, &mount.path(&name)).unwrap();
        }
        drop_caches();
        let mut mapped = mapper(who, &mount.path("back/blob.bin"));

        OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        drop_caches();

        // Through what is open: the bytes that were there, or an error.
        for (name, whole) in all_files().iter().zip(&whole) {
            let last = whole.len().saturating_sub(4096) as u64;
            if name.starts_with("back") && !name.ends_with("exposure") {
                eventually("reading fails", || reader.pread(name, last, 4096) == Err(EIO));
            }
            for at in [0, last / 2, last] {
                let read = reader.pread(name, at, 4096);
                let there = &whole[at as usize..(at as usize + 4096).min(whole.len())];
                assert!(read == Err(EIO) || read.as_deref() == Ok(there), "{name} {at} {cut}");
            }
        }
        // Who has mapped a file learns it by a signal.
        drop(mapped.stdin.take());
        let ended = mapped.wait_with_output().unwrap();
        assert!(ended.status.signal() == Some(7), "{cut}: {ended:?}");
        assert!(mount.is_alive(), "{who:?} {cut}");

        // Opened anew: what lies before the cut is as it was, the rest is an error.
        for (name, whole) in all_files().iter().zip(&whole) {
            let section = name.rsplit_once('/').unwrap().0.replace('/', ".");
            let label = if name.ends_with(".bin") { section + ".blob" } else { section };
            if cut >= end_of(&file, &label) {
                let what = format!("cut at {cut}: {name} is there");
                eventually(&what, || reader.whole(&mount.path(name)).as_ref() == Ok(whole));
            } else if cut >= header {
                eventually(&format!("cut at {cut}: {name} is lost"), || {
                    reader.whole(&mount.path(name)).is_err()
                });
            }
        }
        assert!(!reader.list(&mount.dir).is_empty());
        assert!(mount.is_alive(), "{who:?} {cut}");

        // And when the file is back, all of it is.
        write(&path, &bytes);
        for (name, whole) in all_files().iter().zip(&whole) {
            let what = format!("cut at {cut}, and back: {name} is there");
            eventually(&what, || reader.whole(&mount.path(name)).as_ref() == Ok(whole));
        }
        drop(reader);
        mount.unmount();
    }
}

/// Runs `vsf_maps.py`, which has arrays of its own and another reader; what it says.
fn maps(who: As, args: &[&Path]) -> String {
    // Where an ordinary user can read it.
    let scripts = folder();
    for name in ["vsf_maps.py", "vsf_reader.py", "vsf_writer.py"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
        fs::copy(from, scripts.path().join(name)).unwrap();
        fs::set_permissions(scripts.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let mut command = common::command(who, "/usr/bin/python3");
    command.arg("-B").arg(scripts.path().join("vsf_maps.py")).args(args).current_dir("/");
    common::succeed(&mut command).trim_end().to_string()
}

#[test]
fn numpy_maps_arrays_of_every_kind() {
    for who in everybody() {
        let home = folder();
        let path = home.path().join("Arrays.vsf");
        maps(who, &[Path::new("write"), &path]);
        let mount = Mount::new(who, &path, &[]);
        let said = maps(who, &[Path::new("check"), &path, &mount.dir]);
        assert_eq!(said, "109");
        mount.unmount();
    }
}

#[test]
fn numpy_maps_every_array_of_the_corpus() {
    let corpus = common::data("vsf.tar.xz");
    let mut said = Vec::new();
    for set in ["z2", "z5", "z7", "z8", "z10", "seed"] {
        let from = corpus.path().join("vsf").join(set);
        let folder = folder();
        let mut mounts = Vec::new();
        for entry in fs::read_dir(&from).unwrap().map(|e| e.unwrap()) {
            if entry.path().extension().is_some_and(|e| e == "vsf") {
                let dir = folder.path().join(entry.file_name());
                fs::create_dir(&dir).unwrap();
                mounts.push(Mount::at(As::Me, &entry.path(), &dir, &[]));
            }
        }
        said.push((set, maps(As::Me, &[Path::new("corpus"), &from, folder.path()])));
    }
    // Files and arrays.
    let expected = [
        ("z2", "17 67"),
        ("z5", "12 25"),
        ("z7", "12 25"),
        ("z8", "12 25"),
        ("z10", "23 56"),
        ("seed", "13 19"),
    ];
    assert_eq!(said.iter().map(|(set, said)| (*set, said.as_str())).collect::<Vec<_>>(), expected);
}
