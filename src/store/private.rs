//! Who may read a copy: nobody who may not read what it was made from.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::led_to;

/// The permissions of a copy of `file`, which lies in the project `project` or beside it: those of the file, writable for
/// its owner, and none that a folder on the way withholds. Where `project` is a link, the file is in what that leads to.
/// Of what lies in a ZIP file, that file's count.
pub fn mode_of_copy(project: &Path, file: &Path) -> u32 {
    let mode = |path: &Path| Some(std::fs::metadata(path).ok()?.permissions().mode());
    let project = led_to(project);
    let inside = file.ancestors().skip(1).take_while(|path| path.starts_with(&project));
    let (mut allowed, mut found) = (0o666, false);
    for path in std::iter::once(file).chain(inside) {
        let Some(mode) = mode(path) else { continue };
        found = true;
        if !path.is_dir() {
            allowed &= mode;
            continue;
        }
        for (enter, all) in [(0o010, 0o060), (0o001, 0o006)] {
            allowed &= if mode & enter == 0 { !all } else { !0 };
        }
    }
    if found { allowed & 0o666 | 0o600 } else { 0o600 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    #[test]
    fn a_copy_is_no_wider_than_the_file_the_folders_and_the_zip_file_that_it_lies_in() {
        let top = tempfile::tempdir().unwrap();
        let project = top.path().join("Study.vasopack");
        let file = project.join("snapshots/000001.sqlite");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, b"x").unwrap();
        let link = top.path().join("link");
        std::os::unix::fs::symlink(&project, &link).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (folder, stored, copied) in [
            (0o755, 0o644, 0o644),
            (0o755, 0o600, 0o600),
            (0o755, 0o440, 0o640),
            (0o750, 0o644, 0o640),
            (0o700, 0o644, 0o600),
        ] {
            set(&project, folder);
            set(&file, stored);
            assert_eq!(mode_of_copy(&project, &file), copied, "{folder:o} {stored:o}");
            assert_eq!(mode_of_copy(&link, &file), copied, "{folder:o} {stored:o}");
        }
        let zip = top.path().join("box.vaso");
        fs::write(&zip, b"PK").unwrap();
        set(&zip, 0o600);
        assert_eq!(mode_of_copy(&zip, &zip.join("bundle/snapshots/000001.sqlite")), 0o600);
        assert_eq!(mode_of_copy(&zip, &top.path().join("nothing")), 0o600);
    }
}
