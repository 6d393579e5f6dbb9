//! As much protobuf as kubectl cannot do without: since 1.32 it sends its reviews in it. Everything else must be JSON.
//!
//! Field numbers: `k8s.io/apimachinery/pkg/runtime/generated.proto` (Unknown) and
//! `k8s.io/api/authorization/v1/generated.proto`.

use serde_json::{Map, Value, json};

const MAGIC: &[u8] = b"k8s\0";
const RESOURCE: &[(u64, &str)] =
    &[(1, "namespace"), (2, "verb"), (3, "group"), (4, "version"), (5, "resource"), (6, "subresource"), (7, "name")];
const PATH: &[(u64, &str)] = &[(1, "path"), (2, "verb")];

/// Reads a self-subject review of the given kind; `None` when it is none.
pub(super) fn review(kind: &str, body: &[u8]) -> Option<Value> {
    let raw = field(body.strip_prefix(MAGIC)?, 2)?.unwrap_or_default();
    let spec = field(raw, 2)?.unwrap_or_default();
    Some(match kind {
        "SelfSubjectAccessReview" => {
            let mut out = Map::new();
            for (number, name, fields) in [(1, "resourceAttributes", RESOURCE), (2, "nonResourceAttributes", PATH)] {
                if let Some(attributes) = field(spec, number)? {
                    out.insert(name.to_owned(), strings(attributes, fields)?);
                }
            }
            json!({ "spec": out })
        }
        "SelfSubjectRulesReview" => json!({ "spec": strings(spec, &[(1, "namespace")])? }),
        _ => json!({}),
    })
}

fn strings(message: &[u8], names: &[(u64, &str)]) -> Option<Value> {
    let mut out = Map::new();
    for (number, name) in names {
        if let Some(bytes) = field(message, *number)? {
            out.insert((*name).to_owned(), json!(std::str::from_utf8(bytes).ok()?));
        }
    }
    Some(out.into())
}

/// Finds a length-delimited field: `None` when the message is malformed, `Some(None)` when it has no such field.
fn field(mut message: &[u8], wanted: u64) -> Option<Option<&[u8]>> {
    let mut found = None;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => drop(varint(&mut message)?),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (value, rest) = message.split_at_checked(length)?;
                message = rest;
                if tag >> 3 == wanted {
                    found = Some(value);
                }
            }
            _ => return None,
        }
    }
    Some(found)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
