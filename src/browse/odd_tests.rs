//! The views of databases that SQLite takes, and that the application would not write: what is in them is shown, or told.

use super::project_tests::{Listing, list, view};
use crate::database::tests::{PROJECT, made};
use crate::finding::Findings;
use crate::tree::Spot;

/// All that is in the views of a database, and what is found in it.
fn shown(sql: &str) -> (Listing, std::sync::Arc<Findings>) {
    let (view, findings) = view(&made(sql), 77, None);
    (list(Spot::top(view)), findings)
}

fn file(listing: &Listing, path: &str) -> String {
    let (.., bytes) =
        listing.get(path).unwrap_or_else(|| panic!("{path} is not there: {:?}", listing.keys()));
    String::from_utf8(bytes.clone().expect("a file").unwrap_or_else(|why| panic!("{path}: {why}"))).unwrap()
}

/// What is told under a code.
fn told(findings: &Findings, code: &str) -> Vec<String> {
    findings
        .list()
        .into_iter()
        .filter(|finding| finding.code == code)
        .map(|finding| finding.message)
        .collect()
}

const RESULTS: &str = r#"
    insert into dataset(id, name) values(1, 'a');
    insert into result(dataset_id, kind, payload_json) values
        (1, 'fit', '{"name": "µm 🧪", "x": 1}'), (1, 'none', null), (1, 'bytes', x'00ff7b'),
        (1, 'table', '{"__type__":"dataframe","value":{"index":[0],"columns":["µ"],"data":[[1.5]]}}');"#;

