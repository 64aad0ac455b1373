//! What `verify` says of hashes and signatures that files can have, and `info` of those who signed them.
//!
//! The files are put together here, and their seals made here, by the rules that were measured on real files.

mod common;

use std::fs;

use common::As;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value as Json, json};

/// What a verb says of a file: how it ends, its report, and what it prints for people.
struct Said {
    code: i32,
    report: Json,
    text: String,
}

impl Said {
    fn codes(&self) -> Vec<&str> {
        let findings = self.report["findings"].as_array().unwrap();
        findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect()
    }

    fn has(&self, code: &str) -> bool {
        self.codes().contains(&code)
    }

    /// The messages of a code.
    fn messages(&self, code: &str) -> Vec<&str> {
        let findings = self.report["findings"].as_array().unwrap().iter();
        findings.filter(|f| f["code"] == code).map(|f| f["message"].as_str().unwrap()).collect()
    }

    fn last_line(&self) -> &str {
        self.text.lines().last().unwrap()
    }
}

fn say(verb: &str, file: &[u8], more: &[&str]) -> Said {
    let folder = common::folder();
    let path = folder.path().join("Shot.vsf");
    fs::write(&path, file).unwrap();
    let run = |json: &[&str]| {
        common::command(As::Me, common::program())
            .arg(verb)
            .args(json)
            .args(more)
            .arg(&path)
            .output()
            .unwrap()
    };
    let (output, plain) = (run(&["--json"]), run(&[]));
    assert_eq!(output.status, plain.status);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    Said { code: output.status.code().unwrap(), report, text: String::from_utf8(plain.stdout).unwrap() }
}

fn verify(file: &[u8]) -> Said {
    say("verify", file, &[])
}

const CLEAN: &str = "clean: every checksum and digest is right";

/// A file of one section, `one` with `a` = 5 in 12 bytes, with `more` in its header and `of_label` in its label.
fn file(z: u8, more: &[u8], of_label: &[u8]) -> Vec<u8> {
    let y = if z == 10 { 9 } else { z };
    let build = |start: u8, end: u8| {
        let head = [b"R\xC3\x85<z3", &[z][..], b"y3", &[y], b"b3", &[start], b"l3", &[end], more].concat();
        let label = [b"n3\x01(d3\x03one:", of_label, b"o3", &[start], b",b3\x0C,n3\x01)>"].concat();
        [&head[..], &label, b"[(d3\x01a:u3\x05)]"].concat()
    };
    let end = u8::try_from(build(0, 0).len()).unwrap();
    build(end - 12, end)
}

/// The same with a second section behind it, and a newest header that leads to both, with `more` in it.
fn appended(first: &[u8], more: &[u8]) -> Vec<u8> {
    let (one, two) = (first.len() - 12, u8::try_from(first.len()).unwrap());
    let body = [first, b"[(d3\x01b:u3\x06)]"].concat();
    let label = |name: &[u8], at: u8| [b"(d3\x03", name, b":o3", &[at], b",b3\x0C,n3\x01)"].concat();
    let labels = [label(b"one", one as u8), label(b"two", two)].concat();
    let head = |len: u8| [b"R\xC3\x85<z3\x0Ay3\x09b3", &[len][..], more, b"n3\x02", &labels, b">"].concat();
    let header = head(u8::try_from(head(0).len()).unwrap());
    let at = (body.len() as u64).to_be_bytes();
    [&body[..], &header, b">\xC3\x85R\0VSF", &at].concat()
}

/// Where a seal's bytes are, of which the last `marker` is the head.
fn seal_at(file: &[u8], marker: &[u8]) -> usize {
    file.windows(marker.len()).rposition(|w| w == marker).unwrap() + marker.len()
}

const HB: &[u8] = b"hb3\x1F";
const HP: &[u8] = b"hp3\x1F";
const KE: &[u8] = b"ke3\x1F";
const GE: &[u8] = b"ge3\x3F";

