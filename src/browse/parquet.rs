//! A stored Parquet file as a table.
//!
//! Every column that has at most one value a row is shown, whatever groups it stands in (`a.b`); lists and maps are
//! not, and told. Numbers are numbers, with 0 and 1 for false and true; times are the whole numbers that are stored;
//! whole numbers beyond 63 bits, and decimals, are their digits; text is text, and all other bytes are bytes, among them
//! decimals of more than 38 digits.
//!
//! Rows are read column by column in short batches. The readers of the place where the last stretch ended are kept, so
//! that reading on costs nothing; whoever begins elsewhere passes over whole pages.
//!
//! A file that is packed with a codec that is not built in is no damaged one; that is told, with what to do.
//!
//! Threats. The file is a stranger's, and its decoder another's: what it is given is bounded by the size of the file,
//! what it takes to unpack by [`MAX_GROUP`], and a panic in it is damage of this file alone.

use std::io::{self, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use parquet::basic::{Compression, ConvertedType, LogicalType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use crate::error::{Error, Result, from_io};
use crate::finding::{Finding, Findings, Severity};
use crate::tree::{Cell, Cells, Column, Content, Place, Table};

/// Rows that are decoded at once.
const BATCH: u64 = 1024;
/// Bytes of a footer or a page that are read at once.
const MAX_CHUNK: usize = 64 << 20;
/// Bytes that a column of a group of rows may unpack to.
const MAX_GROUP: i64 = 1 << 30;
/// Digits of a decimal that is shown as one: what 128 bits hold.
const MAX_DIGITS: i32 = 38;
/// Columns that are shown.
const MAX_COLUMNS: usize = 1024;

/// The table in a file.
pub struct Parquet {
    path: String,
    content: Content,
    reader: SerializedFileReader<Chunks>,
    columns: Vec<Column>,
    /// For each column its place among the file's, and what its cells are.
    leaves: Vec<(usize, How)>,
    /// The rows of each group.
    groups: Vec<u64>,
    /// Where reading can go on.
    rest: Mutex<Option<Cursor>>,
}

impl std::fmt::Debug for Parquet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parquet").field("path", &self.path).field("groups", &self.groups).finish()
    }
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Number,
    Unsigned,
    Text,
    Bytes,
    /// Digits behind the point.
    Decimal(u32),
    /// A number of 16 bits with a fraction.
    Half,
}

/// Column readers that stand at one row.
struct Cursor {
    group: usize,
    row: u64,
    columns: Vec<Chunk>,
}

/// One column of a group of rows, with a batch of its values.
struct Chunk {
    reader: ColumnReader,
    nullable: i16,
    levels: Vec<i16>,
    values: Values,
}

