//! What a store lists.

use jiff::Timestamp;

use crate::Key;

/// One object of a store, as a LIST tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its place.
    pub key: Key,
    /// Its bytes.
    pub size: u64,
    /// When it was written, by the clock of the store.
    pub modified: Timestamp,
}

/// The objects of a store, or of one cluster in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Objects that a backup of this layout has, in any order.
    pub objects: Vec<Object>,
    /// How many other objects there are. They are never read and never deleted.
    pub foreign: u64,
}
