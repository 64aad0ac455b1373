//! The verbs of VSF files: taken apart and put together again, nothing is lost; and what is signed is known.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value as Json, json};
use vaso::format::vsf::{
    self, Algorithm, Count, Data, EagleTime, Kind, Mark, Outcome, Packed, Sealed, Sealing, Tensor, Value,
};

fn vaso(args: &[&Path]) -> Output {
    common::command(common::As::Me, common::program()).arg("vsf").args(args).output().unwrap()
}

fn run(verb: &str, args: &[&Path]) -> Output {
    vaso(&[&[Path::new(verb)], args].concat())
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A value with its bytes, in the form that the writer gives it.
fn loaded(value: &Value, input: &[u8]) -> String {
    let load = |data: &Data| Data::Bytes(data.load(&input).unwrap());
    let sealed = |s: &Sealed| Sealed { algorithm: s.algorithm, data: load(&s.data) };
    let value = match value.clone() {
        // Of a strided one, what its indices lead to: the rest has no meaning.
        Value::Tensor(t) => return view(&t, &t.data.load(&input).unwrap()),
        Value::Packed(p) => Value::Packed(Packed { data: load(&p.data), design: true, ..p }),
        Value::Name(d) => Value::Name(load(&d)),
        Value::Ascii(letter, d) => Value::Ascii(letter, load(&d)),
        Value::Text(chars, d) => Value::Text(chars, load(&d)),
        Value::Opaque(d) => Value::Opaque(load(&d)),
        Value::Wrapped(w) => Value::Wrapped(vsf::Wrapped { data: load(&w.data), ..w }),
        Value::Hash(s) => Value::Hash(sealed(&s)),
        Value::Signature(s) => Value::Signature(sealed(&s)),
        Value::Key(s) => Value::Key(sealed(&s)),
        Value::Mac(l, s) => Value::Mac(l, sealed(&s)),
        Value::Time(t) => {
            let float = matches!(t.count, Count::F5(_) | Count::F6(_));
            Value::Time(EagleTime { mark: if float { Mark::Design } else { t.mark }, ..t })
        }
        Value::Section(s) => {
            return format!("{:?}", s.fields.iter().map(|f| field(f, input)).collect::<Vec<_>>());
        }
        other => other,
    };
    match &value {
        // Bits, so that no NaN hides behind another.
        Value::F5(n) => format!("f5 {:x}", n.to_bits()),
        Value::F6(n) => format!("f6 {:x}", n.to_bits()),
        other => format!("{other:?}"),
    }
}

fn view(t: &Tensor, stored: &[u8]) -> String {
    let head = format!("{:?} {:?} {:?}", t.element, t.shape, t.strides);
    let Some(strides) = t.strides.as_ref().filter(|_| t.is_within() && t.element.bits() >= 8) else {
        return format!("{head} {stored:?}");
    };
    let width = t.element.bits() as usize / 8;
    let mut elements = Vec::new();
    for n in 0..t.count() as usize {
        let (mut n, mut at) = (n, 0);
        for (length, stride) in t.shape.iter().zip(strides).rev() {
            at += n % length * stride;
            n /= length;
        }
        elements.push(&stored[at * width..(at + 1) * width]);
    }
    format!("{head} {elements:?}")
}

fn field(field: &vsf::Field, input: &[u8]) -> String {
    let values: Vec<String> = match field.reference() {
        Some(reference) => {
            let range = reference.range(input.len() as u64).unwrap();
            // What it refers to may lie elsewhere now.
            vec![format!("{:?}", blake3::hash(&input[range.start as usize..range.end as usize]))]
        }
        None => field.values.iter().map(|item| loaded(&item.value, input)).collect(),
    };
    format!("{}: {values:?}", field.name.escape_ascii())
}

/// Everything that a file says, by the names of its labels.
fn said(bytes: &[u8]) -> BTreeMap<Vec<u8>, String> {
    let file = vsf::open(bytes).unwrap();
    let label = |label: &vsf::Label| match label.kind() {
        Kind::Blob => {
            let range = file.range(label).unwrap();
            format!("{:?}", blake3::hash(&bytes[range.start as usize..range.end as usize]))
        }
        Kind::Section => {
            let section = file.section(bytes, label).unwrap().section;
            assert_eq!(section.rest, None);
            format!("{:#?}", section.fields.iter().map(|f| field(f, bytes)).collect::<Vec<_>>())
        }
        other => panic!("{other:?}"),
    };
    let mut said: BTreeMap<_, _> = file.labels.iter().map(|l| (l.name.clone(), label(l))).collect();
    for label in &file.labels {
        for item in &label.values {
            let what = format!("{}: a value of type {} in its label", label.title(), item.value.kind());
            said.insert(what.into_bytes(), loaded(&item.value, bytes));
        }
    }
    for item in &file.header.items {
        let text = match &item.value {
            // They follow from the rest.
            Value::Number(b'b' | b'z' | b'y' | b'n' | b'l' | b'L', _) => continue,
            // Of other bytes it is another one.
            Value::Hash(s) if s.algorithm == Algorithm::Letter(b'b') => "hb".to_string(),
            other => loaded(other, bytes),
        };
        said.insert(format!("a value of type {} in the header", item.value.kind()).into_bytes(), text);
    }
    if let Some(trailing) = &file.trailing {
        let range = trailing.span.start as usize..trailing.span.end as usize;
        said.insert(b"bytes behind the last section".to_vec(), format!("{:?}", &bytes[range]));
    }
    said
}

fn corpus(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for set in ["seed", "z2", "z5", "z7", "z8", "z10"] {
        let entries = fs::read_dir(folder.join("vsf").join(set)).unwrap().map(|e| e.unwrap().path());
        found.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "vsf")));
    }
    found.sort();
    found
}

