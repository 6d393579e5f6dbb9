//! CBOR as the API server stores custom resources in it: kubernetes/apimachinery
//! pkg/runtime/serializer/cbor/internal/modes/{encode,decode}.go @ v0.36.2.
//!
//! It writes text as byte strings, bytes as such with the tag "base64 later", lengths always before what they count, and only what
//! JSON can say. Nothing else is read.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::decode::{DEPTH, number};
use crate::value::CBOR;

/// Tags that say how to write a byte string in JSON (RFC 8949, 3.4.5.2), and the one that CBOR begins with.
const BASE64_URL: u64 = 21;
const BASE64: u64 = 22;
const BASE16: u64 = 23;
/// Tags of times in text, of times as numbers, and of numbers without bounds.
const TIME_TEXT: u64 = 0;
const NOT_JSON: std::ops::RangeInclusive<u64> = 1..=3;

/// Reads one value, to the last byte. The error is how far it could be read.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, usize> {
    let mut reader = Reader { bytes: bytes.strip_prefix(CBOR).unwrap_or(bytes) };
    let value = reader.value(0, None).filter(|_| reader.bytes.is_empty());
    value.ok_or(bytes.len() - reader.bytes.len())
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    /// The number of a head: up to 23 it is in the head itself.
    fn argument(&mut self, info: u8) -> Option<u64> {
        let width = match info {
            0..=23 => return Some(u64::from(info)),
            24..=27 => 1 << (info - 24),
            _ => return None,
        };
        Some(self.take(width)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// A value. `later` is the tag before it that says how to write bytes.
    fn value(&mut self, depth: usize, later: Option<u64>) -> Option<Value> {
        if depth > DEPTH {
            return None;
        }
        let head = *self.take(1)?.first()?;
        let (major, info) = (head >> 5, head & 0x1F);
        if major == 7 {
            return self.simple(info);
        }
        let argument = self.argument(info)?;
        match major {
            0 => i64::try_from(argument).ok().map(Value::from),
            1 => i64::try_from(argument).ok().map(|value| Value::from(-1 - value)),
            2 => {
                let bytes = self.take(usize::try_from(argument).ok()?)?;
                Some(Value::from(match later {
                    Some(BASE64) => STANDARD.encode(bytes),
                    Some(BASE64_URL) => URL_SAFE_NO_PAD.encode(bytes),
                    Some(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
                    None => std::str::from_utf8(bytes).ok()?.to_owned(),
                }))
            }
            3 => self.text(argument).map(Value::from),
            // Nothing is set aside for what is only promised.
            4 => {
                let mut items = Vec::new();
                for _ in 0..argument {
                    items.push(self.value(depth + 1, later)?);
                }
                Some(Value::Array(items))
            }
            5 => {
                let mut map = Map::new();
                for _ in 0..argument {
                    let head = *self.take(1)?.first()?;
                    let length = self.argument(head & 0x1F)?;
                    let key = matches!(head >> 5, 2 | 3).then(|| self.text(length))??;
                    if map.insert(key, self.value(depth + 1, later)?).is_some() {
                        return None;
                    }
                }
                Some(Value::Object(map))
            }
            _ => match argument {
                BASE64_URL | BASE64 | BASE16 => self.value(depth + 1, Some(argument)),
                TIME_TEXT => self.value(depth + 1, None).filter(Value::is_string),
                tag if NOT_JSON.contains(&tag) => None,
                _ => self.value(depth + 1, later),
            },
        }
    }

    fn text(&mut self, length: u64) -> Option<String> {
        let bytes = self.take(usize::try_from(length).ok()?)?;
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    fn simple(&mut self, info: u8) -> Option<Value> {
        match info {
            20 => Some(Value::Bool(false)),
            21 => Some(Value::Bool(true)),
            22 => Some(Value::Null),
            25 => number(half(u16::from_be_bytes(self.take(2)?.try_into().ok()?))),
            26 => number(f64::from(f32::from_be_bytes(self.take(4)?.try_into().ok()?))),
            27 => number(f64::from_be_bytes(self.take(8)?.try_into().ok()?)),
            _ => None,
        }
    }
}

/// A number of 16 bits (RFC 8949, appendix D).
fn half(bits: u16) -> f64 {
    let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF));
    let size = match exponent {
        0 => mantissa * 2_f64.powi(-24),
        31 => return if mantissa == 0.0 { f64::INFINITY } else { f64::NAN },
        _ => (1024.0 + mantissa) * 2_f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or(""), 16).unwrap_or(0))
            .collect()
    }

    #[test]
    fn values() {
        // RFC 8949, appendix A, and the API server's byte strings.
        let cases = [
            ("00", json!(0)),
            ("1bffffffffffffff7f", Value::Null),
            ("1b7fffffffffffffff", json!(i64::MAX)),
            ("3b7fffffffffffffff", json!(i64::MIN)),
            ("f93e00", json!(1.5)),
            ("f90001", json!(5.960_464_477_539_063e-8)),
            ("f9c400", json!(-4)),
            ("fa47c35000", json!(100_000)),
            ("fb3ff199999999999a", json!(1.1)),
            ("83f4f5f6", json!([false, true, null])),
            ("6449455446", json!("IETF")),
            ("4449455446", json!("IETF")),
            ("d64401020304", json!("AQIDBA==")),
            ("d7430a0bff", json!("0a0bff")),
            ("d9d9f7a2416101416242c3bc", json!({"a": 1, "b": "\u{fc}"})),
            ("d820f6", Value::Null),
        ];
        for (bytes, value) in cases {
            let expected = if bytes == "1bffffffffffffff7f" { None } else { Some(value) };
            assert_eq!(parse(&hex(bytes)).ok(), expected, "{bytes}");
        }
    }

    #[test]
    fn what_json_cannot_say_and_what_is_cut_is_refused() {
        let deep = [vec![0x81; 300], vec![0]].concat();
        let refused = [
            "f97c00",
            "f97e00",
            "f7",
            "ff",
            "9f01ff",
            "5f4101ff",
            "c249010000000000000000",
            "c101",
            "41ff",
            "0000",
            "",
        ];
        for bytes in
            refused.map(hex).into_iter().chain([deep, hex("9bffffffffffffffff"), hex("a2416101416102"), hex("a10000")])
        {
            assert!(parse(&bytes).is_err_and(|place| place <= bytes.len()), "{bytes:02x?}");
        }
        let whole = hex("d9d9f7a2416183010203416242c3bc");
        for length in 3..whole.len() {
            assert!(parse(whole.get(..length).unwrap_or_default()).is_err(), "{length}");
        }
    }
}
