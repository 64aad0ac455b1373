//! Few bytes that stand for many, and bytes that do not unwrap: what they cost is bounded, and each is told by name.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use common::{As, folder};
use vaso::finding::Severity;
use vaso::format::vsf::{Builder, Data, Element, Fields, Tensor, Value, Width, Wrapped};
use vaso::tree::Spot;

const MIB: u64 = 1 << 20;

/// A frame of zstd that is so many blocks of 128 KiB of one byte. Its head says how long it is, or does not.
fn frame(blocks: u32, says_size: bool) -> Vec<u8> {
    let mut out = b"\x28\xB5\x2F\xFD".to_vec();
    if says_size {
        out.push(0xA0);
        out.extend_from_slice(&(blocks * (128 << 10)).to_le_bytes());
    } else {
        // A window of 128 KiB.
        out.extend_from_slice(&[0, 7 << 3]);
    }
    for n in 1..=blocks {
        let head = (128u32 << 10) << 3 | 1 << 1 | u32::from(n == blocks);
        out.extend_from_slice(&head.to_le_bytes()[..3]);
        out.push(b'V');
    }
    out
}

fn wrapped(bytes: Vec<u8>) -> Value {
    Value::Wrapped(Wrapped { code: Wrapped::ZSTD, bits: bytes.len() as u64 * 8, data: Data::Bytes(bytes) })
}

/// The most memory that `vaso` took, in bytes, and its exit code.
fn memory(args: &[&str], file: &Path) -> (u64, i32) {
    let script = "import resource, subprocess, sys; \
                  code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; \
                  print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10, code)";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).arg(common::program()).args(&args[..1]).args(&args[1..args.len().min(2)]);
    let said = common::succeed(command.arg(file).args(&args[args.len().min(2)..]));
    let (bytes, code) = said.trim().split_once(' ').unwrap();
    (bytes.parse().unwrap(), code.parse().unwrap())
}

#[test]
fn values_that_unwrap_to_a_gigabyte_take_no_more_than_the_budget() {
    let home = folder();
    for says_size in [true, false] {
        let mut fields = Fields::new();
        for n in 0..60 {
            fields.add(&format!("f{n:02}"), &wrapped(frame(128, says_size))).unwrap();
        }
        let mut builder = Builder::new();
        builder.section("cam", fields).unwrap();
        let path = home.path().join(format!("Bomb{says_size}.vsf"));
        fs::write(&path, builder.to_bytes().unwrap()).unwrap();
        for args in [&["ls", "-lR"][..], &["verify"], &["cat", "--", "cam/f00.bin"]] {
            let (bytes, code) = memory(args, &path);
            assert!(bytes < 120 * MIB, "{args:?}: {bytes} bytes of memory");
            assert!(code == 0 || !says_size, "{args:?}: {code}");
        }
        let project = common::open(&path).unwrap();
        let cam = Spot::top(project.clone()).child(b"cam").unwrap().unwrap();
        let shown = (0..60).filter_map(|n| cam.child(format!("f{n:02}.bin").as_bytes()).unwrap()).count();
        // Where nobody says how long they are, they are unwrapped to be counted up to 256 MiB.
        let codes: Vec<_> = project.findings().list().iter().map(|f| f.code).collect();
        let expected = if says_size { (60, 0) } else { (16, 44) };
        assert_eq!((shown, codes.iter().filter(|code| **code == "vsf-too-large").count()), expected);
        for n in 0..shown {
            let file = cam.child(format!("f{n:02}.bin").as_bytes()).unwrap().unwrap();
            assert_eq!(file.size().unwrap(), 16 * MIB);
            let mut end = [0; 3];
            assert_eq!(file.branch.open(file.node).unwrap().read_at(16 * MIB - 2, &mut end).unwrap(), 2);
            assert_eq!(&end, b"VV\0");
        }
    }
}

