//! Samples: the rows of `dataset`, as people think of them: experiment, folder, name.
//!
//! The number of a dataset changes at every save, and names repeat; whoever needs a lasting name takes experiment and
//! name, and tells twins apart by their order here, which is that of the numbers.

use rusqlite::{Row, types::ValueRef};
use serde::Serialize;
use serde_json::Value;

use super::json::{lenient_json, whole_entries};
use super::layout::quoted;
use super::{Database, value};
use crate::error::Result;
use crate::finding::{Finding, Findings, Severity};

/// The experiment of a sample that names none.
pub const DEFAULT_EXPERIMENT: &str = "Default";

/// The dataset that holds the attachments of the project, and is no sample.
pub const PROJECT_ATTACHMENTS: &str = "__project_attachments__";

/// The longest cell of a dataset that is read.
const LONGEST: usize = 4 << 20;

const OWN: [&str; 8] =
    ["id", "name", "created_utc", "notes", "fps", "pixel_size_um", "t0_seconds", "extra_json"];

/// Where the name stands among them.
const NAME: usize = 1;

/// One dataset.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Its number in this database.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_utc: Option<String>,
    /// What people wrote about it.
    pub notes: Option<String>,
    /// Frames per second.
    pub fps: Option<f64>,
    /// Micrometres per pixel.
    pub pixel_size_um: Option<f64>,
    /// The time of the first row, in seconds.
    pub t0_seconds: Option<f64>,
    /// `extra_json`, if it is JSON as Python reads it. A bare `NaN` or infinity in it is null.
    pub extra: Option<Value>,
    /// `extra_json` as it is stored.
    pub extra_text: Option<String>,
    /// All other columns, in the file's order.
    pub other: Vec<(String, Value)>,
    /// The experiment it belongs to.
    pub experiment: String,
    /// The folder in the experiment.
    pub subfolder: Option<String>,
    /// Its place in the experiment.
    pub experiment_index: Option<i64>,
    /// What is attached to it.
    pub attachments: Vec<Attachment>,
    /// Whether it is no sample, but holds the attachments of the project.
    pub of_project: bool,
}

/// One file that is attached to a sample, as the sample lists it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Attachment {
    /// What people call it.
    pub name: Option<String>,
    /// The name of the file.
    pub filename: Option<String>,
    /// The role of the asset that holds it.
    pub role: Option<String>,
    /// All that is said about it.
    pub all: Value,
}

impl Database {
    /// All datasets in the order of their numbers, the project's attachments among them. What cannot be taken as it
    /// is meant is told to `findings`.
    pub fn samples(&self, findings: &Findings) -> Result<Vec<Sample>> {
        let shape = self.layout.table("dataset").expect("the database was opened");
        let others: Vec<&str> =
            shape.columns.iter().map(|c| c.name.as_str()).filter(|c| !is_own(c)).collect();
        let columns: Vec<String> =
            OWN.iter().map(|c| shape.or_null(c)).chain(others.iter().map(|c| quoted(c))).collect();
        let sql = format!("SELECT {} FROM dataset ORDER BY id", columns.join(", "));
        self.with(|link| {
            let mut statement = link.connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            let (mut samples, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                let reader = Reader { row, name: &self.name, findings };
                let Some(sample) = reader.sample(&others)? else { continue };
                let sizes = (0..columns.len()).map(|i| Ok(value::size(row.get_ref(i)?)));
                let size: usize = sizes.sum::<rusqlite::Result<usize>>()?;
                // The text, and the tree that was made of it.
                self.budget(&mut bytes, size.min(LONGEST * columns.len()) * 4)?;
                samples.push(sample);
            }
            Ok(samples)
        })
    }
}

fn is_own(column: &str) -> bool {
    OWN.iter().any(|own| own.eq_ignore_ascii_case(column))
}

/// Reads one row of `dataset`.
struct Reader<'r, 's> {
    row: &'r Row<'s>,
    name: &'r str,
    findings: &'r Findings,
}

