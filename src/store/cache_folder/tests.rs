//! Cache folders and their files, by several at once, deleted, damaged and full.

use std::fs;

use super::super::record_file::HEAD;
use super::*;

const SIZE: usize = 100;

fn record(n: u8) -> Vec<u8> {
    vec![n; SIZE]
}

#[test]
fn records_are_there_again_and_only_under_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let cache = CacheFolder::open(&folder.path().join("vaso"), 1 << 20).unwrap();
    let file = cache.records([1; 32], SIZE).unwrap();
    file.append(record(1)).unwrap();
    // A second process with the same file.
    let other = cache.records([1; 32], SIZE).unwrap();
    assert_eq!(other.append(record(2)).unwrap(), 1);
    assert_eq!(file.append(record(3)).unwrap(), 2);
    assert_eq!(file.read(2).unwrap(), Some(record(3)));
    assert_eq!(file.count().unwrap(), 3);
    assert_eq!(file.read(1).unwrap(), Some(record(2)));
    assert_eq!(cache.records([2; 32], SIZE).unwrap().count().unwrap(), 0);
    // Half of the key makes the name; the whole key has to fit.
    let mut near = [1; 32];
    near[31] = 2;
    assert_eq!(cache.records(near, SIZE).unwrap().count().unwrap(), 0);
}

#[test]
fn what_is_torn_or_flipped_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = CacheFolder::open(folder.path(), 1 << 20).unwrap();
    let file = cache.records([3; 32], SIZE).unwrap();
    file.append(record(1)).unwrap();
    file.append(record(2)).unwrap();
    let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&path).unwrap();
    bytes[HEAD as usize + 5] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let file = cache.records([3; 32], SIZE).unwrap();
    assert_eq!((file.read(0).unwrap(), file.read(1).unwrap()), (None, Some(record(2))));
    // Somebody was killed in the middle of a write.
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let file = cache.records([3; 32], SIZE).unwrap();
    assert_eq!(file.count().unwrap(), 1, "the whole ones are there");
    assert_eq!(file.append(record(4)).unwrap(), 1);
    assert_eq!((file.count().unwrap(), file.read(1).unwrap()), (2, Some(record(4))));
    bytes[20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(cache.records([3; 32], SIZE).unwrap().count().unwrap(), 0, "of another key, it is begun anew");
}

/// As large as a window is: one write of it makes the file grow in steps.
const LARGE: usize = 32_788;

#[test]
fn a_file_that_is_being_added_to_is_not_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let open = || CacheFolder::open(folder.path(), 1 << 30).unwrap();
    let (one, two) = (open(), open());
    for round in 0..5 {
        let file = one.records([round; 32], LARGE).unwrap();
        std::thread::scope(|scope| {
            let adding = scope.spawn(|| (0..400).for_each(|_| _ = file.append(vec![7; LARGE]).unwrap()));
            for _ in 0..1000 {
                two.records([round; 32], LARGE).unwrap();
            }
            adding.join().unwrap();
        });
        assert_eq!(two.records([round; 32], LARGE).unwrap().count().unwrap(), 400, "round {round}");
    }
}

#[test]
fn two_who_add_to_one_file_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let add = |who: u8| {
        let cache = CacheFolder::open(folder.path(), 1 << 30).unwrap();
        let file = cache.records([9; 32], LARGE).unwrap();
        for n in 0..200 {
            let mut bytes = vec![who; LARGE];
            bytes[0] = n;
            let at = file.append(bytes.clone()).unwrap();
            assert_eq!(file.read(at).unwrap(), Some(bytes), "{who} {n}");
            cache.records([9; 32], LARGE).unwrap();
        }
    };
    std::thread::scope(|scope| {
        drop([1, 2].map(|who| {
            scope.spawn({
                let add = &add;
                move || add(who)
            })
        }))
    });
    let file = CacheFolder::open(folder.path(), 1 << 30).unwrap().records([9; 32], LARGE).unwrap();
    let mut all: Vec<_> =
        (0..file.count().unwrap()).map(|n| file.read(n).unwrap().unwrap()[..2].to_vec()).collect();
    all.sort();
    all.dedup();
    assert_eq!((file.count().unwrap(), all.len()), (400, 400));
}