#[test]
fn tensors_that_have_to_be_gathered_are_not_read_to_be_listed() {
    let home = folder();
    let path = home.path().join("Permuted.vsf");
    let mut body = b"[".to_vec();
    let mut holes = Vec::new();
    let start = 200u64;
    let mut at = start + 1;
    let (mut heads, size) = (Vec::new(), 60 * MIB);
    for n in 0..12u8 {
        // 60 x 1024 x 1024, the second index the fastest.
        let head =
            [b"(d3\x02t", &[b'a' + n][..], b":q3\x03u33\x3C4\x04\x004\x04\x005\0\x10\0\x003\x014\x04\0"]
                .concat();
        heads.push((at, head.clone()));
        at += head.len() as u64 + size;
        holes.push(at);
        at += 1;
    }
    body.clear();
    let total = at + 1 - start;
    let mut header = b"R\xC3\x85<z3\x02y3\x01n3\x01(d3\x03camo3\xC8b6".to_vec();
    header.extend_from_slice(&total.to_be_bytes());
    header.extend_from_slice(b"n3\x0C)>");
    let file = File::create(&path).unwrap();
    file.write_all_at(&header, 0).unwrap();
    file.write_all_at(b"[", start).unwrap();
    heads.iter().for_each(|(at, head)| file.write_all_at(head, *at).unwrap());
    holes.iter().for_each(|at| file.write_all_at(b")", *at).unwrap());
    file.write_all_at(b"]", at).unwrap();
    let project = common::open(&path).unwrap();
    let cam = Spot::top(project.clone()).child(b"cam").unwrap().unwrap();
    for n in 0..12u8 {
        let array = cam.child(&[b't', b'a' + n, b'.', b'n', b'p', b'y']).unwrap().unwrap();
        assert_eq!(array.size().unwrap(), 60 * MIB + 128);
    }
    let (bytes, code) = memory(&["ls", "-lR"], &path);
    assert_eq!(code, 0);
    assert!(bytes < 60 * MIB, "{bytes} bytes of memory");
}

/// Through several blocks, in order and not, against what the indices lead to.
#[test]
fn blocks_of_a_large_view_are_what_the_indices_lead_to() {
    let home = folder();
    let path = home.path().join("Large.vsf");
    for (shape, strides) in [
        // The closest in the file are the furthest apart in the view; the same, with blocks that end within rows; and
        // three channels, a plane each.
        (vec![1024usize, 5, 2000], vec![1usize, 2000 * 1024, 1024]),
        (vec![5, 2000, 1023], vec![1, 5 * 1023, 5]),
        (vec![3, 1500, 2100], vec![1, 3 * 2100, 3]),
    ] {
        let count: usize = shape.iter().product();
        let stored = common::noise(count as u64, count * 2);
        let data = Data::Bytes(stored.clone());
        let element = Element::Unsigned(Width::W4);
        let (shape, strides) = (shape.clone(), strides.clone());
        let tensor =
            Tensor { element, shape: shape.clone(), strides: Some(strides.clone()), vector: false, data };
        let mut fields = Fields::new();
        fields.add("t", &Value::Tensor(tensor)).unwrap();
        let mut builder = Builder::new();
        builder.section("cam", fields).unwrap();
        fs::write(&path, builder.to_bytes().unwrap()).unwrap();
        let mut expected = Vec::with_capacity(count * 2);
        for i in 0..shape[0] {
            for j in 0..shape[1] {
                for k in 0..shape[2] {
                    let place = i * strides[0] + j * strides[1] + k * strides[2];
                    expected.extend_from_slice(&stored[2 * place..][..2]);
                }
            }
        }
        let cam = Spot::top(common::open(&path).unwrap()).child(b"cam").unwrap().unwrap();
        let file = cam.child(b"t.npy").unwrap().unwrap();
        let content = file.branch.open(file.node).unwrap();
        let head = content.size() as usize - expected.len();
        let mut buf = vec![0; 128 << 10];
        // Not quite in order, as the kernel reads ahead.
        let mut places: Vec<usize> = (0..expected.len()).step_by(buf.len()).collect();
        places.chunks_exact_mut(4).for_each(|four| four.swap(1, 2));
        places.insert(0, expected.len() - 3);
        for at in places {
            let n = content.read_at((head + at) as u64, &mut buf).unwrap();
            assert!(
                n == buf.len().min(expected.len() - at) && buf[..n] == expected[at..at + n],
                "{shape:?} {at}"
            );
        }
    }
}

