//! Directories that were edited, or that nobody unpacked, as VSF files: the file shows what the directory has, or is
//! refused with the name of what it cannot show. Nothing is left out without a word.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value as Json, json};
use vaso::format::vsf::{
    self, Algorithm, Builder, Data, EagleTime, Element, Fields, Packed, RECORD, Sealed, Spirix, Tensor,
    Value, Width,
};

fn bytes(data: impl Into<Vec<u8>>) -> Data {
    Data::Bytes(data.into())
}

fn original() -> Vec<u8> {
    let mut fields = Fields::new();
    let tensor = |element, strides: Option<Vec<usize>>| {
        let data = bytes((0..24).collect::<Vec<u8>>());
        Value::Tensor(Tensor { element, shape: vec![3, 4], strides, vector: false, data })
    };
    let packed = vsf::pack(12, &[0u16, 1, 2, 4095, 7, 9]).unwrap();
    let u4 = Element::Unsigned(Width::W4);
    for (name, value) in [
        ("gain", Value::F6(1.5)),
        ("offset", Value::F5(0.1)),
        ("count", Value::Unsigned(Width::W3, 7)),
        ("side", Value::Ascii(b'l', bytes(*b"left"))),
        ("pixels", tensor(u4, None)),
        ("columns", tensor(u4, Some(vec![1, 3]))),
        ("raw", Value::Packed(Packed { bits: 12, shape: vec![2, 3], design: true, data: bytes(packed) })),
        ("when", Value::Time(EagleTime::of_unix_nanos(1_500_000_000).unwrap())),
        ("on", Value::Bool(true)),
        ("wave", Value::J5([1.0, 2.0])),
        ("digest", Value::Hash(Sealed { algorithm: Algorithm::Letter(b'b'), data: bytes([7; 32]) })),
        (
            "scalar",
            Value::Spirix(Spirix { fraction: Width::W4, exponent: Width::W4, re: 1 << 14, im: None, exp: 0 }),
        ),
        ("note", Value::Text(5, bytes(*b"\x12\x34\x56"))),
    ] {
        fields.add(name, &value).unwrap();
    }
    let mut nested = Fields::new();
    nested.add("deep", &Value::Bool(true)).unwrap();
    fields.add_section("more", nested).unwrap();
    let pair = [Value::Unsigned(Width::W3, 7), Value::Ascii(b'l', bytes(*b"right"))];
    fields.add_all("pair", &pair, None).unwrap();
    fields.add_reference("dark", "frames.dark").unwrap();
    fields.add_reference("lens", "optics.lens").unwrap();
    let mut lens = Fields::new();
    lens.add("mm", &Value::Unsigned(Width::W3, 35)).unwrap();
    lens.add_reference("self", "optics.lens").unwrap();
    let mut builder = Builder::new();
    builder.section("cam.left", fields).unwrap();
    builder.section("optics.lens", lens).unwrap();
    builder.blob("frames.dark", vec![9; 1000]).unwrap();
    builder.to_bytes().unwrap()
}

fn vsf_verb(args: &[&Path]) -> std::process::Output {
    common::command(common::As::Me, common::program()).arg("vsf").args(args).output().unwrap()
}

fn done(output: &std::process::Output) {
    assert!(output.status.success(), "{output:?}");
}

/// Whether two directories say the same: names, text, arrays with their types, all other bytes. What is made from the
/// values is not compared, and arrays may have either order of bytes.
const SAME: &str = r#"
import os, sys, numpy
def said(top):
    out = {}
    for folder, folders, names in os.walk(top):
        for name in names + folders:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                out[os.path.relpath(path, top)] = os.readlink(path)
                continue
            if name in folders or name in ("section.json", "header.json", ".vsf-record.json"): continue
            key = os.path.relpath(path, top)
            if name.endswith(".npy"):
                a = numpy.load(path)
                big = a.astype(a.dtype.newbyteorder(">"), order="C")
                out[key] = (big.dtype.str, big.shape, big.tobytes())
            else:
                data = open(path, "rb").read()
                out[key] = data if "." in name else data.removesuffix(b"\n")
    return out
