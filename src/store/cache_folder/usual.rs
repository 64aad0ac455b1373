//! Where caches usually lie: for a user as the desktop's conventions have it, for the system where it keeps its own.
//!
//! Invariant. Root makes nothing where somebody else is at home: what root makes there is closed to its owner, and he
//! could not even take it away.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the system's programs have their caches.
const SYSTEM: &str = "/var/cache";

/// The folder for whoever runs this, with these variables; `None` if there is no place for one.
pub fn usual(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let mine = |path: &Path| !is_root || owner(path) == Some(0);
    let below = |base: PathBuf| Some(base.join("vaso")).filter(|path| mine(nearest(path)));
    // Who has no home is often given `/`, or a folder that there is not.
    let home = || absolute("HOME").filter(|home| home.parent().is_some() && mine(home));
    let user = match absolute("XDG_CACHE_HOME") {
        Some(base) => below(base),
        None => home().and_then(|home| below(home.join(".cache"))),
    };
    user.or_else(|| of_service(&variable("CACHE_DIRECTORY")?))
        .or_else(|| Some(Path::new(SYSTEM)).filter(|path| is_root && path.is_dir()).map(|p| p.join("vaso")))
}

/// The first of the folders that systemd has made for a service.
fn of_service(folders: &OsString) -> Option<PathBuf> {
    let first = std::env::split_paths(folders).next()?;
    first.is_absolute().then_some(first)
}

/// What there is of a path.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(path)
}

fn owner(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.uid())
}