#[test]
fn what_was_unpacked_is_packed_again_with_every_value() {
    let folder = common::data("vsf.tar.xz");
    let (mut equal, mut refused) = (0, Vec::new());
    for path in corpus(folder.path()) {
        let name = path.strip_prefix(folder.path().join("vsf")).unwrap().display().to_string();
        let dir = folder.path().join(name.replace('/', "_"));
        let copy = dir.with_extension("copy");
        let unpacked = run("unpack", &[&path, &dir]);
        done(&unpacked);
        let told = String::from_utf8(unpacked.stderr).unwrap();
        let output = run("pack", &[&dir, &copy]);
        fs::remove_dir_all(&dir).unwrap();
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1));
            assert!(!copy.exists());
            assert!(told.contains("cannot be packed again"), "{name} was unpacked without a word: {told}");
            refused.push(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
            continue;
        }
        assert!(!told.contains("cannot be packed again"), "{name}: {told}");
        let (before, after) = (fs::read(&path).unwrap(), fs::read(&copy).unwrap());
        let (mut expected, found) = (said(&before), said(&after));
        // Of what is told when unpacking, nothing else is missing.
        expected
            .retain(|what, _| !told.contains(std::str::from_utf8(what).unwrap()) || found.contains_key(what));
        assert_eq!(expected, found, "{name}");
        same_to_another_reader(&path, &copy);
        equal += 1;
    }
    // Values that stand in the header, and numbers that mean something else in the design.
    let expected = ["z10/inline_fields.vsf", "z10/multi_value_flags_dupes.vsf", "z10/spirix.vsf"];
    let refused: Vec<&str> = refused.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(refused, expected);
    assert_eq!(equal, 86);
}

/// A file of one section, with `more` in its header.
fn with_in_header(more: &[u8]) -> Vec<u8> {
    let head = [b"R\xC3\x85<z3\x02y3\x01", more, b"n3\x01(d3\x01ao3"].concat();
    let start = head.len() + b"\x20b3\x0Cn3\x01)>".len();
    [&head[..], &[start as u8], b"b3\x0Cn3\x01)>", b"[(d3\x01k:u3\x07)]"].concat()
}

