//! Kubernetes objects as the API server stores them in etcd.
//!
//! Bytes in, JSON values out: [`key`] says what lies under a key, [`value`] in which form, [`encryption`] takes the API server's own
//! encryption off, [`decode()`] gives the object as the API server would answer it, and [`encode()`] the bytes again. [`catalog`] knows
//! what resource types are called and in which order their objects can be made anew, [`schema`] of what built-in kinds consist.
//!
//! What the API server does on reading beyond that is not done here: it converts to the version that is asked for, fills in what its
//! version has defaults for, and adds `metadata.resourceVersion` ([`Object::set_resource_version`]). Custom resource definitions are
//! the exception, because none can be read without it: [`Object::into_served`].
//!
//! No network, no files, no clock. The bytes may be anyone's: no value makes it panic, loop, recurse without end or allocate by what
//! the value claims; memory is a multiple of the bytes that are there. No error carries anything of a value but names of API fields.
//!
//! ```
//! use etcd_objects::key::{Key, Prefix};
//! use etcd_objects::{decode, encode};
//!
//! let key = b"/registry/configmaps/shop/settings";
//! let Key::Object(place) = Prefix::default().parse(key) else { panic!("a key of an object") };
//! assert_eq!((place.resource.as_str(), place.namespace.as_deref()), ("configmaps", Some("shop")));
//!
//! let json = serde_json::json!({"metadata": {"name": "settings", "namespace": "shop"}, "data": {"colour": "blue"}});
//! let value = encode(&json, "v1", "ConfigMap")?;
//! let object = decode(&value)?;
//! assert_eq!((object.kind.as_str(), &object.json["data"]["colour"]), ("ConfigMap", &"blue".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod catalog;
mod cbor;
mod check;
mod clock;
mod crd;
mod decode;
mod encode;
pub mod encryption;
mod error;
mod json;
pub mod key;
mod neighbours;
mod object;
mod path;
mod reading;
pub mod schema;
mod special;
pub mod value;
mod wire;

pub use check::surely_decodes;
pub use decode::UnknownField;
pub use encode::encode;
pub use error::{DecodeError, EncodeError, Fault};
pub use neighbours::Neighbours;
pub use object::{Object, decode, decode_metadata};
pub use reading::{ReadValue, Undecodable, read_value};