a, b = said(sys.argv[1]), said(sys.argv[2])
twins = lambda x, y: {k for k in x if k not in y and (k.removesuffix(".npy") + ".packed" in y or k.removesuffix(".packed") + ".npy" in y)}
for x, y in ((a, b), (b, a)):
    for k in twins(x, y): del x[k]
assert a == b, (sorted(a), sorted(b), [k for k in a if k in b and a[k] != b[k]])
"#;

fn python(script: &str, args: &[&Path]) {
    common::succeed(Command::new("/usr/bin/python3").args(["-c", script]).args(args));
}

/// Packs a directory: the file, which says what the directory says, or the reason why there is none.
fn pack(dir: &Path) -> Result<Vec<u8>, String> {
    let home = common::folder();
    let (file, again) = (home.path().join("New.vsf"), home.path().join("again"));
    let output = vsf_verb(&[Path::new("pack"), dir, &file]);
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "something is left behind");
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let verify =
        common::command(common::As::Me, common::program()).arg("verify").arg(&file).output().unwrap();
    assert!(verify.status.success(), "{verify:?}");
    let output = vsf_verb(&[Path::new("unpack"), &file, &again]);
    assert!(output.status.success(), "{output:?}");
    python(SAME, &[dir, &again]);
    Ok(fs::read(file).unwrap())
}

/// The original unpacked.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Tree {
        let home = common::folder();
        let file = home.path().join("Shot.vsf");
        fs::write(&file, original()).unwrap();
        let output = vsf_verb(&[Path::new("unpack"), &file, &home.path().join("tree")]);
        assert!(output.status.success(), "{output:?}");
        Tree(home)
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("tree")
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Tree {
        let path = self.dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    fn link(&self, name: &str, target: &str) -> &Tree {
        std::os::unix::fs::symlink(target, self.dir().join(name)).unwrap();
        self
    }

    fn drop(&self, name: &str) -> &Tree {
        fs::remove_file(self.dir().join(name)).unwrap();
        self
    }

    /// Saves an array, an expression of NumPy's.
    fn save(&self, name: &str, array: &str) -> &Tree {
        let script = format!("import sys, numpy as np; np.save(sys.argv[1], {array}, allow_pickle=True)");
        python(&script, &[&self.dir().join(name)]);
        self
    }

    fn value(&self, name: &str) -> Option<Value> {
        let file = pack(&self.dir()).unwrap_or_else(|why| panic!("{why}"));
        let read = vsf::open(&file).unwrap();
        let label = read.labels.iter().find(|label| label.name == b"cam.left").unwrap();
        let section = read.section(&file, label).unwrap().section;
        let value = section.field(name)?.values.first()?.value.clone();
        Some(match value {
            Value::Tensor(t) => Value::Tensor(Tensor { data: bytes(t.data.load(&file).unwrap()), ..t }),
            Value::Packed(p) => Value::Packed(Packed { data: bytes(p.data.load(&file).unwrap()), ..p }),
            other => other,
        })
    }

    /// It is refused, and told which file is in the way.
    fn refused(&self, name: &str, says: &str) {
        let why = pack(&self.dir()).expect_err(name);
        assert!(why.contains(name) && why.contains(says), "{name}: {why}");
    }
}

#[test]
fn edited_text_is_the_value_that_it_says() {
    let edited = |name: &str, text: &str| Tree::new().put(&format!("cam/left/{name}"), text).value(name);
    let text = |text: &str| Some(Value::Ascii(b'l', bytes(text)));
    assert_eq!(edited("gain", "2.25\n"), Some(Value::F6(2.25)));
    assert_eq!(edited("gain", "2.25"), Some(Value::F6(2.25)));
    assert_eq!(edited("gain", "inf\n"), Some(Value::F6(f64::INFINITY)));
    assert_eq!(edited("offset", "0.1\n"), Some(Value::F5(0.1)));
    assert_eq!(edited("offset", "0.15\n"), Some(Value::F5(0.15)));
    assert_eq!(edited("offset", "-inf\n"), Some(Value::F5(f32::NEG_INFINITY)));
    assert_eq!(edited("count", "8\n"), Some(Value::Unsigned(Width::W3, 8)));
    assert_eq!(edited("side", "right\n\n"), text("right\n"));
    assert_eq!(edited("side", "7\n"), text("7"));
    assert_eq!(edited("side", ""), text(""));
    assert_eq!(edited("wave", "0.5-2.0j\n"), Some(Value::J5([0.5, -2.0])));
    let when = edited("when", "2050-01-01T00:00:00.5Z\n");
    assert!(matches!(when, Some(Value::Time(time)) if time.unix_nanos() == Some(2_524_608_000_500_000_000)));
    assert_eq!(edited("pair", "8\nleft\n"), Some(Value::Unsigned(Width::W3, 8)));
}