enum Values {
    Bool(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

impl Parquet {
    /// The table in `content`, from its footer.
    pub fn open(content: Content, path: &str, findings: &Findings) -> Result<Parquet> {
        let path = path.to_string();
        let reader = guarded(&path, || SerializedFileReader::new(Chunks(content.clone())))?;
        let damaged = |what: &str| Error::damaged("parquet-damaged", &path, what);
        let rows = |n: i64| u64::try_from(n).map_err(|_| damaged("a number of rows is negative"));
        let metadata = reader.metadata();
        let mut groups = Vec::new();
        for group in metadata.row_groups() {
            groups.push(rows(group.num_rows())?);
            if group.columns().iter().any(|column| !(0..=MAX_GROUP).contains(&column.uncompressed_size())) {
                return Err(damaged("a column of it says that it unpacks to more than a gigabyte"));
            }
        }
        let sum = groups.iter().try_fold(0u64, |sum, rows| sum.checked_add(*rows));
        if sum != Some(rows(metadata.file_metadata().num_rows())?) {
            return Err(damaged("its groups of rows have not as many rows as the file says"));
        }
        let (mut columns, mut leaves, mut hidden) = (Vec::new(), Vec::new(), 0);
        for (place, leaf) in metadata.file_metadata().schema_descr().columns().iter().enumerate() {
            match kind(leaf).filter(|_| columns.len() < MAX_COLUMNS) {
                Some((cells, how)) => {
                    columns.push(Column { name: leaf.path().string(), cells });
                    leaves.push((place, how));
                }
                None => hidden += 1,
            }
        }
        let groups_of_columns = metadata.row_groups().iter().map(|group| group.columns());
        let mut shown = groups_of_columns.flat_map(|group| leaves.iter().filter_map(|(i, _)| group.get(*i)));
        if let Some(codec) = shown.find_map(|column| not_built_in(column.compression())) {
            let what =
                format!("it is packed with {codec}, which this program does not read; it is not damaged");
            let remedy =
                "read the stored file with a program that can, or write it anew with Snappy, gzip or LZ4";
            findings.add(Finding::new(Severity::Warning, "parquet-codec", &path, &what, remedy));
            return Err(Error::Unsupported { entry: path, what });
        }
        if hidden > 0 {
            let what = format!("{hidden} of its columns hold lists, or what no table has, and are not shown");
            let remedy = "open the stored file with a program that reads Parquet";
            findings.add(Finding::new(Severity::Notice, "columns-not-shown", &path, what, remedy));
        }
        Ok(Parquet { path, content, reader, columns, leaves, groups, rest: Mutex::new(None) })
    }

    /// Readers that stand at a row of a group.
    fn cursor(&self, group: usize, row: u64) -> Result<Cursor> {
        let mut columns = Vec::with_capacity(self.leaves.len());
        for (leaf, _) in &self.leaves {
            let chunk = guarded(&self.path, || {
                let reader = self.reader.get_row_group(group)?.get_column_reader(*leaf)?;
                let schema = self.reader.metadata().file_metadata().schema_descr();
                let mut chunk = Chunk::new(reader, schema.column(*leaf).max_def_level())?;
                let skipped = chunk.skip(row as usize)?;
                if skipped as u64 != row {
                    return Err(ParquetError::EOF(format!("a column has {skipped} rows, and not {row}")));
                }
                Ok(chunk)
            })?;
            columns.push(chunk);
        }
        Ok(Cursor { group, row, columns })
    }

    /// Reads `n` rows, which the group of the cursor has.
    fn batch(
        &self,
        cursor: &mut Cursor,
        n: u64,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<()> {
        guarded(&self.path, || cursor.columns.iter_mut().try_for_each(|chunk| chunk.fill(n as usize)))?;
        // A column's values stand close together; where one is missing, its level says so.
        let mut next = vec![0; cursor.columns.len()];
        let mut texts: Vec<Option<String>> = Vec::new();
        for row in 0..n as usize {
            texts.clear();
            let mut places = Vec::with_capacity(next.len());
            for (i, chunk) in cursor.columns.iter().enumerate() {
                let there = chunk.levels.get(row).is_none_or(|level| *level == chunk.nullable);
                places.push(there.then_some(next[i]));
                texts.push(there.then(|| chunk.values.written(next[i], self.leaves[i].1)).flatten());
                next[i] += usize::from(there);
            }
            let mut cells = Vec::with_capacity(next.len());
            for (i, chunk) in cursor.columns.iter().enumerate() {
                cells.push(match (places[i], &texts[i]) {
                    (None, _) => Some(Cell::Null),
                    (_, Some(text)) => Some(Cell::Text(text.as_bytes())),
                    (Some(place), None) => chunk.values.cell(place, self.leaves[i].1),
                });
            }
            let cells: Option<Vec<Cell<'_>>> = cells.into_iter().collect();
            each(&cells.ok_or_else(|| {
                Error::damaged("parquet-damaged", &self.path, "a column has not the values that it says")
            })?)?;
        }
        cursor.row += n;
        Ok(())
    }

    fn place(&self, from: &Place) -> Option<(usize, u64)> {
        if from.0.is_empty() {
            return Some((0, 0));
        }
        let (group, row) = from.0.split_first_chunk()?;
        let (group, row) = (u32::from_le_bytes(*group) as usize, u64::from_le_bytes(row.try_into().ok()?));
        (row <= *self.groups.get(group)?).then_some((group, row))
    }
}

/// The name of a codec that the reader of Parquet is built without.
fn not_built_in(codec: Compression) -> Option<&'static str> {
    match codec {
        Compression::ZSTD(_) => Some("zstd"),
        Compression::BROTLI(_) => Some("brotli"),
        Compression::LZO => Some("LZO"),
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::LZ4
        | Compression::LZ4_RAW => None,
    }
}

/// What a column's cells are; `None` for one that is not shown.
fn kind(leaf: &ColumnDescriptor) -> Option<(Cells, How)> {
    if leaf.max_rep_level() > 0 {
        return None;
    }
    let is_float16 = leaf.logical_type_ref() == Some(&LogicalType::Float16);
    Some(match (leaf.physical_type(), leaf.converted_type()) {
        (Type::INT96, _) => return None,
        (_, ConvertedType::DECIMAL) if leaf.type_precision() <= MAX_DIGITS => {
            let scale = u32::try_from(leaf.type_scale()).ok().filter(|scale| *scale <= MAX_DIGITS as u32)?;
            (Cells::Digits, How::Decimal(scale))
        }
        (Type::FIXED_LEN_BYTE_ARRAY, _) if is_float16 => (Cells::Real, How::Half),
        (Type::INT32, ConvertedType::UINT_32) => (Cells::Integer, How::Unsigned),
        (Type::INT64, ConvertedType::UINT_64) => (Cells::Digits, How::Unsigned),
        (Type::BOOLEAN | Type::INT32 | Type::INT64, _) => (Cells::Integer, How::Number),
        (Type::FLOAT | Type::DOUBLE, _) => (Cells::Real, How::Number),
        (Type::BYTE_ARRAY, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => {
            (Cells::Text, How::Text)
        }
        (Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY, _) => (Cells::Text, How::Bytes),
    })
}

impl Chunk {
    fn new(reader: ColumnReader, nullable: i16) -> Result<Chunk, ParquetError> {
        use ColumnReader as R;
        let values = match &reader {
            R::BoolColumnReader(_) => Values::Bool(Vec::new()),
            R::Int32ColumnReader(_) => Values::Int32(Vec::new()),
            R::Int64ColumnReader(_) => Values::Int64(Vec::new()),
            R::FloatColumnReader(_) => Values::Float(Vec::new()),
            R::DoubleColumnReader(_) => Values::Double(Vec::new()),
            R::ByteArrayColumnReader(_) => Values::Bytes(Vec::new()),
            R::FixedLenByteArrayColumnReader(_) => Values::Fixed(Vec::new()),
            R::Int96ColumnReader(_) => return Err(ParquetError::NYI("a time of 96 bits".into())),
        };
        Ok(Chunk { reader, nullable, levels: Vec::new(), values })
    }

    fn skip(&mut self, rows: usize) -> Result<usize, ParquetError> {
        use ColumnReader as R;
        match &mut self.reader {
            R::BoolColumnReader(reader) => reader.skip_records(rows),
            R::Int32ColumnReader(reader) => reader.skip_records(rows),
            R::Int64ColumnReader(reader) => reader.skip_records(rows),
            R::FloatColumnReader(reader) => reader.skip_records(rows),
            R::DoubleColumnReader(reader) => reader.skip_records(rows),
            R::ByteArrayColumnReader(reader) => reader.skip_records(rows),
            R::FixedLenByteArrayColumnReader(reader) => reader.skip_records(rows),
            R::Int96ColumnReader(reader) => reader.skip_records(rows),
        }
    }

    /// Reads the next rows, all of which have to be there.
    fn fill(&mut self, rows: usize) -> Result<(), ParquetError> {
        use ColumnReader as R;
        self.levels.clear();
        let levels = (self.nullable > 0).then_some(&mut self.levels);
        let read = match (&mut self.reader, &mut self.values) {
            (R::BoolColumnReader(reader), Values::Bool(values)) => fill(reader, rows, levels, values),
            (R::Int32ColumnReader(reader), Values::Int32(values)) => fill(reader, rows, levels, values),
            (R::Int64ColumnReader(reader), Values::Int64(values)) => fill(reader, rows, levels, values),
            (R::FloatColumnReader(reader), Values::Float(values)) => fill(reader, rows, levels, values),
            (R::DoubleColumnReader(reader), Values::Double(values)) => fill(reader, rows, levels, values),
            (R::ByteArrayColumnReader(reader), Values::Bytes(values)) => fill(reader, rows, levels, values),
            (R::FixedLenByteArrayColumnReader(reader), Values::Fixed(values)) => {
                fill(reader, rows, levels, values)
            }
            _ => Err(ParquetError::General("a column has changed its type".into())),
        }?;
        match read == rows && (self.nullable == 0 || self.levels.len() == rows) {
            true => Ok(()),
            false => Err(ParquetError::EOF(format!("a column has {read} rows where {rows} should be"))),
        }
    }
}

fn fill<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    mut levels: Option<&mut Vec<i16>>,
    values: &mut Vec<T::T>,
) -> Result<usize, ParquetError> {
    values.clear();
    let mut done = 0;
    while done < rows {
        let (read, ..) = reader.read_records(rows - done, levels.as_deref_mut(), None, values)?;
        if read == 0 {
            break;
        }
        done += read;
    }
    Ok(done)
}

impl Values {
    /// A value that is a text only when it is shown.
    fn written(&self, at: usize, how: How) -> Option<String> {
        match (how, self) {
            (How::Unsigned, Values::Int64(values)) => {
                Some(*values.get(at)?).filter(|value| *value < 0).map(|value| (value as u64).to_string())
            }
            (How::Decimal(scale), _) => {
                let value = match self {
                    Values::Int32(values) => i128::from(*values.get(at)?),
                    Values::Int64(values) => i128::from(*values.get(at)?),
                    Values::Bytes(values) => whole(values.get(at)?.data())?,
                    Values::Fixed(values) => whole(values.get(at)?.data())?,
                    _ => return None,
                };
                Some(decimal(value, scale))
            }
            _ => None,
        }
    }

    fn cell(&self, at: usize, how: How) -> Option<Cell<'_>> {
        let bytes = |bytes| if how == How::Text { Cell::Text(bytes) } else { Cell::Blob(bytes) };
        if matches!(how, How::Decimal(_)) {
            // One that could be written was.
            return None;
        }
        Some(match self {
            Values::Bool(values) => Cell::Integer((*values.get(at)?).into()),
            Values::Int32(values) if how == How::Unsigned => Cell::Integer((*values.get(at)? as u32).into()),
            Values::Int32(values) => Cell::Integer((*values.get(at)?).into()),
            Values::Int64(values) => Cell::Integer(*values.get(at)?),
            Values::Float(values) => Cell::Real((*values.get(at)?).into()),
            Values::Double(values) => Cell::Real(*values.get(at)?),
            Values::Bytes(values) => bytes(values.get(at)?.data()),
            Values::Fixed(values) if how == How::Half => {
                Cell::Real(half(u16::from_le_bytes(values.get(at)?.data().try_into().ok()?)))
            }
            Values::Fixed(values) => bytes(values.get(at)?.data()),
        })
    }
}

/// A whole number in the order of people, of any length, with its sign; `None` where it has more than 128 bits.
fn whole(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { 0xff } else { 0 };
    let (more, low) = bytes.split_at(bytes.len().saturating_sub(16));
    let mut wide = [sign; 16];
    wide[16 - low.len()..].copy_from_slice(low);
    let value = i128::from_be_bytes(wide);
    (more.iter().all(|b| *b == sign) && (value < 0) == (sign != 0)).then_some(value)
}

/// A whole number with a point in front of its last `scale` digits.
fn decimal(value: i128, scale: u32) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let one = 10u128.pow(scale);
    let (whole, part) = (value.unsigned_abs() / one, value.unsigned_abs() % one);
    let digits = scale as usize;
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part:0digits$}") }
}