#[test]
fn what_lies_in_the_folder_beside_is_not_ours_to_delete() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.pdf"), vec![0; 5000]).unwrap();
    let cache = CacheFolder::open(folder.path(), 1000).unwrap();
    for i in 0..5 {
        let file = cache.records([i; 32], SIZE).unwrap();
        for n in 0..5 {
            // There is no room for any.
            let _ = file.append(record(n));
        }
    }
    cache.make_room().unwrap();
    assert_eq!(fs::read(folder.path().join("thesis.pdf")).unwrap().len(), 5000);
}

#[test]
fn many_who_begin_a_file_at_once_have_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let cache = CacheFolder::open(folder.path(), 1 << 20).unwrap();
    for round in 0..20 {
        std::thread::scope(|scope| {
            for n in 0..8 {
                let cache = &cache;
                scope.spawn(move || {
                    let file = cache.records([round; 32], SIZE).unwrap();
                    let at = file.append(record(n)).unwrap();
                    assert_eq!(file.read(at).unwrap(), Some(record(n)));
                });
            }
        });
        assert_eq!(cache.records([round; 32], SIZE).unwrap().count().unwrap(), 8);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 20, "nothing else is left");
}

#[test]
fn a_folder_that_others_may_write_into_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    for mode in [0o777, 0o720, 0o702] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
        let said = CacheFolder::open(folder.path(), 1000).unwrap_err().to_string();
        assert!(said.contains("chmod go-w"), "{said}");
    }
}

#[test]
fn a_folder_of_somebody_else_is_refused_with_his_number() {
    let folder = tempfile::tempdir().unwrap();
    if std::os::unix::fs::chown(folder.path(), Some(4711), None).is_err() {
        return eprintln!("only root can give a folder away");
    }
    let said = CacheFolder::open(folder.path(), 1000).unwrap_err().to_string();
    assert!(said.contains("4711") && !said.contains("chmod"), "{said}");
}

/// The usual folder with these variables.
fn usual_with(variables: &[(&str, &Path)], is_root: bool) -> Option<PathBuf> {
    let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
    usual::usual(find, is_root)
}

#[test]
fn the_usual_folder_lies_in_the_cache_or_home_of_the_user_or_where_the_system_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (home, xdg, service) =
        (folder.path().join("home"), folder.path().join("xdg"), Path::new("/a/service"));
    fs::create_dir(&home).unwrap();
    let me_root = nix::unistd::geteuid().is_root();
    let all = [("XDG_CACHE_HOME", &*xdg), ("HOME", &*home), ("CACHE_DIRECTORY", service)];
    assert_eq!(usual_with(&all, me_root), Some(xdg.join("vaso")));
    assert_eq!(usual_with(&all[1..], me_root), Some(home.join(".cache/vaso")));
    assert_eq!(usual_with(&all[2..], me_root), Some(service.into()));
    let two = Path::new("/a/service:/another");
    assert_eq!(usual_with(&[("CACHE_DIRECTORY", two)], me_root), Some(service.into()));
    // What is relative, or `/`, is no home.
    for home in ["", "home", "/"] {
        let none = [("XDG_CACHE_HOME", Path::new("x")), ("HOME", Path::new(home))];
        assert_eq!(usual_with(&none, false), None);
        assert_eq!(usual_with(&none, true), Some("/var/cache/vaso".into()));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "asking makes nothing");
}