/// What a file says beside its sections goes with it, or is told.
#[test]
fn what_stands_beside_the_sections_is_kept_or_told() {
    let folder = common::folder();
    let trip = |name: &str, file: &[u8]| {
        let at = |suffix: &str| folder.path().join(format!("{name}{suffix}"));
        fs::write(at(".vsf"), file).unwrap();
        let unpacked = run("unpack", &[&at(".vsf"), &at("")]);
        done(&unpacked);
        let packed = run("pack", &[&at(""), &at(".copy")]);
        let copy = packed.status.success().then(|| fs::read(at(".copy")).unwrap());
        (copy, String::from_utf8(unpacked.stderr).unwrap())
    };
    // Times in all forms; none of them has another value.
    for (name, time) in [
        ("t6", &b"T6\0\0\0\0\x6D\x4B\xB2\xC4"[..]),
        ("t5", b"T5\x12\x34\x56\x78"),
        ("real", b"t6\x41\xDA\x12\x34\x56\x78\x9A\xBC"),
        ("oscillations", b"e6\x23\x16\x5E\x86\x01\x02\x03\x04"),
        ("typed", b"ei6\0\0\0\0\x6D\x4B\xB2\xC4"),
        ("unsigned", b"eu5\x6D\x4B\xB2\xC4"),
        ("looks_like_a_hash", b"T7\0\0\0\0\0\0\0\0\0\0\0hb3\x1F\0"),
    ] {
        for hash in [&b""[..], &[b"hb3\x1F", &[0; 32][..]].concat()] {
            let file = with_in_header(&[time, hash].concat());
            let (copy, told) = trip(&format!("{name}{}", hash.len()), &file);
            let copy = copy.unwrap_or_else(|| panic!("{name}: {told}"));
            assert_eq!(said(&file), said(&copy), "{name}");
            assert!(copy.windows(time.len()).any(|w| w == time), "{name}");
            assert!(told.is_empty(), "{told}");
            let right = (Sealing::FileHash, Outcome::Right);
            let expected = if hash.is_empty() { vec![] } else { vec![right] };
            assert_eq!(checks(&folder.path().join(format!("{name}{}.copy", hash.len()))), expected);
        }
    }
    // Seals of the bytes as they were.
    let key = [b"ke3\x1F", &[9; 32][..], b"hp3\x1F", &[7; 32]].concat();
    let (copy, told) = trip("seals", &with_in_header(&key));
    assert!(copy.is_some_and(|copy| !copy.windows(32).any(|w| w == [9; 32])));
    assert!(told.contains("type ke in the header") && told.contains("type hp in the header"), "{told}");
    // What the design has no place for.
    let mut padded = with_in_header(b"");
    let start = padded.len() - 12;
    padded[start - 9] += 3;
    let stray = [&padded[..start], b"\0x\0", &padded[start..]].concat();
    let two = [&b"T5\0\0\0\x01"[..], b"T5\0\0\0\x02"].concat();
    for (name, file, says) in [
        ("other", with_in_header(b"u3\x07"), "type u3 in the header"),
        ("two", with_in_header(&two), "type e in the header"),
        ("junk", [&with_in_header(b"")[..], &[9; 100]].concat(), "100 bytes behind the last section"),
        ("field", [&with_in_header(b"")[..], b"(d3\x01x:u3\x01)"].concat(), "bytes behind the last section"),
        ("stray", stray, "1 bytes between the sections"),
    ] {
        let (copy, told) = trip(name, &file);
        assert!(copy.is_none(), "{name}");
        assert!(told.contains("cannot be packed again") && told.contains(says), "{name}: {told}");
    }
}

