//! SQLite's files as [`Content`]: a read-only file layer, the one module of this room with unsafe code.
//!
//! The layer is registered once in a process. A connection is given its content under a number of its own, which
//! is taken back as soon as SQLite has opened it: from then on the content belongs to the open file, and goes with
//! it. There is no other file: no journal, no log, no temporary file; whoever asks for one is refused.
//!
//! What it relies on, and keeps:
//!
//! * SQLite gives `szOsFile` bytes for a file, which are an [`OpenFile`] from `xOpen` until `xClose`, and calls
//!   `xClose` once, only when `xOpen` has set `pMethods`;
//! * buffers that SQLite lends are as long as it says, for as long as the call lasts;
//! * no panic leaves a function that C calls.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, ffi};

use super::check::is_known_order;
use crate::error::Error;
use crate::tree::Content;

const NAME: &CStr = c"vaso-content";

/// All of SQLite's memory in this process, whatever a stranger's file makes it want.
const MEMORY: i64 = 512 << 20;

/// What the last failed read of a connection failed with, in our own words.
pub type Fault = Arc<Mutex<Option<Error>>>;

/// What a connection reads from.
struct Served {
    content: Content,
    fault: Fault,
}

/// Contents between their registration and SQLite's opening of them.
static WAITING: Mutex<BTreeMap<u64, Served>> = Mutex::new(BTreeMap::new());

/// SQLite's file, and what it reads from.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    served: *mut Served,
}

/// Opens a connection that reads `content`, and can do nothing else. Modules of virtual tables are taken from it.
pub fn connect(content: &Content) -> Result<(Connection, Fault), rusqlite::Error> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    register()?;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let fault = Fault::default();
    WAITING.lock().insert(number, Served { content: content.clone(), fault: fault.clone() });
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let name = format!("file:{number}?immutable=1&mode=ro");
    let opened = Connection::open_with_flags_and_vfs(name, flags, NAME);
    WAITING.lock().remove(&number);
    let connection = opened?;
    // SAFETY: the handle is open, and is used by this thread alone.
    unsafe { ffi::sqlite3_drop_modules(connection.handle(), std::ptr::null_mut()) };
    Ok((connection, fault))
}

/// Puts a function that fails at once in the place of every one that is not in `kept`: SQLite asks nobody about the
/// functions that a schema calls, and one call may take as long as it likes.
pub fn keep_functions(connection: &Connection, kept: &[&str]) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare("PRAGMA function_list")?;
    let mut rows = statement.query([])?;
    let mut all = std::collections::BTreeSet::new();
    while let Some(row) = rows.next()? {
        let (name, own): (String, bool) = (row.get("name")?, row.get("builtin")?);
        if !kept.iter().any(|k| k.eq_ignore_ascii_case(&name)) {
            // One that an extension has added would still be found by how many arguments it takes.
            all.extend((!own).then_some((name.clone(), row.get::<_, c_int>("narg")?)));
            all.insert((name, -1));
        }
    }
    for (name, arguments) in all {
        let encoding = if arguments < 0 { ffi::SQLITE_UTF8 } else { ffi::SQLITE_ANY };
        put_refusal(connection, &name, arguments, encoding)?;
    }
    Ok(())
}

/// Puts a function that fails at once under a name that SQLite knows nothing by, so that what calls it can be made.
pub fn refuse_function(connection: &Connection, name: &str) -> Result<(), rusqlite::Error> {
    put_refusal(connection, name, -1, ffi::SQLITE_UTF8)
}

fn put_refusal(
    connection: &Connection,
    name: &str,
    arguments: c_int,
    encoding: c_int,
) -> Result<(), rusqlite::Error> {
    let Ok(name) = std::ffi::CString::new(name) else { return Ok(()) };
    let flags = encoding | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS;
    // SAFETY: the handle is open, and is used by this thread alone; `refuse` needs nothing of its own.
    done(unsafe {
        ffi::sqlite3_create_function_v2(
            connection.handle(),
            name.as_ptr(),
            arguments,
            flags,
            std::ptr::null_mut(),
            Some(refuse),
            None,
            None,
            None,
        )
    })
}