/// The number in 16 bits: a sign, five bits of an exponent, ten of a fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

impl Table for Parquet {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn check(&self) -> Result<()> {
        self.content.check()
    }

    fn rows(&self) -> Result<u64> {
        Ok(self.groups.iter().sum())
    }

    fn read(
        &self,
        from: &Place,
        most: u64,
        each: &mut dyn FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<Option<Place>> {
        let not_ours = || Error::Refused("a place is none of this table".into());
        let (mut group, mut row) = self.place(from).ok_or_else(not_ours)?;
        let kept = self.rest.lock().take().filter(|rest| (rest.group, rest.row) == (group, row));
        let (mut cursor, mut left) = (kept, most);
        loop {
            while self.groups.get(group) == Some(&row) {
                (group, row, cursor) = (group + 1, 0, None);
            }
            let Some(rows) = self.groups.get(group) else { return Ok(None) };
            if left == 0 {
                break;
            }
            let here = match &mut cursor {
                Some(here) => here,
                none => none.insert(self.cursor(group, row)?),
            };
            let n = left.min(rows - row).min(BATCH);
            self.batch(here, n, each)?;
            (row, left) = (row + n, left - n);
        }
        *self.rest.lock() = cursor;
        let place = [&(group as u32).to_le_bytes()[..], &row.to_le_bytes()].concat();
        Ok(Some(Place(place)))
    }
}

/// Calls another's decoder. What it does not survive is damage of this file.
fn guarded<T>(path: &str, run: impl FnOnce() -> Result<T, ParquetError>) -> Result<T> {
    let damaged =
        |what: String| Error::damaged("parquet-damaged", path, format!("not readable as Parquet: {what}"));
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(ParquetError::External(error))) => {
            let error = error.downcast::<io::Error>().map_or_else(io::Error::other, |error| *error);
            Err(from_io(error, |error| damaged(error.to_string())))
        }
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("its decoder has given up".into())),
    }
}

