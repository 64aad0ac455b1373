use super::super::tests::project;
use super::*;

const BASE: &str = r#"
    insert into meta values('project_name', 'p'), ('modified_utc', '1');
    insert into dataset values(1, 'V', '{"experiment": "WT", "a": 1}'), (2, 'V', '{"experiment": "WT"}'),
        (3, 'gone', null), (4, 'same', null);
    insert into trace values(1, 0, 0, 1.5, 37), (1, 1, 1000000, 2.5, 37), (2, 0, 0, 3.5, 37), (4, 0, 0, 1, 1);
    insert into event(dataset_id, t_seconds, label) values
        (1, 1, 'a'), (1, 2, 'b'), (1, 2, 'b'), (1, 3, 'c'), (1, 4, 'd'), (4, 1, 'x');
    insert into asset(id, kind, sha256) values(1, 'tiff', 'aa');
    insert into ref values(1, 1, 'tiff', null);
    insert into result values(1, 1, 'tone', '1', null, '{}');"#;

/// The same with all numbers changed, as a save leaves it.
const SAVED: &str = "
    update dataset set id = id + 100; update trace set dataset_id = dataset_id + 100;
    update event set id = id + 50, dataset_id = dataset_id + 100; update ref set dataset_id = dataset_id + 100;
    update result set id = id + 7, dataset_id = dataset_id + 100;";

#[test]
fn a_save_that_changes_nothing_is_no_difference() {
    let (a, b) = (project(BASE), project(&format!("{BASE}{SAVED}")));
    assert_eq!(compare(&a, &b).unwrap(), Difference::default());
    assert!(changed_tables(&a, &b).unwrap().is_empty());
}

#[test]
fn an_entry_of_the_audit_is_of_an_event_and_not_of_a_number() {
    let audit = "create table event_audit(id integer primary key, dataset_id integer, event_id integer, action text);
        insert into event_audit(dataset_id, event_id, action) values(1, 1, 'edit'), (1, 2, 'edit'), (1, 3, 'add'),
        (1, 99, 'remove');";
    let saved =
        "update event_audit set event_id = event_id + 50, dataset_id = dataset_id + 100, id = id + 7;";
    let base = format!("{BASE}{audit}");
    let of = |changes: &str| {
        let b = project(&format!("{base}{SAVED}{saved}{changes}"));
        let tables: Vec<String> = compare(&project(&base), &b).unwrap().tables.into_keys().collect();
        tables
    };
    assert_eq!(of(""), [""; 0]);
    // An event that is gone has no number that would stand for it.
    assert_eq!(of("update event_audit set event_id = 7777 where event_id = 149"), [""; 0]);
    for moved in ["event_id = 54 where event_id = 51", "event_id = 51 where event_id = 53", "event_id = null"]
    {
        assert_eq!(of(&format!("update event_audit set {moved}")), ["event_audit"], "{moved}");
    }
}