fn done(code: c_int) -> Result<(), rusqlite::Error> {
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// Has SQLite sort by bytes what is sorted in a way that it does not know, so that such a table can be opened. Nobody may
/// believe that order, or write a key in it.
pub fn take_any_order(connection: &Connection) -> Result<(), rusqlite::Error> {
    // SAFETY: the handle is open, and is used by this thread alone; `name_order` needs nothing of its own.
    done(unsafe {
        ffi::sqlite3_collation_needed(connection.handle(), std::ptr::null_mut(), Some(name_order))
    })
}

/// Takes that back: from then on, nothing that needs an order which is not known can be made.
pub fn keep_known_orders(connection: &Connection) -> Result<(), rusqlite::Error> {
    // SAFETY: as above.
    done(unsafe { ffi::sqlite3_collation_needed(connection.handle(), std::ptr::null_mut(), None) })?;
    let mut names = connection.prepare("SELECT name FROM pragma_collation_list")?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for name in names.iter().filter(|name| !is_known_order(name)) {
        let Ok(name) = std::ffi::CString::new(name.as_str()) else { continue };
        for encoding in [ffi::SQLITE_UTF8, ffi::SQLITE_UTF16LE, ffi::SQLITE_UTF16BE] {
            let none = std::ptr::null_mut();
            // SAFETY: as above; without a function the name is unknown again.
            done(unsafe {
                let handle = connection.handle();
                ffi::sqlite3_create_collation_v2(handle, name.as_ptr(), encoding, none, None, None)
            })?;
        }
    }
    Ok(())
}

unsafe extern "C" fn name_order(
    _: *mut c_void,
    handle: *mut ffi::sqlite3,
    encoding: c_int,
    name: *const c_char,
) {
    // SAFETY: SQLite gives its own handle, and a name that ends with a zero; `by_bytes` needs nothing of its own.
    unsafe {
        // It asks for its own, too, before it makes one for UTF-16 of the one for UTF-8.
        if std::ffi::CStr::from_ptr(name).to_str().is_ok_and(is_known_order) {
            return;
        }
        ffi::sqlite3_create_collation_v2(handle, name, encoding, std::ptr::null_mut(), Some(by_bytes), None);
    }
}

unsafe extern "C" fn by_bytes(
    _: *mut c_void,
    len: c_int,
    one: *const c_void,
    other_len: c_int,
    other: *const c_void,
) -> c_int {
    // SAFETY: SQLite lends as many bytes as it says, and none where it has no place for them.
    let [one, other] = unsafe {
        [(one, len), (other, other_len)].map(|(bytes, len)| match bytes.is_null() || len <= 0 {
            true => &[][..],
            false => std::slice::from_raw_parts(bytes.cast::<u8>(), len as usize),
        })
    };
    one.cmp(other) as c_int
}

unsafe extern "C" fn refuse(context: *mut ffi::sqlite3_context, _: c_int, _: *mut *mut ffi::sqlite3_value) {
    // SAFETY: SQLite gives the context of this call; the text is static.
    unsafe { ffi::sqlite3_result_error(context, c"the schema calls what is not run here".as_ptr(), -1) };
}

/// Whether a statement may do something, by SQLite's number for that and the two names that belong to it, as the file has
/// them: bytes, and empty where there is none.
pub type Permit = fn(action: c_int, first: &[u8], second: &[u8]) -> bool;

/// Has `permit` asked about all that statements of a connection do, while they are prepared.
pub fn authorize(connection: &Connection, permit: Permit) -> Result<(), rusqlite::Error> {
    // SAFETY: the handle is open, and is used by this thread alone; a function is there as long as the program is.
    let code = unsafe { ffi::sqlite3_set_authorizer(connection.handle(), Some(ask), permit as *mut c_void) };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

unsafe extern "C" fn ask(
    permit: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    _: *const c_char,
    _: *const c_char,
) -> c_int {
    guarded(ffi::SQLITE_DENY, || {
        // SAFETY: `permit` is what `authorize` has given; a name is null, or ends with a zero.
        let (permit, [first, second]) = unsafe {
            let name = |name: *const c_char| if name.is_null() { c"" } else { CStr::from_ptr(name) };
            (std::mem::transmute::<*mut c_void, Permit>(permit), [first, second].map(name))
        };
        if permit(action, first.to_bytes(), second.to_bytes()) { ffi::SQLITE_OK } else { ffi::SQLITE_DENY }
    })
}

/// Registers the layer, once.
fn register() -> Result<(), rusqlite::Error> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    let code = *REGISTERED.get_or_init(|| {
        let layer = Box::leak(Box::new(layer()));
        // SAFETY: the layer lives as long as the process, and nothing else refers to it.
        unsafe {
            let code = ffi::sqlite3_vfs_register(layer, 0);
            ffi::sqlite3_hard_heap_limit64(MEMORY);
            code
        }
    });
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

fn layer() -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 1,
        szOsFile: size_of::<OpenFile>() as c_int,
        mxPathname: 64,
        pNext: std::ptr::null_mut(),
        zName: NAME.as_ptr(),
        pAppData: std::ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_name),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// What `run` says, or `otherwise` if it panics.
fn guarded(otherwise: c_int, run: impl FnOnce() -> c_int) -> c_int {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(otherwise)
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let file = file.cast::<OpenFile>();
    // SAFETY: `file` is room for an `OpenFile`; without methods SQLite will not close it.
    unsafe { (*file).base.pMethods = std::ptr::null() };
    guarded(ffi::SQLITE_CANTOPEN, || {
        if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 || name.is_null() {
            return ffi::SQLITE_CANTOPEN;
        }
        // SAFETY: SQLite gives a name that ends with a zero.
        let name = unsafe { CStr::from_ptr(name) };
        let number = name.to_str().ok().and_then(|name| name.parse::<u64>().ok());
        let Some(served) = number.and_then(|number| WAITING.lock().remove(&number)) else {
            return ffi::SQLITE_CANTOPEN;
        };
        // SAFETY: as above; `out_flags` may be null and is else valid.
        unsafe {
            (*file).served = Box::into_raw(Box::new(served));
            (*file).base.pMethods = &METHODS;
            if !out_flags.is_null() {
                *out_flags = ffi::SQLITE_OPEN_READONLY | ffi::SQLITE_OPEN_MAIN_DB;
            }
        }
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let file = file.cast::<OpenFile>();
    guarded(ffi::SQLITE_IOERR_CLOSE, || {
        // SAFETY: `open` made the box, and SQLite closes a file once.
        drop(unsafe { Box::from_raw((*file).served) });
        ffi::SQLITE_OK
    })
}

/// Where a database's header says whether it wants a write-ahead log.
const JOURNAL_MODE: std::ops::Range<u64> = 18..20;

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buf: *mut c_void,
    len: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open, so `served` is a box of ours; `buf` has `len` bytes.
    let (served, buf) = unsafe {
        let served = &*(*file.cast::<OpenFile>()).served;
        std::ptr::write_bytes(buf.cast::<u8>(), 0, len.max(0) as usize);
        (served, std::slice::from_raw_parts_mut(buf.cast::<u8>(), len.max(0) as usize))
    };
    let failed = |error: Error| {
        *served.fault.lock() = Some(error);
        ffi::SQLITE_IOERR_READ
    };
    let read = catch_unwind(AssertUnwindSafe(|| {
        let offset = offset.max(0) as u64;
        match served.content.read_at(offset, buf) {
            Ok(n) => {
                // A log that is not there cannot be read, and nothing is in it.
                for at in JOURNAL_MODE.filter(|at| (offset..offset + n as u64).contains(at)) {
                    let byte = &mut buf[(at - offset) as usize];
                    *byte = if *byte == 2 { 1 } else { *byte };
                }
                if n < buf.len() { ffi::SQLITE_IOERR_SHORT_READ } else { ffi::SQLITE_OK }
            }
            Err(error) => failed(error),
        }
    }));
    read.unwrap_or_else(|_| {
        failed(Error::Refused("reading the database failed in the program itself".into()))
    })
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    guarded(ffi::SQLITE_IOERR_FSTAT, || {
        // SAFETY: the file is open; `size` is valid.
        unsafe {
            let served = &*(*file.cast::<OpenFile>()).served;
            *size = served.content.size().try_into().unwrap_or(i64::MAX);
        }
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn write(
    _: *mut ffi::sqlite3_file,
    _: *const c_void,
    _: c_int,
    _: ffi::sqlite3_int64,
) -> c_int {
    ffi::SQLITE_READONLY
}

unsafe extern "C" fn truncate(_: *mut ffi::sqlite3_file, _: ffi::sqlite3_int64) -> c_int {
    ffi::SQLITE_READONLY
}

unsafe extern "C" fn sync(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn reserved(_: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: `out` is valid.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_IMMUTABLE
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_IOERR_DELETE_NOENT
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, _: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    // SAFETY: `out` is valid.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_name(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives a name that ends with a zero, and `room` bytes for the other.
    unsafe {
        let name = CStr::from_ptr(name).to_bytes_with_nul();
        if name.len() > room.max(0) as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(name.as_ptr().cast(), out, name.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    // Nothing that is read here depends on chance.
    // SAFETY: `out` has `len` bytes.
    unsafe { std::ptr::write_bytes(out, 0, len.max(0) as usize) };
    len
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, _: c_int) -> c_int {
    0
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // Nor on the time: 1970-01-01 as a Julian day.
    // SAFETY: `out` is valid.
    unsafe { *out = 2_440_587.5 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}