/// What the type cannot hold does not become another one.
#[test]
fn a_value_keeps_its_type_or_is_refused() {
    let file = |name: &str| format!("cam/left/{name}");
    for (name, kind, lines) in [
        ("gain", "f6", &["1e400", "1e-400", "fast", "", "1\n2", "1.5 dB"][..]),
        ("offset", "f5", &["0.123456789", "1e+39", "x"]),
        ("count", "u3", &["256", "-1", "7\n8", "7.0", "true", ""]),
        ("when", "e", &["yesterday", "2050-01-01T00:00:00.1234567891Z", "7"]),
        ("on", "u0", &["1", "yes", ""]),
        ("wave", "j5", &["1+2", "0.123456789+0.0j"]),
        ("digest", "hb", &["00", "xyz", ""]),
        ("scalar", "s44", &["1.5"]),
    ] {
        for line in lines {
            Tree::new()
                .put(&file(name), format!("{line}\n"))
                .refused(&file(name), &format!("type is {kind}"));
        }
    }
    Tree::new().put(&file("gain"), "").refused(&file("gain"), "type is f6");
    Tree::new().put(&file("pair"), "1\n2\n3\n").refused(&file("pair"), "it had 2 lines");
    Tree::new().put(&file("pair"), "256\nleft\n").refused(&file("pair"), "type is u3");
    // Arrays say themselves of what they are; that it is something else now is told.
    let tree = Tree::new();
    tree.save("cam/left/pixels.npy", "np.array([1.5], 'f4')");
    let output = vsf_verb(&[Path::new("pack"), &tree.dir(), &tree.0.path().join("New.vsf")]);
    assert!(output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("cam/left/pixels.npy: its elements were u4 and are f5 now"), "{told}");
}

#[test]
fn edited_arrays_are_the_tensors_that_they_are() {
    let saved = |array: &str| match Tree::new().save("cam/left/pixels.npy", array).value("pixels") {
        Some(Value::Tensor(t)) => (t.element.to_string(), t.shape, t.strides, t.data),
        other => panic!("{other:?}"),
    };
    let bits = |n: f32| n.to_be_bytes();
    let reals = bytes([bits(1.5), bits(-2.0)].concat());
    assert_eq!(saved("np.array([[1.5, -2]], 'f4')"), ("f5".into(), vec![1, 2], None, reals.clone()));
    assert_eq!(saved("np.array([1.5, -2], '>f4')"), ("f5".into(), vec![2], None, reals));
    assert_eq!(saved("np.array(-3, 'i2')"), ("i4".into(), vec![], None, bytes([0xFF, 0xFD])));
    assert_eq!(saved("np.zeros((0, 4), 'u1')"), ("u3".into(), vec![0, 4], None, bytes([])));
    let columns = ("u3".into(), vec![2, 2], Some(vec![1, 2]), bytes([1, 3, 2, 4]));
    assert_eq!(saved("np.array([[1, 2], [3, 4]], 'u1', order='F')"), columns);
    assert_eq!(saved("np.array([1, 0, 1]) > 0"), ("u0".into(), vec![3], None, bytes([0b1010_0000])));
    let complex = bytes([1f64.to_be_bytes(), (-1f64).to_be_bytes()].concat());
    assert_eq!(saved("np.array([1-1j])"), ("j6".into(), vec![1], None, complex));
    // One whose strides no longer fit.
    Tree::new()
        .save("cam/left/columns.npy", "np.arange(6, dtype='u2').reshape(2, 3)")
        .value("columns")
        .unwrap();
    for bad in ["np.array([{}])", "np.array(['text'])", "np.array([1], 'f2')", "np.array(['2026'], 'M8[D]')"]
    {
        Tree::new().save("cam/left/pixels.npy", bad).refused("cam/left/pixels.npy", "save it as");
    }
    let cut = Tree::new();
    let whole = fs::read(cut.dir().join("cam/left/pixels.npy")).unwrap();
    cut.put("cam/left/pixels.npy", &whole[..whole.len() - 1]).refused("cam/left/pixels.npy", "save it again");
    cut.put("cam/left/pixels.npy", "").refused("cam/left/pixels.npy", "save it as");
}