#[test]
fn everything_that_changed_is_told() {
    let changes = r#"
        update meta set value = '2' where key = 'modified_utc'; insert into meta values('new', '');
        delete from dataset where id = 103; delete from trace where dataset_id = 103;
        insert into dataset values(200, 'come', '{"experiment": "KO"}'), (201, 'V', '{"experiment": "WT"}');
        update dataset set extra_json = '{"experiment": "WT", "a": 2}' where id = 101;
        update trace set inner_diam = 9 where dataset_id = 102;
        insert into trace values(101, 2, 0, 0, 0);
        update event set label = 'B' where id = 52;
        update event set deleted_utc = 'now' where label = 'c';
        insert into event(dataset_id, t_seconds, label) values (101, 9, 'new'), (101, 9, 'newer');
        update asset set sha256 = 'bb'; update result set payload_json = '{"x": 1}';"#;
    let (a, b) = (project(BASE), project(&format!("{BASE}{SAVED}{changes}")));
    let name = |experiment: &str, name: &str, twin| SampleName {
        experiment: experiment.into(),
        name: name.into(),
        twin,
    };
    let told = |sample| SampleTold { sample, trace_rows: 0, events: 0 };
    let expected = Difference {
        meta: vec!["modified_utc".into(), "new".into()],
        added: vec![told(name("KO", "come", 1)), told(name("WT", "V", 3))],
        removed: vec![told(name("Default", "gone", 1))],
        tables: [("asset".to_string(), Counts { before: 1, after: 1 })].into(),
        edited: vec![
            SampleChange {
                sample: name("WT", "V", 1),
                fields: vec!["extra_json.a".into(), "asset tiff".into(), "result tone".into()],
                trace_rows: Counts { before: 2, after: 3 },
                trace_differs: true,
                events: EventChange { added: 2, removed: 1, edited: 1 },
            },
            SampleChange {
                sample: name("WT", "V", 2),
                trace_rows: Counts { before: 1, after: 1 },
                trace_differs: true,
                ..Default::default()
            },
        ],
        schema_version: None,
        definitions: BTreeMap::new(),
    };
    assert_eq!(compare(&a, &b).unwrap(), expected);
    let tables = changed_tables(&a, &b).unwrap();
    let told: Vec<_> = tables.iter().map(|(t, c)| (t.as_str(), c.before, c.after)).collect();
    let expected = [
        ("asset", 1, 1),
        ("dataset", 4, 5),
        ("event", 6, 8),
        ("meta", 2, 3),
        ("ref", 1, 1),
        ("result", 1, 1),
        ("trace", 4, 5),
    ];
    assert_eq!(told, expected);
}

/// What each change is told as: by tables, and in words for samples.
#[test]
fn no_change_goes_unseen() {
    let base = format!(
        "{BASE} create table notes(id integer primary key, text); insert into notes values(1, 'a');
         insert into blob_chunk values(1, 0, x'00'); insert into event values(70, 9, 1, 'stray', null);
         update dataset set extra_json = '{{\"experiment\": \"WT\", \"a\": 121.48791951161945}}' where id = 1;"
    );
    let before = project(&base);
    for (change, table) in [
        ("update trace set temp = 38 where dataset_id = 101 and t_seconds = 1", "trace"),
        ("update result set payload_json = '{ }'", "result"),
        ("update event set deleted_utc = 'now' where label = 'a'", "event"),
        ("update event set label = 'other' where label = 'stray'", "event"),
        ("update ref set note = 'x'", "ref"),
        // The neighbour of that number.
        (
            r#"update dataset set extra_json = '{"experiment": "WT", "a": 121.48791951161946}' where id = 101"#,
            "dataset",
        ),
        ("update asset set original_name = 'x'", "asset"),
        ("update blob_chunk set data = x'01'", "blob_chunk"),
        ("update notes set text = 'b'", "notes"),
        ("insert into thumbnail values(101, x'89')", "thumbnail"),
        ("delete from event where label = 'stray'", "event"),
    ] {
        let after = project(&format!("{base}{SAVED}{STRAY} {change}"));
        let tables = changed_tables(&before, &after).unwrap();
        assert_eq!(tables.keys().collect::<Vec<_>>(), [table], "{change}");
        assert_ne!(compare(&before, &after).unwrap(), Difference::default(), "{change}");
    }
    let same = project(&format!("{base}{SAVED}{STRAY}"));
    assert!(changed_tables(&before, &same).unwrap().is_empty());
    assert_eq!(compare(&before, &same).unwrap(), Difference::default());
    let grown = project(&format!(
        "{base}{SAVED}{STRAY} insert into dataset values(300, 'n', null);
        insert into trace values(300, 0, 0, 1, 1), (300, 1, 1, 1, 1);
        insert into event(dataset_id, t_seconds, label) values (300, 1, 'x');"
    ));
    let added = compare(&before, &grown).unwrap().added;
    assert_eq!((added[0].trace_rows, added[0].events), (2, 1));
}

#[test]
fn another_version_of_the_layout_is_told() {
    let (a, b) = (project(BASE), project(&format!("{BASE} pragma user_version = 7;")));
    let told = compare(&a, &b).unwrap();
    let version = Some(Versions { before: 0, after: 7 });
    assert_eq!(told, Difference { schema_version: version, ..Difference::default() });
    // It is nobody's work.
    assert_eq!(compare_work(&a, &b).unwrap(), Difference::default());
}

