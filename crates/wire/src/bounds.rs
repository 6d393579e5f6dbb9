//! How much a frame's JSON may hold: checked while it is read, before anything is made of it. A frame of 2 MiB could otherwise become
//! a list of 700 000 empty texts, or an error message that fills a terminal for minutes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::WireError;

/// Longest text that one side tells the other of a failure, bytes. Whoever makes a [`Failure`](crate::Failure) keeps to it.
pub(crate) const TOLD_TEXT: usize = 4096;
/// Most causes of a failure.
pub(crate) const TOLD_CAUSES: usize = 32;

/// What a frame's JSON may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Longest text, bytes.
    text: usize,
    /// Most entries of one list or map.
    entries: usize,
    /// Most values in all.
    values: usize,
}

impl Bounds {
    /// Of requests and replies. The longest list is that of a node's certificates or events; the longest text is a certificate in PEM.
    pub(crate) const BODY: Bounds = Bounds { text: 64 << 10, entries: 4096, values: 1 << 17 };
    /// Of a failure. A later version may tell somewhat more than this one.
    pub(crate) const FAILURE: Bounds = Bounds { text: 4 * TOLD_TEXT, entries: 4 * TOLD_CAUSES, values: 1024 };
    /// Of everything that frames a conversation.
    pub(crate) const SMALL: Bounds = Bounds { text: 1024, entries: 256, values: 512 };

    /// Reads JSON without keeping any of it.
    ///
    /// # Errors
    /// [`WireError::Bound`]. What is no JSON is left to whoever reads it next.
    pub(crate) fn check(self, frame: &'static str, json: &[u8]) -> Result<(), WireError> {
        let mut walk = Walk { bounds: self, values: 0, over: None };
        let read = walk.deserialize(&mut serde_json::Deserializer::from_slice(json));
        match (read, walk.over) {
            (Err(_), Some((what, limit))) => Err(WireError::Bound { frame, what, limit: limit as u64 }),
            _ => Ok(()),
        }
    }
}

struct Walk {
    bounds: Bounds,
    values: usize,
    over: Option<(&'static str, usize)>,
}

impl Walk {
    fn count<E: Error>(&mut self, what: &'static str, count: usize, limit: usize) -> Result<(), E> {
        if count > limit {
            self.over = Some((what, limit));
            return Err(E::custom("out of bounds"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.values += 1;
        self.count("values", self.values, self.bounds.values)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Walk {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.count("bytes of text", text.len(), self.bounds.text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut entries = 0;
        while list.next_element_seed(&mut *self)?.is_some() {
            entries += 1;
            self.count("entries of a list", entries, self.bounds.entries)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut entries = 0;
        while map.next_key_seed(&mut *self)?.is_some() {
            map.next_value_seed(&mut *self)?;
            entries += 1;
            self.count("entries of a map", entries, self.bounds.entries)?;
        }
        Ok(())
    }
}

/// A text of at most [`TOLD_TEXT`] bytes; what is cut off is said.
pub(crate) fn told(mut text: String) -> String {
    const CUT: &str = " [...]";
    if text.len() > TOLD_TEXT {
        let mut end = TOLD_TEXT - CUT.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(CUT);
    }
    text
}
