//! The schemas that the application has written, for a file whose own is lost.
//!
//! Each is a list of statements; a version differs from the one before in a few columns. Tables that were brought to
//! a later version by `ALTER TABLE` have their new columns at the end, and are variants of their own: the order of
//! the columns is the order of the values in a record.

use super::layout::Schema;

/// A schema and the `user_version` that goes with it.
#[derive(Debug, Clone)]
pub struct Known {
    /// The version.
    pub user_version: i32,
    /// Its statements.
    pub schema: Vec<Schema>,
}

const META: &str = "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)";
const REF: &str = " REFERENCES dataset(id) ON DELETE CASCADE";
const DATASET: &str = "id INTEGER PRIMARY KEY, name TEXT NOT NULL, created_utc TEXT NOT NULL, notes TEXT, fps REAL, \
    pixel_size_um REAL, t0_seconds REAL DEFAULT 0, extra_json TEXT";
const CHECKSUMS: &str = ", trace_checksum TEXT, events_checksum TEXT";
const SIGNATURES: &str = ", canonical_time_source TEXT NOT NULL DEFAULT 'unknown', trace_source_fingerprint TEXT, \
    events_source_fingerprint TEXT, trace_signature TEXT, events_signature TEXT, \
    signature_version INTEGER NOT NULL DEFAULT 1, last_validated_utc TEXT, \
    validation_status TEXT NOT NULL DEFAULT 'unknown', validation_error TEXT";
const MEASURED: &str = "inner_diam REAL, outer_diam REAL, p_avg REAL, p1 REAL, p2 REAL";
const FRAMES: &str =
    ", frame_number INTEGER, tiff_page INTEGER, temp REAL, table_marker INTEGER, caliper_length REAL";
const EVENT_HEAD: &str = "t_seconds REAL NOT NULL";
const PRESSURES: &str = "p_avg REAL, p1 REAL, p2 REAL, temp REAL";
const DIAMETERS: &str = ", od REAL, id_diam REAL, caliper REAL, od_ref_pct REAL";
const OLD_ASSET: &str = "CREATE TABLE asset(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL, role TEXT NOT NULL, \
    storage TEXT NOT NULL, rel_path TEXT, mime TEXT, sha256 TEXT, bytes INTEGER)";
const ASSET: &str = "CREATE TABLE asset(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, sha256 TEXT NOT NULL UNIQUE, \
    size_bytes INTEGER NOT NULL, compressed INTEGER NOT NULL, chunk_size INTEGER NOT NULL, original_name TEXT, mime TEXT)";
const RECIPE: &str = ", name TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL, \
    spec_json TEXT NOT NULL, source TEXT NOT NULL, trace_key TEXT, x_min REAL, x_max REAL, y_min REAL, y_max REAL, \
    export_background TEXT NOT NULL DEFAULT 'white'";

/// What one version has that another has not.
struct Parts {
    user_version: i32,
    frames: bool,
    trace_t_us: TUs,
    checksums: bool,
    signatures: bool,
    events: Events,
    old_assets: bool,
    audit: bool,
    recipes: bool,
}

enum TUs {
    None,
    Third,
    Last,
}

enum Events {
    Plain,
    Diameters,
    DiametersLast,
    Sources,
}

/// Whether any version of the application has a table of that name.
pub fn has_table(name: &str) -> bool {
    let is_it = |row: &Schema| row.kind == "table" && row.name.eq_ignore_ascii_case(name);
    all().iter().any(|known| known.schema.iter().any(is_it))
}

/// All known schemas, the likelier ones first.
pub fn all() -> Vec<Known> {
    let v7 = |t_us, recipes| Parts {
        user_version: 7,
        frames: true,
        trace_t_us: t_us,
        checksums: true,
        signatures: true,
        events: Events::Sources,
        old_assets: false,
        audit: true,
        recipes,
    };
    let v3 = |user_version, frames, events, checksums, recipes| Parts {
        user_version,
        frames,
        trace_t_us: TUs::None,
        checksums,
        signatures: false,
        events,
        old_assets: false,
        audit: false,
        recipes,
    };
    let parts = [
        v7(TUs::Third, false),
        v7(TUs::Last, true),
        Parts { user_version: 6, ..v7(TUs::None, true) },
        v3(5, true, Events::Diameters, true, true),
        v3(5, true, Events::DiametersLast, true, true),
        v3(3, true, Events::Diameters, false, false),
        v3(3, true, Events::DiametersLast, false, false),
        v3(3, false, Events::Plain, false, false),
        Parts { old_assets: true, ..v3(1, false, Events::Plain, false, false) },
    ];
    parts.into_iter().map(|p| Known { user_version: p.user_version, schema: statements(&p) }).collect()
}