/// What belongs to no dataset keeps its number.
const STRAY: &str = "update event set dataset_id = 9 where label = 'stray';";

#[test]
fn a_newer_layout_differs_in_its_definitions_alone() {
    let newer = "alter table trace add column frame_number integer; alter table event add column od real;
        alter table dataset add column trace_checksum text; create table event_audit(id integer primary key, what);";
    let (a, b) = (project(BASE), project(&format!("{BASE}{newer}")));
    for (one, other, table) in [(&a, &b, Definition::Added), (&b, &a, Definition::Removed)] {
        let mut told = compare(one, other).unwrap();
        let grown =
            ["dataset", "event", "trace"].map(|table| (format!("table {table}"), Definition::Changed));
        let all = grown.into_iter().chain([("table event_audit".to_string(), table)]);
        assert_eq!(std::mem::take(&mut told.definitions), all.collect());
        assert_eq!(told, Difference::default());
        assert_eq!(compare_work(one, other).unwrap(), Difference::default());
    }
}

#[test]
fn what_is_defined_otherwise_is_told() {
    let more = "create view v as select 1; create index i on event(label); create table g(a, b as (a + 1));
        create trigger t after insert on g begin select 1; end; create index gone on event(label);";
    let other = "drop view v; create view v as select 2; create index i on event(label);
        create table g(a, b as (a + 2)); create trigger t after insert on g begin select 1; end;
        create view sqlite2 as select 1;";
    let (a, b) =
        (project(&format!("{BASE}{more}")), project(&format!("{BASE}create view v(x) as select 0; {other}")));
    let told = compare(&a, &b).unwrap();
    let expected = [
        ("index gone", Definition::Removed),
        ("table g", Definition::Changed),
        ("view sqlite2", Definition::Added),
        ("view v", Definition::Changed),
    ];
    assert_eq!(told.definitions, expected.map(|(what, how)| (what.to_string(), how)).into());
    // No statistics that SQLite keeps, and nobody's work.
    let analyzed = project(&format!("{BASE}{more} analyze;"));
    assert!(compare(&a, &analyzed).unwrap().definitions.is_empty());
    assert_eq!(compare_work(&a, &b).unwrap(), Difference::default());
}

#[test]
fn what_stands_in_new_columns_and_tables_is_a_difference() {
    let many: String =
        (0..500).map(|i| format!("alter table trace add column number_{i:04} real;")).collect();
    let newer = format!(
        "alter table trace add column flow real; alter table event add column od real;
        alter table dataset add column operator text; alter table trace add column \"Diam (um)\" real;
        alter table trace add column inner_diam_um real; alter table event add column \"odd col\" text;
        {many}"
    );
    let a = project(BASE);
    for (filled, table) in [
        ("update trace set flow = 2.5 where dataset_id = 2", "trace"),
        ("update event set od = 1 where label = 'x'", "event"),
        // Whatever they are called, and however many there are.
        ("update trace set \"Diam (um)\" = 2.5 where dataset_id = 2", "trace"),
        ("update trace set inner_diam_um = 2.5 where dataset_id = 2", "trace"),
        ("update trace set number_0499 = 2.5 where dataset_id = 2", "trace"),
        ("update event set \"odd col\" = 'y' where label = 'x'", "event"),
        ("update dataset set operator = 'Ana' where id = 4", "dataset"),
        ("create table recipe(id integer primary key, text); insert into recipe values(1, 'r')", "recipe"),
        ("insert into event values(70, 9, 1, 'stray', null, null, null)", "event"),
    ] {
        let b = project(&format!("{BASE}{newer}{filled};"));
        for (one, other) in [(&a, &b), (&b, &a)] {
            assert_eq!(
                changed_tables(one, other).unwrap().into_keys().collect::<Vec<_>>(),
                [table],
                "{filled}"
            );
            assert_ne!(compare(one, other).unwrap(), Difference::default(), "{filled}");
            assert_ne!(compare_work(one, other).unwrap(), Difference::default(), "{filled}");
        }
    }
}