#[test]
fn root_has_no_cache_where_somebody_else_is_at_home() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    fs::create_dir_all(home.join("own/.cache")).unwrap();
    if std::os::unix::fs::chown(&home, Some(4711), None).is_err() {
        return eprintln!("only root can give a folder away");
    }
    let service = Path::new("/a/service");
    let with = |name, path: &Path| usual_with(&[(name, path), ("CACHE_DIRECTORY", service)], true).unwrap();
    let cache = home.join(".cache");
    assert_eq!(with("HOME", &home), service);
    assert_eq!(with("XDG_CACHE_HOME", &cache), service);
    assert_eq!(with("XDG_CACHE_HOME", &cache.join("deep/er")), service);
    fs::create_dir(&cache).unwrap();
    assert_eq!(with("HOME", &home), service, "whoever made the folder");
    // A user's folder in root's own.
    let own = home.join("own");
    assert_eq!(with("HOME", &own), own.join(".cache/vaso"));
    std::os::unix::fs::chown(own.join(".cache"), Some(4711), None).unwrap();
    assert_eq!(with("HOME", &own), service);
    assert_eq!(with("HOME", &folder.path().join("none")), service);
    // Users go by what they are let.
    assert_eq!(usual_with(&[("HOME", &home)], false), Some(cache.join("vaso")));
}

#[test]
fn the_bound_holds_and_deleting_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let cache = CacheFolder::open(folder.path(), 40_960).unwrap();
    let files: Vec<RecordFile> = (0..20).map(|i| cache.records([i; 32], SIZE).unwrap()).collect();
    for file in &files {
        for n in 0..5 {
            // The first have gone already, for the last.
            let _ = file.append(record(n));
        }
    }
    cache.make_room().unwrap();
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert!(left > 0 && left <= 10, "each takes a block: {left}");
    assert_eq!(files[19].read(4).unwrap(), Some(record(4)));
    assert!(files[0].is_gone() && files[0].read(4).is_err(), "what went takes no room on the disk either");
    assert_eq!(files[0].append(record(1)).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Bytes of all files in a folder.
fn taken(folder: &Path) -> u64 {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn one_file_that_grows_and_many_stay_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let cache = CacheFolder::open(folder.path(), 1 << 20).unwrap();
    let file = cache.records([1; 32], LARGE).unwrap();
    let refused = (0..100).find_map(|_| file.append(vec![1; LARGE]).err()).expect("no file takes all");
    assert_eq!(refused.kind(), ErrorKind::FileTooLarge);
    assert!(taken(folder.path()) <= 1 << 20);
    // Many that were begun together.
    let files: Vec<RecordFile> = (10..40).map(|n| cache.records([n; 32], LARGE).unwrap()).collect();
    for round in 0..20 {
        for file in &files {
            // What went is gone for whoever had it open.
            let _ = file.append(vec![round; LARGE]);
            assert!(taken(folder.path()) <= 1 << 20, "{}", taken(folder.path()));
        }
    }
    assert!(files.iter().any(|file| file.count().unwrap() > 0));
}

#[test]
fn what_is_used_stays_and_what_was_begun_by_the_dead_goes() {
    let folder = tempfile::tempdir().unwrap();
    let fill = |cache: &CacheFolder, key: u8| {
        let file = cache.records([key; 32], LARGE).unwrap();
        (0..6).for_each(|_| _ = file.append(vec![key; LARGE]).unwrap());
    };
    let there = |cache: &CacheFolder, key: u8| cache.existing_records([key; 32], LARGE).unwrap().is_some();
    let old = |key: u8, days: u64| {
        let file = File::open(folder.path().join(name_of([key; 32]))).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400))
            .unwrap();
    };
    let cache = CacheFolder::open(folder.path(), 1 << 20).unwrap();
    (1..=3).for_each(|key| fill(&cache, key));
    old(1, 9);
    old(2, 5);
    // Opened, it is used, whether anything is added to it or not.
    cache.records([1; 32], LARGE).unwrap();
    let part = folder.path().join(format!(".{}-12345-ThreadId(7)", name_of([9; 32])));
    fs::write(&part, "").unwrap();
    let held = folder.path().join(format!(".{}-12346-ThreadId(7)", name_of([9; 32])));
    let holder = File::create(&held).unwrap();
    holder.lock().unwrap();
    let again = CacheFolder::open(folder.path(), 1 << 20).unwrap();
    (4..=5).for_each(|key| fill(&again, key));
    assert!(there(&again, 1) && !there(&again, 2) && there(&again, 5));
    assert!(!part.exists() && held.exists());
}