fn statements(p: &Parts) -> Vec<Schema> {
    let mut all = vec![META.to_string(), dataset(p), trace(p), event(p)];
    let reference = if p.old_assets { "" } else { REF };
    let asset = if p.old_assets { "" } else { " REFERENCES asset(id) ON DELETE CASCADE" };
    if p.audit {
        all.push(format!(
            "CREATE TABLE event_audit(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL{REF}, event_id INTEGER, \
             action TEXT NOT NULL, old_json TEXT, new_json TEXT, source TEXT NOT NULL, utc_ts TEXT NOT NULL)"
        ));
    }
    all.push(if p.old_assets { OLD_ASSET } else { ASSET }.to_string());
    all.push(format!(
        "CREATE TABLE blob_chunk(asset_id INTEGER NOT NULL{asset}, seq INTEGER NOT NULL, data BLOB NOT NULL, \
         PRIMARY KEY(asset_id, seq)) WITHOUT ROWID"
    ));
    if !p.old_assets {
        all.push(format!(
            "CREATE TABLE ref(asset_id INTEGER NOT NULL{asset}, dataset_id INTEGER NOT NULL{REF}, role TEXT NOT NULL, \
             note TEXT, PRIMARY KEY(asset_id, dataset_id, role)) WITHOUT ROWID"
        ));
    }
    all.push(format!(
        "CREATE TABLE result(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL{reference}, kind TEXT NOT NULL, \
         version TEXT NOT NULL, created_utc TEXT NOT NULL, payload_json TEXT NOT NULL)"
    ));
    all.push(format!("CREATE TABLE thumbnail(dataset_id INTEGER PRIMARY KEY{reference}, png BLOB NOT NULL)"));
    if p.recipes {
        all.push(format!(
            "CREATE TABLE figure_recipe(recipe_id TEXT PRIMARY KEY, dataset_id INTEGER NOT NULL{REF}{RECIPE})"
        ));
        all.push(
            "CREATE INDEX figure_recipe_ds_updated ON figure_recipe(dataset_id, updated_at DESC)".to_string(),
        );
    }
    all.extend(indices(p));
    all.into_iter().filter_map(|sql| Schema::of_statement(&sql)).collect()
}

fn dataset(p: &Parts) -> String {
    let checksums = if p.checksums { CHECKSUMS } else { "" };
    let signatures = if p.signatures { SIGNATURES } else { "" };
    format!("CREATE TABLE dataset({DATASET}{checksums}{signatures})")
}

fn trace(p: &Parts) -> String {
    let (third, last) = match p.trace_t_us {
        TUs::None => ("", ""),
        TUs::Third => ("t_us INTEGER, ", ""),
        TUs::Last => ("", ", t_us INTEGER"),
    };
    let frames = if p.frames { FRAMES } else { "" };
    format!(
        "CREATE TABLE trace(dataset_id INTEGER NOT NULL{REF}, t_seconds REAL NOT NULL, {third}{MEASURED}{frames}{last}, \
         PRIMARY KEY(dataset_id, t_seconds)) WITHOUT ROWID"
    )
}

fn event(p: &Parts) -> String {
    let label = "label TEXT NOT NULL, frame INTEGER";
    let rest = match p.events {
        Events::Plain => format!("{EVENT_HEAD}, {label}, {PRESSURES}, extra_json TEXT"),
        Events::Diameters => format!("{EVENT_HEAD}, {label}, {PRESSURES}{DIAMETERS}, extra_json TEXT"),
        Events::DiametersLast => format!("{EVENT_HEAD}, {label}, {PRESSURES}, extra_json TEXT{DIAMETERS}"),
        Events::Sources => format!(
            "{EVENT_HEAD}, t_us INTEGER, {label}, source_frame INTEGER, source_row INTEGER, source_time_str TEXT, \
             {PRESSURES}{DIAMETERS}, extra_json TEXT, deleted_utc TEXT, deleted_reason TEXT, deleted_by TEXT"
        ),
    };
    format!("CREATE TABLE event(id INTEGER PRIMARY KEY, dataset_id INTEGER NOT NULL{REF}, {rest})")
}

fn indices(p: &Parts) -> Vec<String> {
    let mut all = Vec::new();
    let mut add = |sql: &str| all.push(sql.to_string());
    if !p.old_assets {
        add("CREATE INDEX trace_ds_t ON trace(dataset_id, t_seconds)");
        add("CREATE INDEX event_ds_t ON event(dataset_id, t_seconds)");
        add("CREATE UNIQUE INDEX ref_dataset_role ON ref(dataset_id, role)");
    }
    if !matches!(p.trace_t_us, TUs::None) {
        add("CREATE INDEX trace_ds_tus ON trace(dataset_id, t_us)");
    }
    if p.audit {
        add("CREATE INDEX event_ds_tus ON event(dataset_id, t_us)");
        add("CREATE INDEX event_not_deleted ON event(dataset_id) WHERE deleted_utc IS NULL");
        add("CREATE INDEX event_audit_ds_ts ON event_audit(dataset_id, utc_ts)");
    }
    all
}