/// The bytes of the file, for the decoder.
struct Chunks(Content);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::with_capacity(4096, From { content: self.0.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.0.size());
        if end.is_none() || length > MAX_CHUNK {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are not in the file")));
        }
        let mut bytes = vec![0; length];
        let n = self.0.read_at(start, &mut bytes).map_err(io::Error::from)?;
        bytes.truncate(n);
        Ok(bytes.into())
    }
}

/// The bytes from one place on.
struct From {
    content: Content,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.content.read_at(self.at, buf)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// The table in `content`.
pub fn table(content: Content, path: &str, findings: &Findings) -> Result<Arc<dyn Table>> {
    Ok(Arc::new(Parquet::open(content, path, findings)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use parquet::data_type::DoubleType;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::super::testing::{in_file, no_bytes_after_a_change};
    use super::*;

    #[test]
    fn a_file_that_is_rewritten_in_place_gives_no_more_bytes_from_memory() {
        let schema = parse_message_type("message m { required double t; }").unwrap();
        let (folder, path) = (tempfile::tempdir().unwrap(), "x.parquet");
        let file = folder.path().join(path);
        let out = fs::File::create(&file).unwrap();
        let mut writer =
            SerializedFileWriter::new(out, Arc::new(schema), WriterProperties::new().into()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<f64> = (0..50_000).map(|i| f64::from(i) / 10.0).collect();
        column.typed::<DoubleType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        let table = Parquet::open(in_file(&file), path, &Findings::default()).unwrap();
        no_bytes_after_a_change(&file, Arc::new(table));
    }
}