#[test]
fn packed_elements_follow_their_array_or_their_bytes() {
    let tree = || {
        let tree = Tree::new();
        tree.drop("cam/left/raw.packed");
        tree
    };
    let packed = |shape: Vec<usize>, elements: &[u16]| {
        let data = bytes(vsf::pack(12, elements).unwrap());
        Some(Value::Packed(Packed { bits: 12, shape, design: true, data }))
    };
    let first = [0, 1, 2, 4095, 7, 9];
    assert_eq!(tree().value("raw"), packed(vec![2, 3], &first));
    let saved = tree().save("cam/left/raw.npy", "np.array([[5], [4095]], 'u2')").value("raw");
    assert_eq!(saved, packed(vec![2, 1], &[5, 4095]));
    let name = "cam/left/raw.npy";
    tree().save(name, "np.array([1, 4096], 'u2')").refused(name, "element 1 needs more than 12 bits");
    tree().save(name, "np.array([1.5])").refused(name, "save it so");
    // Both are there, and differ.
    Tree::new().save(name, "np.zeros((2, 3), 'u2')").refused(name, "raw.packed says something else");
    let other = vsf::pack(12, &[1u16, 1, 1, 1, 1, 1]).unwrap();
    Tree::new().put("cam/left/raw.packed", &other).refused(name, "raw.packed says something else");
    let alone = Tree::new();
    alone.drop(name).put("cam/left/raw.packed", &other);
    assert_eq!(alone.value("raw"), packed(vec![2, 3], &[1; 6]));
    alone.put("cam/left/raw.packed", &other[1..]).refused("cam/left/raw.packed", "9 bytes");
}

#[test]
fn files_come_and_go() {
    let tree = Tree::new();
    tree.drop("cam/left/gain")
        .drop("cam/left/pixels.npy")
        .drop("cam/left/raw.npy")
        .drop("cam/left/raw.packed");
    assert_eq!([tree.value("gain"), tree.value("pixels"), tree.value("raw")], [None, None, None]);
    tree.put("cam/left/iso", "100\n")
        .put("cam/left/Gain", "7\n")
        .put("cam/right/gain", "2\n")
        .put("new.bin", [1, 2, 3]);
    tree.put("deep/er/and/deeper", "x\n")
        .put("cam/left/twice", "1\n")
        .save("cam/left/twice.npy", "np.arange(3)");
    assert_eq!(tree.value("iso"), Some(Value::Unsigned(Width::W3, 100)));
    assert_eq!(tree.value("Gain"), Some(Value::Unsigned(Width::W3, 7)));
    // The bytes that a field refers to, and the field.
    tree.put("frames/dark.bin", [8; 1000]).refused("cam/left/dark.bin", "frames.dark");
    tree.drop("cam/left/dark.bin");
    assert_eq!(tree.value("dark"), None);
    tree.drop("cam/left/lens").link("cam/left/lens", "../../frames").refused("cam/left/lens", "that it was");
    tree.drop("cam/left/lens");
    assert_eq!(tree.value("lens"), None);
    fs::remove_dir_all(tree.dir().join("frames")).unwrap();
    fs::remove_dir_all(tree.dir().join("cam/left/more")).unwrap();
    assert_eq!(tree.value("more"), None);
}