fn zeros(head: &[u8], n: usize) -> Vec<u8> {
    [head, &vec![0; n]].concat()
}

/// Puts the hash of a file into it, which is made while its place holds zeros.
fn hashed(mut file: Vec<u8>, marker: &[u8]) -> Vec<u8> {
    let at = seal_at(&file, marker);
    let hash = blake3::hash(&file);
    file[at..at + 32].copy_from_slice(hash.as_bytes());
    file
}

fn signed(mut file: Vec<u8>, key: &SigningKey) -> Vec<u8> {
    let at = seal_at(&file, GE);
    let signature = key.sign(blake3::hash(&file).as_bytes());
    file[at..at + 64].copy_from_slice(&signature.to_bytes());
    file
}

fn key(seed: u8) -> (SigningKey, String) {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let public = key.verifying_key().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
    (key, public)
}

fn named(key: &SigningKey) -> Vec<u8> {
    [KE, key.verifying_key().as_bytes()].concat()
}

fn replaced(file: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = file.windows(from.len()).position(|w| w == from).unwrap();
    [&file[..at], to, &file[at + from.len()..]].concat()
}

/// A file whose first section was changed after another was appended, from bytes that were made elsewhere.
#[test]
fn what_others_were_appended_to_is_still_sealed() {
    let hex = "52c3853c7a330a79330962334c6c33586862331f69329c73733f0ae93b77d3feb581ffc8ea009b5337c10be947a8aa\
               427fabc8b46e3301286433036f6e653a6f334c2c62330c2c6e3301293e5b28643301613a753309295d5b28643301623a75\
               3306295d52c3853c7a330a7933096233396e3302286433036f6e653a6f334c2c62330c2c6e3301292864330374776f3a6f\
               33582c62330c2c6e3301293e3ec38552005653460000000000000064";
    let byte = |n: usize| u8::from_str_radix(&hex[n..n + 2], 16).unwrap();
    let changed: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    let said = verify(&changed);
    assert_eq!((said.code, said.codes()), (1, vec!["vsf-seal"]));
    assert!(said.messages("vsf-seal")[0].contains("first 88 bytes"), "{}", said.text);
    // As it was, it is right as far as the hash goes, and that is said.
    let before = replaced(&changed, b"a:u3\x09", b"a:u3\x05");
    assert_eq!(before, appended(&hashed(file(10, &zeros(HB, 32), b""), HB), b""));
    let said = verify(&before);
    assert_eq!((said.code, said.codes()), (0, vec!["vsf-unverified"]));
    assert!(said.messages("vsf-unverified")[0].contains("from byte 88 on"), "{}", said.text);
    assert_ne!(said.last_line(), CLEAN);
    // Where the newest header has a hash of all, there is nothing left to say.
    let first = hashed(file(10, &zeros(HB, 32), b""), HB);
    let all = hashed(appended(&first, &zeros(HB, 32)), HB);
    let said = verify(&all);
    assert_eq!((said.code, said.codes(), said.last_line()), (0, vec![], CLEAN));
}

