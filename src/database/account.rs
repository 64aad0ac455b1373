//! Whether every page of a database belongs to something, and to one thing alone.
//!
//! SQLite asks this when it looks at all tables at once, and leaves it out when it looks at one. It takes a list whose
//! first entry is no page for a question about one; a view and a virtual table have no page, and which of all tables
//! comes first is a matter of their names. So in a schema that has such an entry the pages are counted here, and where
//! the tables are looked at one by one, too. A page that nothing leads to is one that was cut off with its rows.
//!
//! Invariant: memory is a bit for each page, and the pages on the way down. Each page is taken once, so what leads back
//! into itself ends.

use std::time::Instant;

use super::pages::page::{Cell, Head, four};
use super::{Database, Step, glance, link::Link, value};
use crate::error::Result;

/// The deepest tree that SQLite reads.
const DEEPEST: usize = 20;

/// SQLite locks these bytes, so their page holds nothing.
const LOCKED: u64 = 1 << 30;

/// No page that SQLite can use has fewer bytes.
const LEAST: usize = 480;

/// Pages that are named at most.
const NAMED: usize = 5;

impl Database {
    /// Looks whether every page belongs to one tree, one value, or the list of free pages. `code` is what damage is
    /// called.
    pub(super) fn account(&self, link: &Link, code: &'static str) -> Step<()> {
        let mut statement = link.connection.prepare("SELECT rootpage FROM sqlite_schema")?;
        let (mut rows, mut roots) = (statement.query([])?, vec![1]);
        while let Some(row) = rows.next()? {
            let root = value::some_integer(row.get_ref(0)?).filter(|root| *root != 0);
            roots.extend(root.map(|root| u32::try_from(root).unwrap_or(u32::MAX)));
        }
        drop(rows);
        let mut account = Account::new(self, code)?;
        for root in roots {
            account.tree(root)?;
        }
        account.free_list()?;
        Ok(account.close()?)
    }
}

/// Which pages were found to belong to something.
struct Account<'a> {
    database: &'a Database,
    code: &'static str,
    page_size: usize,
    usable: usize,
    pages: u32,
    auto_vacuum: bool,
    /// The first page of the free list, and how many it has.
    free: (u32, u32),
    taken: Vec<u64>,
    since: Instant,
    looks: u32,
}

