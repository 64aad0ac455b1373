use std::path::Path;
use crate::tree::Content;
#[test]
fn scratch() {
    for item in std::env::var("ITEMS").unwrap().split(',') {
        let bytes = std::fs::read(item).unwrap();
        let out = format!("/tmp/sv/out-{}", Path::new(item).file_name().unwrap().to_str().unwrap());
        let _ = std::fs::remove_file(&out);
        std::fs::write(&out, b"").unwrap();
        let r = super::recover(&Content::Bytes(bytes.into()), out.as_ref()).unwrap();
        println!("=== {item}");
        let Some(r) = r else { println!("nothing"); continue };
        println!("{:?} uv {} schema {} rec {} lost {}", r.pages, r.user_version, r.schema_found, r.recovered, r.lost);
        for l in r.lines() { println!("  {l}"); }
    }
}
