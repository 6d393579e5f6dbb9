//! PEM as Go's encoding/pem reads it: what is not a whole block is skipped.
//!
//! Text around blocks, line ends of any kind and spaces in the base64 do no harm; a block that is cut or damaged does not
//! hide those behind it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The words after BEGIN.
    pub(crate) label: String,
    /// There are lines such as `Proc-Type: 4,ENCRYPTED` before the contents.
    pub(crate) headers: bool,
    /// The contents.
    pub(crate) der: Vec<u8>,
}

/// All whole blocks, in order.
pub(crate) fn blocks(text: &[u8]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, bool, Vec<u8>)> = None;
    for line in text.split(|&byte| byte == b'\n') {
        let line = line.trim_ascii();
        if let Some(label) = between(line, b"-----BEGIN ") {
            // One that was not ended is no block.
            open = Some((label, false, Vec::new()));
        } else if let Some(label) = between(line, b"-----END ") {
            if let Some((begun, headers, base64)) = open.take()
                && begun == label
                && let Ok(der) = STANDARD.decode(base64)
            {
                blocks.push(Block { label, headers, der });
            }
        } else if let Some((_, headers, base64)) = &mut open {
            if base64.is_empty() && line.contains(&b':') {
                *headers = true;
            } else {
                base64.extend(line.iter().filter(|byte| !byte.is_ascii_whitespace()));
            }
        }
    }
    blocks
}

/// The label of a line such as `-----BEGIN CERTIFICATE-----`.
fn between(line: &[u8], start: &[u8]) -> Option<String> {
    let label = line.strip_prefix(start)?.strip_suffix(b"-----")?;
    Some(String::from_utf8_lossy(label).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        blocks(text.as_bytes()).into_iter().map(|block| block.label).collect()
    }

    #[test]
    fn text_and_line_ends_do_no_harm() {
        let text = "subject=CN = x\r\n-----BEGIN A-----\r\nQUJD\r\nRA==\r\n-----END A-----\r\nmore: text\n-----BEGIN B C-----\n\
                    QUI=\n-----END B C-----";
        let found = blocks(text.as_bytes());
        assert_eq!(found[0], Block { label: "A".into(), headers: false, der: b"ABCD".to_vec() });
        assert_eq!(found[1], Block { label: "B C".into(), headers: false, der: b"AB".to_vec() });
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn damage_hides_nothing_behind_it() {
        let good = "-----BEGIN B-----\nQUJD\n-----END B-----\n";
        for bad in [
            "-----BEGIN A-----\nQU%D\n-----END A-----\n",
            "-----BEGIN A-----\nQUJ\n-----END A-----\n",
            "-----BEGIN A-----\nQUJD\n",
            "-----BEGIN A-----\nQUJD\n-----END C-----\n",
            "-----END A-----\n",
            "-----BEGIN A----\nQUJD\n-----END A-----\n",
        ] {
            assert_eq!(labels(&format!("{bad}{good}")), ["B"], "{bad}");
        }
        assert!(labels("").is_empty());
    }

    #[test]
    fn headers_are_noticed() {
        let text = "-----BEGIN K-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nQUJD\n-----END K-----\n";
        assert_eq!(blocks(text.as_bytes()), [Block { label: "K".into(), headers: true, der: b"ABC".to_vec() }]);
    }
}