#[test]
fn what_no_file_can_show_is_refused_by_name() {
    let refused = |name: &str, says: &str, edit: &dyn Fn(&Tree, &Path)| {
        let tree = Tree::new();
        edit(&tree, &tree.dir().join(name));
        tree.refused(name, says);
    };
    let put = |name: &str, bytes: &[u8], says: &str| {
        refused(name, says, &|tree, _| {
            tree.put(name, bytes);
        });
    };
    put("cam/left/gäin", b"1\n", "names are words");
    put("cam/left/.DS_Store", b"1\n", "names are words");
    put("cam/left/gain~2", b"1\n", "names are words");
    put("gain", b"1\n", "move it into a directory");
    put("cam/left/photo", b"\x89PNG\r\n\x1a\n\0\0", "name it .bin");
    put("cam/left/latin", b"caf\xe9\n", "name it .bin");
    put("cam/left/other.x", b"123", "name it .bin");
    put("cam/left/other.wrapped", b"123", "name it .bin");
    put("cam/left/other.packed", b"123", "keep the .npy");
    put("cam/left/more/added", b"1\n", "move it out of there");
    put("cam/left/more/further/added", b"1\n", "move it out of there");
    put("a.b/c", b"1\n", "rename it or move it");
    put("cam/left/section.json", b"{}\n", "change the values in their own files");
    put("header.json", b"{}\n", "change the values in their own files");
    put("new/section.json", b"{\"my\": 1}", "change the values in their own files");
    // Text whose end would be read as another value.
    refused("cam.left", "a .x or .raw file of this section would not be read back", &|tree, _| {
        tree.put("cam/left/note.x", b"\x12\x34,u3\x07");
    });
    refused("empty", "remove it", &|_, path| fs::create_dir(path).unwrap());
    refused("cam/left/link", "it is a link", &|tree, path| {
        std::os::unix::fs::symlink(tree.dir().join("header.json"), path).unwrap();
    });
    refused("cam/left/pipe", "neither", &|_, path| {
        common::succeed(Command::new("mkfifo").arg(path));
    });
    refused("cam/left", "remove it", &|tree, _| {
        let keep = |path: &Path| path.ends_with("section.json");
        let all = fs::read_dir(tree.dir().join("cam/left")).unwrap().map(|e| e.unwrap().path());
        all.filter(|p| !keep(p)).for_each(|p| match p.is_dir() {
            true => fs::remove_dir_all(p).unwrap(),
            false => fs::remove_file(p).unwrap(),
        });
    });
    let empty = common::folder();
    assert!(pack(empty.path()).unwrap_err().contains("no files"));
}

/// A name that means the same everywhere has its type, and section.json says what it means.
#[test]
fn known_names_have_their_types() {
    let tree = Tree::new();
    tree.put("cam/left/iso_speed", "800\n").put("cam/left/flash_fired", "true\n");
    tree.put("cam/left/focal_length_mm", "28.3\n").put("cam/left/shutter_time_s", "0.01\n");
    assert_eq!(tree.value("iso_speed"), Some(Value::Unsigned(Width::W5, 800)));
    assert_eq!(tree.value("flash_fired"), Some(Value::Bool(true)));
    assert_eq!(tree.value("focal_length_mm"), Some(Value::F5(28.3)));
    for (name, line) in
        [("iso_speed", "12.5"), ("iso_speed", "fast"), ("flash_fired", "1"), ("iso_speed", "")]
    {
        let file = format!("cam/left/{name}");
        Tree::new().put(&file, format!("{line}\n")).refused(&file, "type is u");
    }
    Tree::new()
        .save("cam/left/iso_speed.npy", "np.arange(3)")
        .refused("cam/left/iso_speed.npy", "is of type u5");
    Tree::new().put("cam/left/iso_speed", "").refused("cam/left/iso_speed", "is of type u5");

    let file = pack(&tree.dir()).unwrap();
    let read = vsf::open(&file).unwrap();
    let label = read.labels.iter().find(|label| label.name == b"cam.left").unwrap();
    let section = read.section(&file, label).unwrap().section;
    let normal = section.normals().find(|normal| normal.original == "shutter_time_s").unwrap();
    assert_eq!((normal.key, normal.value), ("shutter_time_ns", Value::Unsigned(Width::W6, 10_000_000)));
    let (home, json) = (common::folder(), "cam/left/section.json");
    fs::write(home.path().join("a.vsf"), &file).unwrap();
    done(&vsf_verb(&[Path::new("unpack"), &home.path().join("a.vsf"), &home.path().join("out")]));
    let json: Json = serde_json::from_slice(&fs::read(home.path().join("out").join(json)).unwrap()).unwrap();
    let field = json["fields"].as_array().unwrap().iter().find(|f| f["name"] == "shutter_time_s").unwrap();
    assert_eq!(field["values"][0]["value"], json!(0.01));
    assert_eq!(field["normal"], json!({ "key": "shutter_time_ns", "type": "u6", "value": 10_000_000 }));
    assert!(field.get("key").is_none());
}