#[test]
fn every_seal_of_the_first_header_is_of_the_bytes_that_it_had() {
    let (maker, public) = key(7);
    let of_label = [HB, blake3::hash(b"[(d3\x01a:u3\x05)]").as_bytes(), b","].concat();
    let both = |file: Vec<u8>| hashed(hashed(file, HP), HB);
    for (what, first) in [
        ("hb", hashed(file(10, &zeros(HB, 32), b""), HB)),
        ("hp", hashed(file(10, &zeros(HP, 32), b""), HP)),
        ("hp and hb", both(file(10, &[zeros(HP, 32), zeros(HB, 32)].concat(), b""))),
        ("ge", signed(file(10, &[named(&maker), zeros(GE, 64)].concat(), b""), &maker)),
        ("of the label", file(10, b"", &of_label)),
    ] {
        let alone = verify(&first);
        assert_eq!((alone.code, alone.codes(), alone.last_line()), (0, vec![], CLEAN), "{what}");
        let whole = appended(&first, b"");
        assert!(!verify(&whole).has("vsf-seal"), "{what}");
        // A changed value; and a changed seal.
        let value = first.len() - 3;
        let marker = match what {
            "ge" => GE,
            "hp" => HP,
            _ => HB,
        };
        for at in [value, seal_at(&first, marker) + 9] {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            let said = verify(&changed);
            assert!(said.code == 1 && said.has("vsf-seal"), "{what}, byte {at}: {}", said.text);
        }
    }
    // Who has signed what there was has not signed what there is.
    let first = signed(file(10, &[named(&maker), zeros(GE, 64)].concat(), b""), &maker);
    let whole = appended(&first, b"");
    let said = verify(&whole);
    assert_eq!((said.code, said.codes()), (1, vec!["vsf-unsigned"]));
    let part = json!([{ "key": public, "section": null, "first": first.len() }]);
    assert_eq!(said.report["signatures"], part);
    assert!(
        said.text.contains(&format!("signed: the first {} bytes by {public}", first.len())),
        "{}",
        said.text
    );
    let said = say("verify", &whole, &["--key", &public]);
    assert_eq!((said.code, said.codes()), (1, vec!["vsf-unsigned"]));
    // Unless that is signed too; the key need not be told twice.
    for more in [zeros(GE, 64), [named(&maker), zeros(GE, 64)].concat()] {
        let whole = signed(appended(&first, &more), &maker);
        let said = say("verify", &whole, &["--key", &public]);
        assert_eq!((said.code, said.codes(), said.last_line()), (0, vec![], CLEAN));
        let (stranger, _) = key(8);
        let forged = signed(appended(&first, &[named(&stranger), zeros(GE, 64)].concat()), &stranger);
        let said = say("verify", &forged, &["--key", &public]);
        assert_eq!((said.code, said.codes()), (1, vec!["vsf-signer"]));
    }
    // A key whose signature was cut out of the first header.
    let said = verify(&appended(&file(10, &named(&maker), b""), b""));
    assert_eq!((said.code, said.codes()), (1, vec!["vsf-unsigned"]));
}

/// Where the first header does not say how long the file was, its sections do.
#[test]
fn a_first_header_without_a_length_still_seals() {
    let long = file(10, &zeros(HB, 32), b"");
    let (before, after) = (long.len(), long.len() - 3);
    let short = replaced(&long, &[b"l3", &[before as u8][..]].concat(), b"");
    let short = replaced(
        &short,
        &[b"b3", &[before as u8 - 12][..]].concat(),
        &[b"b3", &[after as u8 - 12][..]].concat(),
    );
    let short = replaced(
        &short,
        &[b"o3", &[before as u8 - 12][..]].concat(),
        &[b"o3", &[after as u8 - 12][..]].concat(),
    );
    let whole = appended(&hashed(short, HB), b"");
    assert_eq!(verify(&whole).codes(), ["vsf-unverified"]);
    let changed = replaced(&whole, b"a:u3\x05", b"a:u3\x04");
    assert_eq!((verify(&changed).code, verify(&changed).codes()), (1, vec!["vsf-seal"]));
}