/// Elements of every width in every order, against what the indices lead to.
#[test]
fn gathered_elements_read_alike_at_any_place() {
    let home = folder();
    for (element, shape, strides) in [
        (Element::Unsigned(Width::W4), vec![3usize, 70, 90], vec![1usize, 270, 3]),
        (Element::F6, vec![40, 30, 20], vec![1, 800, 40]),
        (Element::Scalar(Width::W5, Width::W3), vec![20, 7, 11], vec![7, 1, 140]),
        (Element::Unsigned(Width::W7), vec![5, 6, 7], vec![6, 1, 30]),
        (Element::Bool, vec![13, 21], vec![1, 13]),
        (Element::Bool, vec![3, 5, 7], vec![7, 21, 1]),
        (Element::Unsigned(Width::W3), vec![4, 6], vec![0, 1]),
        (Element::Unsigned(Width::W3), vec![41, 3, 9, 67], vec![3, 1, 41 * 3 * 67, 41 * 3]),
        (Element::Bool, vec![9, 35, 33], vec![1, 9 * 33, 9]),
        (Element::Unsigned(Width::W5), vec![3, 50, 70], vec![50, 1, 150]),
        (Element::Circle(Width::W3, Width::W4), vec![50, 7, 10], vec![1, 500, 50]),
    ] {
        let bits = element.bits() as usize;
        let count: usize = shape.iter().product();
        let stored = common::noise(bits as u64, (count * bits).div_ceil(8));
        let tensor = Tensor {
            element,
            shape: shape.clone(),
            strides: Some(strides.clone()),
            vector: false,
            data: Data::Bytes(stored.clone()),
        };
        let mut fields = Fields::new();
        // The first shares its last piece of the file with the second.
        fields.add("before", &Value::Tensor(tensor.clone())).unwrap();
        fields.add("t", &Value::Tensor(tensor)).unwrap();
        let mut builder = Builder::new();
        builder.section("cam", fields).unwrap();
        let path = home.path().join("Gathered.vsf");
        fs::write(&path, builder.to_bytes().unwrap()).unwrap();
        let mut expected = Vec::new();
        for n in 0..count {
            let (mut rest, mut place) = (n, 0);
            for (length, step) in shape.iter().zip(&strides).rev() {
                place += rest % length * step;
                rest /= length;
            }
            match bits {
                1 => expected.push(u8::from(stored[place / 8] & (0x80 >> (place % 8)) != 0)),
                _ => expected.extend_from_slice(&stored[place * bits / 8..(place + 1) * bits / 8]),
            }
        }
        let project = common::open(&path).unwrap();
        let top = Spot::top(project);
        for name in ["before.npy", "t.npy"] {
            let file = top.child(b"cam").unwrap().unwrap().child(name.as_bytes()).unwrap().unwrap();
            let content = file.branch.open(file.node).unwrap();
            let head = content.size() - expected.len() as u64;
            // A little first, which is not gathered in blocks.
            let middle = expected.len() / 2;
            let places = [(1, 5), (middle, 9), (0, expected.len()), (1, 5), (middle, 999)];
            let places = places.into_iter().chain([(expected.len() - 3, 9)]);
            for (at, len) in places {
                let mut buf = vec![0; len.min(expected.len() - at)];
                assert_eq!(content.read_at(head + at as u64, &mut buf).unwrap(), buf.len());
                assert_eq!(buf, expected[at..at + buf.len()], "{element} {at}");
            }
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_does_not_unwrap_is_told_by_its_name() {
    let home = folder();
    let mut lie = frame(3, true);
    lie[5] ^= 1;
    // `printf 'wrapped literally, and checked' | zstd --check`, with a letter changed.
    let checked =
        b"\x28\xb5\x2f\xfd\x24\x1e\xf1\x00\x00wrapped literally, and checkeD\x14\x3f\x66\xd7".to_vec();
    let mut nested = Fields::new();
    nested.add("deep", &wrapped(b"no frame at all".to_vec())).unwrap();
    let mut fields = Fields::new();
    for (name, bytes) in [
        ("good", frame(2, true)),
        ("lie", lie),
        ("checked", checked),
        ("noise", b"no frame".to_vec()),
        ("large", frame(129, true)),
        ("unsaid", frame(129, false)),
    ] {
        fields.add(name, &wrapped(bytes)).unwrap();
    }
    fields.add_section("nest", nested).unwrap();
    let mut builder = Builder::new();
    builder.section("cam", fields).unwrap();
    let path = home.path().join("Broken.vsf");
    fs::write(&path, builder.to_bytes().unwrap()).unwrap();
    let told = |verify: bool| {
        let project = common::open(&path).unwrap();
        let cam = Spot::top(project.clone()).child(b"cam").unwrap().unwrap();
        let names: Vec<String> =
            cam.children().map(|spot| String::from_utf8(spot.name().to_vec()).unwrap()).collect();
        for name in names.iter().filter(|name| name.ends_with(".bin")) {
            let file = cam.child(name.as_bytes()).unwrap().unwrap();
            let mut byte = [0];
            let read = file.branch.open(file.node).unwrap().read_at(0, &mut byte);
            assert_eq!(read.is_ok(), name == "good.bin", "{name}: {read:?}");
        }
        if verify {
            project.verify(&mut |_, _| ()).unwrap();
        }
        let list = project.findings().list();
        let list: std::collections::BTreeSet<_> =
            list.iter().filter(|f| f.severity < Severity::Notice).map(|f| (f.path.clone(), f.code)).collect();
        let bins: Vec<String> = names.into_iter().filter(|name| name.ends_with(".bin")).collect();
        (bins, list)
    };
    let expected = [
        ("cam/checked", "vsf-wrapped"),
        ("cam/large", "vsf-too-large"),
        ("cam/lie", "vsf-wrapped"),
        ("cam/nest/deep", "vsf-wrapped"),
        ("cam/noise", "vsf-wrapped"),
        ("cam/unsaid", "vsf-too-large"),
    ];
    let expected: std::collections::BTreeSet<_> =
        expected.into_iter().map(|(path, code)| (path.to_string(), code)).collect();
    for verify in [false, true] {
        let (bins, list) = told(verify);
        assert_eq!(bins, ["checked.bin", "good.bin", "lie.bin"]);
        assert_eq!(list, expected);
    }
    // Without a look at the files.
    let project = common::open(&path).unwrap();
    project.verify(&mut |_, _| ()).unwrap();
    let list = project.findings().list();
    assert_eq!(
        list.iter().map(|f| (f.path.clone(), f.code)).collect::<std::collections::BTreeSet<_>>(),
        expected
    );
}

/// Sections, of which the last is cut off, or broken in its middle: everything else is written, and that is told.
#[test]
fn what_is_lost_of_a_file_does_not_keep_the_rest_from_being_copied() {
    let home = folder();
    let mut builder = Builder::new();
    for name in ["first.part", "second", "last"] {
        let mut fields = Fields::new();
        fields.add("a", &Value::Unsigned(Width::W3, 7)).unwrap();
        fields.add("b", &Value::Unsigned(Width::W4, 1000)).unwrap();
        builder.section(name, fields).unwrap();
    }
    let whole = builder.to_bytes().unwrap();
    let mut broken = whole.clone();
    let at = broken.len() - 6;
    broken[at] = b'!';
    let cut = whole[..whole.len() - 3].to_vec();
    for (name, bytes, copies) in [("Whole", &whole, 0), ("Cut", &cut, 1), ("Broken", &broken, 0)] {
        let path = home.path().join(format!("{name}.vsf"));
        fs::write(&path, bytes).unwrap();
        let vaso = |args: &[&Path]| common::command(As::Me, common::program()).args(args).output().unwrap();
        let unpacked = home.path().join(format!("{name}-unpacked"));
        let output = vaso(&[Path::new("vsf"), Path::new("unpack"), &path, &unpacked]);
        assert_eq!(output.status.code(), Some(i32::from(name != "Whole")), "{name}: {output:?}");
        let copied = home.path().join(format!("{name}-copied"));
        let output = vaso(&[Path::new("cp"), &path, Path::new("."), &copied]);
        assert_eq!(output.status.code(), Some(copies), "{name}: {output:?}");
        for dir in [&unpacked, &copied] {
            for file in ["first/part", "second"] {
                assert_eq!(fs::read(dir.join(file).join("b")).unwrap(), b"1000\n");
            }
            assert_eq!(fs::read(dir.join("last/a")).ok(), (name != "Cut").then(|| b"7\n".to_vec()));
        }
        assert!(unpacked.join(".vsf-record.json").exists());
    }
}