/// All that a directory without its record loses are widths and forms that nothing shows.
#[test]
fn a_tree_without_its_record_is_packed_as_it_looks() {
    let tree = Tree::new();
    tree.drop(RECORD).refused("cam/left/note.x", "keep the record");
    tree.drop("cam/left/note.x").refused("optics/lens/self", "does not lead to a section");
    tree.drop("optics/lens/self");
    // A link is a reference, wherever it leads as long as that is a section.
    let refers = |tree: &Tree| {
        let file = pack(&tree.dir()).unwrap();
        let read = vsf::open(&file).unwrap();
        let label = |name: &[u8]| read.labels.iter().find(|label| label.name == name).unwrap();
        let section = read.section(&file, label(b"cam.left")).unwrap().section;
        (section.field("lens").unwrap().reference(), label(b"optics.lens").reference.clone())
    };
    let (said, lens) = refers(&tree);
    assert!(said.is_some() && said == lens);
    for elsewhere in ["../../optics", "../../../optics/lens", "/etc", "../../frames/dark.bin", "gain"] {
        tree.drop("cam/left/lens").link("cam/left/lens", elsewhere);
        tree.refused("cam/left/lens", "does not lead to a section");
    }
    tree.drop("cam/left/lens").link("cam/left/lens", "../.././optics//lens");
    tree.refused("cam/left/lens", "lead elsewhere");
    tree.drop("cam/left/lens").link("cam/left/lens", "../../optics/lens").link("top", "optics/lens");
    tree.refused("top", "links are values of a section");
    tree.drop("top");
    let packed = vsf::pack(12, &[0u16, 1, 2, 4095, 7, 9]).unwrap();
    let raw = Packed { bits: 12, shape: vec![2, 3], design: true, data: bytes(packed) };
    assert_eq!(tree.value("raw"), Some(Value::Packed(raw)));
    assert_eq!(tree.value("gain"), Some(Value::F6(1.5)));
    assert_eq!(tree.value("count"), Some(Value::Unsigned(Width::W3, 7)));
    let other = vsf::pack(12, &[1u16, 1, 2, 4095, 7, 9]).unwrap();
    tree.put("cam/left/raw.packed", other)
        .refused("cam/left/raw.npy", ".packed beside it says something else");
    tree.drop("cam/left/raw.packed");
    assert!(matches!(tree.value("raw"), Some(Value::Tensor(_))));
}