/// No seal is passed over: what cannot be checked is told, and then the file is not called right.
#[test]
fn a_seal_without_a_rule_is_told() {
    let sha = {
        use sha2::Digest;
        sha2::Sha256::digest(b"anything").to_vec()
    };
    let twice = [zeros(HB, 32), HB.to_vec(), vec![9; 32]].concat();
    for (more, told) in [
        ([b"h23\x1F", &sha[..]].concat(), &["hash of type h2"][..]),
        ([b"h3\x20", &sha[..]].concat(), &["hash of type h "]),
        ([b"hs3\x1F", &sha[..], b"mh3\x1F", &sha].concat(), &["hash of type hs", "code of type mh"]),
        ([b"mb3\x1F", &sha[..]].concat(), &["code of type mb"]),
        (b"hq3\x1F".iter().chain(&sha).copied().collect(), &["hash of type hq"]),
    ] {
        for z in [2, 8, 10] {
            let said = verify(&file(z, &more, b""));
            let messages = said.messages("vsf-unverified");
            assert_eq!((said.code, messages.len()), (0, told.len()), "{}", said.text);
            assert!(told.iter().all(|part| messages.iter().any(|m| m.contains(part))), "{}", said.text);
            assert!(said.last_line().starts_with("clean as far as can be told: "), "{}", said.text);
        }
    }
    // Of two of the same kind, the first is the file's.
    let mut doubled = file(10, &twice, b"");
    let at = doubled.windows(4).position(|w| w == HB).unwrap() + 4;
    let hash = *blake3::hash(&doubled).as_bytes();
    doubled[at..at + 32].copy_from_slice(&hash);
    let said = verify(&doubled);
    assert_eq!((said.code, said.codes()), (0, vec!["vsf-unverified"]), "{}", said.text);
    // In a label, and in the field behind all sections.
    let said = verify(&file(10, b"", &[b"mb3\x1F", &sha[..], b","].concat()));
    assert_eq!((said.code, said.codes()), (0, vec!["vsf-unverified"]));
    let behind = [&file(2, b"", b"")[..], b"(d3\x04seal:hb3\x1F", &sha, b")"].concat();
    assert_eq!(verify(&behind).codes(), ["vsf-unverified"]);

    let data = common::data("vsf.tar.xz");
    let corpus = |name: &str| fs::read(data.path().join("vsf/z10").join(name)).unwrap();
    // One bit, and the only seal is one of another algorithm.
    let mut flipped = corpus("provenance_only.vsf");
    assert_eq!(verify(&flipped).last_line(), CLEAN);
    flipped[27] ^= 1;
    let said = verify(&flipped);
    assert_eq!((said.code, said.codes()), (0, vec!["vsf-unverified"]));
    assert_ne!(said.last_line(), CLEAN);
    let said = verify(&corpus("signed_section.vsf"));
    assert_eq!((said.code, said.codes()), (0, vec!["vsf-unverified"]));
    assert!(said.last_line().contains("one thing could not be verified"), "{}", said.text);
}

/// A signature that nobody can check is none.
#[test]
fn a_key_needs_a_signature_that_can_be_checked() {
    let (maker, public) = key(7);
    let mut builder = vaso::format::vsf::Builder::new();
    builder.blob("raw", vec![5; 100]).unwrap();
    builder.signed(maker.clone(), false);
    let ours = builder.to_bytes().unwrap();
    assert_eq!(verify(&ours).codes(), [""; 0]);
    let said = verify(&replaced(&ours, b":ge3\x3F", b":gd3\x3F"));
    assert_eq!((said.code, said.codes()), (1, vec!["vsf-unsigned", "vsf-unverified"]));

    // From format 5 on a header has a hash or a signature, and may name a key beside either.
    for z in [5, 8, 9, 10] {
        let said = verify(&hashed(file(z, &[named(&maker), zeros(HB, 32)].concat(), b""), HB));
        assert_eq!((said.code, said.codes()), (0, vec!["vsf-unverified"]), "{z}: {}", said.text);
        assert!(said.messages("vsf-unverified")[0].contains("signature"), "{}", said.text);
        let said = verify(&signed(file(z, &[named(&maker), zeros(GE, 64)].concat(), b""), &maker));
        assert_eq!((said.code, said.codes(), said.last_line()), (0, vec![], CLEAN));
        // Neither of the two is what is left when one was cut out.
        assert_eq!(verify(&file(z, &named(&maker), b"")).codes(), ["vsf-unsigned"]);
        let other = verify(&file(z, &[named(&maker), zeros(b"gd3\x3F", 64)].concat(), b""));
        assert_eq!((other.code, other.codes()), (1, vec!["vsf-unsigned", "vsf-unverified"]));
        // Who gives a key wants a signature.
        let hashed = hashed(file(z, &[named(&maker), zeros(HB, 32)].concat(), b""), HB);
        assert_eq!(say("verify", &hashed, &["--key", &public]).codes(), ["vsf-unsigned"]);
    }
    for z in [2, 4] {
        let said = verify(&hashed(file(z, &[named(&maker), zeros(HB, 32)].concat(), b""), HB));
        assert_eq!((said.code, said.codes()), (1, vec!["vsf-unsigned"]), "{z}");
    }
    // The design names no algorithm, and has no rule for what is signed: that is told, and is no fault of the file.
    let unsaid = [b"k3\x20", &maker.verifying_key().to_bytes()[..], b"g3\x40", &[9; 64]].concat();
    let said = verify(&file(2, &unsaid, b""));
    assert_eq!((said.code, said.codes()), (0, vec!["vsf-unverified"]), "{}", said.text);
}