#[test]
fn results_have_their_exact_sizes_in_whatever_encoding_they_are_stored() {
    let utf8 = shown(&format!("{PROJECT}{RESULTS}")).0;
    assert_eq!(file(&utf8, "Default/a/results/fit.json"), r#"{"name": "µm 🧪", "x": 1}"#);
    for encoding in ["UTF-16le", "UTF-16be"] {
        let (listing, findings) = shown(&format!("pragma encoding = '{encoding}'; {PROJECT}{RESULTS}"));
        assert_eq!(listing, utf8, "{encoding}");
        assert_eq!(findings.list(), [], "{encoding}");
    }
    // A column without a type keeps numbers, which are written as they are everywhere else.
    let untyped = PROJECT.replace("payload_json text", "payload_json");
    let numbers = "insert into dataset(id, name) values(1, 'a');
        insert into result(dataset_id, kind, payload_json) values(1, 'real', 0.1 + 0.2), (1, 'whole', -7);";
    for encoding in ["UTF-8", "UTF-16le"] {
        let listing = shown(&format!("pragma encoding = '{encoding}'; {untyped}{numbers}")).0;
        assert_eq!(file(&listing, "Default/a/results/real.json"), "0.30000000000000004");
        assert_eq!(file(&listing, "Default/a/results/whole.json"), "-7");
    }
}

#[test]
fn rows_that_name_no_dataset_by_a_number_are_shown_apart() {
    let rows = "insert into dataset(id, name) values(1, 'a'), (1000, 'b');
        insert into trace(dataset_id, t_seconds, inner_diam) values(1, 0, 1.5), ('txt', 1, 2.5), (1000.5, 1, 3.5),
            (99999, 1, 4.5), ('txt', 0.5, 5.5), (7.0, 0, 6.5);
        insert into event(dataset_id, t_seconds, label, deleted_utc) values(1, 0, 'e', null), (null, 1, 'f', '2026');
        insert into result(dataset_id, kind) values('txt', 'k');";
    let (listing, findings) = shown(&format!("{PROJECT}{rows}"));
    assert_eq!(
        file(&listing, "orphans/no-dataset/trace.csv"),
        "dataset_id,t_seconds,t_us,inner_diam_um,temp_c\n1000.5,1.0,,3.5,\ntxt,0.5,,5.5,\ntxt,1.0,,2.5,\n"
    );
    assert_eq!(
        file(&listing, "orphans/no-dataset/events.csv"),
        "dataset_id,id,t_seconds,label,deleted_utc\n,2,1.0,f,2026\n"
    );
    assert!(file(&listing, "orphans/dataset-99999/trace.csv").ends_with("\n1.0,,4.5,\n"));
    assert!(listing.contains_key("orphans/dataset-7") && !listing.contains_key("orphans/dataset-1000"));
    let told = told(&findings, "rows-without-dataset");
    assert!(told.len() == 1 && told[0].contains("1 of event, 1 of result, 3 of trace"), "{told:?}");
    // The text of a number is that number in a column of text, and is none where the column has no type.
    let trace = |kind: &str| PROJECT.replace("trace(dataset_id integer", &format!("trace(dataset_id {kind}"));
    let rows = "insert into dataset(id, name) values(1, 'a');
        insert into trace(dataset_id, t_seconds) values('1', 0), ('5', 1), ('01', 2);";
    let typed = shown(&format!("{}{rows}", trace("text"))).0;
    assert_eq!(file(&typed, "Default/a/trace.csv").lines().count(), 2);
    assert_eq!(file(&typed, "orphans/dataset-5/trace.csv").lines().count(), 2);
    assert_eq!(file(&typed, "orphans/no-dataset/trace.csv").lines().count(), 2);
    let untyped = shown(&format!("{}{rows}", trace(""))).0;
    assert_eq!(file(&untyped, "Default/a/trace.csv").lines().count(), 1);
    assert_eq!(file(&untyped, "orphans/no-dataset/trace.csv").lines().count(), 4);
    let sound = shown(&format!("{PROJECT} insert into dataset(id, name) values(1, 'a')"));
    assert!(!sound.0.contains_key("orphans") && sound.1.list().is_empty());
}

#[test]
fn embedded_files_that_nothing_refers_to_are_shown_apart() {
    let rows = "insert into dataset(id, name) values(1, 'a');
        insert into asset(id, kind, size_bytes, compressed, original_name) values(1, 'tiff', 1, 0, 'used.tif'),
            (2, 'tiff', 3, 0, 'C:\\x\\lonely.bin'), (3, 'tiff', 1, 0, null), (4, 'tiff', 1, 0, 'lonely.bin'),
            (5, '', 0, 0, null);
        insert into blob_chunk values(1, 0, 'a'), (2, 0, x'616263'), (3, 0, x'62'), (4, 0, x'63');
        insert into ref values(1, 1, 'tiff', null), (4, 'txt', 'tiff', null);";
    let (listing, _) = shown(&format!("{PROJECT}{rows}"));
    let names: Vec<&str> = listing.keys().filter_map(|path| path.strip_prefix("orphans/assets/")).collect();
    assert_eq!(names, ["asset-5", "lonely.bin", "lonely.bin~2", "tiff.tiff"]);
    assert_eq!(file(&listing, "orphans/assets/lonely.bin"), "abc");
    assert!(listing.contains_key("Default/a/assets/used.tif"));
}

#[test]
fn a_trace_goes_by_the_columns_that_are_there() {
    let project = |columns: &str| {
        let (front, rest) = PROJECT.split_once("create table trace").unwrap();
        let (_, rest) = rest.split_once("without rowid;").unwrap();
        format!("{front} create table trace({columns}); {rest} insert into dataset(id, name) values(1, 'a');")
    };
    let rows = "insert into trace values(1, 2000000, 7.5), (1, 1000000, 8.5), (2, 0, 9.5);";
    let (listing, findings) = shown(&format!("{}{rows}", project("dataset_id, t_us, inner_diam")));
    assert_eq!(file(&listing, "Default/a/trace.csv"), "t_us,inner_diam_um\n1000000,8.5\n2000000,7.5\n");
    assert!(listing.contains_key("orphans/dataset-2/trace.csv"));
    assert_eq!(findings.list(), []);
    let (listing, _) = shown(&format!("{}{rows}", project("dataset_id, frame_number, inner_diam")));
    assert_eq!(
        file(&listing, "Default/a/trace.csv"),
        "inner_diam_um,frame_number\n7.5,2000000\n8.5,1000000\n"
    );
    // Whose the rows are, nobody can tell.
    let (listing, findings) = shown(&format!("{}{rows}", project("t_seconds, t_us, inner_diam")));
    assert!(!listing.contains_key("Default/a/trace.csv"));
    assert_eq!(file(&listing, "orphans/no-dataset/trace.csv").lines().count(), 4);
    let told = told(&findings, "rows-without-dataset");
    assert!(told.len() == 1 && told[0].contains("3 of trace"), "{told:?}");
}

#[test]
fn text_of_a_dataset_that_is_not_utf8_is_told() {
    let rows =
        "insert into dataset(id, name) values(-5, cast(x'ff41fe' as text)), (6, x'00ff'), (7, 'whole');";
    let (listing, findings) = shown(&format!("{PROJECT}{rows}"));
    assert!(listing.contains_key("Default/\u{fffd}A\u{fffd}"));
    let told = told(&findings, "text-not-utf8");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("the name of dataset -5") && told[1].starts_with("the name of dataset 6"));
}