impl Reader<'_, '_> {
    fn sample(&self, others: &[&str]) -> rusqlite::Result<Option<Sample>> {
        let ValueRef::Integer(id) = self.row.get_ref(0)? else {
            self.note(
                "dataset-without-number",
                "a dataset has no whole number as its id, and is not shown".into(),
            );
            return Ok(None);
        };
        let mut sample = Sample {
            id,
            name: value::text(self.get(1, id)?),
            created_utc: value::some_text(self.get(2, id)?),
            notes: value::some_text(self.get(3, id)?),
            fps: value::some_real(self.get(4, id)?),
            pixel_size_um: value::some_real(self.get(5, id)?),
            t0_seconds: value::some_real(self.get(6, id)?),
            extra_text: value::some_text(self.get(7, id)?),
            experiment: DEFAULT_EXPERIMENT.into(),
            ..Sample::default()
        };
        for (i, other) in others.iter().enumerate() {
            sample.other.push((other.to_string(), value::json(self.get(OWN.len() + i, id)?)));
        }
        sample.of_project = sample.name == PROJECT_ATTACHMENTS;
        if let Some(text) = &sample.extra_text {
            match lenient_json(text) {
                Some(said) => {
                    if said.has_halves {
                        let what = "has halves of characters, which are shown as U+FFFD";
                        self.note("extra-half-character", format!("extra_json of dataset {id} {what}"));
                    }
                    sample.take_extra(&said.value);
                    sample.extra = Some(said.value);
                }
                None => {
                    self.note("extra-not-json", format!("extra_json of dataset {id} is no JSON"));
                    sample.take_extra(&Value::Object(whole_entries(text)));
                }
            }
        }
        Ok(Some(sample))
    }

    /// A cell; nothing, if it is longer than a cell of a dataset may be.
    fn get(&self, column: usize, id: i64) -> rusqlite::Result<ValueRef<'_>> {
        let value = self.row.get_ref(column)?;
        if value::size(value) <= LONGEST {
            self.tell_replaced(column, value, id);
            return Ok(value);
        }
        self.note("cell-too-long", format!("a cell of dataset {id} is longer than 4 MiB, and is not shown"));
        Ok(ValueRef::Null)
    }

    /// Tells of text that is not shown as it is.
    fn tell_replaced(&self, column: usize, value: ValueRef<'_>, id: i64) {
        let is_replaced = matches!(value, ValueRef::Text(text) if str::from_utf8(text).is_err())
            // Bytes in the place of a name are taken for one.
            || matches!(value, ValueRef::Blob(bytes) if column == NAME && str::from_utf8(bytes).is_err());
        if !is_replaced {
            return;
        }
        let which = match OWN.get(column) {
            Some(name) => format!("the {name} of dataset {id}"),
            None => format!("a cell of dataset {id}"),
        };
        let what = format!("{which} is text that is not UTF-8; what cannot be read is shown as U+FFFD");
        let remedy = "no reason to act if it is only looked at; the project's own bytes are unchanged";
        self.findings.add(Finding::new(Severity::Notice, "text-not-utf8", self.name, what, remedy));
    }

    fn note(&self, code: &'static str, message: String) {
        let remedy =
            "open the project with the application, and save it; the bytes are in the database as they were";
        self.findings.add(Finding::new(Severity::Warning, code, self.name, message, remedy));
    }
}

impl Sample {
    /// Takes from `extra` what has a meaning here.
    fn take_extra(&mut self, extra: &Value) {
        let text =
            |key: &str| extra.get(key).and_then(Value::as_str).filter(|s| !s.is_empty()).map(String::from);
        if let Some(experiment) = text("experiment") {
            self.experiment = experiment;
        }
        self.subfolder = text("subfolder");
        self.experiment_index = extra.get("experiment_index").and_then(Value::as_i64);
        let listed = extra.get("attachments").and_then(Value::as_array);
        self.attachments = listed.into_iter().flatten().map(Attachment::of).collect();
    }
}

impl Attachment {
    fn of(all: &Value) -> Attachment {
        let text = |key: &str| all.get(key).and_then(Value::as_str).map(String::from);
        Attachment {
            name: text("name"),
            filename: text("filename"),
            role: text("asset_role"),
            all: all.clone(),
        }
    }
}
