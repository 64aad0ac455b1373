//! Files of a database that are not embedded: in old layouts an asset may name one that lies beside the project.
//!
//! They are looked for as those of a package are (see [`super::beside`]): below the folder in which the project lies,
//! never through a link, by the size that is recorded, and by the SHA-256 before a byte is given out. One of which the
//! database does not record both is not looked for.

use std::sync::Arc;

use super::beside::{self, Found, NOT_FOUND, Wanted};
use crate::database::{AssetInfo, Database};
use crate::error::Result;
use crate::finding::{Finding, Severity};
use crate::store::Location;
use crate::tree::Time;

/// Where such files are looked for.
#[derive(Debug, Clone)]
pub struct Around {
    /// The project's own place.
    pub location: Arc<Location>,
    /// The newest time of the project; no file from beside it bears a newer one.
    pub newest: Time,
}

impl Around {
    /// The file that an asset names, if it is there.
    pub fn find(&self, info: &AssetInfo) -> Option<Found> {
        beside::find(&self.location.above().ok()?, &wanted(info)?)
    }

    /// The time of a file that was found.
    pub fn time(&self, found: &Found) -> Time {
        let (seconds, nanos) = found.stamp.mtime;
        Time { seconds, nanos: nanos as u32 }.min(self.newest)
    }
}

/// What is known of the file, if that is enough to know it by.
fn wanted(info: &AssetInfo) -> Option<Wanted> {
    let path = info.external.clone().filter(|path| !path.is_empty())?;
    let sha256 = info.sha256.as_deref()?.to_ascii_lowercase();
    Some(Wanted { sha256, size: info.size_bytes?, paths: vec![path] })
}

/// That a file is not there.
pub fn not_found(info: &AssetInfo, at: String) -> Finding {
    let name = info.external.as_deref().filter(|path| !path.is_empty()).unwrap_or("a file without a name");
    let what = format!(
        "asset {} refers to {name}, which does not lie beside the project with the size and SHA-256 that are recorded",
        info.id
    );
    let remedy = "put the file beside the project, and open that anew, to see it among the assets";
    Finding::new(Severity::Notice, NOT_FOUND, at, what, remedy)
}

/// What is amiss with the files that the assets of a database name: those that are not there, and, where `thorough`,
/// those that are other ones. `at` is what the findings are about.
pub fn examine(
    database: &Database,
    location: &Arc<Location>,
    thorough: bool,
    at: &str,
) -> Result<Vec<Finding>> {
    let around = Around { location: location.clone(), newest: Time::default() };
    let mut findings = Vec::new();
    for info in database.external_assets()? {
        let Some(found) = around.find(&info) else {
            findings.push(not_found(&info, at.to_string()));
            continue;
        };
        if thorough {
            let name = info.external.as_deref().unwrap_or_default();
            findings.extend(beside::examine(found, &format!("asset {} refers to {name}", info.id), at));
        }
    }
    Ok(findings)
}
