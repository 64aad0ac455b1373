//! The name of an entry as UTF-8 or as the bytes it is, ready to be checked.

use std::borrow::Cow;

use super::record::{Flags, extra_fields};
use crate::tree::NameError;

/// Info-ZIP's field with the name in UTF-8.
const UNICODE_PATH: u16 = 0x7075;

/// Decodes a stored name: UTF-8 where the entry says so, the UTF-8 name beside it where that belongs to this
/// very name, CP437 otherwise.
pub fn decode<'a>(name: &'a [u8], flags: Flags, extra: &'a [u8]) -> Result<Cow<'a, [u8]>, NameError> {
    if let Some((_, body)) = extra_fields(extra).find(|(id, _)| *id == UNICODE_PATH)
        && let [1, c0, c1, c2, c3, utf8 @ ..] = body
        && u32::from_le_bytes([*c0, *c1, *c2, *c3]) == crc32fast::hash(name)
    {
        return match std::str::from_utf8(utf8) {
            Ok(_) => Ok(Cow::Borrowed(utf8)),
            Err(_) => Err(NameError::NotUtf8),
        };
    }
    if name.is_ascii() {
        return Ok(Cow::Borrowed(name));
    }
    if flags.utf8() {
        return match std::str::from_utf8(name) {
            Ok(_) => Ok(Cow::Borrowed(name)),
            Err(_) => Err(NameError::NotUtf8),
        };
    }
    let text: String = name.iter().map(|b| cp437(*b)).collect();
    Ok(Cow::Owned(text.into_bytes()))
}

/// A name for messages, whatever it is made of.
pub fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

fn cp437(byte: u8) -> char {
    const UPPER: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
                         └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
    match byte {
        0..=127 => byte as char,
        _ => UPPER.chars().nth(byte as usize - 128).expect("the table has 128 characters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cp437_is_what_the_dos_code_page_says() {
        // Spot values of the published code page: its first, its last, and one of each block between.
        let points = [(0x80, 'Ç'), (0x91, 'æ'), (0x86, 'å'), (0x94, 'ö'), (0xB0, '░'), (0xBF, '┐')];
        let more = [(0xC0, '└'), (0xDF, '▀'), (0xE1, 'ß'), (0xF1, '±'), (0xFE, '■'), (0xFF, '\u{a0}')];
        for (byte, c) in points.into_iter().chain(more) {
            assert_eq!(cp437(byte), c, "{byte:#x}");
        }
    }
}
