//! Data inside a page: lines of JSON, compressed, in parts of base64.
//!
//! Base64 knows no `<`, so nothing in a text can end the element that it stands in or open another. Parts keep
//! every string that a browser has to hold small.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;

/// The bytes of a part; a multiple of three, so that each part is base64 of its own.
const PART: usize = 768 * 1024;
const OPEN: &[u8] = b"<script type=\"application/octet-stream\" class=\"data\">";
const CLOSE: &[u8] = b"</script>\n";

/// Writes lines of JSON as elements of a page.
pub struct Packed<W: Write> {
    gzip: GzEncoder<Parts<W>>,
}

impl<W: Write> Packed<W> {
    /// Begins, with nothing written yet.
    pub fn new(out: W) -> Self {
        let parts = Parts {
            out,
            part: Vec::with_capacity(PART),
        };
        Self {
            gzip: GzEncoder::new(parts, Compression::default()),
        }
    }

    /// Adds a line.
    pub fn line(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        // Line ends inside of strings are escaped in JSON.
        serde_json::to_writer(&mut self.gzip, value)?;
        self.gzip.write_all(b"\n")
    }

    /// Ends the data, and gives back what it was written to.
    pub fn finish(self) -> io::Result<W> {
        let mut parts = self.gzip.finish()?;
        parts.end_part()?;
        Ok(parts.out)
    }
}

struct Parts<W: Write> {
    out: W,
    part: Vec<u8>,
}

impl<W: Write> Parts<W> {
    fn end_part(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        self.out.write_all(OPEN)?;
        self.out.write_all(STANDARD.encode(&self.part).as_bytes())?;
        self.out.write_all(CLOSE)?;
        self.part.clear();
        Ok(())
    }
}

impl<W: Write> Write for Parts<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == PART {
            self.end_part()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    /// What a browser does: the parts one behind the other, unpacked.
    fn unpack(page: &[u8]) -> String {
        let page = std::str::from_utf8(page).unwrap();
        let parts = page.split(std::str::from_utf8(OPEN).unwrap()).skip(1);
        let bytes: Vec<u8> = parts
            .flat_map(|part| STANDARD.decode(part.split('<').next().unwrap()).unwrap())
            .collect();
        let mut text = String::new();
        GzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    fn pack(lines: &[String]) -> Vec<u8> {
        let mut packed = Packed::new(Vec::new());
        for line in lines {
            packed.line(line).unwrap();
        }
        packed.finish().unwrap()
    }

    #[test]
    fn large_data_comes_in_parts() {
        // Noise does not become smaller.
        let noise: String = (0..40_000)
            .map(|n: u64| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        let lines = vec![noise.clone(), noise.chars().rev().collect(), noise];
        let page = pack(&lines);
        let page_text = String::from_utf8(page.clone()).unwrap();
        assert!(page_text.matches("<script").count() > 1);
        let found: Vec<String> = unpack(&page)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(found, lines);
    }

    proptest! {
        #[test]
        fn no_text_leaves_its_element(text in any::<String>()) {
            let lines = vec![text.clone() + "</script><!--\u{2028}\0<script>", text];
            let page = pack(&lines);
            // One element, and nothing in it but base64.
            let inside = &page[OPEN.len()..page.len() - CLOSE.len()];
            prop_assert!(inside.iter().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(b)));
            let found: Vec<String> =
                unpack(&page).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            prop_assert_eq!(found, lines);
        }
    }
}