impl<'a> Account<'a> {
    fn new(database: &'a Database, code: &'static str) -> Result<Account<'a>> {
        let glance = glance::header(&database.content, &database.name)?;
        let mut head = [0; 100];
        database.content.read_at(0, &mut head)?;
        let word = |at| four(&head, at).unwrap_or(0);
        let page_size = glance.page_size as usize;
        let usable = page_size - usize::from(head[20]);
        let pages = u32::try_from(glance.pages).unwrap_or(u32::MAX);
        let account = Account {
            database,
            code,
            page_size,
            usable,
            pages,
            auto_vacuum: word(52) != 0,
            free: (word(32), word(36)),
            taken: vec![0; pages as usize / 64 + 1],
            since: Instant::now(),
            looks: 0,
        };
        if usable < LEAST {
            return Err(account.damage(format!("of a page of {page_size} bytes only {usable} are used")));
        }
        Ok(account)
    }

    fn damage(&self, what: impl Into<String>) -> crate::error::Error {
        self.database.damaged(self.code, what)
    }

    /// Takes a page for what `owner` names.
    fn take(&mut self, page: u32, owner: &str) -> Result<()> {
        if !(1..=self.pages).contains(&page) {
            return Err(self.damage(format!("{owner} leads to page {page}, which is not there")));
        }
        let (word, bit) = (page as usize / 64, 1u64 << (page % 64));
        if self.taken[word] & bit != 0 || self.is_none(page) {
            return Err(self.damage(format!("{owner} leads to page {page}, which belongs to something else")));
        }
        self.taken[word] |= bit;
        Ok(())
    }

    /// Whether a page is none that a tree or a list may have.
    fn is_none(&self, page: u32) -> bool {
        let locked = (LOCKED / self.page_size as u64) as u32 + 1;
        if page == locked {
            return true;
        }
        // A page of pointers, and the pages that it is about behind it.
        let stretch = (self.usable / 5 + 1) as u32;
        let is_map = |page: u32| page >= 2 && (page - 2).is_multiple_of(stretch);
        self.auto_vacuum && (is_map(page) || page == locked + 1 && is_map(locked))
    }

    fn read(&mut self, page: u32, bytes: &mut [u8]) -> Result<()> {
        if self.looks.is_multiple_of(1024) {
            let is_stopped = self.database.stopped.load(std::sync::atomic::Ordering::Relaxed);
            if is_stopped {
                let what = format!("{}: the database is being closed", self.database.name);
                return Err(crate::error::Error::Busy(what));
            }
            if self.since.elapsed() > self.database.patience_for_all() {
                return Err(self.database.unsupported("to look at all of its pages takes too long"));
            }
        }
        self.looks = self.looks.wrapping_add(1);
        let offset = u64::from(page - 1) * self.page_size as u64;
        match self.database.content.read_at(offset, bytes)? {
            n if n == bytes.len() => Ok(()),
            _ => Err(self.damage(format!("the file ends before page {page}"))),
        }
    }

    /// Takes a tree with all values that spill over.
    fn tree(&mut self, root: u32) -> Result<()> {
        let mut pending = vec![(root, 0)];
        let mut page = vec![0; self.page_size];
        while let Some((number, depth)) = pending.pop() {
            self.take(number, "a tree")?;
            self.read(number, &mut page)?;
            let start = if number == 1 { 100 } else { 0 };
            let head = Head::read(&page, start, self.usable).filter(|_| depth < DEEPEST);
            let Some(head) = head else {
                return Err(self.damage(format!("page {number} is none of a tree")));
            };
            let (first, mut extents) = (pending.len(), Vec::with_capacity(head.cells));
            for i in 0..head.cells {
                let at = head.pointer(&page, i).filter(|at| *at >= head.end());
                let Some(cell) = at.and_then(|at| Cell::read(head.kind, &page, at, self.usable)) else {
                    return Err(self.damage(format!("page {number} does not hold together")));
                };
                self.overflow(cell.overflow, cell.payload - cell.local.len() as u64)?;
                if head.kind.is_interior() {
                    pending.push((cell.left, depth + 1));
                }
                extents.push(cell.extent);
            }
            // One that is passed over leaves a hole.
            if !head.is_filled_by(&page, self.usable, extents.into_iter()) {
                return Err(self.damage(format!("page {number} has other cells than its head says")));
            }
            if head.kind.is_interior() {
                pending.push((head.right, depth + 1));
            }
            // In the order in which they were most likely written.
            pending[first..].reverse();
        }
        Ok(())
    }

    fn overflow(&mut self, mut page: u32, mut rest: u64) -> Result<()> {
        let mut next = [0; 4];
        while rest > 0 {
            self.take(page, "a value")?;
            self.read(page, &mut next)?;
            (page, rest) = (u32::from_be_bytes(next), rest.saturating_sub(self.usable as u64 - 4));
        }
        Ok(())
    }

    fn free_list(&mut self) -> Result<()> {
        const OWNER: &str = "the list of free pages";
        let (mut trunk, told) = self.free;
        let (mut page, mut found) = (vec![0; self.page_size], 0);
        while trunk != 0 {
            self.take(trunk, OWNER)?;
            self.read(trunk, &mut page)?;
            let leaves = four(&page, 4).unwrap_or(0) as usize;
            if leaves > self.usable / 4 - 2 {
                return Err(self.damage(format!("page {trunk} is none of the list of free pages")));
            }
            found += leaves as u64 + 1;
            for leaf in 0..leaves {
                self.take(four(&page, 8 + 4 * leaf).unwrap_or(0), OWNER)?;
            }
            trunk = four(&page, 0).unwrap_or(0);
        }
        match found == u64::from(told) {
            true => Ok(()),
            false => Err(self.damage(format!("{OWNER} has {found} pages, and {told} are told"))),
        }
    }

    /// Whether all pages were taken.
    fn close(self) -> Result<()> {
        let (mut names, mut all) = (Vec::new(), 0);
        for page in 1..=self.pages {
            if self.taken[page as usize / 64] & 1 << (page % 64) == 0 && !self.is_none(page) {
                all += 1;
                names.extend((all <= NAMED).then(|| page.to_string()));
            }
        }
        let list = names.join(", ");
        Err(self.damage(match all {
            0 => return Ok(()),
            1 => format!("page {list} belongs to nothing"),
            2..=NAMED => format!("the pages {list} belong to nothing"),
            _ => format!("the pages {list} and {} more belong to nothing", all - NAMED),
        }))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::tests::{PROJECT, made};
    use super::*;
    use crate::error::Error;
    use crate::tree::Content;

    const ROWS: &str = "insert into dataset(id, name) values(1, 'a');
        with recursive n(i) as (select 0 union all select i + 1 from n where i < 39)
        insert into result(dataset_id, kind, payload_json) select 1, 'k' || i, hex(zeroblob(500)) from n;";

    fn bytes(sql: &str) -> Vec<u8> {
        let Content::Bytes(bytes) = made(&format!("{PROJECT}{sql}{ROWS}")) else { unreachable!() };
        bytes.to_vec()
    }

    /// The same with the first leaf of the results in the place of their root, which leads to all others.
    fn cut(mut bytes: Vec<u8>) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let sql = "select rootpage from sqlite_master where name = 'result'";
        let root = Connection::open(file.path()).unwrap().query_row(sql, [], |r| r.get::<_, u32>(0)).unwrap();
        let place = |page: u32| (page as usize - 1) * 4096..page as usize * 4096;
        let page = &bytes[place(root)];
        assert_eq!(page[0], 5);
        let first = usize::from(u16::from_be_bytes([page[12], page[13]]));
        let leaf = bytes[place(four(page, first).unwrap())].to_vec();
        bytes[place(root)].copy_from_slice(&leaf);
        bytes
    }

    fn verdicts(bytes: Vec<u8>) -> [Result<()>; 2] {
        let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
        [database.quick_check(), database.integrity_check()]
    }

    #[test]
    fn pages_that_are_cut_off_are_damage_whatever_the_schema_has_beside() {
        let view = |name: &str| format!("create view {name} as select * from event;");
        let mut schemas: Vec<String> = ["live_events", "v", "a", "zz", "event_view", "s1"].map(view).into();
        // By its name each of these comes at another place among the tables.
        schemas.extend((0..40).map(|i| view(&format!("view_{i}"))));
        schemas.extend((0..12).map(|i| format!("create virtual table t{i} using rtree(id, low, high);")));
        schemas.push("create table odd(a, b as (length(a)));".into());
        schemas.push("create index slow on event(replace(label, 'a', 'b'));".into());
        schemas.push(String::new());
        for more in schemas {
            let bytes = bytes(&more);
            for sound in verdicts(bytes.clone()) {
                sound.unwrap();
            }
            for cut in verdicts(cut(bytes)) {
                assert!(matches!(cut, Err(Error::Damaged { .. })), "{more}: {cut:?}");
            }
        }
    }

    #[test]
    fn damage_names_the_pages() {
        let [Err(Error::Damaged { code, what, .. }), _] =
            verdicts(cut(bytes("create table odd(a, b as (a));")))
        else {
            panic!("it is damaged")
        };
        assert_eq!(code, "quick-check-failed");
        assert!(what.starts_with("the pages ") && what.ends_with(" more belong to nothing"), "{what}");
    }

    #[test]
    fn every_page_of_a_sound_database_belongs_to_something() {
        let large = "insert into big select randomblob(300000); insert into big select randomblob(70000);";
        let many = "with recursive n(i) as (select 0 union all select i + 1 from n where i < 3000)
            insert into big select randomblob(i) from n;";
        let keyed = "create table keyed(k text primary key, v) without rowid;
            with recursive n(i) as (select 0 union all select i + 1 from n where i < 900)
            insert into keyed select hex(randomblob(20 + i)), randomblob(i * 5) from n;";
        let rest = format!("create table big(a); {large}{many}{keyed} create index on_big on big(a);");
        let words = "create virtual table words using fts5(a, b); create virtual table places using rtree(id, low, high);
            insert into words values('one two', 'three'); insert into places values(1, 2, 3);";
        let free = "delete from big where rowid % 3 = 0; delete from keyed where length(v) > 2000;";
        for size in [512, 1024, 4096, 65536] {
            for vacuum in [0, 1, 2] {
                let set = format!("pragma page_size = {size}; pragma auto_vacuum = {vacuum};");
                let view = "create view v as select 1;";
                let content = made(&format!("{set}{PROJECT}{view}{words}{rest}{ROWS}{free}"));
                let database = Database::open(content, "x").unwrap();
                let counted = database.with(|link| database.account(link, "code"));
                counted.unwrap_or_else(|e| panic!("{size} {vacuum}: {e}"));
                database.quick_check().unwrap();
                database.integrity_check().unwrap();
            }
        }
    }

    #[test]
    fn a_row_that_its_page_passes_over_is_damage() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            bytes("create table odd(a, b as (a)); insert into odd values(1), (2), (3);"),
        )
        .unwrap();
        let sql = "select rootpage from sqlite_master where name = 'odd'";
        let root = Connection::open(file.path()).unwrap().query_row(sql, [], |r| r.get::<_, u32>(0)).unwrap()
            as usize;
        let mut bytes = std::fs::read(file.path()).unwrap();
        let count = &mut bytes[(root - 1) * 4096 + 4];
        assert_eq!(*count, 3);
        *count = 2;
        for verdict in verdicts(bytes) {
            let Err(Error::Damaged { what, .. }) = verdict else { panic!("{verdict:?}") };
            assert_eq!(what, format!("page {root} has other cells than its head says"));
        }
    }

    #[test]
    fn what_is_in_two_places_is_damage() {
        let mut bytes = bytes(
            "create view v as select 1; create table big(a); insert into big values(randomblob(90000)), (randomblob(90000)); delete from big;",
        );
        let free = four(&bytes, 32).unwrap();
        assert!(free > 0);
        // The first free leaf is the root of a table now.
        let at = (free as usize - 1) * 4096 + 8;
        bytes[at..at + 4].copy_from_slice(&3u32.to_be_bytes());
        let database = Database::open(Content::Bytes(bytes.into()), "x").unwrap();
        let counted = database.with(|link| database.account(link, "code"));
        let Err(Error::Damaged { what, .. }) = counted else { panic!("{counted:?}") };
        assert_eq!(what, "the list of free pages leads to page 3, which belongs to something else");
    }

    #[test]
    fn any_bytes_are_counted() {
        let sound = bytes("create view v as select 1; create table odd(a, b as (a));");
        let mut state = 7u64;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize
        };
        for _ in 0..400 {
            let mut bytes = sound.clone();
            for _ in 0..1 + next() % 8 {
                // The schema stays, and what the head says of the size.
                let (page, at) =
                    (1 + next() % (bytes.len() / 4096 - 1), next() % if next() % 2 > 0 { 64 } else { 4096 });
                bytes[page * 4096 + at] = next() as u8;
            }
            bytes[32..40].copy_from_slice(&[0, 0, 0, next() as u8 % 60, 0, 0, 0, next() as u8 % 4]);
            let Ok(database) = Database::open(Content::Bytes(bytes.into()), "x") else { continue };
            let _ = database.with(|link| database.account(link, "code"));
        }
    }
}