/// The same for the reader that shares nothing with ours: every value of both files, but for where it lies.
fn same_to_another_reader(before: &Path, after: &Path) {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vsf_reader.py");
    let output = Command::new("python3").arg(reader).args([before, after]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let both: Json = serde_json::from_slice(&output.stdout).unwrap();
    let said = |path: &Path| -> BTreeMap<String, Json> {
        let bytes = fs::read(path).unwrap();
        let labels = both[path.to_str().unwrap()]["labels"].as_array().unwrap().iter();
        let body = |label: &Json| label.get("section").map(|section| placeless(section, &bytes));
        labels.map(|l| (l["name"].to_string(), json!(body(l)))).collect()
    };
    assert_eq!(said(before), said(after), "{before:?}");
}

/// Fields and values without their offsets, and with the bytes that these lead to.
fn placeless(parts: &Json, bytes: &[u8]) -> Json {
    let fields = parts.as_array().unwrap().iter().filter(|part| part[0] == "field");
    let one = |item: &Json| -> Json {
        let said = &item[4];
        let data = |start: &Json, end: &Json| {
            let range = start.as_u64().unwrap() as usize..end.as_u64().unwrap() as usize;
            json!(blake3::hash(&bytes[range]).to_hex().to_string())
        };
        match item[3].as_str().unwrap() {
            "section" => placeless(said, bytes),
            "o" | "b" => json!("a place"),
            "t" => json!([said[0], said[1], data(&said[3], &said[4])]),
            // What lies between the elements of a strided one has no meaning.
            "q" => json!([said[0], said[1], said[2]]),
            "p" | "bp" => json!([said[0], said[1], data(&said[2], &said[3])]),
            kind => json!([kind, said]),
        }
    };
    let field =
        |part: &Json| json!([part[3], part[4].as_array().unwrap().iter().map(one).collect::<Vec<_>>()]);
    json!(fields.map(field).collect::<Vec<_>>())
}

fn checks(path: &Path) -> Vec<(Sealing, Outcome)> {
    let bytes = fs::read(path).unwrap();
    let file = vsf::open(&bytes[..]).unwrap();
    let checks = vsf::verify(&bytes[..], &file, &[], &mut |_| ()).unwrap();
    checks.into_iter().map(|check| (check.sealing, check.outcome)).collect()
}

#[test]
fn a_key_is_its_owners_and_never_overwritten() {
    let folder = common::folder();
    let key = folder.path().join("k");
    let output = run("keygen", &[Path::new("-o"), &key]);
    done(&output);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    let seed = fs::read_to_string(&key).unwrap();
    assert_eq!(seed.trim_end().len(), 64);
    let other = folder.path().join("other");
    done(&run("keygen", &[Path::new("-o"), &other]));
    assert_ne!(fs::read_to_string(&other).unwrap(), seed);
    let again = run("keygen", &[Path::new("-o"), &key]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&key).unwrap(), seed);
}

