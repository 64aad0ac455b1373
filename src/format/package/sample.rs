//! A small realistic project, for `vaso demo` and for trying things out. The same bytes every time.

use std::io::{self, Seek, Write};

use serde_json::json;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::kind::SCHEMA;

/// Samples in a second.
const RATE: f64 = 10.0;
/// Seconds of each recording.
const SECONDS: usize = 600;
const CREATED: &str = "2026-03-01T09:00:00.000000Z";

struct Vessel {
    id: &'static str,
    name: &'static str,
    /// Inner diameter at rest, in micrometres.
    rest: f64,
}

const VESSELS: [Vessel; 2] = [
    Vessel { id: "00000000-0000-4000-8000-000000000001", name: "Mesenteric artery 1", rest: 212.0 },
    Vessel { id: "00000000-0000-4000-8000-000000000002", name: "Mesenteric artery 2", rest: 187.5 },
];

/// When the agonist and the washout come, in seconds.
const EVENTS: [(f64, &str); 4] =
    [(60.0, "Phenylephrine 1 uM"), (240.0, "Acetylcholine 10 uM"), (420.0, "Washout"), (540.0, "Ca2+ free")];

/// Writes the project, in the order in which the application writes a new one.
pub fn write(out: impl Write + Seek) -> io::Result<()> {
    let mut zip = ZipWriter::new(out);
    let time = DateTime::from_date_and_time(2026, 3, 1, 9, 0, 0).map_err(io::Error::other)?;
    let options = SimpleFileOptions::default().last_modified_time(time).unix_permissions(0o644);
    let packed = options.compression_method(CompressionMethod::Deflated);
    let stored = options.compression_method(CompressionMethod::Stored);
    let mut add = |name: &str, options: SimpleFileOptions, bytes: &[u8]| {
        zip.start_file(name, options).map_err(io::Error::other)?;
        zip.write_all(bytes)
    };
    let image = picture();
    let digest: String = Sha256::digest(&image).iter().map(|b| format!("{b:02x}")).collect();
    let project = json!({
        "$schema": "https://vaso.dev/schemas/project.json", "version": "1.0.0",
        "title": "Dose response (sample)", "subject": "two vessels", "timezone": "UTC", "tags": ["sample"],
    });
    add("project/project.json", packed, &document(&project))?;
    add("manifest.json", packed, &document(&manifest()))?;
    add("events/events.jsonl", packed, &events())?;
    add("audit/log.jsonl", packed, b"")?;
    add("README.md", packed, b"# Dose response (sample)\n\nMade by `vaso demo`.\n")?;
    add("links/linkmap.json", packed, b"{}")?;
    for vessel in &VESSELS {
        let folder = format!("datasets/{}", vessel.id);
        add(&format!("{folder}/dataset.json"), packed, &document(&dataset(vessel)))?;
        let timebase = json!({ "rate_hz": RATE, "time_zero": CREATED });
        add(&format!("{folder}/timebase.json"), packed, &document(&timebase))?;
        add(&format!("{folder}/qc.json"), packed, b"{}")?;
        add(&format!("{folder}/channels.csv"), packed, &recording(vessel))?;
        let refs = json!([{
            "sha256": digest, "size": image.len(), "mime": "image/x-portable-graymap", "role": "snapshot",
            "uri": format!("vaso://blobs/{digest}"), "rel_hint": "vessel.pgm", "created": CREATED,
        }]);
        add(&format!("{folder}/refs.json"), packed, &document(&refs))?;
    }
    add(&format!("datasets/_shared/blobs/{digest}"), stored, &image)?;
    zip.finish().map_err(io::Error::other)?;
    Ok(())
}

fn document(value: &serde_json::Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("plain values are JSON");
    text.push(b'\n');
    text
}

fn manifest() -> serde_json::Value {
    json!({
        "$schema": SCHEMA, "schema": SCHEMA, "version": "1.0.0", "format_version": "1.0.0",
        "package_id": "00000000-0000-4000-8000-000000000000", "created_utc": CREATED, "modified_utc": CREATED,
        "generator": { "app": "vaso", "version": env!("CARGO_PKG_VERSION") },
        "summary": {
            "title": "Dose response (sample)", "datasets": VESSELS.len(),
            "events": EVENTS.len() * VESSELS.len(), "has_embedded_blobs": true,
        },
    })
}

fn dataset(vessel: &Vessel) -> serde_json::Value {
    json!({
        "$schema": "https://vaso.dev/schemas/dataset.json", "version": "1.0.0",
        "id": vessel.id, "name": vessel.name, "modality": "pressure myography",
        "sampling": { "rate_hz": RATE, "time_zero": CREATED },
        "channels": [
            { "key": "inner_diam", "unit": "um", "source": "camera" },
            { "key": "pressure", "unit": "mmHg", "source": "transducer" },
        ],
        "roi_version": 1, "provenance": {},
    })
}

fn events() -> Vec<u8> {
    let mut lines = Vec::new();
    for (d, vessel) in VESSELS.iter().enumerate() {
        for (e, (t, label)) in EVENTS.iter().enumerate() {
            let id = format!("00000000-0000-4000-8000-0000000001{d}{e}");
            let event =
                json!({ "id": id, "dataset_id": vessel.id, "t": t, "label": label, "lane": 0, "style": {} });
            lines.extend_from_slice(event.to_string().as_bytes());
            lines.push(b'\n');
        }
    }
    lines
}

/// Diameter and pressure: constriction, relaxation and washout, with a slow rhythm.
fn recording(vessel: &Vessel) -> Vec<u8> {
    let mut csv = b"t_s,inner_diam_um,pressure_mmHg\n".to_vec();
    for i in 0..SECONDS * RATE as usize {
        let t = i as f64 / RATE;
        let towards =
            |from: f64, level: f64| if t < from { 0.0 } else { level * (1.0 - (-(t - from) / 20.0).exp()) };
        let tone = towards(EVENTS[0].0, 0.45) - towards(EVENTS[1].0, 0.3) - towards(EVENTS[2].0, 0.15);
        let rhythm = 1.5 * (t * 0.6).sin();
        let diameter = vessel.rest * (1.0 - tone) + rhythm;
        let pressure = 60.0 + 0.8 * (t * 1.1).cos();
        csv.extend_from_slice(format!("{t:.1},{diameter:.3},{pressure:.3}\n").as_bytes());
    }
    csv
}

/// A picture of a vessel: a grey ring.
fn picture() -> Vec<u8> {
    const SIDE: i32 = 128;
    let mut pgm = format!("P5\n{SIDE} {SIDE}\n255\n").into_bytes();
    for y in 0..SIDE {
        for x in 0..SIDE {
            let (dx, dy) = (x - SIDE / 2, y - SIDE / 2);
            let r2 = dx * dx + dy * dy;
            pgm.push(if (1600..2500).contains(&r2) { 60 } else { 200 - (r2 / 128) as u8 });
        }
    }
    pgm
}
