//! The UID of an object as the API server stored it.

use prost::Message as _;
use serde_json::Value;

/// What binary objects begin with. Read from kubernetes apimachinery pkg/runtime/serializer/protobuf/protobuf.go @ v1.36.0.
const MAGIC: &[u8] = b"k8s\0";

/// The envelope of a binary object: apimachinery pkg/runtime/generated.proto, `Unknown`.
#[derive(Clone, PartialEq, prost::Message)]
struct Unknown {
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

/// What all objects begin with: their metadata, and of that the UID (apimachinery pkg/apis/meta/v1/generated.proto).
#[derive(Clone, PartialEq, prost::Message)]
struct Object {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(string, tag = "5")]
    uid: String,
}

/// The UID, where the value is an object that is not encrypted.
pub(super) fn uid(stored: &[u8]) -> Option<String> {
    let uid = match stored.strip_prefix(MAGIC) {
        Some(binary) => Object::decode(&*Unknown::decode(binary).ok()?.raw).ok()?.metadata?.uid,
        None => serde_json::from_slice::<Value>(stored).ok()?["metadata"]["uid"].as_str()?.to_owned(),
    };
    (!uid.is_empty()).then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_in_either_form() {
        assert_eq!(uid(br#"{"kind":"Namespace","metadata":{"uid":"a-b"}}"#).as_deref(), Some("a-b"));
        let object = Object { metadata: Some(Metadata { uid: "c-d".into() }) };
        let unknown = Unknown { raw: object.encode_to_vec() };
        assert_eq!(uid(&[MAGIC, &unknown.encode_to_vec()].concat()).as_deref(), Some("c-d"));
        for other in [&b"k8s:enc:aescbc:v1:key1:xyz"[..], b"k8s\0\xff", b"", b"{}", br#"{"metadata":{"uid":""}}"#] {
            assert_eq!(uid(other), None);
        }
    }
}