#[test]
fn a_signature_is_right_until_a_bit_is_another() {
    let folder = common::data("vsf.tar.xz");
    let original = folder.path().join("vsf/seed/medical_hierarchy.vsf");
    let before = fs::read(&original).unwrap();
    let path = folder.path().join("Shot.vsf");
    fs::write(&path, &before).unwrap();
    let key = folder.path().join("k");
    let public = run("keygen", &[Path::new("-o"), &key]);
    done(&public);
    let sign = |out: &[&Path]| run("sign", &[&[path.as_path(), Path::new("--key"), &key], out].concat());

    let copy = folder.path().join("Signed.vsf");
    done(&sign(&[Path::new("-o"), &copy]));
    assert_eq!(fs::read(&path).unwrap(), before, "it was to be left as it is");
    assert_eq!(sign(&[Path::new("-o"), &copy]).status.code(), Some(1), "nothing is overwritten");

    done(&sign(&[]));
    let kept = folder.path().join("Shot.vsf~1");
    assert_eq!(fs::read(&kept).unwrap(), before);
    assert_eq!(fs::read(&path).unwrap(), fs::read(&copy).unwrap());
    assert_eq!(checks(&path), [(Sealing::FileSignature, Outcome::Right)]);
    let mut sections = said(&fs::read(&path).unwrap());
    assert!(sections.remove(&b"a value of type ke in the header"[..]).is_some());
    assert!(sections.remove(&b"bytes behind the last section"[..]).is_some());
    assert_eq!(said(&before), sections);
    let hex = String::from_utf8(public.stdout).unwrap();
    let key: Vec<u8> = (0..32).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()).collect();
    let signed = fs::read(&path).unwrap();
    assert!(signed.windows(32).any(|w| w == key), "the printed key is that in the file");

    // In the values, anywhere in the key, in the signature. Half of all bytes are no key at all.
    let key_at = signed.windows(32).position(|w| w == key).unwrap();
    for at in (key_at..key_at + 32).chain([signed.len() - 100, signed.len() - 20]) {
        let mut flipped = signed.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let verify = common::command(common::As::Me, common::program()).arg("verify").arg(&path).output();
        assert_eq!(verify.unwrap().status.code(), Some(1), "byte {at}");
        assert_eq!(checks(&path), [(Sealing::FileSignature, Outcome::Wrong)], "byte {at}");
    }
    fs::write(&path, &signed).unwrap();
    let verify = common::command(common::As::Me, common::program()).arg("verify").arg(&path).output();
    done(&verify.unwrap());
}

fn verify(path: &Path, more: &[&str]) -> (i32, Json) {
    let mut command = common::command(common::As::Me, common::program());
    let output = command.args(["verify", "--json"]).args(more).arg(path).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Json::Null);
    (output.status.code().unwrap(), json)
}