#[test]
fn a_folder_that_is_deleted_is_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/b/vaso");
    let cache = CacheFolder::open(&path, 1 << 20).unwrap();
    let mut file = None;
    for (n, gone) in ["a", "a/b", "a/b/vaso", ""].into_iter().enumerate() {
        cache.append(&mut file, [1; 32], record(n as u8)).unwrap();
        // The file alone in the last round.
        match gone {
            "" => fs::remove_file(path.join(name_of([1; 32]))).unwrap(),
            gone => fs::remove_dir_all(home.path().join(gone)).unwrap(),
        }
        assert!(file.as_ref().is_some_and(RecordFile::is_gone));
        assert_eq!(file.as_ref().unwrap().read(0).unwrap(), Some(record(0)), "an open file stays readable");
    }
    cache.append(&mut file, [1; 32], record(4)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    let other = CacheFolder::open(&path, 1 << 20).unwrap().existing_records([1; 32], SIZE).unwrap().unwrap();
    let all: Vec<_> = (0..5).map(|n| other.read(n).unwrap().unwrap()[0]).collect();
    assert_eq!((other.count().unwrap(), all), (5, vec![0, 1, 2, 3, 4]));
}

#[test]
fn a_folder_that_is_moved_away_is_made_anew_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let (path, trash) = (home.path().join("a/b/vaso"), home.path().join("trash"));
    fs::create_dir(&trash).unwrap();
    let cache = CacheFolder::open(&path, 1 << 20).unwrap();
    let all = |path: &Path| {
        let cache = CacheFolder::open(path, 1 << 20).unwrap();
        let file = cache.existing_records([1; 32], SIZE).unwrap().unwrap();
        (0..file.count().unwrap()).map(|n| file.read(n).unwrap().unwrap()[0]).collect::<Vec<u8>>()
    };
    let (mut file, mut other) = (None, None);
    let moves = ["a/b/vaso", "a/b", "a", "a/b and what is in it"];
    for (n, moved) in moves.into_iter().enumerate() {
        let to = trash.join(n.to_string());
        cache.append(&mut file, [1; 32], record(n as u8)).unwrap();
        cache.append(&mut other, [2; 32], record(n as u8)).unwrap();
        match moved {
            // The parent moved, and the folder in it deleted.
            "a/b and what is in it" => {
                fs::rename(home.path().join("a/b"), &to).unwrap();
                fs::remove_dir_all(to.join("vaso")).unwrap();
            }
            moved => fs::rename(home.path().join(moved), &to).unwrap(),
        }
        let before = taken_below(&trash);
        assert!([&file, &other].iter().all(|file| file.as_ref().is_some_and(RecordFile::is_gone_now)));
        // The second is of no use either when the first has made the folder.
        cache.append(&mut file, [1; 32], record(100 + n as u8)).unwrap();
        assert!(other.as_ref().is_some_and(RecordFile::is_gone_now));
        cache.append(&mut other, [2; 32], record(100 + n as u8)).unwrap();
        cache.make_room().unwrap();
        assert_eq!(taken_below(&trash), before, "{moved}");
        assert_eq!(all(&path).len(), 2 * n + 2, "{moved}");
    }
    assert_eq!(all(&path), [0, 100, 1, 101, 2, 102, 3, 103]);
    // Put aside, and put back.
    fs::rename(&path, trash.join("aside")).unwrap();
    assert!(cache.existing_records([1; 32], SIZE).unwrap().is_none());
    fs::rename(trash.join("aside"), &path).unwrap();
    assert!(!file.as_ref().unwrap().is_gone_now() && all(&path).len() == 8);
}

/// Files and bytes in a folder and those in it.
fn taken_below(folder: &Path) -> (u64, u64) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.fold((0, 0), |(files, bytes), entry| match entry.metadata().unwrap() {
        meta if meta.is_dir() => {
            let (more, inside) = taken_below(&entry.path());
            (files + 1 + more, bytes + inside)
        }
        meta => (files + 1, bytes + meta.len()),
    })
}
