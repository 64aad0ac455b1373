//! Where rows of a trace are missing: each sample that may have lost some is named, with the times between which they lay,
//! whether an index has survived or not.

mod common;
#[path = "common/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::Connection;
use scene::Scene;
use serde_json::Value;

const PAGE: usize = 4096;

type Times = BTreeMap<i64, Vec<f64>>;

fn times(path: &Path) -> Times {
    let db = Connection::open(path).unwrap();
    let mut all = Times::new();
    let mut query = db.prepare("SELECT dataset_id, t_seconds FROM trace").unwrap();
    let rows = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
    rows.map(Result::unwrap).for_each(|(dataset, time)| all.entry(dataset).or_default().push(time));
    all
}

/// The pages of a table WITHOUT ROWID that have rows, each with the samples that it has rows of, in order.
fn leaves(path: &Path) -> Vec<(usize, Vec<i64>)> {
    let (bytes, db) = (fs::read(path).unwrap(), Connection::open(path).unwrap());
    let root: u32 =
        db.query_row("select rootpage from sqlite_schema where name = 'trace'", [], |r| r.get(0)).unwrap();
    let two = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let four = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let page = (root as usize - 1) * PAGE;
    let mut children: Vec<usize> = (0..two(page + 3)).map(|i| four(page + two(page + 12 + 2 * i))).collect();
    children.push(four(page + 8));
    let samples = |number: usize| {
        let page = (number - 1) * PAGE;
        let all = (0..two(page + 3)).map(|i| {
            let cell = page + two(page + 8 + 2 * i);
            let (head, kind) = (usize::from(bytes[cell + 1]), bytes[cell + 2]);
            // SQLite has codes for 0 and 1, and one byte for what is a little more.
            if kind == 9 { 1 } else { i64::from(bytes[cell + 1 + head]) }
        });
        let mut all: Vec<i64> = all.collect();
        all.dedup();
        all
    };
    children.into_iter().map(|number| (number, samples(number))).collect()
}

/// Recovers what is left of a project and looks whether all that is missing is told; gives the report.
#[track_caller]
fn recovered(scene: &Scene, whole: &str, bytes: &[u8], what: &str) -> Value {
    fs::write(scene.path("x.vaso"), bytes).unwrap();
    let told = scene.json(0, &["x.vaso"]);
    let result = scene.path("x.recovered.vaso");
    let (before, left) = (times(&scene.path(whole)), times(&result));
    fs::remove_file(&result).unwrap();
    let report = &told["report"];
    let samples = report["samples"].as_array().unwrap();
    let mut told_lost = 0;
    for (dataset, all) in before {
        let none = Vec::new();
        let there = left.get(&dataset).unwrap_or(&none);
        let lost: Vec<f64> = all.iter().filter(|time| !there.contains(time)).copied().collect();
        let sample = samples.iter().find(|sample| sample["dataset"] == dataset);
        told_lost += sample.map_or(0, |sample| sample["lost"].as_u64().unwrap());
        let Some(sample) = sample.filter(|_| !lost.is_empty()) else {
            assert!(
                lost.is_empty(),
                "{what}: of sample {dataset} {} are lost, and it is not named",
                lost.len()
            );
            continue;
        };
        let gaps = sample["gaps"].as_array().unwrap();
        let lies_in = |time: f64, gap: &Value| {
            gap["from"].as_f64().is_none_or(|from| from <= time)
                && gap["to"].as_f64().is_none_or(|to| time <= to)
        };
        for time in lost {
            assert!(gaps.iter().any(|gap| lies_in(time, gap)), "{what}: {time} of {sample}");
        }
    }
    let trace = report["tables"].as_array().unwrap().iter().find(|table| table["name"] == "trace").unwrap();
    let is_said =
        |text: &str| report["notes"].as_array().unwrap().iter().any(|n| n.as_str().unwrap().contains(text));
    if told_lost > 0 && told_lost < trace["lost"].as_u64().unwrap() {
        assert!(is_said("it cannot be told of which sample they are"), "{what}: {report}");
    }
    told
}

fn line(scene: &Scene, bytes: &[u8], start: &str) -> String {
    fs::write(scene.path("x.vaso"), bytes).unwrap();
    let said = String::from_utf8(scene.recover(&["x.vaso"]).stdout).unwrap();
    said.lines().find(|line| line.trim().starts_with(start)).unwrap_or_else(|| panic!("{said}")).to_string()
}

#[test]
fn of_a_leaf_with_two_samples_both_are_named_with_the_times_that_are_missing() {
    let scene = Scene::new();
    let whole = fs::read(scene.path("v1.db")).unwrap();
    let leaves = leaves(&scene.path("v1.db"));
    let (shared, _) = leaves.iter().find(|(_, samples)| samples == &[1, 2]).unwrap();
    let start = (shared - 1) * PAGE;
    for sector in 0..8 {
        let mut bytes = whole.clone();
        bytes[start + sector * 512..start + (sector + 1) * 512].fill(0);
        recovered(&scene, "v1.db", &bytes, &format!("sector {sector}"));
    }
    for cut in [0, 1000, 2000, 3000] {
        recovered(&scene, "v1.db", &whole[..start + cut], &format!("cut at {cut}"));
    }
    let mut bytes = whole.clone();
    bytes[start..start + PAGE].fill(0);
    let said = line(&scene, &bytes, "sample Old exp / Vessel 1");
    assert!(said.contains("; rows may be missing after t=5"), "{said}");
    let said = line(&scene, &bytes, "sample Old exp / Vessel 2");
    assert!(said.contains("; rows may be missing before t="), "{said}");
}

#[test]
fn a_leaf_that_is_gone_is_a_gap_between_the_rows_beside_it() {
    let scene = Scene::new();
    let whole = fs::read(scene.path("v1.db")).unwrap();
    for (number, samples) in leaves(&scene.path("v1.db")) {
        let mut bytes = whole.clone();
        bytes[(number - 1) * PAGE..number * PAGE].fill(0);
        let told = recovered(&scene, "v1.db", &bytes, &format!("page {number}"));
        let named: Vec<i64> = told["report"]["samples"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["dataset"].as_i64().unwrap())
            .collect();
        assert_eq!(named, samples, "page {number}: {told}");
    }
}

#[test]
fn rows_before_the_first_that_is_left_are_missed_too() {
    let scene = Scene::new();
    let whole = fs::read(scene.path("v1.db")).unwrap();
    let leaves = leaves(&scene.path("v1.db"));
    let mut bytes = whole.clone();
    // The root, with the first leaf and one further on.
    for number in [5, leaves[0].0, leaves[2].0] {
        bytes[(number - 1) * PAGE..number * PAGE].fill(0);
    }
    let told = recovered(&scene, "v1.db", &bytes, "the root and two leaves");
    let trace = told["report"]["tables"].as_array().unwrap().iter().find(|t| t["name"] == "trace").unwrap();
    assert_eq!(trace["certainty"], "about-or-more", "{trace}");
}

#[test]
fn where_the_index_is_cut_off_too_its_rows_are_not_all_that_are_lost() {
    let scene = Scene::new();
    let whole = fs::read(scene.path("v3a.db")).unwrap();
    for pages in [35, 42, 49, 55, 65] {
        recovered(&scene, "v3a.db", &whole[..pages * PAGE], &format!("{pages} pages"));
    }
    let said = line(&scene, &whole[..49 * PAGE], "sample WT / Vessel 2");
    assert!(!said.contains("lost the row"), "{said}");
}