/// A file of a section with this body.
fn section(body: &[u8], count: u8) -> Vec<u8> {
    let build = |start: u8| {
        let label = [b"n3\x01(d3\x01ao3", &[start][..], b"b4\0", &[body.len() as u8], b"n3", &[count], b")>"];
        [b"R\xC3\x85<b3", &[start][..], b"z3\x02y3\x01", &label.concat(), body].concat()
    };
    build((build(0).len() - body.len()) as u8)
}

/// A signature stands last in its section, and covers what is before it. One that stands elsewhere is told.
#[test]
fn a_signature_within_a_section_is_told() {
    let signature = zeros(b"(d3\x09signature:ge3\x3F", 64);
    let one = [&signature[..], b")"].concat();
    for (body, count, told) in [
        ([b"[", &one[..], b"(d3\x01k:u3\x07)]"].concat(), 2, 1),
        ([b"[(d3\x01n:[", &one[..], b"(d3\x01k:u3\x07)])]"].concat(), 1, 1),
        ([b"[(d3\x01n:[(d3\x01k:u3\x07)", &one[..], b"])]"].concat(), 1, 1),
        // As the value of anything else it is data.
        ([b"[(d3\x01x:ge3\x3F", &[1; 64][..], b")]"].concat(), 1, 0),
    ] {
        let said = verify(&section(&body, count));
        let messages = said.messages("vsf-unverified");
        assert_eq!((said.code, messages.len()), (0, told), "{}", said.text);
        assert!(messages.iter().all(|m| m.contains("last field")), "{}", said.text);
        assert_eq!(said.last_line() == CLEAN, told == 0, "{}", said.text);
    }
}

