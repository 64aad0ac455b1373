//! Sections that fields refer to: links to where they are shown, `ELOOP` in a circle, and one file's size of work
//! however many references there are.

mod common;

use std::fs;
use std::path::Path;

use common::{As, Mount, everybody, folder};
use vaso::format::vsf::{self, Builder, Fields, Value, Width};
use vaso::tree::Spot;

fn fields(values: &[(&str, u128)], references: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in values {
        fields.add(name, &Value::Unsigned(Width::W3, *value)).unwrap();
    }
    for (name, to) in references {
        fields.add_reference(name, to).unwrap();
    }
    fields
}

fn python(who: As, script: &str, dir: &Path) -> String {
    common::succeed(common::command(who, "/usr/bin/python3").args(["-c", script]).arg(dir).current_dir("/"))
}

#[test]
fn a_section_that_is_referred_to_is_a_link_and_a_circle_is_too_many_links() {
    let mut builder = Builder::new();
    let mut nested = Fields::new();
    nested.add_section("inner", fields(&[], &[("lens", "optics.lens")])).unwrap();
    builder.section("optics.lens", fields(&[("mm", 35)], &[])).unwrap();
    builder
        .section("cam", fields(&[("n", 7)], &[("lens", "optics.lens"), ("again", "optics.lens")]))
        .unwrap();
    builder.section("cam.left.eye", fields(&[], &[("lens", "optics.lens"), ("cam", "cam")])).unwrap();
    builder.section("nested", nested).unwrap();
    builder.section("a", fields(&[("n", 1)], &[("next", "b"), ("aside", "cam")])).unwrap();
    builder.section("b", fields(&[("n", 2)], &[("next", "c"), ("aside", "cam")])).unwrap();
    builder.section("c", fields(&[("n", 3)], &[("next", "a")])).unwrap();
    builder.section("myself", fields(&[("n", 4)], &[("self_", "myself")])).unwrap();
    builder.section("outside", fields(&[], &[("into", "a")])).unwrap();
    let bytes = builder.to_bytes().unwrap();
    let expected = "\
        a/aside -> ../cam\na/next -> next\nb/aside -> ../cam\nb/next -> next\nc/next -> next\n\
        cam/again -> ../optics/lens\ncam/lens -> ../optics/lens\ncam/left/eye/cam -> ../../../cam\n\
        cam/left/eye/lens -> ../../../optics/lens\nmyself/self_ -> self_\n\
        nested/inner/lens -> ../../optics/lens\noutside/into -> ../a\n";
    let script = "import errno, json, os, sys; top = sys.argv[1]; os.chdir(top)\n\
        for folder, dirs, names in sorted(os.walk('.')):\n\
        \x20   for name in sorted(dirs + names):\n\
        \x20       path = os.path.join(folder, name)[2:]\n\
        \x20       if os.path.islink(path): print(path, '->', os.readlink(path))\n\
        assert open('cam/lens/mm').read() == open('a/aside/again/mm').read() == '35\\n'\n\
        assert open('cam/left/eye/cam/n').read() == '7\\n'\n\
        assert open('nested/inner/lens/mm').read() == '35\\n'\n\
        assert open('outside/into/n').read() == '1\\n'\n\
        for circle in ['a/next', 'b/next', 'c/next', 'myself/self_', 'outside/into/next', 'a/next/n']:\n\
        \x20   for look in (os.listdir, os.stat, open):\n\
        \x20       try: look(circle)\n\
        \x20       except OSError as e: assert e.errno == errno.ELOOP, (circle, e)\n\
        \x20       else: raise AssertionError(circle)\n\
        values = {f['name']: f['values'] for f in json.load(open('a/section.json'))['fields']}\n\
        assert len(values['next']) == 3, values";
    for who in everybody() {
        let home = folder();
        let path = home.path().join("Shot.vsf");
        fs::write(&path, &bytes).unwrap();
        let mount = Mount::new(who, &path, &[]);
        assert_eq!(python(who, script, &mount.path("")), expected);
        mount.unmount();
    }
}