fn codes(report: &Json) -> Vec<&str> {
    report["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

/// Who has signed is told, and is known only to those who give the key that they trust.
#[test]
fn a_signature_is_of_somebody() {
    let folder = common::data("vsf.tar.xz");
    let original = folder.path().join("vsf/seed/medical_hierarchy.vsf");
    let path = |name: &str| folder.path().join(name);
    let key = |name: &str| {
        let output = run("keygen", &[Path::new("-o"), &path(name)]);
        done(&output);
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    };
    let (maker, stranger) = (key("maker"), key("stranger"));
    let sign = |by: &str, file: &str| {
        done(&run("sign", &[&original, Path::new("--key"), &path(by), Path::new("-o"), &path(file)]));
        path(file)
    };
    let (signed, other) = (sign("maker", "Signed.vsf"), sign("stranger", "Other.vsf"));
    let by = |report: &Json| report["signatures"][0]["key"].clone();
    let (code, report) = verify(&signed, &[]);
    assert_eq!((code, by(&report), codes(&report)), (0, json!(maker), vec![]));
    assert_eq!(report["signatures"], json!([{ "key": maker, "section": null }]));
    let text =
        common::command(common::As::Me, common::program()).arg("verify").arg(&signed).output().unwrap();
    assert!(String::from_utf8(text.stdout).unwrap().contains(&format!("signed: the file by {maker}")));
    // The key that is given has to be the signer's, and one of several is enough.
    assert_eq!(verify(&signed, &["--key", &maker]).0, 0);
    assert_eq!(verify(&signed, &["--key", &stranger, "--key", &maker]).0, 0);
    let (code, report) = verify(&other, &["--key", &maker]);
    assert_eq!((code, codes(&report), by(&report)), (1, vec!["vsf-signer"], json!(stranger)));
    assert_eq!(verify(&original, &[]).0, 0);
    let (code, report) = verify(&original, &["--key", &maker]);
    assert_eq!((code, codes(&report), &report["signatures"]), (1, vec!["vsf-unsigned"], &json!([])));
    for no_key in ["", "12", &"z".repeat(64), &maker[1..]] {
        assert_eq!(verify(&signed, &["--key", no_key]).0, 64, "{no_key}");
    }
    // Without its signature the file still says that it should have one.
    let bytes = fs::read(&signed).unwrap();
    let cut = bytes.len() - b"(d3\x09signature:ge3\x3F)".len() - 64;
    assert!(bytes[cut..].starts_with(b"(d3\x09signature"));
    fs::write(path("Cut.vsf"), &bytes[..cut]).unwrap();
    for keys in [&[][..], &["--key", &maker]] {
        let (code, report) = verify(&path("Cut.vsf"), keys);
        assert_eq!((code, codes(&report)), (1, vec!["vsf-unsigned"]));
    }
    let file = vsf::open(&bytes[..]).unwrap();
    let stranger = vsf::public_from(&stranger).unwrap();
    let checks = vsf::verify(&bytes[..], &file, &[stranger], &mut |_| ()).unwrap();
    assert_eq!(checks.len(), 1);
    assert_eq!((checks[0].outcome, checks[0].signer), (Outcome::Stranger, vsf::public_from(&maker).ok()));
}

/// What the library can do on request, the command line can too; and what it has done it tells programs.
#[test]
fn hashes_and_signatures_of_sections_are_to_be_had() {
    let folder = common::folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("tree/cam")).unwrap();
    fs::write(at("tree/cam/gain"), "1.5\n").unwrap();
    fs::write(at("tree/raw.bin"), [7; 100]).unwrap();
    let json = |args: &[&Path]| -> Json {
        let output = vaso(args);
        done(&output);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    let option = Path::new;
    let packed = json(&[option("pack"), option("--json"), option("--hash"), &at("tree"), &at("a.vsf")]);
    let size = fs::metadata(at("a.vsf")).unwrap().len();
    let said = json!({ "file": at("a.vsf"), "size": size, "hashed": true, "notes": [] });
    assert_eq!(packed, said);
    assert_eq!(checks(&at("a.vsf")), [(Sealing::FileHash, Outcome::Right)]);
    let key = json(&[option("keygen"), option("--json"), option("-o"), &at("key")]);
    assert_eq!(key["file"], json!(at("key")));
    let public = key["public"].as_str().unwrap();
    let sign = |more: &[&Path]| {
        let first = [option("sign"), option("--json"), &at("a.vsf"), option("--key"), &at("key")];
        json(&[&first[..], more].concat())
    };
    let signed = sign(&[option("--sections"), option("-o"), &at("b.vsf")]);
    let said = json!({ "file": at("b.vsf"), "key": public, "sections": true });
    assert_eq!(signed, said);
    let (code, report) = verify(&at("b.vsf"), &["--key", public]);
    let both = json!([{ "key": public, "section": "cam" }, { "key": public, "section": null }]);
    assert_eq!((code, &report["signatures"]), (0, &both));
    // Signed anew, its sections are signed anew too, and once.
    fs::copy(at("b.vsf"), at("a.vsf")).unwrap();
    assert_eq!(sign(&[option("-o"), &at("c.vsf")])["sections"], json!(true));
    assert_eq!(verify(&at("c.vsf"), &["--key", public]).1["signatures"], both);
    assert_eq!(fs::read(at("b.vsf")).unwrap(), fs::read(at("c.vsf")).unwrap());
    // What cannot go into a packed file is told there too.
    let unpacked = json(&[option("unpack"), option("--json"), &at("b.vsf"), &at("out")]);
    assert_eq!((&unpacked["dir"], &unpacked["failed"]), (&json!(at("out")), &json!(0)));
    assert_eq!(unpacked["cannot"], json!([]));
    assert!(unpacked["seals"].as_array().unwrap().len() >= 2, "{unpacked}");
    let refused = vaso(&[option("sign"), option("--json"), &at("a.vsf"), option("--key"), &at("tree")]);
    assert!(!refused.status.success() && refused.stdout.is_empty());
}
