//! Kubernetes objects as the API server stores them in etcd.

pub mod catalog;
mod cbor;
mod clock;
mod crd;
mod decode;
mod encode;
pub mod encryption;
mod error;
pub mod key;
mod object;
mod path;
pub mod schema;
mod special;
pub mod value;
mod wire;

pub use decode::UnknownField;
pub use encode::encode;
pub use error::{DecodeError, EncodeError, Fault};
pub use object::{Object, decode};