/// A record is a claim like any other: the file says what the directory says, or there is none.
#[test]
fn a_record_that_lies_changes_nothing_in_silence() {
    let tree = Tree::new();
    let true_record: Json = serde_json::from_slice(&fs::read(tree.dir().join(RECORD)).unwrap()).unwrap();
    let part =
        true_record["labels"].as_array().unwrap().iter().position(|p| p["name"] == "cam.left").unwrap();
    let at = |rest: &str| format!("/labels/{part}{rest}");
    let secret = tree.0.path().join("secret");
    fs::write(&secret, "secret\n").unwrap();
    let secret = secret.to_str().unwrap();
    let mut lies: Vec<(String, Json)> = vec![
        (at("/path"), json!("../secret")),
        (at("/path"), json!(secret)),
        (at("/path"), json!("")),
        (at("/name"), json!("cam.right")),
        (at("/name"), json!("../x")),
        (at("/name"), json!("frames.dark")),
        (at("/files/0"), json!([["../secret", ""]])),
        (at("/files/0"), json!([[secret, ""]])),
        (at("/files/0"), json!([["cam/left/../left/gain", ""]])),
        (at("/files/0"), json!([["cam/left/count", ""]])),
        (at("/files/0"), json!([["cam/left/gain", ".npy"]])),
        (at("/files/0"), json!([["cam/left/gain", ".packed"]])),
        (at("/files/0"), json!([["cam/left/pixels.npy", ""]])),
        (at("/files/0"), json!([["cam/left/gain", ""], ["cam/left/count", ""]])),
        (at("/files/0"), json!([])),
        (at("/files/4"), json!([["cam/left/raw.npy", ".npy"]])),
        (at("/files/6"), json!([["cam/left/raw.packed", ".npy"], ["cam/left/raw.npy", ".packed"]])),
        (at("/files"), json!([])),
        (at("/refers"), json!([])),
        (at("/refers/0"), json!("frames.dark")),
        (at("/refers/16"), json!(null)),
        (at("/refers/16"), json!("no.such.section")),
        (at("/refers/16"), json!("cam.left")),
        (at("/refers/17"), json!("cam.left")),
        (at("/refers/17"), json!("frames.dark")),
        (at("/refers/17"), json!(null)),
        (at("/files/17"), json!([["cam/left/lens", "@../.."]])),
        (at("/files/17"), json!([["cam/left/lens", ""]])),
        (at("/files/17"), json!([["cam/left/dark.bin", "@../../optics/lens"]])),
        (at("/stored"), json!(["zz"])),
        (at("/stored"), json!(["5b", u64::MAX, "5d"])),
        (at("/stored"), json!(["5b", 1u64 << 61, 1u64 << 61, "5d"])),
        (at("/stored"), json!([-1])),
        (at("/stored"), json!("5b5d")),
        (at("/stored"), json!(["5b5d"])),
        (at("/stored"), json!(null)),
        // Fields of one tensor of 2^60 elements, and of one value that is not there.
        (at("/stored"), json!(["5b28643301743a74330175333610000000000000", 1u64 << 60, "295d"])),
        (at("/stored"), json!(["5b28643304", "6761696e3a66362900"])),
        ("/labels".into(), json!({})),
        ("/labels".into(), json!([])),
        ("/labels/0".into(), json!(null)),
        ("/labels/0".into(), json!("cam")),
        ("/version".into(), json!(u64::MAX)),
        ("/version".into(), json!(-1)),
        ("/in_bytes".into(), json!("yes")),
        ("/time".into(), json!("zz")),
        ("/time".into(), json!("753307")),
        ("/time".into(), json!("54350000000100")),
        ("/seals".into(), json!(7)),
        ("/record".into(), json!(99)),
        ("/cannot".into(), json!(["because"])),
        ("/header".into(), json!(7)),
        ("".into(), json!(7)),
        ("".into(), json!([])),
    ];
    let twice = json!([true_record["labels"][0], true_record["labels"][0], true_record["labels"][1]]);
    lies.push(("/labels".into(), twice));
    let (mut packed, mut refused) = (0, 0);
    let mut check = |record: &[u8], what: &str| {
        fs::write(tree.dir().join(RECORD), record).unwrap();
        match pack(&tree.dir()) {
            Ok(_) => packed += 1,
            Err(why) => {
                // It names what is in the way, and what to do.
                assert!(why.starts_with("vaso: cannot pack ") || why.contains(RECORD), "{what}: {why}");
                assert!(!why.contains("panicked") && !why.contains("secret\n"), "{what}: {why}");
                refused += 1;
            }
        }
    };
    for (place, lie) in &lies {
        let mut record = true_record.clone();
        *record.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = lie.clone();
        check(&serde_json::to_vec(&record).unwrap(), &format!("{place} {lie}"));
    }
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    for record in [&b""[..], b"\xFF\xFE", b"{", b"null", &deep] {
        check(record, "no JSON");
    }
    assert_eq!(packed + refused, lies.len() + 5);
    assert!(refused > 30, "{packed} were packed");
}