/// Who has signed is a claim until it is verified, and is told as one.
#[test]
fn info_tells_who_claims_to_have_signed() {
    let (maker, public) = key(7);
    let (_, other) = key(9);
    let claims =
        |keys: &[&str], signatures: u64| json!({ "keys": keys, "signatures": signatures, "verified": false });
    let good = signed(file(10, &[named(&maker), zeros(GE, 64)].concat(), b""), &maker);
    let forged = replaced(&good, b"a:u3\x05", b"a:u3\x06");
    // It does not tell them apart, and says so.
    for file in [&good, &forged, &appended(&good, b"")] {
        let said = say("info", file, &[]);
        assert_eq!((said.code, &said.report["signed"]), (0, &claims(&[&public], 1)));
        let line = said.text.lines().find(|line| line.starts_with("signed ")).unwrap();
        assert!(
            line.contains(&public) && line.contains("not checked") && line.contains("vaso verify"),
            "{line}"
        );
    }
    let mut builder = vaso::format::vsf::Builder::new();
    builder.blob("raw", vec![5; 100]).unwrap();
    builder.signed(maker.clone(), false);
    assert_eq!(say("info", &builder.to_bytes().unwrap(), &[]).report["signed"], claims(&[&public], 1));
    let both = [named(&maker), named(&key(9).0), named(&maker), zeros(GE, 64)].concat();
    assert_eq!(say("info", &file(10, &both, b""), &[]).report["signed"], claims(&[&public, &other], 1));
    let said = say("info", &file(10, &named(&maker), b""), &[]);
    assert_eq!(said.report["signed"], claims(&[&public], 0));
    assert!(said.text.contains("signed            by nobody"), "{}", said.text);
    let said = say("info", &file(10, &zeros(GE, 64), b""), &[]);
    assert_eq!(said.report["signed"], claims(&[], 1));
    // Sections that are signed by themselves, also where the file is not.
    for name in ["one", "two"] {
        let mut fields = vaso::format::vsf::Fields::new();
        fields.add("k", &vaso::format::vsf::Value::Bool(true)).unwrap();
        builder.section(name, fields).unwrap();
    }
    builder.signed(maker.clone(), true);
    let said = say("info", &builder.to_bytes().unwrap(), &[]);
    let sections = json!({ "keys": [public], "signatures": 1, "sections": 2, "verified": false });
    assert_eq!(said.report["signed"], sections);
    assert!(said.text.contains("2 sections end in a signature; `vaso verify` checks that"), "{}", said.text);
    let body = [b"[(d3\x01k:u3\x07)(d3\x09signature:ge3\x3F", &[0; 64][..], b")]"].concat();
    let alone = say("info", &section(&body, 2), &[]);
    assert_eq!(
        alone.report["signed"],
        json!({ "keys": [], "signatures": 0, "sections": 1, "verified": false })
    );
    assert!(alone.text.contains("signed            one section ends in a signature"), "{}", alone.text);
    // Who claims nothing.
    let said = say("info", &file(10, b"", b""), &[]);
    assert!(said.report.get("signed").is_none() && !said.text.contains("signed"), "{}", said.text);
}

/// Each of many keys could have made each of many signatures: no more is tried than a file of its size is worth.
#[test]
fn many_keys_and_many_signatures_are_no_bomb() {
    let crowded = |keys: u16, junk: usize| {
        let keys: Vec<SigningKey> = (0..keys)
            .map(|n| SigningKey::from_bytes(&[n.to_be_bytes(); 16].concat().try_into().unwrap()))
            .collect();
        let body = [b"[(d3\x01a:u3\x05)(d3\x09signature:ge3\x3F", &[0; 64][..], b")]"].concat();
        let at = body.len() - 66;
        let seal = |seal: [u8; 64]| [&body[..at], &seal, &body[at + 64..]].concat();
        let own = keys[0].sign(blake3::hash(&body).as_bytes()).to_bytes();
        // No key makes that.
        let mut bodies = vec![seal([0xFF; 64]); junk];
        bodies.push(seal(own));
        let head = |length: usize| {
            let five = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
            let mut out = [b"R\xC3\x85<z3\x02y3\x01b5", &five(length)[..]].concat();
            out.extend(keys.iter().flat_map(named));
            out.extend_from_slice(&[b"n5", &five(bodies.len())[..]].concat());
            for n in 0..bodies.len() {
                let name = format!("s{n:03}");
                let place = [&five(length + n * body.len())[..], b",b5", &five(body.len())].concat();
                out.extend_from_slice(&[b"(d3\x04", name.as_bytes(), b":o5", &place, b",n3\x02)"].concat());
            }
            out.push(b'>');
            out
        };
        [head(head(0).len()), bodies.concat()].concat()
    };
    let public = SigningKey::from_bytes(&[0; 32]).verifying_key();
    let public: String = public.as_bytes().iter().map(|b| format!("{b:02x}")).collect();
    let few = verify(&crowded(9, 100));
    assert_eq!(few.report["signatures"], json!([{ "key": public, "section": "s100" }]), "{}", few.text);
    assert_eq!(few.messages("vsf-seal").len(), 100);
    let many = verify(&crowded(900, 100));
    assert_eq!(many.report["signatures"], json!([]));
    let untried = many.messages("vsf-unverified").len();
    assert!(untried > 1 && many.messages("vsf-seal").len() + untried == 101, "{}", many.text);
    assert!(many.messages("vsf-unverified").iter().all(|m| m.contains("more seals than a file of its size")));
}
