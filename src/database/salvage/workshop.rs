//! Where a damaged database is made anew to be judged: in a file that no folder has, on a disk that has room for it.
//!
//! Temporary folders come first; where one is not there, or full, the next is taken, and last the folder that the result
//! will lie in, if there is to be one. Where none will do, nothing can be judged, and that is the error: want of room is
//! no damage.

use std::io;
use std::path::{Path, PathBuf};

use super::report::Report;
use super::{disk, recover_unnamed};
use crate::error::{Error, Result};
use crate::tree::Content;

/// Where large temporary files lie, on a disk.
const LARGE: &str = "/var/tmp";

/// The folders, in the order in which they are tried.
#[derive(Debug, Clone)]
pub struct Workshop(Vec<PathBuf>);

impl Workshop {
    /// For a result that is to lie in `folder`, if there is to be one.
    pub fn of(folder: Option<&Path>) -> Workshop {
        let folders = [std::env::temp_dir(), PathBuf::from(LARGE)];
        Workshop(folders.into_iter().chain(folder.map(Path::to_path_buf)).collect())
    }

    /// Looks through a file and makes a database of what is left.
    pub fn recover(&self, content: &Content) -> Result<Option<(Content, Report)>> {
        let mut trouble = None;
        for folder in &self.0 {
            match recover_unnamed(content, folder) {
                Err(error) if disk::is(&error) => {
                    log::info!("{error}");
                    trouble.get_or_insert(error);
                }
                done => return done,
            }
        }
        Err(match trouble {
            Some(Error::Io { doing, path, cause }) => {
                let what = format!("{cause}; set TMPDIR to a folder on a disk with room for it");
                Error::io(doing, path, io::Error::new(cause.kind(), what))
            }
            other => other.unwrap_or_else(|| Error::Refused("there is no folder to work in".into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::hostile::{TRACE, made};
    use super::*;

    #[test]
    fn where_one_folder_will_not_do_the_next_is_taken() {
        let (mut bytes, root) = made(TRACE, "trace");
        bytes[(root - 1) * 4096..root * 4096].fill(0);
        let content = Content::Bytes(bytes.into());
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none");
        let there = Workshop(vec![none.clone(), folder.path().to_path_buf()]);
        let (_, report) = there.recover(&content).unwrap().unwrap();
        assert!(report.recovered > 1000);
        let nowhere = Workshop(vec![none.clone(), none.join("deeper")]);
        let error = nowhere.recover(&content).unwrap_err();
        assert!(disk::is(&error), "{error}");
        let said = error.to_string();
        assert!(said.contains("set TMPDIR") && said.contains(&none.display().to_string()), "{said}");
    }
}