/// A header with one label, and places in the file by the order of bytes.
fn far(body: &[u8], count: u8, behind: &[u8]) -> (Vec<u8>, usize) {
    let mut out = [b"R\xC3\x85<b3\0z3\x02y3\x02n3\x01(d3\x01so3\0b4\0\0n3", &[count][..], b")>"].concat();
    let header = out.len();
    out[6] = header as u8;
    out[23] = header as u8;
    out[26..28].copy_from_slice(&(body.len() as u16).to_be_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(behind);
    (out, header)
}

/// A field that refers to so many items in so many bytes at a place.
fn to(name: u8, at: usize, size: usize, count: u8) -> Vec<u8> {
    [b"(d3\x01", &[name][..], b":o3", &[at as u8], b",b3", &[size as u8], b",n3", &[count], b")"].concat()
}

/// No label names these; they are shown where they are referred to, and references within them are numbers.
#[test]
fn a_section_without_a_label_is_shown_once_where_it_is_referred_to() {
    let leaf = b"[(d3\x01v:u3\x2A)]";
    let one = to(b'w', 0, 0, 1).len();
    // The body has four references, and behind it lie a leaf and a section that refers to the leaf.
    let size = 2 + 4 * one;
    let (_, header) = far(&[], 4, &[]);
    let at = header + size;
    let middle = [b"[", &to(b'w', at, leaf.len(), 1)[..], b"]"].concat();
    let body = [
        b"[",
        &to(b'l', at, leaf.len(), 1)[..],
        &to(b'm', at + leaf.len(), middle.len(), 1),
        &to(b'o', header + 1, at - header + 2, 3),
        &to(b'x', 200, 250, 1),
        b"]",
    ]
    .concat();
    let (bytes, _) = far(&body, 4, &[&leaf[..], &middle].concat());
    let home = folder();
    let path = home.path().join("Far.vsf");
    fs::write(&path, &bytes).unwrap();
    let mount = Mount::new(As::Me, &path, &[]);
    assert_eq!(mount.read("s/l/v"), b"42\n");
    assert_eq!(mount.read("s/m/w"), format!("{at} {} 1\n", leaf.len()).as_bytes());
    // Past the end.
    assert_eq!(mount.read("s/x"), b"200 250 1\n");
    // What overlaps the section that it stands in.
    assert_eq!(fs::read_link(mount.path("s/o")).unwrap(), Path::new("o"));
    mount.unmount();
}

/// Ten thousand references to a section of ten thousand fields are twenty thousand files, and not a hundred million;
/// nor is a section without a label shown more often than fits the file.
#[test]
fn many_references_are_no_bomb() {
    let mut large = Fields::new();
    let mut many = Fields::new();
    for n in 0..10_000 {
        large.add(&format!("f{n}"), &Value::Bool(true)).unwrap();
        many.add_reference(&format!("r{n}"), "large").unwrap();
    }
    let mut builder = Builder::new();
    builder.section("large", large).unwrap();
    builder.section("many", many).unwrap();
    let mut bytes = builder.to_bytes().unwrap();
    let home = folder();
    let path = home.path().join("Many.vsf");
    fs::write(&path, &bytes).unwrap();
    let count = |what: &str| -> usize {
        let mount = Mount::new(As::Me, &path, &[]);
        let found =
            mount.sh(&format!("find {} {what} | wc -l", mount.path("").display())).trim().parse().unwrap();
        mount.unmount();
        found
    };
    assert_eq!((count("-type l"), count("-type f")), (10_000, 10_003));
    // The label names one item more: the references are to a section of that range that no label has.
    let file = vsf::open(&bytes[..]).unwrap();
    let label = &file.labels[0];
    let end = label.span.end as usize;
    let at = bytes[..end].windows(2).rposition(|two| two == 10_000u16.to_be_bytes()).unwrap();
    assert_eq!(&bytes[at - 2..at], b"n4", "the count of fields ends the label");
    bytes[at + 1] += 1;
    fs::write(&path, &bytes).unwrap();
    let files = count("-type f");
    assert!((20_000..100_000).contains(&files), "{files}");
}

/// Each of many sections leads to the next: what leads back to one is found out once, and not for each reference again.
#[test]
fn a_long_chain_is_followed_once() {
    const LONG: usize = 20_000;
    let (mut builder, mut many) = (Builder::new(), Fields::new());
    for n in 0..LONG {
        // The last one closes the circle.
        let next = format!("s{}", (n + 1) % LONG);
        builder.section(&format!("s{n}"), fields(&[], &[("next", &next)])).unwrap();
        many.add_reference(&format!("r{n}"), &format!("s{n}")).unwrap();
    }
    builder.section("many", many).unwrap();
    let home = folder();
    let path = home.path().join("Chain.vsf");
    fs::write(&path, builder.to_bytes().unwrap()).unwrap();
    let top = Spot::top(common::open(&path).unwrap());
    let target = |section: &str, name: &str| {
        let folder = top.child(section.as_bytes()).unwrap().unwrap();
        let link = folder.child(name.as_bytes()).unwrap().unwrap();
        let content = link.branch.open(link.node).unwrap();
        let mut target = vec![0; content.size() as usize];
        content.read_at(0, &mut target).unwrap();
        String::from_utf8(target).unwrap()
    };
    assert_eq!((target("many", "r7"), target("many", "r19999")), ("../s7".into(), "../s19999".into()));
    for n in [0, 1, 9_999, LONG - 1] {
        assert_eq!(target(&format!("s{n}"), "next"), "next");
    }
}

/// Sections that have to be read to show the top, since others stand in their directories, show no more than the file
/// has: neither where their labels lead to the same bytes, nor where they refer to them.
#[test]
fn what_is_shown_at_once_is_no_more_than_the_file_has() {
    const FIELDS: u32 = 2_000;
    let five = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
    let place = |at: usize, size: usize, count: u32| {
        [b"o5", &five(at)[..], b",b5", &five(size), b",n5", &count.to_be_bytes()].concat()
    };
    let large: Vec<u8> = (0..FIELDS).flat_map(|n| format!("(d3\x05f{n:04})").into_bytes()).collect();
    let large = [b"[", &large[..], b"]"].concat();
    for refers in [false, true] {
        let head = |length: usize| {
            let refer = [b"[(d3\x01r:", &place(length, large.len(), FIELDS)[..], b")]"].concat();
            let mut out = [b"R\xC3\x85<z3\x02y3\x01b5", &five(length)[..], b"n5", &five(200)].concat();
            for n in 0..100 {
                let name = format!("a{n:02}");
                let own = match refers {
                    true => place(length + large.len() + n * refer.len(), refer.len(), 1),
                    false => place(length, large.len(), FIELDS),
                };
                out.extend_from_slice(&[b"(d3\x03", name.as_bytes(), b":", &own, b")"].concat());
                out.extend_from_slice(&[b"(d3\x05", name.as_bytes(), b".x)"].concat());
            }
            out.push(b'>');
            (out, refer)
        };
        let (header, refer) = head(head(0).0.len());
        let bytes = [header, large.clone(), refer.repeat(if refers { 100 } else { 0 })].concat();
        let home = folder();
        let path = home.path().join("Upon.vsf");
        fs::write(&path, bytes).unwrap();
        let project = common::open(&path).unwrap();
        let nodes = project.tree().len();
        assert!((2_000..15_000).contains(&nodes), "{nodes}");
        let told = project.findings().list().iter().filter(|f| f.code == "vsf-overlap").count();
        assert_eq!(told > 0, !refers);
    }
}
